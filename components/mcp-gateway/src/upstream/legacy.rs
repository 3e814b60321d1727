//! How is an upstream of 2025-03-26 to 2025-11-25 spoken to?

use http::response::Parts;
use http::{HeaderValue, Request, StatusCode, header};

use super::{Asked, Content, Failure, Link, Messages, Session, ask, builder, facts_of, post, receive, result_of};
use crate::eras::legacy::{PROTOCOL_VERSION, SESSION_ID, Version};
use crate::eras::modern::{META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL, META_VERSION};
use crate::eras::{IMPLEMENTATION, Relay};
use crate::fit::text_of;
use crate::host::Host;
use crate::memory::Facts;
use json::{Edits, quoted};

/// A POST within `session`.
pub fn request(link: Link<'_>, session: &Session, body: Vec<u8>) -> Option<Request<Vec<u8>>> {
    within(session, post(link)?).body(body).ok()
}

/// Opens the stream of what a server says outside of any answer; none where it has none. A session has one such stream:
/// where somebody else has it, or the session is gone, another session is opened, which is then the caller's to end.
pub async fn listen<H: Host>(
    host: &H,
    link: Link<'_>,
    session: &Session,
) -> Result<Option<(Messages<H>, Option<Session>)>, Failure> {
    match get(host, link, session).await? {
        Content::Events(body) => Ok(Some((Messages::new(body), None))),
        Content::Error(StatusCode::CONFLICT | StatusCode::NOT_FOUND, _) if session.id.is_some() => {
            let (own, _) = initialize(host, link, None).await?;
            if let Content::Events(body) = get(host, link, &own).await? {
                return Ok(Some((Messages::new(body), Some(own))));
            }
            end(host, link, &own).await;
            Ok(None)
        }
        Content::Json(..) | Content::Error(..) => Ok(None),
    }
}

async fn get<H: Host>(host: &H, link: Link<'_>, session: &Session) -> Result<Content<H::Body>, Failure> {
    let get = builder(link, Request::get(link.server.url.clone())).map(|builder| within(session, builder));
    let mut request = get.and_then(|get| get.body(Vec::new()).ok()).ok_or(Failure::NotMcp)?;
    request.headers_mut().remove(header::CONTENT_TYPE);
    request.headers_mut().insert(header::ACCEPT, HeaderValue::from_static("text/event-stream"));
    receive(host, link, host.send(request, link.server.patience).await?).await
}

/// Says that a session is not needed any more.
pub async fn end<H: Host>(host: &H, link: Link<'_>, session: &Session) {
    let delete = builder(link, Request::delete(link.server.url.clone())).map(|builder| within(session, builder));
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
        let _ = ask(host, link, request).await;
    }
}

fn within(session: &Session, builder: http::request::Builder) -> http::request::Builder {
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
pub async fn initialize<H: Host>(host: &H, link: Link<'_>, level: Option<&str>) -> Result<(Session, Facts), Failure> {
    let latest = Version::LATEST.name();
    let capabilities = link.profile.write();
    let members =
        format!(r#""protocolVersion":"{latest}","capabilities":{capabilities},"clientInfo":{IMPLEMENTATION}"#);
    // It has no version header: nothing is negotiated yet.
    let request = post(link).and_then(|post| post.body(write_own(0, "initialize", &members)).ok());
    let (head, answer) = ask(host, link, request.ok_or(Failure::NotMcp)?).await?;
    let message = match answer {
        Asked::Message(message) => message,
        Asked::Refused => return Err(Failure::Status(head.status.as_u16())),
    };
    let result = result_of(&message).ok_or(Failure::NotMcp)?;
    let version = text_of(result.find("protocolVersion"));
    let version = version.filter(|version| Version::read(version).is_some()).ok_or(Failure::NotMcp)?;
    let session = Session { id: session_id(&head), version, level: level.map(str::to_owned) };

    let initialized = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_vec();
    let initialized = self::request(link, &session, initialized).ok_or(Failure::NotMcp)?;
    // A server that wants it has it now; one that answers it with an error still has its session.
    let answer = host.send(initialized, link.server.patience).await?;
    super::drain(host, answer.into_body()).await;
    if let Some(level) = level
        && let Some(request) = self::request(link, &session, write_own(1, SET_LEVEL, &level_member(level)))
    {
        // What it logs is not worth failing for.
        let _ = ask(host, link, request).await;
    }
    Ok((session, facts_of(&result, false)))
}

pub const SET_LEVEL: &str = "logging/setLevel";

pub fn level_member(level: &str) -> String {
    ["\"level\":", &quoted(level)].concat()
}

fn session_id(head: &Parts) -> Option<String> {
    Some(head.headers.get(SESSION_ID)?.to_str().ok()?.to_owned())
}
