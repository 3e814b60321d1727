//! What does the gateway remember between requests, and who can read it?
//!
//! | key | value | lives |
//! |---|---|---|
//! | `g.u.` + digest | how one upstream speaks with one subject: its era and, for a legacy one, session id and version | until replaced; not believed after a day |
//!
//! One row for each pair of subject and upstream, however often they meet. All of it can be lost: it is found out again.
//! A row is sealed with XChaCha20-Poly1305 under the sealing key that only the broker derives, bound to kind, subject,
//! upstream and URL; the digest is keyed with it as well. So the store alone tells neither who uses what nor how, and a
//! row that was moved, is damaged, or stems from another key is as if it were not there.

use base64ct::{Base64UrlUnpadded, Encoding};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::config::Server;
use crate::host::{Caller, Host};
use crate::upstream::{Peer, Session};

const KIND: &str = "u";
const FORMAT: u8 = 1;
const NONCE: usize = 24;
const BELIEVED_SECONDS: u64 = 24 * 60 * 60;

#[derive(Serialize, Deserialize)]
struct Row {
    /// When it was found out.
    t: u64,
    /// The version that was negotiated; none: the upstream is modern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    v: Option<String>,
    /// The upstream's session id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<String>,
}

/// How `server` was last found to speak with `caller`.
pub fn recall(host: &impl Host, caller: &Caller, server: &Server<'_>) -> Option<Peer> {
    let place = Place::new(caller, server);
    let sealed = host.load(&place.key(caller))?;
    let row: Row = serde_json::from_slice(&place.open(caller, &sealed)?).ok()?;
    if host.now().saturating_sub(row.t) > BELIEVED_SECONDS {
        return None;
    }
    Some(match row.v {
        None => Peer::Modern,
        Some(version) => Peer::Legacy(Session { id: row.s, version }),
    })
}

/// Remembers how `server` speaks with `caller`.
pub fn keep(host: &impl Host, caller: &Caller, server: &Server<'_>, peer: &Peer) {
    let place = Place::new(caller, server);
    let (v, s) = match peer {
        Peer::Modern => (None, None),
        Peer::Legacy(session) => (Some(session.version.clone()), session.id.clone()),
    };
    let mut nonce = [0; NONCE];
    host.random(&mut nonce);
    let row = serde_json::to_vec(&Row { t: host.now(), v, s }).unwrap_or_default();
    if let Some(sealed) = place.seal(caller, nonce, &row) {
        host.save(&place.key(caller), &sealed);
    }
}

/// Where a row belongs: kind, subject, upstream and URL, each with its length in front, so that no two places are
/// written alike.
struct Place(Vec<u8>);

impl Place {
    fn new(caller: &Caller, server: &Server<'_>) -> Self {
        let url = server.url.to_string();
        let mut place = Vec::with_capacity(128);
        for field in [KIND, &caller.subject, &server.name, &url] {
            place.extend_from_slice(&(field.len() as u64).to_be_bytes());
            place.extend_from_slice(field.as_bytes());
        }
        Self(place)
    }

    fn key(&self, caller: &Caller) -> String {
        let digest = Sha256::new()
            .chain_update((caller.sealing_key.len() as u64).to_be_bytes())
            .chain_update(&caller.sealing_key)
            .chain_update(&self.0)
            .finalize();
        ["g.", KIND, ".", &Base64UrlUnpadded::encode_string(&digest)].concat()
    }

    fn seal(&self, caller: &Caller, nonce: [u8; NONCE], row: &[u8]) -> Option<Vec<u8>> {
        let cipher = XChaCha20Poly1305::new_from_slice(&caller.sealing_key).ok()?;
        let sealed = cipher.encrypt(&nonce.into(), Payload { msg: row, aad: &self.0 }).ok()?;
        Some([&[FORMAT], nonce.as_slice(), &sealed].concat())
    }

    fn open(&self, caller: &Caller, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.strip_prefix(&[FORMAT])?.split_first_chunk::<NONCE>()?;
        let cipher = XChaCha20Poly1305::new_from_slice(&caller.sealing_key).ok()?;
        cipher.decrypt(&(*nonce).into(), Payload { msg: sealed, aad: &self.0 }).ok()
    }
}
