//! What does a token answer say, once its provider's habits are taken off?

use std::collections::BTreeMap;
use std::time::Duration;

use oauth2::basic::BasicTokenType;
use oauth2::{AccessToken, RefreshToken, Scope, TokenResponse};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::Grant;
use super::dialect::Asking;
use crate::catalogue::{LifetimeUnit, Service};
use crate::secret::Secret;

/// The standard answer as the `oauth2` crate reads it: RFC 6749 section 5.1, with the scopes as a list and the extra
/// values that the row names.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    access_token: AccessToken,
    token_type: BasicTokenType,
    expires_in: Option<u64>,
    refresh_token: Option<RefreshToken>,
    scope: Option<Vec<Scope>>,
    refresh_expires_in: Option<u64>,
    extra: BTreeMap<String, String>,
}

impl TokenResponse for Answer {
    type TokenType = BasicTokenType;

    fn access_token(&self) -> &AccessToken {
        &self.access_token
    }

    fn token_type(&self) -> &BasicTokenType {
        &self.token_type
    }

    fn expires_in(&self) -> Option<Duration> {
        self.expires_in.map(Duration::from_secs)
    }

    fn refresh_token(&self) -> Option<&RefreshToken> {
        self.refresh_token.as_ref()
    }

    fn scopes(&self) -> Option<&Vec<Scope>> {
        self.scope.as_ref()
    }
}

impl Answer {
    pub fn into_grant(self) -> Grant {
        Grant {
            token_type: match self.token_type {
                BasicTokenType::Bearer => "Bearer".to_owned(),
                other => other.as_ref().to_owned(),
            },
            lifetime: self.expires_in,
            refresh_token: self.refresh_token.map(|token| Secret::from(token.into_secret())),
            refresh_lifetime: self.refresh_expires_in,
            scopes: self.scope.map(|scopes| scopes.into_iter().map(|scope| scope.to_string()).collect()),
            extra: self.extra,
            access_token: Secret::from(self.access_token.into_secret()),
        }
    }
}

/// The standard form of a successful answer; none when it holds no access token.
pub fn standard(service: &Service, asking: Asking, said: &Value, now: u64) -> Option<Value> {
    let nested =
        service.token_at.as_ref().map(|path| at(said, path).filter(|nested| nested["access_token"].is_string()));
    let tokens = match nested {
        Some(Some(nested)) => nested,
        // To take the outer token of a code's answer would be to take another's, such as the app's own.
        Some(None) if asking == Asking::Code => return None,
        Some(None) | None => said,
    };
    let access_token = tokens["access_token"].as_str().filter(|token| !token.is_empty())?;
    let token_type = service.token_type.as_deref().or(tokens["token_type"].as_str()).unwrap_or("Bearer");
    let mut answer = Map::new();
    answer.insert("access_token".into(), access_token.into());
    // Its case means nothing (RFC 6749 section 5.1), but the crate looks at it.
    let bearer = token_type.eq_ignore_ascii_case("bearer");
    answer.insert("token_type".into(), if bearer { "bearer" } else { token_type }.into());
    answer.insert("expires_in".into(), lifetime(service, tokens, now).into());
    answer.insert(
        "refresh_expires_in".into(),
        seconds(&tokens["refresh_token_expires_in"]).map(|seconds| seconds.min(LONGEST)).into(),
    );
    if let Some(token) = tokens["refresh_token"].as_str().filter(|token| !token.is_empty()) {
        answer.insert("refresh_token".into(), token.into());
    }
    answer.insert("scope".into(), scopes(&tokens["scope"], &service.granted_separator).into());
    let mut extra = Map::new();
    for (name, path) in &service.extra {
        if let Some(value) = text_at(said, path) {
            extra.insert(name.clone(), value.into());
        }
    }
    answer.insert("extra".into(), extra.into());
    Some(Value::Object(answer))
}

/// How long the token lives: the answer's `expires_in`, or what is left until its `expires_at`.
fn lifetime(service: &Service, tokens: &Value, now: u64) -> Option<u64> {
    let unit = match service.lifetime_unit {
        LifetimeUnit::Seconds => 1,
        LifetimeUnit::Milliseconds => 1000,
    };
    if let Some(lifetime) = seconds(&tokens["expires_in"]) {
        return Some((lifetime / unit).clamp(1, LONGEST));
    }
    match &tokens["expires_at"] {
        Value::Null => service.default_lifetime,
        end => moment(end)?.checked_sub(now).filter(|left| *left > 0),
    }
}

