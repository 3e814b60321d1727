//! What does a server ask for when it turns a caller away? (`WWW-Authenticate`, RFC 9110 section 11.6.1)
//!
//! A header holds a list of challenges, and each a list of parameters, with commas in both: a word is a parameter when
//! `=` follows it, and else the scheme of the next challenge. What cannot be read ends the reading; what came before counts.

/// What the `Bearer` challenge says (RFC 6750 section 3, RFC 9728 section 5.1).
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Bearer {
    pub resource_metadata: Option<String>,
    pub scope: Option<String>,
}

/// The first `Bearer` challenge of these headers that names its metadata, or else the first of all.
pub(crate) fn bearer<'h>(headers: impl Iterator<Item = &'h [u8]>) -> Option<Bearer> {
    let mut first = None;
    for header in headers {
        let mut reader = Reader { rest: header.get(..LONGEST).unwrap_or(header) };
        while let Some(challenge) = reader.challenge() {
            match challenge {
                Some(bearer) if bearer.resource_metadata.is_some() => return Some(bearer),
                Some(bearer) if first.is_none() => first = Some(bearer),
                _ => {}
            }
        }
    }
    first
}

struct Reader<'h> {
    rest: &'h [u8],
}

impl Reader<'_> {
    /// The next challenge: what it says if it is of the scheme `Bearer`. None at the end.
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
                    _ => continue,
                };
                // A name may come once: what is said again is not listened to.
                slot.get_or_insert(value);
            }
        }
        Some(scheme.eq_ignore_ascii_case("bearer").then_some(said))
    }

    /// The next parameter of this challenge; within, none where it has no more. None where nothing can be read on.
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
        let value = if self.rest.first() == Some(&b'"') { self.quoted()? } else { self.token()? };
        Some(Some((name, value)))
    }

    /// `token68`, such as `Negotiate` has: not a parameter, though it may end with `=`.
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
        let letter = |byte: &u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(byte);
        let letters = self.rest.iter().take_while(|byte| letter(byte)).count();
        let (token, rest) = self.rest.split_at_checked(letters).filter(|(token, _)| !token.is_empty())?;
        self.rest = rest;
        String::from_utf8(token.to_vec()).ok()
    }

    /// Whether there was anything of `these`.
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

/// Bytes of a header that are looked at.
const LONGEST: usize = 8 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    fn read(header: &str) -> Option<Bearer> {
        bearer([header.as_bytes()].into_iter())
    }

    fn said(resource_metadata: &str, scope: &str) -> Option<Bearer> {
        let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Some(Bearer { resource_metadata: some(resource_metadata), scope: some(scope) })
    }

    #[test]
    fn a_challenge_is_read_in_every_form_of_the_grammar() {
        for (header, expected) in [
            (r#"Bearer resource_metadata="https://a/x", scope="r w""#, said("https://a/x", "r w")),
            (r#"bearer scope=r , RESOURCE_METADATA = "https://a/x""#, said("https://a/x", "r")),
            (r#"Bearer error="invalid_token",error_description="say \"x\", y", scope="r""#, said("", "r")),
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
        let two = [r#"Basic realm="x""#.as_bytes(), br#"Bearer scope="r""#];
        assert_eq!(bearer(two.into_iter()), said("", "r"));
    }

    #[test]
    fn what_cannot_be_read_ends_the_reading_and_nothing_else() {
        for header in [r#"Bearer scope="open"#, r#"Bearer scope="a\"#, "Bearer =x", "\u{0}", "Bearer \u{ff}"] {
            assert!(read(header).is_none(), "{header:?}");
        }
        assert_eq!(read(r#"Bearer scope="r", Basic realm="open"#), said("", "r"));
        assert_eq!(bearer([[b' '; 100_000].as_slice()].into_iter()), None);
    }
}
