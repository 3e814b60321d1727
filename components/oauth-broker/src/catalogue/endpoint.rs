//! Checks the URLs to which the broker sends secrets or people.

use std::collections::BTreeMap;

use http_auth::address::Place;
use thiserror::Error;
use url::Url;

/// A provider's URL that has passed the checks: `https`, or `http` on loopback; a host of the outside world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

/// An endpoint with parts that may still be missing, because they come with a grant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address(String);

#[derive(Debug, Error, PartialEq, Eq)]
pub enum EndpointError {
    #[error("not a URL")]
    Url,
    #[error("it has to be https (http is for loopback addresses)")]
    Scheme,
    #[error("a user name, a password or a fragment has no place in it")]
    Parts,
    #[error("`*.spin.internal`, `self.alt` and link-local hosts are not outside")]
    Internal,
    #[error("it is in a private network, and `allowed` has a `*` for its host")]
    Private,
    #[error("`variables` has no `{0}`")]
    Variable(String),
    #[error(
        "`variables` has a `{0}` that is not letters, digits, `.`, `-`, `_` or `:`, or that `allowed` does not have"
    )]
    Value(String),
    #[error("`allowed` says nothing of `{0}`, which only a grant knows")]
    Anything(String),
    #[error("the provider has not said what `{0}` is, or said what `allowed` does not have")]
    Said(String),
}

impl Endpoint {
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let url = Url::parse(text).map_err(|_| EndpointError::Url)?;
        let place = Place::of(url.host_str().ok_or(EndpointError::Url)?);
        match (place, url.scheme()) {
            (Place::Forbidden, _) => return Err(EndpointError::Internal),
            (Place::Invalid, _) => return Err(EndpointError::Url),
            (_, "https") | (Place::Loopback, "http") => {}
            _ => return Err(EndpointError::Scheme),
        }
        if !url.username().is_empty() || url.password().is_some() || url.fragment().is_some() {
            return Err(EndpointError::Parts);
        }
        Ok(Self(url))
    }

    pub fn url(&self) -> &Url {
        &self.0
    }
}

/// The values of `{…}` in the URLs of one service.
pub struct Variables<'a> {
    pub client_id: &'a str,
    pub set: &'a BTreeMap<String, String>,
    pub allowed: &'a BTreeMap<String, Vec<String>>,
    /// Names of values that come with a grant.
    pub later: &'a [&'a str],
}

impl Address {
    /// Puts in what is known of a URL template such as `https://{host}/oauth/token`.
    pub fn read(template: &str, variables: &Variables) -> Result<Self, EndpointError> {
        let mut complete = true;
        let filled = fill(template, &mut |name| {
            let Some(value) =
                variables.set.get(name).map(String::as_str).or((name == "client_id").then_some(variables.client_id))
            else {
                if !TOKENS.contains(&name) {
                    if !variables.later.contains(&name) {
                        return Err(EndpointError::Variable(name.to_owned()));
                    }
                    if !variables.allowed.contains_key(name) {
                        return Err(EndpointError::Anything(name.to_owned()));
                    }
                }
                complete = false;
                return Ok(format!("{{{name}}}"));
            };
            let fits = match variables.allowed.get(name) {
                Some(patterns) => patterns.iter().any(|pattern| matches(pattern, value)),
                // A value names a host or a tenant: it cannot bring a path, a query or a user name along.
                None => {
                    !value.is_empty()
                        && value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte))
                }
            };
            if fits { Ok(value.to_owned()) } else { Err(EndpointError::Value(name.to_owned())) }
        })?;
        if complete {
            Endpoint::parse(&filled)?;
        }
        Ok(Self(filled))
    }

    /// The endpoint of one grant. What its provider or its callback said has to be `allowed`; tokens are quoted.
    pub fn endpoint(
        &self,
        allowed: &BTreeMap<String, Vec<String>>,
        value: &dyn Fn(&str) -> Option<String>,
    ) -> Result<Endpoint, EndpointError> {
        let host = self.0.split_once("://").map_or(&*self.0, |(_, after)| after).split('/').next();
        let mut is_guessed = false;
        let filled = fill(&self.0, &mut |name| {
            let said = || EndpointError::Said(name.to_owned());
            let value = value(name).ok_or_else(said)?;
            if TOKENS.contains(&name) {
                return Ok(url::form_urlencoded::byte_serialize(value.as_bytes()).collect());
            }
            let patterns = allowed.get(name).map(Vec::as_slice).unwrap_or_default();
            let fitting = patterns.iter().find(|pattern| matches(pattern, &value)).ok_or_else(said)?;
            is_guessed |= fitting.contains('*') && host.is_some_and(|host| host.contains('{'));
            Ok(value)
        })?;
        let endpoint = Endpoint::parse(&filled)?;
        // Of a private network the operator names each host, and no pattern does.
        let is_outside = || endpoint.0.host_str().map(Place::of) == Some(Place::Public);
        if is_guessed && !is_outside() { Err(EndpointError::Private) } else { Ok(endpoint) }
    }
}

