//! Implements the host on Spin, and exports the component.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use http::{HeaderValue, Request, Response, header};
use shell::{SendError, Timeouts};
use spin_sdk::variables;

use crate::wire::{self, Refusal, Status};

wit_bindgen::generate!({ path: "../../wit", world: "broker-client" });

use exports::gatehouse::broker::tokens::{
    AccessToken, Caller, Error, Guest, Origins, Outcome, Reconnect, Resolution, ResolveRequest,
};

/// The broker may have to wait for another request's refresh and then for a provider: 45 s at the most.
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(50),
    between_bytes: Duration::from_secs(10),
};
/// 64 services with a large token each.
const ANSWER_LIMIT: usize = 1024 * 1024;
const UNREACHABLE_RETRY_AFTER: u32 = 5;

struct BrokerClient;
export!(BrokerClient);

impl Guest for BrokerClient {
    fn public_urls() -> Result<Origins, Error> {
        Ok(Origins { gateway: origin("gateway_url")?, broker: origin("broker_public_url")? })
    }

    fn resolve(request: ResolveRequest) -> Result<Resolution, Error> {
        let response = shell::run(ask(&request)?).map_err(|error| match error {
            SendError::Denied => Error::Misconfigured("broker_url: allowed_outbound_hosts does not have it".into()),
            SendError::Url => Error::Misconfigured("broker_url: not an absolute http or https URL".into()),
            SendError::Head => Error::Misconfigured("service_key: longer than a header can be".into()),
            SendError::Timeout | SendError::Connection | SendError::TooLarge(_) => {
                Error::Unavailable(UNREACHABLE_RETRY_AFTER)
            }
        })?;
        let (head, body) = response.into_parts();
        let resolution =
            wire::read(head.status, &head.headers, &body, request.services.len()).map_err(|refusal| match refusal {
                Refusal::InvalidToken => Error::InvalidToken,
                Refusal::WrongAudience => Error::WrongAudience,
                Refusal::Unavailable(retry_after) => Error::Unavailable(retry_after),
                Refusal::Misconfigured(text) => Error::Misconfigured(text),
            })?;
        Ok(Resolution {
            caller: Caller {
                subject: resolution.caller.subject,
                client_id: resolution.caller.client_id,
                scopes: resolution.caller.scopes,
                expires_at: resolution.caller.expires_at,
                sealing_key: Base64UrlUnpadded::decode_vec(&resolution.caller.sealing_key.unwrap_or_default())
                    .map_err(|_| Error::Misconfigured("broker_url: what answers there is not a broker".into()))?,
            },
            outcomes: resolution.services.into_iter().map(outcome).collect(),
        })
    }
}

/// The request to the broker, ready to be run.
fn ask(request: &ResolveRequest) -> Result<impl Future<Output = Result<Response<Vec<u8>>, SendError>> + use<>, Error> {
    let body = wire::Request {
        subject_token: request.bearer.as_deref(),
        resource: &request.resource,
        services: request
            .services
            .iter()
            .map(|wanted| wire::WantedService {
                service: &wanted.service,
                account: wanted.account.as_deref(),
                refused: wanted.refused.as_deref(),
                scopes: &wanted.scopes,
            })
            .collect(),
    };
    let body = serde_json::to_vec(&body).unwrap_or_default();
    let mut authorization = HeaderValue::try_from(format!("Bearer {}", setting("service_key")?))
        .map_err(|_| Error::Misconfigured("service_key: not a header value".into()))?;
    authorization.set_sensitive(true);
    let url = origin("broker_url")? + "/resolve";
    let request = Request::post(url)
        .header(header::AUTHORIZATION, authorization)
        .header(header::CONTENT_TYPE, "application/json")
        .header(header::ACCEPT, "application/json")
        .header(header::ACCEPT_ENCODING, "identity")
        .body(body)
        .map_err(|_| Error::Misconfigured("broker_url: not a URL".into()))?;
    Ok(async {
        let (head, body) = shell::send(request, TIMEOUTS).await?.into_parts();
        Ok(Response::from_parts(head, body.collect(ANSWER_LIMIT).await?))
    })
}

fn outcome(said: wire::Outcome) -> Outcome {
    match said.status {
        Status::Token => Outcome::Token(AccessToken {
            value: said.access_token,
            token_type: said.token_type,
            expires_at: said.expires_at,
            scopes: said.scopes,
            extra: said.extra.into_iter().collect(),
            fingerprint: said.fingerprint,
        }),
        Status::NotConnected => Outcome::NotConnected(said.connect_url),
        Status::NeedsReconnect => {
            Outcome::NeedsReconnect(Reconnect { url: said.connect_url, missing_scopes: said.missing_scopes })
        }
        Status::TemporarilyUnavailable => Outcome::TemporarilyUnavailable(said.retry_after),
        Status::UnknownService => Outcome::UnknownService,
    }
}

fn origin(name: &str) -> Result<String, Error> {
    let mut url = setting(name)?;
    if url.ends_with('/') {
        url.pop();
    }
    Ok(url)
}

fn setting(name: &str) -> Result<String, Error> {
    match variables::get(name) {
        Ok(value) if !value.is_empty() => Ok(value),
        Ok(_) => Err(Error::Misconfigured(format!("{name}: empty"))),
        Err(_) => Err(Error::Misconfigured(format!("{name}: missing"))),
    }
}
