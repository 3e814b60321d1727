//! Reads an entry of `oauth_clients` that names an MCP server.

use std::collections::BTreeMap;

use http_auth::scope::ASKED_FOR;
use serde_json::value::RawValue;
use url::Url;

use super::client;
use super::guard::Named;
use crate::catalogue::{ClientAuth, Endpoint, SCOPES};
use crate::names::ServiceId;
use sealing::Secret;

/// An entry of `oauth_clients` that has `mcp_server`.
#[derive(Debug)]
pub struct McpServer {
    pub id: ServiceId,
    pub name: String,
    /// The URL that MCP requests go to.
    pub url: Url,
    /// In place of those that the server calls for.
    pub scopes: Option<Vec<String>>,
    /// The client that the operator has registered at the authorization server.
    pub client: Option<Preregistered>,
    /// The only authorization server that may be used.
    pub issuer: Option<String>,
    /// The server's own host, and those that the operator vouches for beside it.
    pub hosts: Vec<Named>,
    /// Further hosts that strangers may lead to. They do not belong to this service, as those in `hosts` do.
    pub internal: Vec<Named>,
}

#[derive(Debug)]
pub struct Preregistered {
    pub id: String,
    pub secret: Option<Secret>,
    /// How it authenticates, in place of what the metadata let choose.
    pub auth: Option<ClientAuth>,
}

impl McpServer {
    /// Errors: what is wrong, without a value.
    pub(crate) fn read(
        id: &ServiceId,
        fields: &BTreeMap<String, &RawValue>,
        internal: Vec<Named>,
    ) -> Result<Self, String> {
        let known = ["mcp_server", "name", "scopes", "client_id", "client_secret", AUTH_METHOD, "issuer", "hosts"]
            .map(str::to_owned);
        if let Some(unknown) = fields.keys().find(|name| !known.contains(name)) {
            return Err(format!("unknown field `{}`, expected one of {}", unknown.escape_default(), known.join(", ")));
        }
        let url = Endpoint::parse(&text(fields, "mcp_server")?.unwrap_or_default());
        let url = url.map_err(|error| format!("`mcp_server`: {error}"))?.url().clone();
        let hosts = texts(fields, "hosts")?.unwrap_or_default();
        let hosts: Option<Vec<Named>> = hosts.iter().map(|host| Named::parse(host)).collect();
        let mut hosts = hosts.ok_or("`hosts` has one that is no host, such as auth.example.com or 10.0.0.5:8443")?;
        hosts.extend(Named::of(&url));
        let scopes = texts(fields, "scopes")?;
        if !scopes.as_ref().is_none_or(|scopes| ASKED_FOR.hold(scopes)) {
            return Err(SCOPES.to_owned());
        }
        let secret = text(fields, "client_secret")?.filter(|secret| !secret.is_empty()).map(Secret::from);
        let auth =
            match text(fields, AUTH_METHOD)? {
                Some(name) => Some(client::auth_of(&name).ok_or_else(|| {
                    format!("`{AUTH_METHOD}` has to be client_secret_basic, client_secret_post or none")
                })?),
                None => None,
            };
        let client = match (text(fields, "client_id")?.filter(|id| !id.is_empty()), secret, auth) {
            (Some(id), secret, auth) => Some(Preregistered { id, secret, auth }),
            (None, Some(_), _) => return Err("`client_secret` is of no use without `client_id`".to_owned()),
            (None, None, Some(_)) => return Err(format!("`{AUTH_METHOD}` is of no use without `client_id`")),
            (None, None, None) => None,
        };
        Ok(Self {
            name: text(fields, "name")?.unwrap_or_else(|| id.to_string()),
            id: id.clone(),
            url,
            scopes,
            client,
            issuer: text(fields, "issuer")?,
            hosts,
            internal,
        })
    }
}

impl McpServer {
    /// Returns true if the operator has written the host and port of `url`.
    pub(super) fn names(&self, url: &Url) -> bool {
        self.hosts.iter().chain(&self.internal).any(|named| named.is(url))
    }
}

fn text(fields: &BTreeMap<String, &RawValue>, name: &str) -> Result<Option<String>, String> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    serde_json::from_slice(value.get().as_bytes()).map(Some).map_err(|_| format!("`{name}` is not text"))
}

fn texts(fields: &BTreeMap<String, &RawValue>, name: &str) -> Result<Option<Vec<String>>, String> {
    let Some(value) = fields.get(name) else { return Ok(None) };
    serde_json::from_slice(value.get().as_bytes()).map(Some).map_err(|_| format!("`{name}` is not a list of texts"))
}

const AUTH_METHOD: &str = "token_endpoint_auth_method";
