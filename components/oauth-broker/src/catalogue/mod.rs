//! Which services are there, and what is special about each?
//!
//! A service is offered when `oauth_clients` has a client for it. What its row leaves out is looked up in
//! `catalogue.json`, one readable file that is compiled in; a service that the catalogue does not know works by its
//! URLs alone. Only the row that a request needs is parsed.
//!
//! ```json
//! {"github": {"client_id": "…", "client_secret": "…", "scopes": ["repo"]},
//!  "forge":  {"client_id": "…", "authorize_url": "https://…", "token_url": "https://…"}}
//! ```
//!
//! The fields, in `catalogue.json` and in `oauth_clients` alike; a field that is given in the settings replaces the
//! catalogue's whole, and an own `token_url` sets `refresh_url`, `issuer`, `revoke` and `whoami` aside. An unknown field
//! is an error that names it.
//!
//! | field | default | meaning |
//! |---|---|---|
//! | `client_id`, `client_secret` | | settings only; without a secret the client is public (RFC 6749 section 2.1) |
//! | `name` | the id | what people call it |
//! | `variables` | `{}` | what `{…}` in the URLs stands for; `{client_id}` is always there |
//! | `authorize_url`, `token_url` | needed | the provider's endpoints |
//! | `refresh_url` | `token_url` | where to refresh |
//! | `issuer` | | what `iss` in the callback has to be (RFC 9207) |
//! | `issuer_required` | `false` | a callback without `iss` is refused |
//! | `client_auth` | `basic` | how the client authenticates: `basic`, `post` |
//! | `token_body` | `form` | the token request's body: `form`, `json` |
//! | `pkce` | `s256` | `none` where the provider refuses it |
//! | `scopes` | `[]` | what to ask for |
//! | `scope_parameter` | `scope` | its name in the authorize URL; empty: scopes are the app's |
//! | `code_parameter` | `code` | the callback's parameter that is to be exchanged |
//! | `scope_separator` | space | between the scopes asked for |
//! | `granted_separator` | space | between the scopes of the answer, beside spaces |
//! | `scope_aliases` | `{}` | scope asked for → the name under which it is granted |
//! | `ungranted_scopes` | `[]` | never listed among the granted, so never missing |
//! | `authorize_params`, `token_params`, `refresh_params` | `{}` | further parameters of each request |
//! | `success_field` | | a field of the answer that is `true` unless it is an error |
//! | `token_at` | the top | path of the object of the answer that holds the tokens |
//! | `token_type` | the answer's | how the token is sent, whatever the answer says |
//! | `lifetime_unit` | `seconds` | of `expires_in`: `seconds`, `milliseconds` |
//! | `default_lifetime` | none | seconds, where the answer does not say |
//! | `extra` | `{}` | values of the answer to keep beside the token: name → path |
//! | `terminal_errors` | `[]` | errors that end a grant, beside `invalid_grant` |
//! | `misconfigured_errors` | `[]` | errors of the client's registration, beside `invalid_client` |
//! | `revoke` | none | `url`, and `style`: `rfc7009`, `github` (DELETE with the client's password), `bearer` (POST with the token) |
//! | `whoami` | none | `url`, `method`, `body`, `headers`, and `account`: the paths at which a label may be |
//!
//! A path is names with dots between: `authed_user.id`.

mod endpoint;
mod fields;

use std::collections::BTreeMap;

use serde_json::value::RawValue;

pub use endpoint::Endpoint;
pub use fields::{ClientAuth, LifetimeUnit, Pkce, RevokeStyle, TokenBody};

use crate::Broker;
use crate::host::Host;
use crate::names::ServiceId;
use crate::secret::Secret;
use crate::settings::SettingError;
use fields::Fields;

/// A service that this installation offers: its client, and how its provider speaks.
#[derive(Debug)]
pub struct Service {
    pub id: ServiceId,
    pub name: String,
    pub client_id: String,
    pub client_secret: Option<Secret>,
    pub authorize_url: Endpoint,
    pub token_url: Endpoint,
    pub refresh_url: Endpoint,
    pub issuer: Option<String>,
    pub issuer_required: bool,
    pub client_auth: ClientAuth,
    pub token_body: TokenBody,
    pub pkce: Pkce,
    pub scopes: Vec<String>,
    pub code_parameter: String,
    pub scope_parameter: String,
    pub scope_separator: String,
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
    pub revoke: Option<Revoke>,
    pub whoami: Option<Whoami>,
}

#[derive(Debug)]
pub struct Revoke {
    pub style: RevokeStyle,
    pub url: Endpoint,
}

#[derive(Debug)]
pub struct Whoami {
    pub url: Endpoint,
    pub method: http::Method,
    pub body: String,
    pub headers: Vec<(http::HeaderName, http::HeaderValue)>,
    pub account: Vec<String>,
}

impl<H: Host> Broker<'_, H> {
    /// The service of that id; none when it is not offered.
    pub(crate) async fn service(&self, id: &ServiceId) -> Result<Option<Service>, SettingError> {
        let clients = entries(self.settings.oauth_clients())?;
        let Some(entry) = clients.get(id.as_str()) else { return Ok(None) };
        Service::read(id, entry).map(Some)
    }

    /// All services that are offered, by id.
    pub(crate) fn services(&self) -> Result<Vec<Service>, SettingError> {
        let clients = entries(self.settings.oauth_clients())?;
        let service = |(id, entry): (&String, &&RawValue)| {
            let id = ServiceId::parse(id).map_err(|error| setting(format!("`{}`: {error}", id.escape_default())))?;
            Service::read(&id, entry)
        };
        clients.iter().map(service).collect()
    }
}

