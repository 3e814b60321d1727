//! Keeps what the gateway remembers between requests in sealed rows of the store.
//!
//! | key | value | lives |
//! |---|---|---|
//! | `g.u.` + digest | how one upstream speaks with one session or profile: era, session, log level, header parameters | with its session; not believed after a day |
//! | `g.c.` + digest | which call has one of a person's four sessions for calls at one upstream (`call_sessions`) | until replaced; free after a minute |
//! | `g.f.` + digest | what one upstream said of itself: capabilities, instructions | until replaced; not believed after a day, a modern one's after five minutes |
//! | `g.d.` + digest | how one upstream last fared with one subject (`health`) | until replaced |
//! | `g.l.` + digest | one list of one upstream | until replaced; not believed after its own time, an hour at most |
//! | `g.s.` + digest | what a legacy client watches at one modern upstream (`subscriptions`) | until replaced; not believed after a day |
//! | `g.p.` + digest | which definitions of one upstream's tools one subject has approved (`pins`) | for good; without it what is listed next is seen first |
//! | `g.a.` + digest | what the person was asked last about one upstream's tools (`pins`) | until it is answered; not believed after ten minutes |
//! | `g.w.` + digest | a word for an instance that waits (`letters`): 256 places for each subject | until read or overwritten |
//! | `g.o.` + digest | which stream has one of a subject's 64 seats (`seats`) | until it ends; free after half an hour |
//! | `g.b.` + digest | a message for the stream in that seat (`letterbox`) | until it is taken; the row until the stream ends |
//! | `g.h.` + digest | what two instances have for each other that work on one call (`shelf`): 64 places for each subject | until the call is over; not believed after a minute |
//!
//! A copy of `g.u.` rows lies beside the broker's kept answer (`g.k.`, [`crate::kept`]), so that a warm call reads one row.
//! It may be as old as that answer. The upstream denies a session or an era that is over, and then the row itself is read. A
//! request that sets the log level deletes the kept answers that the next calls of its client would use.
//!
//! So the number of rows is bounded by subjects, upstreams, open sessions and profiles. All rows can be lost: what was in
//! them is found out again. A row is sealed with XChaCha20-Poly1305 under the sealing key that only the broker derives,
//! bound to its kind and to the person and the upstream that it is about; the digest is keyed with it as well. So the store
//! alone does not tell who uses what. A row that was moved, is damaged, or was sealed under another key counts as absent.

use std::cell::{Cell, RefCell};

use base64ct::{Base64UrlUnpadded, Encoding};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host::{Caller, Host};
use crate::upstream::{Link, Modern, Peer, Session};
use json::Object;
use sealing::age::is_recent;

const FORMAT: u8 = 2;
const NONCE: usize = 24;
const BELIEVED_SECONDS: u64 = 24 * 60 * 60;
/// The most upstreams that are kept in one row with what the broker said.
const MOST_MET: usize = 32;
const MODERN_FACTS_SECONDS: u64 = 5 * 60;

#[derive(Clone, Serialize, Deserialize)]
struct PeerRow {
    /// When it was found out.
    t: u64,
    /// The version that was negotiated. `None` if the upstream is modern.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    v: Option<String>,
    /// The upstream's session id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    s: Option<String>,
    /// The log level that clients have set.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    l: Option<String>,
    /// Which parameters a modern upstream wants to see in headers, by tool.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    p: Option<String>,
    /// It has no GET stream for a call (`askable_call`).
    #[serde(default, skip_serializing_if = "is_false")]
    g: bool,
    /// It is at the URL with a slash added or taken away.
    #[serde(default, skip_serializing_if = "is_false")]
    d: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl PeerRow {
    fn peer(self, host: &impl Host) -> Option<Peer> {
        if !is_recent(self.t, host.now(), BELIEVED_SECONDS) {
            return None;
        }
        Some(match self.v {
            None => Peer::Modern(Modern { level: self.l, headers: self.p }),
            Some(version) => Peer::Legacy(Session { id: self.s, version, level: self.l, has_no_stream: self.g }),
        })
    }
}

#[derive(Serialize, Deserialize)]
struct FactsRow {
    t: u64,
    /// True if it said so in the modern era.
    m: bool,
    c: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    i: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    n: Option<String>,
}

/// What an upstream said of itself.
#[derive(Debug, Clone, Default)]
pub struct Facts {
    /// The text of its capabilities.
    pub capabilities: String,
    pub instructions: Option<String>,
    /// The text of its `Implementation`: name, title, version, icons, website.
    pub info: Option<String>,
    pub modern: bool,
}

impl Facts {
    /// Returns true if it declared `capability`, which may be the identifier of an extension.
    pub fn has(&self, capability: &str) -> bool {
        Object::parse(&self.capabilities).is_ok_and(|said| said.find(capability).is_some())
            || self.extension(capability).is_some()
    }

