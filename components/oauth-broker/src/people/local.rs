//! Guards local mode and the buttons of our own pages. `http_auth::local` says what is looked at and why.
//!
//! Where a token would leave, no browser is let in at all: our pages never ask for one.

use http::Request;
use http_auth::local;
pub use http_auth::local::Foreign;

use crate::settings::PublicUrl;

/// Lets in the owner's own tools, and their browser on our own pages.
pub fn check(request: &Request<Vec<u8>>, public_url: &PublicUrl) -> Result<(), Foreign> {
    local::check_host(request.uri(), request.headers(), public_url.origin())?;
    local::check_peer(request.headers())?;
    check_origin(request, public_url)
}

/// Lets in what our own pages send, what no browser sends, and a person who follows a link.
pub fn check_origin(request: &Request<Vec<u8>>, public_url: &PublicUrl) -> Result<(), Foreign> {
    if local::is_navigation(request.method(), request.headers()) {
        return Ok(());
    }
    local::check_origin(request.headers(), public_url.origin(), |_| false)
}

/// Lets in the owner's own tools only.
pub fn check_no_browser(request: &Request<Vec<u8>>, public_url: &PublicUrl) -> Result<(), Refused> {
    if !public_url.is_loopback() {
        return Err(Refused::NotLocal);
    }
    check(request, public_url).and_then(|()| local::check_no_browser(request.headers())).map_err(Refused::Foreign)
}

pub enum Refused {
    NotLocal,
    Foreign(Foreign),
}
