//! Turns a provider's token answer into the standard grant.

use std::collections::BTreeMap;

use http_auth::scope::GRANTED;
use serde_json::Value;

use super::Grant;
use super::dialect::TokenRequest;
use super::time::{number, timestamp};
use crate::catalogue::{LifetimeUnit, Service};
use sealing::Secret;

/// The grant of a successful answer (RFC 6749 section 5.1). `None` if it holds no access token, or one that is too long. `value` is the answer, with
/// the parameters of the callback and the claims of an id token in it; `now` is the provider's.
pub fn read_grant(service: &Service, request_kind: TokenRequest<'_>, value: &Value, now: u64) -> Option<Grant> {
    let paths = &service.answer;
    let access_token = |tokens| at(tokens, &paths.access_token)?.as_str().filter(|token| !token.is_empty());
    let nested = service.token_at.as_ref().map(|path| at(value, path).filter(|nested| access_token(nested).is_some()));
    let tokens = match nested {
        Some(Some(nested)) => nested,
        // To take the outer token of a code's answer would be to take another's, such as the app's own.
        Some(None) if matches!(request_kind, TokenRequest::Code { .. }) => return None,
        Some(None) | None => value,
    };
    let find =
        |path: &str| at(if path.starts_with("callback.") { value } else { tokens }, path).unwrap_or(&Value::Null);
    let access_token = access_token(tokens)?;
    let token_type = service.token_type.as_deref().or(find(&paths.token_type).as_str()).unwrap_or("Bearer");
    let refresh_token = find(&paths.refresh_token).as_str().filter(|token| !token.is_empty());
    // Where the access token renews itself, it is what is kept for the next time.
    let refresh_token = refresh_token.or(service.renew.is_some().then_some(access_token));
    if [Some(access_token), refresh_token].into_iter().flatten().any(|token| token.len() > LONGEST_TOKEN) {
        return None;
    }
    Some(Grant {
        access_token: Secret::from(access_token.to_owned()),
        // Its case means nothing (RFC 6749 section 5.1), but some resource servers look at it.
        token_type: if token_type.eq_ignore_ascii_case("bearer") { "Bearer" } else { token_type }.to_owned(),
        lifetime: lifetime(service, find(&paths.expires_in), find(&paths.expires_at), now),
        refresh_token: refresh_token.map(|token| Secret::from(token.to_owned())),
        refresh_lifetime: seconds(find(&paths.refresh_expires_in)).map(|seconds| seconds.min(LONGEST)),
        scopes: scopes(find(&paths.scope), &service.granted_separator),
        extra: picked(&service.extra, value),
    })
}

/// The values of an answer that a row wants kept.
pub fn picked(wanted: &BTreeMap<String, String>, value: &Value) -> BTreeMap<String, String> {
    crate::maps::map_of(wanted.iter().filter_map(|(name, path)| Some((name.clone(), text_at(value, path)?))))
}

/// The lifetime of the token: as the answer says, or the seconds until the time that it names.
fn lifetime(service: &Service, lifetime: &Value, end: &Value, now: u64) -> Option<u64> {
    let unit = match service.lifetime_unit {
        LifetimeUnit::Seconds => 1,
        LifetimeUnit::Milliseconds => 1000,
    };
    if let Some(lifetime) = seconds(lifetime) {
        return Some((lifetime / unit).clamp(1, LONGEST));
    }
    match end {
        Value::Null => service.default_lifetime,
        end => timestamp(end)?.checked_sub(now).filter(|left| *left > 0).map(|left| left.min(LONGEST)),
    }
}

/// A duration as a number or as text. A duration that is not above zero counts as absent, and the
/// upstream's refusal shows that such a token has ended.
fn seconds(value: &Value) -> Option<u64> {
    number(value).filter(|seconds| *seconds > 0.0).map(|seconds| (seconds as u64).max(1))
}

/// A list, or text with spaces or the row's separator between. [`LEFT_OUT`] stands for all that is no scope, or too much.
fn scopes(value: &Value, separator: &str) -> Option<Vec<String>> {
    let mut scopes = Vec::new();
    let is_whole = match value {
        Value::String(text) => {
            let separator = separator.chars().next().unwrap_or(' ');
            let words = text.split(|c: char| c.is_whitespace() || c == separator);
            GRANTED.add(&mut scopes, &mut words.filter(|word| !word.is_empty()))
        }
        Value::Array(list) => GRANTED.add(&mut scopes, &mut list.iter().filter_map(Value::as_str)),
        _ => return None,
    };
    if !is_whole {
        scopes.push(LEFT_OUT.to_owned());
    }
    Some(scopes)
}

/// The value at a path: names with dots between, in one of several places. A list is named by position.
pub fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let step = |value: &'v Value, name: &str| match value {
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        value => value.get(name),
    };
    path.split('|').find_map(|path| path.split('.').try_fold(value, step)).filter(|value| !value.is_null())
}

/// The same as text. `None` if it is empty or no single value.
pub fn text_at(value: &Value, path: &str) -> Option<String> {
    match at(value, path)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Among the granted scopes: the token may do more than they say, so it is within no `handout_policy` but `*`.
const LEFT_OUT: &str = "(more)";
/// The most bytes of a token. It goes into a header of every call, and into the rows that these read.
const LONGEST_TOKEN: usize = 32 * 1024;
/// Ten years, in seconds: beyond it stands a unit that the row has wrong, and no sum with it overflows.
const LONGEST: u64 = 315_360_000;
