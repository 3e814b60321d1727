//! Answers the forms that sign people in and out.

use http::{HeaderValue, Request, Response};

use super::{Refusal, pages, set_cookie};
use crate::audit::{Actor, Event, Line};
use crate::broker::Broker;
use crate::host::Host;
use crate::names::{AccountName, ServiceId};
use crate::params::Params;
use crate::people::sign_in::SignInError;

/// `POST /sign-in`, of a page of our own.
pub async fn sign_in<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, Refusal> {
    let form = Params::parse(request.body())?;
    let next = Next::parse(form.get("next"));
    if broker.settings.is_local_mode()? {
        return pages::see_other(&next.path());
    }
    let credential = form.get("credential").ok_or_else(|| Refusal::Credential(next.path()))?;
    let signed_in = broker.sign_in().sign_in(credential, request.headers()).await.map_err(|error| match error {
        SignInError::Credential => {
            broker.audit().note(Line::new(Event::SignInRefused, Actor::Stranger, None));
            Refusal::Credential(next.path())
        }
        SignInError::TooMany(seconds) => Refusal::TooManySignIns(seconds),
        SignInError::Row(error) => Refusal::Row(error),
    })?;
    broker.audit().note(Line::new(Event::SignedIn, Actor::Person, Some(&signed_in.subject)));
    // Not a redirect: it would count as a part of the form's submission, which our own policy (form-action) keeps
    // from going on to a provider.
    let mut response = pages::signed_in(&signed_in.subject, &next.path());
    signed_in.cookies.iter().for_each(|cookie| set_cookie(&mut response, cookie));
    Ok(response)
}

/// `POST /sign-out`, of a page of our own: ends the session, or with `everywhere` all sessions of this person. The cookie is
/// kept while the session could not be ended, so that the person can try again.
pub async fn sign_out<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
) -> Result<Response<Vec<u8>>, Refusal> {
    let expired = broker.sign_in().expired_cookies()?;
    let everywhere = Params::parse(request.body())?.get("everywhere").is_some();
    let ended = broker.sign_in().sign_out(request.headers(), everywhere).await.map_err(|error| {
        broker.host.log(&format!("a session could not be ended: {error}"));
        Refusal::NotSignedOut
    })?;
    if let Some(subject) = ended {
        broker.audit().note(Line::new(Event::SignedOut, Actor::Person, Some(&subject)));
    }
    let mut response = pages::see_other("/")?;
    // Not the cookies: other sites of the same domain have theirs. Pages that the browser could go back to are cached.
    response.headers_mut().insert("clear-site-data", HeaderValue::from_static("\"cache\""));
    expired.iter().for_each(|cookie| set_cookie(&mut response, cookie));
    Ok(response)
}

/// The page to go to after signing in. It is built from its parts, so that it is always one of our own addresses.
#[derive(Default)]
pub struct Next(Option<(ServiceId, Option<(&'static str, String)>)>);

impl Next {
    /// The page at which a service is connected: the connection of a ticket, or else the account of this name.
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

#[cfg(test)]
mod tests {
    use super::*;

    /// Item 17: every value leads to our own pages.
    #[test]
    fn the_page_after_sign_in_is_always_our_own() {
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
