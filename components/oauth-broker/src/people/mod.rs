//! Finds out who is calling.
//!
//! * A **service** proves itself by a service key and names the person by that person's own bearer.
//! * A **person** shows an API key, or the session of a browser that signed in ([`session`], [`sign_in`]).
//! * **Local mode**, where the operator has set `local_owner`: the person at this machine is the owner. A browser sends
//!   requests for any page that it is shown, so a request has to come from no other site and under our own name ([`local`]).
//! * An **admin** shows an admin key, or is the owner's own tool in local mode.
//!
//! A loopback `public_url` alone makes nobody the owner. What a request says about its own address or its forwarding is
//! never believed.

pub mod browser;
pub mod cookies;
pub mod keys;
pub mod local;
pub mod session;
pub mod sign_in;

use http::{Method, Request};
use http_auth::BearerError;
use thiserror::Error;

use crate::host::Host;
use crate::names::{CalledBy, Caller, Subject};
use crate::settings::{Setting, SettingError, Settings};
use crate::vault::RowError;
use keys::HashedKeys;
use local::Foreign;
use session::Sessions;

/// Who sends a request, as far as its head says. Its body may say for whom.
pub enum Sender {
    /// The owner's own tools, in local mode.
    Owner,
    /// By an API key, or in a session.
    Person(Subject),
    /// By its name in `service_keys`.
    Service(String),
    /// By its name in `admin_keys`.
    Admin(String),
    /// Someone who could not say who they are, or need not.
    Anonymous,
}

/// Why a caller is not let in.
#[derive(Debug, Error)]
pub enum CallerError {
    #[error("there is more than one Authorization header")]
    SeveralBearers,
    /// The caller's own bearer.
    #[error("the API key is not known")]
    Bearer,
    /// The calling service's key.
    #[error("a known service key, or an API key, is needed as bearer")]
    Client,
    #[error("a known admin key is needed as bearer")]
    Admin,
    /// The bearer that a service passes on.
    #[error("subject_token is missing or not known")]
    SubjectToken,
    #[error(transparent)]
    Foreign(#[from] Foreign),
    /// The request names this machine by another name. A page is at the same path under `public_url`.
    #[error("this address is {public_url}, as the setting public_url says: use that name")]
    Name { public_url: String, path: Option<String> },
    #[error(transparent)]
    Row(#[from] RowError),
}

impl From<SettingError> for CallerError {
    fn from(error: SettingError) -> Self {
        Self::Row(error.into())
    }
}

/// Finds out who is calling.
pub(crate) struct People<'b, H> {
    pub settings: &'b Settings<'b, H>,
    pub sessions: Sessions<'b, H>,
}

impl<H: Host> People<'_, H> {
    /// The person who is calling for themselves: by an API key, by being at the machine in local mode, or by a session.
    /// `None` if nobody has signed in.
    pub fn person(&self, request: &Request<Vec<u8>>) -> Result<Option<Subject>, CallerError> {
        if let Some(key) = key(request, CallerError::Bearer)? {
            return self.holder_of_api_key(key)?.map(Some).ok_or(CallerError::Bearer);
        }
        let public_url = self.settings.public_url()?;
        if local::has_other_name(request, public_url) {
            let is_page = matches!(*request.method(), Method::GET | Method::HEAD);
            let path = request.uri().path_and_query().filter(|_| is_page).map(ToString::to_string);
            return Err(CallerError::Name { public_url: public_url.as_str().to_owned(), path });
        }
        if self.settings.is_local_mode()? {
            local::check(request, public_url)?;
            return Ok(Some(Subject::owner()));
        }
        Ok(self.sessions.subject(request.headers())?)
    }

    /// Lets in the owner's own tools, in local mode. Outside of it, what the caller lacks is a key.
    fn check_owners_tool(&self, request: &Request<Vec<u8>>, no_key: CallerError) -> Result<(), CallerError> {
        if !self.settings.is_local_mode()? {
            return Err(no_key);
        }
        Ok(local::check_no_browser(request, self.settings.public_url()?)?)
    }

    /// The sender of a request for a token.
    pub fn sender(&self, request: &Request<Vec<u8>>) -> Result<Sender, CallerError> {
        let Some(key) = key(request, CallerError::Client)? else {
            self.check_owners_tool(request, CallerError::Client)?;
            return Ok(Sender::Owner);
        };
        if let Some(service) = HashedKeys::of_setting(self.settings, Setting::ServiceKeys)?.owner_of(key) {
            return Ok(Sender::Service(service.to_owned()));
        }
        self.holder_of_api_key(key)?.map(Sender::Person).ok_or(CallerError::Client)
    }

    /// The sender of a request to resolve callers: services only.
    pub fn sender_for_resolution(&self, request: &Request<Vec<u8>>) -> Result<Sender, CallerError> {
        match self.sender(request)? {
            Sender::Person(_) => Err(CallerError::Client),
            sender => Ok(sender),
        }
    }

    /// The person for whom `sender` asks. `subject_token` is the person's bearer, as a service passes it on.
    pub fn caller(&self, sender: Sender, subject_token: Option<&str>) -> Result<Caller, CallerError> {
        let (subject, by) = match (sender, subject_token) {
            (Sender::Owner, token) => (self.subject_behind(token)?, CalledBy::Person),
            (Sender::Service(name), token) => (self.subject_behind(token)?, CalledBy::Service(name)),
            // A person who shows their own key speaks for nobody else.
            (Sender::Person(subject), Some(token)) if self.holder_of_api_key(token)?.as_ref() != Some(&subject) => {
                return Err(CallerError::SubjectToken);
            }
            (Sender::Person(subject), _) => (subject, CalledBy::Person),
            (Sender::Admin(_) | Sender::Anonymous, _) => return Err(CallerError::Client),
        };
        Ok(Caller { subject, by })
    }

    /// The name of the admin who is calling.
    pub fn admin(&self, request: &Request<Vec<u8>>) -> Result<String, CallerError> {
        let Some(key) = key(request, CallerError::Admin)? else {
            self.check_owners_tool(request, CallerError::Admin)?;
            return Ok(Subject::owner().into());
        };
        let keys = HashedKeys::of_setting(self.settings, Setting::AdminKeys)?;
        keys.owner_of(key).map(str::to_owned).ok_or(CallerError::Admin)
    }

    /// The person behind a bearer that someone who may do so passes on. In local mode there is one person, who needs none.
    pub fn subject_behind(&self, bearer: Option<&str>) -> Result<Subject, CallerError> {
        match bearer {
            Some(key) => self.holder_of_api_key(key)?.ok_or(CallerError::SubjectToken),
            None if self.settings.is_local_mode()? => Ok(Subject::owner()),
            None => Err(CallerError::SubjectToken),
        }
    }

    fn holder_of_api_key(&self, key: &str) -> Result<Option<Subject>, SettingError> {
        keys::holder_of_api_key(self.settings, key)
    }
}

/// The key that the request shows as its bearer; `malformed` if it cannot be one.
fn key(request: &Request<Vec<u8>>, malformed: CallerError) -> Result<Option<&str>, CallerError> {
    http_auth::bearer(request.headers()).map_err(|error| match error {
        BearerError::Several => CallerError::SeveralBearers,
        BearerError::Form => malformed,
    })
}
