//! Classifies the failures of a provider by what they mean for a grant.
//!
//! The classes are kept apart because taking one for another is how grants are lost. Only an error that says so ends a
//! grant: `invalid_grant` (RFC 6749 section 5.2) and the row's `terminal_errors`. One that wants the person there ends
//! nothing, but no machine gets further. What speaks of the client, not of the grant, is for the operator. All else, and
//! above all silence, server errors, rate limits and answers that make no sense, says nothing about the grant: it is
//! kept, and asked again later. A row's lists come before what is usual.

use http::{Response, StatusCode, header};
use thiserror::Error;

use super::time::http_date;
use crate::catalogue::Service;
use crate::host::SendFault;

#[derive(Debug, Error, Clone, PartialEq, Eq)]
pub enum Failure {
    /// The grant, or the code, is not good any more. A person has to connect again.
    #[error("the provider ended the grant ({0})")]
    Ended(String),
    /// The grant stands, but the provider wants to see the person before it gives another token.
    #[error("the provider asks for the person ({0})")]
    NeedsPerson(String),
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
    /// The answer is malformed, or the request that was to be sent.
    #[error("malformed {0}")]
    Malformed(&'static str),
    /// The callback was not made by this provider.
    #[error("the provider did not make this answer ({0})")]
    Forged(&'static str),
}

impl Failure {
    /// The class of an answer with these error codes: the first that has one counts.
    pub(super) fn of_codes<T>(service: &Service, codes: &[String], answer: &Response<T>, now: u64) -> Self {
        let class = |code: &String| {
            let shown = || presentable(code);
            let own = |list: &[String]| list.contains(code);
            let usual = |list: &[&str]| list.contains(&code.as_str());
            if own(&service.terminal_errors) {
                Some(Self::Ended(shown()))
            } else if own(&service.consent_errors) {
                Some(Self::NeedsPerson(shown()))
            } else if own(&service.retry_errors) {
                Some(Self::of_status(answer, now))
            } else if own(&service.misconfigured_errors) {
                Some(Self::Misconfigured(shown()))
            } else if code == "invalid_grant" {
                Some(Self::Ended(shown()))
            } else if usual(&CONSENT) {
                Some(Self::NeedsPerson(shown()))
            } else if usual(&RETRY) {
                Some(Self::of_status(answer, now))
            } else if usual(&MISCONFIGURED) {
                Some(Self::Misconfigured(shown()))
            } else {
                None
            }
        };
        let unknown = || Self::Refused(codes.first().map_or_else(String::new, |code| presentable(code)));
        codes.iter().find_map(class).unwrap_or_else(unknown)
    }

    /// The class of an answer that is known by its status alone.
    pub(super) fn of_status<T>(answer: &Response<T>, now: u64) -> Self {
        Self::Busy { status: answer.status().as_u16(), retry_after: retry_after(answer, now) }
    }

    /// Returns true if a status says nothing about the request: it may be sent again.
    pub(crate) fn is_busy(status: StatusCode) -> bool {
        status.is_server_error()
            || [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT, StatusCode::TOO_EARLY].contains(&status)
    }
}

/// Seconds or a moment (RFC 9110 section 10.2.3), and that by the clock that wrote it.
fn retry_after<T>(answer: &Response<T>, now: u64) -> Option<u32> {
    let value = answer.headers().get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    value.parse().ok().or_else(|| {
        let wait = http_date(value)?.saturating_sub(clock(answer, now));
        Some(u32::try_from(wait).unwrap_or(u32::MAX))
    })
}

/// The time of the provider's clock, or else of ours: a time that the provider names is one of its own clock.
pub(super) fn clock<T>(answer: &Response<T>, now: u64) -> u64 {
    answer.headers().get(header::DATE).and_then(|date| http_date(date.to_str().ok()?)).unwrap_or(now)
}

/// A provider's error code, if it looks like one: any other text in its place may be an echo of what we sent.
fn presentable(error: &str) -> String {
    let word = (1..=48).contains(&error.len()) && error.bytes().all(|byte| byte.is_ascii_alphabetic() || byte == b'_');
    let digits = |text: &str| (1..=9).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if word || digits(error.strip_prefix("status_").unwrap_or(error)) {
        error.to_owned()
    } else {
        "unnamed error".to_owned()
    }
}

/// OpenID Connect Core 1.0 section 3.1.2.6.
const CONSENT: [&str; 4] = ["interaction_required", "login_required", "account_selection_required", "consent_required"];
/// RFC 6749 section 4.1.2.1, RFC 8628 section 3.5.
const RETRY: [&str; 3] = ["temporarily_unavailable", "server_error", "slow_down"];
/// RFC 6749 section 5.2.
pub(super) const MISCONFIGURED: [&str; 2] = ["invalid_client", "unauthorized_client"];
