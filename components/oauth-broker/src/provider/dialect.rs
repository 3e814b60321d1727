//! How does a provider's way of speaking become the standard one?
//!
//! The hook of the `oauth2` crate: on the way out the request takes the form that the row names, on the way back the
//! answer becomes JSON of RFC 6749 section 5.1, or the failure that it is.

use std::collections::BTreeMap;

use http::{HeaderMap, HeaderValue, Method, Request, Response, header};
use serde_json::{Map, Value};

use super::answer::Answer;
use super::answer::at;
use super::{Failure, USER_AGENT, answer, id_token};
use crate::catalogue::{Body, ClientAuth, Service};
use crate::host::Host;
use sealing::Secret;

/// What is being asked, as some providers nest the answer to a code and not that to a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    Code,
    Refresh,
}

/// A request as it leaves.
pub struct Outgoing<'a> {
    pub method: Method,
    pub url: &'a str,
    pub headers: HeaderMap,
    pub body: Body,
    pub params: Vec<(String, String)>,
}

/// Sends a token request of the crate, which has everything in a form.
pub async fn ask<H: Host>(
    host: &H,
    service: &Service,
    asking: Asking,
    callback: &BTreeMap<String, String>,
    request: Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, Failure> {
    let mut params = Vec::new();
    for (name, value) in url::form_urlencoded::parse(request.body()) {
        if let (false, Some(name)) = (CLIENT.contains(&&*name), service.renamed(&name)) {
            params.push((name.to_owned(), value.into_owned()));
        }
    }
    let mut headers = HeaderMap::new();
    authenticate(service, &mut params, &mut headers)?;
    let url = request.uri().to_string();
    let outgoing = Outgoing { method: Method::POST, url: &url, headers, body: service.token_body, params };
    let answer = send(host, outgoing, Vec::new()).await?;
    let standard = tokens(host, service, asking, callback, &answer)?;
    let mut response = Response::new(serde_json::to_vec(&standard).unwrap_or_default());
    response.headers_mut().insert(header::CONTENT_TYPE, JSON);
    Ok(response)
}

pub async fn send<H: Host>(host: &H, outgoing: Outgoing<'_>, literal: Vec<u8>) -> Result<Response<Vec<u8>>, Failure> {
    let Outgoing { method, url, mut headers, body, params } = outgoing;
    let mut url = url::Url::parse(url).map_err(|_| Failure::Malformed("URL"))?;
    let (kind, bytes) = match body {
        _ if params.is_empty() && literal.is_empty() => (None, literal),
        _ if params.is_empty() => (Some(JSON), literal),
        Body::Form => {
            let form = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(params).finish();
            (Some(HeaderValue::from_static("application/x-www-form-urlencoded")), form.into_bytes())
        }
        Body::Json => {
            let object: Map<_, _> = params.into_iter().map(|(name, value)| (name, value.into())).collect();
            (Some(JSON), serde_json::to_vec(&object).unwrap_or_default())
        }
        Body::Query => {
            url.query_pairs_mut().extend_pairs(params);
            (None, literal)
        }
    };
    headers.extend(kind.map(|kind| (header::CONTENT_TYPE, kind)));
    headers.insert(header::ACCEPT, JSON);
    // Some providers refuse requests without one.
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    let mut request = Request::builder().method(method).uri(url.as_str());
    if let Some(all) = request.headers_mut() {
        *all = headers;
    }
    Ok(host.send(request.body(bytes).map_err(|_| Failure::Malformed("request"))?).await?)
}

/// Puts the client's credentials where the row wants them.
pub fn authenticate(
    service: &Service,
    params: &mut Vec<(String, String)>,
    headers: &mut HeaderMap,
) -> Result<(), Failure> {
    let id = service.client_id.as_str();
    let secret = service.client_secret.as_ref().map(Secret::reveal);
    let encode = |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>();
    let credentials = match (service.client_auth, secret) {
        (ClientAuth::Basic, Some(secret)) => format!("{}:{}", encode(id), encode(secret)),
        (ClientAuth::BasicRaw, secret) => format!("{id}:{}", secret.unwrap_or_default()),
        (ClientAuth::SecretAsUser, Some(secret)) => format!("{secret}:"),
        (auth, secret) => {
            let secret = secret.filter(|_| auth == ClientAuth::Post);
            for (name, value) in [(CLIENT[0], Some(id)), (CLIENT[1], secret)] {
                if let (Some(name), Some(value)) = (service.renamed(name), value) {
                    params.push((name.to_owned(), value.to_owned()));
                }
            }
            return Ok(());
        }
    };
    headers.insert(header::AUTHORIZATION, sensitive(format!("Basic {}", base64(&credentials)))?);
    Ok(())
}

/// What a token answer says, in the standard form.
pub fn tokens<H: Host>(
    host: &H,
    service: &Service,
    asking: Asking,
    callback: &BTreeMap<String, String>,
    answer: &Response<Vec<u8>>,
) -> Result<Answer, Failure> {
    let now = host.now();
    if Failure::is_busy(answer.status()) || answer.status().is_redirection() {
        return Err(Failure::of_status(answer, now));
    }
    let mut said = read(answer).ok_or(Failure::Malformed("answer"))?;
    if let Some(failure) = error(service, answer, &said, now) {
        return Err(failure);
    }
    if service.extra.values().any(|path| path.contains("id_token.")) {
        let claims = id_token::claims(service, said.get("id_token").and_then(Value::as_str), now)?;
        said["id_token"] = claims;
    }
    said["callback"] = callback.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect();
    answer::standard(service, asking, &said, super::failure::clock(answer, now)).ok_or(Failure::Malformed("answer"))
}

/// Whether the answer to a request other than a token request is no error, in disguise or not.
pub fn succeeded<H: Host>(host: &H, service: &Service, answer: &Response<Vec<u8>>) -> Result<(), Failure> {
    let now = host.now();
    if Failure::is_busy(answer.status()) || answer.status().is_redirection() {
        return Err(Failure::of_status(answer, now));
    }
    match error(service, answer, &read(answer).unwrap_or_default(), now) {
        Some(failure) => Err(failure),
        None => Ok(()),
    }
}

/// JSON, or a form: some send one under the name of the other.
fn read(answer: &Response<Vec<u8>>) -> Option<Value> {
    let body = answer.body().trim_ascii();
    if body.starts_with(b"{") {
        return serde_json::from_slice(body).ok();
    }
    let kind = answer.headers().get(header::CONTENT_TYPE).and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    let form = ["application/x-www-form-urlencoded", "text/plain"].iter().any(|form| kind.starts_with(form));
    if !form || !body.contains(&b'=') {
        return None;
    }
    let pairs = url::form_urlencoded::parse(body);
    Some(Value::Object(pairs.map(|(name, value)| (name.into_owned(), value.into())).collect()))
}

/// What an answer that is an error means, whatever its status says.
fn error(service: &Service, answer: &Response<Vec<u8>>, said: &Value, now: u64) -> Option<Failure> {
    let code = |path: &str| match at(said, path)? {
        Value::String(text) if !text.is_empty() => Some(text.clone()),
        Value::Number(number) if number.as_i64() != Some(0) => Some(number.to_string()),
        _ => None,
    };
    let own = service.error_at.iter().map(String::as_str);
    let usual = ERROR_AT.into_iter().filter(|_| service.error_at.is_empty());
    let mut codes: Vec<String> = own.chain(usual).filter_map(code).collect();
    let refused = service.success_field.as_ref().is_some_and(|field| at(said, field) == Some(&Value::Bool(false)));
    if codes.is_empty() && (refused || !answer.status().is_success()) {
        codes.push(format!("status_{}", answer.status().as_u16()));
    }
    (!codes.is_empty()).then(|| Failure::said(service, &codes, answer, now))
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

const CLIENT: [&str; 2] = ["client_id", "client_secret"];
const ERROR_AT: [&str; 3] = ["error", "error.code", "error.type"];
const JSON: HeaderValue = HeaderValue::from_static("application/json");
