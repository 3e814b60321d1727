//! Writes the page of a person's connections.

use http::{Response, StatusCode};
use maud::{Markup, html};

use super::page;
use crate::connections::expiry::Warning;
use crate::http::listing::{Listed, Listing};

/// The services, each with its accounts and what can be done about them. `returns_to` is the address to which sign-ins
/// return, if that is another one than the page's.
pub fn connections(
    listing: &Listing,
    notice: Option<&str>,
    is_local_mode: bool,
    returns_to: Option<&str>,
    now: u64,
) -> Response<Vec<u8>> {
    let body = html! {
        @if let Some(notice) = notice { p role="status" { (notice) } }
        @if let Some(public_url) = returns_to {
            p class="notice" {
                "Sign-ins and links lead to " (public_url) ", not to this address: set " code { "public_url" } " to this one."
            }
        }
        @if listing.services.is_empty() {
            p { "No service has a client yet: see the setting " code { "oauth_clients" } "." }
        }
        ul class="list" {
            @for accounts in listing.services.chunk_by(|one, next| one.service == next.service) {
                (service(accounts, now))
            }
        }
        @if is_local_mode {
            p class="quiet" {
                "Anyone who opens this address on this machine is the owner: " code { "local_owner" } " is true."
            }
        } @else {
            form method="post" action="/sign-out" {
                p {
                    "Signed in as " (listing.subject) ". "
                    button { "Sign out" } " "
                    button name="everywhere" value="1" { "Sign out everywhere" }
                }
            }
        }
    };
    page(StatusCode::OK, "Your connections", body)
}

fn service(accounts: &[Listed], now: u64) -> Markup {
    let Some(first) = accounts.first() else { return html! {} };
    let connected = || accounts.iter().filter(|one| one.state != "not_connected");
    html! {
        li {
            h2 { bdi { (first.name) } }
            @for one in connected() { (account(one, now)) }
            @if connected().next().is_none() {
                p { "not connected" }
                p class="do" {
                    a class="button first" href={ "/auth/" (first.service) } {
                        "Connect" span class="hidden" { " " (first.name) }
                    }
                }
            } @else if first.connect_url.is_some() {
                (another(first))
            }
        }
    }
}

fn account(one: &Listed, now: u64) -> Markup {
    let own_name = one.account.as_str();
    let which = html! {
        span class="hidden" { " " (one.name) @if !own_name.is_empty() { " (" (own_name) ")" } }
    };
    let state = match one.state {
        "active" => "connected",
        "needs_reconnect" => "has to be connected again",
        "not_offered" => "is kept, but this Gatehouse does not offer the service any more",
        _ => "is kept, but cannot be read now",
    };
    html! {
        div class="account" {
            p {
                (state)
                @if let Some(label) = &one.label { " as " strong { bdi { (label) } } }
                @if !own_name.is_empty() { ", called " strong { (own_name) } }
                @if let Some(reason) = &one.reason { " (" (reason) ")" }
            }
            @if one.connected {
                (scopes("Granted", &one.scopes))
                (scopes("Not granted", &one.missing_scopes))
                (ends(one, now))
            }
            div class="do" {
                @if one.connect_url.is_some() { (again(one, &which)) }
                form method="post" action={ "/disconnect/" (one.service) } {
                    input type="hidden" name="account" value=(own_name);
                    button { "Disconnect" (which) }
                }
            }
        }
    }
}

/// The link to connect an account again.
fn again(one: &Listed, which: &Markup) -> Markup {
    let text = match one.state {
        "active" if one.step_up_url.is_some() => "Grant what is missing",
        _ => "Connect again",
    };
    let urgent = !one.connected || one.step_up_url.is_some() || one.expiry.warning.is_some();
    html! {
        a class=(if urgent { "button first" } else { "button" })
            href={ "/auth/" (one.service) @if !one.account.is_default() { "?account=" (one.account.as_str()) } }
            { (text) (which) }
    }
}

fn scopes(what: &str, scopes: &[String]) -> Markup {
    html! {
        @if !scopes.is_empty() {
            p class="quiet" { (what) ":" @for scope in scopes { " " code { (scope) } } }
        }
    }
}

/// When it ends: always, where nothing but the person can keep it; else if that is soon.
fn ends(one: &Listed, now: u64) -> Markup {
    let Some(end) = one.expiry.dies_at.filter(|_| !one.renewable || one.expiry.warning.is_some()) else {
        return html! {};
    };
    let left = match end.saturating_sub(now) / 60 {
        minutes @ 0..120 => format!("{minutes} minutes"),
        minutes @ 120..2880 => format!("{} hours", minutes / 60),
        minutes => format!("{} days", minutes / 1440),
    };
    let unless = match one.expiry.warning {
        Some(Warning::UseSoon) => "it is used before",
        _ => "you connect again",
    };
    html! { p class="notice" { "Ends in " (left) ", unless " (unless) "." } }
}

/// A person may have several accounts at a service, and has to tell them apart.
fn another(first: &Listed) -> Markup {
    let input = format!("another-{}", first.service);
    html! {
        details {
            summary { "Connect another account" span class="hidden" { " of " (first.name) } }
            form action={ "/auth/" (first.service) } {
                label for=(input) {
                    "Your name for it, such as " em { "work" } " (small letters, digits, - and _)"
                }
                p class="do" {
                    input id=(input) name="account" required maxlength="32" pattern="[a-z0-9][a-z0-9_\\-]*"
                        autocapitalize="none" autocomplete="off" spellcheck="false";
                    button { "Go on" span class="hidden" { " to " (first.name) } }
                }
            }
        }
    }
}
