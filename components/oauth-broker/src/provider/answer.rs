//! What does a token answer say, once its provider's habits are taken off?

use std::collections::BTreeMap;
use std::time::Duration;

use oauth2::basic::BasicTokenType;
use oauth2::{AccessToken, RefreshToken, Scope, TokenResponse};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::Grant;
use super::dialect::Asking;
use super::moment::{moment, number};
use crate::catalogue::{LifetimeUnit, Service};
use sealing::Secret;

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

/// The standard form of a successful answer; none when it holds no access token. `said` is the answer, with what came
/// to the callback and an id token's claims in it; `now` is the provider's.
pub fn standard(service: &Service, asking: Asking, said: &Value, now: u64) -> Option<Answer> {
    let paths = &service.answer;
    let access_token = |tokens| at(tokens, &paths.access_token)?.as_str().filter(|token| !token.is_empty());
    let nested = service.token_at.as_ref().map(|path| at(said, path).filter(|nested| access_token(nested).is_some()));
    let tokens = match nested {
        Some(Some(nested)) => nested,
        // To take the outer token of a code's answer would be to take another's, such as the app's own.
        Some(None) if asking == Asking::Code => return None,
        Some(None) | None => said,
    };
    let find = |path: &str| at(if path.starts_with("callback.") { said } else { tokens }, path).unwrap_or(&Value::Null);
    let access_token = access_token(tokens)?;
    let token_type = service.token_type.as_deref().or(find(&paths.token_type).as_str()).unwrap_or("Bearer");
    let refresh_token = find(&paths.refresh_token).as_str().filter(|token| !token.is_empty());
    // Where the access token renews itself, it is what is kept for the next time.
    let refresh_token = refresh_token.or(service.renew.is_some().then_some(access_token));
    Some(Answer {
        access_token: AccessToken::new(access_token.to_owned()),
        // Its case means nothing (RFC 6749 section 5.1), but the crate looks at it.
        token_type: match token_type.eq_ignore_ascii_case("bearer") {
            true => BasicTokenType::Bearer,
            false => BasicTokenType::Extension(token_type.to_owned()),
        },
        expires_in: lifetime(service, find(&paths.expires_in), find(&paths.expires_at), now),
        refresh_token: refresh_token.map(|token| RefreshToken::new(token.to_owned())),
        scope: scopes(find(&paths.scope), &service.granted_separator),
        refresh_expires_in: seconds(find(&paths.refresh_expires_in)).map(|seconds| seconds.min(LONGEST)),
        extra: picked(&service.extra, said),
    })
}

/// What of a text a row wants kept.
pub fn picked(wanted: &BTreeMap<String, String>, said: &Value) -> BTreeMap<String, String> {
    wanted.iter().filter_map(|(name, path)| Some((name.clone(), text_at(said, path)?))).collect()
}

/// How long the token lives: as the answer says, or what is left until the moment that it names.
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
        end => moment(end)?.checked_sub(now).filter(|left| *left > 0).map(|left| left.min(LONGEST)),
    }
}

/// A duration as a number or as text. What is not above zero is none: it is as if the provider had not said, and the
/// upstream's refusal is what tells that such a token has ended.
fn seconds(said: &Value) -> Option<u64> {
    number(said).filter(|seconds| *seconds > 0.0).map(|seconds| (seconds as u64).max(1))
}

/// A list, or text with spaces or the row's separator between.
fn scopes(said: &Value, separator: &str) -> Option<Vec<Scope>> {
    match said {
        Value::String(text) => {
            let separator = separator.chars().next().unwrap_or(' ');
            let scopes = text.split(|c: char| c.is_whitespace() || c == separator);
            Some(scopes.filter(|scope| !scope.is_empty()).map(|scope| Scope::new(scope.to_owned())).collect())
        }
        Value::Array(scopes) => {
            Some(scopes.iter().filter_map(|scope| Some(Scope::new(scope.as_str()?.to_owned()))).collect())
        }
        _ => None,
    }
}

/// The value at a path: names with dots between, in one of several places. A list is named by position.
pub fn at<'v>(value: &'v Value, path: &str) -> Option<&'v Value> {
    let step = |value: &'v Value, name: &str| match value {
        Value::Array(list) => list.get(name.parse::<usize>().ok()?),
        value => value.get(name),
    };
    path.split('|').find_map(|path| path.split('.').try_fold(value, step)).filter(|value| !value.is_null())
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
