//! Passes on what a legacy client says that needs no answer of a server.
//!
//! That is: its answers to requests (`asks`), that it cancels a request, that its roots have changed, and, though that is a
//! request, the level from which on it wants to hear logs. Each goes to the upstreams, or to the instance, that it is for.
//! All other notifications go nowhere.

use std::pin::pin;
use std::time::Duration;

use crate::concurrent::join_all;
use http::Response;

use crate::asks::{self, Ask};
use crate::config::Server;
use crate::eras::{SetLevel, Site, Word};
use crate::host::{Host, within};
use crate::session::{ClientEra, Profile, Session};
use crate::upstream::{self, Link, Modern, Outgoing, Peer, legacy, modern};
use crate::visitor::{Standing, Visitor};
use crate::{jsonrpc, letters, memory, relay};
use json::Edits;

/// For all servers that have to be told a level.
const DEADLINE: Duration = Duration::from_secs(10);

/// The server that a word is for, where it is for one.
pub fn addressee<'a>(word: &Word<'_>, site: &Site<'a>) -> Option<Server<'a>> {
    match word {
        Word::Answer { id, .. } => match asks::homeward(id)? {
            Ask::Upstream { prefix, .. } => site.server(&prefix),
            Ask::Own(_) => None,
        },
        _ => None,
    }
}

pub async fn hear<H: Host>(
    host: &H,
    session: &Session,
    word: &Word<'_>,
    site: &Site<'_>,
    servers: &[Server<'_>],
    visitor: &Visitor,
) {
    match word {
        Word::Cancelled { id } => letters::post(host, &visitor.caller, &relay::cancellation(session, id), ""),
        Word::Answer { text, id } => match asks::homeward(id) {
            Some(Ask::Own(name)) => letters::post(host, &visitor.caller, &name, text),
            Some(Ask::Upstream { prefix, id: own }) => {
                let Some(server) = site.server(&prefix) else { return };
                let mut edits = Edits::new(text);
                edits.replace(id, own);
                tell(host, session, &server, visitor, edits.apply()).await;
            }
            None => {}
        },
        Word::News { text } => {
            join_all(servers.iter().map(|server| tell(host, session, server, visitor, text.as_bytes().to_vec()))).await;
        }
    }
}

/// Only an upstream that is known can have asked, or has a session in which it could be told.
async fn tell<H: Host>(host: &H, session: &Session, server: &Server<'_>, visitor: &Visitor, message: Vec<u8>) {
    let Standing::Open(token) = visitor.standing(server) else { return };
    let profile = Profile { can: session.client, client: ClientEra::Legacy(Some(session.nonce)) };
    let link = Link { server, token, caller: &visitor.caller, profile };
    // A session that is over would not tell.
    if let Some(peer) = memory::recall_anew(host, link) {
        upstream::tell(host, link, &peer, message).await;
    }
}

/// `logging/setLevel`: legacy servers are told, and for modern ones, which are told with every request, it is kept. It
/// holds for all clients of this person that share a session upstream.
pub async fn set_level<H: Host>(
    host: &H,
    wanted: &SetLevel<'_>,
    servers: &[Server<'_>],
    visitor: &Visitor,
) -> Response<Vec<u8>> {
    let profile = wanted.client.profile();
    let told = servers.iter().map(async |server| {
        let Standing::Open(token) = visitor.standing(server) else { return false };
        let link = Link { server, token, caller: &visitor.caller, profile };
        if !upstream::facts(host, link).await.is_ok_and(|facts| facts.has("logging")) {
            return false;
        }
        let Ok(peer) = upstream::peer(host, link).await else { return true };
        let level = Some(wanted.level.to_string());
        let peer = match peer {
            Peer::Modern(known) => Peer::Modern(Modern { level, ..known }),
            Peer::Legacy(_) => {
                let member = legacy::level_member(&wanted.level);
                let write = |peer: &Peer| Outgoing {
                    method: legacy::SET_LEVEL,
                    name: None,
                    headers: Vec::new(),
                    body: match peer {
                        Peer::Legacy(_) => legacy::write_own(1, legacy::SET_LEVEL, &member),
                        Peer::Modern(_) => modern::write_own("1", legacy::SET_LEVEL, &member),
                    },
                };
                match upstream::exchange(host, link, &write).await {
                    Ok(answered) => {
                        let peer = answered.peer.clone();
                        match (upstream::answer(host, link, answered).await, peer) {
                            (Ok(Ok(_)), Peer::Legacy(session)) => Peer::Legacy(upstream::Session { level, ..session }),
                            _ => return true,
                        }
                    }
                    Err(failure) => {
                        host.log(&format!("gateway: {} at {}: {failure}", legacy::SET_LEVEL, server.prefix));
                        return true;
                    }
                }
            }
        };
        memory::keep(host, link, &peer);
        true
    });
    let told = within(host, DEADLINE, pin!(join_all(told))).await;
    if !told.is_none_or(|told| told.contains(&true)) {
        return wanted.client.error(wanted.id, jsonrpc::METHOD_NOT_FOUND, "Method not found");
    }
    jsonrpc::respond(http::StatusCode::OK, jsonrpc::result(wanted.id, "{}"))
}
