//! Signs people in and out, and limits how often a passphrase can be guessed (rows of kind `l`).
//!
//! A person signs in with the owner's passphrase or an API key. An API key cannot be guessed: it is taken however many
//! guesses there were. A passphrase can be guessed, so at most [`MOST`] wrong ones are compared in [`WINDOW`] seconds. An
//! attempt is counted **before** it is compared, under the [lease](crate::connections::lease) of its counter: parallel
//! guesses take their turns, and one whose turn does not come is refused without being compared. An attempt that was
//! right is taken out of the count again.
//!
//! All strangers share one counter, so strangers can use it up. A browser in which the owner has signed in before has
//! another one, named by its cookie ([`super::session`]): they do not keep the owner out there. There are 64 of those.

use http::{HeaderValue, Request, Response, header};

use super::session::{OWNERS_BROWSER, SESSION};
use super::{browser, cookies::Cookie, keys, session};
use crate::Broker;
use crate::audit::{Actor, Event, Line};
use crate::host::Host;
use crate::http::params::Params;
use crate::http::{Refusal, pages};
use crate::names::{AccountName, ServiceId, Subject};
use crate::vault::{Kind, Place};
use sealing::age::is_recent;

impl<H: Host> Broker<'_, H> {
    /// `POST /sign-in`, of a page of our own.
    pub(crate) async fn sign_in(&self, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Refusal> {
        let form = Params::parse(request.body())?;
        let next = Next::parse(form.get("next"));
        if self.settings.is_local_mode()? {
            return pages::see_other(&next.path());
        }
        let credential = form.get("credential").ok_or(Refusal::Credential(next.path()))?;
        let browser = self.sealed_cookie(&OWNERS_BROWSER, request.headers())?.map(|browser| browser.id);
        let subject = self.subject_with(credential, browser.as_deref(), &next).await.inspect_err(|refusal| {
            if matches!(refusal, Refusal::Credential(_)) {
                self.note(Line::new(Event::SignInRefused, Actor::Stranger, None));
            }
        })?;
        self.note(Line::new(Event::SignedIn, Actor::Person, Some(&subject)));
        // Not a redirect: it would count as a part of the form's submission, which our own policy (form-action) keeps
        // from going on to a provider.
        let mut response = pages::signed_in(&subject, &next.path());
        set(&mut response, &self.new_sealed_cookie(&SESSION, &subject, credential, None)?);
        if subject == Subject::owner() {
            set(&mut response, &self.new_sealed_cookie(&OWNERS_BROWSER, &subject, credential, browser)?);
        }
        Ok(response)
    }

    /// `POST /sign-out`, of a page of our own: ends the session, or with `everywhere` all of this person. The cookie is kept while the session
    /// could not be ended, so that the person can try again.
    pub(crate) async fn sign_out(&self, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Refusal> {
        let public_url = self.settings.public_url()?;
        let everywhere = Params::parse(request.body())?.get("everywhere").is_some();
        let ended = self.end_session(request.headers(), everywhere).await.map_err(|error| {
            self.host.log(&format!("a session could not be ended: {error}"));
            Refusal::NotSignedOut
        })?;
        if let Some(subject) = ended {
            self.note(Line::new(Event::SignedOut, Actor::Person, Some(&subject)));
        }
        let mut response = pages::see_other("/")?;
        // Not the cookies: other sites of the same domain have theirs. Pages that the browser could go back to are cached.
        response.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"cache\""));
        set(&mut response, &session::over(public_url.is_secure()));
        set(&mut response, &browser::over(public_url.is_secure()));
        Ok(response)
    }

    /// Whose credential it is. `browser` is the id of an owner's browser.
    async fn subject_with(&self, credential: &str, browser: Option<&str>, next: &Next) -> Result<Subject, Refusal> {
        if let Some(subject) = self.holder_of_api_key(credential)? {
            return Ok(subject);
        }
        let letter = browser.and_then(|id| id.get(..1));
        let place = Place { kind: Kind::SignInLimit, identity: letter.as_slice() };
        // Who has no attempt left need not wait to hear it.
        self.attempts(place)?;
        let lease = self.wait_for_lease(place, PATIENCE).await?.ok_or(Refusal::TooManySignIns(1))?;
        let is_right = self.attempt(place, credential);
        self.release(place, &lease);
        if is_right? { Ok(Subject::owner()) } else { Err(Refusal::Credential(next.path())) }
    }

    /// Counts an attempt, and only then compares it.
    fn attempt(&self, place: Place, credential: &str) -> Result<bool, Refusal> {
        let before: String = self.attempts(place)?.iter().map(|attempt| format!("{attempt} ")).collect();
        self.write_plain(place, format!("{before}{}", self.host.now()).as_bytes())?;
        let passphrase = self.settings.owner_passphrase();
        let is_right = passphrase.is_some_and(|passphrase| bool::from(keys::same(passphrase.reveal(), credential)));
        if is_right && let Err(error) = self.write_plain(place, before.as_bytes()) {
            self.host.log(&format!("a sign-in stays counted as a guess: {error}"));
        }
        Ok(is_right)
    }

    /// When the attempts of the last minute were. Errors if no further one may be compared.
    fn attempts(&self, place: Place) -> Result<Vec<u64>, Refusal> {
        let now = self.host.now();
        let row = self.read_text_if_it_opens(place)?;
        let attempts = row.split(' ').filter_map(|attempt| attempt.parse().ok());
        let attempts: Vec<u64> = attempts.filter(|attempt| is_recent(*attempt, now, WINDOW - 1)).collect();
        if attempts.len() < MOST {
            return Ok(attempts);
        }
        let next = attempts.iter().min().map_or(now, |first| first + WINDOW);
        Err(Refusal::TooManySignIns(u32::try_from(next.saturating_sub(now)).unwrap_or(1).max(1)))
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

/// Seconds.
const WINDOW: u64 = 60;
/// Wrong passphrases that are compared in a window, for each counter.
const MOST: usize = 10;
/// For how many milliseconds an attempt waits for its turn.
const PATIENCE: u64 = 2_000;

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
