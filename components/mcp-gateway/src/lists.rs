//! Lists what the servers have: tools, prompts, resources, templates and skills.
//!
//! All servers are asked at once, each with its own deadline, and their entries stand in the file's order. A server that is
//! down, slow or not connected costs its own entries and nothing else. All pages of a server are read, and their entries
//! are kept for as long as the server says, or for a minute if its era has no word for it. The pages that a client gets are
//! made from these entries, so a cursor (`server:place`) means the same to every instance.
//!
//! Tools and prompts are renamed (`names`). URIs are left as they are, because they also stand where nobody can rename
//! them; one that another server claims as well is `gatehouse://server/…` (`owners`), and so is each of a skill (`skills`).

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::pin::pin;
use std::time::Duration;

use crate::concurrent::join_all;
use http::Response;
use serde::{Deserialize, Serialize};

use crate::config::{Pin, Server};
use crate::eras::{By, List, Relay, Site, Target};
use crate::host::{Host, within};
use crate::jsonrpc;
pub use crate::kinds::{Kind, PROMPTS, RESOURCES, SKILLS, TEMPLATES, TOOLS, is_cacheable, kinds};
use crate::memory::{self, Place};
use crate::mend::mend;
use crate::names;
use crate::owners::{self, Owner};
use crate::pins::{self, NOTICE};
use crate::session::Profile;
use crate::upstream::{self, ANSWER_LIMIT, Failure, Link, Modern, Outgoing, Peer};
use crate::visitor::{Standing, Visitor};
use crate::{attribution, connections, decisive, finding, health, skills, structured};
use json::{Edits, Object, quoted};
use sealing::age::{SKEW, left};

/// For one server's list.
pub const DEADLINE: Duration = Duration::from_secs(10);
const MOST_PAGES: usize = 64;
/// The most entries of one list of one server that are looked at.
pub const MOST_ENTRIES: usize = 10_000;
/// A page of ours.
const PAGE_ENTRIES: usize = 1000;
const PAGE_BYTES: usize = 2 * 1024 * 1024;
/// What a legacy server lists is believed for so long: its era says only that a list has changed.
const LEGACY_SECONDS: u64 = 60;
const LONGEST_SECONDS: u64 = 60 * 60;
/// What an endpoint lists that is searched changes with the file alone.
const OWN_SECONDS: u64 = 5 * 60;
/// A longer list is not kept.
const KEPT_BYTES: usize = 900 * 1024;

/// What one server has of one kind.
#[derive(Serialize, Deserialize, Default)]
pub struct Listed {
    /// When it was asked.
    t: u64,
    /// For how many seconds that is true.
    s: u64,
    /// True if it is the same for everyone.
    p: bool,
    /// Which token it was asked with.
    f: String,
    /// The text of each entry.
    l: Vec<String>,
    /// Which tools are not as they are approved (`pins`).
    #[serde(skip)]
    changed: BTreeSet<String>,
}

impl Listed {
    /// For how many seconds from `now` that is still true: an hour at most, also if the row says more.
    fn left(&self, now: u64) -> u64 {
        let most = self.s.min(LONGEST_SECONDS);
        left(self.t.saturating_add(most), now, most + SKEW).min(most)
    }

    /// The text of each entry.
    pub fn entries(&self) -> &[String] {
        &self.l
    }

    /// Returns true if the tool `name` is not as it is approved.
    pub fn is_changed(&self, name: &str) -> bool {
        self.changed.contains(name)
    }

    /// What tells the entries apart.
    pub fn keys(&self, kind: &Kind) -> Vec<String> {
        self.l.iter().filter_map(|entry| kind.key_of(entry)).collect()
    }
}

/// `None` if the server has nothing of this kind.
pub type Found = Result<Option<Listed>, Failure>;

/// The request for a list that is one server's own answer, byte for byte: nothing has to be renamed or hidden. A modern
/// server's tools are listed here for a legacy client, because some tools would be hidden by a client of their own era.
pub fn passed_on<'a, H: Host>(
    host: &H,
    list: List<'a>,
    site: &Site<'a>,
    visitor: &Visitor,
) -> Result<Relay<'a>, List<'a>> {
    let server = match site.servers().pop() {
        Some(server) if site.is_single() && !(list.kind.by == By::Tool && site.is_searched()) => server,
        _ => return Err(list),
    };
    let Standing::Open(token) = visitor.standing(&server) else { return Err(list) };
    if list.kind.by == By::Tool {
        let link = Link { server: &server, token, caller: &visitor.caller, profile: list.client.profile() };
        let is_bridged = || matches!(memory::recall(host, link), Some(Peer::Modern(_)));
        if !server.tools_are_its_own() || (!list.client.is_modern() && is_bridged()) {
            return Err(list);
        }
    }
    let List { client, mut request, .. } = list;
    let target = Target::Server { server: Box::new(server), own: String::new() };
    let params = request.params.take();
    Ok(Relay { client, request, params, handle: None, inner: None, target, param_headers: Vec::new() })
}

