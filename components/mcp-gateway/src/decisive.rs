//! The names by which the gateway, a server or a client decides, and where each of them stands.
//!
//! Readers of JSON differ ([`json::Ambiguous`]). Where the gateway reads one member and a server another, a rule of
//! `servers.json` is checked against one tool and another one is called; so a message in which such a name stands twice,
//! or beside one that some reader takes for it, is refused whole. All other names are the client's and the server's
//! own: arguments, schemas, structured content, and what a later version of the protocol adds, pass as they stand.

use json::{Ambiguous, Object, is_taken_for};

use crate::eras::modern::{META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL, META_VERSION};
use crate::listening::SUBSCRIPTION;

/// A message of JSON-RPC.
const MESSAGE: [&str; 6] = ["jsonrpc", "id", "method", "params", "result", "error"];
/// The params of a request or a notification, of any method and of either side.
const PARAMS: [&str; 19] = [
    "name",
    "uri",
    "taskId",
    "arguments",
    "_meta",
    "ref",
    "task",
    "cursor",
    "level",
    "requestId",
    "progressToken",
    "protocolVersion",
    "capabilities",
    "clientInfo",
    "notifications",
    "requestState",
    "inputResponses",
    "mode",
    "elicitationId",
];
/// `_meta`.
const META: [&str; 6] = [META_VERSION, META_CAPABILITIES, META_CLIENT, META_LOG_LEVEL, SUBSCRIPTION, "progressToken"];
/// `ref` of `completion/complete`.
const REFERENCE: [&str; 3] = ["type", "name", "uri"];
/// `notifications` of `subscriptions/listen`.
const FILTER: [&str; 4] = ["toolsListChanged", "promptsListChanged", "resourcesListChanged", "resourceSubscriptions"];
/// A call inside of another one's arguments (`finding`).
const CALL: [&str; 2] = ["name", "arguments"];
/// A result of any request.
const RESULT: [&str; 7] = ["resultType", "inputRequests", "requestState", "taskId", "ttlMs", "cacheScope", "_meta"];
/// The result of a question of the gateway's own: `initialize`, `server/discover`, or a list.
const OWN_RESULT: [&str; 10] = [
    "protocolVersion",
    "supportedVersions",
    "capabilities",
    "instructions",
    "nextCursor",
    "tools",
    "prompts",
    "resources",
    "resourceTemplates",
    "skills",
];
/// An entry of a list.
const ENTRY: [&str; 8] =
    ["name", "title", "description", "uri", "uriTemplate", "inputSchema", "outputSchema", "annotations"];
/// The methods that are not simply passed to the one server that is meant.
const METHODS: [&str; 20] = [
    "initialize",
    "ping",
    "server/discover",
    "tools/call",
    "tools/list",
    "prompts/get",
    "prompts/list",
    "resources/read",
    "resources/list",
    "resources/templates/list",
    "resources/directory/read",
    "skills/list",
    "skills/get",
    "resources/subscribe",
    "resources/unsubscribe",
    "completion/complete",
    "logging/setLevel",
    "subscriptions/listen",
    "tasks/update",
    "tasks/cancel",
];

/// Checks a message, but not what is in its params or its result.
pub fn message(message: &Object<'_>) -> Result<(), Ambiguous> {
    message.check(&MESSAGE)
}

/// Checks the params of `method`. Returns their `_meta`, if it is an object.
pub fn params<'a>(method: &str, params: &Object<'a>) -> Result<Option<Object<'a>>, Ambiguous> {
    params.check(&PARAMS)?;
    let inner = match method {
        "completion/complete" => Some(("ref", REFERENCE.as_slice())),
        "subscriptions/listen" | "notifications/subscriptions/acknowledged" => {
            Some(("notifications", FILTER.as_slice()))
        }
        _ => None,
    };
    if let Some((name, names)) = inner
        && let Some(object) = params.object(name)?
    {
        object.check(names)?;
    }
    let meta = params.object("_meta")?;
    if let Some(meta) = &meta {
        meta.check(&META)?;
    }
    Ok(meta)
}

/// Checks a result.
pub fn result(result: &Object<'_>) -> Result<(), Ambiguous> {
    result.check(&RESULT)
}

/// Checks the result of a question of the gateway's own.
pub fn own_result(result: &Object<'_>) -> Result<(), Ambiguous> {
    result.check(&RESULT)?;
    result.check(&OWN_RESULT)
}

/// Checks an entry of a list.
pub fn entry(entry: &Object<'_>) -> Result<(), Ambiguous> {
    entry.check(&ENTRY)
}

/// Checks a call inside of another one's arguments.
pub fn call(call: &Object<'_>) -> Result<(), Ambiguous> {
    call.check(&CALL)
}

/// Returns true if a server that reads methods without regard to case, or to what is around them, could take `method`
/// for one by which the gateway decides.
pub fn looks_like_another(method: &str) -> bool {
    let trimmed = method.trim_matches(|letter: char| letter.is_whitespace() || letter.is_control());
    METHODS.iter().any(|known| *known != method && is_taken_for(trimmed, known))
}
