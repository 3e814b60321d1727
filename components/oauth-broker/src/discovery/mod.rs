//! Discovers how to connect a service when only the URL of its MCP server is known.
//!
//! ```json
//! {"notion": {"mcp_server": "https://mcp.notion.com/mcp"}}
//! ```
//!
//! | field | default | meaning |
//! |---|---|---|
//! | `mcp_server` | needed | the URL that MCP requests go to |
//! | `name` | the id | what people call it |
//! | `scopes` | the server's | what to ask for, in place of what it calls for |
//! | `client_id`, `client_secret` | none | a client that the operator has registered at its authorization server |
//! | `token_endpoint_auth_method` | the metadata's | how that client authenticates: `client_secret_basic`, `client_secret_post`, `none` |
//! | `issuer` | the first it names | the only authorization server that may be used |
//! | `hosts` | `[]` | further hosts that its metadata may name, private ones included: `host` (port 443) or `host:port` |
//!
//! Hosts of a private network that metadata of any service may name are in the setting `internal_hosts`.
//!
//! The way there ([`walk`]) is that of the MCP specification: the server's own challenge ([`http_auth::challenge`]), its metadata
//! (RFC 9728), its authorization server's metadata (RFC 8414 or OpenID Connect Discovery; [`documents`]), a client there
//! ([`client`]). The result is a [`Service`] like any other, so that connecting, refreshing and revoking know nothing of
//! discovery. No request goes to an address that a stranger named before [`guard`] has checked it.
//!
//! **When.** A person who connects a service waits for discovery, and sees what goes wrong. The result is stored (rows of
//! kind `d`) and used for refresh and revocation. After a day a refresh discovers again; while no server answers, it uses
//! the stored result. A token that is fresh, the list of connections and `/health` never discover.
//!
//! **Which hosts may be endpoints.** Metadata that names an endpoint at another host than its issuer's is how a code, with
//! its verifier, gets from an honest authorization server to a dishonest one: `authorization_endpoint` at the honest,
//! `token_endpoint` at home (mix-up, RFC 9700 section 4.4). Registration is no obstacle, as the dishonest one may register at
//! the honest one for us, and nor is a client id metadata document, which anyone may use. `iss` (RFC 9207) would tell, where
//! the honest one sends it. So every endpoint has to be at the issuer's host or the MCP server's, or at a name under one of
//! them; which sites belong together beyond that (`accounts.google.com` and `oauth2.googleapis.com`) only a person can
//! know, who lists them in `hosts`. A rule of "the same last two labels" would put all tenants of a hoster in one pot.
//!
//! **Whose a grant is.** A connection remembers the issuer that it came from, and its client there unless that is the
//! operator's ([`Issued`]). To no other issuer is anything of it ever sent, and with no other client: when discovery names
//! another, the person has to connect again. A client of the operator's belongs to the issuer at which it was first used, or
//! to the one that `issuer` says.
//!
//! **No `private_key_jwt`.** A client here is public, or has a secret of its own at each issuer; it never signs an assertion
//! that another server could be made to accept.

mod client;
pub(crate) mod documents;
mod entry;
pub(crate) mod guard;
mod walk;

use serde::{Deserialize, Serialize};
use serde_json::json;
use thiserror::Error;

pub(crate) use client::GONE;
pub use entry::McpServer;

use crate::catalogue::{Issued, IssuedClient, Service};
use crate::host::Host;
use crate::lease::Leases;
use crate::outbound::is_own;
use crate::settings::{SettingError, Settings};
use crate::vault::{RowError, RowId, RowKind, Vault};
use client::MOST_A_DAY;
use guard::AddressError;
use sealing::age::{SKEW, is_recent, left};
use walk::{Found, is_same_issuer};

