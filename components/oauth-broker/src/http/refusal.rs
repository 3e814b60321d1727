//! Answers a request that is refused.

use http::{HeaderValue, Response, StatusCode, header};
use http_auth::LoopError;
use serde_json::json;
use shell::ReadError;
use thiserror::Error;

use super::pages;
use crate::connect::ConnectError;
use crate::connections::DisconnectError;
use crate::connections::refresh::retry_after;
use crate::host::Host;
use crate::params::ParamsError;
use crate::people::CallerError;
use crate::people::local::Foreign;
use crate::provider::Failure;
use crate::services::ServiceError;
use crate::settings::SettingError;
use crate::text;
use crate::vault::{OpenError, RowError};

/// A refused request. The text is for its sender and holds no secret.
#[derive(Debug, Error)]
pub enum Refusal {
    #[error("there is nothing at this address")]
    NoRoute,
    #[error("this address takes {0} only")]
    Method(String),
    #[error("{0}")]
    Request(&'static str),
    #[error(transparent)]
    Unread(#[from] ReadError),
    #[error("this Gatehouse does not offer that service")]
    UnknownService,
    /// No person is signed in. After signing in they go to this path.
    #[error("sign in first")]
    SignIn(String),
    #[error("this is neither the passphrase nor an API key")]
    Credential(String),
    #[error("too many sign-ins were tried: try again in {0} seconds")]
    TooManySignIns(u32),
    #[error("you are still signed in, because the store does not take it now: sign out again")]
    NotSignedOut,
    #[error(transparent)]
    Caller(CallerError),
    #[error(transparent)]
    Params(#[from] ParamsError),
    #[error("resource is not a URL of this gateway")]
    Target,
    #[error(transparent)]
    Loop(#[from] LoopError),
    /// A person was not connected. They may start again at this path.
    #[error("{error}")]
    Connect { error: ConnectError, again: Option<String> },
    #[error("not connected yet")]
    NotConnected { connect_url: String },
    #[error("the grant has ended: connect again")]
    NeedsReconnect { connect_url: String, missing_scopes: Vec<String> },
    #[error("the provider or the store does not answer now: nothing is lost, ask again")]
    Later(u32),
    #[error(transparent)]
    Row(#[from] RowError),
}

impl From<SettingError> for Refusal {
    fn from(error: SettingError) -> Self {
        Self::Row(error.into())
    }
}

impl From<DisconnectError> for Refusal {
    fn from(error: DisconnectError) -> Self {
        match error {
            DisconnectError::UnknownService => Self::UnknownService,
            DisconnectError::Row(error) => Self::Row(error),
        }
    }
}

impl From<CallerError> for Refusal {
    fn from(error: CallerError) -> Self {
        match error {
            CallerError::Row(error) => Self::Row(error),
            error => Self::Caller(error),
        }
    }
}

impl From<Foreign> for Refusal {
    fn from(error: Foreign) -> Self {
        Self::Caller(error.into())
    }
}

impl Refusal {
    /// No person is signed in. After signing in, their connections are shown.
    pub fn sign_in() -> Self {
        Self::SignIn("/".to_owned())
    }

    /// The answer, and a line in the log where the operator has to know.
    pub fn answer<H: Host>(&self, host: &H, page: bool) -> Response<Vec<u8>> {
        let (status, code) = self.class();
        if status.is_server_error() && !matches!(self, Self::Later(_)) {
            host.log(&self.to_string());
        }
        let mut response = if page {
            pages::refusal(status, self, &self.text())
        } else {
            let mut body = json!({ "error": code, "error_description": self.text() });
            match self {
                Self::NotConnected { connect_url } => body["connect_url"] = json!(connect_url),
                Self::NeedsReconnect { connect_url, missing_scopes } => {
                    body["connect_url"] = json!(connect_url);
                    body["missing_scopes"] = json!(missing_scopes);
                }
                _ => {}
            }
            super::json(status, &body)
        };
        let headers = response.headers_mut();
        if let Some(seconds) = self.retry_after() {
            headers.insert(header::RETRY_AFTER, seconds.into());
        }
        match self {
            Self::Method(methods) => {
                headers.extend(HeaderValue::try_from(methods).ok().map(|allow| (header::ALLOW, allow)));
            }
            Self::Caller(CallerError::Bearer) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(r#"Bearer error="invalid_token""#));
            }
            Self::Caller(CallerError::Name { public_url, path: Some(path) }) => {
                if let Ok(location) = HeaderValue::try_from(format!("{public_url}{path}")) {
                    headers.insert(header::LOCATION, location);
                }
            }
            Self::SignIn(_) | Self::Caller(CallerError::Client | CallerError::Admin) => {
                headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            }
            _ => {}
        }
        response
    }

    /// The text for the caller. It may hold words of a provider.
    fn text(&self) -> String {
        match self {
            Self::Row(error) | Self::Connect { error: ConnectError::Row(error), .. } => error.public_text(),
            _ => text::plain(&self.to_string(), LONGEST),
        }
    }

    /// The status and the `error` code (RFC 6749 sections 4.1.2.1 and 5.2; RFC 6750; RFC 8707; the rest our own).
    pub fn class(&self) -> (StatusCode, &'static str) {
        match self {
            Self::NoRoute => (StatusCode::NOT_FOUND, "not_found"),
            Self::Method(_) => (StatusCode::METHOD_NOT_ALLOWED, "invalid_request"),
            Self::Request(_) | Self::Params(_) => (StatusCode::BAD_REQUEST, "invalid_request"),
            Self::Unread(error) => (unread(*error), "invalid_request"),
            Self::UnknownService => (StatusCode::NOT_FOUND, "unknown_service"),
            Self::SignIn(_) => (StatusCode::UNAUTHORIZED, "login_required"),
            Self::Credential(_) => (StatusCode::UNAUTHORIZED, "access_denied"),
            Self::TooManySignIns(_) => (StatusCode::TOO_MANY_REQUESTS, "temporarily_unavailable"),
            Self::Caller(error) => caller(error),
            Self::Target => (StatusCode::BAD_REQUEST, "invalid_target"),
            Self::Loop(_) => (StatusCode::LOOP_DETECTED, "invalid_request"),
            Self::NotConnected { .. } => (StatusCode::NOT_FOUND, "not_connected"),
            Self::NeedsReconnect { .. } => (StatusCode::CONFLICT, "needs_reconnect"),
            Self::Later(_) | Self::NotSignedOut => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            Self::Connect { error, .. } => match error {
                ConnectError::UnknownService => (StatusCode::NOT_FOUND, "unknown_service"),
                ConnectError::TicketOfAnother | ConnectError::OtherPerson => (StatusCode::FORBIDDEN, "access_denied"),
                ConnectError::Declined { .. } => (StatusCode::BAD_REQUEST, "access_denied"),
                ConnectError::Provider(failure) => match failure {
                    Failure::Ended(_) | Failure::NeedsPerson(_) | Failure::Forged(_) => {
                        (StatusCode::BAD_REQUEST, "invalid_grant")
                    }
                    Failure::Misconfigured(_) => (StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
                    Failure::Busy { .. } | Failure::Unreachable(_) => {
                        (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
                    }
                    Failure::Refused(_) | Failure::Malformed(_) => (StatusCode::BAD_GATEWAY, "server_error"),
                },
                ConnectError::Service(ServiceError::NoAnswer { .. }) => {
                    (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable")
                }
                ConnectError::Service(ServiceError::OtherIssuer) => (StatusCode::CONFLICT, "needs_reconnect"),
                ConnectError::Service(_) => (StatusCode::BAD_GATEWAY, "server_error"),
                ConnectError::Row(error) => row(error),
                _ => (StatusCode::BAD_REQUEST, "invalid_request"),
            },
            Self::Row(error) => row(error),
        }
    }

    fn retry_after(&self) -> Option<u32> {
        match self {
            Self::Later(seconds) | Self::TooManySignIns(seconds) => Some(*seconds),
            Self::Connect { error: ConnectError::Provider(failure), .. }
                if self.class().0 == StatusCode::SERVICE_UNAVAILABLE =>
            {
                Some(retry_after(failure))
            }
            _ if self.class().0 == StatusCode::SERVICE_UNAVAILABLE => Some(5),
            _ => None,
        }
    }
}

fn caller(error: &CallerError) -> (StatusCode, &'static str) {
    match error {
        CallerError::SeveralBearers => (StatusCode::BAD_REQUEST, "invalid_request"),
        CallerError::Bearer => (StatusCode::UNAUTHORIZED, "invalid_token"),
        CallerError::Client | CallerError::Admin => (StatusCode::UNAUTHORIZED, "invalid_client"),
        CallerError::SubjectToken => (StatusCode::BAD_REQUEST, "invalid_token"),
        CallerError::Name { path: Some(_), .. } => (StatusCode::TEMPORARY_REDIRECT, "access_denied"),
        CallerError::Foreign(_) | CallerError::Name { .. } => (StatusCode::FORBIDDEN, "access_denied"),
        CallerError::Row(error) => row(error),
    }
}

fn unread(error: ReadError) -> StatusCode {
    match error {
        ReadError::TooLarge(_) => StatusCode::PAYLOAD_TOO_LARGE,
        ReadError::TimedOut => StatusCode::REQUEST_TIMEOUT,
        ReadError::Broken => StatusCode::BAD_REQUEST,
    }
}

/// Characters of an error's text.
const LONGEST: usize = 2_000;

fn row(error: &RowError) -> (StatusCode, &'static str) {
    match error {
        RowError::Store(_) => (StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
        RowError::Setting(_) | RowError::Open(OpenError::UnknownKey(_) | OpenError::Broken) | RowError::Form => {
            (StatusCode::INTERNAL_SERVER_ERROR, "server_error")
        }
    }
}
