//! May a resolution be used again?
//!
//! For a few seconds, so that a warm call asks no broker: `resolutionSeconds` of `servers.json`, [`SECONDS`] where the
//! file does not say, 0 for never. What is kept is the whole answer of the broker to one question (bearer, resource,
//! services), and only where each service gave a token: whoever still has to connect is looked at anew each time. Beside
//! it is how the upstreams speak that were met for it ([`Met`]).
//!
//! The row's key is a digest over the question, and the row is sealed under a key that only the bearer yields. The store
//! alone opens nothing, and for a client without a bearer (local mode) nothing is kept at all.
//!
//! It ends with the token, with the bearer, and when the upstream refuses the token. What it puts off, for as long as it
//! lasts, is what only the broker knows: that the person has disconnected, that the bearer was taken back, that a policy
//! has changed. An upstream that no longer speaks as it is kept here says so itself, and is met anew (`upstream`).

use std::borrow::Cow;

use base64ct::{Base64UrlUnpadded, Encoding};
use chacha20poly1305::XChaCha20Poly1305;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::host::{AccessToken, Caller, Host, Outcome, Resolution, ResolveRequest, Secret};
use crate::memory::Met;

/// For how long, where `servers.json` does not say.
pub const SECONDS: u64 = 10;
/// The most that it may say.
pub const MOST_SECONDS: u64 = 300;

const FORMAT: u8 = 2;
const NONCE: usize = 24;
/// A token is not used again this close to its end: it may be on its way for a while.
const BEFORE_END: u64 = 5;

/// Where the answer to one question is kept.
pub struct Place {
    question: [u8; 32],
    key: [u8; 32],
}

#[derive(Serialize, Deserialize)]
struct Row<'a> {
    until: u64,
    subject: &'a str,
    sealing_key: &'a str,
    tokens: Vec<Token<'a>>,
    /// How the upstreams speak that were met for the answer, so that a warm call reads one row.
    met: Met,
}

#[derive(Serialize, Deserialize)]
struct Token<'a> {
    #[serde(borrow)]
    value: Cow<'a, str>,
    #[serde(borrow)]
    token_type: Cow<'a, str>,
    fingerprint: &'a str,
}

impl Place {
    /// None where nothing is kept.
    pub fn of(request: &ResolveRequest, seconds: u64) -> Option<Self> {
        let bearer = request.bearer.as_ref().filter(|_| seconds > 0)?.expose();
        let mut question = Sha256::new();
        let services = request
            .services
            .iter()
            .flat_map(|wanted| [&*wanted.service, wanted.account.as_deref().unwrap_or_default()]);
        for field in ["gatehouse.kept.v1", bearer, &request.resource].into_iter().chain(services) {
            question.update((field.len() as u64).to_be_bytes());
            question.update(field);
        }
        let key = Sha256::new().chain_update("gatehouse.kept-key.v1").chain_update(bearer).finalize();
        Some(Self { question: question.finalize().into(), key: key.into() })
    }

    /// The answer, and until when it may be used.
    pub fn recall(&self, host: &impl Host) -> Option<(Resolution, u64)> {
        let sealed = host.load(&self.name())?;
        let (nonce, sealed) = sealed.strip_prefix(&[FORMAT])?.split_first_chunk::<NONCE>()?;
        let row = self.cipher().decrypt(&(*nonce).into(), Payload { msg: sealed, aad: &self.question }).ok()?;
        let row: Row = serde_json::from_slice(&row).ok()?;
        if row.until <= host.now() {
            return None;
        }
        let token = |token: Token| {
            Outcome::Token(AccessToken {
                value: Secret::new(token.value.into_owned()),
                token_type: token.token_type.into_owned(),
                expires_at: None,
                fingerprint: token.fingerprint.to_owned(),
            })
        };
        let resolution = Resolution {
            caller: Caller {
                subject: row.subject.to_owned(),
                expires_at: None,
                sealing_key: Base64UrlUnpadded::decode_vec(row.sealing_key).ok()?,
                met: row.met,
            },
            outcomes: row.tokens.into_iter().map(token).collect(),
        };
        Some((resolution, row.until))
    }

    /// Keeps it at most `until` then.
    pub fn keep<'o>(
        &self,
        host: &impl Host,
        caller: &Caller,
        outcomes: impl Iterator<Item = &'o Outcome>,
        mut until: u64,
    ) {
        let mut tokens = Vec::new();
        for outcome in outcomes {
            let Outcome::Token(token) = outcome else { return };
            until = until.min(token.expires_at.map_or(until, |end| end.saturating_sub(BEFORE_END)));
            tokens.push(Token {
                value: token.value.expose().into(),
                token_type: token.token_type.as_str().into(),
                fingerprint: &token.fingerprint,
            });
        }
        until = until.min(caller.expires_at.unwrap_or(until));
        if until <= host.now() {
            return;
        }
        let sealing_key = Base64UrlUnpadded::encode_string(&caller.sealing_key);
        let row = Row { until, subject: &caller.subject, sealing_key: &sealing_key, tokens, met: caller.met.clone() };
        let mut nonce = [0; NONCE];
        host.random(&mut nonce);
        let Ok(row) = serde_json::to_vec(&row) else { return };
        let Ok(sealed) = self.cipher().encrypt(&nonce.into(), Payload { msg: &row, aad: &self.question }) else {
            return;
        };
        host.save(&self.name(), &[&[FORMAT], nonce.as_slice(), &sealed].concat());
    }

    pub fn forget(&self, host: &impl Host) {
        host.forget(&self.name());
    }

    fn name(&self) -> String {
        ["g.k.", &Base64UrlUnpadded::encode_string(&self.question)].concat()
    }

    fn cipher(&self) -> XChaCha20Poly1305 {
        XChaCha20Poly1305::new(&self.key.into())
    }
}
