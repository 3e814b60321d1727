//! Parses the public addresses of this installation.

use http_auth::Origin;
use url::Url;

use super::{Setting, SettingError};
use crate::names::ServiceId;

/// An origin at which this installation is reached from outside. It is a setting, because a request may forge what it says
/// about its own address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    text: String,
    origin: Origin,
}

impl PublicUrl {
    pub(super) fn parse(setting: Setting, text: &str) -> Result<Self, SettingError> {
        let wrong = |problem: &str| SettingError::new(setting, problem);
        let url = Url::parse(text.trim()).map_err(|_| wrong("not a URL"))?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let has_no_user = url.username().is_empty() && url.password().is_none();
        if !bare || !has_no_user || !url.has_host() {
            return Err(wrong("not an origin, such as https://auth.example.com"));
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => return Err(wrong("http is for loopback addresses; anywhere else it has to be https")),
            _ => return Err(wrong("neither http nor https")),
        }
        let text = url.origin().ascii_serialization();
        let origin = Origin::parse(&text).ok_or_else(|| wrong("not an origin, such as https://auth.example.com"))?;
        Ok(Self { text, origin })
    }

    /// Without a trailing slash; a default port is left out.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns true if this names an address that only this machine can reach.
    pub fn is_loopback(&self) -> bool {
        self.origin.is_loopback()
    }

    pub fn is_secure(&self) -> bool {
        self.origin.is_https()
    }

    /// The redirect URI of a service: one for each, so that no provider's code can come in as another's (RFC 9700
    /// section 4.4.2.2).
    pub fn redirect_uri(&self, service: &ServiceId) -> String {
        format!("{}/callback/{service}", self.text)
    }

    /// Returns true if `resource` is a URL of this origin (RFC 8707 section 2).
    pub fn contains(&self, resource: &str) -> bool {
        match resource.strip_prefix(&self.text) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') || rest.starts_with('?') => true,
            // Written in another way, such as with upper case or a default port.
            _ => Url::parse(resource).is_ok_and(|url| {
                url.username().is_empty()
                    && url.password().is_none()
                    && url.origin().is_tuple()
                    && url.origin().ascii_serialization() == self.text
            }),
        }
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(http_auth::address::is_loopback)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<PublicUrl, SettingError> {
        PublicUrl::parse(Setting::PublicUrl, text)
    }

    #[test]
    fn a_loopback_address_is_told_from_one_that_others_reach() {
        for local in ["http://127.0.0.1:3000", "http://127.8.8.8", "http://[::1]:3000", "http://localhost:3000/"] {
            assert!(url(local).unwrap().is_loopback(), "{local}");
        }
        for public in ["https://auth.example.com", "https://localhost.example.com", "https://10.0.0.1"] {
            assert!(!url(public).unwrap().is_loopback(), "{public}");
        }
    }

    #[test]
    fn a_public_url_is_https_and_nothing_but_an_origin() {
        for bad in
            ["http://auth.example.com", "auth.example.com", "https://a.example/x", "https://u@a.example", "ftp://a"]
        {
            assert_eq!(url(bad).unwrap_err().setting, Setting::PublicUrl, "{bad}");
        }
        assert_eq!(url("https://Auth.Example.com:443/").unwrap().as_str(), "https://auth.example.com");
    }

    #[test]
    fn a_resource_is_told_from_its_lookalikes() {
        let gateway = url("https://mcp.example.com").unwrap();
        for good in ["https://mcp.example.com", "https://mcp.example.com/mcp", "HTTPS://MCP.example.com:443/mcp/x"] {
            assert!(gateway.contains(good), "{good}");
        }
        for bad in
            ["https://mcp.example.com.evil/mcp", "https://mcp.example.com@evil/", "http://mcp.example.com/", "/mcp", ""]
        {
            assert!(!gateway.contains(bad), "{bad}");
        }
    }
}
