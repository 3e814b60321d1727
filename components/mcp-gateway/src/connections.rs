//! Tells people and programs which services are connected, and how to connect the others.
//!
//! It is never told by a 401, which is about the client's own bearer alone. A tool of a service that is not connected
//! answers with a link; a tool of the gateway's own shows all of them, for models and people; `GET /mcp/servers` does so
//! for programs. Links lead to the broker's own pages, work once, and are bound to the person they are made for: they hold
//! nothing of a provider and open nothing to anyone else.

use http::{Response, StatusCode};

use crate::config::{Entry, Fault, Server};
use crate::eras::{Relay, Route, Site};
use crate::health::{self, Health};
use crate::host::{Host, Outcome};
use crate::jsonrpc;
use crate::memory;
use crate::names;
use crate::pins::{self, Known};
use crate::relay::tool_error;
use crate::session::{ClientEra, Profile};
use crate::upstream::{Link, bridge};
use crate::visitor::{Standing, Visitor};
use json::quoted;

/// So many changed tools of a server are named.
const MOST_CHANGED: usize = 32;
/// The gateway's own tool. No server's tool is called so in the aggregate, where those have `__`.
pub const TOOL: &str = "gatehouse_connections";
pub const DEFINITION: &str = concat!(
    r#"{"name":"gatehouse_connections","title":"Connections","#,
    r#""description":"Shows the servers behind this gateway and whether the person's accounts there are connected. "#,
    r#"For one that is not, gives a link for the person to open in a browser.","#,
    r#""inputSchema":{"type":"object","properties":{}},"annotations":{"readOnlyHint":true,"openWorldHint":false}}"#
);

/// Returns true if [`TOOL`] is listed here: among many servers, where any may need a connection, so that the list stays the
/// same; on a server's own route only while its connection is missing and nothing else would tell.
pub fn listed(site: &Site<'_>, servers: &[Server<'_>], visitor: &Visitor) -> bool {
    servers.iter().any(|server| match site.is_single() {
        false => server.service.is_some(),
        true => matches!(visitor.standing(server), Standing::Closed(_)),
    })
}

