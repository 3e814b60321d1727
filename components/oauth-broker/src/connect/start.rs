//! How does a flow start?

use base64ct::{Base64UrlUnpadded, Encoding};
use url::Url;

use super::ConnectError;
use super::flow::{self, Flow, FlowId};
use crate::Broker;
use crate::host::Host;
use crate::names::{ConnectionId, ServiceId};
use crate::people::cookies::Cookie;
use crate::provider;
use crate::secret::Secret;

/// Where the person goes now, and the cookie that makes the flow this browser's.
pub struct Started {
    pub to: Url,
    pub cookie: Cookie,
}

impl<H: Host> Broker<'_, H> {
    /// Starts a flow for a connection whose subject is the one that sits at the browser. A ticket says the account and
    /// which scopes to ask for beside the row's.
    pub(crate) async fn start(&self, mut id: ConnectionId, ticket: Option<&str>) -> Result<Started, ConnectError> {
        let service = self.service(&id.service).await?.ok_or(ConnectError::UnknownService)?;
        let mut scopes = service.scopes.clone();
        if let Some(ticket) = ticket {
            let (account, further) = self.use_ticket(ticket, &id.subject, &id.service)?;
            id.account = account;
            for scope in further {
                if !scopes.contains(&scope) {
                    scopes.push(scope);
                }
            }
        }
        let public_url = self.settings.public_url()?;
        let state = self.token();
        let cookie = self.token();
        let flow_id = FlowId::of(&state);
        let redirect_uri = redirect_uri(public_url.as_str(), &id.service);
        let verifier = Secret::from(self.token());
        let begun = provider::begin(self.host, &service, &scopes, &state, &redirect_uri, &verifier).await?;
        let flow = Flow {
            redirect_uri,
            connection: id,
            verifier,
            kept: begun.kept,
            cookie: flow::digest(&cookie),
            scopes,
            expires: self.host.now() + flow::LIFETIME,
        };
        self.remember(&flow_id, &flow)?;
        let secure = public_url.is_secure();
        let cookie = Cookie { name: flow_id.cookie_name(secure), value: cookie, lifetime: flow::LIFETIME, secure };
        Ok(Started { to: begun.to, cookie })
    }

    /// 256 random bits as 43 letters: a state, a cookie, a PKCE verifier (RFC 7636 section 4.1).
    fn token(&self) -> String {
        Base64UrlUnpadded::encode_string(&self.random::<32>())
    }
}

/// One per service, so that no provider's code can come in as another's (RFC 9700 section 4.4.2.2).
fn redirect_uri(public_url: &str, id: &ServiceId) -> String {
    format!("{public_url}/callback/{id}")
}
