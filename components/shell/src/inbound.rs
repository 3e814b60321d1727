//! How does a request come in, and its answer go out?

use http::{Method, Request, Response, Uri};
use thiserror::Error;
use wasi::http::types::{IncomingRequest, Method as WasiMethod, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasi::io::streams::{OutputStream, StreamError};

use crate::turn::ready;
use crate::{Body, CHUNK, fields, headers};

/// Why a request could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// The body is longer than the limit. What came of it is dropped, and the rest never read.
    #[error("the request body is longer than {0} bytes")]
    TooLarge(usize),
    /// The client went away, or sent something that is not HTTP.
    #[error("the request could not be read")]
    Broken,
}

/// The client has gone, so nothing more can be written.
#[derive(Debug, Error)]
#[error("the client has closed the connection")]
pub struct Closed;

/// Reads a request with its whole body, of at most `limit` bytes. Its URI has the authority that the client named,
/// if it named one: a claim, not a fact.
pub async fn read_request(request: IncomingRequest, limit: usize) -> Result<Request<Vec<u8>>, ReadError> {
    let headers = headers(&request.headers());
    let announced = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    if announced.is_some_and(|length: u64| length > limit as u64) {
        return Err(ReadError::TooLarge(limit));
    }
    let path = request.path_with_query().unwrap_or_else(|| "/".to_owned());
    let uri = match request.authority() {
        Some(authority) => Uri::builder().scheme("http").authority(authority).path_and_query(path).build(),
        None => Uri::builder().path_and_query(path).build(),
    };
    let mut read = Request::new(Vec::new());
    *read.method_mut() = method(&request.method()).ok_or(ReadError::Broken)?;
    *read.uri_mut() = uri.map_err(|_| ReadError::Broken)?;
    *read.headers_mut() = headers;

    let mut body = Body::new(request.consume().map_err(|()| ReadError::Broken)?).ok_or(ReadError::Broken)?;
    while let Some(chunk) = body.chunk().await.map_err(|_| ReadError::Broken)? {
        if read.body().len() + chunk.len() > limit {
            return Err(ReadError::TooLarge(limit));
        }
        read.body_mut().extend_from_slice(&chunk);
    }
    Ok(read)
}

/// Sends a whole answer: its body is written and finished before its head is handed over, as far as the host's buffer
/// (1 MiB with wasmtime) goes.
pub async fn respond(out: ResponseOutparam, response: Response<Vec<u8>>) {
    let (mut head, body) = response.into_parts();
    head.headers.insert(http::header::CONTENT_LENGTH, body.len().into());
    let (response, mut writer) = open(head);
    let sent = writer.write_now(&body);
    if sent == body.len() {
        writer.finish();
        ResponseOutparam::set(out, Ok(response));
    } else {
        ResponseOutparam::set(out, Ok(response));
        if writer.write(&body[sent..]).await.is_ok() {
            writer.finish();
        }
    }
}

/// Starts an answer whose body is a stream; `first` leaves in the same turn as the head.
pub async fn start(out: ResponseOutparam, head: Response<()>, first: &[u8]) -> Result<ResponseWriter, Closed> {
    let (response, mut writer) = open(head.into_parts().0);
    let sent = writer.write_now(first);
    ResponseOutparam::set(out, Ok(response));
    writer.write(&first[sent..]).await?;
    Ok(writer)
}

/// The body of an answer that has been started.
pub struct ResponseWriter {
    // Before the body, because it is the body's child and has to go first.
    stream: Option<OutputStream>,
    body: OutgoingBody,
}

impl ResponseWriter {
    /// Writes all of `bytes`, as fast as the client takes them.
    pub async fn write(&mut self, mut bytes: &[u8]) -> Result<(), Closed> {
        while !bytes.is_empty() {
            let room = self.room().await?;
            let now = bytes.len().min(usize::try_from(room).unwrap_or(usize::MAX));
            self.stream()?.write(&bytes[..now]).map_err(|_| Closed)?;
            bytes = &bytes[now..];
        }
        self.stream()?.flush().map_err(|_| Closed)
    }

    /// Passes the whole of `source` on without touching its bytes: the host moves them, they never enter this
    /// component's memory. `Ok(false)` when the source broke before its end.
    pub async fn pipe(&mut self, source: &mut Body) -> Result<bool, Closed> {
        loop {
            let room = self.room().await?;
            match self.stream()?.splice(source.stream(), room.min(CHUNK)) {
                Ok(0) => {
                    self.stream()?.flush().map_err(|_| Closed)?;
                    source.readable().await;
                }
                Ok(_) => {}
                // A splice does not say which side has ended; only this side can be asked.
                Err(_) => {
                    self.stream()?.flush().map_err(|_| Closed)?;
                    return Ok(matches!(source.chunk().await, Ok(None)));
                }
            }
        }
    }

    /// Ends the body. A writer that is dropped instead leaves it cut off, which the client can tell.
    pub fn finish(mut self) {
        self.stream = None;
        // It can only fail when the client has gone.
        let _ = OutgoingBody::finish(self.body, None);
    }

    /// As much of `bytes` as the host takes without waiting.
    fn write_now(&mut self, bytes: &[u8]) -> usize {
        let Some(stream) = &self.stream else { return 0 };
        let mut sent = 0;
        while sent < bytes.len() {
            let room = stream.check_write().map_or(0, |room| usize::try_from(room).unwrap_or(usize::MAX));
            let now = room.min(bytes.len() - sent);
            if now == 0 || stream.write(&bytes[sent..sent + now]).is_err() {
                break;
            }
            sent += now;
        }
        sent
    }

    async fn room(&self) -> Result<u64, Closed> {
        let stream = self.stream()?;
        loop {
            match stream.check_write() {
                Ok(0) => ready(|| stream.subscribe()).await,
                Ok(room) => return Ok(room),
                Err(StreamError::Closed | StreamError::LastOperationFailed(_)) => return Err(Closed),
            }
        }
    }

    fn stream(&self) -> Result<&OutputStream, Closed> {
        self.stream.as_ref().ok_or(Closed)
    }
}

fn open(head: http::response::Parts) -> (OutgoingResponse, ResponseWriter) {
    let response = OutgoingResponse::new(fields(&head.headers));
    // A status of `http`'s own type is always one that the host takes.
    let _ = response.set_status_code(head.status.as_u16());
    let body = response.body().expect("taken once");
    let stream = body.write().expect("taken once");
    (response, ResponseWriter { stream: Some(stream), body })
}

fn method(method: &WasiMethod) -> Option<Method> {
    Some(match method {
        WasiMethod::Get => Method::GET,
        WasiMethod::Head => Method::HEAD,
        WasiMethod::Post => Method::POST,
        WasiMethod::Put => Method::PUT,
        WasiMethod::Delete => Method::DELETE,
        WasiMethod::Connect => Method::CONNECT,
        WasiMethod::Options => Method::OPTIONS,
        WasiMethod::Trace => Method::TRACE,
        WasiMethod::Patch => Method::PATCH,
        WasiMethod::Other(name) => Method::from_bytes(name.as_bytes()).ok()?,
    })
}