/// The answer to a request for which there is no token: the link, in the form that the client can take.
pub fn closed(relay: &Relay<'_>, server: &Server<'_>, outcome: &Outcome) -> Response<Vec<u8>> {
    let service = server.service.as_deref().unwrap_or_default();
    let state = State::of(outcome);
    let (client, id) = (relay.client, relay.request.id);
    if let Some(link) = state.link {
        let message = format!("{} needs your {service} account: {}.", server.name, state.detail);
        if let Some(answer) = client.dialect().show_link(&relay.request.method, id, &message, link) {
            return answer;
        }
    }
    let link = state.link.map(|link| [",\"connect_url\":", &quoted(link)].concat()).unwrap_or_default();
    let told = state.told(server, service);
    let known = format!(r#"{{"service":{},"state":"{}"{link}}}"#, quoted(service), state.name);
    if relay.request.method == "tools/call" {
        return client.result(id, &format!(r#"{},"structuredContent":{known}"#, tool_error(&told)));
    }
    client.error_with(id, jsonrpc::INTERNAL_ERROR, &told, Some(&known))
}

/// Members of the result of [`TOOL`].
pub fn tool_result<H: Host>(host: &H, site: &Site<'_>, visitor: &Visitor) -> String {
    let entries: Vec<_> = entries(site).collect();
    let changed: Vec<Vec<String>> = entries.iter().map(|entry| changed(host, entry, visitor)).collect();
    let healths: Vec<_> = entries.iter().map(|entry| health_of(host, entry, visitor)).collect();
    let lines: Vec<String> = entries
        .iter()
        .zip(&changed)
        .zip(&healths)
        .map(|((entry, changed), health)| line(entry, visitor, health.as_ref(), changed))
        .collect();
    let text = if lines.is_empty() { "No servers are configured.".to_owned() } else { lines.join("\n") };
    let items: Vec<String> = entries
        .iter()
        .zip(&changed)
        .zip(&healths)
        .map(|((entry, changed), health)| {
            let changed: Vec<String> = changed.iter().map(|name| quoted(name)).collect();
            let more = format!(r#","changed_tools":[{}]"#, changed.join(","));
            item(entry, visitor, health.as_ref(), None, if changed.is_empty() { "" } else { &more })
        })
        .collect();
    format!(
        r#""content":[{{"type":"text","text":{}}}],"structuredContent":{{"servers":[{}]}}"#,
        quoted(&text),
        items.join(",")
    )
}

/// `GET /mcp/servers`. No upstream is asked: what it says is what the file, the broker and the memory say.
pub fn overview<H: Host>(host: &H, site: &Site<'_>, visitor: &Visitor) -> Response<Vec<u8>> {
    let items: Vec<String> = entries(site)
        .map(|entry| {
            let server = entry.server().ok();
            let era = server.as_ref().and_then(|server| era(host, visitor, server));
            let known = server.as_ref().and_then(|server| pinned(host, visitor, server));
            let more = known.map(|known| {
                let tools: Vec<String> = known.iter().map(tool).collect();
                [r#","pinned_tools":["#, &tools.join(","), "]"].concat()
            });
            let health = health_of(host, entry, visitor);
            let not_for = server.as_ref().map(|server| unbridged(host, visitor, server)).unwrap_or_default();
            let known = health.as_ref().map(|health| known_of(health, not_for));
            let more = [more.unwrap_or_default(), known.unwrap_or_default()].concat();
            item(entry, visitor, health.as_ref(), era, &more)
        })
        .collect();
    jsonrpc::respond(StatusCode::OK, [r#"{"servers":["#, &items.join(","), "]}"].concat().into_bytes())
}

/// What is remembered of how a server fared.
fn health_of<H: Host>(host: &H, entry: &Entry<'_>, visitor: &Visitor) -> Option<Health> {
    let server = entry.server().ok()?;
    Some(health::recall(host, link(visitor, &server)).unwrap_or_default())
}

/// For which clients a server is left out that is not bridged, and why.
fn unbridged<H: Host>(host: &H, visitor: &Visitor, server: &Server<'_>) -> Vec<String> {
    let eras = [("2026-07-28", ClientEra::Modern), ("2025-11-25 and before", ClientEra::Legacy(None))];
    let left_out = |(name, client): (&str, ClientEra)| {
        let profile = Profile { client, ..Profile::NONE };
        let failure = bridge::remembered(host, Link { profile, ..link(visitor, server) })?.err()?;
        Some(format!("everything, for clients of {name}: {failure}"))
    };
    eras.into_iter().filter_map(left_out).collect()
}

/// The same as members of JSON: times in seconds since the Unix epoch, absent for never.
fn known_of(health: &Health, not_for: Vec<String>) -> String {
    let time = |name: &str, time: u64| if time > 0 { format!(",\"{name}\":{time}") } else { String::new() };
    let mut members = time("last_success", health.succeeded) + time("last_failure", health.failed).as_str();
    if health.failed > 0 {
        members += [",\"last_failure_reason\":", &quoted(&health.why)].concat().as_str();
    }
    let left_out: Vec<String> = not_for.iter().map(|what| quoted(what)).chain(health.left_out().map(quoted)).collect();
    if !left_out.is_empty() {
        members += [",\"left_out\":[", &left_out.join(","), "]"].concat().as_str();
    }
    members
}

fn era<H: Host>(host: &H, visitor: &Visitor, server: &Server<'_>) -> Option<&'static str> {
    let known = |client| {
        let profile = Profile { client, ..Profile::NONE };
        memory::facts(host, Link { profile, ..link(visitor, server) })
    };
    let facts = known(ClientEra::Modern).or_else(|| known(ClientEra::Legacy(None)));
    facts.map(|facts| if facts.modern { "modern" } else { "legacy" })
}

/// What is remembered of the tools of a server that are pinned.
fn pinned<H: Host>(host: &H, visitor: &Visitor, server: &Server<'_>) -> Option<Vec<Known>> {
    server.pin.and_then(|_| pins::recall(host, link(visitor, server)))
}

fn tool(known: &Known) -> String {
    let Known { name, approved, changed } = known;
    format!(r#"{{"name":{},"approved":{},"changed":{}}}"#, quoted(name), quoted(approved), quoted(changed))
}

/// The tools of `entry` that are not as they were approved, by names that hold nothing else.
fn changed<H: Host>(host: &H, entry: &Entry<'_>, visitor: &Visitor) -> Vec<String> {
    let known = entry.server().ok().and_then(|server| pinned(host, visitor, &server)).unwrap_or_default();
    let changed = known.into_iter().filter(|known| !known.changed.is_empty());
    changed.take(MOST_CHANGED).map(|known| names::join(&entry.prefix, &known.name)).collect()
}

fn link<'v>(visitor: &'v Visitor, server: &'v Server<'v>) -> Link<'v> {
    Link { server, token: None, caller: &visitor.caller, profile: Profile::NONE }
}

/// What a server is to a person.
struct State<'a> {
    name: &'static str,
    detail: String,
    link: Option<&'a str>,
}

impl<'a> State<'a> {
    fn of(outcome: &'a Outcome) -> Self {
        let state = |name, detail: &str, link| Self { name, detail: detail.to_owned(), link };
        match outcome {
            Outcome::Token(_) => state("ready", "connected", None),
            Outcome::NotConnected(url) => state("not_connected", "not connected yet", Some(url)),
            Outcome::NeedsReconnect { url, missing_scopes } if missing_scopes.is_empty() => {
                state("needs_reconnect", "the connection has ended", Some(url))
            }
            Outcome::NeedsReconnect { url, missing_scopes } => {
                let detail = format!("the connection lacks rights: {}", missing_scopes.join(" "));
                state("needs_reconnect", &detail, Some(url))
            }
            Outcome::TemporarilyUnavailable(seconds) => {
                let detail =
                    format!("the service does not answer now; the connection is kept, try again in {seconds} s");
                state("unavailable", &detail, None)
            }
            Outcome::UnknownService => {
                let detail = "its service is not in oauth_clients, or handout_policy keeps it from this gateway";
                state("misconfigured", detail, None)
            }
        }
    }

    /// The state of a server that can be called: ready only if it has answered.
    fn of_open(connection: &str, health: Option<&Health>) -> Self {
        let (name, detail) = match health {
            Some(health) if health.is_failing() => {
                ("unreachable", format!("{connection}; the last time, {}", health.why))
            }
            Some(health) if health.succeeded > 0 => ("ready", connection.to_owned()),
            _ => ("not_seen", format!("{connection}; it has not been asked yet")),
        };
        Self { name, detail, link: None }
    }

    fn of_fault(fault: &Fault) -> Self {
        let name = match fault {
            Fault::Disabled => "disabled",
            Fault::Unsupported(_) => "unsupported",
            Fault::Misconfigured(_) => "misconfigured",
        };
        Self { name, detail: fault.to_string(), link: None }
    }

    fn told(&self, server: &Server<'_>, service: &str) -> String {
        let Self { detail, .. } = self;
        match self.link {
            Some(link) => format!(
                "The service {service}, which {} needs, cannot be used: {detail}. To connect it, the person has to open \
                 this link in a browser: {link} (it works once, and for this person only). Then call the tool again.",
                server.name
            ),
            None => format!("The service {service}, which {} needs, cannot be used: {detail}.", server.name),
        }
    }
}

fn entries<'s>(site: &'s Site<'_>) -> impl Iterator<Item = &'s Entry<'s>> {
    let entries = match site.route {
        Route::All => site.config.entries().iter().collect(),
        Route::Named(name) => {
            site.config.endpoint(name).unwrap_or_else(|| site.config.find(name).into_iter().collect())
        }
    };
    entries.into_iter()
}

/// Calls `then` with the state of `entry`, and with the server if there is one.
fn with_state<T>(
    entry: &Entry<'_>,
    visitor: &Visitor,
    health: Option<&Health>,
    then: impl FnOnce(State<'_>, Option<&Server<'_>>) -> T,
) -> T {
    match entry.server() {
        Err(fault) => then(State::of_fault(&fault), None),
        Ok(server) => match visitor.standing(&server) {
            Standing::Open(token) => {
                let connection = if token.is_some() { "connected" } else { "needs no connection" };
                then(State::of_open(connection, health), Some(&server))
            }
            Standing::Closed(outcome) => then(State::of(outcome), Some(&server)),
        },
    }
}

fn line(entry: &Entry<'_>, visitor: &Visitor, health: Option<&Health>, changed: &[String]) -> String {
    let changed = match changed {
        [] => String::new(),
        names => format!(". Changed since they were approved: {}", names.join(", ")),
    };
    with_state(entry, visitor, health, |state, _| match state.link {
        Some(link) => format!("- {}: {}{changed}. To connect it, open {link}", entry.name, state.detail),
        None => format!("- {}: {}{changed}", entry.name, state.detail),
    })
}

/// `more` is the text of further members.
fn item(entry: &Entry<'_>, visitor: &Visitor, health: Option<&Health>, era: Option<&str>, more: &str) -> String {
    with_state(entry, visitor, health, |state, server| {
        let mut members =
            format!(r#"{{"name":{},"state":"{}","detail":{}"#, quoted(&entry.name), state.name, quoted(&state.detail));
        let mut add = |name: &str, value: &str| members.extend([",\"", name, "\":", &quoted(value)]);
        if entry.prefix != entry.name {
            add("prefix", &entry.prefix);
        }
        if let Some(server) = server {
            add("url", &server.shown_url());
            if let Some(service) = &server.service {
                add("service", service);
            }
        }
        if let Some(era) = era {
            add("era", era);
        }
        if let Some(link) = state.link {
            add("connect_url", link);
        }
        members + more + "}"
    })
}
