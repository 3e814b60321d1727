//! Finds out the caller, and the tokens that may be used for them.
//!
//! The broker is asked once for each request, unless it was asked a moment ago (`kept`), and once more for tokens that
//! an upstream has refused.

use http::{HeaderMap, HeaderValue, Response, StatusCode, header};
use http_auth::{BearerError, Hops};

use crate::config::Server;
use crate::eras::legacy::SESSION_ID;
use crate::host::{AccessToken, Caller, Host, Outcome, ResolveError, ResolveRequest, Secret, WantedService};
use crate::jsonrpc;
use crate::kept::Kept;

/// The most services that one question may name (`resolve-request` of `wit/tokens.wit`).
const MOST_SERVICES: usize = 64;

/// Who calls, before it is known whether the broker accepts them.
pub struct Stranger {
    bearer: Option<Secret>,
    resource: String,
    hops: Hops,
    /// `None` if they have no bearer.
    kept: Option<Kept>,
}

/// A caller whose bearer the broker has accepted.
pub struct Visitor {
    pub caller: Caller,
    bearer: Option<Secret>,
    resource: String,
    outcomes: Vec<(WantedService, Outcome)>,
    /// Where the answer is kept.
    kept: Option<Kept>,
    /// True if the answer is one that was kept.
    is_recalled: bool,
}

/// How a server can be called for a visitor.
pub enum Standing<'a> {
    /// With this token, or without one where it needs none.
    Open(Option<&'a AccessToken>),
    Closed(&'a Outcome),
}

impl Stranger {
    /// The sender of `headers` to `resource`. Errors: 401 for a bearer that cannot be one, 400 for several, 508 for a
    /// request that has passed too many Gatehouses.
    pub fn of(host: &impl Host, headers: &HeaderMap, resource: String) -> Result<Self, Response<Vec<u8>>> {
        let hops =
            Hops::of(headers).map_err(|error| jsonrpc::refuse(StatusCode::LOOP_DETECTED, None, &error.to_string()))?;
        let bearer = http_auth::bearer(headers).map_err(|error| match error {
            BearerError::Several => jsonrpc::refuse(StatusCode::BAD_REQUEST, None, &error.to_string()),
            BearerError::Form => unauthorized(&error.to_string(), true),
        })?;
        let bearer = bearer.map(|bearer| Secret::from(bearer.to_owned()));
        let session = headers.get(SESSION_ID).and_then(|session| session.to_str().ok()).unwrap_or_default();
        let kept = bearer.as_ref().map(|bearer| Kept::of(host, bearer, &resource, session));
        Ok(Self { bearer, resource, hops, kept })
    }

    /// `servers.json`, if it was kept for them.
    pub fn file(&self) -> Option<&str> {
        self.kept.as_ref()?.file()
    }

    /// Has `servers.json`, as it was just read, kept for `seconds`.
    pub fn note_file(&mut self, host: &impl Host, text: &str, seconds: u64) {
        if let Some(kept) = &mut self.kept {
            kept.note_file(host, text, seconds);
        }
    }

    /// Refuses a caller who shows no bearer.
    pub fn needs_bearer(&self) -> Result<(), Response<Vec<u8>>> {
        if self.bearer.is_none() { Err(unauthorized("A bearer token is needed", false)) } else { Ok(()) }
    }

    /// Asks who they are, unless that is known, before more is done for them than for anybody. The answer is not kept: what
    /// is kept says that a session is open too, which nobody has looked at yet.
    pub fn identify(&self, host: &impl Host, keep_seconds: u64) -> Result<(), Response<Vec<u8>>> {
        let kept = self.kept.as_ref().filter(|_| keep_seconds > 0);
        if kept.is_some_and(|kept| kept.recall(host, &[]).is_some()) {
            return Ok(());
        }
        let had_bearer = self.bearer.is_some();
        let (bearer, resource) = (self.bearer.clone(), self.resource.clone());
        let request = ResolveRequest { bearer, resource, services: Vec::new() };
        host.resolve(&request).map(drop).map_err(|error| refusal(host, &error, had_bearer))
    }

    /// Asks who they are, and for the tokens of what is wanted. An answer may be used again for `keep_seconds`.
    pub fn meet<'a>(
        self,
        host: &impl Host,
        wanted: impl Iterator<Item = &'a Server<'a>>,
        keep_seconds: u64,
    ) -> Result<Visitor, Response<Vec<u8>>> {
        let mut services: Vec<WantedService> = Vec::new();
        for wanted in wanted.filter_map(of) {
            if services.len() < MOST_SERVICES && !services.contains(&wanted) {
                services.push(wanted);
            }
        }
        let Self { bearer, resource, hops, kept } = self;
        let mut kept = kept.filter(|_| keep_seconds > 0);
        let had_bearer = bearer.is_some();
        let request = ResolveRequest { bearer, resource, services };
        let recalled = kept.as_ref().and_then(|kept| kept.recall(host, &request.services));
        let is_recalled = recalled.is_some();
        let mut resolution = match recalled {
            Some(recalled) => recalled,
            None => {
                let mut resolution = host.resolve(&request).map_err(|error| refusal(host, &error, had_bearer))?;
                if let Some(kept) = &mut kept {
                    let outcomes = request.services.iter().zip(&resolution.outcomes);
                    kept.keep(host, &mut resolution.caller, outcomes, keep_seconds);
                }
                resolution
            }
        };
        resolution.caller.hops = hops;
        Ok(Visitor {
            caller: resolution.caller,
            bearer: request.bearer,
            resource: request.resource,
            outcomes: request.services.into_iter().zip(resolution.outcomes).collect(),
            kept,
            is_recalled,
        })
    }
}

