//! Chooses or registers the client with which the broker comes to a discovered authorization server (rows of kind `n`).
//!
//! In the specification's order: the client that the operator has registered; the broker's own client id metadata document,
//! one for each service, at an https URL under `public_url` (where there is one that others can reach); dynamic
//! registration (RFC 7591).
//!
//! One registration is kept for each service, and is never used at another issuer. An authorization server may
//! forget it. At the token endpoint it says so, and the registration is dropped. At its authorization endpoint only the person
//! sees it: so a registration with which [`PATIENCE`] flows have begun that did not come back is replaced. That costs
//! nobody a grant, since a connection keeps the client that it was made with.
//!
//! A server may let a client ask only for the scopes that it was registered with (RFC 7591 section 2). So the registration
//! and the document say which scopes will be asked for; a flow that asks for more makes a new registration. A server that
//! registers fewer is asked for no more than those. One that refuses a registration because of its scopes gets one without.
//!
//! A server that forgets its clients, changes its issuer or wants them to end soon cannot have clients registered without
//! end: at most [`MOST_A_DAY`] of a service in a day (of UTC), counted before each is asked for. One instance at a time
//! registers; the others wait for what it brings.

use http::{Method, Request, Response, header};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use url::Url;

use super::entry::Preregistered;
use super::walk::{Found, shown};
use super::{A_DAY, Discovery, DiscoveryError, McpServer, ServiceError, documents};
use crate::catalogue::{ClientAuth, Issued, IssuedClient, Service};
use crate::host::Host;
use crate::names::ServiceId;
use crate::provider::Failure;
use crate::settings::PublicUrl;
use crate::vault::{RowError, RowId, RowKind};

#[derive(Default, Serialize, Deserialize)]
struct Registration {
    issuer: String,
    /// `None` if there was none yet, or the server has forgotten it.
    client: Option<IssuedClient>,
    /// Seconds since the Unix epoch.
    ends: Option<u64>,
    /// Flows that have not come back.
    begun: u8,
    /// The scopes that it was made for.
    #[serde(default)]
    scopes: Vec<String>,
    /// The last day on which a client was asked for, in days since the Unix epoch, and how many were on it.
    day: u64,
    asked: u8,
}

/// A way to authenticate by its name in RFC 7591 section 2.
fn method(auth: ClientAuth) -> &'static str {
    match auth {
        ClientAuth::Basic => "client_secret_basic",
        ClientAuth::Post => "client_secret_post",
        _ => "none",
    }
}

/// The other way to authenticate, if it is worth a try: servers do not always do what their metadata say.
pub(super) fn other_auth(client: &IssuedClient, found: &Found) -> Option<ClientAuth> {
    let other = match client.auth {
        ClientAuth::Basic => ClientAuth::Post,
        ClientAuth::Post => ClientAuth::Basic,
        _ => return None,
    };
    let may = |methods: &Vec<String>| methods.iter().any(|name| *name == method(other));
    Some(other).filter(|_| client.secret.is_some() && found.client_auth.as_ref().is_none_or(may))
}

pub(super) fn auth_of(name: &str) -> Option<ClientAuth> {
    [ClientAuth::Basic, ClientAuth::Post, ClientAuth::None].into_iter().find(|auth| method(*auth) == name)
}

/// The method of `wanted` that the server names first; a client without a secret comes last. The order is the server's,
/// since the official Python SDK takes both and revokes only for the first. One that says nothing takes Basic (RFC 8414
/// section 2).
fn choose(found: &Found, wanted: &[ClientAuth]) -> Result<ClientAuth, DiscoveryError> {
    let Some(methods) = &found.client_auth else { return Ok(ClientAuth::Basic) };
    let taken = || methods.iter().filter_map(|name| auth_of(name)).filter(|auth| wanted.contains(auth));
    let chosen = taken().find(|auth| *auth != ClientAuth::None).or_else(|| taken().next());
    chosen.ok_or_else(|| DiscoveryError::ClientAuth(shown(&found.issuer)))
}

