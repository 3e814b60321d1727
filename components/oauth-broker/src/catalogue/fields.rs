//! What may be written about a service, in the catalogue and in the settings?

use std::collections::BTreeMap;

use http::{HeaderName, HeaderValue, Method};
use serde::Deserialize;

use crate::secret::Secret;

/// The fields as they are written; [`super`] says what each means.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    pub client_id: Option<String>,
    pub client_secret: Option<Secret>,
    pub name: Option<String>,
    pub variables: Option<BTreeMap<String, String>>,
    pub authorize_url: Option<String>,
    pub token_url: Option<String>,
    pub refresh_url: Option<String>,
    pub issuer: Option<String>,
    pub issuer_required: Option<bool>,
    pub client_auth: Option<ClientAuth>,
    pub token_body: Option<TokenBody>,
    pub pkce: Option<Pkce>,
    pub scopes: Option<Vec<String>>,
    pub scope_parameter: Option<String>,
    pub scope_separator: Option<String>,
    pub granted_separator: Option<String>,
    pub scope_aliases: Option<BTreeMap<String, String>>,
    pub ungranted_scopes: Option<Vec<String>>,
    pub authorize_params: Option<BTreeMap<String, String>>,
    pub token_params: Option<BTreeMap<String, String>>,
    pub refresh_params: Option<BTreeMap<String, String>>,
    pub success_field: Option<String>,
    pub token_at: Option<String>,
    pub token_type: Option<String>,
    pub lifetime_unit: Option<LifetimeUnit>,
    pub default_lifetime: Option<u64>,
    pub extra: Option<BTreeMap<String, String>>,
    pub terminal_errors: Option<Vec<String>>,
    pub misconfigured_errors: Option<Vec<String>>,
    pub revoke: Option<RevokeFields>,
    pub whoami: Option<WhoamiFields>,
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

impl Fields {
    /// These fields, and where one is not given, that of `row`. Tokens of another server than the catalogue's are not
    /// shown to the catalogue's: with an own `token_url`, no other URL that takes a token is taken over.
    pub fn over(self, mut row: Self) -> Self {
        if self.token_url.is_some() {
            (row.refresh_url, row.revoke, row.whoami, row.issuer) = (None, None, None, None);
        }
        Self {
            client_id: self.client_id,
            client_secret: self.client_secret,
            name: self.name.or(row.name),
            variables: self.variables.or(row.variables),
            authorize_url: self.authorize_url.or(row.authorize_url),
            token_url: self.token_url.or(row.token_url),
            refresh_url: self.refresh_url.or(row.refresh_url),
            issuer: self.issuer.or(row.issuer),
            issuer_required: self.issuer_required.or(row.issuer_required),
            client_auth: self.client_auth.or(row.client_auth),
            token_body: self.token_body.or(row.token_body),
            pkce: self.pkce.or(row.pkce),
            scopes: self.scopes.or(row.scopes),
            scope_parameter: self.scope_parameter.or(row.scope_parameter),
            scope_separator: self.scope_separator.or(row.scope_separator),
            granted_separator: self.granted_separator.or(row.granted_separator),
            scope_aliases: self.scope_aliases.or(row.scope_aliases),
            ungranted_scopes: self.ungranted_scopes.or(row.ungranted_scopes),
            authorize_params: self.authorize_params.or(row.authorize_params),
            token_params: self.token_params.or(row.token_params),
            refresh_params: self.refresh_params.or(row.refresh_params),
            success_field: self.success_field.or(row.success_field),
            token_at: self.token_at.or(row.token_at),
            token_type: self.token_type.or(row.token_type),
            lifetime_unit: self.lifetime_unit.or(row.lifetime_unit),
            default_lifetime: self.default_lifetime.or(row.default_lifetime),
            extra: self.extra.or(row.extra),
            terminal_errors: self.terminal_errors.or(row.terminal_errors),
            misconfigured_errors: self.misconfigured_errors.or(row.misconfigured_errors),
            revoke: self.revoke.or(row.revoke),
            whoami: self.whoami.or(row.whoami),
        }
    }
}