/// Why a service cannot be used now. It says nothing about any grant.
#[derive(Debug, Error)]
pub enum ServiceError {
    #[error(transparent)]
    Row(#[from] RowError),
    /// A server of the walk does not answer now.
    #[error("the server {who} does not answer now ({why}). Nothing is lost: try again")]
    NoAnswer { who: String, why: String },
    /// A server of the walk refuses, or its metadata cannot be trusted.
    #[error(transparent)]
    Discovery(#[from] DiscoveryError),
    /// The grant is of another issuer than the one that the service has now.
    #[error("this service now has another authorization server than the one that made the grant: connect again")]
    OtherIssuer,
}

impl From<SettingError> for ServiceError {
    fn from(error: SettingError) -> Self {
        Self::Row(error.into())
    }
}

/// The fault of a server, or of its metadata.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum DiscoveryError {
    #[error(
        "the MCP server {0} answers without authorization and names no authorization server: there is nothing to connect"
    )]
    Open(String),
    #[error(
        "the authorization server {0} has no metadata at any of the well-known places (RFC 8414, OpenID Connect Discovery)"
    )]
    NoMetadata(String),
    #[error("the metadata of the MCP server should be at {url}, which answers {status}")]
    NoResourceMetadata { url: String, status: u16 },
    #[error("the metadata at {0} name no authorization server")]
    NoServer(String),
    #[error("what is at {0} is not of the expected form")]
    Form(String),
    #[error("what is at {0} is longer than 64 KB")]
    Long(String),
    #[error("what is at {url} is {coding}-coded, although it was asked for without a coding")]
    Coded { url: String, coding: &'static str },
    #[error("{0} is an address of this Gatehouse itself, which is no service of its own")]
    Own(String),
    #[error("the metadata at {url} speak of the resource {found}, which is not this MCP server")]
    Resource { url: String, found: String },
    #[error(
        "the metadata at {url} give {found} as issuer, which is not the one that it was asked for (RFC 8414 section 3.3)"
    )]
    Issuer { url: String, found: String },
    #[error("the authorization server {0} does not offer PKCE with S256, without which no code is safe")]
    Pkce(String),
    #[error("the {field} of {of} is not an address to go to: {why}")]
    Address { field: &'static str, of: String, why: AddressError },
    #[error(
        "the authorization server {issuer} names {host} for its {field}. If the two belong together, list the host in `hosts` of this service"
    )]
    Elsewhere { issuer: String, field: &'static str, host: String },
    #[error("the MCP server does not name {0} as its authorization server, but `issuer` of this service does")]
    NotNamed(String),
    #[error(
        "the MCP server now names {new} as its authorization server. The client of this service belongs to {old}: register one there and set it, with `issuer`"
    )]
    OthersClient { old: String, new: String },
    #[error(
        "the authorization server {0} takes neither a client id metadata document from here nor a registration: register a client there, and set `client_id` of this service"
    )]
    NoClient(String),
    #[error("the authorization server {0} wants clients to authenticate in a way that is not known here")]
    ClientAuth(String),
    #[error("the authorization server {issuer} does not register this Gatehouse as a client ({error})")]
    Registration { issuer: String, error: String },
    #[error(
        "{MOST_A_DAY} clients of this service were registered today, which is the most, and none of them works at {0}. Try again tomorrow, or register a client there and set `client_id` of this service"
    )]
    TooManyClients(String),
}

/// Discovers authorization servers, and registers clients there.
pub(crate) struct Discovery<'b, H> {
    pub host: &'b H,
    pub settings: &'b Settings<'b, H>,
    pub vault: Vault<'b, H>,
    pub leases: Leases<'b, H>,
}

