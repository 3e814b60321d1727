//! Resolves a caller and a token for each of several services (`POST /resolve`, and the WIT export).
//!
//! This is on the way of every call of a gateway. When no token is due it costs: the settings that it names, one read
//! of the store and one decryption per service; and one read and one write for the [`audit`](crate::audit), unless the
//! setting `audit` is `log`.

use base64ct::{Base64UrlUnpadded, Encoding};
use futures_util::future::join_all;
use http::{Request, Response, StatusCode};
use http_auth::scope::CALLED_FOR;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

use super::Refusal;
use crate::audit::{About, Event, Line};
use crate::broker::Broker;
use crate::connections::Status;
use crate::handout::Handout;
use crate::host::Host;
use crate::names::{self, AccountName, CalledBy, ConnectionId, GrantId, ServiceId, Subject};
use crate::people::keys::is_gateway;
use crate::people::{CallerError, Sender};
use crate::settings::SettingError;
use crate::vault::RowError;
use sealing::Secret;

/// One question, in JSON or from the WIT interface.
#[derive(Deserialize)]
pub struct Question {
    #[serde(default)]
    pub subject_token: Option<Secret>,
    pub resource: String,
    pub services: Vec<Wanted>,
}

#[derive(Default, Deserialize)]
pub struct Wanted {
    pub service: String,
    /// The person's account there.
    #[serde(default)]
    pub account: Option<String>,
    /// The fingerprint of a token that the upstream has just refused.
    #[serde(default)]
    pub refused: Option<String>,
    /// The scopes that the upstream has just called for.
    #[serde(default)]
    pub scopes: Vec<String>,
}

#[derive(Serialize)]
pub struct Resolution {
    pub caller: Caller,
    pub services: Vec<Resolved>,
}

#[derive(Serialize)]
pub struct Caller {
    pub subject: String,
    /// The scopes of the bearer; empty: no restriction.
    pub scopes: Vec<String>,
    /// base64url. For gateways only: it opens what they keep for this subject.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sealing_key: Option<Secret>,
}

#[derive(Serialize)]
pub struct Resolved {
    pub service: String,
    #[serde(flatten)]
    pub outcome: Outcome,
}

#[derive(Serialize)]
#[serde(tag = "status", rename_all = "snake_case")]
pub enum Outcome {
    Token {
        access_token: Secret,
        token_type: String,
        #[serde(skip_serializing_if = "Option::is_none")]
        expires_at: Option<u64>,
        scopes: Vec<String>,
        extra: BTreeMap<String, String>,
        fingerprint: String,
    },
    NotConnected {
        connect_url: String,
    },
    NeedsReconnect {
        connect_url: String,
        missing_scopes: Vec<String>,
    },
    TemporarilyUnavailable {
        retry_after: u32,
    },
    UnknownService,
}

/// The reason why nothing at all is resolved.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    #[error("the bearer is missing or not known")]
    Bearer,
    #[error("the resource is not a URL of this gateway")]
    Audience,
    #[error("{0}")]
    Request(&'static str),
    #[error(transparent)]
    Setting(#[from] SettingError),
}

/// Answers the WIT interface, whose callers are a part of this app and need no service key.
pub async fn resolve<H: Host>(host: &H, question: Question) -> Result<Resolution, ResolveError> {
    let broker = Broker::new(host);
    let bearer = question.subject_token.as_ref().map(Secret::reveal);
    let subject = broker.people().subject_behind(bearer).map_err(|error| match error {
        CallerError::Row(RowError::Setting(error)) => ResolveError::Setting(error),
        _ => ResolveError::Bearer,
    });
    let resolution = match subject {
        // The caller is a part of this app: the gateway.
        Ok(subject) => {
            let caller = names::Caller { subject, by: CalledBy::Service("gateway".to_owned()) };
            resolve_for(&broker, caller, true, &question).await
        }
        Err(error) => Err(error),
    };
    if let Err(ResolveError::Setting(error)) = &resolution {
        host.log(&error.to_string());
    }
    resolution
}

/// `POST /resolve`
pub async fn post<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    sender: Sender,
) -> Result<Response<Vec<u8>>, Refusal> {
    let question = json::check(request.body())
        .and_then(serde_json::from_slice::<Question>)
        .map_err(|_| Refusal::Request("the body is not the JSON of a question: resource, services, subject_token"))?;
    let caller = broker.people().caller(sender, question.subject_token.as_ref().map(Secret::reveal))?;
    let is_gateway = match &caller.by {
        CalledBy::Service(name) => is_gateway(&broker.settings, name)?,
        CalledBy::Person => false,
    };
    let resolution = resolve_for(broker, caller, is_gateway, &question).await.map_err(|error| match error {
        ResolveError::Bearer => Refusal::Caller(CallerError::SubjectToken),
        ResolveError::Audience => Refusal::Target,
        ResolveError::Request(what) => Refusal::Request(what),
        ResolveError::Setting(error) => Refusal::from(error),
    })?;
    Ok(super::json(StatusCode::OK, &resolution))
}

