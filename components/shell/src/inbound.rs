//! Receives requests over WASI HTTP and sends their answers.

use std::time::Duration;

use http::{Method, Request, Response, Uri};
use thiserror::Error;
use wasi::http::types::{IncomingRequest, Method as WasiMethod, OutgoingBody, OutgoingResponse, ResponseOutparam};
use wasi::io::streams::OutputStream;

use crate::turn::{ready, within};
use crate::wasi_http::{CHUNK, fields, headers};
use crate::{Body, Pieces, ReadError, Unread};

/// The client has gone, or reads too slowly, so nothing more can be written.
#[derive(Debug, Error)]
#[error("the client has closed the connection, or does not read")]
pub struct Closed;

/// How long a client may take to make room for more of its answer: for some hundred kilobytes, so that one who reads slowly
/// but steadily gets all of it.
const READER_PATIENCE: Duration = Duration::from_secs(30);
/// Between two looks at whether the client is still there, while what is piped to it pauses.
const LOOK: Duration = Duration::from_secs(3);

/// The body of a request. The client is not asked for it before the first piece is.
pub struct RequestBody {
    // Before the request, because it is the request's child and has to go first.
    body: Option<Body>,
    request: IncomingRequest,
}

/// Reads the head of a request. Its URI has the authority that the client named, if it named one: a claim, not a fact.
pub fn read_head(request: IncomingRequest) -> Result<Request<Unread<RequestBody>>, ReadError> {
    let headers = headers(&request.headers());
    let announced = headers.get(http::header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let path = request.path_with_query().unwrap_or_else(|| "/".to_owned());
    let uri = match request.authority() {
        Some(authority) => Uri::builder().scheme("http").authority(authority).path_and_query(path).build(),
        None => Uri::builder().path_and_query(path).build(),
    };
    let method = method(&request.method()).ok_or(ReadError::Broken)?;
    let mut read = Request::new(Unread::new(RequestBody { body: None, request }, announced));
    *read.method_mut() = method;
    *read.uri_mut() = uri.map_err(|_| ReadError::Broken)?;
    *read.headers_mut() = headers;
    Ok(read)
}

impl Pieces for RequestBody {
    async fn piece(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        let body = match &mut self.body {
            Some(body) => body,
            none => {
                let incoming = self.request.consume().map_err(|()| ReadError::Broken)?;
                none.insert(Body::new(incoming).ok_or(ReadError::Broken)?)
            }
        };
        body.chunk().await.map_err(|_| ReadError::Broken)
    }
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
                    while within(LOOK, source.readable()).await.is_none() {
                        if self.is_closed() {
                            return Err(Closed);
                        }
                    }
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

    /// Returns true if the client has gone. The host knows it as soon as the connection is closed, and so nothing need be written.
    pub fn is_closed(&self) -> bool {
        self.stream.as_ref().is_none_or(|stream| stream.check_write().is_err())
    }

    /// The number of bytes that the client takes now, or else within [`READER_PATIENCE`].
    async fn room(&self) -> Result<u64, Closed> {
        let stream = self.stream()?;
        let room = async {
            loop {
                match stream.check_write().map_err(|_| Closed)? {
                    0 => ready(|| stream.subscribe()).await,
                    room => return Ok(room),
                }
            }
        };
        within(READER_PATIENCE, room).await.unwrap_or(Err(Closed))
    }

    fn stream(&self) -> Result<&OutputStream, Closed> {
        self.stream.as_ref().ok_or(Closed)
    }
}

fn open(mut head: http::response::Parts) -> (OutgoingResponse, ResponseWriter) {
    let fields = fields(&head.headers).or_else(|| {
        head.status = http::StatusCode::INTERNAL_SERVER_ERROR;
        head.headers.clear();
        head.headers.insert(http::header::CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
        head.headers.insert(http::header::X_CONTENT_TYPE_OPTIONS, http::HeaderValue::from_static("nosniff"));
        fields(&head.headers)
    });
    let response = OutgoingResponse::new(fields.expect("two short fields"));
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
