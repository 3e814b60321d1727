//! Which URLs may the broker send a secret to, or a person?

use std::collections::BTreeMap;

use thiserror::Error;
use url::Url;

use crate::settings::is_loopback;

/// A provider's URL that has passed the checks: `https`, or `http` on loopback; a host of the outside world.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint(Url);

#[derive(Debug, Error, PartialEq, Eq)]
pub enum EndpointError {
    #[error("not a URL")]
    Url,
    #[error("it has to be https (http is for loopback addresses)")]
    Scheme,
    #[error("a user name, a password or a fragment has no place in it")]
    Parts,
    #[error("*.spin.internal is not outside")]
    Internal,
    #[error("`variables` has no `{0}`")]
    Variable(String),
    #[error("`variables` has a `{0}` that is not letters, digits, `.`, `-`, `_` or `:`")]
    Value(String),
}

impl Endpoint {
    pub fn parse(text: &str) -> Result<Self, EndpointError> {
        let url = Url::parse(text).map_err(|_| EndpointError::Url)?;
        let host = url.host_str().ok_or(EndpointError::Url)?.trim_end_matches('.');
        if host == "spin.internal" || host.ends_with(".spin.internal") {
            return Err(EndpointError::Internal);
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
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

/// Puts the variables into a URL template: `https://{host}/oauth/token`.
pub fn fill(template: &str, client_id: &str, variables: &BTreeMap<String, String>) -> Result<String, EndpointError> {
    let mut filled = String::with_capacity(template.len());
    let mut rest = template;
    while let Some((before, after)) = rest.split_once('{') {
        let (name, after) = after.split_once('}').ok_or(EndpointError::Url)?;
        let value = match variables.get(name) {
            Some(value) => value,
            None if name == "client_id" => client_id,
            None => return Err(EndpointError::Variable(name.to_owned())),
        };
        // A value names a host or a tenant: it cannot bring a path, a query or a user name along.
        if value.is_empty() || !value.bytes().all(|byte| byte.is_ascii_alphanumeric() || b".-_:".contains(&byte)) {
            return Err(EndpointError::Value(name.to_owned()));
        }
        filled.push_str(before);
        filled.push_str(value);
        rest = after;
    }
    filled.push_str(rest);
    Ok(filled)
}

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

    #[test]
    fn a_variable_stands_for_a_host_and_for_nothing_wider() {
        let variables = |value: &str| BTreeMap::from([("host".to_owned(), value.to_owned())]);
        let filled = fill("https://{host}/oauth/{client_id}", "id", &variables("git.example:8443"));
        assert_eq!(filled.unwrap(), "https://git.example:8443/oauth/id");
        for bad in ["a/b", "user@a", "", "a?b", "a#b"] {
            assert_eq!(
                fill("https://{host}/", "id", &variables(bad)),
                Err(EndpointError::Value("host".into())),
                "{bad}"
            );
        }
        assert_eq!(fill("https://{tenant}/", "id", &variables("a")), Err(EndpointError::Variable("tenant".into())));
    }
}
