//! Keeps which sessions of legacy clients are open, and ends those that are over.
//!
//! | row | value |
//! |---|---|
//! | `g.e.` | one open session: when it was last seen to be used, and what its client declared; [`PLACES`] for each person |
//! | `g.i.` | the open sessions of one person |
//!
//! The store cannot compare and set, so the list may lose a session that is opened at the same moment as another one. Then its
//! place is seen to be taken, and it is listed again. If two take one place at once, the later one has it.
//!
//! A session is open if it has a row. A kept answer (`kept`) also says so, for as long as it is believed, so that a warm call
//! reads no row more. A session ends by DELETE, when [`PLACES`] newer ones are open, or when it was not used for
//! [`LIFETIME`]; its sessions at the servers end with it, and what was remembered of them goes.

use std::pin::pin;
use std::time::Duration;

use crate::concurrent::join_all;
use base64ct::{Base64UrlUnpadded, Encoding};
use http::request::Parts;
use http::{Response, StatusCode};
use json::Object;
use sealing::age::is_recent;
use serde::{Deserialize, Serialize};

use crate::config::Server;
use crate::eras::Site;
use crate::eras::legacy::{SESSION_ID, no_session};
use crate::host::{Caller, Host, within};
use crate::memory::{self, Place};
use crate::passage::Line;
use crate::session::{Capabilities, ClientEra, PLACES, Profile, Session, place_of};
use crate::upstream::{Link, Peer, legacy};
use crate::visitor::{Standing, Stranger, Visitor};
use crate::{jsonrpc, subscriptions};

/// Seconds after which an unused session is over: a week.
const LIFETIME: u64 = 7 * 24 * 60 * 60;
/// Seconds after which it is noted again that a session is used.
const NOTED: u64 = 10 * 60;
/// How long the servers have to end their sessions, all together.
const FAREWELL: Duration = Duration::from_secs(2);
/// The longest text of declared capabilities that is kept, in bytes.
const LONGEST: usize = 8 * 1024;

#[derive(Serialize, Deserialize)]
struct Open {
    nonce: String,
    /// When it was last noted that it is used.
    used: u64,
    /// What the client declared that its era has and [`Capabilities`] does not: the text of members.
    declared: String,
}

#[derive(Serialize, Deserialize, Clone)]
struct Entry {
    nonce: String,
    used: u64,
}

impl Entry {
    /// `None`: it is damaged.
    fn place(&self) -> Option<u8> {
        read_nonce(&self.nonce).map(|nonce| place_of(&nonce))
    }
}

/// Opens `session`, whose client declared `capabilities`, at a place of its own, and returns it as it is there. `None` if the
/// store does not keep it: then the client has to do without a session.
pub async fn open<H: Host>(
    host: &H,
    session: &Session,
    capabilities: Option<&Object<'_>>,
    site: &Site<'_>,
    visitor: &Visitor,
) -> Option<Session> {
    let caller = &visitor.caller;
    let now = host.now();
    let mut list = listed(host, caller);
    let place = match free_place(host, caller, &mut list, place_of(&session.nonce)) {
        Some(place) => place,
        None => {
            let longest_unused = list.iter().min_by_key(|entry| entry.used)?;
            let nonce = read_nonce(&longest_unused.nonce)?;
            // Wherever it was used: a session is not bound to one endpoint.
            let servers: Vec<Server<'_>> = site.config.servers().collect();
            forget(host, nonce, &servers, visitor).await;
            place_of(&nonce)
        }
    };
    let session = session.at(place);
    write(
        host,
        caller,
        &Open { nonce: written(&session.nonce), used: now, declared: declared_in(capabilities) },
        place,
    );
    read(host, caller, &session.nonce)?;
    note(&mut list, Entry { nonce: written(&session.nonce), used: now });
    keep_list(host, caller, &list);
    Some(session)
}

/// The first place from `start` on at which no session is open. Sessions that `list` has lost are put back.
fn free_place<H: Host>(host: &H, caller: &Caller, list: &mut Vec<Entry>, start: u8) -> Option<u8> {
    let now = host.now();
    let listed: Vec<u8> = list.iter().filter_map(Entry::place).collect();
    (0..PLACES).map(|step| (start + step) % PLACES).filter(|place| !listed.contains(place)).find(|place| match read_at(
        host, caller, *place,
    ) {
        Some(Open { nonce, used, .. }) if is_recent(used, now, LIFETIME) => {
            note(list, Entry { nonce, used });
            false
        }
        _ => true,
    })
}

/// Notes the session that has a place now.
fn note(list: &mut Vec<Entry>, entry: Entry) {
    list.retain(|other| other.place() != entry.place());
    list.push(entry);
}

/// Returns true if `session` of `caller` is open.
pub fn is_open<H: Host>(host: &H, session: &Session, caller: &Caller) -> bool {
    let now = host.now();
    let Some(open) = read(host, caller, &session.nonce) else { return false };
    if !is_recent(open.used, now, LIFETIME) {
        return false;
    }
    if now.saturating_sub(open.used) >= NOTED {
        write(host, caller, &Open { used: now, ..open }, place_of(&session.nonce));
        let mut list = listed(host, caller);
        note(&mut list, Entry { nonce: written(&session.nonce), used: now });
        keep_list(host, caller, &list);
    }
    true
}