/// A duration as a number or as text. What is not above zero is none: it is as if the provider had not said, and the
/// upstream's refusal is what tells that such a token has ended.
fn seconds(said: &Value) -> Option<u64> {
    number(said).filter(|seconds| *seconds > 0.0).map(|seconds| (seconds as u64).max(1))
}

/// `expires_at`: seconds or milliseconds since the epoch, or the form of RFC 3339.
fn moment(said: &Value) -> Option<u64> {
    match number(said) {
        Some(moment) if moment > 1e11 => Some((moment / 1000.0) as u64),
        Some(moment) if moment > 0.0 => Some(moment as u64),
        Some(_) => None,
        None => rfc3339(said.as_str()?),
    }
}

fn number(said: &Value) -> Option<f64> {
    said.as_f64().or_else(|| said.as_str()?.trim().parse().ok()).filter(|number| number.is_finite())
}

/// `2026-11-23T01:20:00Z`, with a fraction or an offset.
fn rfc3339(text: &str) -> Option<u64> {
    let part = |from: usize, to: usize| text.get(from..to)?.parse::<i64>().ok().filter(|number| *number >= 0);
    let (year, month, day) = (part(0, 4)?, part(5, 7)?, part(8, 10)?);
    let (hour, minute, second) = (part(11, 13)?, part(14, 16)?, part(17, 19)?);
    if !(1..=12).contains(&month) || !(1..=31).contains(&day) || hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let zone = text.get(19..)?.trim_start_matches(|c: char| c == '.' || c.is_ascii_digit());
    let offset = match zone.as_bytes().first()? {
        b'Z' | b'z' => 0,
        sign @ (b'+' | b'-') => {
            let minutes = zone.get(1..3)?.parse::<i64>().ok()? * 60 + zone.get(4..6)?.parse::<i64>().ok()?;
            if *sign == b'-' { -minutes } else { minutes }
        }
        _ => return None,
    };
    // Days since 1970 in the Gregorian calendar, with years that begin in March.
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let era = year.div_euclid(400);
    let of_era = year.rem_euclid(400);
    let days = era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1 - 719_468;
    u64::try_from(days * 86_400 + (hour * 60 + minute - offset) * 60 + second).ok()
}

/// A list, or text with spaces or the row's separator between.
fn scopes(said: &Value, separator: &str) -> Option<Vec<Value>> {
    match said {
        Value::String(text) => {
            let separator = separator.chars().next().unwrap_or(' ');
            let scopes = text.split(|c: char| c.is_whitespace() || c == separator);
            Some(scopes.filter(|scope| !scope.is_empty()).map(Value::from).collect())
        }
        Value::Array(scopes) => Some(scopes.iter().filter(|scope| scope.is_string()).cloned().collect()),
        _ => None,
    }
}

/// The value at a path of names with dots between.
pub fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    path.split('.').try_fold(value, |value, name| value.get(name))
}

/// The same as text; none when it is empty or no single value.
pub fn text_at(value: &Value, path: &str) -> Option<String> {
    match at(value, path)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        Value::Bool(flag) => Some(flag.to_string()),
        _ => None,
    }
}

/// Ten years, in seconds: beyond it stands a unit that the row has wrong, and no sum with it overflows.
const LONGEST: u64 = 315_360_000;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_read_in_every_form_that_providers_use() {
        for (said, seconds) in [
            (serde_json::json!(1_700_000_000), 1_700_000_000),
            (serde_json::json!("1700000000"), 1_700_000_000),
            (serde_json::json!(1_700_000_000_123_u64), 1_700_000_000),
            (serde_json::json!("2023-11-14T22:13:20Z"), 1_700_000_000),
            (serde_json::json!("2023-11-14T22:13:20.987Z"), 1_700_000_000),
            (serde_json::json!("2023-11-15T00:13:20+02:00"), 1_700_000_000),
            (serde_json::json!("2024-02-29T00:00:00Z"), 1_709_164_800),
            (serde_json::json!("1970-01-01T00:00:00Z"), 0),
        ] {
            assert_eq!(moment(&said), Some(seconds), "{said}");
        }
        for bad in ["", "soon", "2023-11-14", "2023-13-14T22:13:20Z", "2023-11-14T22:13:20", "20é3-11-14T22:13:20Z"] {
            assert_eq!(moment(&serde_json::json!(bad)), None, "{bad}");
        }
    }
}
