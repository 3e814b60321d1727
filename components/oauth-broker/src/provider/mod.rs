//! Speaks OAuth with a service's authorization server.
//!
//! The `oauth2` crate writes the standard authorization request (RFC 6749, RFC 7636). Token requests are written here, because
//! how a client authenticates is tried and remembered. Each token request and answer passes [`dialect`], which turns what a
//! catalogue row says is odd into the standard form, so that there is one protocol here and no provider by name. What
//! else a row describes (revocation, whoami, a second exchange) is a [`call`].

mod answer;
mod call;
mod callback;
mod dialect;
mod failure;
mod id_token;
mod oauth1;
mod time;

use std::borrow::Cow;
use std::collections::BTreeMap;

use oauth2::basic::BasicClient;
use oauth2::{AuthUrl, ClientId, CsrfToken, PkceCodeChallenge, PkceCodeVerifier, RedirectUrl};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

pub use failure::Failure;

use crate::catalogue::{Call, Pkce, Service};
use crate::host::Host;
use crate::params::Params;
use crate::text;
use dialect::TokenRequest;
use sealing::Secret;

/// A grant as the provider gives it.
#[derive(Debug)]
pub struct Grant {
    pub access_token: Secret,
    pub token_type: String,
    /// Seconds from now. `None` if the provider did not say, or said nothing that can be a lifetime.
    pub lifetime: Option<u64>,
    pub refresh_token: Option<Secret>,
    /// Seconds from now that the refresh token lives, where the answer says so.
    pub refresh_lifetime: Option<u64>,
    /// `None` if the provider did not say: then all requested scopes are granted (RFC 6749 section 5.1).
    pub scopes: Option<Vec<String>>,
    pub extra: BTreeMap<String, String>,
}

/// The beginning of a flow at the provider.
pub struct Begun {
    /// Where to send the person.
    pub to: Url,
    /// The secrets that [`Returned`] has to bring back.
    pub kept: BTreeMap<String, Secret>,
}

/// The parameters of a callback, and the stored state of its flow.
pub struct Returned<'a> {
    pub code: &'a str,
    /// All parameters of the callback, for those that a row wants kept.
    pub params: &'a Params,
    pub kept: &'a BTreeMap<String, Secret>,
    pub redirect_uri: &'a str,
    pub verifier: &'a Secret,
}

/// The secrets of a grant.
pub struct Held<'a> {
    pub access_token: &'a Secret,
    pub refresh_token: Option<&'a Secret>,
    pub extra: &'a BTreeMap<String, String>,
}

/// The account of a grant, as far as the provider tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// The account's id, which the provider never gives to another account.
    pub id: Option<String>,
    /// The label by which people recognise it.
    pub label: Option<String>,
    /// To be kept beside the token.
    pub extra: BTreeMap<String, String>,
}

/// The request of a flow to the provider.
pub struct Asked<'a> {
    pub scopes: &'a [String],
    pub state: &'a str,
    pub redirect_uri: &'a str,
    /// The PKCE verifier (RFC 7636).
    pub verifier: &'a Secret,
}

/// Where to send the person (RFC 6749 section 4.1.1).
pub async fn begin<H: Host>(host: &H, service: &Service, asked: Asked<'_>) -> Result<Begun, Failure> {
    let Asked { scopes, verifier, .. } = asked;
    if let Some(request_token_url) = &service.request_token_url {
        return oauth1::begin(host, service, request_token_url.url(), asked).await;
    }
    let standard = standard_request(service, &asked)?;
    let own = service.authorize_url.url().query_pairs().count();
    let mut params: Vec<(&str, String)> = Vec::new();
    for (name, value) in standard.query_pairs().skip(own) {
        params.push(match &*name {
            "response_type" => ("response_type", value.into_owned()),
            "client_id" => ("client_id", value.into_owned()),
            "state" => ("state", value.into_owned()),
            "redirect_uri" => ("redirect_uri", value.into_owned()),
            "code_challenge" if service.pkce == Pkce::Hex => {
                let digest = Sha256::digest(verifier.reveal().as_bytes());
                ("code_challenge", digest.iter().map(|byte| format!("{byte:02x}")).collect())
            }
            "code_challenge" => ("code_challenge", value.into_owned()),
            "code_challenge_method" if service.pkce == Pkce::Lowercase => ("code_challenge_method", "s256".to_owned()),
            "code_challenge_method" => ("code_challenge_method", value.into_owned()),
            _ => continue,
        });
    }
    if !scopes.is_empty() && !service.scope_parameter.is_empty() {
        params.push((&service.scope_parameter, scopes.join(&service.scope_separator)));
    }
    if service.reads_id_token() {
        params.push(("nonce", id_token::nonce(verifier)));
    }
    params.extend(further(&service.authorize_params));
    let params = dialect::renamed_params(service, params);
    let mut to = service.authorize_url.url().clone();
    dialect::remove_params(&mut to, &params);
    to.query_pairs_mut().extend_pairs(&params);
    Ok(Begun { to, kept: BTreeMap::new() })
}

