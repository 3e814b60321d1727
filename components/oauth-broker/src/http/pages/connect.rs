//! Writes the pages on the way to a connection.

use std::fmt::Write;

use http::{HeaderValue, Response, StatusCode, header};

use super::{bdi, escape, page};
use crate::connect::offer::Offer;
use crate::connect::return_url::ReturnUrl;
use crate::connect::start::Started;
use crate::names::ConnectionId;

/// What will be connected, and the button that does it. `changed`: the button was pressed, but what its page had shown is
/// not what it would do now.
pub fn offer(offer: &Offer, return_to: Option<&ReturnUrl>, changed: bool) -> Response<Vec<u8>> {
    let Offer { service, connection, scopes, replaces, by_link, ticket, .. } = offer;
    let name = escape(&service.name);
    let host = escape(service.authorize_url.url().authority());
    let subject = escape(connection.subject.as_str());
    let mut body = String::new();
    if changed {
        body.push_str(
            "<p class=\"notice\" role=\"alert\">The service has changed while you looked at this page. Nothing was started. \
             Read again where you would go and what is asked for.</p>",
        );
    } else if *by_link {
        body.push_str(
            "<p class=\"notice\">A link led you here. Go on only if it came from a program that you use, or from \
             somebody whom you trust.</p>",
        );
    }
    let _ = write!(body, "<dl><dt>Service</dt><dd><bdi>{name}</bdi>, at <strong>{host}</strong></dd>");
    let _ = write!(body, "<dt>For</dt><dd><strong>{subject}</strong> of this Gatehouse</dd>");
    let _ = write!(body, "<dt>Account</dt><dd>the one that you sign in with there");
    if !connection.account.is_default() {
        let _ = write!(body, ", called <strong>{}</strong> here", escape(connection.account.as_str()));
    }
    body.push_str("</dd>");
    if let Some(current) = replaces {
        body.push_str("<dt>Replaces</dt><dd>the connection that you have");
        if let Some(account) = &current.label {
            let _ = write!(body, ", as <strong>{}</strong>", bdi(account));
        }
        body.push_str("</dd>");
    }
    if let Some(url) = return_to {
        let _ = write!(body, "<dt>Afterwards</dt><dd>you go on to <strong>{}</strong></dd>", escape(url.authority()));
    }
    body.push_str("</dl><h2>What is asked for</h2>");
    if scopes.is_empty() {
        let _ = write!(body, "<p>Nothing by name: {name} tells you what it allows.</p>");
    } else {
        body.push_str("<ul class=\"scopes\">");
        for scope in scopes {
            let _ = write!(body, "<li><code>{}</code>", escape(&scope.name));
            match (scope.granted, replaces.is_some()) {
                (true, _) => body.push_str(" granted already"),
                (false, true) => body.push_str(" <strong>new</strong>"),
                (false, false) => {}
            }
            body.push_str("</li>");
        }
        body.push_str("</ul>");
    }
    let cancel = match return_to {
        Some(url) => url.telling("error", "access_denied", connection),
        None => "/".to_owned(),
    };
    let _ = write!(
        body,
        "<h2>What Gatehouse does with it</h2><p>It keeps the access sealed, renews it, and makes the calls that you \
         and your programs send through it. It hands the access to no program but those that its operator has let in. \
         You can disconnect at any time.</p><form method=\"post\" action=\"/auth/{}\"><input type=\"hidden\" \
         name=\"ticket\" value=\"{}\"><p class=\"do\"><button class=\"first\">Connect</button><a class=\"button\" \
         href=\"{}\">Cancel</a></p></form>",
        service.id,
        escape(ticket),
        escape(&cancel)
    );
    let status = if changed { StatusCode::CONFLICT } else { StatusCode::OK };
    page(status, &format!("Connect {name}"), &body)
}

/// On to the provider.
pub fn leave(started: &Started) -> Response<Vec<u8>> {
    let (name, to) = (escape(&started.name), escape(started.to.as_str()));
    let body = format!(
        "<meta http-equiv=\"refresh\" content=\"0;url={to}\"><p role=\"status\">You are being taken to {name}.</p><p><a \
         class=\"button\" href=\"{to}\">Continue</a></p>"
    );
    page(StatusCode::OK, &format!("On to {name}"), &body)
}

/// Where our own page tells what happened to a connection: `connected` or `disconnected`.
pub fn told(what: &str, id: &ConnectionId) -> String {
    match id.account.is_default() {
        true => format!("/?{what}={}", id.service),
        false => format!("/?{what}={}&account={}", id.service, id.account.as_str()),
    }
}

/// What went wrong (escaped), what was kept and what to do.
pub fn failed(status: StatusCode, what: &str, again: Option<&str>) -> Response<Vec<u8>> {
    let mut body = format!(
        "<p role=\"alert\">{}</p><p>Nothing was changed: what was connected before is as it was.</p><p class=\"do\">",
        what
    );
    if let Some(again) = again {
        let _ = write!(body, "<a class=\"button first\" href=\"{}\">Start again</a>", escape(again));
    }
    body.push_str("<a class=\"button\" href=\"/\">Your connections</a></p>");
    let mut response = page(status, "Not connected", &body);
    // Its address may have a code in it; and there is no form here that would need an origin.
    response.headers_mut().insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
    response
}
