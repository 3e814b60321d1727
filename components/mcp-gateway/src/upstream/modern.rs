//! Writes requests to upstreams of 2026-07-28.

use std::borrow::Cow;
use std::time::Duration;

use http::Request;

use super::{
    Asked, Content, Discovered, Failure, Link, Messages, Modern, Outgoing, ask, dispatch, facts_of, post, receive,
    result_of,
};
use crate::eras::legacy::PROTOCOL_VERSION;
use crate::eras::modern::{
    META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL, META_VERSION, METHOD, NAME, VERSION, encoded,
};
use crate::eras::{IMPLEMENTATION, Relay};
use crate::host::{Host, SendError};
use crate::names;
use crate::session::Profile;
use json::{Edits, Object, quoted};

/// What a legacy client hears that never said what it wants to hear: as much as legacy servers say of their own accord.
const USUAL_LEVEL: &str = "info";

/// A POST, with the headers that repeat its body.
pub fn request(link: Link<'_>, outgoing: Outgoing<'_>) -> Option<Request<Vec<u8>>> {
    let mut builder = post(link)?.header(PROTOCOL_VERSION, VERSION).header(METHOD, &*encoded(outgoing.method));
    if let Some(name) = outgoing.name {
        builder = builder.header(NAME, &*encoded(name));
    }
    for (name, value) in outgoing.headers {
        builder = builder.header(name, value);
    }
    builder.body(outgoing.body).ok()
}

/// The input that a client of the other era gave, as members of the params of a retry.
#[derive(Default)]
pub struct Input {
    pub responses: Option<String>,
    pub state: Option<String>,
}

