//! How is an upstream of 2026-07-28 spoken to?

use http::Request;

use super::{Asked, Failure, Link, Outgoing, ask, post, result_of};
use crate::eras::legacy::PROTOCOL_VERSION;
use crate::eras::modern::{META_CAPABILITIES, META_CLIENT, META_VERSION, METHOD, NAME, VERSION, encoded};
use crate::eras::{Call, IMPLEMENTATION};
use crate::host::Host;
use crate::json::{self, Edits};

/// A POST, with the headers that repeat its body.
pub fn request(link: Link<'_>, outgoing: Outgoing<'_>) -> Option<Request<Vec<u8>>> {
    let mut builder = post(link)?.header(PROTOCOL_VERSION, VERSION).header(METHOD, outgoing.method);
    if let Some(name) = outgoing.name {
        builder = builder.header(NAME, &*encoded(name));
    }
    for (name, value) in outgoing.headers {
        builder = builder.header(name, value);
    }
    builder.body(outgoing.body).ok()
}

/// A client's call, as this era writes it: with `_meta`. A modern client's own passes as it is, with what that client
/// can do, so that the upstream may ask it for input.
pub fn write_call(call: &Call<'_>, edits: &mut Edits<'_>) {
    match call.params.object("_meta") {
        Ok(Some(meta)) if meta.get(META_VERSION) != Ok(None) => {}
        Ok(Some(meta)) => edits.rework(&meta, &[META_VERSION, META_CAPABILITIES, META_CLIENT], &own_meta()),
        _ => edits.rework(&call.params, &["_meta"], &format!(r#""_meta":{{{}}}"#, own_meta())),
    }
}

/// A request of the gateway's own.
pub fn write_own(id: u64, method: &str, members: &str) -> Vec<u8> {
    let comma = if members.is_empty() { "" } else { "," };
    let meta = own_meta();
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{members}{comma}"_meta":{{{meta}}}}}}}"#)
        .into_bytes()
}

/// Whether the upstream is of this era.
pub async fn discover<H: Host>(host: &H, link: Link<'_>) -> Result<bool, Failure> {
    let method = "server/discover";
    let body = write_own(0, method, "");
    let request = request(link, Outgoing { method, name: None, headers: &[], body });
    let answer = match ask(host, link, request.ok_or(Failure::NotMcp)?).await {
        Ok((_, answer)) => answer,
        // Servers of another era, and what stands before them, answer what they do not know in many ways.
        Err(Failure::NotMcp) => return Ok(false),
        Err(failure) => return Err(failure),
    };
    let Asked::Message(message) = answer else { return Ok(false) };
    let versions = result_of(&message).and_then(|result| json::array(result.get("supportedVersions").ok()??));
    Ok(versions
        .is_some_and(|versions| versions.into_iter().any(|version| json::string(version).as_deref() == Some(VERSION))))
}

/// What the gateway says of itself where the client is of another era: it can do nothing that would have to be asked
/// of that client.
fn own_meta() -> String {
    format!(r#""{META_VERSION}":"{VERSION}","{META_CAPABILITIES}":{{}},"{META_CLIENT}":{IMPLEMENTATION}"#)
}
