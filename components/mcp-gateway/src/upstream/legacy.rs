//! How is an upstream of 2025-03-26 to 2025-11-25 spoken to?

use http::Request;
use http::response::Parts;

use super::{Asked, Failure, Link, Session, ask, post, result_of, text};
use crate::eras::legacy::{PROTOCOL_VERSION, SESSION_ID, Version};
use crate::eras::modern::{META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL, META_VERSION};
use crate::eras::{Call, IMPLEMENTATION};
use crate::host::Host;
use crate::json::Edits;

/// A POST within `session`.
pub fn request(link: Link<'_>, session: &Session, body: Vec<u8>) -> Option<Request<Vec<u8>>> {
    let mut builder = post(link)?.header(PROTOCOL_VERSION, &session.version);
    if let Some(id) = &session.id {
        builder = builder.header(SESSION_ID, id);
    }
    builder.body(body).ok()
}

/// A client's call, as this era writes it: without what modern requests say about themselves in `_meta`.
pub fn write_call(call: &Call<'_>, edits: &mut Edits<'_>) {
    if let Ok(Some(meta)) = call.params.object("_meta") {
        edits.rework(&meta, &[META_VERSION, META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL], "");
    }
}

/// A request of the gateway's own.
pub fn write_own(id: u64, method: &str, members: &str) -> Vec<u8> {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{members}}}}}"#).into_bytes()
}

/// Opens a session: `initialize`, then `notifications/initialized`.
pub async fn initialize<H: Host>(host: &H, link: Link<'_>) -> Result<Session, Failure> {
    let latest = Version::LATEST.name();
    let members = format!(r#""protocolVersion":"{latest}","capabilities":{{}},"clientInfo":{IMPLEMENTATION}"#);
    // It has no version header: nothing is negotiated yet.
    let request = post(link).and_then(|post| post.body(write_own(0, "initialize", &members)).ok());
    let (head, answer) = ask(host, link, request.ok_or(Failure::NotMcp)?).await?;
    let message = match answer {
        Asked::Message(message) => message,
        Asked::Refused => return Err(Failure::Status(head.status.as_u16())),
    };
    let result = result_of(&message).ok_or(Failure::NotMcp)?;
    let version = text(result.get("protocolVersion").ok().flatten());
    let version = version.filter(|version| Version::read(version).is_some()).ok_or(Failure::NotMcp)?;
    let session = Session { id: session_id(&head), version };

    let initialized = br#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#.to_vec();
    let initialized = self::request(link, &session, initialized).ok_or(Failure::NotMcp)?;
    // A server that wants it has it now; one that answers it with an error still has its session.
    let answer = host.send(initialized, link.server.patience).await?;
    super::drain(host, answer.into_body()).await;
    Ok(session)
}

fn session_id(head: &Parts) -> Option<String> {
    Some(head.headers.get(SESSION_ID)?.to_str().ok()?.to_owned())
}
