//! Writes requests to upstreams of 2025-03-26 to 2025-11-25, and opens, uses and ends sessions there.

use std::pin::pin;
use std::time::Duration;

use http::response::Parts;
use http::{HeaderValue, Request, Response, StatusCode, header};
use http_auth::coding;

use super::messages::LAST_EVENT_ID;
use super::{
    Asked, Content, Failure, Link, NOTICE, Session, ask, builder, dispatch, facts_of, post, receive, result_of, url,
};
use crate::eras::legacy::{PROTOCOL_VERSION, SESSION_ID, Version};
use crate::eras::modern::{META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL, META_VERSION};
use crate::eras::{IMPLEMENTATION, Relay};
use crate::fit::text_of;
use crate::host::{Host, SendError, within};
use crate::memory::Facts;
use crate::names;
use crate::sessions;
use json::{Edits, Object, quoted};

/// A POST within `session`.
pub fn request(link: Link<'_>, session: &Session, body: Vec<u8>) -> Option<Request<Vec<u8>>> {
    of_session(session, post(link)?).body(body).ok()
}

/// A request for the stream of `session`, or for the rest of a stream after the event `last`.
pub fn get(link: Link<'_>, session: &Session, last: Option<&str>) -> Option<Request<Vec<u8>>> {
    let get = of_session(session, builder(link, Request::get(url(link)))?);
    let mut request = get.body(Vec::new()).ok()?;
    request.headers_mut().remove(header::CONTENT_TYPE);
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    after(request, last)
}

/// `get`, for what comes after the event `last`.
pub fn after(mut get: Request<Vec<u8>>, last: Option<&str>) -> Option<Request<Vec<u8>>> {
    if let Some(last) = last {
        get.headers_mut().insert(LAST_EVENT_ID, HeaderValue::from_bytes(last.as_bytes()).ok()?);
    }
    Some(get)
}

/// The answer to a GET for a stream.
pub enum Opened<B> {
    Open(B),
    /// Another stream is open in the session, or the server still takes one for open that was closed.
    Taken,
    /// The same request may be answered by a stream later.
    Later,
    Never,
}

/// Sorts what a server has answered to GET.
pub fn opened<B>(response: Result<Response<B>, SendError>) -> Opened<B> {
    let response = match response {
        Ok(response) => response,
        Err(SendError::Denied | SendError::Head) => return Opened::Never,
        Err(_) => return Opened::Later,
    };
    let (head, body) = response.into_parts();
    let is_stream = super::content_type_of(&head) == "text/event-stream" && coding::of(&head.headers).is_none();
    match head.status {
        StatusCode::OK if is_stream => Opened::Open(body),
        StatusCode::CONFLICT => Opened::Taken,
        status if status == StatusCode::TOO_MANY_REQUESTS || status.is_server_error() => Opened::Later,
        _ => Opened::Never,
    }
}

/// The same for what [`open`] has returned.
pub fn sorted<B>(content: Result<Content<B>, Failure>) -> Opened<B> {
    match content {
        Ok(Content::Events(body)) => Opened::Open(body),
        Ok(Content::Error(StatusCode::CONFLICT, _)) => Opened::Taken,
        Ok(Content::Error(status, _)) if status.is_server_error() => Opened::Later,
        Err(failure) if failure.may_pass() => Opened::Later,
        Ok(_) | Err(_) => Opened::Never,
    }
}

/// Opens the stream of `session`, or the rest of a stream after the event `last`.
pub async fn open<H: Host>(
    host: &H,
    link: Link<'_>,
    session: &Session,
    last: Option<&str>,
) -> Result<Content<H::Body>, Failure> {
    let request = get(link, session, last).ok_or(Failure::NotMcp)?;
    receive(host, link, dispatch(host, link, request, link.server.patience).await?).await
}

/// Says that a session is not needed any more.
pub async fn end<H: Host>(host: &H, link: Link<'_>, session: &Session) {
    let delete = builder(link, Request::delete(url(link))).map(|builder| of_session(session, builder));
    if let Some(request) = delete.and_then(|delete| delete.body(Vec::new()).ok())
        && let Ok(answer) = host.send(request, link.server.patience).await
    {
        super::drain(host, answer.into_body()).await;
    }
}

/// Has what happens to a resource said, or no longer, on the stream of `session`.
pub async fn subscribe<H: Host>(host: &H, link: Link<'_>, session: &Session, method: &str, uri: &str) {
    let members = ["\"uri\":", &quoted(uri)].concat();
    if let Some(request) = request(link, session, write_own(2, method, &members)) {
        // A server that does not watch it says nothing of it.
        let _ = ask(host, link, request, link.server.patience).await;
    }
}

fn of_session(session: &Session, builder: http::request::Builder) -> http::request::Builder {
    let builder = builder.header(PROTOCOL_VERSION, &session.version);
    match &session.id {
        Some(id) => builder.header(SESSION_ID, id),
        None => builder,
    }
}

/// A client's request, as this era writes it: without what modern requests say about themselves in `_meta`, and without
/// what answers a result that this era does not have.
pub fn write(relay: &Relay<'_>, edits: &mut Edits<'_>) {
    let Some(params) = &relay.params else { return };
    if !relay.client.is_modern() {
        return;
    }
    if let Ok(Some(meta)) = params.object("_meta") {
        edits.rework(&meta, &[META_VERSION, META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL], "");
    }
    edits.rework(params, &["inputResponses", "requestState"], "");
}

