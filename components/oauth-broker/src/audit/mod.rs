//! Records who got which token, and what changed.
//!
//! Each event is one JSON object ([`Line`]): a line of the log, after the word `audit`, and in the store, where the
//! operator reads it by `GET /admin/audit` ([`ring`]). The log's line comes first and always; the stored one is left out
//! where the setting `audit` is `log`, and hand-outs that are alike share one for ten seconds unless it is `each`. No fault of the store keeps a token from its caller.
//!
//! A hand-out of several tokens in one answer is one line.

pub mod ring;

use serde::Serialize;

use crate::host::Host;
use crate::names::{CalledBy, ConnectionId, GrantId, ServiceId, Subject};
use crate::settings::{Setting, SettingError, Settings};
use crate::vault::Vault;
use ring::Lines;

/// Where lines are kept, beside the log: the setting `audit`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Storage {
    /// Hand-outs that are alike in every word are one line for a few seconds.
    Store,
    /// Every line.
    Each,
    Log,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// An access token left.
    HandedOut,
    /// A service asked for what it may not have, or what there is not. At most once a minute for each service.
    NotHandedOut,
    Connected,
    Disconnected,
    /// The provider ended a grant.
    GrantEnded,
    SignedIn,
    SignInRefused,
    SignedOut,
    /// An admin has read audit lines.
    Read,
    /// An admin has gone over what is stored.
    Swept,
}

/// The actor of an event.
#[derive(Debug, Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Actor<'a> {
    Person,
    Service(&'a str),
    Admin(&'a str),
    Provider,
    /// Someone who could not say who they are.
    Stranger,
}

/// The note of an event. No field can hold a secret.
#[derive(Serialize)]
pub struct Line<'a> {
    /// Seconds since the Unix epoch. First, where [`ring`] looks for it.
    time: u64,
    event: Event,
    by: Actor<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    subject: Option<&'a Subject>,
    /// The resource for which the token is, as the caller says.
    #[serde(skip_serializing_if = "Option::is_none")]
    resource: Option<&'a str>,
    #[serde(skip_serializing_if = "<[_]>::is_empty")]
    connections: &'a [About<'a>],
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'a str>,
}

/// The connection of an event.
#[derive(Serialize)]
pub struct About<'a> {
    service: &'a ServiceId,
    #[serde(skip_serializing_if = "str::is_empty")]
    account: &'a str,
    /// Names one consent of the person.
    #[serde(skip_serializing_if = "Option::is_none")]
    grant: Option<&'a GrantId>,
    /// Counts its access tokens.
    #[serde(skip_serializing_if = "Option::is_none")]
    generation: Option<u64>,
}

impl<'a> About<'a> {
    pub fn new(id: &'a ConnectionId) -> Self {
        Self { service: &id.service, account: id.account.as_str(), grant: None, generation: None }
    }

    pub fn token(self, grant: &'a GrantId, generation: u64) -> Self {
        Self { grant: Some(grant), generation: Some(generation), ..self }
    }
}

impl<'a> Line<'a> {
    pub fn new(event: Event, by: Actor<'a>, subject: Option<&'a Subject>) -> Self {
        Self { time: 0, event, by, subject, resource: None, connections: &[], reason: None }
    }

    pub fn about(self, connections: &'a [About<'a>]) -> Self {
        Self { connections, ..self }
    }

    pub fn resource(self, resource: Option<&'a str>) -> Self {
        let cut = |text: &'a str| text.get(..text.floor_char_boundary(LONGEST)).unwrap_or_default();
        Self { resource: resource.map(cut), ..self }
    }

    pub fn reason(self, reason: &'a str) -> Self {
        Self { reason: Some(reason), ..self }
    }
}

impl<'a> From<&'a CalledBy> for Actor<'a> {
    fn from(by: &'a CalledBy) -> Self {
        match by {
            CalledBy::Person => Self::Person,
            CalledBy::Service(name) => Self::Service(name),
        }
    }
}

/// Notes events, and reads what was noted.
pub(crate) struct Audit<'b, H> {
    pub host: &'b H,
    pub settings: &'b Settings<'b, H>,
    pub vault: Vault<'b, H>,
}

impl<H: Host> Audit<'_, H> {
    /// The setting `audit`.
    pub fn storage(&self) -> Result<Storage, SettingError> {
        match self.settings.text(Setting::Audit).map(str::trim) {
            None | Some("store") => Ok(Storage::Store),
            Some("each") => Ok(Storage::Each),
            Some("log") => Ok(Storage::Log),
            Some(_) => Err(SettingError::new(Setting::Audit, "neither store, each nor log")),
        }
    }

    /// Notes an event.
    pub(crate) fn note(&self, line: Line<'_>) {
        let line = Line { time: self.host.now(), ..line };
        let json = sealing::to_json(&line).ok().and_then(|json| String::from_utf8(json.to_vec()).ok());
        let Some(json) = json else { unreachable!("a line is strings and numbers") };
        // JSON lets through what steers a terminal, and the record is read on one too.
        let json = shell::log::line(&json);
        self.host.log(&format!("audit {json}"));
        let storage = self.storage().unwrap_or_else(|error| {
            self.host.log(&error.to_string());
            Storage::Store
        });
        let lines = match (storage, line.event) {
            (Storage::Log, _) => return,
            (Storage::Store, Event::HandedOut) => Lines::Alike,
            (Storage::Store | Storage::Each, _) => Lines::Each,
        };
        if let Err(error) = self.append(line.subject, &json, lines) {
            self.host.log(&format!("an audit line could not be stored: {error}"));
        }
    }
}

/// Of what a caller says, in bytes.
const LONGEST: usize = 512;
