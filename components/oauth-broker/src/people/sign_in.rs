//! How does a person sign in, and how often may they try? (row of kind `l`)
//!
//! With the owner's passphrase or an API key. A passphrase can be guessed, so all of them together fail at most
//! [`MOST`] times a minute. An API key cannot, so it is taken even then: nobody can lock everybody out.

use http::{Request, Response, header};
use serde::{Deserialize, Serialize};

use super::{browser, cookies::Cookie, keys, local, session};
use crate::Broker;
use crate::audit::{Actor, Event, Line};
use crate::doors::params::Params;
use crate::doors::{Refusal, pages};
use crate::host::Host;
use crate::names::{AccountName, ServiceId, Subject};
use crate::vault::{Kind, Place};
use sealing::age::is_recent;

impl<H: Host> Broker<'_, H> {
    /// `POST /sign-in`
    pub(crate) fn sign_in(&self, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Refusal> {
        let public_url = self.settings.public_url()?;
        local::check_origin(request, public_url)?;
        let form = Params::parse(request.body())?;
        let next = Next::parse(form.get("next"));
        if self.settings.is_local_mode()? {
            return pages::see_other(&next.path());
        }
        let credential = form.get("credential").ok_or(Refusal::Credential(next.path()))?;
        let subject = self.subject_with(credential, &next).inspect_err(|refusal| {
            if matches!(refusal, Refusal::Credential(_)) {
                self.note(Line::new(Event::SignInRefused, Actor::Stranger, None));
            }
        })?;
        self.note(Line::new(Event::SignedIn, Actor::Person, Some(&subject)));
        let cookie = self.new_session(subject.clone(), credential)?;
        // Not a redirect: it would count as a part of the form's submission, which our own policy (form-action) keeps
        // from going on to a provider.
        let mut response = pages::signed_in(&subject, &next.path());
        set(&mut response, &cookie);
        Ok(response)
    }

    /// `POST /sign-out`
    pub(crate) fn sign_out(&self, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Refusal> {
        let public_url = self.settings.public_url()?;
        local::check_origin(request, public_url)?;
        let mut response = pages::see_other("/")?;
        set(&mut response, &session::over(public_url.is_secure()));
        set(&mut response, &browser::over(public_url.is_secure()));
        Ok(response)
    }

    fn subject_with(&self, credential: &str, next: &Next) -> Result<Subject, Refusal> {
        if let Some(subject) = self.holder_of_api_key(credential)? {
            return Ok(subject);
        }
        let now = self.host.now();
        let mut limit: Limit = self.read_if_it_opens(LIMIT)?.unwrap_or_default();
        if !is_recent(limit.since, now, WINDOW - 1) {
            limit = Limit { since: now, failures: 0 };
        }
        if limit.failures >= MOST {
            let wait = (limit.since + WINDOW).saturating_sub(now);
            return Err(Refusal::TooManySignIns(u32::try_from(wait).unwrap_or(1).max(1)));
        }
        match self.settings.owner_passphrase() {
            Some(passphrase) if bool::from(keys::same(passphrase.reveal(), credential)) => Ok(Subject::owner()),
            _ => {
                limit.failures += 1;
                self.write(LIMIT, &limit)?;
                Err(Refusal::Credential(next.path()))
            }
        }
    }
}

/// Where to go after signing in. Made anew from its parts, so that nothing but our own addresses can come of it.
#[derive(Default)]
pub struct Next(Option<(ServiceId, Option<(&'static str, String)>)>);

impl Next {
    /// The page at which a service is connected: what its ticket says, or else the account of this name.
    pub fn connect(service: &ServiceId, account: Option<&str>, ticket: Option<&str>) -> Self {
        let letters = |ticket: &&str| ticket.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
        let account = account.and_then(|name| AccountName::parse(name).ok()).filter(|name| !name.is_default());
        let ticket = ticket.filter(letters).map(|ticket| ("ticket", ticket.to_owned()));
        Self(Some((service.clone(), ticket.or(account.map(|name| ("account", name.into()))))))
    }

    pub fn parse(path: Option<&str>) -> Self {
        let Some(rest) = path.and_then(|path| path.strip_prefix("/auth/")) else { return Self(None) };
        let (id, query) = rest.split_once('?').unwrap_or((rest, ""));
        let Ok(id) = ServiceId::parse(id) else { return Self(None) };
        Self::connect(&id, query.strip_prefix("account="), query.strip_prefix("ticket="))
    }

    pub fn path(&self) -> String {
        match &self.0 {
            None => "/".to_owned(),
            Some((id, None)) => format!("/auth/{id}"),
            Some((id, Some((name, value)))) => format!("/auth/{id}?{name}={value}"),
        }
    }
}

/// Adds a cookie to an answer.
pub fn set(response: &mut Response<Vec<u8>>, cookie: &Cookie) {
    if let Some(value) = cookie.header() {
        response.headers_mut().append(header::SET_COOKIE, value);
    }
}

#[derive(Serialize, Deserialize, Default)]
struct Limit {
    since: u64,
    failures: u32,
}

const LIMIT: Place = Place { kind: Kind::SignInLimit, identity: &[] };
/// Seconds.
const WINDOW: u64 = 60;
const MOST: u32 = 10;

#[cfg(test)]
mod tests {
    use super::*;

    /// Item 17: whatever is given, the way leads to our own pages.
    #[test]
    fn after_signing_in_the_way_leads_nowhere_else() {
        for good in ["/", "/auth/github", "/auth/github?ticket=aB-_9", "/auth/github?account=work"] {
            assert_eq!(Next::parse(Some(good)).path(), good);
        }
        for bad in [
            "//evil.example",
            "https:evil.example",
            "\\\\evil.example",
            "/\\evil.example",
            "/auth/..//evil",
            "/auth/%25@evil",
            "https://evil.example/auth/github",
            "/auth/a@b@c",
            "/auth/..;/",
            "/callback/github",
            "",
            "/auth/",
        ] {
            assert_eq!(Next::parse(Some(bad)).path(), "/", "{bad}");
        }
        for bad in ["ticket=a&next=//evil", "account=A", "account=//evil", "account=", "next=//evil"] {
            assert_eq!(Next::parse(Some(&format!("/auth/github?{bad}"))).path(), "/auth/github", "{bad}");
        }
    }
}
