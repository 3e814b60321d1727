//! What may be written about a service, in the catalogue and in the settings?

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;

use crate::secret::Secret;

/// The fields as they are written; [`super`] says what each means.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    pub client_id: String,
    pub client_secret: Option<Secret>,
    pub name: Option<String>,
    pub variables: BTreeMap<String, String>,
    pub authorize_url: Option<String>,
    pub token_url: Option<String>,
    pub refresh_url: Option<String>,
    pub issuer: Option<String>,
    pub issuer_required: bool,
    pub client_auth: ClientAuth,
    pub token_body: TokenBody,
    pub pkce: Pkce,
    pub scopes: Vec<String>,
    #[serde(default = "code")]
    pub code_parameter: String,
    #[serde(default = "scope")]
    pub scope_parameter: String,
    #[serde(default = "space")]
    pub scope_separator: String,
    #[serde(default = "space")]
    pub granted_separator: String,
    pub scope_aliases: BTreeMap<String, String>,
    pub ungranted_scopes: Vec<String>,
    pub authorize_params: BTreeMap<String, String>,
    pub token_params: BTreeMap<String, String>,
    pub refresh_params: BTreeMap<String, String>,
    pub success_field: Option<String>,
    pub token_at: Option<String>,
    pub token_type: Option<String>,
    pub lifetime_unit: LifetimeUnit,
    pub default_lifetime: Option<u64>,
    pub extra: BTreeMap<String, String>,
    pub terminal_errors: Vec<String>,
    pub misconfigured_errors: Vec<String>,
    pub revoke: Option<RevokeFields>,
    pub whoami: Option<WhoamiFields>,
}

fn code() -> String {
    "code".to_owned()
}

fn scope() -> String {
    "scope".to_owned()
}

fn space() -> String {
    " ".to_owned()
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    #[default]
    Basic,
    Post,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TokenBody {
    #[default]
    Form,
    Json,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pkce {
    #[default]
    S256,
    None,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifetimeUnit {
    #[default]
    Seconds,
    Milliseconds,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RevokeStyle {
    /// A form with the token, from the authenticated client (RFC 7009 section 2.1).
    #[default]
    Rfc7009,
    /// DELETE with the client's password and the access token in JSON.
    Github,
    /// POST, authorised by the token itself.
    Bearer,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RevokeFields {
    pub url: String,
    #[serde(default)]
    pub style: RevokeStyle,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WhoamiFields {
    pub url: String,
    #[serde(default)]
    method: Option<String>,
    #[serde(default)]
    pub body: String,
    #[serde(default)]
    headers: BTreeMap<String, String>,
    pub account: Vec<String>,
}

impl WhoamiFields {
    pub fn method(&self) -> Option<Method> {
        self.method.as_deref().map_or(Some(Method::GET), |method| Method::from_bytes(method.as_bytes()).ok())
    }

    pub fn headers(&self) -> Option<Vec<(HeaderName, HeaderValue)>> {
        let header = |(name, value): (&String, &String)| Some((name.parse().ok()?, value.parse().ok()?));
        self.headers.iter().map(header).collect()
    }
}
