//! Writes the pages on the way to a connection.

use http::{HeaderValue, Response, StatusCode, header};
use maud::{Markup, html};

use super::page;
use crate::connect::offer::{AskedScope, Offer};
use crate::connect::return_url::ReturnUrl;
use crate::connect::start::Started;
use crate::names::ConnectionId;

/// What will be connected, and the button that does it. `changed`: the button was pressed, but the service is not what its
/// page has shown.
pub fn offer(offer: &Offer, return_to: Option<&ReturnUrl>, changed: bool) -> Response<Vec<u8>> {
    let Offer { service, connection, scopes, replaces, by_link, ticket, .. } = offer;
    let cancel = match return_to {
        Some(url) => url.telling("error", "access_denied", connection),
        None => "/".to_owned(),
    };
    let body = html! {
        @if changed {
            p class="notice" role="alert" {
                "The service has changed while you looked at this page. Nothing was started. Read again where you would go \
                 and what is asked for."
            }
        } @else if *by_link {
            p class="notice" {
                "A link led you here. Go on only if it came from a program that you use, or from a person whom you trust."
            }
        }
        dl {
            dt { "Service" }
            dd { bdi { (service.name) } ", at " strong { (service.authorize_url.url().authority()) } }
            dt { "For" }
            dd { strong { (connection.subject) } " of this Gatehouse" }
            dt { "Account" }
            dd {
                "the one that you sign in with there"
                @if !connection.account.is_default() {
                    ", called " strong { (connection.account.as_str()) } " here"
                }
            }
            @if let Some(current) = replaces {
                dt { "Replaces" }
                dd {
                    "the connection that you have"
                    @if let Some(account) = &current.label { ", as " strong { bdi { (account) } } }
                }
            }
            @if let Some(url) = return_to {
                dt { "Afterwards" }
                dd { "you go on to " strong { (url.authority()) } }
            }
        }
        h2 { "What is asked for" }
        @if scopes.is_empty() {
            p { "No scopes by name: " (service.name) " tells you what it allows." }
        } @else {
            (scope_list(scopes, replaces.is_some()))
        }
        h2 { "What Gatehouse does with it" }
        p {
            "It keeps the access sealed, renews it, and makes the calls that you and your programs send through it. It gives \
             the access only to programs that its operator has let in. You can disconnect at any time."
        }
        form method="post" action={ "/auth/" (service.id) } {
            input type="hidden" name="ticket" value=(ticket);
            p class="do" {
                button class="first" { "Connect" }
                a class="button" href=(cancel) { "Cancel" }
            }
        }
    };
    let status = if changed { StatusCode::CONFLICT } else { StatusCode::OK };
    page(status, &format!("Connect {}", service.name), body)
}

fn scope_list(scopes: &[AskedScope], replaces: bool) -> Markup {
    html! {
        ul class="scopes" {
            @for scope in scopes {
                li {
                    code { (scope.name) }
                    @if scope.granted { " granted already" } @else if replaces { " " strong { "new" } }
                }
            }
        }
    }
}

/// On to the provider.
pub fn leave(started: &Started) -> Response<Vec<u8>> {
    let to = started.to.as_str();
    let body = html! {
        meta http-equiv="refresh" content={ "0;url=" (to) };
        p role="status" { "You are being taken to " (started.name) "." }
        p { a class="button" href=(to) { "Continue" } }
    };
    page(StatusCode::OK, &format!("On to {}", started.name), body)
}

/// The address of our own page that tells what happened to a connection: `connected` or `disconnected`.
pub fn told(what: &str, id: &ConnectionId) -> String {
    match id.account.is_default() {
        true => format!("/?{what}={}", id.service),
        false => format!("/?{what}={}&account={}", id.service, id.account.as_str()),
    }
}

/// What went wrong, what was kept and what to do.
pub fn failed(status: StatusCode, what: &str, again: Option<&str>) -> Response<Vec<u8>> {
    let body = html! {
        p role="alert" { (what) }
        p { "Nothing was changed: what was connected before is as it was." }
        p class="do" {
            @if let Some(again) = again { a class="button first" href=(again) { "Start again" } }
            a class="button" href="/" { "Your connections" }
        }
    };
    let mut response = page(status, "Not connected", body);
    // Its address may have a code in it; and there is no form here that would need an origin.
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
