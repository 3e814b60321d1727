//! Describes one service, whose row is read and checked.

use std::cell::Cell;
use std::collections::BTreeMap;

use http::{HeaderName, Method};
use http_auth::scope::ASKED_FOR;
use serde_json::value::RawValue;

use super::endpoint::{Address, Endpoint, Variables};
use super::fields::{
    AnswerPaths, Body, CallAuth, CallFields, ClientAuth, Fields, LifetimeUnit, Pkce, RefreshLifetime, Rotation,
};
use super::{Issued, fields, over_catalogue, setting};
use crate::maps::map_of;
use crate::names::ServiceId;
use crate::settings::{SettingError, json_problem};
use sealing::Secret;

/// A service that this installation offers: its client, and how its provider speaks.
#[derive(Debug)]
pub struct Service {
    pub id: ServiceId,
    pub name: String,
    pub client_id: String,
    pub client_secret: Option<Secret>,
    pub variables: BTreeMap<String, String>,
    pub allowed: BTreeMap<String, Vec<String>>,
    pub authorize_url: Endpoint,
    pub token_url: Address,
    pub refresh_url: Address,
    /// Where OAuth 1.0a begins.
    pub request_token_url: Option<Endpoint>,
    pub issuer: Option<String>,
    pub issuer_required: bool,
    /// How the client authenticates: where it is not known for sure, as the provider last accepted it.
    pub client_auth: Cell<ClientAuth>,
    /// The method to try if the provider does not accept that.
    pub other_auth: Option<ClientAuth>,
    /// True if the catalogue knows this very server.
    pub is_catalogues: bool,
    pub token_body: Body,
    pub pkce: Pkce,
    pub rename: BTreeMap<String, String>,
    pub scopes: Vec<String>,
    pub scope_parameter: String,
    pub scope_separator: String,
    pub granted_separator: String,
    pub scope_aliases: BTreeMap<String, String>,
    pub ungranted_scopes: Vec<String>,
    pub authorize_params: BTreeMap<String, String>,
    pub token_params: BTreeMap<String, String>,
    pub refresh_params: BTreeMap<String, String>,
    pub code_parameter: String,
    pub callback_expect: BTreeMap<String, String>,
    pub callback_hmac: bool,
    pub exchange_again: Option<Call>,
    pub renew: Option<Call>,
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
    pub revoke: Option<Call>,
    pub shared_grant: bool,
    pub whoami: Option<Whoami>,
    /// Its issuer and client, which its grants remember, if it was discovered.
    pub issued: Option<Issued>,
}

/// A call beside the token requests. `{…}` in the URL, the headers and the parameters is filled in when it is made.
#[derive(Debug)]
pub struct Call {
    pub url: Address,
    pub method: Method,
    pub auth: CallAuth,
    pub headers: Vec<(HeaderName, String)>,
    pub send: Body,
    pub params: BTreeMap<String, String>,
    pub body: String,
}

#[derive(Debug)]
pub struct Whoami {
    /// `None` if the token answer names the account.
    pub call: Option<Call>,
    pub id: Vec<String>,
    pub account: Vec<String>,
    pub extra: BTreeMap<String, String>,
}

impl Service {
    pub(crate) fn read(id: &ServiceId, entry: &RawValue) -> Result<Self, SettingError> {
        let wrong = |what: &str| setting(format!("`{id}`: {what}"));
        let mut fields = fields(entry.get()).map_err(|error| wrong(&json_problem(&error)))?;
        let is_elsewhere = fields.token_url.is_some();
        let row = over_catalogue(id, entry);
        let is_catalogues = row.is_some() && !is_elsewhere;
        if let Some(row) = row {
            fields = row.map_err(|error| wrong(&json_problem(&error)))?;
        }
        let service = Self::of(id, fields).map_err(|what| wrong(&what))?;
        Ok(Self { is_catalogues, ..service })
    }

    /// A service whose fields were found elsewhere than in the settings.
    pub(crate) fn described(id: &ServiceId, described: &serde_json::Value) -> Result<Self, SettingError> {
        let wrong = |what: &str| setting(format!("`{id}`: {what}"));
        let described = serde_json::to_string(described).unwrap_or_default();
        let fields = fields(&described).map_err(|error| wrong(&json_problem(&error)))?;
        Self::of(id, fields).map_err(|what| wrong(&what))
    }

