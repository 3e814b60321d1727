//! Translates between a provider's dialect and standard OAuth.
//!
//! On the way out a request takes the form that the row names; on the way back the answer becomes the grant of RFC 6749
//! section 5.1, or the failure that it is.

use std::collections::BTreeMap;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, header};
use http_auth::coding;
use serde_json::{Map, Value};
use url::Url;

use super::answer::at;
use super::failure::MISCONFIGURED;
use super::{Failure, Grant, USER_AGENT, answer, id_token};
use crate::catalogue::{Body, ClientAuth, Service};
use crate::host::{CALL_LIMIT, Host, SendFault};
use sealing::Secret;

/// The kind of a token request: some providers nest the answer to a code and not that to a refresh.
#[derive(Debug, Clone, Copy)]
pub enum TokenRequest<'a> {
    Code {
        /// The kept parameters of the callback.
        callback: &'a BTreeMap<String, String>,
        /// The nonce that an id token has to repeat.
        nonce: &'a str,
    },
    Refresh,
}

/// A request as it leaves.
#[derive(Clone)]
pub struct Outgoing<'a> {
    pub method: Method,
    pub url: &'a str,
    pub headers: HeaderMap,
    pub body: Body,
    pub params: Vec<(String, String)>,
}

/// Sends a token request, which the client authenticates.
pub async fn ask<H: Host>(
    host: &H,
    service: &Service,
    url: &str,
    params: Vec<(&str, String)>,
) -> Result<Response<Vec<u8>>, Failure> {
    let params = renamed_params(service, params);
    let outgoing = Outgoing { method: Method::POST, url, headers: HeaderMap::new(), body: service.token_body, params };
    send_as_client(host, service, outgoing, Vec::new()).await
}

/// Parameters of the standard by the names that the provider has for them.
pub fn renamed_params(service: &Service, params: Vec<(&str, String)>) -> Vec<(String, String)> {
    let renamed = |(name, value)| Some((service.renamed(name)?.to_owned(), value));
    params.into_iter().filter_map(renamed).collect()
}

/// Takes parameters that `params` bring out of the query of a URL: none may come twice (RFC 6749 sections 3.1 and 3.2).
pub fn remove_params(url: &mut Url, params: &[(String, String)]) {
    let stays = |name: &str| !params.iter().any(|(ours, _)| ours == name);
    let (kept, gone): (Vec<_>, Vec<_>) = url.query_pairs().into_owned().partition(|(name, _)| stays(name));
    if !gone.is_empty() {
        url.set_query(None);
    }
    if !gone.is_empty() && !kept.is_empty() {
        url.query_pairs_mut().extend_pairs(kept);
    }
}

/// Sends a request that the client authenticates. If the provider does not accept that, and the other method is possible,
/// it is tried once; the service remembers which one was accepted.
pub async fn send_as_client<H: Host>(
    host: &H,
    service: &Service,
    outgoing: Outgoing<'_>,
    literal: Vec<u8>,
) -> Result<Response<Vec<u8>>, Failure> {
    let started = host.ticks();
    let answer = send(host, authenticated(service, outgoing.clone())?, literal.clone()).await?;
    // A lease is long enough for one call: both have to be over in the time of one.
    let left = CALL_LIMIT.saturating_sub(Duration::from_millis(host.ticks().saturating_sub(started)));
    let may_try = |_: &ClientAuth| !left.is_zero() && refuses_client(&answer);
    let Some(other) = service.other_auth.filter(may_try) else { return Ok(answer) };
    let usual = service.client_auth.replace(other);
    let again = send(host, authenticated(service, outgoing)?, literal);
    let again = match select(pin!(again), pin!(host.sleep(left))).await {
        Either::Left((again, _)) => again,
        Either::Right(_) => Err(Failure::Unreachable(SendFault::Timeout)),
    };
    if again.as_ref().is_ok_and(refuses_client) {
        service.client_auth.set(usual);
    }
    again
}

/// Returns true if an answer is about the client and not about what it asked (RFC 6749 section 5.2).
fn refuses_client(answer: &Response<Vec<u8>>) -> bool {
    let code = read(answer).and_then(|members| members["error"].as_str().map(str::to_owned));
    answer.status() == StatusCode::UNAUTHORIZED || code.is_some_and(|code| MISCONFIGURED.contains(&&*code))
}

pub async fn send<H: Host>(host: &H, outgoing: Outgoing<'_>, literal: Vec<u8>) -> Result<Response<Vec<u8>>, Failure> {
    let Outgoing { method, url, mut headers, body, params } = outgoing;
    let mut url = Url::parse(url).map_err(|_| Failure::Malformed("URL"))?;
    remove_params(&mut url, &params);
    let (kind, bytes) = match body {
        _ if params.is_empty() && literal.is_empty() => (None, literal),
        _ if params.is_empty() => (Some(JSON), literal),
        Body::Form => {
            let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
            (Some(HeaderValue::from_static("application/x-www-form-urlencoded")), form.into_bytes())
        }
        Body::Json => {
            let object = object_of(params.into_iter().map(|(name, value)| (name, value.into())));
            (Some(JSON), serde_json::to_vec(&object).unwrap_or_default())
        }
        Body::Query => {
            url.query_pairs_mut().extend_pairs(params);
            (None, literal)
        }
    };
    headers.extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
    headers.insert(header::ACCEPT, JSON);
    headers.insert(header::ACCEPT_ENCODING, coding::NONE);
    // Some providers refuse requests without one.
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    let mut request = Request::builder().method(method).uri(url.as_str());
    if let Some(all) = request.headers_mut() {
        *all = headers;
    }
    let request = request.body(bytes).map_err(|_| Failure::Malformed("request"))?;
    Ok(crate::outbound::send(host, request)?.await?)
}