/// A client's request, as this era writes it: with `_meta`. A modern client's own passes as it is, with what that client
/// can do, so that the upstream may ask it for input.
pub fn write(relay: &Relay<'_>, modern: &Modern, profile: Profile, input: &Input, edits: &mut Edits<'_>) {
    if relay.client.is_modern() {
        return;
    }
    let level = relay.client.takes_events().then(|| modern.level.as_deref().unwrap_or(USUAL_LEVEL));
    let own = own_meta(profile, level);
    let mut members = Vec::new();
    if let Some(responses) = &input.responses {
        members.push(["\"inputResponses\":", responses].concat());
    }
    if let Some(state) = &input.state {
        members.push(["\"requestState\":", state].concat());
    }
    let Some(params) = &relay.params else {
        members.push(format!(r#""_meta":{{{own}}}"#));
        if let Ok(message) = Object::parse(relay.request.text) {
            edits.rework(&message, &["params"], &format!(r#""params":{{{}}}"#, members.join(",")));
        }
        return;
    };
    match params.object("_meta") {
        Ok(Some(meta)) => {
            edits.rework(&meta, &[META_VERSION, META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL], &own);
            if !members.is_empty() {
                edits.rework(params, &["inputResponses", "requestState"], &members.join(","));
            }
        }
        _ => {
            members.push(format!(r#""_meta":{{{own}}}"#));
            edits.rework(params, &["_meta", "inputResponses", "requestState"], &members.join(","));
        }
    }
}

/// A request of the gateway's own.
pub fn write_own(id: &str, method: &str, members: &str) -> Vec<u8> {
    let comma = if members.is_empty() { "" } else { "," };
    let meta = own_meta(Profile::NONE, None);
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{members}{comma}"_meta":{{{meta}}}}}}}"#)
        .into_bytes()
}

/// What the upstream says of itself, if it is of this era. It has `patience` for its answer. If it refuses the version
/// and names that same version as one that it speaks, it is asked once more.
///
/// Errors: 401, and a connection that cannot be made: `initialize` would fare no better.
pub async fn discover<H: Host>(host: &H, link: Link<'_>, patience: Duration) -> Result<Discovered, Failure> {
    let mut supported = Vec::new();
    for _ in 0..2 {
        let message = match ask_who(host, link, patience).await? {
            Ok(message) => message,
            Err(why) => return Ok(Discovered::Other(why)),
        };
        if let Some(result) = result_of(&message) {
            supported = versions(&result, "supportedVersions");
            if is_named(&supported) {
                return Ok(Discovered::Modern(facts_of(&result, true)));
            }
            break;
        }
        // It knows this era, and says which versions of it: ours is not taken for legacy by that alone.
        let error = Object::parse(&message).ok().and_then(|message| message.object("error").ok()?);
        let data = error
            .filter(|error| matches!(error.get("code"), Ok(Some("-32022"))))
            .and_then(|error| error.object("data").ok()?);
        supported = data.map(|data| versions(&data, "supported")).unwrap_or_default();
        if !is_named(&supported) {
            break;
        }
    }
    Ok(Discovered::Other((!supported.is_empty()).then(|| of_other_versions(&supported))))
}

/// The answer to `server/discover`, or why there is none that could be one.
async fn ask_who<H: Host>(
    host: &H,
    link: Link<'_>,
    patience: Duration,
) -> Result<Result<String, Option<Failure>>, Failure> {
    let method = "server/discover";
    let body = write_own("0", method, "");
    let request = request(link, Outgoing { method, name: None, headers: Vec::new(), body });
    Ok(match ask(host, link, request.ok_or(Failure::NotMcp)?, patience).await {
        Ok((_, Asked::Message(message))) => Ok(message),
        Ok((_, Asked::Refused(body))) => Ok(String::from_utf8(body).unwrap_or_default()),
        // Servers of another era, and what stands before them, answer what they do not know in many ways.
        Err(Failure::NotMcp) => Err(None),
        Err(Failure::Unreachable(SendError::Timeout) | Failure::Late) => Err(Some(Failure::Late)),
        Err(failure @ (Failure::Refused | Failure::Loop | Failure::Unreachable(_))) => return Err(failure),
        Err(failure) => Err(Some(failure)),
    })
}

fn versions(object: &Object<'_>, name: &str) -> Vec<String> {
    let versions = object.find(name).and_then(json::array).unwrap_or_default();
    versions.into_iter().filter_map(json::string).map(Cow::into_owned).collect()
}

fn is_named(versions: &[String]) -> bool {
    versions.iter().any(|version| version == VERSION)
}

fn of_other_versions(supported: &[String]) -> Failure {
    const MOST: usize = 8;
    let shown: Vec<&str> = supported.iter().take(MOST).map(|version| names::cut(version, 32)).collect();
    Failure::Versions(shown.join(", "))
}

/// Opens a stream of what changes; `filter` is the text of the members of `notifications`. Its messages name it by `id`.
pub async fn listen<'h, H: Host>(
    host: &'h H,
    link: Link<'_>,
    id: &str,
    filter: &str,
) -> Result<Option<Messages<'h, H>>, Failure> {
    let method = "subscriptions/listen";
    let body = write_own(id, method, &format!(r#""notifications":{{{filter}}}"#));
    let request = request(link, Outgoing { method, name: None, headers: Vec::new(), body }).ok_or(Failure::NotMcp)?;
    match receive(host, link, dispatch(host, link, request, link.server.patience).await?).await? {
        Content::Events(body) => Ok(Some(Messages::new(host, body))),
        Content::Json(..) | Content::Error(..) => Ok(None),
    }
}

/// What the gateway says of itself where the client is of another era.
fn own_meta(profile: Profile, level: Option<&str>) -> String {
    let level = level.map(|level| format!(r#","{META_LOG_LEVEL}":{}"#, quoted(level))).unwrap_or_default();
    let capabilities = profile.can.write();
    format!(
        r#""{META_VERSION}":"{VERSION}","{META_CAPABILITIES}":{capabilities},"{META_CLIENT}":{IMPLEMENTATION}{level}"#
    )
}
