//! Lists the fields of a service, in the catalogue and in the settings.

use std::collections::BTreeMap;

use http::{HeaderName, Method};
use serde::{Deserialize, Serialize};

use sealing::Secret;

/// The fields as they are written; [`super`] says what each means.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct Fields {
    pub client_id: String,
    pub client_secret: Option<Secret>,
    pub name: Option<String>,
    pub variables: BTreeMap<String, String>,
    pub allowed: BTreeMap<String, Vec<String>>,
    pub authorize_url: Option<String>,
    pub token_url: Option<String>,
    pub refresh_url: Option<String>,
    pub request_token_url: Option<String>,
    pub issuer: Option<String>,
    pub issuer_required: bool,
    #[serde(alias = "token_endpoint_auth_method")]
    pub client_auth: ClientAuth,
    pub token_body: Body,
    pub pkce: Pkce,
    pub rename: BTreeMap<String, String>,
    pub scopes: Vec<String>,
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
    #[serde(default = "code")]
    pub code_parameter: String,
    pub callback_expect: BTreeMap<String, String>,
    pub callback_hmac: bool,
    pub exchange_again: Option<CallFields>,
    pub renew: Option<CallFields>,
    pub success_field: Option<String>,
    pub error_at: Vec<String>,
    pub token_at: Option<String>,
    pub answer: AnswerPaths,
    pub token_type: Option<String>,
    pub lifetime_unit: LifetimeUnit,
    pub default_lifetime: Option<u64>,
    pub rotation: Option<Rotation>,
    pub refresh_lifetime: RefreshLifetime,
    pub extra: BTreeMap<String, String>,
    pub terminal_errors: Vec<String>,
    pub consent_errors: Vec<String>,
    pub retry_errors: Vec<String>,
    pub misconfigured_errors: Vec<String>,
    pub revoke: Option<CallFields>,
    pub shared_grant: bool,
    pub whoami: Option<CallFields>,
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

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClientAuth {
    #[default]
    #[serde(alias = "client_secret_basic")]
    Basic,
    BasicRaw,
    #[serde(alias = "client_secret_post")]
    Post,
    SecretAsUser,
    None,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Body {
    #[default]
    Form,
    Json,
    /// In the URL, for calls that are a GET.
    Query,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Pkce {
    #[default]
    #[serde(alias = "required")]
    S256,
    /// The method's name in lower case.
    Lowercase,
    /// The digest in hexadecimal instead of base64url.
    Hex,
    /// Only from a client without a secret.
    Public,
    #[serde(alias = "reject")]
    None,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LifetimeUnit {
    #[default]
    Seconds,
    Milliseconds,
}

/// The fate of a refresh token that was used.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Rotation {
    /// A new one comes and the old dies at once.
    Rotates,
    /// A new one may come; the old lives on for a while.
    Rolls,
    /// It stays as it is.
    Fixed,
    /// There are no refresh tokens.
    None,
}

/// Seconds that a refresh token lives without being used, and in all.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RefreshLifetime {
    pub idle: Option<u64>,
    pub absolute: Option<u64>,
}

/// The paths of the values in the answer.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AnswerPaths {
    pub access_token: String,
    pub refresh_token: String,
    pub token_type: String,
    pub expires_in: String,
    pub expires_at: String,
    pub refresh_expires_in: String,
    pub scope: String,
}

impl Default for AnswerPaths {
    fn default() -> Self {
        let own = str::to_owned;
        Self {
            access_token: own("access_token"),
            refresh_token: own("refresh_token"),
            token_type: own("token_type"),
            expires_in: own("expires_in"),
            expires_at: own("expires_at"),
            refresh_expires_in: own("refresh_token_expires_in|refresh_expires_in|x_refresh_token_expires_in"),
            scope: own("scope"),
        }
    }
}

/// A call beside the token requests; the last three are for `whoami`.
#[derive(Deserialize, Default)]
#[serde(deny_unknown_fields, default)]
pub struct CallFields {
    pub url: String,
    pub method: Option<String>,
    pub auth: Option<CallAuth>,
    pub headers: BTreeMap<String, String>,
    pub send: Option<Body>,
    pub params: Option<BTreeMap<String, String>>,
    pub body: String,
    pub id: Vec<String>,
    pub account: Vec<String>,
    pub extra: BTreeMap<String, String>,
}

/// How a call is authorised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallAuth {
    /// As the client is at the token endpoint.
    Client,
    /// By the client's id and secret as user and password.
    Basic,
    /// By the access token.
    Bearer,
    None,
}

impl CallFields {
    pub fn method(&self, usual: Method) -> Option<Method> {
        self.method.as_deref().map_or(Some(usual), |method| Method::from_bytes(method.as_bytes()).ok())
    }

    pub fn headers(&self) -> Option<Vec<(HeaderName, String)>> {
        self.headers.iter().map(|(name, value)| Some((name.parse().ok()?, value.clone()))).collect()
    }
}
