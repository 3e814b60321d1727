//! Knows the OAuth services: reads the row of each from `catalogue.json` and the setting `oauth_clients`.
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
//! An entry with `mcp_server` is none of these: [`crate::discovery`] says what may be in it.
//!
//! The fields, in `catalogue.json` and in `oauth_clients` alike; a field that is given in the settings replaces the
//! catalogue's whole (`variables`: one by one), and an own `token_url` sets every other URL of the row aside: tokens, codes and secrets of another
//! server than the catalogue's are not shown to the catalogue's, nor the other way round. An unknown field is an error
//! that names it.
//!
//! | field | default | meaning |
//! |---|---|---|
//! | `client_id`, `client_secret` | | settings only; without a secret the client is public (RFC 6749 section 2.1) |
//! | `name` | the id | what people call it |
//! | `variables` | `{}` | what `{…}` in the URLs stands for; `{client_id}` is always there |
//! | `allowed` | `{}` | variable → what it may be; in each, `*` is one label of a host's name. What a grant says (`extra`) stands in a URL only if it is listed here; a `*` for a host leads into no private network |
//! | `authorize_url`, `token_url` | needed | the provider's endpoints |
//! | `refresh_url` | `token_url` | where to refresh |
//! | `request_token_url` | | OAuth 1.0a: where a flow begins |
//! | `issuer` | | what `iss` in the callback has to be (RFC 9207), and in an id token |
//! | `issuer_required` | `false` | a callback without `iss` is refused |
//! | `client_auth` (or `token_endpoint_auth_method`) | `basic` | how the client authenticates: `basic` or `client_secret_basic` (form-encoded, RFC 6749 section 2.3.1; a server that the catalogue does not know gets `client_id` in the form too), `basic_raw` (as they are; no secret is an empty password), `post` or `client_secret_post`, `secret_as_user` (Basic, the secret as user, no password), `none` |
//! | `token_body` | `form` | the token request's body: `form`, `json` |
//! | `pkce` | `s256` | `s256` or `required`, which are sent alike; `lowercase` (`code_challenge_method=s256`), `hex` (the digest in hexadecimal), `public` (only without a secret), `none` or `reject` |
//! | `rename` | `{}` | parameter of the standard → what the provider calls it; empty: left out |
//! | `scopes` | `[]` | what to ask for: at most 128, of the letters of RFC 6749 section 3.3, and 4 KiB in all |
//! | `scope_parameter` | `scope` | its name in the authorize URL; empty: scopes are the app's |
//! | `scope_separator` | space | between the scopes asked for |
//! | `granted_separator` | space | between the scopes of the answer, beside spaces |
//! | `scope_aliases` | `{}` | scope asked for → the name under which it is granted |
//! | `ungranted_scopes` | `[]` | never listed among the granted, so never missing |
//! | `authorize_params`, `token_params`, `refresh_params` | `{}` | further parameters of each request; `response_mode: form_post` in the first lets the callback be posted |
//! | `code_parameter` | `code` | the callback's parameter that is to be exchanged |
//! | `callback_expect` | `{}` | parameter of the callback → what it has to be, `{…}` a variable |
//! | `callback_hmac` | `false` | the callback is signed with the client's secret |
//! | `exchange_again` | none | the call that turns the first token into the lasting one |
//! | `renew` | none | the call that renews the access token with itself, where there is no refresh token |
//! | `success_field` | | a field of the answer that is `true` unless it is an error |
//! | `error_at` | `error`, `error.code`, `error.type` | paths of the error code; the first that has a class counts |
//! | `token_at` | the top | path of the object of the answer to a code that holds the tokens |
//! | `answer` | RFC 6749's names | where in it each is: `access_token`, `refresh_token`, `token_type`, `expires_in`, `expires_at`, `refresh_expires_in`, `scope` |
//! | `token_type` | the answer's | how the token is sent, in place of the answer's |
//! | `lifetime_unit` | `seconds` | of `expires_in`: `seconds`, `milliseconds` |
//! | `default_lifetime` | none | seconds, where the answer does not say |
//! | `rotation` | unknown | a refresh token that was used: `rotates` (the old one dies), `rolls`, `fixed`, or there is `none` |
//! | `refresh_lifetime` | unknown | seconds that a refresh token lives: `idle`, `absolute` |
//! | `extra` | `{}` | values of the answer to keep beside the token: name → path |
//! | `terminal_errors` | `[]` | errors that end a grant, beside `invalid_grant` |
//! | `consent_errors` | `[]` | errors that need the person, beside OpenID Connect's |
//! | `retry_errors` | `[]` | errors that pass, beside `temporarily_unavailable`, `server_error` and `slow_down` |
//! | `misconfigured_errors` | `[]` | errors of the client's registration, beside `invalid_client` and `unauthorized_client` |
//! | `revoke` | none | the call that ends a grant; RFC 7009 unless it says otherwise |
//! | `shared_grant` | `false` | all connections of an account are one grant, which is revoked with the last of them |
//! | `whoami` | none | the call that tells the account, with `id`, `account` (paths of what never changes, and of a label) and `extra`; without `url` these look at the token's `extra` |
//!
//! A path is names with dots between (`authed_user.id`), `|` between one place and the next that it may be at. In
//! `answer` and `extra`, `callback.` begins a parameter of the callback and `id_token.` a claim.
//!
//! A call has `url`, `method` (`POST`, `whoami`: `GET`), `auth` (`client` as at the token endpoint, `basic`, `bearer`,
//! `none`; `revoke`: `client`, `whoami`: `bearer`, else `none`), `headers`, and either `body` as it is or `params`, sent as
//! `send` says: `form`, `json`, `query`. `{…}` in them is `client_id`, `client_secret`, `access_token`, `refresh_token`, `token`
//! (the one whose end is the grant's) with `token_kind`, a variable or a name of `extra`. A call for which something
//! is missing is not made.
//!
//! What a row cannot express is code, one function each: OAuth 1.0a ([`oauth1`](crate::provider), for `request_token_url`), the
//! signed callback of `callback_hmac`, the claims of an id token (for `id_token.` paths), and the callback that is posted
//! (`http`). No code knows a provider by name. Apple's client secret is a JWT that the operator makes, at most six months
//! long, and sets like any other.

