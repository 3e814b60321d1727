//! What is remembered between the way to the provider and the way back? (rows of kinds `f` and `p`)
//!
//! A flow lies under the digest of its state, so that the store does not hold the state itself, and ends after ten
//! minutes or at its callback. Flows that nobody finishes would pile up in a store that cannot be listed and ends
//! nothing by itself: so one row per subject (`p`) names the subject's flows, each start deletes those that have ended,
//! and the oldest go when there are more than [`MOST`]. (Two starts in the same moment may lose one of the two names;
//! what then stays behind, if its flow is not finished either, is one small row.)

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Broker;
use crate::discovery::Issued;
use crate::host::Host;
use crate::names::ConnectionId;
use crate::vault::rows::RowError;
use crate::vault::{Kind, Place};
use sealing::Secret;
use sealing::age::{SKEW, left};

#[derive(Serialize, Deserialize)]
pub struct Flow {
    /// What is to be connected.
    pub connection: ConnectionId,
    pub redirect_uri: String,
    pub verifier: Secret,
    /// What the provider wants back with the answer.
    #[serde(default)]
    pub kept: BTreeMap<String, Secret>,
    /// What a provider has posted to the callback, until its browser comes for it.
    #[serde(default)]
    pub posted: Option<BTreeMap<String, Secret>>,
    /// Whose the grant will be, where the service was discovered.
    #[serde(default)]
    pub issued: Option<Issued>,
    /// Digest of the cookie of the browser that started it.
    pub cookie: String,
    /// The scopes that were asked for.
    pub scopes: Vec<String>,
    /// Where to go when it is over: one of `return_urls`.
    #[serde(default)]
    pub return_to: Option<String>,
    pub expires: u64,
}

/// The name under which a flow lies: the digest of its state.
pub struct FlowId(String);

#[derive(Serialize, Deserialize)]
struct Pending {
    id: String,
    expires: u64,
}

impl FlowId {
    pub fn of(state: &str) -> Self {
        Self(digest(state))
    }

    /// What the flow's cookie is called, so that flows in two tabs do not meet. On http it has to do without the prefix
    /// that browsers enforce.
    pub fn cookie_name(&self, secure: bool) -> String {
        let prefix = if secure { "__Host-" } else { "" };
        let short: String = self.0.chars().take(8).collect();
        format!("{prefix}gatehouse-flow-{short}")
    }

    fn place<'a>(&'a self, identity: &'a mut [&'a str; 1]) -> Place<'a> {
        identity[0] = &self.0;
        Place { kind: Kind::Flow, identity }
    }
}

impl<H: Host> Broker<'_, H> {
    /// Remembers a flow. Its name is noted first, so that it cannot be stored and forgotten.
    pub(super) fn remember(&self, id: &FlowId, flow: &Flow) -> Result<(), RowError> {
        let subject = [flow.connection.subject.as_str()];
        let place = Place { kind: Kind::Pending, identity: &subject };
        let mut pending: Vec<Pending> = self.read_if_it_opens(place)?.unwrap_or_default();
        let now = self.host.now();
        let surplus = (pending.len() + 1).saturating_sub(MOST);
        let mut position = 0;
        let mut gone = Vec::new();
        pending.retain(|flow| {
            position += 1;
            let stays = is_open(flow.expires, now) && position > surplus;
            if !stays {
                gone.push(flow.id.clone());
            }
            stays
        });
        pending.push(Pending { id: id.0.clone(), expires: flow.expires });
        self.write(place, &pending)?;
        for id in gone {
            self.erase(FlowId(id).place(&mut [""]))?;
        }
        self.write(id.place(&mut [""]), flow)
    }

    pub(super) fn flow(&self, id: &FlowId) -> Result<Option<Flow>, RowError> {
        Ok(self.read_if_it_opens::<Flow>(id.place(&mut [""]))?.filter(|flow| is_open(flow.expires, self.host.now())))
    }

    pub(super) fn keep_flow(&self, id: &FlowId, flow: &Flow) -> Result<(), RowError> {
        self.write(id.place(&mut [""]), flow)
    }

    pub(super) fn end_flow(&self, id: &FlowId) -> Result<(), RowError> {
        self.erase(id.place(&mut [""]))
    }
}

fn is_open(expires: u64, now: u64) -> bool {
    left(expires, now, LIFETIME + SKEW) > 0
}

pub fn digest(secret: &str) -> String {
    Base64UrlUnpadded::encode_string(&Sha256::digest(secret.as_bytes()))
}

/// Seconds that a flow lives.
pub const LIFETIME: u64 = 600;
/// Flows of one subject at a time.
const MOST: usize = 16;