impl<H: Host> Discovery<'_, H> {
    /// The service as it is found now, with a client, for a person who may connect it. A flow that begins says the scopes
    /// that it will ask for (`asks`); for it the result of a few minutes ago is good enough.
    pub(crate) async fn discover(&self, server: &McpServer, asks: Option<&[String]>) -> Result<Service, ServiceError> {
        let row = if asks.is_some() { self.kept(server)? } else { None };
        let found = match row {
            Some(Row { at, found: Some(found), .. }) if is_recent(at, self.host.now(), A_MOMENT - 1) => found,
            _ => self.rediscover(server).await?,
        };
        self.with_client(server, &found, asks).await
    }

    /// The service for what was `issued` by it.
    pub(crate) async fn issuing(&self, server: &McpServer, issued: &Issued) -> Result<Service, ServiceError> {
        let found = self.found(server).await?;
        if !is_same_issuer(&found.issuer, &issued.issuer) {
            return Err(ServiceError::OtherIssuer);
        }
        let mut client = match (&issued.client, &server.client) {
            (Some(client), _) => client.clone(),
            (None, Some(client)) => client::preregistered(client, &found)?,
            // The operator has taken the client away, with which it was made.
            (None, None) => return Err(ServiceError::OtherIssuer),
        };
        if server.client.as_ref().is_none_or(|client| client.auth.is_none()) {
            client.auth = issued.auth.unwrap_or(client.auth);
        }
        service(server, &found, client, issued.clone())
    }

    async fn with_client(
        &self,
        server: &McpServer,
        found: &Found,
        asks: Option<&[String]>,
    ) -> Result<Service, ServiceError> {
        let public_url = self.settings.public_url()?;
        let redirect_uri = public_url.redirect_uri(&server.id);
        let scopes = asks.unwrap_or(server.scopes.as_ref().unwrap_or(&found.scopes));
        let client = match &server.client {
            Some(client) => {
                return service(
                    server,
                    found,
                    client::preregistered(client, found)?,
                    Issued::new(found.issuer.clone(), None),
                );
            }
            None if client::takes_documents(public_url, found) => {
                self.note_asked_scopes(server, scopes)?;
                IssuedClient::public(client::document_url(public_url.as_str(), &server.id))
            }
            None => self.registration(found, &redirect_uri, scopes, asks.is_some()).await?,
        };
        service(server, found, client.clone(), Issued::new(found.issuer.clone(), Some(client)))
    }

    /// The scopes that flows ask for, as far as is known now.
    fn asked_scopes(&self, server: &McpServer) -> Result<Vec<String>, RowError> {
        let row = self.kept(server)?;
        let (found, asked) = row.map(|row| (row.found, row.asked)).unwrap_or_default();
        let found = found.map(|found| found.scopes).unwrap_or_default();
        let scopes = server.scopes.as_ref().unwrap_or(&found).iter().chain(&asked);
        Ok(documents::scopes(scopes.map(String::as_str)))
    }

    /// Sees to it that the client's document says these scopes.
    fn note_asked_scopes(&self, server: &McpServer, scopes: &[String]) -> Result<(), RowError> {
        let mut known = self.asked_scopes(server)?;
        let Some(mut row) = self.kept(server)?.filter(|_| !scopes.iter().all(|scope| known.contains(scope))) else {
            return Ok(());
        };
        known.extend_from_slice(scopes);
        row.asked = documents::scopes(known.iter().map(String::as_str));
        self.vault.write(row_id(&[server.id.as_str()]), &row)
    }

    /// The stored result for the server: at most a day old, or older while no server answers.
    async fn found(&self, server: &McpServer) -> Result<Found, ServiceError> {
        let now = self.host.now();
        let row = self.kept(server)?;
        let is_young = row.as_ref().is_some_and(|row| left(row.again, now, A_DAY + SKEW) > 0);
        let before = row.as_ref().and_then(|row| row.found.clone());
        if is_young {
            let why = "nothing was found a moment ago".to_owned();
            return before.ok_or_else(|| ServiceError::NoAnswer { who: walk::shown(server.url.as_str()), why });
        }
        let place = [server.id.as_str()];
        let place = row_id(&place);
        let mut next = row.unwrap_or_else(|| Row::of(server, None, Vec::new(), 0));
        let last = std::mem::replace(&mut next.again, now + LATER);
        // Ahead of the walk, which may lead over other gateways back to here: `resolve` says nothing of the Gatehouses that
        // a request has passed.
        self.vault.write(place, &next)?;
        match (self.rediscover(server).await, before) {
            (Err(error @ ServiceError::NoAnswer { .. }), Some(before)) => {
                self.host.log(&format!("{}: {error}. The stored result of discovery is used", server.id));
                Ok(before)
            }
            (Err(error), Some(_)) => {
                next.again = last;
                self.vault.write(place, &next)?;
                Err(error)
            }
            (found, _) => found,
        }
    }

    async fn rediscover(&self, server: &McpServer) -> Result<Found, ServiceError> {
        let found = self.walk(server).await?;
        if let Some(own) = found.urls().find(|url| url.parse().is_ok_and(|url| is_own(self.host, &url))) {
            return Err(DiscoveryError::Own(walk::shown(own)).into());
        }
        let client_id = server.client.as_ref().map(|client| &client.id);
        let before = self.kept(server)?;
        if let (Some(client_id), None, Some(row)) = (client_id, &server.issuer, &before)
            && row.client_id.as_ref() == Some(client_id)
            && let Some(before) = &row.found
            && !is_same_issuer(&before.issuer, &found.issuer)
        {
            return Err(DiscoveryError::OthersClient { old: before.issuer.clone(), new: found.issuer }.into());
        }
        let asked = before.map(|row| row.asked).unwrap_or_default();
        self.vault
            .write(row_id(&[server.id.as_str()]), &Row::of(server, Some(found.clone()), asked, self.host.now()))?;
        Ok(found)
    }

    /// The row of this very server: a changed entry is another's.
    fn kept(&self, server: &McpServer) -> Result<Option<Row>, RowError> {
        let row: Option<Row> = self.vault.read_if_it_opens(row_id(&[server.id.as_str()]))?;
        Ok(row.filter(|row| row.server == server.url.as_str()))
    }
}

