//! Records which issuer made a grant, and for which client.

use serde::{Deserialize, Serialize};

use super::{ClientAuth, Service};
use sealing::Secret;

/// The issuer of a grant, and its client there. No part of the grant is sent to another issuer or with another client.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Issued {
    pub issuer: String,
    /// `None` for the client that the operator has registered.
    pub client: Option<IssuedClient>,
    /// How the token endpoint has accepted the client.
    #[serde(default)]
    pub auth: Option<ClientAuth>,
}

/// A client of this broker at one issuer, which the operator has not registered.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct IssuedClient {
    pub id: String,
    pub secret: Option<Secret>,
    pub auth: ClientAuth,
    /// True for a client that was registered dynamically (RFC 7591).
    pub registered: bool,
    /// The scopes that it may ask for, if the server has said so.
    #[serde(default)]
    pub scopes: Option<Vec<String>>,
}

impl Issued {
    pub fn new(issuer: String, client: Option<IssuedClient>) -> Self {
        Self { issuer, client, auth: None }
    }

    /// The scopes of a flow without those for which the server has not registered the client.
    pub fn askable(&self, mut scopes: Vec<String>) -> Vec<String> {
        if let Some(registered) = self.client.as_ref().and_then(|client| client.scopes.as_ref()) {
            scopes.retain(|scope| registered.contains(scope));
        }
        scopes
    }

    /// The same after `service` has got tokens: how its client was accepted is kept with the grant.
    pub fn accepted(self, service: &Service) -> Self {
        Self { auth: service.other_auth.map(|_| service.client_auth.get()).or(self.auth), ..self }
    }
}

impl IssuedClient {
    /// A client without a secret: PKCE and its redirect URI protect its codes.
    pub fn public(id: String) -> Self {
        Self { id, secret: None, auth: ClientAuth::None, registered: false, scopes: None }
    }
}
