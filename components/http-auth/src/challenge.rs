//! Reads `WWW-Authenticate` (RFC 9110 section 11.6.1).
//!
//! A header field holds a list of challenges, and each challenge a list of parameters, with commas in both: a word is a
//! parameter if `=` follows it, and otherwise the scheme of the next challenge. Reading stops at the first byte that does
//! not fit the grammar; the challenges before it count.

use http::{HeaderMap, header};

use crate::scope;

/// The parameters of a `Bearer` challenge (RFC 6750 section 3, RFC 9728 section 5.1) that Gatehouse uses.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Bearer {
    pub resource_metadata: Option<String>,
    pub scope: Option<String>,
    pub error: Option<String>,
}

impl Bearer {
    /// The scopes that the challenge asks for, within [`scope::CALLED_FOR`]. Other words are left out.
    pub fn scopes(&self) -> Vec<String> {
        let mut scopes = Vec::new();
        scope::CALLED_FOR.add(&mut scopes, &mut self.scope.as_deref().unwrap_or_default().split(' '));
        scopes
    }
}

/// The `Bearer` challenges of a response, in their order: at most [`MOST_CHALLENGES`].
pub fn bearers(headers: &HeaderMap) -> Vec<Bearer> {
    let mut found = Vec::new();
    for value in headers.get_all(header::WWW_AUTHENTICATE) {
        let value = value.as_bytes();
        let mut reader = Reader { rest: value.get(..LONGEST).unwrap_or(value) };
        while let Some(challenge) = reader.challenge() {
            found.extend(challenge);
            if found.len() == MOST_CHALLENGES {
                return found;
            }
        }
    }
    found
}

/// The first `Bearer` challenge of a response that names its metadata, or else the first one.
pub fn bearer(headers: &HeaderMap) -> Option<Bearer> {
    let mut found = bearers(headers);
    let place = found.iter().position(|bearer| bearer.resource_metadata.is_some()).unwrap_or(0);
    (place < found.len()).then(|| found.swap_remove(place))
}

/// The scopes that a response calls for because the token's do not reach (RFC 6750 section 3.1, `insufficient_scope`).
/// `None` if it does not say that, or names no scope.
pub fn missing_scopes(headers: &HeaderMap) -> Option<Vec<String>> {
    let challenges = bearers(headers);
    let challenge = challenges.iter().find(|bearer| bearer.error.as_deref() == Some("insufficient_scope"))?;
    Some(challenge.scopes()).filter(|scopes| !scopes.is_empty())
}

struct Reader<'h> {
    rest: &'h [u8],
}

impl Reader<'_> {
    /// The next challenge; `Some(None)` if its scheme is not `Bearer`, `None` at the end.
    fn challenge(&mut self) -> Option<Option<Bearer>> {
        self.skip(b", \t");
        let scheme = self.token()?;
        let mut said = Bearer::default();
        let spaced = self.skip(b" \t");
        if spaced && !self.token68() {
            while let Some((name, value)) = self.parameter()? {
                let slot = match name.to_ascii_lowercase().as_str() {
                    "resource_metadata" => &mut said.resource_metadata,
                    "scope" => &mut said.scope,
                    "error" => &mut said.error,
                    _ => continue,
                };
                // A parameter may come once (RFC 9110 section 11.2): the first one counts.
                slot.get_or_insert(value);
            }
        }
        Some(scheme.eq_ignore_ascii_case("bearer").then_some(said))
    }

    /// The next parameter of this challenge; `Some(None)` if it has no more, `None` if the rest cannot be read.
    fn parameter(&mut self) -> Option<Option<(String, String)>> {
        let before = self.rest;
        self.skip(b", \t");
        let Some(name) = self.token() else {
            return if self.rest.is_empty() { Some(None) } else { None };
        };
        self.skip(b" \t");
        if !self.skip_one(b'=') {
            self.rest = before;
            return Some(None);
        }
        self.skip(b" \t");
        let value = if self.rest.first() == Some(&b'"') { self.quoted()? } else { self.value()? };
        Some(Some((name, value)))
    }

    /// Skips a `token68`, such as `Negotiate` has. It is not a parameter, although it may end with `=`.
    fn token68(&mut self) -> bool {
        let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~+/".contains(byte);
        let letters = self.rest.iter().take_while(|byte| letter(byte)).count();
        let padding = self.rest.iter().skip(letters).take_while(|byte| **byte == b'=').count();
        let after = self.rest.get(letters + padding..).unwrap_or_default().trim_ascii_start();
        let whole = letters > 0 && matches!(after.first(), None | Some(b','));
        if whole {
            self.rest = after;
        }
        whole
    }

    fn quoted(&mut self) -> Option<String> {
        let mut text = Vec::new();
        let mut bytes = self.rest.iter().enumerate().skip(1);
        while let Some((place, byte)) = bytes.next() {
            match byte {
                b'"' => {
                    self.rest = self.rest.get(place + 1..).unwrap_or_default();
                    return String::from_utf8(text).ok();
                }
                b'\\' => text.push(*bytes.next()?.1),
                byte => text.push(*byte),
            }
        }
        None
    }

    fn token(&mut self) -> Option<String> {
        self.word(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte))
    }

    /// A value without quotes. It should be a token, but servers write `scope=events:write`.
    fn value(&mut self) -> Option<String> {
        self.word(|byte| byte.is_ascii_graphic() && !b"\",".contains(&byte))
    }

    fn word(&mut self, is_letter: impl Fn(u8) -> bool) -> Option<String> {
        let letters = self.rest.iter().take_while(|byte| is_letter(**byte)).count();
        let (token, rest) = self.rest.split_at_checked(letters).filter(|(token, _)| !token.is_empty())?;
        self.rest = rest;
        String::from_utf8(token.to_vec()).ok()
    }

    /// Skips bytes of `these`; returns true if there were any.
    fn skip(&mut self, these: &[u8]) -> bool {
        let before = self.rest.len();
        while let [first, rest @ ..] = self.rest
            && these.contains(first)
        {
            self.rest = rest;
        }
        self.rest.len() < before
    }

    fn skip_one(&mut self, this: u8) -> bool {
        match self.rest {
            [first, rest @ ..] if *first == this => {
                self.rest = rest;
                true
            }
            _ => false,
        }
    }
}

