//! Sends requests over WASI HTTP.

use std::time::Duration;

use http::{Method, Request, Response, StatusCode};
use thiserror::Error;
use wasi::http::outgoing_handler;
use wasi::http::types::{
    ErrorCode, IncomingBody, Method as WasiMethod, OutgoingBody, OutgoingRequest, RequestOptions, Scheme,
};
use wasi::io::streams::{InputStream, StreamError};

use crate::turn::ready;
use crate::wasi_http::{CHUNK, fields, headers};

/// The times that a peer may take. Without them a host waits for 600 s each.
#[derive(Debug, Clone, Copy)]
pub struct Timeouts {
    /// Until the connection stands.
    pub connect: Duration,
    /// From then until the first byte of the answer.
    pub first_byte: Duration,
    /// Between two pieces of the answer's body.
    pub between_bytes: Duration,
}

/// The reason why no whole answer came. None of them says anything about the request's content.
#[derive(Debug, Error)]
pub enum SendError {
    /// The URL is not an absolute http or https URL.
    #[error("not an absolute http or https URL")]
    Url,
    /// The host's manifest does not allow this destination.
    #[error("the manifest does not allow this destination")]
    Denied,
    /// The peer took too long.
    #[error("the peer took too long")]
    Timeout,
    /// No connection, or it broke.
    #[error("the connection failed")]
    Connection,
    /// The head of the request is longer than hosts take.
    #[error("the head of the request is longer than 64 KiB")]
    Head,
    /// The answer's body is longer than the limit.
    #[error("the answer is longer than {0} bytes")]
    TooLarge(usize),
}

/// Sends a request whose body is known, and returns when the head of the answer is there. Follows no redirect.
pub async fn send(request: Request<Vec<u8>>, timeouts: Timeouts) -> Result<Response<Body>, SendError> {
    let (mut head, body) = request.into_parts();
    let scheme = match head.uri.scheme_str() {
        Some("https") => Scheme::Https,
        Some("http") => Scheme::Http,
        _ => return Err(SendError::Url),
    };
    let authority = head.uri.authority().ok_or(SendError::Url)?.as_str().to_owned();
    let path = head.uri.path_and_query().map(|path| path.as_str().to_owned());
    if !body.is_empty() || head.method == Method::POST {
        head.headers.insert(http::header::CONTENT_LENGTH, body.len().into());
    }
    let outgoing = OutgoingRequest::new(fields(&head.headers).ok_or(SendError::Head)?);
    outgoing.set_method(&method(&head.method)).map_err(|()| SendError::Url)?;
    outgoing.set_scheme(Some(&scheme)).map_err(|()| SendError::Url)?;
    outgoing.set_authority(Some(&authority)).map_err(|()| SendError::Url)?;
    outgoing.set_path_with_query(path.as_deref()).map_err(|()| SendError::Url)?;

    let options = RequestOptions::new();
    let nanos = |duration: Duration| Some(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX));
    let _ = options.set_connect_timeout(nanos(timeouts.connect));
    let _ = options.set_first_byte_timeout(nanos(timeouts.first_byte));
    let _ = options.set_between_bytes_timeout(nanos(timeouts.between_bytes));

    // The body first, so that it leaves together with the head; what the host's buffer does not take follows.
    let sink = outgoing.body().map_err(|()| SendError::Connection)?;
    let stream = sink.write().map_err(|()| SendError::Connection)?;
    let mut sent = 0;
    while sent < body.len() {
        let room = stream.check_write().map_or(0, |room| usize::try_from(room).unwrap_or(usize::MAX));
        let now = room.min(body.len() - sent);
        if now == 0 || stream.write(&body[sent..sent + now]).is_err() {
            break;
        }
        sent += now;
    }
    let answer = if sent == body.len() {
        drop(stream);
        OutgoingBody::finish(sink, None).map_err(failed)?;
        outgoing_handler::handle(outgoing, Some(options)).map_err(failed)?
    } else {
        let answer = outgoing_handler::handle(outgoing, Some(options)).map_err(failed)?;
        while sent < body.len() {
            match stream.check_write() {
                Ok(0) => ready(|| stream.subscribe()).await,
                Ok(room) => {
                    let now = (body.len() - sent).min(usize::try_from(room).unwrap_or(usize::MAX));
                    if stream.write(&body[sent..sent + now]).is_err() {
                        break;
                    }
                    sent += now;
                }
                // A peer may answer before it has read everything: its answer counts.
                Err(_) => break,
            }
        }
        drop(stream);
        if sent == body.len() {
            let _ = OutgoingBody::finish(sink, None);
        }
        answer
    };

    ready(|| answer.subscribe()).await;
    let incoming = answer.get().ok_or(SendError::Connection)?.map_err(|()| SendError::Connection)?.map_err(failed)?;
    let mut response =
        Response::new(Body::new(incoming.consume().map_err(|()| SendError::Connection)?).ok_or(SendError::Connection)?);
    *response.status_mut() = StatusCode::from_u16(incoming.status()).map_err(|_| SendError::Connection)?;
    *response.headers_mut() = headers(&incoming.headers());
    Ok(response)
}

/// A body that arrives.
pub struct Body {
    // Before the body, because it is the body's child and has to go first.
    stream: InputStream,
    _body: IncomingBody,
}

impl Body {
    pub(crate) fn new(body: IncomingBody) -> Option<Self> {
        Some(Self { stream: body.stream().ok()?, _body: body })
    }

    /// The next piece, at most 64 KiB; `None` at the end.
    pub async fn chunk(&mut self) -> Result<Option<Vec<u8>>, SendError> {
        loop {
            match self.stream.read(CHUNK) {
                Ok(bytes) if bytes.is_empty() => self.readable().await,
                Ok(bytes) => return Ok(Some(bytes)),
                Err(StreamError::Closed) => return Ok(None),
                Err(StreamError::LastOperationFailed(error)) => {
                    return Err(wasi::http::types::http_error_code(&error).map_or(SendError::Connection, failed));
                }
            }
        }
    }

    /// The rest of the body, of at most `limit` bytes.
    pub async fn collect(mut self, limit: usize) -> Result<Vec<u8>, SendError> {
        let mut all = Vec::new();
        while let Some(chunk) = self.chunk().await? {
            if all.len() + chunk.len() > limit {
                return Err(SendError::TooLarge(limit));
            }
            if all.is_empty() {
                all = chunk;
            } else {
                all.extend_from_slice(&chunk);
            }
        }
        Ok(all)
    }

    pub(crate) async fn readable(&self) {
        ready(|| self.stream.subscribe()).await;
    }

    pub(crate) fn stream(&self) -> &InputStream {
        &self.stream
    }
}

fn failed(code: ErrorCode) -> SendError {
    match code {
        ErrorCode::HttpRequestDenied => SendError::Denied,
        ErrorCode::ConnectionTimeout
        | ErrorCode::ConnectionReadTimeout
        | ErrorCode::ConnectionWriteTimeout
        | ErrorCode::HttpResponseTimeout
        | ErrorCode::DnsTimeout => SendError::Timeout,
        _ => SendError::Connection,
    }
}

fn method(method: &Method) -> WasiMethod {
    match method.as_str() {
        "GET" => WasiMethod::Get,
        "HEAD" => WasiMethod::Head,
        "POST" => WasiMethod::Post,
        "PUT" => WasiMethod::Put,
        "DELETE" => WasiMethod::Delete,
        "OPTIONS" => WasiMethod::Options,
        "PATCH" => WasiMethod::Patch,
        other => WasiMethod::Other(other.to_owned()),
    }
}
