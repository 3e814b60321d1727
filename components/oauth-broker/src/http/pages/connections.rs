//! Writes the page of a person's connections.

use std::fmt::Write;

use http::{Response, StatusCode};

use super::{bdi, escape, page};
use crate::connections::expiry::Warning;
use crate::http::listing::{Listed, Listing};
use crate::names::ServiceId;

/// The services, each with its accounts and what can be done about them. `returns_to` is the address to which sign-ins
/// return, if that is another one than the page's.
pub fn connections(
    listing: &Listing,
    notice: Option<&str>,
    is_local_mode: bool,
    returns_to: Option<&str>,
    now: u64,
) -> Response<Vec<u8>> {
    let mut body = String::new();
    if let Some(notice) = notice {
        let _ = write!(body, "<p role=\"status\">{}</p>", escape(notice));
    }
    if let Some(public_url) = returns_to {
        let _ = write!(
            body,
            "<p class=\"notice\">Sign-ins and links lead to {}, not to this address: set <code>public_url</code> to this \
             one.</p>",
            escape(public_url)
        );
    }
    if listing.services.is_empty() {
        body.push_str("<p>No service has a client yet: see the setting <code>oauth_clients</code>.</p>");
    }
    body.push_str("<ul class=\"list\">");
    for accounts in listing.services.chunk_by(|one, next| one.service == next.service) {
        service(&mut body, accounts, now);
    }
    body.push_str("</ul>");
    if is_local_mode {
        body.push_str(
            "<p class=\"quiet\">Whoever opens this address on this machine is the owner: <code>local_owner</code> is true.</p>",
        );
    } else {
        let _ = write!(
            body,
            "<form method=\"post\" action=\"/sign-out\"><p>Signed in as {}. <button>Sign out</button> <button \
             name=\"everywhere\" value=\"1\">Sign out everywhere</button></p></form>",
            escape(listing.subject.as_str())
        );
    }
    page(StatusCode::OK, "Your connections", &body)
}

fn service(body: &mut String, accounts: &[Listed], now: u64) {
    let Some(first) = accounts.first() else { return };
    let (id, name) = (&first.service, escape(&first.name));
    let _ = write!(body, "<li><h2><bdi>{name}</bdi></h2>");
    let there: Vec<&Listed> = accounts.iter().filter(|one| one.state != "not_connected").collect();
    for one in &there {
        account(body, one, now);
    }
    match (there.is_empty(), first.connect_url.is_some()) {
        (true, _) => {
            let _ = write!(
                body,
                "<p>not connected</p><p class=\"do\"><a class=\"button first\" href=\"/auth/{id}\">Connect<span \
                 class=\"hidden\"> {name}</span></a></p>"
            );
        }
        (false, true) => another(body, id, &name),
        (false, false) => {}
    }
    body.push_str("</li>");
}

fn account(body: &mut String, one: &Listed, now: u64) {
    let own_name = one.account.as_str();
    let called = if own_name.is_empty() { String::new() } else { format!(" ({own_name})") };
    let which = format!("<span class=\"hidden\"> {}{called}</span>", escape(&one.name));
    let state = match one.state {
        "active" => "connected",
        "needs_reconnect" => "has to be connected again",
        "not_offered" => "is kept, but this Gatehouse does not offer the service any more",
        _ => "is kept, but cannot be read now",
    };
    let _ = write!(body, "<div class=\"account\"><p>{state}");
    if let Some(label) = &one.label {
        let _ = write!(body, " as <strong>{}</strong>", bdi(label));
    }
    if !own_name.is_empty() {
        let _ = write!(body, ", called <strong>{own_name}</strong>");
    }
    if let Some(reason) = &one.reason {
        let _ = write!(body, " ({})", escape(reason));
    }
    body.push_str("</p>");
    if one.connected {
        scopes(body, "Granted", &one.scopes);
        scopes(body, "Not granted", &one.missing_scopes);
        ends(body, one, now);
    }
    body.push_str("<div class=\"do\">");
    if one.connect_url.is_some() {
        let again = match one.state {
            "active" if one.step_up_url.is_some() => "Grant what is missing",
            _ => "Connect again",
        };
        let urgent = !one.connected || one.step_up_url.is_some() || one.expiry.warning.is_some();
        let class = if urgent { "button first" } else { "button" };
        let account = if own_name.is_empty() { String::new() } else { format!("?account={own_name}") };
        let _ = write!(body, "<a class=\"{class}\" href=\"/auth/{}{account}\">{again}{which}</a>", one.service);
    }
    let _ = write!(
        body,
        "<form method=\"post\" action=\"/disconnect/{}\"><input type=\"hidden\" name=\"account\" value=\"{own_name}\">\
         <button>Disconnect{which}</button></form></div></div>",
        one.service
    );
}

fn scopes(body: &mut String, what: &str, scopes: &[String]) {
    if !scopes.is_empty() {
        let scopes: Vec<String> = scopes.iter().map(|scope| format!("<code>{}</code>", escape(scope))).collect();
        let _ = write!(body, "<p class=\"quiet\">{what}: {}</p>", scopes.join(" "));
    }
}

/// When it ends: always, where nothing but the person can keep it; else when that is soon.
fn ends(body: &mut String, one: &Listed, now: u64) {
    let Some(end) = one.expiry.dies_at.filter(|_| !one.renewable || one.expiry.warning.is_some()) else { return };
    let left = match end.saturating_sub(now) / 60 {
        minutes @ 0..120 => format!("{minutes} minutes"),
        minutes @ 120..2880 => format!("{} hours", minutes / 60),
        minutes => format!("{} days", minutes / 1440),
    };
    let unless = match one.expiry.warning {
        Some(Warning::UseSoon) => "it is used before",
        _ => "you connect again",
    };
    let _ = write!(body, "<p class=\"notice\">Ends in {left}, unless {unless}.</p>");
}

/// A person may have several accounts at a service, and has to tell them apart.
fn another(body: &mut String, id: &ServiceId, name: &str) {
    let _ = write!(
        body,
        "<details><summary>Connect another account<span class=\"hidden\"> of {name}</span></summary><form \
         action=\"/auth/{id}\"><label for=\"another-{id}\">Your name for it, such as <em>work</em> (small letters, \
         digits, - and _)</label><p class=\"do\"><input id=\"another-{id}\" name=\"account\" required maxlength=\"32\" \
         pattern=\"[a-z0-9][a-z0-9_\\-]*\" autocapitalize=\"none\" autocomplete=\"off\" \
         spellcheck=\"false\"><button>Go on<span class=\"hidden\"> to {name}</span></button></p></form></details>"
    );
}
