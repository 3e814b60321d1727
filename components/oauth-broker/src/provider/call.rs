//! Makes a call that a catalogue row describes.

use http::{HeaderMap, Response, header};

use super::dialect::{self, Outgoing, base64, sensitive};
use super::{Failure, Held};
use crate::catalogue::{Address, Call, CallAuth, Service};
use crate::host::Host;
use sealing::Secret;

/// Makes the call and returns its answer, with any status. `None` if a value that it needs is missing.
pub async fn make<H: Host>(
    host: &H,
    service: &Service,
    call: &Call,
    held: &Held<'_>,
) -> Result<Option<Response<Vec<u8>>>, Failure> {
    let value = |name: &str| value(service, held, name);
    let mut params = Vec::with_capacity(call.params.len());
    for (name, template) in &call.params {
        let Some(value) = filled(template, &value) else { return Ok(None) };
        params.push((name.clone(), value));
    }
    let mut headers = HeaderMap::new();
    for (name, template) in &call.headers {
        let Some(value) = filled(template, &value) else { return Ok(None) };
        headers.insert(name, sensitive(value)?);
    }
    match call.auth {
        CallAuth::Basic => {
            let secret = service.client_secret.as_ref().map_or("", Secret::reveal);
            let basic = base64(&format!("{}:{secret}", service.client_id));
            headers.insert(header::AUTHORIZATION, sensitive(format!("Basic {basic}"))?);
        }
        CallAuth::Bearer => {
            headers.insert(header::AUTHORIZATION, sensitive(format!("Bearer {}", held.access_token.reveal()))?);
        }
        CallAuth::Client | CallAuth::None => {}
    }
    let url = endpoint(service, &call.url, held)?;
    let outgoing = Outgoing { method: call.method.clone(), url: &url, headers, body: call.send, params };
    let literal = call.body.clone().into_bytes();
    match call.auth {
        CallAuth::Client => dialect::send_as_client(host, service, outgoing, literal).await.map(Some),
        _ => dialect::send(host, outgoing, literal).await.map(Some),
    }
}

/// The URL of an address for this grant.
pub fn endpoint(service: &Service, address: &Address, held: &Held<'_>) -> Result<String, Failure> {
    let endpoint = address.endpoint(&service.allowed, &|name| value(service, held, name));
    Ok(endpoint.map_err(|_| Failure::Forged("it names a server that is not the service's"))?.url().to_string())
}

/// The value of a name in a template.
fn value(service: &Service, held: &Held<'_>, name: &str) -> Option<String> {
    let (token, kind) = match held.refresh_token {
        Some(token) => (token, "refresh_token"),
        None => (held.access_token, "access_token"),
    };
    let secret = |secret: &Secret| secret.reveal().to_owned();
    match name {
        "client_id" => Some(service.client_id.clone()),
        "client_secret" => service.client_secret.as_ref().map(secret),
        "access_token" => Some(secret(held.access_token)),
        "refresh_token" => held.refresh_token.map(secret),
        "token" => Some(secret(token)),
        "token_kind" => Some(kind.to_owned()),
        name => held.extra.get(name).or_else(|| service.variables.get(name)).cloned(),
    }
}

/// The text with its `{…}` filled in. `None` if a value is not known.
pub fn filled(template: &str, value: &dyn Fn(&str) -> Option<String>) -> Option<String> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}')?;
        filled.push_str(before);
        filled.push_str(&value(name)?);
        rest = after;
    }
    filled.push_str(rest);
    Some(filled)
}
