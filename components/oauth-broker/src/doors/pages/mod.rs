//! What do people see?
//!
//! Plain pages that need no script. Everything that came from outside is escaped; nothing is loaded from anywhere; no
//! other page can frame them (RFC 9700 section 4.16).

pub mod connect;

use std::fmt::Write;

use http::{HeaderValue, Response, StatusCode, header};

use super::listing::{Listed, Listing};
use super::{Refusal, empty};
use crate::connections::lasting::Warning;
use crate::names::Subject;

/// The services, each with what can be done about it.
pub fn connections(listing: &Listing, notice: Option<&str>, local: bool, now: u64) -> Response<Vec<u8>> {
    let mut body = String::new();
    if let Some(notice) = notice {
        let _ = write!(body, "<p role=\"status\">{}</p>", escape(notice));
    }
    if listing.services.is_empty() {
        body.push_str("<p>No service has a client yet: see the setting <code>oauth_clients</code>.</p>");
    }
    body.push_str("<ul class=\"list\">");
    for one in &listing.services {
        service(&mut body, one, now);
    }
    body.push_str("</ul>");
    if !local {
        let _ = write!(
            body,
            "<form method=\"post\" action=\"/sign-out\"><p>Signed in as {}. <button>Sign out</button></p></form>",
            escape(listing.subject.as_str())
        );
    }
    page(StatusCode::OK, "Your connections", &body)
}

fn service(body: &mut String, one: &Listed, now: u64) {
    let account = if one.account.is_default() { String::new() } else { format!("?account={}", one.account.as_str()) };
    let name = match one.account.is_default() {
        true => escape(&one.name),
        false => format!("{} ({})", escape(&one.name), one.account.as_str()),
    };
    let state = match one.state {
        "active" => "connected",
        "needs_reconnect" => "has to be connected again",
        "unreadable" => "is stored, but cannot be read now",
        "not_offered" => "is stored, but this Gatehouse does not offer the service any more",
        _ => "not connected",
    };
    let _ = write!(body, "<li><h2>{name}</h2><p>{state}");
    if let Some(label) = &one.label {
        let _ = write!(body, " as <strong>{}</strong>", escape(label));
    }
    if let Some(reason) = &one.reason {
        let _ = write!(body, " ({})", escape(reason));
    }
    body.push_str("</p>");
    if !one.missing_scopes.is_empty() && one.connected {
        let _ = write!(body, "<p>Not granted: {}</p>", escape(&one.missing_scopes.join(", ")));
    }
    if let Some(end) =
        one.lasting.dies_at.filter(|_| one.connected && (!one.renewable || one.lasting.warning.is_some()))
    {
        let left = match end.saturating_sub(now) / 60 {
            minutes @ 0..120 => format!("{minutes} minutes"),
            minutes @ 120..2880 => format!("{} hours", minutes / 60),
            minutes => format!("{} days", minutes / 1440),
        };
        let what = match one.lasting.warning {
            Some(Warning::UseSoon) => "unless it is used before",
            _ => "unless you connect again",
        };
        let _ = write!(body, "<p>Ends in {left}, {what}.</p>");
    }
    let again = if one.connected { "Connect again" } else { "Connect" };
    let _ = write!(
        body,
        "<p class=\"do\"><a href=\"/auth/{}{account}\">{again}<span class=\"hidden\"> {name}</span></a></p>",
        one.service
    );
    if one.state != "not_connected" {
        let _ = write!(
            body,
            "<form method=\"post\" action=\"/disconnect/{}\"><input type=\"hidden\" name=\"account\" value=\"{}\">\
             <button>Disconnect<span class=\"hidden\"> {name}</span></button></form>",
            one.service,
            one.account.as_str()
        );
    }
    body.push_str("</li>");
}