/// A request of the gateway's own.
pub fn write_own(id: u64, method: &str, members: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{members}}}}}"#).into_bytes()
}

/// Opens a session: `initialize`, then `notifications/initialized`; and sets the log level that the one before had.
pub async fn initialize<H: Host>(
    host: &H,
    link: Link<'_>,
    level: Option<&str>,
    patience: Duration,
) -> Result<(Session, Facts), Failure> {
    let (head, message) = negotiate(host, link, patience).await?;
    let result = result_of(&message).ok_or(Failure::NotMcp)?;
    let version = text_of(result.find("protocolVersion")).ok_or(Failure::NotMcp)?;
    if Version::read(&version).is_none() {
        return Err(Failure::Versions(names::cut(&version, 32).to_owned()));
    }
    let session = Session { id: session_id(&head)?, version, level: level.map(str::to_owned), has_no_stream: false };

    let initialized = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_vec();
    let initialized = self::request(link, &session, initialized).ok_or(Failure::NotMcp)?;
    // A server that wants it has it now; one that answers it with an error, or not at all, still has its session.
    let answered = within(host, NOTICE, pin!(dispatch(host, link, initialized, link.server.patience))).await;
    match answered {
        Some(Ok(answer)) => super::drain(host, answer.into_body()).await,
        Some(Err(error)) if error != SendError::Timeout => return Err(error.into()),
        _ => {}
    }
    if let Some(level) = level
        && let Some(request) = self::request(link, &session, write_own(1, SET_LEVEL, &level_member(level)))
    {
        // What it logs is not worth failing for.
        let _ = ask(host, link, request, link.server.patience).await;
    }
    Ok((session, facts_of(&result, false)))
}

/// `initialize` for the newest version, and once more for each older one while the server refuses the version. A server
/// should answer with a version of its own, but some answer with an error, which may name those that they speak.
async fn negotiate<H: Host>(host: &H, link: Link<'_>, patience: Duration) -> Result<(Parts, String), Failure> {
    let mut versions = Version::NEWEST_FIRST.to_vec();
    let declared = sessions::declared(host, link);
    loop {
        let Some(version) = (!versions.is_empty()).then(|| versions.remove(0)) else { return Err(Failure::NotMcp) };
        let capabilities = with_members(&link.profile.can.write(), &declared);
        let name = version.name();
        let members =
            format!(r#""protocolVersion":"{name}","capabilities":{capabilities},"clientInfo":{IMPLEMENTATION}"#);
        // It has no version header: nothing is negotiated yet.
        let request = post(link).and_then(|post| post.body(write_own(0, "initialize", &members)).ok());
        let (head, answer) = ask(host, link, request.ok_or(Failure::NotMcp)?, patience).await?;
        let (message, failure) = match answer {
            Asked::Message(message) => (message, Failure::NotMcp),
            Asked::Refused(body) => {
                (String::from_utf8(body).unwrap_or_default(), Failure::Status(head.status.as_u16()))
            }
        };
        let Some(supported) = refused_version(&message) else {
            return if result_of(&message).is_some() { Ok((head, message)) } else { Err(failure) };
        };
        if !supported.is_empty() {
            versions.retain(|version| supported.iter().any(|named| named == version.name()));
            if versions.is_empty() {
                return Err(Failure::Versions(supported.join(", ")));
            }
        }
    }
}

/// The text of an object with more members.
fn with_members(object: &str, more: &str) -> String {
    let inner = object.strip_prefix('{').and_then(|object| object.strip_suffix('}')).unwrap_or_default();
    let comma = if inner.is_empty() || more.is_empty() { "" } else { "," };
    ["{", inner, comma, more, "}"].concat()
}

/// The versions that a server names which refuses the one of `initialize`: perhaps none. `None` if it does not refuse it.
fn refused_version(message: &str) -> Option<Vec<String>> {
    const MOST: usize = 16;
    let message = Object::parse(message).ok()?;
    let error = message.object("error").ok()??;
    let named = error.object("data").ok().flatten().and_then(|data| data.get("supported").ok()?.and_then(json::array));
    let says_version = || {
        let text = error.string("message").ok().flatten().unwrap_or_default().to_ascii_lowercase();
        matches!(error.get("code"), Ok(Some("-32602" | "-32022"))) && text.contains("version")
    };
    match named {
        Some(named) => {
            let named = named.into_iter().take(MOST).filter_map(json::string);
            Some(named.map(|version| names::cut(&version, 32).to_owned()).collect())
        }
        None => says_version().then(Vec::new),
    }
}

pub const SET_LEVEL: &str = "logging/setLevel";

pub fn level_member(level: &str) -> String {
    ["\"level\":", &quoted(level)].concat()
}

/// `None` if the server keeps no session. The id goes out with every request, and is in the rows that these read.
fn session_id(head: &Parts) -> Result<Option<String>, Failure> {
    const LONGEST: usize = 4 * 1024;
    match head.headers.get(SESSION_ID) {
        Some(id) if id.len() > LONGEST => Err(Failure::SessionId),
        id => Ok(id.and_then(|id| id.to_str().ok()).map(str::to_owned)),
    }
}
