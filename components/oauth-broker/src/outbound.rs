//! Sends requests to providers and MCP servers.

use http::{Request, Response, Uri};
use http_auth::{HOP, Origin};

use crate::host::{ANSWER_LIMIT, Host, SendFault};
use crate::settings::Setting;

/// Sends a request, with the number of Gatehouses that it has passed. Never to this Gatehouse itself, even if a provider's
/// row names its address: it would be its own provider, and wait for itself. An answer longer than [`ANSWER_LIMIT`] is an
/// error, even if the host lets it through.
pub(crate) fn send<H: Host>(
    host: &H,
    mut request: Request<Vec<u8>>,
) -> Result<impl Future<Output = Result<Response<Vec<u8>>, SendFault>>, SendFault> {
    if is_own(host, request.uri()) {
        return Err(SendFault::Own);
    }
    request.headers_mut().insert(HOP, host.hops().get().next());
    let answer = host.send(request);
    Ok(async {
        let answer = answer.await?;
        if answer.body().len() > ANSWER_LIMIT { Err(SendFault::TooLarge) } else { Ok(answer) }
    })
}

/// Returns true if `url` is at an address of this Gatehouse: the broker's or the gateway's.
pub(crate) fn is_own<H: Host>(host: &H, url: &Uri) -> bool {
    let Some(authority) = url.authority() else { return false };
    let own = |setting: Setting| Origin::parse(host.setting(setting.name())?.trim());
    [Setting::PublicUrl, Setting::GatewayUrl].into_iter().filter_map(own).any(|own| own.is_authority(authority))
}
