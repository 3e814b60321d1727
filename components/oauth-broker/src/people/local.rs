//! Guards local mode and the buttons of our own pages. `http_auth::local` says what is looked at and why.
//!
//! No browser may ask for a token: our pages never do.

use http::Request;
use http_auth::local;
pub use http_auth::local::Foreign;

use crate::settings::PublicUrl;

/// Lets in the owner's own tools, and their browser on our own pages.
pub fn check(request: &Request<Vec<u8>>, public_url: &PublicUrl) -> Result<(), Foreign> {
    local::reached(request.uri(), request.headers(), public_url.origin())?;
    local::check_peer(request.headers())?;
    check_origin(request, public_url)
}

/// Lets in what our own pages send, what no browser sends, and a person who follows a link.
pub fn check_origin(request: &Request<Vec<u8>>, public_url: &PublicUrl) -> Result<(), Foreign> {
    if local::is_navigation(request.method(), request.headers()) {
        return Ok(());
    }
    // A proxy in front of a public address may have changed `Host`.
    let reached = local::reached(request.uri(), request.headers(), public_url.origin());
    let own = reached.as_ref().unwrap_or(public_url.origin());
    local::check_origin(request.headers(), own, |_| false)
}

/// Lets in the owner's own tools only.
pub fn check_no_browser(request: &Request<Vec<u8>>, public_url: &PublicUrl) -> Result<(), Foreign> {
    check(request, public_url)?;
    local::check_no_browser(request.headers())
}

/// Returns true if the request names this machine by another name than `public_url` does, such as `localhost` for
/// `127.0.0.1`. A browser keeps the cookies of the two apart.
pub fn has_other_name(request: &Request<Vec<u8>>, public_url: &PublicUrl) -> bool {
    let named = local::named(request.uri(), request.headers());
    named.is_some_and(|named| {
        public_url.origin().is_authority(&named) && !public_url.origin().host().eq_ignore_ascii_case(named.host())
    })
}

/// Returns true if the request has reached this machine at another port than `public_url` names, to which sign-ins return.
pub fn has_other_port(request: &Request<Vec<u8>>, public_url: &PublicUrl) -> bool {
    let reached = local::reached(request.uri(), request.headers(), public_url.origin());
    reached.is_ok_and(|reached| reached.port() != public_url.origin().port())
}
