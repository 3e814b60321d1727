//! Writes and reads cookies.

use http::{HeaderMap, HeaderValue, header};

pub struct Cookie {
    pub name: String,
    /// Of the base64url alphabet, so that it needs no quoting.
    pub value: String,
    /// Seconds; 0 takes it back.
    pub lifetime: u64,
    /// Not so only on http, which is loopback.
    pub secure: bool,
    /// True if the browser has to send it when another site posts to us. Only where nothing else does.
    pub cross_site: bool,
}

impl Cookie {
    pub fn header(&self) -> Option<HeaderValue> {
        let Self { name, value, lifetime, .. } = self;
        // Browsers take `None` only with `Secure`.
        let same_site = if self.cross_site && self.secure { "None" } else { "Lax" };
        let secure = if self.secure { "; Secure" } else { "" };
        let text = format!("{name}={value}; Path=/; Max-Age={lifetime}; HttpOnly; SameSite={same_site}{secure}");
        let mut value = HeaderValue::try_from(text).ok()?;
        value.set_sensitive(true);
        Some(value)
    }

    /// The cookie that makes the browser forget this one.
    pub fn expired(name: String, secure: bool) -> Self {
        Self { name, value: String::new(), lifetime: 0, secure, cross_site: false }
    }
}

/// The value of a cookie of the request. `None` if it is empty.
pub fn read<'h>(headers: &'h HeaderMap, name: &str) -> Option<&'h str> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|cookies| cookies.to_str().ok());
    cookies
        .flat_map(|cookies| cookies.split(';'))
        .filter_map(|cookie| cookie.trim().split_once('='))
        .find_map(|(found, value)| (found == name && !value.is_empty()).then_some(value))
}
