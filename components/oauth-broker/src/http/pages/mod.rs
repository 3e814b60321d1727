//! Writes the pages that people see.
//!
//! Plain pages that need no script. All text from outside is escaped; nothing is loaded from another site; no other page can
//! frame them (RFC 9700 section 4.16).

pub mod connect;
mod connections;

use std::fmt::Write;

use http::{HeaderValue, Response, StatusCode, header};

pub use connections::connections;

use super::{Refusal, empty};
use crate::names::Subject;
use crate::text;

/// What went wrong, what was kept and what to do; with the form where signing in is what to do.
pub fn refusal(status: StatusCode, refusal: &Refusal, text: &str) -> Response<Vec<u8>> {
    let text = sentence(text);
    match refusal {
        Refusal::SignIn(next) => sign_in(status, next, None),
        Refusal::Credential(next) => sign_in(status, next, Some(&text)),
        Refusal::Connect { again, .. } => connect::failed(status, &text, again.as_deref()),
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
         autocomplete=\"current-password\"></p><input type=\"hidden\" name=\"next\" value=\"{}\"><p><button class=\"first\">Sign \
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
    for letter in text.chars().filter(|letter| text::is_visible(*letter)) {
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

/// Words from outside, whose direction of writing does not reach beyond them.
fn bdi(text: &str) -> String {
    format!("<bdi>{}</bdi>", escape(text))
}

fn sentence(text: &str) -> String {
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{}{}.", escape(&first), escape(letters.as_str()))
}

const STYLE: &str = include_str!("style.css");

/// The hash is that of `STYLE`; a test holds them together.
const POLICY: &str = "default-src 'none'; style-src 'sha256-zas5caOo5Zh27wBK0s/qXPytMUbdbBlRZI1CcGMzDNE='; \
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
