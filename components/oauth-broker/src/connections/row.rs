//! Stores a connection (rows of kind `c`).
//!
//! There is one row for each account of a subject at a service.
//!
//! `grant` names one consent: each time a person connects, there is a new one. `generation` counts the token answers of that
//! grant. A refresh reads the row again before it writes, and writes only over the same grant and generation that it began
//! with. So a late writer overwrites neither a newer token nor a newer consent, nor does it bring back a connection that was
//! disconnected.

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Connections;
use crate::catalogue::Issued;
use crate::host::Host;
use crate::lease::GrantGeneration;
use crate::names::{ConnectionId, GrantId};
use crate::provider::{Grant, Held};
use crate::vault::{RowError, RowId, RowKind};
use sealing::Secret;
use sealing::age::SKEW;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Connection {
    pub grant: GrantId,
    pub generation: u64,
    /// The label by which people recognise the account, if the provider tells it.
    pub label: Option<String>,
    pub access_token: Secret,
    pub token_type: String,
    pub expires_at: Option<u64>,
    pub refresh_token: Option<Secret>,
    /// When the refresh token ends, where its answer said so.
    #[serde(default)]
    pub refresh_ends_at: Option<u64>,
    /// The issuer of the grant, if the service was discovered.
    #[serde(default)]
    pub issued: Option<Issued>,
    /// The scopes that the person granted.
    pub scopes: Vec<String>,
    /// Those that were asked for, by the names that the provider takes.
    #[serde(default)]
    pub asked_scopes: Vec<String>,
    /// Those that were asked for and not granted.
    pub missing_scopes: Vec<String>,
    pub extra: BTreeMap<String, String>,
    pub connected_at: u64,
    /// When the access token came.
    pub refreshed_at: u64,
    /// When a refresh last happened because the upstream had refused the token.
    pub refused_at: Option<u64>,
    pub state: State,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    Active,
    /// The provider ended the grant, with this error. Nothing is sent to it any more.
    NeedsReconnect {
        reason: String,
    },
}

impl Connection {
    /// The connection of a first token answer.
    pub fn new(grant: GrantId, granted: Grant, asked: &[String], now: u64) -> Self {
        let mut connection = Self {
            grant,
            generation: 1,
            label: None,
            access_token: granted.access_token.clone(),
            token_type: String::new(),
            expires_at: None,
            refresh_token: None,
            refresh_ends_at: None,
            issued: None,
            // Nothing said: all that was asked for (RFC 6749 section 5.1).
            scopes: asked.to_vec(),
            asked_scopes: asked.to_vec(),
            missing_scopes: Vec::new(),
            extra: BTreeMap::new(),
            connected_at: now,
            refreshed_at: now,
            refused_at: None,
            state: State::Active,
        };
        connection.take(granted, now);
        connection
    }

    /// The next generation, from the answer to a refresh. What it leaves out stays: the refresh token (RFC 6749
    /// section 6), the scopes (the same) and the extra values.
    pub fn renewed(&self, granted: Grant, now: u64) -> Self {
        let mut next = self.clone();
        next.generation += 1;
        next.take(granted, now);
        next
    }

    fn take(&mut self, granted: Grant, now: u64) {
        self.access_token = granted.access_token;
        self.token_type = granted.token_type;
        self.expires_at = granted.lifetime.map(|lifetime| now.saturating_add(lifetime));
        if granted.refresh_token.is_some() || granted.refresh_lifetime.is_some() {
            self.refresh_ends_at = granted.refresh_lifetime.map(|lifetime| now.saturating_add(lifetime));
        }
        self.refresh_token = granted.refresh_token.or(self.refresh_token.take());
        self.scopes = granted.scopes.unwrap_or(std::mem::take(&mut self.scopes));
        self.extra.extend(granted.extra);
        self.refreshed_at = now;
    }

    /// Returns true if the token should be refreshed before it is handed out: a minute before its end, and never in the first
    /// half of its life, so that a short-lived one is not refreshed at every call. A token without a refresh token may
    /// renew itself at its provider as long as it lives. That cannot wait for the last minute, in which no caller may come.
    /// And at once if a clock that was ahead has written when it ends.
    pub fn is_due(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|end| {
            let lifetime = end.saturating_sub(self.refreshed_at);
            let ahead = if self.refresh_token.is_some() { AHEAD } else { AHEAD.max(lifetime / 4) };
            end.saturating_sub(now) <= ahead.min(lifetime / 2) || self.refreshed_at > now.saturating_add(SKEW)
        })
    }

    pub fn is_expired(&self, now: u64) -> bool {
        self.expires_at.is_some_and(|end| end <= now)
    }

    /// The secrets that its provider has to be shown.
    pub fn held(&self) -> Held<'_> {
        Held { access_token: &self.access_token, refresh_token: self.refresh_token.as_ref(), extra: &self.extra }
    }

    /// Opaque name of this very token, safe to log and to send about.
    pub fn fingerprint(&self) -> String {
        let digest = Sha256::digest(self.access_token.reveal().as_bytes());
        Base64UrlUnpadded::encode_string(&digest[..12])
    }

    /// The generation of the grant whose refresh token is held.
    pub(crate) fn spends(&self) -> GrantGeneration {
        GrantGeneration { grant: self.grant.clone(), generation: self.generation }
    }

    /// Returns true if `self` and `other` are the same state of the same grant.
    pub fn is_same_generation(&self, other: &Self) -> bool {
        self.grant == other.grant && self.generation == other.generation
    }
}

impl<H: Host> Connections<'_, H> {
    pub(crate) fn get(&self, id: &ConnectionId) -> Result<Option<Connection>, RowError> {
        self.vault.read(place(&id.identity()))
    }

    pub(crate) fn save(&self, id: &ConnectionId, connection: &Connection) -> Result<(), RowError> {
        self.vault.write(place(&id.identity()), connection)
    }

    pub(crate) fn forget(&self, id: &ConnectionId) -> Result<(), RowError> {
        self.vault.erase(place(&id.identity()))
    }
}

pub(super) fn place<'a>(identity: &'a [&'a str]) -> RowId<'a> {
    RowId { kind: RowKind::Connection, identity }
}

/// Seconds before its end at which a token is refreshed.
const AHEAD: u64 = 60;
