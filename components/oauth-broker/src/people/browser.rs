//! Recognises the browser that was shown a page.
//!
//! A browser that is shown a page with something to agree to gets a random cookie, or keeps the one that it has, so that
//! pages in several tabs do not meet. What the page sends back carries the digest of it, sealed: a page that was made for
//! one browser is of no use in another.

use base64ct::{Base64UrlUnpadded, Encoding};
use http::HeaderMap;
use subtle::ConstantTimeEq;

use super::cookies::{self, Cookie};
use super::keys;
use crate::host::{Host, random};
use crate::settings::{SettingError, Settings};

/// Marks browsers, and recognises them.
pub(crate) struct Browsers<'b, H> {
    pub host: &'b H,
    pub settings: &'b Settings<'b, H>,
}

impl<H: Host> Browsers<'_, H> {
    /// The mark of the browser that asks, and the cookie that keeps it.
    pub(crate) fn mark(&self, headers: &HeaderMap) -> Result<(String, Cookie), SettingError> {
        let secure = self.settings.public_url()?.is_secure();
        let value = match cookies::read(headers, name(secure)) {
            Some(value) if is_ours(value) => value.to_owned(),
            _ => Base64UrlUnpadded::encode_string(&random::<32>(self.host)),
        };
        Ok((
            digest(&value),
            Cookie { name: name(secure).to_owned(), value, lifetime: LIFETIME, secure, cross_site: false },
        ))
    }

    /// Returns true if the browser that asks has this mark.
    pub(crate) fn is_browser(&self, headers: &HeaderMap, expected: &str) -> Result<bool, SettingError> {
        let secure = self.settings.public_url()?.is_secure();
        let found = cookies::read(headers, name(secure)).map(digest);
        Ok(found.is_some_and(|found| bool::from(found.as_bytes().ct_eq(expected.as_bytes()))))
    }
}

fn digest(cookie: &str) -> String {
    Base64UrlUnpadded::encode_string(&keys::digest(cookie))
}

/// The cookie that makes the browser forget its mark.
pub(crate) fn expired(secure: bool) -> Cookie {
    Cookie::expired(name(secure).to_owned(), secure)
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