    // Longer than sixty lines: one line for each field.
    fn of(id: &ServiceId, mut fields: Fields) -> Result<Self, String> {
        let client_id = std::mem::take(&mut fields.client_id);
        if client_id.is_empty() {
            return Err("`client_id` is missing".into());
        }
        if !ASKED_FOR.hold(&fields.scopes) {
            return Err(SCOPES.into());
        }
        if let Some(name) = fields.authorize_params.keys().find(|name| OURS.contains(&name.as_str())) {
            return Err(format!("`authorize_params` may not set `{name}`"));
        }
        let tells = fields.whoami.as_mut().map(|whoami| std::mem::take(&mut whoami.extra)).unwrap_or_default();
        let later: Vec<&str> = fields.extra.keys().chain(tells.keys()).map(String::as_str).collect();
        let templates =
            Templates { client_id: &client_id, set: &fields.variables, allowed: &fields.allowed, later: &later };
        let needed = |field: &str| format!("`{field}` is missing, and the catalogue has none for it");
        let token_url = fields.token_url.as_ref().ok_or_else(|| needed("token_url"))?;
        let token_url = templates.address("token_url", token_url)?;
        Ok(Self {
            name: fields.name.unwrap_or_else(|| id.to_string()),
            authorize_url: templates
                .endpoint("authorize_url", fields.authorize_url.as_ref().ok_or_else(|| needed("authorize_url"))?)?,
            refresh_url: match &fields.refresh_url {
                Some(template) => templates.address("refresh_url", template)?,
                None => token_url.clone(),
            },
            token_url,
            request_token_url: match &fields.request_token_url {
                Some(template) => Some(templates.endpoint("request_token_url", template)?),
                None => None,
            },
            issuer: fields.issuer,
            issuer_required: fields.issuer_required,
            client_auth: Cell::new(fields.client_auth),
            other_auth: None,
            is_catalogues: false,
            token_body: fields.token_body,
            pkce: fields.pkce,
            rename: fields.rename,
            scopes: fields.scopes,
            scope_parameter: fields.scope_parameter,
            scope_separator: fields.scope_separator,
            granted_separator: fields.granted_separator,
            scope_aliases: fields.scope_aliases,
            ungranted_scopes: fields.ungranted_scopes,
            authorize_params: fields.authorize_params,
            token_params: fields.token_params,
            refresh_params: fields.refresh_params,
            code_parameter: fields.code_parameter,
            callback_expect: fields.callback_expect,
            callback_hmac: fields.callback_hmac,
            exchange_again: match fields.exchange_again {
                Some(again) => Some(templates.call("exchange_again", again, Method::POST, CallAuth::None)?),
                None => None,
            },
            renew: match fields.renew {
                Some(renew) => Some(templates.call("renew", renew, Method::POST, CallAuth::None)?),
                None => None,
            },
            success_field: fields.success_field,
            error_at: fields.error_at,
            token_at: fields.token_at.filter(|path| !path.is_empty()),
            answer: fields.answer,
            token_type: fields.token_type,
            lifetime_unit: fields.lifetime_unit,
            default_lifetime: fields.default_lifetime,
            rotation: fields.rotation,
            refresh_lifetime: fields.refresh_lifetime,
            terminal_errors: fields.terminal_errors,
            consent_errors: fields.consent_errors,
            retry_errors: fields.retry_errors,
            misconfigured_errors: fields.misconfigured_errors,
            revoke: match fields.revoke {
                Some(revoke) => Some(templates.revoke(revoke, fields.token_body)?),
                None => None,
            },
            shared_grant: fields.shared_grant,
            whoami: match fields.whoami {
                Some(whoami) => Some(templates.whoami(whoami, tells.clone())?),
                None => None,
            },
            client_secret: fields.client_secret.filter(|secret| !secret.reveal().is_empty()),
            issued: None,
            extra: fields.extra,
            variables: fields.variables,
            allowed: fields.allowed,
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

    /// Returns true if the provider posts its answer to the callback, from its own site (OAuth 2.0 Form Post Response Mode).
    pub fn posts_back(&self) -> bool {
        self.authorize_params.get("response_mode").is_some_and(|mode| mode == "form_post")
    }

    /// Returns true if a code is bound to its flow by PKCE.
    pub fn proves_key(&self) -> bool {
        match self.pkce {
            Pkce::S256 | Pkce::Lowercase | Pkce::Hex => true,
            Pkce::Public => self.client_secret.is_none(),
            Pkce::None => false,
        }
    }

    /// Returns true if a claim of an id token is kept.
    pub fn reads_id_token(&self) -> bool {
        self.extra.values().any(|path| path.contains("id_token."))
    }

    /// The provider's name for a parameter of the standard. `None` if it wants no such parameter.
    pub fn renamed<'a>(&'a self, name: &'a str) -> Option<&'a str> {
        Some(self.rename.get(name).map_or(name, String::as_str)).filter(|name| !name.is_empty())
    }
}

/// Fills in the URL templates of a row.
struct Templates<'f> {
    client_id: &'f str,
    set: &'f BTreeMap<String, String>,
    allowed: &'f BTreeMap<String, Vec<String>>,
    /// Names of values that come with a grant.
    later: &'f [&'f str],
}

impl Templates<'_> {
    fn read(&self, field: &str, template: &str, later: &[&str]) -> Result<Address, String> {
        let Self { client_id, set, allowed, .. } = *self;
        Address::read(template, &Variables { client_id, set, allowed, later })
            .map_err(|error| format!("`{field}`: {error}"))
    }

