//! Writes the pages that people see.
//!
//! Plain pages that need no script. A template escapes all that is put into it, and a
//! page has no letters that cannot be seen; nothing is loaded from another site; no other page can
//! frame them (RFC 9700 section 4.16).

pub mod connect;
mod connections;

use http::{HeaderValue, Response, StatusCode, header};
use maud::{DOCTYPE, Markup, PreEscaped, html};

pub use connections::connections;

use super::{Refusal, empty};
use crate::names::Subject;
use crate::text;

/// What went wrong, what was kept and what to do; with the form if the person has to sign in.
pub fn refusal(status: StatusCode, refusal: &Refusal, text: &str) -> Response<Vec<u8>> {
    let text = sentence(text);
    match refusal {
        Refusal::SignIn(next) => sign_in(status, next, None),
        Refusal::Credential(next) => sign_in(status, next, Some(&text)),
        Refusal::Connect { again, .. } => connect::failed(status, &text, again.as_deref()),
        _ => {
            let body = html! {
                p role="alert" { (text) }
                p { a href="/" { "Your connections" } }
            };
            page(status, "That did not work", body)
        }
    }
}

fn sign_in(status: StatusCode, next: &str, wrong: Option<&str>) -> Response<Vec<u8>> {
    let body = html! {
        @if let Some(wrong) = wrong { p role="alert" { (wrong) } }
        form method="post" action="/sign-in" {
            p { label for="credential" { "The owner's passphrase, or your API key" } }
            p {
                input id="credential" name="credential" type="password" required autocomplete="current-password";
            }
            input type="hidden" name="next" value=(next);
            p { button class="first" { "Sign in" } }
        }
    };
    page(status, "Sign in", body)
}

pub fn signed_in(subject: &Subject, next: &str) -> Response<Vec<u8>> {
    let body = html! {
        meta http-equiv="refresh" content={ "0;url=" (next) };
        p role="status" { "You are signed in as " (subject) "." }
        p { a href=(next) { "Continue" } }
    };
    page(StatusCode::OK, "Signed in", body)
}

/// Away from here, by GET after any request (RFC 9700 section 4.12).
pub fn see_other(to: &str) -> Result<Response<Vec<u8>>, Refusal> {
    let mut response = guarded(empty(StatusCode::SEE_OTHER));
    let to = HeaderValue::try_from(to).map_err(|_| Refusal::Request("not an address to go to"))?;
    response.headers_mut().insert(header::LOCATION, to);
    Ok(response)
}

fn page(status: StatusCode, title: &str, body: Markup) -> Response<Vec<u8>> {
    let mut response = guarded(empty(status));
    let (title, body) = (visible(title), PreEscaped(visible(&body.0)));
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (title) " · Gatehouse" }
                style { (PreEscaped(STYLE)) }
            }
            body {
                header { "Gatehouse" }
                main { h1 { (title) } (body) }
            }
        }
    };
    *response.body_mut() = page.into_string().into_bytes();
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

/// Without letters that cannot be seen and change how others look.
fn visible(text: &str) -> String {
    text.chars().filter(|letter| text::is_visible(*letter)).collect()
}

/// `text` with a capital letter and a full stop. The name of a setting, such as `public_url`, stays as it is written.
fn sentence(text: &str) -> String {
    if text.split([' ', ':']).next().is_some_and(|word| word.contains('_')) {
        return format!("{text}.");
    }
    let mut letters = text.chars();
    let first: String = letters.next().into_iter().flat_map(char::to_uppercase).collect();
    format!("{first}{}.", letters.as_str())
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

    /// A page escapes what its templates and its title are given, and keeps no letter that cannot be seen.
    #[test]
    fn text_from_outside_stays_text() {
        let hostile = "<script>\"&\u{202e}";
        let body = html! { p title=(hostile) { (hostile) } };
        let response = page(StatusCode::OK, hostile, body);
        let page = std::str::from_utf8(response.body()).unwrap();
        assert_eq!(page.matches("&lt;script&gt;&quot;&amp;").count(), 4, "{page}");
        assert!(!page.contains("<script") && !page.contains('\u{202e}'), "{page}");
        assert!(page.contains(STYLE), "{page}");
    }

    #[test]
    fn an_errors_text_is_a_sentence() {
        assert_eq!(sentence("it is wrong"), "It is wrong.");
        assert_eq!(sentence("public_url: wrong"), "public_url: wrong.");
    }
}