    /// The text of the settings under which it declared an extension of the newer era.
    pub fn extension(&self, identifier: &str) -> Option<&str> {
        let said = Object::parse(&self.capabilities).ok().filter(|_| self.modern)?;
        said.object("extensions").ok()??.find(identifier)
    }

    /// Returns true if it set `flag` of `capability`.
    pub fn says(&self, capability: &'static str, flag: &str) -> bool {
        let said = Object::parse(&self.capabilities).ok();
        let of = said.and_then(|said| said.object(capability).ok().flatten());
        of.is_some_and(|of| of.find(flag) == Some("true"))
    }
}

/// How upstreams speak with one caller, as this request knows it: what was kept with the broker's answer (`kept`), and
/// what it has found since.
#[derive(Clone, Default, Serialize, Deserialize)]
pub struct Met {
    rows: RefCell<Vec<(String, PeerRow)>>,
    #[serde(skip)]
    has_news: Cell<bool>,
    /// The upstreams that have led to the URL with a slash added or taken away, since the request began.
    #[serde(skip)]
    moved: RefCell<Vec<String>>,
}

impl Met {
    /// Returns true if more is known than was kept.
    pub fn has_news(&self) -> bool {
        self.has_news.get()
    }

    /// Notes that `link` has led to its URL with a slash added or taken away. Returns false if it had before.
    pub fn note_slash(&self, link: Link<'_>) -> bool {
        let is_new = !self.has_slash(link);
        if is_new {
            self.moved.borrow_mut().push(name(link));
        }
        is_new
    }

    /// Returns true if `link` is at its URL with a slash added or taken away.
    pub fn has_slash(&self, link: Link<'_>) -> bool {
        let (moved, rows) = (self.moved.borrow(), self.rows.borrow());
        let mut known = moved.iter().chain(rows.iter().filter(|(_, row)| row.d).map(|(name, _)| name)).peekable();
        // Hardly any upstream is: the name is not made for the others.
        known.peek().is_some() && known.any(|known| *known == name(link))
    }

    fn row(&self, link: Link<'_>) -> Option<PeerRow> {
        let name = name(link);
        self.rows.borrow().iter().find(|(known, _)| *known == name).map(|(_, row)| row.clone())
    }

    fn drop_row(&self, link: Link<'_>) {
        let name = name(link);
        self.rows.borrow_mut().retain(|(known, _)| *known != name);
        self.has_news.set(true);
    }

    fn note(&self, link: Link<'_>, row: PeerRow) {
        let name = name(link);
        let mut rows = self.rows.borrow_mut();
        rows.retain(|(known, _)| *known != name);
        if rows.len() < MOST_MET {
            rows.push((name, row));
            self.has_news.set(true);
        }
    }
}

/// None of the parts can hold a space.
fn name(link: Link<'_>) -> String {
    // `Display` of a URL costs more than the rest of a warm call's look into what is kept.
    let (scheme, authority) = (link.server.url.scheme_str(), link.server.url.authority());
    let (scheme, authority) = (scheme.unwrap_or_default(), authority.map_or("", |authority| authority.as_str()));
    let place = link.server.url.path_and_query().map_or("", |place| place.as_str());
    [link.server.prefix, " ", &link.profile.name(), " ", scheme, "://", authority, place].concat()
}

/// How `link.server` was last found to speak with this caller. What was kept with the broker's answer may not be true any
/// more: then the upstream contradicts, and the row in the store is read.
pub fn recall<H: Host>(host: &H, link: Link<'_>) -> Option<Peer> {
    link.caller.met.row(link).and_then(|row| row.peer(host)).or_else(|| recall_anew(host, link))
}

/// The same, as the last request of this caller has found it.
pub fn recall_anew<H: Host>(host: &H, link: Link<'_>) -> Option<Peer> {
    let row = Place::of_clients("u", link).read(host, link.caller)?;
    let row: PeerRow = serde_json::from_slice(&row).ok()?;
    link.caller.met.note(link, row.clone());
    row.peer(host)
}

/// Remembers how `link.server` speaks with this caller.
pub fn keep<H: Host>(host: &H, link: Link<'_>, peer: &Peer) {
    let (t, d) = (host.now(), link.caller.met.has_slash(link));
    let row = match peer.clone() {
        Peer::Modern(modern) => PeerRow { t, v: None, s: None, l: modern.level, p: modern.headers, g: false, d },
        Peer::Legacy(session) => {
            let Session { id, version, level, has_no_stream } = session;
            PeerRow { t, v: Some(version), s: id, l: level, p: None, g: has_no_stream, d }
        }
    };
    let text = serde_json::to_vec(&row).unwrap_or_default();
    Place::of_clients("u", link).write(host, link.caller, &text);
    link.caller.met.note(link, row);
}

/// Has how `link.server` speaks with this caller found out again.
pub fn forget<H: Host>(host: &H, link: Link<'_>) {
    Place::of_clients("u", link).forget(host, link.caller);
    link.caller.met.drop_row(link);
}

impl FactsRow {
    fn read<H: Host>(host: &H, link: Link<'_>) -> Option<Self> {
        serde_json::from_slice(&Place::of("f", link, link.profile.era()).read(host, link.caller)?).ok()
    }

