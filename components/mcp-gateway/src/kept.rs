//! Keeps the broker's answer for a few seconds, so that a warm call asks no broker, opens no file, and reads one row.
//!
//! It is kept for `resolutionSeconds` of `servers.json` ([`SECONDS`] if the file does not say, 0 for never). The row has
//! what the broker said of one bearer at one endpoint: the person, and the tokens of the services that are connected; a
//! service that is not connected is looked up each time. Beside it are `servers.json`, if it is short, and how the
//! upstreams speak that were met ([`Met`]).
//!
//! The row's key is a digest over the bearer and the endpoint, and the row is sealed under a key that only the bearer
//! yields. The store alone opens nothing, and for a client without a bearer (local mode) nothing is kept at all.
//!
//! A token is kept until it ends or the upstream refuses it, and the row until the bearer ends. For as long as the row is
//! kept, the gateway does not learn that the person has disconnected, that the bearer was taken back, or that a policy or
//! `servers.json` has changed. An upstream that no longer speaks as it is kept here says so itself, and is asked again
//! (`upstream`).

use base64ct::{Base64UrlUnpadded, Encoding};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use http_auth::Hops;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host::{AccessToken, Caller, Host, Outcome, Resolution, Secret, WantedService};
use crate::memory::Met;
use sealing::age::left;

/// For how long, where `servers.json` does not say.
pub const SECONDS: u64 = 10;
/// The most that it may say.
pub const MOST_SECONDS: u64 = 300;

/// The most rows of all callers together. Bearers and sessions that never come again leave nothing behind: in one place,
/// the newer row stays.
const PLACES: u16 = 1024;
const FORMAT: u8 = 4;
const NONCE: usize = 24;
/// A token is not used again this close to its end: it may be on its way for a while.
const BEFORE_END: u64 = 5;
/// A longer `servers.json` (some 40 servers) is read for each request: reading it is then not what a call costs.
const FILE_BYTES: usize = 8 * 1024;
/// As many as one question may name.
const MOST_TOKENS: usize = 64;

/// What is kept for one bearer at one endpoint.
pub struct Kept {
    question: [u8; 32],
    key: [u8; 32],
    row: Row,
    is_file_known: bool,
    /// The file is not as it is stored.
    has_news: bool,
}

#[derive(Serialize, Deserialize, Default)]
struct Row {
    /// Until when the bearer is known.
    until: u64,
    /// For how many seconds the bearer, the tokens and the file were allowed to be kept.
    seconds: u64,
    subject: String,
    sealing_key: String,
    tokens: Vec<Token>,
    /// `servers.json`, and until when that is believed.
    file: String,
    file_until: u64,
    met: Met,
}

#[derive(Serialize, Deserialize)]
struct Token {
    until: u64,
    service: String,
    account: Option<String>,
    value: String,
    token_type: String,
    fingerprint: String,
}

impl Kept {
    /// What is kept for `bearer` at `resource` in `session`, which is empty for none: perhaps nothing yet.
    pub fn of(host: &impl Host, bearer: &Secret, resource: &str, session: &str) -> Self {
        let mut question = Sha256::new();
        for field in ["gatehouse.kept.v3", bearer.reveal(), resource, session] {
            question.update((field.len() as u64).to_be_bytes());
            question.update(field);
        }
        let key = Sha256::new().chain_update("gatehouse.kept-key.v1").chain_update(bearer.reveal()).finalize();
        let mut kept = Self {
            question: question.finalize().into(),
            key: key.into(),
            row: Row::default(),
            is_file_known: false,
            has_news: false,
        };
        if let Some(row) = host.load(&kept.name()).and_then(|sealed| kept.open(&sealed)) {
            kept.row = row;
        }
        let now = host.now();
        let seconds = kept.row.seconds.min(MOST_SECONDS);
        // A clock that was ahead has written it. It goes, so that it does not count when that time comes.
        if kept.row.until > now.saturating_add(seconds) {
            kept.row = Row::default();
            kept.forget(host);
        }
        kept.row.tokens.retain(|token| left(token.until, now, seconds) > 0);
        kept.is_file_known = left(kept.row.file_until, now, seconds) > 0;
        kept
    }

    fn open(&self, sealed: &[u8]) -> Option<Row> {
        let (nonce, sealed) = sealed.strip_prefix(&[FORMAT])?.split_first_chunk::<NONCE>()?;
        let row = self.cipher().decrypt(&(*nonce).into(), Payload { msg: sealed, aad: &self.question }).ok()?;
        serde_json::from_slice(&row).ok()
    }

