//! Defines the JSON between this client and the broker's `POST /resolve`.
//!
//! The JSON forms of the records in `wit/tokens.wit`. Unknown fields are ignored, so that a newer broker can say more.

use std::collections::BTreeMap;

use http::{HeaderMap, StatusCode, header};
use serde::{Deserialize, Serialize};

/// Seconds to wait when the broker did not say how long.
const RETRY_AFTER: u32 = 5;

#[derive(Serialize)]
pub struct Request<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    pub subject_token: Option<&'a str>,
    pub resource: &'a str,
    pub services: Vec<WantedService<'a>>,
}

#[derive(Serialize)]
pub struct WantedService<'a> {
    pub service: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub account: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refused: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    pub scopes: &'a [String],
}

#[derive(Deserialize)]
pub struct Resolution {
    pub caller: Caller,
    pub services: Vec<Outcome>,
}

#[derive(Deserialize)]
pub struct Caller {
    pub subject: String,
    pub client_id: Option<String>,
    #[serde(default)]
    pub scopes: Vec<String>,
    pub expires_at: Option<u64>,
    /// base64url, without padding. Only a gateway gets one.
    pub sealing_key: Option<String>,
}

/// The result for one service: `status` says which of the other fields are there. Flat, because serde buffers a tagged
/// enum before it reads it, and this is read on every call.
#[derive(Deserialize, Default)]
#[serde(default)]
pub struct Outcome {
    pub status: Status,
    pub access_token: String,
    pub token_type: String,
    pub expires_at: Option<u64>,
    pub scopes: Vec<String>,
    pub extra: BTreeMap<String, String>,
    pub fingerprint: String,
    pub connect_url: String,
    pub missing_scopes: Vec<String>,
    pub retry_after: u32,
}

#[derive(Deserialize, Default, Debug, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
pub enum Status {
    Token,
    NotConnected,
    NeedsReconnect,
    TemporarilyUnavailable,
    #[default]
    UnknownService,
}

/// The reason why the broker resolved nothing; the variants of `error` in `wit/tokens.wit`.
#[derive(Debug, PartialEq, Eq)]
pub enum Refusal {
    InvalidToken,
    WrongAudience,
    Unavailable(u32),
    Misconfigured(String),
}

/// Reads the broker's answer to a request for `wanted` services.
pub fn read(status: StatusCode, headers: &HeaderMap, body: &[u8], wanted: usize) -> Result<Resolution, Refusal> {
    if status == StatusCode::OK {
        return match serde_json::from_slice::<Resolution>(body) {
            Ok(resolution) if resolution.caller.sealing_key.is_none() => Err(Refusal::Misconfigured(
                "service_key: the broker does not take it for a gateway's: name it in the broker's `gateway_keys`"
                    .into(),
            )),
            Ok(resolution) if resolution.services.len() == wanted => Ok(resolution),
            _ => Err(Refusal::Misconfigured("broker_url: what answers there is not a broker of this version".into())),
        };
    }
    #[derive(Deserialize, Default)]
    struct OAuthError {
        #[serde(default)]
        error: String,
        #[serde(default)]
        error_description: String,
    }
    let said: OAuthError = serde_json::from_slice(body).unwrap_or_default();
    Err(match said.error.as_str() {
        "invalid_token" => Refusal::InvalidToken,
        "invalid_target" => Refusal::WrongAudience,
        "invalid_client" => Refusal::Misconfigured("service_key: the broker does not accept it".into()),
        "server_error" => Refusal::Misconfigured(said.error_description),
        _ if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS => {
            let retry_after = headers.get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
            Refusal::Unavailable(retry_after.unwrap_or(RETRY_AFTER))
        }
        _ => Refusal::Misconfigured(format!("broker_url: what answers there said {}", status.as_u16())),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(status: u16, body: &str) -> Refusal {
        read(StatusCode::from_u16(status).unwrap(), &HeaderMap::new(), body.as_bytes(), 0).err().unwrap()
    }

    #[test]
    fn every_outcome_of_the_contract_is_read() {
        let body = br#"{"caller":{"subject":"owner","sealing_key":"AA","new_field":1},"services":[
            {"service":"a","status":"token","access_token":"t","token_type":"Bearer","fingerprint":"f","extra":{"api":"x"}},
            {"service":"b","status":"not_connected","connect_url":"u"},
            {"service":"c","status":"needs_reconnect","connect_url":"u","missing_scopes":["s"]},
            {"service":"d","status":"temporarily_unavailable","retry_after":7},
            {"service":"e","status":"unknown_service"}]}"#;
        let resolution = read(StatusCode::OK, &HeaderMap::new(), body, 5).ok().unwrap();
        let [token, not_connected, reconnect, later, unknown] = &resolution.services[..] else { panic!("five asked") };
        assert_eq!((&token.status, token.access_token.as_str()), (&Status::Token, "t"));
        assert_eq!(token.extra["api"], "x");
        assert_eq!((&not_connected.status, not_connected.connect_url.as_str()), (&Status::NotConnected, "u"));
        assert_eq!(
            (&reconnect.status, &reconnect.missing_scopes[..]),
            (&Status::NeedsReconnect, &["s".to_owned()][..])
        );
        assert_eq!((&later.status, later.retry_after), (&Status::TemporarilyUnavailable, 7));
        assert_eq!(unknown.status, Status::UnknownService);
    }

    #[test]
    fn an_answer_that_does_not_fit_the_question_is_not_taken() {
        let body = br#"{"caller":{"subject":"owner","sealing_key":"AA"},"services":[]}"#;
        assert!(matches!(read(StatusCode::OK, &HeaderMap::new(), body, 1), Err(Refusal::Misconfigured(_))));
        assert!(matches!(read(StatusCode::OK, &HeaderMap::new(), b"<html>", 0), Err(Refusal::Misconfigured(_))));
    }

    /// A13: the key of another service resolves, and seals nothing.
    #[test]
    fn a_service_that_is_no_gateway_is_told_which_setting_makes_it_one() {
        let body = br#"{"caller":{"subject":"ann","scopes":[]},"services":[]}"#;
        let refused = read(StatusCode::OK, &HeaderMap::new(), body, 0).err();
        assert!(matches!(refused, Some(Refusal::Misconfigured(text)) if text.contains("gateway_keys")));
    }

    #[test]
    fn errors_of_the_broker_keep_their_meaning() {
        assert_eq!(refusal(400, r#"{"error":"invalid_token"}"#), Refusal::InvalidToken);
        assert_eq!(refusal(400, r#"{"error":"invalid_target"}"#), Refusal::WrongAudience);
        assert!(
            matches!(refusal(401, r#"{"error":"invalid_client"}"#), Refusal::Misconfigured(text) if text.starts_with("service_key"))
        );
        assert_eq!(
            refusal(500, r#"{"error":"server_error","error_description":"encryption_keys: missing"}"#),
            Refusal::Misconfigured("encryption_keys: missing".into())
        );
        assert!(matches!(refusal(404, "nothing here"), Refusal::Misconfigured(_)));
    }

    #[test]
    fn an_outage_says_when_to_come_back() {
        assert_eq!(refusal(502, ""), Refusal::Unavailable(RETRY_AFTER));
        let headers = HeaderMap::from_iter([(header::RETRY_AFTER, "9".parse().unwrap())]);
        let busy = read(StatusCode::SERVICE_UNAVAILABLE, &headers, br#"{"error":"temporarily_unavailable"}"#, 0);
        assert_eq!(busy.err(), Some(Refusal::Unavailable(9)));
    }
}