    fn address(&self, field: &str, template: &str) -> Result<Address, String> {
        self.read(field, template, self.later)
    }

    fn endpoint(&self, field: &str, template: &str) -> Result<Endpoint, String> {
        let address = self.read(field, template, &[])?;
        address.endpoint(self.allowed, &|_| None).map_err(|error| format!("`{field}`: {error}"))
    }

    fn call(&self, field: &str, call: CallFields, method: Method, auth: CallAuth) -> Result<Call, String> {
        Ok(Call {
            url: self.address(&format!("{field}.url"), &call.url)?,
            method: call.method(method).ok_or_else(|| format!("`{field}.method` is no method"))?,
            headers: call.headers().ok_or_else(|| format!("`{field}.headers` has a name that is none"))?,
            auth: call.auth.unwrap_or(auth),
            send: call.send.unwrap_or_default(),
            params: call.params.unwrap_or_default(),
            body: call.body,
        })
    }

    /// The call that ends a grant: the request of RFC 7009 section 2.1 unless the row says otherwise.
    fn revoke(&self, mut revoke: CallFields, token_body: Body) -> Result<Call, String> {
        if revoke.auth.is_none_or(|auth| auth == CallAuth::Client) {
            let usual = [("token", "{token}"), ("token_type_hint", "{token_kind}")];
            let usual = || map_of(usual.map(|(name, value)| (name.to_owned(), value.to_owned())));
            revoke.params.get_or_insert_with(usual);
            revoke.send.get_or_insert(token_body);
        }
        self.call("revoke", revoke, Method::POST, CallAuth::Client)
    }

    fn whoami(&self, mut whoami: CallFields, extra: BTreeMap<String, String>) -> Result<Whoami, String> {
        let (id, account) = (std::mem::take(&mut whoami.id), std::mem::take(&mut whoami.account));
        let call = (!whoami.url.is_empty()).then(|| self.call("whoami", whoami, Method::GET, CallAuth::Bearer));
        Ok(Whoami { call: call.transpose()?, id, account, extra })
    }
}

/// What is wrong with `scopes` that are not [`ASKED_FOR`].
pub const SCOPES: &str =
    "`scopes` are at most 128, each of at most 256 letters of RFC 6749 section 3.3 (no space), and 4 KiB in all";

/// The parameters of a redirect to the provider (RFC 6749 section 4.1.1, RFC 7636 section 4.3): never a row's to set.
const OURS: [&str; 7] =
    ["client_id", "code_challenge", "code_challenge_method", "redirect_uri", "response_type", "scope", "state"];