/// The authorization request as the standards have it (RFC 6749 section 4.1.1, RFC 7636 section 4.3).
fn standard_request(service: &Service, asked: &Asked<'_>) -> Result<Url, Failure> {
    let redirect_uri =
        RedirectUrl::new(asked.redirect_uri.to_owned()).map_err(|_| Failure::Malformed("redirect URI"))?;
    let client = BasicClient::new(ClientId::new(service.client_id.clone()))
        .set_auth_uri(AuthUrl::from_url(service.authorize_url.url().clone()));
    let mut request =
        client.authorize_url(|| CsrfToken::new(asked.state.to_owned())).set_redirect_uri(Cow::Owned(redirect_uri));
    if service.proves_key() {
        let verifier = PkceCodeVerifier::new(asked.verifier.reveal().to_owned());
        request = request.set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
    }
    Ok(request.url().0)
}

/// Parameters that a row adds to a request.
fn further(params: &BTreeMap<String, String>) -> impl Iterator<Item = (&str, String)> {
    params.iter().map(|(name, value)| (name.as_str(), value.clone()))
}

/// The code for a grant (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
pub async fn exchange<H: Host>(host: &H, service: &Service, returned: Returned<'_>) -> Result<Grant, Failure> {
    callback::check(service, returned.params)?;
    let wanted = callback::wanted(service, returned.params);
    let request_kind = TokenRequest::Code { callback: &wanted, nonce: &id_token::nonce(returned.verifier) };
    let members = serde_json::json!({ "callback": wanted });
    let extra = answer::picked(&service.extra, &members);
    let nothing = Secret::from(String::new());
    let url = call::endpoint(
        service,
        &service.token_url,
        &Held { access_token: &nothing, refresh_token: None, extra: &extra },
    )?;
    if service.request_token_url.is_some() {
        let answer = oauth1::exchange(host, service, &url, &returned).await?;
        return dialect::tokens(host, service, request_kind, &answer);
    }
    let mut params = vec![
        ("grant_type", "authorization_code".to_owned()),
        ("code", returned.code.to_owned()),
        ("redirect_uri", returned.redirect_uri.to_owned()),
    ];
    if service.proves_key() {
        params.push(("code_verifier", returned.verifier.reveal().to_owned()));
    }
    params.extend(further(&service.token_params));
    let answer = dialect::ask(host, service, &url, params).await?;
    let first = dialect::tokens(host, service, request_kind, &answer)?;
    let Some(again) = &service.exchange_again else { return Ok(first) };
    let held = Held { access_token: &first.access_token, refresh_token: None, extra: &first.extra };
    let mut grant = called(host, service, again, &held).await?;
    grant.extra = first.extra.into_iter().chain(grant.extra).collect();
    grant.scopes = grant.scopes.or(first.scopes);
    Ok(grant)
}

/// A new access token (RFC 6749 section 6).
pub async fn refresh<H: Host>(host: &H, service: &Service, held: Held<'_>) -> Result<Grant, Failure> {
    if let Some(renew) = &service.renew {
        return called(host, service, renew, &held).await;
    }
    let Some(refresh_token) = held.refresh_token else { return Err(Failure::Malformed("grant")) };
    let url = call::endpoint(service, &service.refresh_url, &held)?;
    let mut params =
        vec![("grant_type", "refresh_token".to_owned()), ("refresh_token", refresh_token.reveal().to_owned())];
    params.extend(further(&service.refresh_params));
    let answer = dialect::ask(host, service, &url, params).await?;
    dialect::tokens(host, service, TokenRequest::Refresh, &answer)
}

/// A grant from a call that answers as a token endpoint does.
async fn called<H: Host>(host: &H, service: &Service, call: &Call, held: &Held<'_>) -> Result<Grant, Failure> {
    let answer = call::make(host, service, call, held).await?.ok_or(Failure::Malformed("grant"))?;
    dialect::tokens(host, service, TokenRequest::Refresh, &answer)
}

/// The result of a revocation that met no failure.
#[derive(Debug, PartialEq, Eq)]
pub enum Revoked {
    AtProvider,
    /// The provider offers none, or none for a grant like this.
    NotOffered,
}

/// Ends a grant at the provider. The refresh token where there is one, since its end ends the grant (RFC 7009
/// section 2.1).
pub async fn revoke<H: Host>(host: &H, service: &Service, held: Held<'_>) -> Result<Revoked, Failure> {
    let Some(revoke) = &service.revoke else { return Ok(Revoked::NotOffered) };
    let Some(answer) = call::make(host, service, revoke, &held).await? else { return Ok(Revoked::NotOffered) };
    dialect::check_success(host, service, &answer)?;
    Ok(Revoked::AtProvider)
}

/// The account behind a token. `None` if the provider does not tell.
pub async fn whoami<H: Host>(host: &H, service: &Service, held: Held<'_>) -> Option<Account> {
    let whoami = service.whoami.as_ref()?;
    let members: Value = match &whoami.call {
        Some(call) => {
            let answer = call::make(host, service, call, &held).await.ok()??;
            dialect::check_success(host, service, &answer).ok()?;
            serde_json::from_slice(json::check(answer.body()).ok()?).ok()?
        }
        None => dialect::object_of(held.extra.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())))),
    };
    let first = |paths: &[String]| {
        let found = paths.iter().find_map(|path| answer::text_at(&members, path));
        found.map(|text| text.chars().take(200).collect())
    };
    let extra = answer::picked(&whoami.extra, &members);
    let label = first(&whoami.account).map(|label: String| text::plain(&label, LABEL));
    Some(Account { id: first(&whoami.id), label: label.filter(|label| !label.is_empty()), extra })
}

/// The longest label of an account, in characters.
pub(crate) const LABEL: usize = 100;

pub(crate) const USER_AGENT: &str = concat!("gatehouse/", env!("CARGO_PKG_VERSION"));