async fn resolve_for<H: Host>(
    broker: &Broker<'_, H>,
    names::Caller { subject, by }: names::Caller,
    is_gateway: bool,
    question: &Question,
) -> Result<Resolution, ResolveError> {
    if question.services.len() > MOST {
        return Err(ResolveError::Request("more than 64 services"));
    }
    for (place, wanted) in question.services.iter().enumerate() {
        if !CALLED_FOR.hold(&wanted.scopes) {
            return Err(ResolveError::Request(super::connect::SCOPES));
        }
        if question
            .services
            .iter()
            .take(place)
            .any(|earlier| (&earlier.service, &earlier.account) == (&wanted.service, &wanted.account))
        {
            return Err(ResolveError::Request("a service is asked for twice"));
        }
    }
    if !broker.settings.gateway_url()?.contains(&question.resource) {
        return Err(ResolveError::Audience);
    }
    let keyring = broker.vault().keyring()?;
    let sealing_key = is_gateway
        .then(|| Secret::from(Base64UrlUnpadded::encode_string(keyring.sealing_key(subject.as_str()).as_slice())));
    let asked = question.services.iter().map(|wanted| one(broker, &by, &subject, wanted));
    let answers: Vec<Answered> = join_all(asked).await.into_iter().collect::<Result<_, _>>()?;
    note(broker, &by, &subject, &question.resource, &answers);
    Ok(Resolution {
        caller: Caller { scopes: Vec::new(), sealing_key, subject: subject.into() },
        services: answers.into_iter().map(|answered| answered.resolved).collect(),
    })
}

/// One line for all that leaves in this answer, and one for what does not.
fn note<H: Host>(broker: &Broker<'_, H>, by: &CalledBy, subject: &Subject, resource: &str, answers: &[Answered]) {
    let handed_out: Vec<About> = answers.iter().filter_map(Answered::about).collect();
    if !handed_out.is_empty() {
        let line = Line::new(Event::HandedOut, by.into(), Some(subject));
        broker.audit().note(line.about(&handed_out).resource(Some(resource)));
    }
    let unknown = answers.iter().filter(|answered| matches!(answered.resolved.outcome, Outcome::UnknownService));
    let unknown: Vec<ConnectionId> = unknown.filter_map(|answered| answered.id.clone()).collect();
    if !unknown.is_empty() {
        broker.handouts().note_refused(by, subject, &unknown);
    }
}

async fn one<H: Host>(
    broker: &Broker<'_, H>,
    by: &CalledBy,
    subject: &Subject,
    wanted: &Wanted,
) -> Result<Answered, SettingError> {
    let answered = |id, token, outcome| {
        Ok(Answered { id, token, resolved: Resolved { service: wanted.service.clone(), outcome } })
    };
    let service = ServiceId::parse(&wanted.service);
    let account = AccountName::parse(wanted.account.as_deref().unwrap_or_default());
    let Ok((service, account)) = service.and_then(|service| Ok((service, account?))) else {
        return answered(None, None, Outcome::UnknownService);
    };
    let id = ConnectionId { subject: subject.clone(), service, account };
    let outcome = match broker.handouts().status(by, &id, wanted.refused.as_deref(), &wanted.scopes).await? {
        Status::Token(connection) => {
            let handout = Handout::from(*connection);
            let outcome = Outcome::Token {
                access_token: handout.access_token,
                token_type: handout.token_type,
                expires_at: handout.expires_at,
                scopes: handout.scopes,
                extra: handout.extra,
                fingerprint: handout.fingerprint,
            };
            return answered(Some(id), Some((handout.grant, handout.generation)), outcome);
        }
        Status::NotConnected => Outcome::NotConnected { connect_url: broker.tickets().connect_url(&id, &[])? },
        Status::NeedsReconnect { missing_scopes } => {
            Outcome::NeedsReconnect { connect_url: broker.tickets().connect_url(&id, &missing_scopes)?, missing_scopes }
        }
        Status::RetryAfter(retry_after) => Outcome::TemporarilyUnavailable { retry_after },
        Status::UnknownService => Outcome::UnknownService,
    };
    answered(Some(id), None, outcome)
}

/// An answer, and what is noted of it.
struct Answered {
    resolved: Resolved,
    id: Option<ConnectionId>,
    /// The grant and the generation of a token that leaves.
    token: Option<(GrantId, u64)>,
}

impl Answered {
    fn about(&self) -> Option<About<'_>> {
        let (grant, generation) = self.token.as_ref()?;
        Some(About::new(self.id.as_ref()?).token(grant, *generation))
    }
}

const MOST: usize = 64;