/// Returns true if the client of `link` calls without a session, or in one that was not ended.
pub fn is_alive<H: Host>(host: &H, link: Link<'_>) -> bool {
    match link.profile.client {
        ClientEra::Legacy(Some(nonce)) => read(host, link.caller, &nonce).is_some(),
        _ => true,
    }
}

/// What the client of `link` declared that its era has and [`Capabilities`] does not: the text of members.
pub fn declared<H: Host>(host: &H, link: Link<'_>) -> String {
    let ClientEra::Legacy(Some(nonce)) = link.profile.client else { return String::new() };
    read(host, link.caller, &nonce).map(|open| open.declared).unwrap_or_default()
}

/// `DELETE` with a session: ends it, and the servers' sessions that hang on it.
pub async fn delete<H: Host>(
    host: &H,
    head: &Parts,
    site: &Site<'_>,
    stranger: Stranger,
    line: &mut Line<'_, H>,
) -> Result<(), Response<Vec<u8>>> {
    let Some(id) = head.headers.get(SESSION_ID) else {
        return Err(jsonrpc::refuse(StatusCode::BAD_REQUEST, None, "Bad Request: Mcp-Session-Id is missing"));
    };
    let id = id.to_str().map_err(|_| no_session())?;
    let session = Session::read(id).ok_or_else(no_session)?;
    let servers: Vec<Server<'_>> = site.config.servers().collect();
    // What is kept says that the session is open: so it goes in either case.
    let mut visitor = stranger.meet(host, servers.iter(), site.config.resolution_seconds)?;
    if !Session::is_of(id, &visitor.caller) || read(host, &visitor.caller, &session.nonce).is_none() {
        visitor.forget(host);
        return Err(no_session());
    }
    end(host, &session, &servers, &visitor).await;
    visitor.forget(host);
    let mut response = Response::new(Vec::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    line.answer(response).await;
    Ok(())
}

/// Ends `session`, and the servers' sessions that hang on it.
pub async fn end<H: Host>(host: &H, session: &Session, servers: &[Server<'_>], visitor: &Visitor) {
    let mut list = listed(host, &visitor.caller);
    let name = written(&session.nonce);
    list.retain(|entry| entry.nonce != name);
    keep_list(host, &visitor.caller, &list);
    forget(host, session.nonce, servers, visitor).await;
}

/// Takes everything away that belongs to the session, and tells the servers, as far as they answer in time.
async fn forget<H: Host>(host: &H, nonce: [u8; 16], servers: &[Server<'_>], visitor: &Visitor) {
    place(&visitor.caller, place_of(&nonce)).forget(host, &visitor.caller);
    let profile = Profile { can: Capabilities::NONE, client: ClientEra::Legacy(Some(nonce)) };
    let ended = servers.iter().map(async |server| {
        let token = match visitor.standing(server) {
            Standing::Open(token) => token,
            Standing::Closed(_) => None,
        };
        let link = Link { server, token, caller: &visitor.caller, profile };
        let peer = memory::recall_anew(host, link);
        memory::forget(host, link);
        subscriptions::forget(host, link);
        if let Some(Peer::Legacy(session)) = peer
            && session.id.is_some()
        {
            legacy::end(host, link, &session).await;
        }
    });
    within(host, FAREWELL, pin!(join_all(ended))).await;
}

/// The members of `capabilities` that a server is told as they stand.
fn declared_in(capabilities: Option<&Object<'_>>) -> String {
    let Some(capabilities) = capabilities else { return String::new() };
    let members: Vec<String> = ["experimental", "extensions", "tasks"]
        .into_iter()
        .filter_map(|name| Some([&json::quoted(name), ":", capabilities.present(name)?].concat()))
        .collect();
    let text = members.join(",");
    if text.len() <= LONGEST { text } else { String::new() }
}

fn read<H: Host>(host: &H, caller: &Caller, nonce: &[u8; 16]) -> Option<Open> {
    read_at(host, caller, place_of(nonce)).filter(|open| open.nonce == written(nonce))
}

fn read_at<H: Host>(host: &H, caller: &Caller, number: u8) -> Option<Open> {
    serde_json::from_slice(&place(caller, number).read(host, caller)?).ok()
}

fn write<H: Host>(host: &H, caller: &Caller, open: &Open, number: u8) {
    place(caller, number).write(host, caller, &serde_json::to_vec(open).unwrap_or_default());
}

fn listed<H: Host>(host: &H, caller: &Caller) -> Vec<Entry> {
    let row = Place::new("i", &[&caller.subject]).read(host, caller);
    row.and_then(|row| serde_json::from_slice(&row).ok()).unwrap_or_default()
}

fn keep_list<H: Host>(host: &H, caller: &Caller, list: &[Entry]) {
    Place::new("i", &[&caller.subject]).write(host, caller, &serde_json::to_vec(list).unwrap_or_default());
}

fn place(caller: &Caller, number: u8) -> Place {
    Place::new("e", &[&caller.subject, &number.to_string()])
}

fn written(nonce: &[u8; 16]) -> String {
    Base64UrlUnpadded::encode_string(nonce)
}

fn read_nonce(text: &str) -> Option<[u8; 16]> {
    let mut nonce = [0; 16];
    (Base64UrlUnpadded::decode(text, &mut nonce).ok()?.len() == 16).then_some(nonce)
}