impl From<Endpoint> for Address {
    fn from(endpoint: Endpoint) -> Self {
        Self(endpoint.0.into())
    }
}

fn fill(template: &str, value: &mut dyn FnMut(&str) -> Result<String, EndpointError>) -> Result<String, EndpointError> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or(EndpointError::Url)?;
        filled.push_str(before);
        filled.push_str(&value(name)?);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

/// Returns true if a value matches a pattern of `allowed`: the text itself, in which `*` is one label of a host's name.
fn matches(pattern: &str, value: &str) -> bool {
    let Some((before, after)) = pattern.split_once('*') else { return pattern == value };
    let Some(rest) = value.strip_prefix(before) else { return false };
    let label = rest.find(|c: char| !c.is_ascii_alphanumeric() && c != '-').unwrap_or(rest.len());
    (1..=63).contains(&label) && !rest.starts_with('-') && matches(after, &rest[label..])
}

/// The tokens of a grant that may stand in a URL, where a provider wants them there.
const TOKENS: [&str; 3] = ["access_token", "refresh_token", "token"];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn secrets_go_to_https_or_to_this_very_machine() {
        for good in ["https://a.example/token?x=1", "http://127.0.0.1:9/t", "http://localhost:9/t", "http://[::1]/t"] {
            assert!(Endpoint::parse(good).is_ok(), "{good}");
        }
        for bad in ["http://a.example/", "ftp://a.example/", "http://127.0.0.1.evil.example/", "http://10.0.0.1/"] {
            assert_eq!(Endpoint::parse(bad), Err(EndpointError::Scheme), "{bad}");
        }
    }

    #[test]
    fn another_component_of_the_app_is_no_provider() {
        for bad in ["http://oauth-broker.spin.internal/", "https://x.spin.internal./", "https://SPIN.internal/"] {
            assert_eq!(Endpoint::parse(bad), Err(EndpointError::Internal), "{bad}");
        }
    }

    #[test]
    fn a_url_has_no_more_parts_than_it_needs() {
        for bad in ["https://user@a.example/", "https://:pw@a.example/", "https://a.example/#x"] {
            assert_eq!(Endpoint::parse(bad), Err(EndpointError::Parts), "{bad}");
        }
        for bad in ["/token", "", "https://", "data:x"] {
            assert_eq!(Endpoint::parse(bad), Err(EndpointError::Url), "{bad}");
        }
    }

    fn read(template: &str, set: &[(&str, &str)], allowed: &[(&str, &[&str])]) -> Result<Address, EndpointError> {
        let own = |text: &&str| (*text).to_owned();
        let set = set.iter().map(|(name, value)| (own(name), own(value))).collect();
        let allowed = lists(allowed);
        Address::read(template, &Variables { client_id: "id", set: &set, allowed: &allowed, later: &["said"] })
    }

    fn lists(allowed: &[(&str, &[&str])]) -> BTreeMap<String, Vec<String>> {
        let list = |list: &[&str]| list.iter().map(|text| (*text).to_owned()).collect();
        allowed.iter().map(|(name, patterns)| ((*name).to_owned(), list(patterns))).collect()
    }

    #[test]
    fn a_variable_stands_for_a_host_and_for_nothing_wider() {
        let filled = read("https://{host}/oauth/{client_id}", &[("host", "git.example:8443")], &[]);
        assert_eq!(filled.unwrap().0, "https://git.example:8443/oauth/id");
        for bad in ["a/b", "user@a", "", "a?b", "a#b"] {
            let read = read("https://{host}/", &[("host", bad)], &[]);
            assert_eq!(read, Err(EndpointError::Value("host".into())), "{bad}");
        }
        assert_eq!(read("https://{tenant}/", &[], &[]), Err(EndpointError::Variable("tenant".into())));
    }

    #[test]
    fn a_variable_with_a_list_is_on_it() {
        let shop: &[(&str, &[&str])] = &[("shop", &["*"]), ("region", &["", "eu."])];
        for good in ["our-shop", "a", "0"] {
            assert!(read("https://{shop}.example/", &[("shop", good)], shop).is_ok(), "{good}");
        }
        for bad in ["", "a.b", "-a", "a/b", "evil.example/", "a_b", &"a".repeat(64)] {
            assert!(read("https://{shop}.example/", &[("shop", bad)], shop).is_err(), "{bad}");
        }
        for (region, fits) in [("", true), ("eu.", true), ("us.", false), ("eu", false)] {
            assert_eq!(read("https://api.{region}example/", &[("region", region)], shop).is_ok(), fits, "{region}");
        }
    }

    /// The provider's word for a host counts only where the row lists it.
    #[test]
    fn a_value_of_a_grant_is_in_a_url_only_if_it_is_allowed() {
        let unlisted = read("{said}/token", &[], &[]);
        assert_eq!(unlisted, Err(EndpointError::Anything("said".into())));
        let allowed: &[(&str, &[&str])] = &[("said", &["https://accounts.example.eu", "https://*.api.example"])];
        let address = read("{said}/token", &[], allowed).unwrap();
        let endpoint = |said: &str| {
            let said = said.to_owned();
            address.endpoint(&lists(allowed), &move |_| Some(said.clone()))
        };
        assert_eq!(
            endpoint("https://accounts.example.eu").unwrap().url().as_str(),
            "https://accounts.example.eu/token"
        );
        assert!(endpoint("https://ours.api.example").is_ok());
        for bad in [
            "https://accounts.example.eu.evil.example",
            "https://evil.example",
            "http://accounts.example.eu",
            "",
            "https://a.b.api.example",
            "https://evil.example/.api.example",
            "https://accounts.example.eu@evil.example",
            "https://x@evil.api.example",
            "https://evil.example#.api.example",
            "https://.api.example",
        ] {
            assert_eq!(endpoint(bad), Err(EndpointError::Said("said".into())), "{bad}");
        }
        assert!(address.endpoint(&lists(allowed), &|_| None).is_err());
    }

    /// A05: a pattern that a dotless or a private name fits leads into no private network.
    #[test]
    fn a_private_host_is_written_out_in_what_is_allowed() {
        let allowed: &[(&str, &[&str])] =
            &[("said", &["https://*", "http://*", "https://*.corp", "https://login.lan", "https://*.example"])];
        let address = read("{said}/token", &[], allowed).unwrap();
        let endpoint = |said: &str| {
            let said = said.to_owned();
            address.endpoint(&lists(allowed), &move |_| Some(said.clone()))
        };
        for bad in ["https://jenkins", "https://localhost", "http://localhost", "https://login.corp"] {
            assert_eq!(endpoint(bad), Err(EndpointError::Private), "{bad}");
        }
        assert!(endpoint("https://login.lan").is_ok() && endpoint("https://login.example").is_ok());
        let path = read("https://login.lan/{said}/token", &[], &[("said", &["*"])]).unwrap();
        assert!(path.endpoint(&lists(&[("said", &["*"])]), &|_| Some("tenant".into())).is_ok());
    }

    #[test]
    fn a_token_in_a_path_stays_one_segment() {
        let address = read("https://a.example/tokens/{token}", &[], &[]).unwrap();
        let endpoint = address.endpoint(&BTreeMap::new(), &|_| Some("a/../b?c#d".into())).unwrap();
        assert_eq!(endpoint.url().path(), "/tokens/a%2F..%2Fb%3Fc%23d");
    }
}