    fn facts(self) -> Facts {
        Facts { capabilities: self.c, instructions: self.i, info: self.n, modern: self.m }
    }
}

/// What `link.server` last said of itself.
pub fn facts<H: Host>(host: &H, link: Link<'_>) -> Option<Facts> {
    let row = FactsRow::read(host, link)?;
    // A legacy server says it once in a session; a modern one can be asked at any time.
    let believed = if row.m { MODERN_FACTS_SECONDS } else { BELIEVED_SECONDS };
    let is_fresh = is_recent(row.t, host.now(), believed);
    is_fresh.then(|| row.facts())
}

/// The same, however long ago that was: the best that is known of a server that cannot be asked.
pub fn last_facts<H: Host>(host: &H, link: Link<'_>) -> Option<Facts> {
    FactsRow::read(host, link).map(FactsRow::facts)
}

pub fn keep_facts<H: Host>(host: &H, link: Link<'_>, facts: &Facts) {
    let row = FactsRow {
        t: host.now(),
        m: facts.modern,
        c: facts.capabilities.clone(),
        i: facts.instructions.clone(),
        n: facts.info.clone(),
    };
    Place::of("f", link, link.profile.era()).write(host, link.caller, &serde_json::to_vec(&row).unwrap_or_default());
}

/// Where a row belongs: its kind, and whom and what it is about, each with its length in front, so that no two places
/// are written alike.
pub struct Place {
    kind: &'static str,
    about: Vec<u8>,
    /// What its key is made of, if rows about different things take turns there.
    shared: Option<Vec<u8>>,
}

impl Place {
    pub fn new(kind: &'static str, about: &[&str]) -> Self {
        let mut written = Vec::with_capacity(128);
        for field in [&[kind], about].concat() {
            written.extend_from_slice(&(field.len() as u64).to_be_bytes());
            written.extend_from_slice(field.as_bytes());
        }
        Self { kind, about: written, shared: None }
    }

    /// A place for what is about one upstream and the clients of `link`. A session of a legacy client has it after the one
    /// before it in its place: so sessions that never come again leave nothing behind.
    pub fn of_clients(kind: &'static str, link: Link<'_>) -> Self {
        let of = |name: String| Self::of(kind, link, &name);
        let shared = link.profile.place().map(|place| of(place).about);
        Self { shared, ..of(link.profile.name()) }
    }

    /// A place for what is about one upstream and one caller.
    pub fn of(kind: &'static str, link: Link<'_>, more: &str) -> Self {
        Self::new(kind, &[&link.caller.subject, &link.server.name, &link.server.url.to_string(), more])
    }

    pub fn read<H: Host>(&self, host: &H, caller: &Caller) -> Option<Vec<u8>> {
        self.open(caller, &host.load(&self.key(caller))?)
    }

    pub fn write<H: Host>(&self, host: &H, caller: &Caller, row: &[u8]) {
        if let Some(sealed) = self.seal(host, caller, row) {
            host.save(&self.key(caller), &sealed);
        }
    }

    /// What only this caller can open, and only as what belongs here.
    pub fn seal<H: Host>(&self, host: &H, caller: &Caller, row: &[u8]) -> Option<Vec<u8>> {
        let mut nonce = [0; NONCE];
        host.random(&mut nonce);
        let cipher = XChaCha20Poly1305::new_from_slice(&caller.sealing_key).ok()?;
        let sealed = cipher.encrypt(&nonce.into(), Payload { msg: row, aad: &self.about }).ok()?;
        Some([&[FORMAT], nonce.as_slice(), &sealed].concat())
    }

    pub fn open(&self, caller: &Caller, sealed: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = sealed.strip_prefix(&[FORMAT])?.split_first_chunk::<NONCE>()?;
        let cipher = XChaCha20Poly1305::new_from_slice(&caller.sealing_key).ok()?;
        cipher.decrypt(&(*nonce).into(), Payload { msg: sealed, aad: &self.about }).ok()
    }

    pub fn forget<H: Host>(&self, host: &H, caller: &Caller) {
        host.forget(&self.key(caller));
    }

    fn key(&self, caller: &Caller) -> String {
        let digest = Sha256::new()
            .chain_update((caller.sealing_key.len() as u64).to_be_bytes())
            .chain_update(&caller.sealing_key)
            .chain_update(self.shared.as_ref().unwrap_or(&self.about))
            .finalize();
        ["g.", self.kind, ".", &Base64UrlUnpadded::encode_string(&digest)].concat()
    }
}