/// What went wrong, what was kept and what to do; with the form where signing in is what to do.
pub fn refusal(status: StatusCode, refusal: &Refusal) -> Response<Vec<u8>> {
    let text = sentence(&refusal.to_string());
    match refusal {
        Refusal::SignIn(next) => sign_in(status, next, None),
        Refusal::Credential(next) => sign_in(status, next, Some(&text)),
        Refusal::Connect { error, again } => connect::failed(status, &error.to_string(), again.as_deref()),
        _ => {
            let body = format!("<p role=\"alert\">{text}</p><p><a href=\"/\">Your connections</a></p>");
            page(status, "That did not work", &body)
        }
    }
}

fn sign_in(status: StatusCode, next: &str, wrong: Option<&str>) -> Response<Vec<u8>> {
    let mut body = String::new();
    if let Some(wrong) = wrong {
        let _ = write!(body, "<p role=\"alert\">{wrong}</p>");
    }
    let _ = write!(
        body,
        "<form method=\"post\" action=\"/sign-in\"><p><label for=\"credential\">The owner's passphrase, or your API \
         key</label></p><p><input id=\"credential\" name=\"credential\" type=\"password\" required \
         autocomplete=\"current-password\"></p><input type=\"hidden\" name=\"next\" value=\"{}\"><p><button>Sign \
         in</button></p></form>",
        escape(next)
    );
    page(status, "Sign in", &body)
}

pub fn signed_in(subject: &Subject, next: &str) -> Response<Vec<u8>> {
    let next = escape(next);
    let body = format!(
        "<meta http-equiv=\"refresh\" content=\"0;url={next}\"><p role=\"status\">You are signed in as {}.</p><p><a \
         href=\"{next}\">Continue</a></p>",
        escape(subject.as_str())
    );
    page(StatusCode::OK, "Signed in", &body)
}

/// Away from here, by GET whatever the request was (RFC 9700 section 4.12).
pub fn see_other(to: &str) -> Result<Response<Vec<u8>>, Refusal> {
    let mut response = guarded(empty(StatusCode::SEE_OTHER));
    let to = HeaderValue::try_from(to).map_err(|_| Refusal::Request("not an address to go to"))?;
    response.headers_mut().insert(header::LOCATION, to);
    Ok(response)
}

fn page(status: StatusCode, title: &str, body: &str) -> Response<Vec<u8>> {
    let mut response = guarded(empty(status));
    *response.body_mut() = format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" \
         content=\"width=device-width\"><title>{title} · Gatehouse</title><style>{STYLE}</style></head><body><header>Gatehouse</header><main>\
         <h1>{title}</h1>{body}</main></body></html>"
    )
    .into_bytes();
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
    // With no-referrer a browser would send our own forms with `Origin: null`.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}

fn guarded(mut response: Response<Vec<u8>>) -> Response<Vec<u8>> {
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(header::X_FRAME_OPTIONS, HeaderValue::from_static("DENY"));
    response
}

fn escape(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => escaped.push_str("&amp;"),
            '<' => escaped.push_str("&lt;"),
            '>' => escaped.push_str("&gt;"),
            '"' => escaped.push_str("&quot;"),
            '\'' => escaped.push_str("&#39;"),
            other => escaped.push(other),
        }
    }
    escaped
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{}{}.", escape(&first), escape(letters.as_str()))
}

const STYLE: &str = include_str!("style.css");

/// The hash is that of `STYLE`; a test holds them together.
const POLICY: &str = "default-src 'none'; style-src 'sha256-V7Ii/HBmMOG+RvPmv05gABS60lcE9YYLhalwv7ml2S8='; \
form-action 'self'; frame-ancestors 'none'; base-uri 'none'";

#[cfg(test)]
mod tests {
    use base64ct::{Base64, Encoding};
    use sha2::{Digest, Sha256};

    use super::*;

    #[test]
    fn the_policy_allows_our_style_and_no_other() {
        let hash = Base64::encode_string(&Sha256::digest(STYLE.as_bytes()));
        assert!(POLICY.contains(&format!("'sha256-{hash}'")), "{hash}");
    }

    #[test]
    fn what_came_from_outside_stays_text() {
        assert_eq!(escape("<script>\"&'"), "&lt;script&gt;&quot;&amp;&#39;");
        assert_eq!(sentence("<b> is wrong"), "&lt;b&gt; is wrong.");
    }
}
