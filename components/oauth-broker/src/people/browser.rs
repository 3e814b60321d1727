//! Is this the browser that was shown the page?
//!
//! A browser that is shown a page with something to agree to gets a random cookie, or keeps the one that it has, so that
//! pages in several tabs do not meet. What the page sends back carries the digest of it, sealed: a page that was made for
//! one browser is of no use in another.

use base64ct::{Base64UrlUnpadded, Encoding};
use http::HeaderMap;
use subtle::ConstantTimeEq;

use super::cookies::{self, Cookie};
use super::keys;
use crate::Broker;
use crate::host::Host;
use crate::settings::SettingError;

impl<H: Host> Broker<'_, H> {
    /// The mark of the browser that asks, and the cookie that keeps it.
    pub(crate) fn mark_browser(&self, headers: &HeaderMap) -> Result<(String, Cookie), SettingError> {
        let secure = self.settings.public_url()?.is_secure();
        let value = match cookies::read(headers, name(secure)) {
            Some(value) if is_ours(value) => value.to_owned(),
            _ => Base64UrlUnpadded::encode_string(&self.random::<32>()),
        };
        Ok((
            mark(&value),
            Cookie { name: name(secure).to_owned(), value, lifetime: LIFETIME, secure, cross_site: false },
        ))
    }

    /// Whether the browser that asks is the one of this mark.
    pub(crate) fn is_browser(&self, headers: &HeaderMap, expected: &str) -> Result<bool, SettingError> {
        let secure = self.settings.public_url()?.is_secure();
        let found = cookies::read(headers, name(secure)).map(mark);
        Ok(found.is_some_and(|found| bool::from(found.as_bytes().ct_eq(expected.as_bytes()))))
    }
}

fn mark(cookie: &str) -> String {
    Base64UrlUnpadded::encode_string(&keys::digest(cookie))
}

/// What makes the browser forget it.
pub(super) fn over(secure: bool) -> Cookie {
    Cookie::over(name(secure).to_owned(), secure)
}

/// Only what we made goes back into a header of ours.
fn is_ours(value: &str) -> bool {
    value.len() == 43 && Base64UrlUnpadded::decode(value, &mut [0; 32]).is_ok()
}

/// On http it has to do without the prefix that browsers enforce.
fn name(secure: bool) -> &'static str {
    if secure { "__Host-gatehouse-browser" } else { "gatehouse-browser" }
}

/// Seconds: as long as a page may wait for its button.
const LIFETIME: u64 = 600;
