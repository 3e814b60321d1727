//! Puts the rooms of the broker together for one request.

use crate::audit::Audit;
use crate::connect::Connect;
use crate::connect::flow::Flows;
use crate::connect::ticket::Tickets;
use crate::connections::Connections;
use crate::connections::index::ConnectionIndex;
use crate::discovery::Discovery;
use crate::handout::Handouts;
use crate::host::Host;
use crate::lease::Leases;
use crate::maintenance::Maintenance;
use crate::people::People;
use crate::people::browser::Browsers;
use crate::people::session::Sessions;
use crate::people::sign_in::SignIn;
use crate::policy::{Policies, PolicyCache};
use crate::services::Services;
use crate::settings::Settings;
use crate::vault::{Vault, VaultCache};

/// The broker as one request sees it: the host that runs it, and what the request has parsed so far. Each method returns
/// one room with the rooms that it needs. They are not inlined, which saves 5 KB of code.
pub struct Broker<'h, H> {
    pub host: &'h H,
    pub settings: Settings<'h, H>,
    vault: VaultCache,
    policy: PolicyCache,
}

impl<'h, H: Host> Broker<'h, H> {
    pub fn new(host: &'h H) -> Self {
        Self { host, settings: Settings::new(host), vault: VaultCache::default(), policy: PolicyCache::default() }
    }

    #[inline(never)]
    pub(crate) fn vault(&self) -> Vault<'_, H> {
        Vault::new(self.host, &self.settings, &self.vault)
    }

    #[inline(never)]
    pub(crate) fn leases(&self) -> Leases<'_, H> {
        Leases { host: self.host, vault: self.vault() }
    }

    #[inline(never)]
    pub(crate) fn audit(&self) -> Audit<'_, H> {
        Audit { host: self.host, settings: &self.settings, vault: self.vault() }
    }

    pub(crate) fn policies(&self) -> Policies<'_, H> {
        Policies { settings: &self.settings, cache: &self.policy }
    }

    #[inline(never)]
    pub(crate) fn services(&self) -> Services<'_, H> {
        Services { host: self.host, settings: &self.settings, discovery: self.discovery() }
    }

    #[inline(never)]
    pub(crate) fn discovery(&self) -> Discovery<'_, H> {
        Discovery { host: self.host, settings: &self.settings, vault: self.vault(), leases: self.leases() }
    }

    #[inline(never)]
    pub(crate) fn index(&self) -> ConnectionIndex<'_, H> {
        ConnectionIndex { host: self.host, vault: self.vault(), leases: self.leases() }
    }

    #[inline(never)]
    pub(crate) fn connections(&self) -> Connections<'_, H> {
        Connections {
            host: self.host,
            vault: self.vault(),
            leases: self.leases(),
            audit: self.audit(),
            services: self.services(),
            index: self.index(),
        }
    }

    #[inline(never)]
    pub(crate) fn handouts(&self) -> Handouts<'_, H> {
        Handouts {
            host: self.host,
            policies: self.policies(),
            connections: self.connections(),
            vault: self.vault(),
            audit: self.audit(),
        }
    }

    #[inline(never)]
    pub(crate) fn people(&self) -> People<'_, H> {
        People { settings: &self.settings, sessions: self.sessions() }
    }

    #[inline(never)]
    pub(crate) fn sessions(&self) -> Sessions<'_, H> {
        Sessions { host: self.host, settings: &self.settings, vault: self.vault(), leases: self.leases() }
    }

    #[inline(never)]
    pub(crate) fn sign_in(&self) -> SignIn<'_, H> {
        SignIn {
            host: self.host,
            settings: &self.settings,
            vault: self.vault(),
            leases: self.leases(),
            sessions: self.sessions(),
        }
    }

    pub(crate) fn browsers(&self) -> Browsers<'_, H> {
        Browsers { host: self.host, settings: &self.settings }
    }

    #[inline(never)]
    pub(crate) fn tickets(&self) -> Tickets<'_, H> {
        Tickets { host: self.host, settings: &self.settings, vault: self.vault() }
    }

    #[inline(never)]
    pub(crate) fn flows(&self) -> Flows<'_, H> {
        Flows { host: self.host, vault: self.vault() }
    }

    #[inline(never)]
    pub(crate) fn connect(&self) -> Connect<'_, H> {
        Connect {
            host: self.host,
            settings: &self.settings,
            vault: self.vault(),
            services: self.services(),
            connections: self.connections(),
            tickets: self.tickets(),
            flows: self.flows(),
            browsers: self.browsers(),
            audit: self.audit(),
        }
    }

    #[inline(never)]
    pub(crate) fn maintenance(&self) -> Maintenance<'_, H> {
        Maintenance {
            host: self.host,
            settings: &self.settings,
            vault: self.vault(),
            leases: self.leases(),
            connections: self.connections(),
        }
    }
}