#[derive(Serialize, Deserialize)]
struct Row {
    server: String,
    /// The operator's client, which belongs to this issuer from now on.
    client_id: Option<String>,
    /// When it was found.
    at: u64,
    /// When to look again.
    again: u64,
    /// `None` if it is being looked for, or was not found.
    found: Option<Found>,
    /// Scopes that flows have asked for beside those.
    #[serde(default)]
    asked: Vec<String>,
}

impl Row {
    fn of(server: &McpServer, found: Option<Found>, asked: Vec<String>, at: u64) -> Self {
        let client_id = server.client.as_ref().map(|client| client.id.clone());
        Self { server: server.url.to_string(), client_id, at, again: at + A_DAY, found, asked }
    }
}

/// The result of discovery, in the form of a catalogue row.
fn service(server: &McpServer, found: &Found, client: IssuedClient, issued: Issued) -> Result<Service, ServiceError> {
    let resource = json!({ "resource": found.resource });
    let mut fields = json!({
        "name": server.name,
        "client_id": client.id,
        "authorize_url": found.authorize,
        "token_url": found.token,
        "issuer": found.issuer,
        "issuer_required": found.says_issuer,
        "scopes": issued.askable(server.scopes.as_ref().unwrap_or(&found.scopes).clone()),
        // It asks for a refresh token, and is seldom named among what was granted.
        "ungranted_scopes": [OFFLINE],
        "authorize_params": resource,
        "token_params": resource,
        "refresh_params": resource,
    });
    if let Some(url) = &found.revoke {
        fields["revoke"] = json!({ "url": url });
    }
    if client.registered {
        // The registration is gone, and with it all that was granted to it.
        fields["terminal_errors"] = json!(GONE);
    }
    let mut service = Service::described(&server.id, &fields)?;
    service.client_auth.set(client.auth);
    if server.client.as_ref().is_none_or(|client| client.auth.is_none()) {
        service.other_auth = client::other_auth(&client, found);
    }
    service.client_secret = client.secret;
    service.issued = Some(issued);
    Ok(service)
}

fn row_id<'a>(identity: &'a [&'a str]) -> RowId<'a> {
    RowId { kind: RowKind::Discovery, identity }
}

/// For a refresh token (OpenID Connect Core 1.0 section 11).
const OFFLINE: &str = "offline_access";
/// Seconds that what was found may be old when a flow begins: it was found when its page was shown.
const A_MOMENT: u64 = 600;
const A_DAY: u64 = 86_400;
/// Seconds until another attempt if no server answered.
const LATER: u64 = 300;