impl Service {
    fn read(id: &ServiceId, entry: &RawValue) -> Result<Self, SettingError> {
        let wrong = |what: &str| setting(format!("`{id}`: {what}"));
        let mut fields = fields(entry.get()).map_err(|error| wrong(&without_values(&error)))?;
        if let Some(row) = over_catalogue(id, entry) {
            fields = row.map_err(|error| wrong(&without_values(&error)))?;
        }
        let client_id = fields.client_id;
        if client_id.is_empty() {
            return Err(wrong("`client_id` is missing"));
        }
        let endpoint = |field: &str, template: &str| {
            endpoint::fill(template, &client_id, &fields.variables)
                .and_then(|url| Endpoint::parse(&url))
                .map_err(|error| wrong(&format!("`{field}`: {error}")))
        };
        let needed = |field: &str, template: Option<&String>| match template {
            Some(template) => endpoint(field, template),
            None => Err(wrong(&format!("`{field}` is missing, and the catalogue has no such service"))),
        };
        let token_url = needed("token_url", fields.token_url.as_ref())?;
        if let Some(name) = fields.authorize_params.keys().find(|name| OURS.contains(&name.as_str())) {
            return Err(wrong(&format!("`authorize_params` may not set `{name}`")));
        }
        Ok(Self {
            name: fields.name.unwrap_or_else(|| id.to_string()),
            authorize_url: needed("authorize_url", fields.authorize_url.as_ref())?,
            refresh_url: match &fields.refresh_url {
                Some(template) => endpoint("refresh_url", template)?,
                None => token_url.clone(),
            },
            token_url,
            issuer: fields.issuer,
            issuer_required: fields.issuer_required,
            client_auth: fields.client_auth,
            token_body: fields.token_body,
            pkce: fields.pkce,
            scopes: fields.scopes,
            code_parameter: fields.code_parameter,
            scope_parameter: fields.scope_parameter,
            scope_separator: fields.scope_separator,
            granted_separator: fields.granted_separator,
            scope_aliases: fields.scope_aliases,
            ungranted_scopes: fields.ungranted_scopes,
            authorize_params: fields.authorize_params,
            token_params: fields.token_params,
            refresh_params: fields.refresh_params,
            success_field: fields.success_field,
            token_at: fields.token_at.filter(|path| !path.is_empty()),
            token_type: fields.token_type,
            lifetime_unit: fields.lifetime_unit,
            default_lifetime: fields.default_lifetime,
            extra: fields.extra,
            terminal_errors: fields.terminal_errors,
            misconfigured_errors: fields.misconfigured_errors,
            revoke: match fields.revoke {
                Some(revoke) => Some(Revoke { style: revoke.style, url: endpoint("revoke.url", &revoke.url)? }),
                None => None,
            },
            whoami: match fields.whoami {
                Some(whoami) => Some(Whoami {
                    url: endpoint("whoami.url", &whoami.url)?,
                    method: whoami.method().ok_or_else(|| wrong("`whoami.method` is no method"))?,
                    headers: whoami.headers().ok_or_else(|| wrong("`whoami.headers` has one that is no header"))?,
                    body: whoami.body,
                    account: whoami.account,
                }),
                None => None,
            },
            client_secret: fields.client_secret.filter(|secret| !secret.reveal().is_empty()),
            client_id,
            id: id.clone(),
        })
    }

    /// The scopes that were asked for and not granted.
    pub fn missing_scopes(&self, granted: &[String]) -> Vec<String> {
        let has = |scope: &String| {
            granted.contains(self.scope_aliases.get(scope).unwrap_or(scope)) || granted.contains(scope)
        };
        let counts = |scope: &&String| !self.ungranted_scopes.contains(scope) && !has(scope);
        if self.scope_parameter.is_empty() { Vec::new() } else { self.scopes.iter().filter(counts).cloned().collect() }
    }
}

/// What a redirect to the provider consists of (RFC 6749 section 4.1.1, RFC 7636 section 4.3): never a row's to set.
const OURS: [&str; 7] =
    ["client_id", "code_challenge", "code_challenge_method", "redirect_uri", "response_type", "scope", "state"];

/// The services of a text by their ids, each still to be read.
fn entries(text: &str) -> Result<BTreeMap<String, &RawValue>, SettingError> {
    serde_json::from_slice(text.as_bytes()).map_err(|error| setting(without_values(&error)))
}

fn fields(text: &str) -> Result<Fields, serde_json::Error> {
    serde_json::from_slice(text.as_bytes())
}

/// The catalogue's row with the settings' fields laid over it; none where the catalogue has no such service. Tokens of
/// another server than the catalogue's are not shown to the catalogue's: with an own `token_url`, no other URL that takes
/// a token is taken over.
fn over_catalogue(id: &ServiceId, set: &RawValue) -> Option<Result<Fields, serde_json::Error>> {
    let catalogue = entries(CATALOGUE).ok()?;
    let mut row = entries(catalogue.get(id.as_str())?.get()).ok()?;
    let set = entries(set.get()).ok()?;
    if set.contains_key("token_url") {
        for url in ["refresh_url", "revoke", "whoami", "issuer"] {
            row.remove(url);
        }
    }
    row.extend(set);
    Some(serde_json::to_string(&row).and_then(|merged| fields(&merged)))
}

const CATALOGUE: &str = include_str!("../../catalogue.json");

fn setting(problem: String) -> SettingError {
    SettingError { setting: "oauth_clients", problem }
}

/// What serde says about a mistake quotes the value, which may be a client secret, unless it is about a field's name.
fn without_values(error: &serde_json::Error) -> String {
    let said = error.to_string();
    if ["unknown field", "missing field", "duplicate field", "unknown variant"]
        .iter()
        .any(|start| said.starts_with(start))
    {
        return said;
    }
    format!("not JSON of the expected form at line {} column {}", error.line(), error.column())
}
