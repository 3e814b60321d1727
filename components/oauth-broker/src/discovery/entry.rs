//! What does an operator write about an MCP server?

use std::collections::BTreeMap;

use serde_json::value::RawValue;
use url::Url;

use super::client;
use crate::catalogue::{ClientAuth, Endpoint};
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
    /// What the operator has registered at the authorization server.
    pub client: Option<Preregistered>,
    /// The only authorization server that may be used.
    pub issuer: Option<String>,
    /// The server's own host, and those that the operator vouches for beside it.
    pub hosts: Vec<String>,
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
    pub(crate) fn read(id: &ServiceId, fields: &BTreeMap<String, &RawValue>) -> Result<Self, String> {
        let known = ["mcp_server", "name", "scopes", "client_id", "client_secret", AUTH_METHOD, "issuer", "hosts"]
            .map(str::to_owned);
        if let Some(unknown) = fields.keys().find(|name| !known.contains(name)) {
            return Err(format!("unknown field `{}`, expected one of {}", unknown.escape_default(), known.join(", ")));
        }
        let url = Endpoint::parse(&text(fields, "mcp_server")?.unwrap_or_default());
        let url = url.map_err(|error| format!("`mcp_server`: {error}"))?.url().clone();
        let mut hosts = texts(fields, "hosts")?.unwrap_or_default();
        let is_host = |host: &String| {
            Url::parse(&format!("https://{host}/")).is_ok_and(|url| url.host_str() == Some(host.as_str()))
        };
        if !hosts.iter().all(is_host) {
            return Err("`hosts` has one that is no host, such as auth.example.com".to_owned());
        }
        hosts.extend(url.host_str().map(str::to_owned));
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
            scopes: texts(fields, "scopes")?,
            client,
            issuer: text(fields, "issuer")?,
            hosts,
        })
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
