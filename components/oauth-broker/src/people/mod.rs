//! Who is calling?
//!
//! * A **service** proves itself by a service key and names the person by that person's own bearer.
//! * A **person** shows an API key, or the session of a browser that signed in ([`session`], [`sign_in`]).
//! * **Local mode**, where the operator has set `local_owner`: the person at this machine is the owner. A browser sends
//!   requests for any page that it is shown, so a request has to come from no other site and under our own name ([`local`]).
//! * An **admin** shows an admin key, or is the owner's own tool in local mode.
//!
//! That `public_url` is a loopback address makes nobody the owner.
//!
//! What a request says about its own address or its forwarding is never believed.

pub mod browser;
pub mod cookies;
pub mod keys;
pub mod local;
pub mod session;
pub mod sign_in;

use http::{Method, Request};
use http_auth::BearerError;

use crate::Broker;
use crate::host::Host;
use crate::http::Refusal;
use crate::names::Subject;

/// Who asks, and for whom.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Caller {
    pub subject: Subject,
    pub by: By,
}

/// Who asks, as far as the head of a request says. Its body may say for whom.
pub enum Asker {
    /// The owner's own tools, in local mode.
    Owner,
    /// By an API key, or in a session.
    Person(Subject),
    /// By its name in `service_keys`.
    Service(String),
    /// By its name in `admin_keys`.
    Admin(String),
    /// Someone who could not say who they are, or need not.
    Nobody,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum By {
    /// The person, by an API key, or the owner in local mode.
    Person,
    /// A service, by the name that its key has in `service_keys`.
    Service(String),
}

impl<H: Host> Broker<'_, H> {
    /// The person who is calling for themselves: by an API key, by being at the machine in local mode, or by a session.
    /// None when nobody has signed in.
    pub(crate) fn person(&self, request: &Request<Vec<u8>>) -> Result<Option<Subject>, Refusal> {
        if let Some(key) = key(request, Refusal::Bearer)? {
            return self.holder_of_api_key(key)?.map(Some).ok_or(Refusal::Bearer);
        }
        let public_url = self.settings.public_url()?;
        if local::has_other_name(request, public_url) {
            let is_page = matches!(*request.method(), Method::GET | Method::HEAD);
            let path = request.uri().path_and_query().filter(|_| is_page).map(ToString::to_string);
            return Err(Refusal::Name { public_url: public_url.as_str().to_owned(), path });
        }
        if self.settings.is_local_mode()? {
            local::check(request, public_url)?;
            return Ok(Some(Subject::owner()));
        }
        self.session(request.headers())
    }

    /// Lets in the owner's own tools, in local mode. Outside of it, what the caller lacks is a key.
    fn check_owners_tool(&self, request: &Request<Vec<u8>>, no_key: Refusal) -> Result<(), Refusal> {
        if !self.settings.is_local_mode()? {
            return Err(no_key);
        }
        Ok(local::check_no_browser(request, self.settings.public_url()?)?)
    }

    /// Who may ask for a token.
    pub(crate) fn asker(&self, request: &Request<Vec<u8>>) -> Result<Asker, Refusal> {
        let Some(key) = key(request, Refusal::Client)? else {
            self.check_owners_tool(request, Refusal::Client)?;
            return Ok(Asker::Owner);
        };
        if let Some(service) = self.settings.service_keys()?.owner_of(key) {
            return Ok(Asker::Service(service.to_owned()));
        }
        self.holder_of_api_key(key)?.map(Asker::Person).ok_or(Refusal::Client)
    }

    /// Who may ask who a caller is: services only.
    pub(crate) fn asker_for_resolution(&self, request: &Request<Vec<u8>>) -> Result<Asker, Refusal> {
        match self.asker(request)? {
            Asker::Person(_) => Err(Refusal::Client),
            asker => Ok(asker),
        }
    }

    /// Whom `asker` asks for. `subject_token` is the person's bearer, as a service passes it on.
    pub(crate) fn caller(&self, asker: Asker, subject_token: Option<&str>) -> Result<Caller, Refusal> {
        let (subject, by) = match (asker, subject_token) {
            (Asker::Owner, token) => (self.subject_behind(token)?, By::Person),
            (Asker::Service(name), token) => (self.subject_behind(token)?, By::Service(name)),
            // Who shows their own key speaks for nobody else.
            (Asker::Person(subject), Some(token)) if self.holder_of_api_key(token)?.as_ref() != Some(&subject) => {
                return Err(Refusal::SubjectToken);
            }
            (Asker::Person(subject), _) => (subject, By::Person),
            (Asker::Admin(_) | Asker::Nobody, _) => return Err(Refusal::Client),
        };
        Ok(Caller { subject, by })
    }

    /// The name of the admin who is calling.
    pub(crate) fn admin(&self, request: &Request<Vec<u8>>) -> Result<String, Refusal> {
        let Some(key) = key(request, Refusal::Admin)? else {
            self.check_owners_tool(request, Refusal::Admin)?;
            return Ok(Subject::owner().into());
        };
        self.settings.admin_keys()?.owner_of(key).map(str::to_owned).ok_or(Refusal::Admin)
    }

    /// The person behind a bearer that someone who may do so passes on. In local mode there is one person, who needs none.
    pub(crate) fn subject_behind(&self, bearer: Option<&str>) -> Result<Subject, Refusal> {
        match bearer {
            Some(key) => self.holder_of_api_key(key)?.ok_or(Refusal::SubjectToken),
            None if self.settings.is_local_mode()? => Ok(Subject::owner()),
            None => Err(Refusal::SubjectToken),
        }
    }

    fn holder_of_api_key(&self, key: &str) -> Result<Option<Subject>, Refusal> {
        let keys = self.settings.api_keys()?;
        Ok(keys.owner_of(key).and_then(|name| Subject::parse(name).ok()))
    }
}

/// The key that the request shows as its bearer; `malformed` if it cannot be one.
fn key(request: &Request<Vec<u8>>, malformed: Refusal) -> Result<Option<&str>, Refusal> {
    http_auth::bearer(request.headers()).map_err(|error| match error {
        BearerError::Several => Refusal::Request("there is more than one Authorization header"),
        BearerError::Form => malformed,
    })
}
