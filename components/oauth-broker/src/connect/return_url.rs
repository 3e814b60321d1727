//! Checks the URL to which a person goes when a flow is over.
//!
//! To our own page, or to a URL that the operator has listed in `return_urls`. What is asked for has to be one of these
//! letter by letter, and they are listed in the form that the one parser here, the one that browsers have, writes them
//! in: so there is nothing that two parsers could read in two ways.

use http_auth::address::Place;
use url::Url;

use crate::host::Host;
use crate::names::ConnectionId;
use crate::settings::{Setting, SettingError, Settings, is_loopback};

/// A URL of `return_urls`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReturnUrl(Url);

impl ReturnUrl {
    /// `None` if it is no such URL, or is not written as it is sent.
    pub fn parse(text: &str) -> Option<Self> {
        let url = Url::parse(text).ok()?;
        let web = url.scheme() == "https" || url.scheme() == "http" && is_loopback(&url);
        let has_no_user = url.username().is_empty() && url.password().is_none();
        let is_somewhere = !matches!(Place::of(url.host_str()?), Place::Forbidden | Place::Invalid);
        (web && has_no_user && is_somewhere && url.fragment().is_none() && url.as_str() == text).then_some(Self(url))
    }

    /// With what happened, which is no secret: `connected` or `error`.
    pub fn telling(&self, what: &str, value: &str, connection: &ConnectionId) -> String {
        let mut url = self.0.clone();
        let mut query = url.query_pairs_mut();
        query.append_pair(what, value);
        if what != "connected" {
            query.append_pair("service", connection.service.as_str());
        }
        if !connection.account.is_default() {
            query.append_pair("account", connection.account.as_str());
        }
        drop(query);
        url.into()
    }

    pub fn authority(&self) -> &str {
        self.0.authority()
    }
}

/// The setting `return_urls`.
pub fn return_urls<H: Host>(settings: &Settings<'_, H>) -> Result<Vec<ReturnUrl>, SettingError> {
    let parse = |(position, entry): (usize, &str)| {
        ReturnUrl::parse(entry).ok_or_else(|| {
            let problem = format!(
                "entry {position} is not an https URL in the form that a browser would show, without user and fragment"
            );
            SettingError::new(Setting::ReturnUrls, problem)
        })
    };
    settings.entries(Setting::ReturnUrls).map(parse).collect()
}

/// The listed URL that is asked for. `None` if it is not listed (any more).
pub fn listed<H: Host>(settings: &Settings<'_, H>, asked: Option<&str>) -> Result<Option<ReturnUrl>, SettingError> {
    let Some(asked) = asked else { return Ok(None) };
    Ok(return_urls(settings)?.into_iter().find(|listed| listed.0.as_str() == asked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::tests::{World, owners};

    /// Item 17: one spelling of each listed URL, and nothing beside it.
    #[test]
    fn only_a_listed_url_leads_away_and_only_letter_by_letter() {
        let world = World::public();
        world.set("return_urls", "https://app.example/done?a=b, http://127.0.0.1:8080/");
        let settings = Settings::new(&world);
        let listed = |asked: &str| listed(&settings, Some(asked)).unwrap().is_some();
        assert!(listed("https://app.example/done?a=b") && listed("http://127.0.0.1:8080/"));
        for bad in [
            "",
            "/",
            "//evil",
            "https:evil",
            "\\\\evil",
            "%25@evil",
            "https://app.example",
            "https://app.example/",
            "https://app.example/done",
            "https://app.example/done?a=b&c=d",
            "https://app.example/done?a=b#c",
            "https://app.example/done?a=b ",
            " https://app.example/done?a=b",
            "https://app.example/..;/done?a=b",
            "https://app.example/x/../done?a=b",
            "https://app.example:443/done?a=b",
            "https://APP.example/done?a=b",
            "HTTPS://app.example/done?a=b",
            "https:app.example/done?a=b",
            "https:\\\\app.example\\done?a=b",
            "https://app.example.evil/done?a=b",
            "https://evil-app.example/done?a=b",
            "https://a@app.example/done?a=b",
            "https://app.example@evil/done?a=b",
            "https://a@b@c/done?a=b",
            "https://app.example%25@evil/done?a=b",
            "https://app.example\t/done?a=b",
            "https://app.example./done?a=b",
            "http://app.example/done?a=b",
            "http://localhost:8080/",
            "http://127.1:8080/",
            "javascript:alert(1)",
        ] {
            assert!(!listed(bad), "{bad:?}");
        }
    }

    /// Item 17: what an operator lists has one spelling too.
    #[test]
    fn a_listed_url_is_https_and_written_as_it_is_sent() {
        for good in ["https://app.example/", "https://app.example:8443/done?x=1", "http://127.0.0.1/", "http://[::1]/x"]
        {
            assert!(ReturnUrl::parse(good).is_some(), "{good}");
        }
        for bad in [
            "https://app.example",
            "https://u@app.example/",
            "https://self.alt/auth/evil",
            "https://oauth-broker.spin.internal/",
            "https://:p@app.example/",
            "https://app.example/#x",
            "http://app.example/",
            "https://app.example/a/../b",
            "https://App.example/",
            "app://x/",
            "javascript:alert(1)",
            "/done",
        ] {
            assert_eq!(ReturnUrl::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_return_url_keeps_its_query_and_gets_the_result() {
        let url = ReturnUrl::parse("https://app.example/done?a=b").unwrap();
        let mut connection = owners("forge");
        assert_eq!(url.telling("connected", "forge", &connection), "https://app.example/done?a=b&connected=forge");
        connection.account = crate::names::AccountName::parse("work").unwrap();
        let told = url.telling("error", "access_denied", &connection);
        assert_eq!(told, "https://app.example/done?a=b&error=access_denied&service=forge&account=work");
    }
}