pub async fn list<H: Host>(
    host: &H,
    list: &List<'_>,
    site: &Site<'_>,
    servers: &[Server<'_>],
    visitor: &mut Visitor,
) -> Response<Vec<u8>> {
    let List { client, kind, .. } = list;
    let id = list.request.id;
    if kind.by == By::Tool && site.is_searched() {
        let own: Vec<&str> = finding::DEFINITIONS.into_iter().chain(own_tools(site, servers, visitor)).collect();
        let members = format!(r#""tools":[{}]"#, own.join(","));
        return client.cacheable(id, &members, OWN_SECONDS * 1000, false);
    }
    let Some((first, offset)) = cursor(list, servers) else {
        return client.error(id, jsonrpc::INVALID_PARAMS, "Invalid params: unknown cursor");
    };
    // URIs are told apart from those of all servers before.
    let skipped = if kind.by == By::Uri { 0 } else { first };
    let asked: Vec<&Server<'_>> = servers.iter().skip(skipped).collect();
    let most = if kind.by == By::Uri { usize::MAX } else { offset.saturating_add(PAGE_ENTRIES) };
    let found = as_many(host, kind, &asked, most, visitor, client.profile()).await;
    // Where there is only one server, its failure is the answer.
    if let (true, [Some(Err(failure))]) = (site.is_single(), found.as_slice()) {
        let name = servers.first().map_or("", |server| &server.name);
        let message = format!("The server {name} could not be asked: {failure}.");
        return client.error(id, jsonrpc::INTERNAL_ERROR, &message);
    }
    let is_start = kind.by == By::Tool && first == 0 && offset == 0;
    let own = is_start.then(|| own_tools(site, servers, visitor));
    if kind.by != By::Tool && found.iter().all(|found| matches!(found, Some(Ok(None)))) {
        return client.error(id, jsonrpc::METHOD_NOT_FOUND, "Method not found");
    }

    let claims = match kind.by == By::Uri && !site.is_single() && servers.len() > 1 {
        true => Some(owners::gather(host, servers, visitor, client.profile(), Some((*kind, &found))).await),
        false => None,
    };
    let now = host.now();
    let is_whole = found.iter().all(|found| matches!(found, Some(Ok(_) | Err(Failure::NotBridged { .. }))));
    let known = || found.iter().filter_map(|found| found.as_ref()?.as_ref().ok()?.as_ref());
    let left = known().map(|listed| listed.left(now)).min().unwrap_or(0);
    let ttl = if is_whole { left * 1000 } else { 0 };
    let public =
        asked.iter().all(|server| server.service.is_none() && server.pin.is_none()) && known().all(|listed| listed.p);

    let mut entries: Vec<String> = own.into_iter().flatten().map(str::to_owned).collect();
    let mut size = 0;
    let mut next = asked.get(found.len()).map(|server| [server.prefix, ":0"].concat());
    let mut taken = BTreeSet::new();
    'full: for (number, (server, found)) in asked.iter().zip(&found).enumerate() {
        let Some(Ok(Some(listed))) = found else { continue };
        for (place, entry) in listed.l.iter().enumerate() {
            // A URI of the gateway's own form would be taken for the thing of the server that it names.
            let is_claimed = |uri: &str| {
                !site.is_single() && names::split_uri(uri).is_some()
                    || claims.as_ref().is_some_and(|claims| claims.owner(uri) != Owner::One(number))
            };
            let entry = offered(site, server, kind, entry, &listed.changed, &mut taken, &is_claimed);
            let Some(mut entry) = entry else { continue };
            if kind.by == By::Tool && !client.is_modern() {
                entry = structured::tool(entry);
            }
            if (number + skipped, place) < (first, offset) {
                continue;
            }
            if entries.len() >= PAGE_ENTRIES || size + entry.len() > PAGE_BYTES && size > 0 {
                next = Some(format!("{}:{place}", server.prefix));
                break 'full;
            }
            size += entry.len();
            entries.push(entry);
        }
    }
    let next = next.map(|next| [",\"nextCursor\":", &quoted(&next)].concat()).unwrap_or_default();
    let members = format!(r#""{}":[{}]{next}"#, kind.member, entries.join(","));
    client.cacheable(id, &members, ttl, public)
}

/// The gateway's own tools that are listed wherever they may be needed.
fn own_tools(site: &Site<'_>, servers: &[Server<'_>], visitor: &Visitor) -> impl Iterator<Item = &'static str> + use<> {
    let pinned = servers.iter().any(|server| server.pin.is_some());
    let connections = connections::listed(site, servers, visitor).then_some(connections::DEFINITION);
    connections.into_iter().chain(pinned.then_some(pins::DEFINITION))
}

