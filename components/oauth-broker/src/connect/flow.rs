//! Stores a flow while the person is at the provider (rows of kinds `f` and `p`).
//!
//! A flow lies under the digest of its state, so that the store does not hold the state itself. It ends after ten minutes or
//! at its callback. Abandoned flows would pile up in a store that cannot be listed and has no time to live. So one row per
//! subject (`p`) lists the subject's flows, each start deletes those that have ended, and the oldest are deleted when there are
//! more than [`MOST`]. (Two starts at the same moment may lose one of the two entries; then, if that flow is abandoned too,
//! one small row stays behind.)

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::catalogue::Issued;
use crate::host::Host;
use crate::names::ConnectionId;
use crate::vault::{RowError, RowId, RowKind, Vault};
use sealing::Secret;
use sealing::age::{SKEW, left};

#[derive(Serialize, Deserialize)]
pub struct Flow {
    /// The connection that is to be made.
    pub connection: ConnectionId,
    pub redirect_uri: String,
    pub verifier: Secret,
    /// The secrets that the provider wants back with the answer.
    #[serde(default)]
    pub kept: BTreeMap<String, Secret>,
    /// The answer that a provider has posted to the callback, until its browser comes for it.
    #[serde(default)]
    pub posted: Option<BTreeMap<String, Secret>>,
    /// The issuer of the grant, if the service was discovered.
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

    /// The name of the flow's cookie, so that flows in two tabs do not meet. On http it has no prefix that browsers enforce.
    pub fn cookie_name(&self, secure: bool) -> String {
        let prefix = if secure { "__Host-" } else { "" };
        let short: String = self.0.chars().take(8).collect();
        format!("{prefix}gatehouse-flow-{short}")
    }

    fn row_id<'a>(&'a self, identity: &'a mut [&'a str; 1]) -> RowId<'a> {
        identity[0] = &self.0;
        RowId { kind: RowKind::Flow, identity }
    }
}

/// Stores flows.
pub(crate) struct Flows<'b, H> {
    pub host: &'b H,
    pub vault: Vault<'b, H>,
}

impl<H: Host> Flows<'_, H> {
    /// Stores a new flow. Its name is noted first, so that no flow is stored that nothing names.
    pub(super) fn start(&self, id: &FlowId, flow: &Flow) -> Result<(), RowError> {
        let subject = [flow.connection.subject.as_str()];
        let row = RowId { kind: RowKind::PendingFlows, identity: &subject };
        let mut pending: Vec<Pending> = self.vault.read_if_it_opens(row)?.unwrap_or_default();
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
        self.vault.write(row, &pending)?;
        for id in gone {
            self.vault.erase(FlowId(id).row_id(&mut [""]))?;
        }
        self.vault.write(id.row_id(&mut [""]), flow)
    }

    pub(super) fn get(&self, id: &FlowId) -> Result<Option<Flow>, RowError> {
        Ok(self
            .vault
            .read_if_it_opens::<Flow>(id.row_id(&mut [""]))?
            .filter(|flow| is_open(flow.expires, self.host.now())))
    }

    pub(super) fn save(&self, id: &FlowId, flow: &Flow) -> Result<(), RowError> {
        self.vault.write(id.row_id(&mut [""]), flow)
    }

    pub(super) fn end(&self, id: &FlowId) -> Result<(), RowError> {
        self.vault.erase(id.row_id(&mut [""]))
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
