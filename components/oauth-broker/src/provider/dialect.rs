//! How does a provider's way of speaking become the standard one?
//!
//! The hook of the `oauth2` crate: on the way out the request takes the form that the row names, on the way back the
//! answer becomes JSON of RFC 6749 section 5, with an error status if it is an error.

use http::{HeaderValue, Request, Response, StatusCode, header};
use serde_json::{Map, Value};

use super::answer::{at, text_at};
use super::{Failure, USER_AGENT, answer};
use crate::catalogue::{Service, TokenBody};
use crate::host::Host;

/// What is being asked, as some providers nest the answer to a code and not that to a refresh.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asking {
    Code,
    Refresh,
    Revocation,
}

pub async fn ask<H: Host>(
    host: &H,
    service: &Service,
    asking: Asking,
    mut request: Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, Failure> {
    request.headers_mut().insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    if service.token_body == TokenBody::Json {
        *request.body_mut() = serde_json::to_vec(&object(request.body())).unwrap_or_default();
        request.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    }
    let answer = host.send(request).await?;
    if Failure::is_busy(answer.status()) || answer.status().is_redirection() {
        return Err(Failure::of_status(&answer));
    }
    if asking == Asking::Revocation && answer.status().is_success() {
        succeeded(service, answer.body())?;
        return Ok(Response::new(Vec::new()));
    }
    let said = read(&answer).ok_or(Failure::Malformed("answer"))?;
    let standard = match error(service, answer.status(), &said) {
        Some(error) => json(StatusCode::BAD_REQUEST, &serde_json::json!({ "error": error })),
        None => json(
            StatusCode::OK,
            &answer::standard(service, asking, &said, host.now()).ok_or(Failure::Malformed("answer"))?,
        ),
    };
    Ok(standard)
}

/// Whether the answer to a request other than a token request is no error in disguise.
pub fn succeeded(service: &Service, body: &[u8]) -> Result<(), Failure> {
    match serde_json::from_slice::<Value>(body).ok().and_then(|said| error(service, StatusCode::OK, &said)) {
        Some(error) => Err(Failure::said(service, &error)),
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
    Some(object(body))
}

/// A form's parameters as a JSON object.
fn object(form: &[u8]) -> Value {
    let mut object = Map::new();
    for (name, value) in url::form_urlencoded::parse(form) {
        object.insert(name.into_owned(), value.into());
    }
    Value::Object(object)
}

/// The error code of an answer that is an error, whatever its status says.
fn error(service: &Service, status: StatusCode, said: &Value) -> Option<String> {
    let refused = service.success_field.as_ref().is_some_and(|field| at(said, field) == Some(&Value::Bool(false)));
    let named = text_at(said, "error").or_else(|| text_at(said, "error.code")).or_else(|| text_at(said, "error.type"));
    match named {
        Some(error) => Some(error),
        None if refused || !status.is_success() => Some(format!("status_{}", status.as_u16())),
        None => None,
    }
}

fn json(status: StatusCode, body: &Value) -> Response<Vec<u8>> {
    let mut response = Response::new(serde_json::to_vec(body).unwrap_or_default());
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    response
}