    /// `servers.json`.
    pub fn file(&self) -> Option<&str> {
        self.is_file_known.then_some(&*self.row.file)
    }

    /// Has `servers.json`, as it was just read, kept beside the next answer.
    pub fn note_file(&mut self, host: &impl Host, text: &str, seconds: u64) {
        if text.len() <= FILE_BYTES {
            self.row.file = text.to_owned();
            self.row.file_until = host.now() + seconds;
            self.row.seconds = seconds;
            self.has_news = true;
        }
    }

    /// Returns true if there is more than was stored.
    pub fn has_news(&self) -> bool {
        self.has_news
    }

    /// The answer to the question for the tokens of `services`.
    pub fn recall(&self, host: &impl Host, services: &[WantedService]) -> Option<Resolution> {
        if self.row.until <= host.now() {
            return None;
        }
        let token = |wanted: &WantedService| {
            let token = self.row.tokens.iter().find(|token| token.is_for(wanted))?;
            Some(Outcome::Token(AccessToken {
                value: Secret::from(token.value.clone()),
                token_type: token.token_type.clone(),
                expires_at: None,
                fingerprint: token.fingerprint.clone(),
            }))
        };
        Some(Resolution {
            outcomes: services.iter().map(token).collect::<Option<_>>()?,
            caller: Caller {
                subject: self.row.subject.clone(),
                expires_at: None,
                sealing_key: Base64UrlUnpadded::decode_vec(&self.row.sealing_key).ok()?,
                hops: Hops::default(),
                met: self.row.met.clone(),
            },
        })
    }

    /// Keeps what the broker has just answered, for `seconds` at most, beside what it answered before.
    pub fn keep<'o>(
        &mut self,
        host: &impl Host,
        caller: &mut Caller,
        outcomes: impl Iterator<Item = (&'o WantedService, &'o Outcome)>,
        seconds: u64,
    ) {
        let now = host.now();
        let sealing_key = Base64UrlUnpadded::encode_string(&caller.sealing_key);
        if (&self.row.subject, &self.row.sealing_key) == (&caller.subject, &sealing_key) {
            caller.met = self.row.met.clone();
        } else {
            self.row.tokens.clear();
            self.row.subject.clone_from(&caller.subject);
            self.row.sealing_key = sealing_key;
        }
        let ends = caller.expires_at.unwrap_or(u64::MAX).min(now + seconds);
        self.row.until = ends;
        self.row.seconds = seconds;
        for (wanted, outcome) in outcomes {
            self.row.tokens.retain(|token| !token.is_for(wanted));
            let Outcome::Token(token) = outcome else { continue };
            let until = token.expires_at.map_or(ends, |end| ends.min(end.saturating_sub(BEFORE_END)));
            if until > now && self.row.tokens.len() < MOST_TOKENS {
                self.row.tokens.push(Token {
                    until,
                    service: wanted.service.clone(),
                    account: wanted.account.clone(),
                    value: token.value.reveal().to_owned(),
                    token_type: token.token_type.clone(),
                    fingerprint: token.fingerprint.clone(),
                });
            }
        }
        self.save(host, &caller.met);
    }

    /// Keeps what was found out about upstreams beside it.
    pub fn save(&mut self, host: &impl Host, met: &Met) {
        if self.row.until <= host.now() {
            return;
        }
        self.has_news = false;
        self.row.met = met.clone();
        let mut nonce = [0; NONCE];
        host.random(&mut nonce);
        let Ok(row) = serde_json::to_vec(&self.row) else { return };
        let Ok(sealed) = self.cipher().encrypt(&nonce.into(), Payload { msg: &row, aad: &self.question }) else {
            return;
        };
        host.save(&self.name(), &[&[FORMAT], nonce.as_slice(), &sealed].concat());
    }

    pub fn forget(&self, host: &impl Host) {
        host.forget(&self.name());
    }

    /// One of [`PLACES`], by the digest. What stands in a place says itself whose it is, by its associated data.
    fn name(&self) -> String {
        let [first, second, ..] = self.question;
        ["g.k.", &(u16::from_be_bytes([first, second]) % PLACES).to_string()].concat()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.key.into())
    }
}

impl Token {
    fn is_for(&self, wanted: &WantedService) -> bool {
        self.service == wanted.service && self.account == wanted.account
    }
}
