//! Lists what a person has connected (`GET /connections`, and `GET /` as a page).

use http::{Request, Response, StatusCode};
use serde::Serialize;

use super::{Refusal, pages};
use crate::broker::Broker;
use crate::connections::expiry::{Expiry, expiry};
use crate::connections::row::{Connection, State};
use crate::host::Host;
use crate::names::{AccountName, ConnectionId, ServiceId, Subject};
use crate::params::Params;
use crate::people::local;
use crate::provider::LABEL;
use crate::services::Offered;
use crate::text;
use crate::vault::RowError;

/// `GET /connections`
pub async fn json<H: Host>(broker: &Broker<'_, H>, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Refusal> {
    let subject = broker.people().person(request)?.ok_or_else(Refusal::sign_in)?;
    Ok(super::json(StatusCode::OK, &listing(broker, subject).await?))
}

/// `GET /`
pub async fn page<H: Host>(broker: &Broker<'_, H>, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Refusal> {
    let subject = broker.people().person(request)?.ok_or_else(Refusal::sign_in)?;
    let params = Params::of(request.uri())?;
    let listing = listing(broker, subject).await?;
    // Nothing of the address is repeated but the names of services and accounts.
    let account = AccountName::parse(params.get("account").unwrap_or_default()).unwrap_or_default();
    let named = |what: &str| {
        let one = params.get(what).and_then(|id| listing.services.iter().find(|one| one.service.as_str() == id))?;
        Some(if account.is_default() { one.name.clone() } else { format!("{} ({})", one.name, account.as_str()) })
    };
    let notice = if let Some(name) = named("connected") {
        Some(format!("{name} is connected."))
    } else {
        named("disconnected").map(|name| match params.get("revoked") {
            None => format!("{name} is disconnected."),
            Some("queued") => format!(
                "{name} is disconnected here. The service does not answer, and is asked for a week to end the access \
                 there too."
            ),
            Some(_) => format!(
                "{name} is disconnected here, but the access could not be ended there: you can remove Gatehouse in its \
                 own settings."
            ),
        })
    };
    let is_local_mode = broker.settings.is_local_mode()?;
    if is_local_mode {
        // A component has no start at which it could say so.
        broker
            .host
            .log("local mode: anyone who opens this address on this machine is the owner, since `local_owner` is true");
    }
    let public_url = broker.settings.public_url()?;
    let returns_to = local::has_other_port(request, public_url).then(|| public_url.as_str());
    Ok(pages::connections(&listing, notice.as_deref(), is_local_mode, returns_to, broker.host.now()))
}

#[derive(Serialize)]
pub struct Listing {
    pub subject: Subject,
    pub services: Vec<Listed>,
}

/// One account of the subject at one service.
#[derive(Serialize)]
pub struct Listed {
    pub service: ServiceId,
    /// The name that the person gave it.
    #[serde(skip_serializing_if = "AccountName::is_default")]
    pub account: AccountName,
    /// The name of the service.
    pub name: String,
    pub connected: bool,
    /// `active`, `needs_reconnect`, `not_connected`, `unreadable` or `not_offered`.
    pub state: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The provider's name for the account.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub label: Option<String>,
    pub scopes: Vec<String>,
    pub missing_scopes: Vec<String>,
    /// Of the access token. It is renewed before, where it can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<u64>,
    pub renewable: bool,
    #[serde(flatten)]
    pub expiry: Expiry,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connected_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refreshed_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_url: Option<String>,
    /// The page on which the person can grant the missing scopes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub step_up_url: Option<String>,
}

