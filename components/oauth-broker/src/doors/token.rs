//! How does one token leave, and how does a connection end?

use http::{Request, Response, StatusCode, header};
use serde::Deserialize;
use serde_json::json;

use super::params::Params;
use super::{Refusal, pages};
use crate::Broker;
use crate::connections::{Disconnected, Standing};
use crate::host::Host;
use crate::names::ServiceId;
use crate::people::local;
use crate::secret::Secret;

/// `POST /token/{service}`
pub async fn post<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    service: ServiceId,
) -> Result<Response<Vec<u8>>, Refusal> {
    let asked = Asked::of(request)?;
    let caller = broker.caller_for_token(request, asked.subject_token.as_ref().map(Secret::reveal))?;
    let id = super::connection(caller.subject, service, asked.account.as_deref())?;
    let connection = match broker.standing(&id, None, &[]).await? {
        Standing::Token(connection) => connection,
        Standing::NotConnected => {
            return Err(Refusal::NotConnected { connect_url: broker.connect_url(&id, &[])? });
        }
        Standing::NeedsReconnect { missing_scopes } => {
            let connect_url = broker.connect_url(&id, &missing_scopes)?;
            return Err(Refusal::NeedsReconnect { connect_url, missing_scopes });
        }
        Standing::Later(seconds) => return Err(Refusal::Later(seconds)),
        Standing::UnknownService => return Err(Refusal::UnknownService),
    };
    let mut answer = json!({
        "access_token": connection.access_token.reveal(),
        "token_type": connection.token_type,
        "scope": connection.scopes.join(" "),
        "extra": connection.extra,
    });
    if let Some(end) = connection.expires_at {
        answer["expires_in"] = json!(end.saturating_sub(broker.host.now()));
    }
    Ok(super::json(StatusCode::OK, &answer))
}

/// `DELETE /token/{service}`
pub async fn delete<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    service: ServiceId,
) -> Result<Response<Vec<u8>>, Refusal> {
    let asked = Asked::of(request)?;
    let caller = broker.caller_for_token(request, asked.subject_token.as_ref().map(Secret::reveal))?;
    let ended = broker.disconnect(&super::connection(caller.subject, service, asked.account.as_deref())?).await?;
    Ok(match ended {
        Disconnected::Forgotten => super::empty(ended.status()),
        Disconnected::NotRevoked(why) => {
            super::json(ended.status(), &json!({ "forgotten": true, "revoked": false, "reason": why }))
        }
    })
}

/// `POST /disconnect/{service}`, the form of our own page.
pub async fn disconnect<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    service: ServiceId,
) -> Result<Response<Vec<u8>>, Refusal> {
    local::check_origin(request, broker.settings.public_url()?)?;
    let subject = broker.person(request)?.ok_or_else(|| Refusal::SignIn("/".to_owned()))?;
    let form = Params::parse(request.body())?;
    let id = super::connection(subject, service, form.get("account"))?;
    match broker.disconnect(&id).await? {
        Disconnected::Forgotten => pages::see_other(&format!("/?disconnected={}", id.service)),
        Disconnected::NotRevoked(_) => pages::see_other(&format!("/?disconnected={}&revoked=no", id.service)),
    }
}

/// What the body says, in JSON or as a form: nothing of it is needed by everyone.
#[derive(Deserialize)]
struct Asked {
    #[serde(default)]
    subject_token: Option<Secret>,
    #[serde(default)]
    account: Option<String>,
}

impl Asked {
    fn of(request: &Request<Vec<u8>>) -> Result<Self, Refusal> {
        let body = request.body();
        let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
        if kind.to_ascii_lowercase().starts_with("application/json") && !body.is_empty() {
            return serde_json::from_slice(body).map_err(|_| Refusal::Request("the body is not a JSON object"));
        }
        let form = Params::parse(body)?;
        let owned = |name: &str| form.get(name).map(str::to_owned);
        Ok(Self { subject_token: owned("subject_token").map(Secret::from), account: owned("account") })
    }
}