/// Which server and which of its entries a page starts with.
fn cursor(list: &List<'_>, servers: &[Server<'_>]) -> Option<(usize, usize)> {
    let text = match list.request.params.as_ref().map(|params| params.get("cursor")) {
        None | Some(Ok(None)) => return Some((0, 0)),
        Some(cursor) => cursor.ok().flatten()?,
    };
    let cursor = json::string(text)?;
    let (prefix, place) = cursor.split_once(':')?;
    Some((servers.iter().position(|server| server.prefix == prefix)?, place.parse().ok()?))
}

/// What the first of `servers` have, as many as have `most` entries together. What is kept is read one after the other, so
/// that a page costs a page; from the first on that has to be asked, all are asked at once.
async fn as_many<H: Host>(
    host: &H,
    kind: &'static Kind,
    servers: &[&Server<'_>],
    most: usize,
    visitor: &mut Visitor,
    profile: Profile,
) -> Vec<Option<Found>> {
    let mut found = Vec::with_capacity(servers.len());
    let mut entries = 0;
    for server in servers {
        if entries >= most {
            return found;
        }
        found.push(match visitor.standing(server) {
            Standing::Open(token) => {
                let link = Link { server, token, caller: &visitor.caller, profile };
                let Some(known) = kept(host, kind, link) else { break };
                entries += known.as_ref().map_or(0, |listed| listed.l.len());
                Some(Ok(known))
            }
            Standing::Closed(_) => None,
        });
    }
    let rest = servers.get(found.len()..).unwrap_or_default();
    found.extend(all(host, kind, rest, visitor, profile).await);
    found
}

/// What each of `servers` has, and once more from those that refused a token.
pub async fn all<H: Host>(
    host: &H,
    kind: &'static Kind,
    servers: &[&Server<'_>],
    visitor: &mut Visitor,
    profile: Profile,
) -> Vec<Option<Found>> {
    let asked = servers.iter().map(|server| in_time(host, kind, server, visitor, profile));
    let mut found = join_all(asked).await;
    let is_refused = |found: &Option<Found>| matches!(found, Some(Err(Failure::Refused)));
    if found.iter().any(is_refused) {
        let refused = servers.iter().zip(&found).filter(|(_, found)| is_refused(found)).map(|(server, _)| *server);
        visitor.renew(host, refused);
        let again =
            servers.iter().zip(&mut found).filter(|(server, found)| is_refused(found) && server.service.is_some());
        let visitor = &*visitor;
        join_all(
            again.map(|(server, found)| async move { *found = in_time(host, kind, server, visitor, profile).await }),
        )
        .await;
    }
    for (server, found) in servers.iter().zip(&found) {
        if let Some(Err(failure)) = found {
            host.log(&format!("gateway: {} at {}: {failure}", kind.method, server.prefix));
        }
    }
    found
}

/// All tools that some servers have.
pub struct Tools {
    /// Each as it is offered here.
    pub entries: Vec<String>,
    /// Which servers could not be asked, and why.
    pub missing: Vec<(String, String)>,
}

pub async fn tools<H: Host>(
    host: &H,
    site: &Site<'_>,
    servers: &[&Server<'_>],
    visitor: &mut Visitor,
    profile: Profile,
) -> Tools {
    let mut tools = Tools { entries: Vec::new(), missing: Vec::new() };
    let mut taken = BTreeSet::new();
    for (server, found) in servers.iter().zip(all(host, &TOOLS, servers, visitor, profile).await) {
        let why = match found {
            Some(Ok(listed)) => {
                let listed = listed.unwrap_or_default();
                let offered =
                    |entry: &String| offered(site, server, &TOOLS, entry, &listed.changed, &mut taken, &|_| false);
                let as_shown = |entry| if profile.is_modern() { entry } else { structured::tool(entry) };
                tools.entries.extend(listed.l.iter().filter_map(offered).map(as_shown));
                continue;
            }
            Some(Err(failure)) => failure.to_string(),
            None => ["not connected; ", connections::TOOL, " tells more"].concat(),
        };
        tools.missing.push((server.prefix.to_owned(), why));
    }
    tools
}

/// `None` if there is no token to ask with.
async fn in_time<H: Host>(
    host: &H,
    kind: &'static Kind,
    server: &Server<'_>,
    visitor: &Visitor,
    profile: Profile,
) -> Option<Found> {
    let Standing::Open(token) = visitor.standing(server) else { return None };
    let link = Link { server, token, caller: &visitor.caller, profile };
    let found = within(host, DEADLINE, pin!(of_server(host, kind, link))).await.unwrap_or(Err(Failure::Late));
    if let Err(failure) = &found {
        health::failed(host, link, failure);
    }
    Some(found)
}

/// What one server has: as remembered, or else as it says now.
pub async fn of_server<H: Host>(host: &H, kind: &'static Kind, link: Link<'_>) -> Found {
    if let Some(known) = kept(host, kind, link) {
        return Ok(known);
    }
    if let Some(failure) = health::recall(host, link).and_then(|health| health.rests(host.now())) {
        return Err(failure);
    }
    // A server is not sent the methods of an extension that it does not have.
    if kind.is_of_extension() && !upstream::facts(host, link).await?.has(kind.capability) {
        return Ok(None);
    }
    let place = place(kind, link);
    let with = link.token.map_or("", |token| &token.fingerprint);
    let Some(mut listed) = ask(host, kind, link).await? else { return Ok(None) };
    listed.t = host.now();
    listed.f = with.to_owned();
    if listed.s > 0 && listed.l.iter().map(String::len).sum::<usize>() <= KEPT_BYTES {
        place.write(host, link.caller, &serde_json::to_vec(&listed).unwrap_or_default());
    }
    Ok(Some(checked(host, kind, link, listed)))
}

/// What one server has, as remembered. `None` if it has to be asked.
fn kept<H: Host>(host: &H, kind: &Kind, link: Link<'_>) -> Option<Option<Listed>> {
    let with = link.token.map_or("", |token| &token.fingerprint);
    let row = place(kind, link).read(host, link.caller).and_then(|row| serde_json::from_slice::<Listed>(&row).ok());
    if let Some(listed) = row.filter(|row| row.f == with && row.left(host.now()) > 0) {
        return Some(Some(checked(host, kind, link, listed)));
    }
    memory::facts(host, link).is_some_and(|facts| !facts.has(kind.capability)).then_some(None)
}

/// What tells apart what the server last listed, however long ago; nothing if that is not remembered.
pub fn last_keys<H: Host>(host: &H, kind: &Kind, link: Link<'_>) -> Vec<String> {
    let row = place(kind, link).read(host, link.caller);
    row.and_then(|row| serde_json::from_slice::<Listed>(&row).ok()).map(|row| row.keys(kind)).unwrap_or_default()
}

fn checked<H: Host>(host: &H, kind: &Kind, link: Link<'_>, mut listed: Listed) -> Listed {
    if kind.by == By::Tool {
        listed.changed = pins::check(host, link, &listed.l);
        learn(host, link, &listed.l);
    }
    listed
}

/// What a list that has changed was is not believed any more.
pub fn forget<H: Host>(host: &H, link: Link<'_>, kind: &Kind) {
    for kind in kinds().into_iter().filter(|other| other.changed == kind.changed) {
        place(kind, link).forget(host, link.caller);
    }
}

fn place(kind: &Kind, link: Link<'_>) -> Place {
    Place::of("l", link, &[kind.member, &link.profile.era_name()].concat())
}

async fn ask<H: Host>(host: &H, kind: &'static Kind, link: Link<'_>) -> Found {
    let mut listed = Listed { s: LONGEST_SECONDS, p: true, ..Listed::default() };
    let mut size = 0;
    let mut left_out: Vec<String> = Vec::new();
    let mut cursor: Option<String> = None;
    let mut cursors = BTreeSet::new();
    let mut looked_at = 0;
    let mut is_cut = false;
    for number in 1..=MOST_PAGES {
        let members = cursor.as_ref().map(|cursor| ["\"cursor\":", cursor].concat()).unwrap_or_default();
        let mut id = [0; 8];
        host.random(&mut id);
        // As large as a JSON number can be without losing digits on the way.
        let id = u64::from_be_bytes(id) >> 11;
        let write = |peer: &Peer| Outgoing {
            method: kind.method,
            name: None,
            headers: Vec::new(),
            body: match peer {
                Peer::Modern(_) => upstream::modern::write_own(&id.to_string(), kind.method, &members),
                Peer::Legacy(_) => upstream::legacy::write_own(id, kind.method, &members),
            },
        };
        let answered = upstream::exchange(host, link, &write).await?;
        let peer = answered.peer.clone();
        let page = match upstream::answer(host, link, answered).await? {
            Ok(page) => page,
            Err(jsonrpc::METHOD_NOT_FOUND) => return Ok(None),
            Err(_) => return Err(Failure::NotMcp),
        };
        size += page.len();
        if size > ANSWER_LIMIT {
            return Err(Failure::TooLong);
        }
        let result = upstream::result_of(&page).ok_or(Failure::NotMcp)?;
        let entries = result.find(kind.member).and_then(json::array).ok_or(Failure::NotMcp)?;
        let room = MOST_ENTRIES - looked_at;
        looked_at += entries.len().min(room);
        let is_too_long = entries.len() > room;
        for entry in entries.into_iter().take(room) {
            match valid(kind, entry, &peer) {
                Ok(valid) => listed.l.push(valid.into_owned()),
                Err(why) => left_out.push(named(kind, entry, &why)),
            }
        }
        let ttl = result.find("ttlMs").map(|ttl| ttl.parse::<u64>().unwrap_or(0) / 1000);
        listed.s = listed.s.min(ttl.unwrap_or(LEGACY_SECONDS));
        listed.p &= matches!(result.string("cacheScope"), Ok(Some(scope)) if scope == "public");
        cursor = match result.find("nextCursor") {
            _ if is_too_long => None,
            // A cursor that was used before leads round in a circle.
            Some(next) if next.starts_with('"') && cursors.insert(next.to_owned()) => Some(next.to_owned()),
            _ => None,
        };
        is_cut = is_too_long || cursor.is_some() && (looked_at == MOST_ENTRIES || number == MOST_PAGES);
        if is_cut || cursor.is_none() {
            break;
        }
    }
    if is_cut {
        left_out.insert(0, format!("{}: all beyond the first {looked_at}", kind.method));
    }
    if kind.by == By::Tool {
        let alone = format!("it can only be called as a task, at /mcp/{}", link.server.prefix);
        let needs = listed.l.iter().filter(|entry| Object::parse(entry).is_ok_and(|tool| needs_task(&tool)));
        left_out.extend(needs.map(|entry| named(kind, entry, &alone)));
    }
    if let Some(first) = left_out.first() {
        let (count, server) = (left_out.len(), link.server.prefix);
        host.log(&format!("gateway: {server}: {count} entries of {} are left out; the first: {first}", kind.method));
    }
    health::succeeded(host, link, Some((kind, left_out)));
    Ok(Some(listed))
}

/// Remembers which arguments of `tools` the server wants to see in headers, if that is news.
fn learn<H: Host>(host: &H, link: Link<'_>, tools: &[String]) {
    let headers = Some(upstream::params::headers_of(tools));
    if headers.as_deref() != Some("{}")
        && let Some(Peer::Modern(modern)) = memory::recall(host, link)
        && modern.headers != headers
    {
        memory::keep(host, link, &Peer::Modern(Modern { headers, ..modern }));
    }
}

/// `entry` of `peer` as it can be shown, or why it cannot.
fn valid<'e>(kind: &Kind, entry: &'e str, peer: &Peer) -> Result<Cow<'e, str>, String> {
    let object = Object::parse(entry).map_err(|_| "it is no object".to_owned())?;
    decisive::entry(&object).map_err(|ambiguous| ambiguous.to_string())?;
    if let (By::Tool, Peer::Modern(_)) = (kind.by, peer)
        && let Some(fault) = upstream::params::fault(&object)
    {
        return Err(fault);
    }
    mend(kind, entry)
}

/// What is said of an entry that cannot be shown.
fn named(kind: &Kind, entry: &str, why: &str) -> String {
    const LONGEST: usize = 64;
    match kind.key_of(entry) {
        Some(name) => format!("{} {}: {why}", kind.method, names::cut(&name, LONGEST)),
        None => format!("{}: {why}", kind.method),
    }
}

/// The server's own name for what is called by a short form of it here.
pub async fn long_name<H: Host>(host: &H, link: Link<'_>, by: By, short: &str) -> Option<String> {
    let kind = kinds().into_iter().find(|kind| kind.by == by)?;
    let listed = of_server(host, kind, link).await.ok()??;
    listed.keys(kind).into_iter().find(|own| {
        let shown = if by == By::Tool { link.server.shown(own) } else { Some(own.as_str().into()) };
        shown.is_some_and(|shown| names::join(link.server.prefix, &shown) == short)
    })
}

/// Which parameters the server wants to see in headers, by a new request.
pub async fn header_parameters<H: Host>(host: &H, link: Link<'_>) -> Result<String, Failure> {
    let listed = ask(host, &TOOLS, link).await?.unwrap_or_default();
    Ok(upstream::params::headers_of(&listed.l))
}

/// Returns true if a tool can only be called as a task (2025-11-25, `execution.taskSupport`).
fn needs_task(tool: &Object<'_>) -> bool {
    let execution = tool.find("execution").and_then(|execution| Object::parse(execution).ok());
    execution.is_some_and(|execution| execution.find("taskSupport") == Some(r#""required""#))
}

/// The entry as it is offered here: only its name changes, and a tool's description where the file says so. One without
/// a name, and one that the file hides, is none.
fn offered(
    site: &Site<'_>,
    server: &Server<'_>,
    kind: &Kind,
    entry: &str,
    changed: &BTreeSet<String>,
    taken: &mut BTreeSet<String>,
    is_claimed: &dyn Fn(&str) -> bool,
) -> Option<String> {
    let members = Object::parse(entry).ok()?;
    let text = members.get(kind.key).ok()??;
    let own = json::string(text)?;
    let mut edits = Edits::new(entry);
    // Several servers behind one endpoint offer no tasks of the older era.
    if kind.by == By::Tool && !site.is_single() && needs_task(&members) {
        return None;
    }
    let here = match kind.by {
        By::Tool => {
            let is_changed = changed.contains(&*own);
            if is_changed && server.pin != Some(Pin::Flag) {
                return None;
            }
            let description = server.description_of(&own).map(Cow::Borrowed);
            let description = if is_changed {
                let own = members.string("description").ok().flatten();
                Some([NOTICE, &description.or(own).unwrap_or_default()].concat().into())
            } else {
                description
            };
            if let Some(description) = description {
                edits.rework(&members, &["description"], &format!(r#""description":{}"#, quoted(&description)));
            }
            site.name(server, &server.shown(&own)?)
        }
        By::Uri if is_claimed(&own) => names::join_uri(server.prefix, &own),
        By::Uri => own.to_string(),
        By::Skill if site.is_single() => own.to_string(),
        By::Skill => names::join_uri(server.prefix, &own),
        By::Prompt | By::Task => site.name(server, &own),
    };
    // A name of the gateway's own would describe what the gateway does in the server's words.
    if kind.by == By::Tool && here.starts_with("gatehouse_") && site.owns_tool(&here) {
        return None;
    }
    if kind.by == By::Skill {
        if here != own {
            skills::name_entry(&mut edits, server.prefix, &members).ok()?;
        }
    } else if here != own {
        edits.replace(text, quoted(&here));
    }
    if !site.is_single() && kind.by != By::Skill {
        // The key of a tool or a prompt is its name, which says whose it is.
        let annotations = members.object("annotations").ok()?.filter(|_| kind.by == By::Tool);
        let named = [(Some(&members), "title"), (annotations.as_ref(), "title")];
        let of_uri = (kind.by == By::Uri).then_some((Some(&members), "name"));
        for (object, member) in named.into_iter().chain(of_uri) {
            if let Some(object) = object {
                attribution::name_title(&mut edits, server.prefix, object, member).ok()?;
            }
        }
    }
    // A name that stands twice means the first.
    taken.insert(here).then(|| String::from_utf8(edits.apply()).ok()).flatten()
}