pub(super) fn preregistered(client: &Preregistered, found: &Found) -> Result<IssuedClient, DiscoveryError> {
    let auth = match (&client.secret, client.auth) {
        (None, _) => ClientAuth::None,
        (_, Some(auth)) => auth,
        (_, None) => choose(found, &[ClientAuth::Basic, ClientAuth::Post])?,
    };
    Ok(IssuedClient { id: client.id.clone(), secret: client.secret.clone(), auth, registered: false, scopes: None })
}

/// Returns true if the server can fetch a client id metadata document from here, and accepts it without a secret.
pub(super) fn takes_documents(public_url: &PublicUrl, found: &Found) -> bool {
    let public_clients =
        || found.client_auth.as_ref().is_none_or(|methods| methods.iter().any(|method| method == "none"));
    found.takes_documents && public_url.is_secure() && !public_url.is_loopback() && public_clients()
}

pub(super) fn document_url(public_url: &str, id: &ServiceId) -> String {
    format!("{public_url}/client/{id}")
}

impl<H: Host> Discovery<'_, H> {
    /// The client id metadata document for the authorization server of `server`
    /// (draft-ietf-oauth-client-id-metadata-document). `None` if the broker has none for it.
    pub fn client_document(&self, server: &McpServer) -> Result<Option<Value>, RowError> {
        let public_url = self.settings.public_url()?;
        if server.client.is_some() || !public_url.is_secure() {
            return Ok(None);
        }
        let scopes = self.asked_scopes(server)?;
        let mut document = json!({
            "client_id": document_url(public_url.as_str(), &server.id),
            "client_name": NAME,
            "client_uri": public_url.as_str(),
            "redirect_uris": [public_url.redirect_uri(&server.id)],
            "grant_types": ["authorization_code", "refresh_token"],
            "response_types": ["code"],
            "token_endpoint_auth_method": "none",
            "application_type": "web",
        });
        if !scopes.is_empty() {
            document["scope"] = json!(scopes.join(" "));
        }
        Ok(Some(document))
    }

    /// The client that is registered there for `scopes`, which may have to be made first. Whether a flow `begins` with it
    /// counts.
    pub(super) async fn registration(
        &self,
        found: &Found,
        redirect_uri: &str,
        scopes: &[String],
        begins: bool,
    ) -> Result<IssuedClient, ServiceError> {
        let place = [redirect_uri];
        let place = row_id(&place);
        let mut row = self.registered(place)?;
        if self.is_to_register(&row, found, scopes) {
            let lease = self.leases.wait(place, MAKING).await?.ok_or_else(|| ServiceError::NoAnswer {
                who: shown(&found.issuer),
                why: "it is being asked for a client".to_owned(),
            })?;
            let made = self.make(found, redirect_uri, scopes).await;
            self.leases.release(place, &lease);
            row = made?;
        }
        if begins {
            row.begun = row.begun.saturating_add(1);
            self.vault.write(place, &row)?;
        }
        row.client.ok_or_else(|| DiscoveryError::TooManyClients(shown(&found.issuer)).into())
    }

    /// Returns true if a flow needs another client than that of `row`, and may have one.
    fn is_to_register(&self, row: &Registration, found: &Found, scopes: &[String]) -> bool {
        let now = self.host.now();
        let is_over = row.begun >= PATIENCE || row.ends.is_some_and(|end| end <= now + A_WHILE);
        let is_theirs = row.client.is_some() && row.issuer == found.issuer;
        // The last one of a day is used for as long as it is one, and asks for what it was registered for.
        let may = row.day != now / A_DAY || row.asked < MOST_A_DAY;
        let is_wider = !scopes.iter().all(|scope| row.scopes.contains(scope));
        !is_theirs || (is_over || is_wider) && may
    }

    /// Registers a client, unless another instance has done so meanwhile. Called by the holder of the lease.
    async fn make(&self, found: &Found, redirect_uri: &str, scopes: &[String]) -> Result<Registration, ServiceError> {
        let place = [redirect_uri];
        let place = row_id(&place);
        let mut row = self.registered(place)?;
        if !self.is_to_register(&row, found, scopes) {
            return Ok(row);
        }
        let day = self.host.now() / A_DAY;
        let asked = if row.day == day { row.asked } else { 0 };
        if asked >= MOST_A_DAY {
            return Err(DiscoveryError::TooManyClients(shown(&found.issuer)).into());
        }
        (row.day, row.asked) = (day, asked + 1);
        self.vault.write(place, &row)?;
        // Other people ask for others: no two of them shall replace each other's without end.
        let others = if row.issuer == found.issuer { row.scopes } else { Vec::new() };
        let scopes = documents::scopes(scopes.iter().chain(&others).map(String::as_str));
        let made = Registration { day, asked: row.asked, ..self.register(found, redirect_uri, scopes).await? };
        self.vault.write(place, &made)?;
        Ok(made)
    }

    async fn register(
        &self,
        found: &Found,
        redirect_uri: &str,
        scopes: Vec<String>,
    ) -> Result<Registration, ServiceError> {
        let Some(url) = &found.register else { return Err(DiscoveryError::NoClient(shown(&found.issuer)).into()) };
        let url = Url::parse(url).map_err(|_| DiscoveryError::Form(shown(url)))?;
        let wanted = choose(found, &[ClientAuth::Basic, ClientAuth::Post, ClientAuth::None])?;
        let request = self.registration_request(found, redirect_uri, &scopes, wanted)?;
        let answer = self.send_registration(&url, request).await?;
        let refused = |error: String| DiscoveryError::Registration { issuer: shown(&found.issuer), error };
        if !answer.status().is_success() {
            return Err(refused(reason(&answer)).into());
        }
        let registered =
            documents::registered(answer.body()).ok_or_else(|| DiscoveryError::Form(shown(url.as_str())))?;
        if registered.redirect_uris.is_some_and(|uris| !uris.iter().any(|uri| uri == redirect_uri)) {
            return Err(refused("it registers another redirect URI".to_owned()).into());
        }
        let auth = match registered.client_auth_method {
            // The server decides (RFC 7591 section 3.2.1).
            Some(method) => auth_of(&method).ok_or_else(|| DiscoveryError::ClientAuth(shown(&found.issuer)))?,
            None => wanted,
        };
        let (auth, secret, ends) = match (auth, registered.client_secret) {
            (ClientAuth::None, _) | (_, None) => (ClientAuth::None, None, None),
            (auth, secret) => (auth, secret, registered.ends),
        };
        let fewer = registered.scopes.filter(|given| {
            given.iter().any(|scope| scopes.contains(scope)) && !scopes.iter().all(|scope| given.contains(scope))
        });
        if let Some(given) = &fewer {
            self.host.log(&format!(
                "the authorization server {} registers this Gatehouse for fewer scopes than were asked for: {}",
                shown(&found.issuer),
                shown(&given.join(" "))
            ));
        }
        let client = IssuedClient { id: registered.client_id, secret, auth, registered: true, scopes: fewer };
        let (issuer, client) = (found.issuer.clone(), Some(client));
        Ok(Registration { issuer, client, ends, scopes, ..Registration::default() })
    }

    /// The client metadata of a registration request (RFC 7591 section 2).
    fn registration_request(
        &self,
        found: &Found,
        redirect_uri: &str,
        scopes: &[String],
        auth: ClientAuth,
    ) -> Result<Value, ServiceError> {
        let mut grant_types = vec!["authorization_code"];
        if found.grant_types.as_ref().is_none_or(|types| types.iter().any(|name| name == "refresh_token")) {
            grant_types.push("refresh_token");
        }
        let public_url = self.settings.public_url()?;
        let mut request = json!({
            "client_name": NAME,
            "client_uri": public_url.as_str(),
            "redirect_uris": [redirect_uri],
            "grant_types": grant_types,
            "response_types": ["code"],
            "token_endpoint_auth_method": method(auth),
            // A client whose redirect URI is on loopback runs on its person's machine (OpenID Connect Registration 1.0
            // section 2).
            "application_type": if public_url.is_loopback() { "native" } else { "web" },
        });
        if !scopes.is_empty() {
            request["scope"] = json!(scopes.join(" "));
        }
        Ok(request)
    }

    /// Sends a registration request, and once more without scopes if the server refuses it: some register no client that
    /// names scopes, though they give them.
    async fn send_registration(&self, url: &Url, mut body: Value) -> Result<Response<Vec<u8>>, ServiceError> {
        loop {
            let request = Request::builder()
                .method(Method::POST)
                .uri(url.as_str())
                .header(header::CONTENT_TYPE, "application/json")
                .header(header::ACCEPT, "application/json");
            let bytes = serde_json::to_vec(&body).unwrap_or_default();
            let answer = self.call(request, bytes, url, self.end_of_patience()).await?;
            let members = body.as_object_mut();
            if !answer.status().is_client_error() || members.and_then(|members| members.remove("scope")).is_none() {
                return Ok(answer);
            }
        }
    }

    /// Learns that the authorization endpoint knows the client of a flow that came back, or that a token endpoint does not
    /// know it any more: `failure` is what that said to a flow or a refresh, if it gave no tokens.
    pub(crate) fn client_was_tried(&self, service: &Service, failure: Option<&Failure>) {
        let Some(Issued { issuer, client: Some(client), .. }) = &service.issued else { return };
        if !client.registered {
            return;
        }
        let is_gone = matches!(failure, Some(Failure::Ended(error)) if GONE.contains(&error.as_str()));
        let learnt = self.settings.public_url().map_err(RowError::from).and_then(|public_url| {
            let redirect_uri = public_url.redirect_uri(&service.id);
            let place = [redirect_uri.as_str()];
            let place = row_id(&place);
            let mut row = self.registered(place)?;
            let is_ours = row.issuer == *issuer;
            let Some(known) = row.client.as_mut().filter(|known| is_ours && known.id == client.id) else {
                return Ok(());
            };
            if is_gone {
                row.client = None;
            } else {
                let auth = if failure.is_none() { service.client_auth.get() } else { known.auth };
                if row.begun == 0 && known.auth == auth {
                    return Ok(());
                }
                (row.begun, known.auth) = (0, auth);
            }
            self.vault.write(place, &row)
        });
        if let Err(error) = learnt {
            self.host.log(&format!("{}: whether its client still works could not be noted: {error}", service.id));
        }
    }

    fn registered(&self, row: RowId) -> Result<Registration, RowError> {
        Ok(self.vault.read_if_it_opens(row)?.unwrap_or_default())
    }
}

/// The reason for a refused registration, in the server's words as far as they can be shown (RFC 7591 section 3.2.2).
fn reason(answer: &Response<Vec<u8>>) -> String {
    match documents::registration_error(answer.body()) {
        None => format!("it answers {}", answer.status().as_u16()),
        Some((error, None)) => shown(&error),
        Some((error, Some(description))) => format!("{}: {}", shown(&error), shown(&description)),
    }
}

fn row_id<'a>(identity: &'a [&'a str]) -> RowId<'a> {
    RowId { kind: RowKind::Registration, identity }
}

/// The name of this client on the page of an authorization server.
const NAME: &str = "Gatehouse";
/// The errors of a token endpoint that has forgotten a client. Older versions of the official Python SDK say the second.
pub(crate) const GONE: [&str; 2] = ["invalid_client", "unauthorized_client"];
/// Flows that may begin with a registration and not come back.
const PATIENCE: u8 = 5;
/// The most clients of a service that are asked for in a day.
pub(super) const MOST_A_DAY: u8 = 10;
/// For how many milliseconds the registration of another instance is waited for: longer than a call takes.
const MAKING: u64 = 10_000;
/// Seconds that a client's secret has to live on, for a flow to begin with it.
const A_WHILE: u64 = 900;