/// Bytes of a header field that are read.
const LONGEST: usize = 8 * 1024;
/// The most `Bearer` challenges that are read of one response.
pub const MOST_CHALLENGES: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(values: &[&[u8]]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::WWW_AUTHENTICATE, http::HeaderValue::from_bytes(value).unwrap());
        }
        headers
    }

    fn read(header: &str) -> Option<Bearer> {
        bearer(&headers(&[header.as_bytes()]))
    }

    fn said(resource_metadata: &str, scope: &str) -> Option<Bearer> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Bearer { resource_metadata: some(resource_metadata), scope: some(scope), error: None })
    }

    #[test]
    fn a_challenge_is_read_in_every_form_of_the_grammar() {
        for (header, expected) in [
            (r#"Bearer resource_metadata="https://a/x", scope="r w""#, said("https://a/x", "r w")),
            (r#"bearer scope=r , RESOURCE_METADATA = "https://a/x""#, said("https://a/x", "r")),
            (r#"Bearer error_description="say \"x\", y", scope="r""#, said("", "r")),
            ("Bearer", said("", "")),
            (r#"Basic realm="a, Bearer b", Bearer scope="r""#, said("", "r")),
            (r#"Negotiate YWJj==, Bearer scope="r""#, said("", "r")),
            (r#"Negotiate, Bearer scope="r", Basic realm=x"#, said("", "r")),
            (r#"Bearer realm="a", Bearer resource_metadata="https://a/x""#, said("https://a/x", "")),
            (r#"Bearer scope="first", scope="second""#, said("", "first")),
            (r#", ,Bearer ,scope="r","#, said("", "r")),
            (r#"DPoP scope="r""#, None),
            ("", None),
        ] {
            assert_eq!(read(header), expected, "{header}");
        }
        let two = headers(&[br#"Basic realm="x""#, br#"Bearer scope="r""#]);
        assert_eq!(bearer(&two), said("", "r"));
    }

    #[test]
    fn what_cannot_be_read_ends_the_reading_and_nothing_else() {
        for header in [r#"Bearer scope="open"#, r#"Bearer scope="a\"#, "Bearer =x", "Bearer \u{ff}"] {
            assert!(read(header).is_none(), "{header:?}");
        }
        assert_eq!(read(r#"Bearer scope="r", Basic realm="open"#), said("", "r"));
        assert_eq!(bearer(&headers(&[[b' '; 100_000].as_slice()])), None);
        let many = "Bearer scope=a, ".repeat(MOST_CHALLENGES + 1);
        assert_eq!(bearers(&headers(&[many.as_bytes()])).len(), MOST_CHALLENGES);
    }

    /// A18: scopes are those of RFC 6749, and bounded. R20: the challenge may stand behind one of another scheme, without quotes.
    #[test]
    fn scopes_of_a_challenge_are_checked_and_bounded() {
        let missing = |header: &str| missing_scopes(&headers(&[header.as_bytes()]));
        let insufficient = |scope: &str| format!("Bearer error=\"insufficient_scope\", scope=\"{scope}\"");
        assert_eq!(missing(&insufficient("read write")), Some(vec!["read".into(), "write".into()]));
        assert_eq!(
            missing("DPoP algs=\"ES256\", Bearer error=insufficient_scope, scope=events:write").unwrap(),
            ["events:write"]
        );
        assert_eq!(missing(&insufficient("a\tb caf\u{e9} ok")).unwrap(), ["ok"]);
        assert_eq!(missing("Bearer error=\"invalid_token\", scope=\"read\""), None);
        assert_eq!(missing("Bearer error=\"insufficient_scope\""), None);
        assert_eq!(missing(&insufficient(&"x".repeat(scope::LONGEST + 1))), None);
        let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
        assert_eq!(missing(&insufficient(&many.join(" "))).unwrap().len(), scope::CALLED_FOR.most);
    }
}
