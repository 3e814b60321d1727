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
    id: &ServiceId,
) -> Result<Response<Vec<u8>>, Refusal> {
    let subject_token = subject_token(request)?;
    let subject = broker.subject_of_token_request(request, subject_token.as_ref().map(Secret::reveal))?;
    let connection = match broker.standing(&subject, id, None).await? {
        Standing::Token(connection) => connection,
        Standing::NotConnected => {
            return Err(Refusal::NotConnected { connect_url: broker.connect_url(&subject, id)? });
        }
        Standing::NeedsReconnect { missing_scopes } => {
            return Err(Refusal::NeedsReconnect { connect_url: broker.connect_url(&subject, id)?, missing_scopes });
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
    id: &ServiceId,
) -> Result<Response<Vec<u8>>, Refusal> {
    let subject_token = subject_token(request)?;
    let subject = broker.subject_of_token_request(request, subject_token.as_ref().map(Secret::reveal))?;
    let ended = broker.disconnect(&subject, id).await?;
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
    id: &ServiceId,
) -> Result<Response<Vec<u8>>, Refusal> {
    local::check_origin(request, broker.settings.public_url()?)?;
    let subject = broker.person(request)?.ok_or_else(|| Refusal::SignIn("/".to_owned()))?;
    match broker.disconnect(&subject, id).await? {
        Disconnected::Forgotten => pages::see_other(&format!("/?disconnected={id}")),
        Disconnected::NotRevoked(_) => pages::see_other(&format!("/?disconnected={id}&revoked=no")),
    }
}

/// `subject_token` of a body in JSON or as a form.
fn subject_token(request: &Request<Vec<u8>>) -> Result<Option<Secret>, Refusal> {
    #[derive(Deserialize)]
    struct Body {
        #[serde(default)]
        subject_token: Option<Secret>,
    }
    let body = request.body();
    let kind = request.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.to_ascii_lowercase().starts_with("application/json") && !body.is_empty() {
        let body: Body = serde_json::from_slice(body).map_err(|_| Refusal::Request("the body is not a JSON object"))?;
        return Ok(body.subject_token);
    }
    Ok(Params::parse(body)?.get("subject_token").map(|token| Secret::from(token.to_owned())))
}