/// Every service that is offered, with the account without a name, and everything else that is connected.
async fn listing<H: Host>(broker: &Broker<'_, H>, subject: Subject) -> Result<Listing, Refusal> {
    let offered = broker.services().all_offered()?;
    let looked_after = broker.connections().retry_revocations(&subject).await;
    let mut ids = match looked_after.and_then(|()| broker.index().connections_of(&subject)) {
        // The operator can put the key back. What has no further account is found without the list.
        Err(error @ RowError::Open(_)) => {
            broker.host.log(&format!("an index of connections could not be read, and was left as it is: {error}"));
            Vec::new()
        }
        ids => ids?,
    };
    ids.extend(offered.iter().map(|service| ConnectionId::new(subject.clone(), service.id().clone())));
    ids.sort_by(|one, other| (&one.service, &one.account).cmp(&(&other.service, &other.account)));
    ids.dedup();
    let mut services = Vec::with_capacity(ids.len());
    for id in ids {
        let service = offered.iter().find(|service| *service.id() == id.service);
        services.push(listed(broker, id, service)?);
    }
    Ok(Listing { subject, services })
}

fn listed<H: Host>(broker: &Broker<'_, H>, id: ConnectionId, service: Option<&Offered>) -> Result<Listed, Refusal> {
    let now = broker.host.now();
    let connect_url = match service {
        Some(_) => Some(connect_url(broker.settings.public_url()?.as_str(), &id)),
        None => None,
    };
    let connection = broker.connections().get(&id);
    let refused = match &connection {
        Ok(Some(connection)) => broker.connections().refused_again(&id, connection),
        _ => None,
    };
    let mut listed = Listed {
        name: service.map_or_else(|| id.service.to_string(), |service| text::plain(service.name(), LABEL)),
        connected: false,
        state: "not_connected",
        reason: None,
        label: None,
        scopes: Vec::new(),
        missing_scopes: Vec::new(),
        expires_at: None,
        renewable: false,
        expiry: Expiry::default(),
        connected_at: None,
        refreshed_at: None,
        step_up_url: None,
        connect_url,
        service: id.service,
        account: id.account,
    };
    match connection {
        Ok(None) => {}
        Ok(Some(connection)) => listed.describe(connection, service, refused, now),
        Err(error @ (RowError::Open(_) | RowError::Form)) => {
            broker.host.log(&format!("a connection could not be read, and was left as it is: {error}"));
            listed.state = "unreadable";
        }
        Err(error) => return Err(error.into()),
    }
    Ok(listed)
}

impl Listed {
    /// Takes over what is stored of the connection. `refused` is why its person has to connect again although the provider
    /// has not ended the grant.
    fn describe(&mut self, connection: Connection, service: Option<&Offered>, refused: Option<String>, now: u64) {
        let row = match service {
            Some(Offered::Row(row)) => Some(row),
            _ => None,
        };
        let ended = match &connection.state {
            State::NeedsReconnect { reason } => Some(reason.clone()),
            State::Active if connection.refresh_token.is_none() && connection.is_expired(now) => {
                Some("expired".to_owned())
            }
            State::Active => refused,
        };
        self.state = match (&ended, service) {
            (Some(_), _) => "needs_reconnect",
            (None, None) => "not_offered",
            (None, Some(_)) => "active",
        };
        self.connected = self.state == "active";
        if ended.is_none() {
            let lifetime = row.map(|row| row.refresh_lifetime).unwrap_or_default();
            self.expiry = expiry(&connection, lifetime.idle, lifetime.absolute, now);
        }
        self.reason = ended.map(|reason| text::plain(&reason, LABEL));
        self.missing_scopes = match row {
            Some(row) => row.missing_scopes(&connection.scopes),
            None => connection.missing_scopes,
        };
        self.step_up_url = self.connect_url.clone().filter(|_| !self.missing_scopes.is_empty());
        // A row may be older than the check of what it says.
        self.label = connection.label.map(|label| text::plain(&label, LABEL));
        self.scopes = connection.scopes.iter().map(|scope| text::plain(scope, SCOPE)).collect();
        self.expires_at = connection.expires_at;
        self.renewable = connection.refresh_token.is_some();
        self.connected_at = Some(connection.connected_at);
        self.refreshed_at = Some(connection.refreshed_at);
    }
}

fn connect_url(public_url: &str, id: &ConnectionId) -> String {
    match id.account.is_default() {
        true => format!("{public_url}/auth/{}", id.service),
        false => format!("{public_url}/auth/{}?account={}", id.service, id.account.as_str()),
    }
}

/// The longest name of a scope that is shown, in characters.
const SCOPE: usize = 256;