/// The request with the client's credentials where the row wants them.
fn authenticated<'a>(service: &Service, mut outgoing: Outgoing<'a>) -> Result<Outgoing<'a>, Failure> {
    let id = service.client_id.as_str();
    let secret = service.client_secret.as_ref().map(Secret::reveal);
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let mut name = |name: &str, value: &str| {
        if let Some(name) = service.renamed(name) {
            outgoing.params.push((name.to_owned(), value.to_owned()));
        }
    };
    let credentials = match (service.client_auth.get(), secret) {
        (ClientAuth::Basic, Some(secret)) => {
            // RFC 6749 section 3.2.1 allows it, and many servers know the client by nothing else.
            if !service.is_catalogues {
                name("client_id", id);
            }
            format!("{}:{}", encode(id), encode(secret))
        }
        (ClientAuth::BasicRaw, secret) => format!("{id}:{}", secret.unwrap_or_default()),
        (ClientAuth::SecretAsUser, Some(secret)) => format!("{secret}:"),
        (auth, secret) => {
            name("client_id", id);
            if let Some(secret) = secret.filter(|_| auth == ClientAuth::Post) {
                name("client_secret", secret);
            }
            return Ok(outgoing);
        }
    };
    outgoing.headers.insert(header::AUTHORIZATION, sensitive(format!("Basic {}", base64(&credentials)))?);
    Ok(outgoing)
}

/// The grant of a token answer.
pub fn tokens<H: Host>(
    host: &H,
    service: &Service,
    request_kind: TokenRequest<'_>,
    answer: &Response<Vec<u8>>,
) -> Result<Grant, Failure> {
    let now = host.now();
    if Failure::is_busy(answer.status()) || answer.status().is_redirection() {
        return Err(Failure::of_status(answer, now));
    }
    if let Some(coding) = coding::of(answer.headers()) {
        return Err(SendFault::Coded(coding).into());
    }
    let members = read(answer);
    if let Some(failure) = error(service, answer, members.as_ref().unwrap_or(&Value::Null), now) {
        return Err(failure);
    }
    let mut members = members.ok_or(Failure::Malformed("answer"))?;
    let (callback, nonce) = match request_kind {
        TokenRequest::Code { callback, nonce } => (Some(callback), Some(nonce)),
        TokenRequest::Refresh => (None, None),
    };
    if service.reads_id_token() {
        let claims = id_token::claims(service, members.get("id_token").and_then(Value::as_str), nonce, now)?;
        members["id_token"] = claims;
    }
    let callback = callback.into_iter().flatten();
    members["callback"] = object_of(callback.map(|(name, value)| (name.clone(), Value::from(value.as_str()))));
    answer::read_grant(service, request_kind, &members, super::failure::clock(answer, now))
        .ok_or(Failure::Malformed("answer"))
}

/// Returns an error if the answer to a request other than a token request is one, under any status.
pub fn check_success<H: Host>(host: &H, service: &Service, answer: &Response<Vec<u8>>) -> Result<(), Failure> {
    let now = host.now();
    if Failure::is_busy(answer.status()) || answer.status().is_redirection() {
        return Err(Failure::of_status(answer, now));
    }
    let members = match read(answer) {
        // It may say that it is an error in a way that other readers see.
        None if body(answer).starts_with(b"{") => return Err(Failure::Malformed("answer")),
        members => members.unwrap_or_default(),
    };
    match error(service, answer, &members, now) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

fn body(answer: &Response<Vec<u8>>) -> &[u8] {
    json::without_bom(answer.body()).trim_ascii()
}

/// JSON, or a form: some send one under the name of the other.
fn read(answer: &Response<Vec<u8>>) -> Option<Value> {
    let body = body(answer);
    if body.starts_with(b"{") {
        return serde_json::from_slice(json::check(body).ok()?).ok();
    }
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let form = ["application/x-www-form-urlencoded", "text/plain"].iter().any(|form| kind.starts_with(form));
    if !form || !body.contains(&b'=') {
        return None;
    }
    let pairs = url::form_urlencoded::parse(body);
    Some(object_of(pairs.map(|(name, value)| (name.into_owned(), value.into()))))
}

/// An object of `members`. `collect` would cost more code ([`crate::maps::map_of`]).
pub fn object_of(members: impl Iterator<Item = (String, Value)>) -> Value {
    let mut object = Map::new();
    object.extend(members);
    Value::Object(object)
}

/// The failure that an answer stands for, under any status. `None` if it is no error.
fn error(service: &Service, answer: &Response<Vec<u8>>, members: &Value, now: u64) -> Option<Failure> {
    let code = |path: &str| match at(members, path)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if number.as_i64() != Some(0) => Some(number.to_string()),
        _ => None,
    };
    let own = service.error_at.iter().map(String::as_str);
    let usual = ERROR_AT.into_iter().filter(|_| service.error_at.is_empty());
    let mut codes: Vec<String> = own.chain(usual).filter_map(code).collect();
    let refused = service.success_field.as_ref().is_some_and(|field| at(members, field) == Some(&Value::Bool(false)));
    if codes.is_empty() && (refused || !answer.status().is_success()) {
        codes.push(format!("status_{}", answer.status().as_u16()));
    }
    (!codes.is_empty()).then(|| Failure::of_codes(service, &codes, answer, now))
}

pub fn sensitive(text: String) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::try_from(text).map_err(|_| Failure::Malformed("header"))?;
    value.set_sensitive(true);
    Ok(value)
}

pub fn base64(text: &str) -> String {
    use base64ct::{Base64, Encoding};
    Base64::encode_string(text.as_bytes())
}

const ERROR_AT: [&str; 3] = ["error", "error.code", "error.type"];
const JSON: HeaderValue = HeaderValue::from_static("application/json");
