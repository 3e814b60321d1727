//! As which client does the broker come to an authorization server that it has just found? (rows of kind `n`)
//!
//! In the specification's order: the client that the operator has registered; the broker's own client id metadata document,
//! one for each service, at an https URL under `public_url` (where there is one that others can reach); dynamic
//! registration (RFC 7591).
//!
//! A registration is kept per issuer and redirect URI, and is never used at another issuer. An authorization server may
//! forget it. At the token endpoint it says so, and the registration is dropped. At its authorization endpoint only the person
//! sees it: so a registration with which [`PATIENCE`] flows have begun since the last one ended well is replaced. That costs
//! nobody a grant, since a connection keeps the client that it was made with.

use http::{Method, Request, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::json;
use url::Url;

use super::entry::Preregistered;
use super::walk::{Found, shown};
use super::{Issued, ServiceError, Unfit, documents};
use crate::Broker;
use crate::catalogue::{Offered, Service};
use crate::connect::start::redirect_uri;
use crate::doors::{self, Refusal};
use crate::host::Host;
use crate::names::ServiceId;
use crate::provider::Failure;
use crate::settings::PublicUrl;
use crate::vault::rows::RowError;
use crate::vault::{Kind, Place};
use sealing::Secret;

#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Client {
    pub id: String,
    pub secret: Option<Secret>,
    pub auth: Auth,
    /// Dynamically.
    pub registered: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Auth {
    Basic,
    Post,
    None,
}

#[derive(Serialize, Deserialize)]
struct Registration {
    client: Client,
    /// Seconds since the Unix epoch.
    ends: Option<u64>,
    /// Flows since the last that ended well.
    begun: u8,
}

impl Client {
    /// Without a secret: PKCE and its redirect URI are what stands for it.
    pub fn public(id: String) -> Self {
        Self { id, secret: None, auth: Auth::None, registered: false }
    }
}

impl Auth {
    /// As a field of the catalogue.
    pub fn field(self) -> &'static str {
        match self {
            // Without a secret, the client's id goes into the body.
            Self::Basic | Self::None => "basic",
            Self::Post => "post",
        }
    }

    /// As a registration says it (RFC 7591 section 2).
    fn method(self) -> &'static str {
        match self {
            Self::Basic => "client_secret_basic",
            Self::Post => "client_secret_post",
            Self::None => "none",
        }
    }

    fn of(method: &str) -> Option<Self> {
        [Self::Basic, Self::Post, Self::None].into_iter().find(|auth| auth.method() == method)
    }

    /// The first of `wanted` that the server takes. One that says nothing takes Basic (RFC 8414 section 2).
    fn choose(found: &Found, wanted: &[Self]) -> Result<Self, Unfit> {
        let takes = |auth: &&Self| match &found.client_auth {
            Some(methods) => methods.iter().any(|method| method == auth.method()),
            None => **auth == Self::Basic,
        };
        wanted.iter().find(takes).copied().ok_or_else(|| Unfit::ClientAuth(shown(&found.issuer)))
    }
}

pub(super) fn preregistered(client: &Preregistered, found: &Found) -> Result<Client, Unfit> {
    let auth = match &client.secret {
        Some(_) => Auth::choose(found, &[Auth::Basic, Auth::Post])?,
        None => Auth::None,
    };
    Ok(Client { id: client.id.clone(), secret: client.secret.clone(), auth, registered: false })
}

/// Whether the server would get a client id metadata document from here, and take it without a secret.
pub(super) fn takes_documents(public_url: &PublicUrl, found: &Found) -> bool {
    let public_clients =
        || found.client_auth.as_ref().is_none_or(|methods| methods.iter().any(|method| method == "none"));
    found.takes_documents && public_url.is_secure() && !public_url.is_loopback() && public_clients()
}

pub(super) fn document_url(public_url: &str, id: &ServiceId) -> String {
    format!("{public_url}/client/{id}")
}

/// `GET /client/{service}`: the client id metadata document for that service's authorization server
/// (draft-ietf-oauth-client-id-metadata-document).
pub fn document<H: Host>(broker: &Broker<'_, H>, id: &ServiceId) -> Result<Response<Vec<u8>>, Refusal> {
    let public_url = broker.settings.public_url()?;
    match broker.offered(id)? {
        Some(Offered::McpServer(server)) if server.client.is_none() && public_url.is_secure() => {}
        _ => return Err(Refusal::UnknownService),
    }
    let public_url = public_url.as_str();
    let mut response = doors::json(
        StatusCode::OK,
        &json!({
            "client_id": document_url(public_url, id),
            "client_name": NAME,
            "client_uri": public_url,
            "redirect_uris": [redirect_uri(public_url, id)],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "web",
        }),
    );
    // It says what anyone may know, and authorization servers ask often.
    response.headers_mut().insert(header::CACHE_CONTROL, http::HeaderValue::from_static("max-age=3600"));
    response.headers_mut().remove(header::PRAGMA);
    Ok(response)
}

