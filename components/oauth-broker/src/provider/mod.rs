//! How do we speak with a service's authorization server?
//!
//! The `oauth2` crate does the standard protocol. Each request and answer passes [`dialect`], which turns what a
//! catalogue row says is odd into the standard form, so that there is one protocol here and no provider by name.

mod answer;
mod dialect;
mod failure;

use std::borrow::Cow;
use std::collections::BTreeMap;

use http::{HeaderValue, Method, Request, Response, header};
use oauth2::basic::{BasicErrorResponse, BasicRevocationErrorResponse, BasicTokenIntrospectionResponse};
use oauth2::{
    AuthType, AuthUrl, AuthorizationCode, Client, ClientId, ClientSecret, CsrfToken, EndpointNotSet, EndpointSet,
    PkceCodeChallenge, PkceCodeVerifier, RedirectUrl, RefreshToken, RevocationUrl, StandardRevocableToken, TokenUrl,
};
use url::Url;

pub use failure::Failure;

use crate::catalogue::{ClientAuth, Endpoint, Pkce, RevokeStyle, Service};
use crate::doors::params::Params;
use crate::host::Host;
use crate::secret::Secret;
use answer::Answer;
use dialect::Asking;

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
    _host: &H,
    service: &Service,
    scopes: &[String],
    state: &str,
    redirect_uri: &str,
    verifier: &Secret,
) -> Result<Begun, Failure> {
    let client =
        client(service, &service.token_url).set_auth_uri(AuthUrl::from_url(service.authorize_url.url().clone()));
    let scopes = scopes.join(&service.scope_separator);
    let mut request =
        client.authorize_url(|| CsrfToken::new(state.to_owned())).set_redirect_uri(Cow::Owned(redirect(redirect_uri)?));
    if service.pkce == Pkce::S256 {
        let verifier = PkceCodeVerifier::new(verifier.reveal().to_owned());
        request = request.set_pkce_challenge(PkceCodeChallenge::from_code_verifier_sha256(&verifier));
    }
    if !scopes.is_empty() && !service.scope_parameter.is_empty() {
        request = request.add_extra_param(&service.scope_parameter, scopes);
    }
    for (name, value) in &service.authorize_params {
        request = request.add_extra_param(name, value);
    }
    Ok(Begun { to: request.url().0, kept: BTreeMap::new() })
}

/// The code for a grant (RFC 6749 section 4.1.3, RFC 7636 section 4.5).
pub async fn exchange<H: Host>(host: &H, service: &Service, returned: Returned<'_>) -> Result<Grant, Failure> {
    let client = client(service, &service.token_url);
    let mut request = client
        .exchange_code(AuthorizationCode::new(returned.code.to_owned()))
        .set_redirect_uri(Cow::Owned(redirect(returned.redirect_uri)?));
    if service.pkce == Pkce::S256 {
        request = request.set_pkce_verifier(PkceCodeVerifier::new(returned.verifier.reveal().to_owned()));
    }
    for (name, value) in &service.token_params {
        request = request.add_extra_param(name, value);
    }
    let answer = request.request_async(&|request| dialect::ask(host, service, Asking::Code, request)).await;
    answer.map(Answer::into_grant).map_err(|error| Failure::of(service, error))
}

/// A new access token (RFC 6749 section 6).
pub async fn refresh<H: Host>(host: &H, service: &Service, held: Held<'_>) -> Result<Grant, Failure> {
    let Some(refresh_token) = held.refresh_token else { return Err(Failure::Malformed("grant")) };
    let client = client(service, &service.refresh_url);
    let token = RefreshToken::new(refresh_token.reveal().to_owned());
    let mut request = client.exchange_refresh_token(&token);
    for (name, value) in &service.refresh_params {
        request = request.add_extra_param(name, value);
    }
    let answer = request.request_async(&|request| dialect::ask(host, service, Asking::Refresh, request)).await;
    answer.map(Answer::into_grant).map_err(|error| Failure::of(service, error))
}

/// What came of a revocation that met no failure.
#[derive(Debug, PartialEq, Eq)]
pub enum Revoked {
    AtProvider,
    /// The provider offers none.
    NotOffered,
}

