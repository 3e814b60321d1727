//! Parses the setting `handout_policy`: which tokens each calling service may have.
//!
//! Without the setting every service may have everything. With it, a service that is not named gets nothing:
//!
//! ```json
//! {"gateway": {"services": {"*": ["*"]}},
//!  "reports": {"services": {"github": ["repo", "read:user"], "slack": ["*"]}, "disconnect": true}}
//! ```
//!
//! For each service it lists the scopes that a token may have, `*` for any. A provider gives no narrower token in place of
//! one that it has given, so a token that may do more than the policy allows is not handed out at all. Nor is a token whose
//! scopes are not known, unless the list is `*`. `DELETE` is a right of its own.
//!
//! People and their own API keys are not limited by the policy. [`crate::handout`] applies it.

use std::cell::OnceCell;
use std::collections::BTreeMap;

use serde::Deserialize;

use crate::host::Host;
use crate::names::{CalledBy, ServiceId};
use crate::settings::{Setting, SettingError, Settings, json_problem, once};

/// The policy, by the name of the service key.
pub struct Policy(BTreeMap<String, Allowed>);

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Allowed {
    services: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    pub(crate) disconnect: bool,
}

/// What one caller may have.
pub(crate) enum Rights<'p> {
    Everything,
    Nothing,
    Limited(&'p Allowed),
}

/// The policy that one request has parsed so far.
pub type PolicyCache = OnceCell<Option<Policy>>;

/// Reads the policy, and says what a caller may have.
pub(crate) struct Policies<'b, H> {
    pub settings: &'b Settings<'b, H>,
    pub cache: &'b PolicyCache,
}

impl<'b, H: Host> Policies<'b, H> {
    /// The policy. `None` if every service may have everything.
    pub fn policy(&self) -> Result<Option<&'b Policy>, SettingError> {
        let policy = once(self.cache, || {
            let policy = self.settings.text(Setting::HandoutPolicy).map(Policy::parse).transpose();
            policy.map_err(|problem| SettingError::new(Setting::HandoutPolicy, problem))
        })?;
        Ok(policy.as_ref())
    }

    pub fn rights(&self, caller: &CalledBy) -> Result<Rights<'b>, SettingError> {
        let CalledBy::Service(name) = caller else { return Ok(Rights::Everything) };
        Ok(match self.policy()? {
            None => Rights::Everything,
            Some(Policy(callers)) => callers.get(name).map_or(Rights::Nothing, Rights::Limited),
        })
    }
}

impl Policy {
    /// Errors: what is wrong, without a value.
    pub fn parse(text: &str) -> Result<Self, String> {
        let policy = json::check(text.as_bytes()).and_then(serde_json::from_slice);
        let policy: BTreeMap<String, Allowed> = policy.map_err(|error| json_problem(&error))?;
        for (caller, allowed) in &policy {
            for id in allowed.services.keys() {
                if id != ANY && ServiceId::parse(id).is_err() {
                    return Err(format!(
                        "`{}` has a service that is neither a service id nor *",
                        caller.escape_default()
                    ));
                }
            }
        }
        Ok(Self(policy))
    }
}

impl Allowed {
    /// The scopes that a token of this service may have. `None` if the caller may not ask for the service.
    pub fn scopes(&self, service: &ServiceId) -> Option<&[String]> {
        self.services.get(service.as_str()).or_else(|| self.services.get(ANY)).map(Vec::as_slice)
    }
}

/// Returns true if a limit allows any scope.
pub(crate) fn is_any(limit: &[String]) -> bool {
    limit.iter().any(|scope| scope == ANY)
}

pub(crate) fn are_within(scopes: &[String], limit: &[String]) -> bool {
    scopes.iter().all(|scope| limit.contains(scope))
}

const ANY: &str = "*";