impl<H: Host> Broker<'_, H> {
    /// The client that is registered there, which may have to be made first. Whether a flow `begins` with it counts.
    pub(super) async fn registration(
        &self,
        found: &Found,
        redirect_uri: &str,
        begins: bool,
    ) -> Result<Client, ServiceError> {
        let identity = [found.issuer.as_str(), redirect_uri];
        let now = self.host.now();
        let kept = self.registered(&identity)?;
        let good = |kept: &Registration| kept.begun < PATIENCE && kept.ends.is_none_or(|end| end > now + A_WHILE);
        let mut registration = match kept.filter(good) {
            Some(kept) if !begins => return Ok(kept.client),
            Some(kept) => kept,
            None => self.register(found, redirect_uri).await?,
        };
        registration.begun += u8::from(begins);
        self.write(place(&identity), &registration)?;
        Ok(registration.client)
    }

    async fn register(&self, found: &Found, redirect_uri: &str) -> Result<Registration, ServiceError> {
        let Some(url) = &found.register else { return Err(Unfit::NoClient(shown(&found.issuer)).into()) };
        let url = Url::parse(url).map_err(|_| Unfit::Form(shown(url)))?;
        let wanted = Auth::choose(found, &[Auth::Basic, Auth::Post, Auth::None])?;
        let mut grant_types = vec!["authorization_code"];
        if found.grant_types.as_ref().is_none_or(|types| types.iter().any(|name| name == "refresh_token")) {
            grant_types.push("refresh_token");
        }
        let public_url = self.settings.public_url()?;
        let body = json!({
            "client_name": NAME,
            "client_uri": public_url.as_str(),
            "redirect_uris": [redirect_uri],
            "grant_types": grant_types,
            "response_types": ["code"],
            "token_endpoint_auth_method": wanted.method(),
            // What has its redirect URI on loopback runs where its person sits (OpenID Connect Registration 1.0 section 2).
            "application_type": if public_url.is_loopback() { "native" } else { "web" },
        });
        let request = Request::builder()
            .method(Method::POST)
            .uri(url.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json");
        let body = serde_json::to_vec(&body).unwrap_or_default();
        let answer = self.call(request, body, &url, self.end_of_patience()).await?;
        let refused = |error: String| Unfit::Registration { issuer: shown(&found.issuer), error };
        if !answer.status().is_success() {
            return Err(refused(reason(&answer)).into());
        }
        let said = documents::registered(answer.body()).ok_or_else(|| Unfit::Form(shown(url.as_str())))?;
        if said.redirect_uris.is_some_and(|uris| !uris.iter().any(|uri| uri == redirect_uri)) {
            return Err(refused("it registers another redirect URI".to_owned()).into());
        }
        let auth = match said.client_auth_method {
            // What it says counts (RFC 7591 section 3.2.1).
            Some(method) => Auth::of(&method).ok_or_else(|| Unfit::ClientAuth(shown(&found.issuer)))?,
            None => wanted,
        };
        let (auth, secret, ends) = match (auth, said.client_secret) {
            (Auth::None, _) | (_, None) => (Auth::None, None, None),
            (auth, secret) => (auth, secret, said.ends),
        };
        Ok(Registration { client: Client { id: said.client_id, secret, auth, registered: true }, ends, begun: 0 })
    }

    /// Learns what a token endpoint thinks of the client with which a flow came back: `failure` is what it said, if it gave
    /// no grant.
    pub(crate) fn client_was_tried(&self, service: &Service, redirect_uri: &str, failure: Option<&Failure>) {
        let Some(Issued { issuer, client: Some(client) }) = &service.issued else { return };
        if !client.registered {
            return;
        }
        let identity = [issuer.as_str(), redirect_uri];
        let learnt = match (self.registered(&identity), failure) {
            (Ok(Some(kept)), _) if kept.client.id != client.id => Ok(()),
            (Ok(Some(kept)), None) if kept.begun > 0 => {
                self.write(place(&identity), &Registration { begun: 0, ..kept })
            }
            (Ok(Some(_)), Some(Failure::Ended(error))) if error == "invalid_client" => self.erase(place(&identity)),
            (Ok(_), _) => Ok(()),
            (Err(error), _) => Err(error),
        };
        if let Err(error) = learnt {
            self.host.log(&format!("{}: what became of its client could not be noted: {error}", service.id));
        }
    }

    fn registered(&self, identity: &[&str; 2]) -> Result<Option<Registration>, RowError> {
        self.read_if_it_opens(place(identity))
    }
}

/// Why a registration was refused, in the server's words as far as they can be shown (RFC 7591 section 3.2.2).
fn reason(answer: &Response<Vec<u8>>) -> String {
    match documents::registration_error(answer.body()) {
        None => format!("it answers {}", answer.status().as_u16()),
        Some((error, None)) => shown(&error),
        Some((error, Some(description))) => format!("{}: {}", shown(&error), shown(&description)),
    }
}

fn place<'a>(identity: &'a [&'a str]) -> Place<'a> {
    Place { kind: Kind::Registration, identity }
}

/// What people read on the page of an authorization server.
const NAME: &str = "Gatehouse";
/// Flows that may begin with a registration and not end well.
const PATIENCE: u8 = 5;
/// Seconds that a client's secret has to live on, for a flow to begin with it.
const A_WHILE: u64 = 900;
