//! Tells what an endpoint can do.
//!
//! It can do what its servers can do, as each said when it was met: a feature is declared when one of them has it, and what
//! changes is announced when one of them announces it. A server that was never met is met now, all at once and within a
//! deadline; one that does not answer, or is not connected, adds nothing. Behind an endpoint of one server of the
//! client's own era its word passes as it is. What no pairing of eras could deliver is not declared.

use std::pin::pin;
use std::time::Duration;

use crate::concurrent::join_all;
use http::Response;

use crate::config::Server;
use crate::eras::{Client, Describe, IMPLEMENTATION, Site, legacy, modern};
use crate::host::{Host, within};
use crate::memory::Facts;
use crate::session::Profile;
use crate::unbridged::Refused;
use crate::upstream::{self, Failure, Link};
use crate::visitor::{Standing, Visitor};
use crate::{attribution, connections, finding, health, names, sessions, skills, unbridged};
use json::Object;

const DEADLINE: Duration = Duration::from_secs(5);
/// The most bytes of what each of several servers tells a model.
const INSTRUCTIONS: usize = 4096;

pub async fn describe<H: Host>(
    host: &H,
    describe: &Describe<'_>,
    site: &Site<'_>,
    servers: &[Server<'_>],
    visitor: &mut Visitor,
) -> Response<Vec<u8>> {
    let Describe { client, id, declared } = describe;
    let unbridged = servers.first().filter(|server| !server.bridge && site.is_single() && !client.is_modern());
    if let Some(refusal) = unbridged.and_then(|server| unbridged::of_remembered(host, client, id, server, visitor)) {
        return refusal;
    }
    let kept = match client.session() {
        Some(session) => sessions::open(host, session, declared.as_ref(), site, visitor).await,
        None => None,
    };
    let client = &kept.map_or(*client, |session| client.with_session(session));
    if let Some(server) = unbridged
        && let Some(refusal) = unbridged::of_client(host, client, Refused::Request(id), server, visitor).await
    {
        if let Some(session) = client.session() {
            sessions::end(host, session, servers, visitor).await;
        }
        return refusal;
    }
    let visitor = &*visitor;
    let facts = facts(host, servers, visitor, client.profile()).await;
    let own_tool = connections::listed(site, servers, visitor);
    let description = Description {
        capabilities: capabilities(client, site, servers, &facts, own_tool),
        instructions: instructions(site, servers, &facts),
        info: info(site, &facts).unwrap_or_else(|| IMPLEMENTATION.to_owned()),
    };
    match client {
        Client::Legacy(_) => legacy::described(client, id, &description, &visitor.caller, kept.is_some()),
        Client::Modern(_) => modern::described(id, &description),
    }
}

/// What an endpoint says of itself, in either era.
pub struct Description {
    /// The text of its capabilities.
    pub capabilities: String,
    /// Empty: none.
    instructions: String,
    /// The text of its `Implementation`.
    pub info: String,
}

impl Description {
    /// The member that tells a model what is here, after a comma, if there is something to tell.
    pub fn instructions(&self) -> String {
        match self.instructions.as_str() {
            "" => String::new(),
            told => [",\"instructions\":", &json::quoted(told)].concat(),
        }
    }
}

/// On its own route a server is itself.
fn info(site: &Site<'_>, facts: &[Option<Facts>]) -> Option<String> {
    match facts {
        [Some(only)] if site.is_single() => only.info.clone(),
        _ => None,
    }
}

/// What each of `servers` says of itself.
pub async fn facts<H: Host>(
    host: &H,
    servers: &[Server<'_>],
    visitor: &Visitor,
    profile: Profile,
) -> Vec<Option<Facts>> {
    join_all(servers.iter().map(async |server| {
        let Standing::Open(token) = visitor.standing(server) else { return None };
        let link = Link { server, token, caller: &visitor.caller, profile };
        let facts = within(host, DEADLINE, pin!(upstream::facts(host, link))).await.unwrap_or(Err(Failure::Late));
        facts.inspect_err(|failure| health::failed(host, link, failure)).ok()
    }))
    .await
}

fn capabilities(
    client: &Client,
    site: &Site<'_>,
    servers: &[Server<'_>],
    facts: &[Option<Facts>],
    own_tool: bool,
) -> String {
    if let (true, [Some(only)]) = (site.is_single(), facts)
        && only.modern == client.is_modern()
    {
        return only.capabilities.clone();
    }
    let known: Vec<(&Facts, Object<'_>)> =
        facts.iter().flatten().filter_map(|facts| Some((facts, Object::parse(&facts.capabilities).ok()?))).collect();
    let has = |name| known.iter().any(|(_, said)| said.find(name).is_some());
    let says = |name: &'static str, flag: &str| known.iter().any(|(facts, _)| facts.says(name, flag));
    let with = |name: &'static str, flags: &[&str]| {
        let set: Vec<String> =
            flags.iter().filter(|flag| says(name, flag)).map(|flag| format!("\"{flag}\":true")).collect();
        format!("\"{name}\":{{{}}}", set.join(","))
    };
    let mut members = Vec::new();
    // A server that could not be asked most likely has tools.
    if own_tool || servers.is_empty() || facts.iter().any(Option::is_none) || has("tools") {
        members.push(with("tools", &["listChanged"]));
    }
    if has("resources") {
        members.push(with("resources", &["subscribe", "listChanged"]));
    }
    if has("prompts") {
        members.push(with("prompts", &["listChanged"]));
    }
    for name in ["completions", "logging"] {
        if has(name) {
            members.push(format!("\"{name}\":{{}}"));
        }
    }
    if client.is_modern() {
        let extensions = extensions(&known);
        if !extensions.is_empty() {
            members.push(format!("\"extensions\":{{{extensions}}}"));
        }
    }
    ["{", &members.join(","), "}"].concat()
}

/// Extensions that work where several servers share one endpoint: their requests name a tool, a URI or a task, by which the
/// server is found. One that brings methods of its own is declared on the server's own route alone, but for that of
/// `skills`.
const SHARED_EXTENSIONS: [&str; 2] = ["io.modelcontextprotocol/tasks", "io.modelcontextprotocol/ui"];

/// Each extension that a server of this era has and that can be served here, with the settings of the first one that has it.
fn extensions(known: &[(&Facts, Object<'_>)]) -> String {
    let mut members: Vec<(String, &str)> = Vec::new();
    for (_, said) in known.iter().filter(|(facts, _)| facts.modern) {
        let Ok(Some(extensions)) = said.object("extensions") else { continue };
        for (name, text) in extensions.members() {
            let is_served = SHARED_EXTENSIONS.contains(&&**name);
            if is_served && members.iter().all(|(known, _)| known != name) {
                members.push((name.to_string(), text));
            }
        }
    }
    if let Some(settings) = skills::settings(known.iter().map(|(facts, _)| *facts)) {
        members.push((skills::EXTENSION.to_owned(), settings));
    }
    let written: Vec<String> =
        members.into_iter().map(|(name, text)| [&json::quoted(&name), ":", text].concat()).collect();
    written.join(",")
}

/// What a model is told: the server's own words if there is one, else what is behind, and then the words of each, quoted
/// under its name.
fn instructions(site: &Site<'_>, servers: &[Server<'_>], facts: &[Option<Facts>]) -> String {
    let how = if site.is_searched() { finding::INSTRUCTIONS } else { "" };
    let said = |facts: &Option<Facts>| facts.as_ref().and_then(|facts| facts.instructions.clone());
    if let (true, [only @ Some(_)]) = (site.is_single(), facts) {
        let said = said(only).unwrap_or_default();
        return if how.is_empty() || said.is_empty() { said + how } else { format!("{how}\n\n{said}") };
    }
    let mut told = behind(site, servers);
    if !how.is_empty() {
        told = format!("{told} {how}");
    }
    for (server, said) in servers.iter().zip(facts).filter_map(|(server, facts)| Some((server, said(facts)?))) {
        told += &format!("\n\n# {}\n{}", server.prefix, attribution::quote(names::cut(&said, INSTRUCTIONS)));
    }
    told
}

fn behind(site: &Site<'_>, servers: &[Server<'_>]) -> String {
    let about = |server: &Server<'_>| match &server.description {
        Some(description) => format!("{} ({description})", server.prefix),
        None => server.prefix.to_owned(),
    };
    let behind: Vec<String> = servers.iter().map(about).collect();
    let naming = if site.is_single() { "" } else { " Their tools are called `server__tool`." };
    let connecting = if servers.iter().any(|server| server.service.is_some()) {
        " A tool of a service that is not connected answers with a link for the person to open; \
         `gatehouse_connections` shows what is connected."
    } else {
        ""
    };
    match behind.as_slice() {
        [] => "No servers are configured behind this gateway yet.".to_owned(),
        names => format!("Behind this gateway: {}.{naming}{connecting}", names.join(", ")),
    }
}
