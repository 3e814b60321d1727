//! What does it mean for a grant when a provider does not give what was asked?
//!
//! The classes are kept apart because taking one for another is how grants are lost. Only an error that says so ends a
//! grant: `invalid_grant` (RFC 6749 section 5.2) and the row's `terminal_errors`. What speaks of the client, not of the
//! grant, is for the operator. All else, and above all silence, server errors, rate limits and answers that make no
//! sense, says nothing about the grant: it is kept, and asked again later.

use http::{Response, StatusCode, header};
use oauth2::basic::BasicErrorResponse;
use oauth2::{ErrorResponse, RequestTokenError};
use thiserror::Error;

use crate::catalogue::Service;
use crate::host::SendFault;

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The grant, or the code, is not good any more. A person has to connect again.
    #[error("the provider ended the grant ({0})")]
    Ended(String),
    /// The provider does not accept the client: the operator has to look at `oauth_clients`.
    #[error("the provider does not accept the client ({0}): see oauth_clients")]
    Misconfigured(String),
    /// The provider refused for another reason.
    #[error("the provider refused ({0})")]
    Refused(String),
    /// The provider cannot answer now; perhaps it said for how many seconds.
    #[error("the provider answered {status}")]
    Busy { status: u16, retry_after: Option<u32> },
    /// No answer came.
    #[error(transparent)]
    Unreachable(#[from] SendFault),
    /// What came is not an answer, or what was to be sent is not a request.
    #[error("malformed {0}")]
    Malformed(&'static str),
}

impl Failure {
    pub(super) fn of(service: &Service, error: RequestTokenError<Self, BasicErrorResponse>) -> Self {
        match error {
            RequestTokenError::ServerResponse(said) => Self::said(service, said.error().as_ref()),
            other => Self::without_words(other),
        }
    }

    pub(super) fn of_revocation<T: ErrorResponse>(service: &Service, error: RequestTokenError<Self, T>) -> Self {
        match error {
            RequestTokenError::ServerResponse(said) => {
                let said = serde_json::to_value(&said).unwrap_or_default();
                Self::said(service, said.get("error").and_then(|error| error.as_str()).unwrap_or_default())
            }
            other => Self::without_words(other),
        }
    }

    /// The class of an error code of the provider.
    pub(super) fn said(service: &Service, error: &str) -> Self {
        let shown = presentable(error);
        let among = |list: &[String]| list.iter().any(|known| known == error);
        if error == "invalid_grant" || among(&service.terminal_errors) {
            Self::Ended(shown)
        } else if ["invalid_client", "unauthorized_client"].contains(&error) || among(&service.misconfigured_errors) {
            Self::Misconfigured(shown)
        } else {
            Self::Refused(shown)
        }
    }

    /// The class of an answer that is known by its status alone.
    pub(super) fn of_status(answer: &Response<Vec<u8>>) -> Self {
        let retry_after = answer.headers().get(header::RETRY_AFTER).and_then(|value| value.to_str().ok()?.parse().ok());
        Self::Busy { status: answer.status().as_u16(), retry_after }
    }

    /// Whether a status says nothing about the request: it may be sent again.
    pub(super) fn is_busy(status: StatusCode) -> bool {
        status.is_server_error()
            || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY].contains(&status)
    }

    fn without_words<T: ErrorResponse>(error: RequestTokenError<Self, T>) -> Self {
        match error {
            RequestTokenError::Request(failure) => failure,
            // The parse error holds the answer's body, tokens and all: it goes nowhere.
            _ => Self::Malformed("answer"),
        }
    }
}

/// A provider's error code, if it looks like one: whatever else stands in its place may be an echo of what we sent.
fn presentable(error: &str) -> String {
    let code = (1..=48).contains(&error.len()) && error.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let status = error.strip_prefix("status_").is_some_and(|status| status.bytes().all(|byte| byte.is_ascii_digit()));
    if code || status { error.to_owned() } else { "unnamed error".to_owned() }
}
