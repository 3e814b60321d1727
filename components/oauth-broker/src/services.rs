//! Offers the services that `oauth_clients` has a client for: rows of the catalogue, and MCP servers to be discovered.

use std::collections::BTreeMap;

use serde_json::Value;
use serde_json::value::RawValue;

use crate::catalogue::{self, Issued, Service, check_own_client, entries};
use crate::discovery::{Discovery, McpServer, guard};
pub use crate::discovery::{DiscoveryError, ServiceError};
use crate::host::Host;
use crate::names::ServiceId;
use crate::outbound::is_own;
use crate::provider::Failure;
use crate::settings::{Setting, SettingError, Settings, json_problem};
use crate::vault::RowError;

/// What is known of an offered service without a request to anyone.
#[derive(Debug)]
pub enum Offered {
    Row(Box<Service>),
    /// To be discovered when it is needed.
    McpServer(Box<McpServer>),
}

/// Finds the offered services.
pub(crate) struct Services<'b, H> {
    pub host: &'b H,
    pub settings: &'b Settings<'b, H>,
    pub discovery: Discovery<'b, H>,
}

impl<H: Host> Services<'_, H> {
    /// The service of that id, for a grant that was `issued` by it. `None` if it is not offered.
    pub async fn service(&self, id: &ServiceId, issued: Option<&Issued>) -> Result<Option<Service>, ServiceError> {
        match (self.offered(id)?, issued) {
            (None, _) => Ok(None),
            (Some(Offered::Row(service)), None) => Ok(Some(*service)),
            (Some(Offered::McpServer(server)), Some(issued)) => self.discovery.issuing(&server, issued).await.map(Some),
            // The id has been given to another service since.
            _ => Err(ServiceError::OtherIssuer),
        }
    }

    /// The service of that id as it is now, for a person who may connect it, or for a flow that begins and `asks` for these
    /// scopes.
    pub async fn service_to_connect(
        &self,
        id: &ServiceId,
        asks: Option<&[String]>,
    ) -> Result<Option<Service>, ServiceError> {
        match self.offered(id)? {
            None => Ok(None),
            Some(Offered::Row(service)) => Ok(Some(*service)),
            Some(Offered::McpServer(server)) => self.discovery.discover(&server, asks).await.map(Some),
        }
    }

    /// Learns whether the authorization server still knows its client ([`Discovery::client_was_tried`]).
    pub fn client_was_tried(&self, service: &Service, failure: Option<&Failure>) {
        self.discovery.client_was_tried(service, failure);
    }

    /// The client id metadata document for that service's authorization server. `None` if there is none.
    pub fn client_document(&self, id: &ServiceId) -> Result<Option<Value>, RowError> {
        match self.offered(id)? {
            Some(Offered::McpServer(server)) => self.discovery.client_document(&server),
            _ => Ok(None),
        }
    }

    /// The service that is offered under that id.
    pub fn offered(&self, id: &ServiceId) -> Result<Option<Offered>, SettingError> {
        let clients = self.clients()?;
        clients.get(id.as_str()).map(|entry| self.read(id, entry, &clients)).transpose()
    }

    /// All that are offered, by id.
    pub fn all_offered(&self) -> Result<Vec<Offered>, SettingError> {
        let clients = self.clients()?;
        let service = |(id, entry): (&String, &&RawValue)| {
            let id = ServiceId::parse(id)
                .map_err(|error| catalogue::setting(format!("`{}`: {error}", id.escape_default())))?;
            self.read(&id, entry, &clients)
        };
        clients.iter().map(service).collect()
    }

    /// The entries of `oauth_clients`. A name twice is an error: one reader would take the first, another the last.
    fn clients(&self) -> Result<BTreeMap<String, &RawValue>, SettingError> {
        let text = self.settings.text(Setting::OauthClients).unwrap_or("{}");
        json::check(text.as_bytes()).map_err(|error| catalogue::setting(json_problem(&error)))?;
        entries(text)
    }

    fn read(
        &self,
        id: &ServiceId,
        entry: &RawValue,
        clients: &BTreeMap<String, &RawValue>,
    ) -> Result<Offered, SettingError> {
        if let Some(fields) = entries(entry.get()).ok().filter(|fields| fields.contains_key("mcp_server")) {
            let internal = guard::internal_hosts(self.settings)?;
            let server =
                McpServer::read(id, &fields, internal).map_err(|what| catalogue::setting(format!("`{id}`: {what}")))?;
            if server.url.as_str().parse().is_ok_and(|url| is_own(self.host, &url)) {
                let problem = format!("`{id}`: `mcp_server` is an address of this Gatehouse itself");
                return Err(catalogue::setting(problem));
            }
            return Ok(Offered::McpServer(Box::new(server)));
        }
        check_own_client(id, entry, clients)?;
        Service::read(id, entry).map(|service| Offered::Row(Box::new(service)))
    }
}

impl Offered {
    pub fn id(&self) -> &ServiceId {
        match self {
            Self::Row(service) => &service.id,
            Self::McpServer(server) => &server.id,
        }
    }

    pub fn name(&self) -> &str {
        match self {
            Self::Row(service) => &service.name,
            Self::McpServer(server) => &server.name,
        }
    }
}