mod endpoint;
mod fields;
mod issued;
mod service;

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

pub use endpoint::{Address, Endpoint, EndpointError};
pub use fields::{AnswerPaths, Body, CallAuth, ClientAuth, LifetimeUnit, Pkce, RefreshLifetime, Rotation};
pub use service::{Call, SCOPES, Service, Whoami};

use crate::names::ServiceId;
use crate::settings::{Setting, SettingError, json_problem};
use fields::Fields;
pub use issued::{Issued, IssuedClient};
use sealing::Secret;

/// A client belongs to one server: an entry that brings its own `token_url` is refused where it has the client of another
/// entry, whose server is another and would have its secret or its codes shown to a stranger (cross-app attacks,
/// draft-ietf-oauth-security-topics-update).
pub(crate) fn check_own_client(
    id: &ServiceId,
    entry: &RawValue,
    clients: &BTreeMap<String, &RawValue>,
) -> Result<(), SettingError> {
    let Ok(ours) = serde_json::from_slice::<Client>(entry.get().as_bytes()) else { return Ok(()) };
    if ours.token_url.is_empty() {
        return Ok(());
    }
    let catalogue = entries(CATALOGUE)?;
    for (other, entry) in clients.iter().filter(|(other, _)| *other != id.as_str()) {
        let Ok(mut theirs) = serde_json::from_slice::<Client>(entry.get().as_bytes()) else { continue };
        if let (true, Some(row)) = (theirs.token_url.is_empty(), catalogue.get(other.as_str())) {
            let row: Client = serde_json::from_slice(row.get().as_bytes()).unwrap_or_default();
            theirs.token_url = row.token_url;
            if theirs.authorize_url.is_empty() {
                theirs.authorize_url = row.authorize_url;
            }
            theirs.variables = row.variables.into_iter().chain(theirs.variables).collect();
        }
        let elsewhere =
            !theirs.token_url.is_empty() && theirs.server(&theirs.token_url) != ours.server(&ours.token_url);
        let same_secret = ours.client_secret.is_some() && ours.client_secret == theirs.client_secret;
        let same_authorize_server = theirs.server(&theirs.authorize_url) == ours.server(&ours.authorize_url);
        if ours.client_id == theirs.client_id && elsewhere && (same_secret || same_authorize_server) {
            return Err(setting(format!("`{id}`: it has the client of `{other}`, which belongs to another server")));
        }
    }
    Ok(())
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Client {
    client_id: String,
    client_secret: Option<Secret>,
    authorize_url: String,
    token_url: String,
    variables: BTreeMap<String, String>,
}

impl Client {
    /// The host of one of its URLs.
    fn server(&self, url: &str) -> String {
        let (_, after) = url.split_once("://").unwrap_or_default();
        let host = after.split(['/', '?']).next().unwrap_or_default().to_ascii_lowercase();
        self.variables.iter().fold(host, |host, (name, value)| host.replace(&format!("{{{name}}}"), value))
    }
}

/// The services of a text by their ids, each still to be read.
pub(crate) fn entries(text: &str) -> Result<BTreeMap<String, &RawValue>, SettingError> {
    serde_json::from_slice(json::without_bom(text.as_bytes())).map_err(|error| setting(json_problem(&error)))
}

fn fields(text: &str) -> Result<Fields, serde_json::Error> {
    serde_json::from_slice(text.as_bytes())
}

/// The catalogue's row with the settings' fields laid over it. `None` if the catalogue has no such service.
fn over_catalogue(id: &ServiceId, set: &RawValue) -> Option<Result<Fields, serde_json::Error>> {
    let catalogue = entries(CATALOGUE).ok()?;
    let mut row = entries(catalogue.get(id.as_str())?.get()).ok()?;
    let set = entries(set.get()).ok()?;
    if set.contains_key("token_url") {
        for url in URLS {
            row.remove(url);
        }
    }
    let merged;
    if let (Some(usual), Some(own)) = (row.get("variables"), set.get("variables")) {
        merged = merged_variables(usual, own).ok();
        row.extend(set);
        if let Some(merged) = &merged {
            row.insert("variables".into(), merged);
        }
    } else {
        row.extend(set);
    }
    Some(serde_json::to_string(&row).and_then(|merged| fields(&merged)))
}

/// Each variable has a value of its own: setting one leaves the others.
fn merged_variables(usual: &RawValue, own: &RawValue) -> Result<Box<RawValue>, serde_json::Error> {
    let mut variables: BTreeMap<String, String> = serde_json::from_slice(usual.get().as_bytes())?;
    variables.extend(serde_json::from_slice::<BTreeMap<String, String>>(own.get().as_bytes())?);
    serde_json::value::to_raw_value(&variables)
}

/// The fields that name a server. A row must not mix those of two servers.
const URLS: [&str; 8] =
    ["authorize_url", "refresh_url", "request_token_url", "exchange_again", "renew", "issuer", "revoke", "whoami"];

const CATALOGUE: &str = include_str!("../../catalogue.json");

/// What is wrong with `oauth_clients`.
pub(crate) fn setting(problem: String) -> SettingError {
    SettingError::new(Setting::OauthClients, problem)
}