/// Ends a grant at the provider. The refresh token where there is one, since its end ends the grant (RFC 7009
/// section 2.1).
pub async fn revoke<H: Host>(host: &H, service: &Service, held: Held<'_>) -> Result<Revoked, Failure> {
    let Held { access_token, refresh_token, .. } = held;
    let Some(revoke) = &service.revoke else { return Ok(Revoked::NotOffered) };
    let url = revoke.url.url();
    match revoke.style {
        RevokeStyle::Rfc7009 => {
            // The crate insists on https here, where our own rule has an exception for loopback: the hook sends to the
            // row's URL whatever the crate was told.
            let told = RevocationUrl::from_url(url.clone());
            let https = RevocationUrl::new("https://revoke.invalid/".to_owned()).unwrap_or(told);
            let token = match refresh_token {
                Some(token) => StandardRevocableToken::RefreshToken(RefreshToken::new(token.reveal().to_owned())),
                None => StandardRevocableToken::AccessToken(oauth2::AccessToken::new(access_token.reveal().to_owned())),
            };
            let client = client(service, &service.token_url).set_revocation_url(https);
            let request = client.revoke_token(token).map_err(|_| Failure::Malformed("revocation URL"))?;
            let send = |mut request: Request<Vec<u8>>| async move {
                *request.uri_mut() = url.as_str().parse().map_err(|_| Failure::Malformed("revocation URL"))?;
                dialect::ask(host, service, Asking::Revocation, request).await
            };
            request.request_async(&send).await.map_err(|error| Failure::of_revocation(service, error))?;
        }
        RevokeStyle::Github => {
            let body = serde_json::json!({ "access_token": access_token.reveal() });
            let body = serde_json::to_vec(&body).unwrap_or_default();
            let secret = service.client_secret.as_ref().map_or("", Secret::reveal);
            let basic = base64(&format!("{}:{secret}", service.client_id));
            let request = Request::builder().method(Method::DELETE).uri(url.as_str());
            let request = request.header(header::AUTHORIZATION, sensitive("Basic", &basic)?);
            let request = request.header(header::CONTENT_TYPE, "application/json");
            plain(host, request, body).await?;
        }
        RevokeStyle::Bearer => {
            let request = Request::builder().method(Method::POST).uri(url.as_str());
            let request = request.header(header::AUTHORIZATION, sensitive("Bearer", access_token.reveal())?);
            let body = plain(host, request, Vec::new()).await?.into_body();
            dialect::succeeded(service, &body)?;
        }
    }
    Ok(Revoked::AtProvider)
}

/// The account behind a token. None when the provider does not tell.
pub async fn whoami<H: Host>(host: &H, service: &Service, held: Held<'_>) -> Option<Account> {
    let access_token = held.access_token;
    let whoami = service.whoami.as_ref()?;
    let mut request = Request::builder()
        .method(whoami.method.clone())
        .uri(whoami.url.url().as_str())
        .header(header::AUTHORIZATION, sensitive("Bearer", access_token.reveal()).ok()?);
    if !whoami.body.is_empty() {
        request = request.header(header::CONTENT_TYPE, "application/json");
    }
    for (name, value) in &whoami.headers {
        request = request.header(name, value);
    }
    let answer = plain(host, request, whoami.body.clone().into_bytes()).await.ok()?;
    let answer: serde_json::Value = serde_json::from_slice(answer.body()).ok()?;
    let label = whoami.account.iter().find_map(|path| answer::text_at(&answer, path));
    let label = label.map(|label| label.chars().take(200).collect());
    Some(Account { label, ..Account::default() })
}

async fn plain<H: Host>(
    host: &H,
    request: http::request::Builder,
    body: Vec<u8>,
) -> Result<Response<Vec<u8>>, Failure> {
    let request = request
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, USER_AGENT)
        .body(body)
        .map_err(|_| Failure::Malformed("request"))?;
    let answer = host.send(request).await?;
    if answer.status().is_success() { Ok(answer) } else { Err(Failure::of_status(&answer)) }
}

type OAuthClient<HasAuthUrl = EndpointNotSet, HasRevocationUrl = EndpointNotSet> = Client<
    BasicErrorResponse,
    Answer,
    BasicTokenIntrospectionResponse,
    StandardRevocableToken,
    BasicRevocationErrorResponse,
    HasAuthUrl,
    EndpointNotSet,
    EndpointNotSet,
    HasRevocationUrl,
    EndpointSet,
>;

fn client(service: &Service, token_url: &Endpoint) -> OAuthClient {
    let auth = match service.client_auth {
        ClientAuth::Basic => AuthType::BasicAuth,
        ClientAuth::Post => AuthType::RequestBody,
    };
    let client = Client::new(ClientId::new(service.client_id.clone()))
        .set_auth_type(auth)
        .set_token_uri(TokenUrl::from_url(token_url.url().clone()));
    match &service.client_secret {
        Some(secret) => client.set_client_secret(ClientSecret::new(secret.reveal().to_owned())),
        None => client,
    }
}

fn redirect(uri: &str) -> Result<RedirectUrl, Failure> {
    RedirectUrl::new(uri.to_owned()).map_err(|_| Failure::Malformed("redirect URI"))
}

fn sensitive(scheme: &str, credential: &str) -> Result<HeaderValue, Failure> {
    let mut value = HeaderValue::try_from(format!("{scheme} {credential}")).map_err(|_| Failure::Malformed("token"))?;
    value.set_sensitive(true);
    Ok(value)
}

fn base64(text: &str) -> String {
    use base64ct::{Base64, Encoding};
    Base64::encode_string(text.as_bytes())
}

/// Some providers refuse requests without one.
const USER_AGENT: &str = concat!("gatehouse/", env!("CARGO_PKG_VERSION"));
