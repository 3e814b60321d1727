//! How do we speak with a service's authorization server?
//!
//! The `oauth2` crate does the standard protocol. Each token request and answer passes [`dialect`], which turns what a
//! catalogue row says is odd into the standard form, so that there is one protocol here and no provider by name. What
//! else a row describes (revocation, whoami, a second exchange) is a [`call`].

mod answer;
mod call;
mod callback;
mod dialect;
mod failure;
mod id_token;
mod moment;
mod oauth1;

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::Response;
use oauth2::basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, StandardRevocableToken, TokenUrl,
};
use serde_json::Value;
use sha2::{Digest, Sha256};
use url::Url;

pub use failure::Failure;

use crate::catalogue::{Call, Pkce, Service};
use crate::doors::params::Params;
use crate::host::Host;
use answer::Answer;
use dialect::Asking;
use sealing::Secret;

/// What a provider granted.
#[derive(Debug)]
pub struct Grant {
    pub access_token: Secret,
    pub token_type: String,
    /// Seconds from now; none when the provider did not say, or said nothing that can be a lifetime.
    pub lifetime: Option<u64>,
    pub refresh_token: Option<Secret>,
    /// Seconds from now that the refresh token lives, where the answer says so.
    pub refresh_lifetime: Option<u64>,
    /// None when the provider did not say: then it is what was asked for (RFC 6749 section 5.1).
    pub scopes: Option<Vec<String>>,
    pub extra: BTreeMap<String, String>,
}

/// How a flow begins at the provider.
pub struct Begun {
    /// Where to send the person.
    pub to: Url,
    /// What [`Returned`] has to bring back.
    pub kept: BTreeMap<String, Secret>,
}

/// What came to the callback of a flow, and what the flow remembered.
pub struct Returned<'a> {
    pub code: &'a str,
    /// All parameters of the callback, for those that a row wants kept.
    pub params: &'a Params,
    pub kept: &'a BTreeMap<String, Secret>,
    pub redirect_uri: &'a str,
    pub verifier: &'a Secret,
}

/// What is held of a grant.
pub struct Held<'a> {
    pub access_token: &'a Secret,
    pub refresh_token: Option<&'a Secret>,
    pub extra: &'a BTreeMap<String, String>,
}

/// Whose grant it is, as far as the provider tells.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// What the provider never gives to anybody else.
    pub id: Option<String>,
    /// What people recognise it by.
    pub label: Option<String>,
    /// To be kept beside the token.
    pub extra: BTreeMap<String, String>,
}

/// Where to send the person (RFC 6749 section 4.1.1).
pub async fn begin<H: Host>(
    host: &H,
    service: &Service,
    scopes: &[String],
    state: &str,
    redirect_uri: &str,
    verifier: &Secret,
) -> Result<Begun, Failure> {
    if let Some(request_token_url) = &service.request_token_url {
        return oauth1::begin(host, service, request_token_url.url(), scopes, state, redirect_uri).await;
    }
    let client = client(service, service.authorize_url.url().to_string())?
        .set_auth_uri(AuthUrl::from_url(service.authorize_url.url().clone()));
    let scopes = scopes.join(&service.scope_separator);
    let mut request =
        client.authorize_url(|| CsrfToken::new(state.to_owned())).set_redirect_uri(Cow::Owned(redirect(redirect_uri)?));
    if service.proves_key() {
        let verifier = PkceCodeVerifier::new(verifier.reveal().to_owned());
        request = request.set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
    }
    if !scopes.is_empty() && !service.scope_parameter.is_empty() {
        request = request.add_extra_param(&service.scope_parameter, scopes);
    }
    for (name, value) in &service.authorize_params {
        request = request.add_extra_param(name, value);
    }
    Ok(Begun { to: in_its_words(service, request.url().0, verifier), kept: BTreeMap::new() })
}

/// The standard's authorize URL with the names and the challenge that the provider wants.
fn in_its_words(service: &Service, standard: Url, verifier: &Secret) -> Url {
    let mut to = service.authorize_url.url().clone();
    let own = to.query_pairs().count();
    for (name, value) in standard.query_pairs().skip(own) {
        let value = match (&*name, service.pkce) {
            ("code_challenge_method", Pkce::Lowercase) => "s256".into(),
            ("code_challenge", Pkce::Hex) => {
                let digest = Sha256::digest(verifier.reveal().as_bytes());
                digest.iter().map(|byte| format!("{byte:02x}")).collect::<String>().into()
            }
            _ => value,
        };
        if let Some(name) = service.renamed(&name) {
            to.query_pairs_mut().append_pair(name, &value);
        }
    }
    to
}