impl Visitor {
    /// When all is done: what was found out about upstreams is kept with the answer that is in use, for as long as that.
    pub fn part(mut self, host: &impl Host) {
        if let Some(kept) = self.kept.as_mut().filter(|kept| kept.has_news() || self.caller.met.has_news()) {
            kept.save(host, &self.caller.met);
        }
    }

    /// Returns true if the broker was asked a moment ago, by the same bearer in the same session.
    pub fn is_recalled(&self) -> bool {
        self.is_recalled
    }

    /// Has the broker asked again next time.
    pub fn forget(&mut self, host: &impl Host) {
        if let Some(kept) = self.kept.take() {
            kept.forget(host);
        }
    }

    /// What it called with.
    pub fn bearer(&self) -> Option<&Secret> {
        self.bearer.as_ref()
    }

    pub fn standing(&self, server: &Server<'_>) -> Standing<'_> {
        let Some(wanted) = of(server) else { return Standing::Open(None) };
        match self.outcomes.iter().find(|(known, _)| *known == wanted) {
            Some((_, Outcome::Token(token))) => Standing::Open(Some(token)),
            Some((_, outcome)) => Standing::Closed(outcome),
            None => Standing::Closed(&Outcome::UnknownService),
        }
    }

    /// Tells the broker that upstreams have refused the tokens of `servers`, and takes what it has instead. Where it
    /// cannot answer, nothing can be done now.
    pub fn renew<'a>(&mut self, host: &impl Host, servers: impl Iterator<Item = &'a Server<'a>>) {
        let mut again: Vec<WantedService> = Vec::new();
        for wanted in servers.filter_map(of) {
            if let Some((_, Outcome::Token(token))) = self.outcomes.iter().find(|(known, _)| *known == wanted)
                && again.iter().all(|other| (&other.service, &other.account) != (&wanted.service, &wanted.account))
            {
                again.push(WantedService { refused: Some(token.fingerprint.clone()), ..wanted });
            }
        }
        self.ask_again(host, again);
    }

    /// Asks the broker for the scopes that `server` has called for. Returns true if there is something new to
    /// call it with, or to tell the person.
    pub fn widen(&mut self, host: &impl Host, server: &Server<'_>, scopes: &[String]) -> bool {
        let Some(wanted) = of(server) else { return false };
        let before = match self.standing(server) {
            Standing::Open(Some(token)) => token.fingerprint.clone(),
            _ => return false,
        };
        self.ask_again(host, vec![WantedService { scopes: scopes.to_vec(), ..wanted }]);
        !matches!(self.standing(server), Standing::Open(Some(token)) if token.fingerprint == before)
    }

    fn ask_again(&mut self, host: &impl Host, services: Vec<WantedService>) {
        self.forget(host);
        let request = ResolveRequest { bearer: self.bearer.clone(), resource: self.resource.clone(), services };
        let outcomes = match host.resolve(&request) {
            Ok(resolution) => resolution.outcomes,
            Err(ResolveError::Unavailable(seconds)) => {
                vec![Outcome::TemporarilyUnavailable(seconds); request.services.len()]
            }
            Err(_) => vec![Outcome::UnknownService; request.services.len()],
        };
        for (wanted, outcome) in request.services.into_iter().zip(outcomes) {
            let known = |known: &WantedService| known.service == wanted.service && known.account == wanted.account;
            if let Some(known) = self.outcomes.iter_mut().find(|(other, _)| known(other)) {
                known.1 = outcome;
            }
        }
    }
}

/// What `server` needs a token for.
fn of(server: &Server<'_>) -> Option<WantedService> {
    let service = server.service.as_deref()?.to_owned();
    let account = server.account.as_deref().map(str::to_owned);
    Some(WantedService { service, account, ..WantedService::default() })
}

/// What a caller is told when nothing could be resolved.
pub fn refusal(host: &impl Host, error: &ResolveError, had_bearer: bool) -> Response<Vec<u8>> {
    match error {
        ResolveError::InvalidToken | ResolveError::WrongAudience => {
            let message = if had_bearer { "The bearer token is not valid here" } else { "A bearer token is needed" };
            unauthorized(message, had_bearer)
        }
        ResolveError::Unavailable(seconds) => {
            let message = "The broker does not answer now; try again later";
            let mut response = jsonrpc::refuse(StatusCode::SERVICE_UNAVAILABLE, None, message);
            response.headers_mut().insert(header::RETRY_AFTER, (*seconds).into());
            response
        }
        ResolveError::Misconfigured(setting) => misconfigured(host, setting),
    }
}

/// RFC 6750 section 3: no error code for a request that has no bearer.
fn unauthorized(message: &str, had_bearer: bool) -> Response<Vec<u8>> {
    let challenge = if had_bearer { "Bearer error=\"invalid_token\"" } else { "Bearer" };
    let mut response = jsonrpc::refuse(StatusCode::UNAUTHORIZED, None, message);
    response.headers_mut().insert(header::WWW_AUTHENTICATE, HeaderValue::from_static(challenge));
    response
}

/// A setting is missing or wrong. The text names it and holds no secret.
pub fn misconfigured(host: &impl Host, setting: &str) -> Response<Vec<u8>> {
    host.log(&format!("gateway: misconfigured: {setting}"));
    let message = format!("The gateway is misconfigured: {setting}");
    jsonrpc::respond(StatusCode::INTERNAL_SERVER_ERROR, jsonrpc::error(None, jsonrpc::INTERNAL_ERROR, &message, None))
}