/// The code for a grant (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
pub async fn exchange<H: Host>(host: &H, service: &Service, returned: Returned<'_>) -> Result<Grant, Failure> {
    callback::check(service, returned.params)?;
    let wanted = callback::wanted(service, returned.params);
    let said = serde_json::json!({ "callback": wanted });
    let extra = answer::picked(&service.extra, &said);
    let nothing = Secret::from(String::new());
    let url = call::endpoint(
        service,
        &service.token_url,
        &Held { access_token: &nothing, refresh_token: None, extra: &extra },
    )?;
    if service.request_token_url.is_some() {
        let answer = oauth1::exchange(host, service, &url, &returned).await?;
        return granted(host, service, Asking::Code, &wanted, &answer);
    }
    let client = client(service, url)?;
    let mut request = client
        .exchange_code(AuthorizationCode::new(returned.code.to_owned()))
        .set_redirect_uri(Cow::Owned(redirect(returned.redirect_uri)?));
    if service.proves_key() {
        request = request.set_pkce_verifier(PkceCodeVerifier::new(returned.verifier.reveal().to_owned()));
    }
    for (name, value) in &service.token_params {
        request = request.add_extra_param(name, value);
    }
    let answer = request.request_async(&|request| dialect::ask(host, service, Asking::Code, &wanted, request)).await;
    let first = answer.map_err(Failure::of)?.into_grant();
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
    let client = client(service, call::endpoint(service, &service.refresh_url, &held)?)?;
    let token = RefreshToken::new(refresh_token.reveal().to_owned());
    let mut request = client.exchange_refresh_token(&token);
    for (name, value) in &service.refresh_params {
        request = request.add_extra_param(name, value);
    }
    let nothing = BTreeMap::new();
    let ask = |request| dialect::ask(host, service, Asking::Refresh, &nothing, request);
    Ok(request.request_async(&ask).await.map_err(Failure::of)?.into_grant())
}

/// A grant from a call that answers as a token endpoint does.
async fn called<H: Host>(host: &H, service: &Service, call: &Call, held: &Held<'_>) -> Result<Grant, Failure> {
    let answer = call::make(host, service, call, held).await?.ok_or(Failure::Malformed("grant"))?;
    granted(host, service, Asking::Refresh, &BTreeMap::new(), &answer)
}

fn granted<H: Host>(
    host: &H,
    service: &Service,
    asking: Asking,
    callback: &BTreeMap<String, String>,
    answer: &Response<Vec<u8>>,
) -> Result<Grant, Failure> {
    dialect::tokens(host, service, asking, callback, answer).map(Answer::into_grant)
}

/// What came of a revocation that met no failure.
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
    dialect::succeeded(host, service, &answer)?;
    Ok(Revoked::AtProvider)
}

/// The account behind a token. None when the provider does not tell.
pub async fn whoami<H: Host>(host: &H, service: &Service, held: Held<'_>) -> Option<Account> {
    let whoami = service.whoami.as_ref()?;
    let said: Value = match &whoami.call {
        Some(call) => {
            let answer = call::make(host, service, call, &held).await.ok()??;
            dialect::succeeded(host, service, &answer).ok()?;
            serde_json::from_slice(answer.body()).ok()?
        }
        None => held.extra.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str()))).collect(),
    };
    let first = |paths: &[String]| {
        let found = paths.iter().find_map(|path| answer::text_at(&said, path));
        found.map(|text| text.chars().take(200).collect())
    };
    let extra = answer::picked(&whoami.extra, &said);
    Some(Account { id: first(&whoami.id), label: first(&whoami.account), extra })
}

type OAuthClient<HasAuthUrl = EndpointNotSet> = Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    HasAuthUrl,
    EndpointNotSet,
    EndpointNotSet,
    EndpointNotSet,
    EndpointSet,
>;

/// A client that writes everything into the form: [`dialect`] puts it where the row wants it.
fn client(service: &Service, token_url: String) -> Result<OAuthClient, Failure> {
    let client = Client::new(ClientId::new(service.client_id.clone()))
        .set_auth_type(AuthType::RequestBody)
        .set_token_uri(TokenUrl::new(token_url).map_err(|_| Failure::Malformed("URL"))?);
    Ok(match &service.client_secret {
        Some(secret) => client.set_client_secret(ClientSecret::new(secret.reveal().to_owned())),
        None => client,
    })
}

fn redirect(uri: &str) -> Result<RedirectUrl, Failure> {
    RedirectUrl::new(uri.to_owned()).map_err(|_| Failure::Malformed("redirect URI"))
}

pub(crate) const USER_AGENT: &str = concat!("gatehouse/", env!("CARGO_PKG_VERSION"));
