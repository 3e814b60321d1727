//! Makes plain JSON of a file that people wrote for their editor: without a byte order mark, comments and commas at the end.

use std::borrow::Cow;

/// `text` as JSON (RFC 8259), each comment and each comma before a closing bracket replaced by spaces. Places in the text
/// stay the same, so that an error still names the right line and column. Strings are not touched.
pub fn plain(text: &str) -> Cow<'_, str> {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut cuts = Vec::new();
    // The last comma, while nothing but white space and comments has come after it.
    let mut comma = None;
    let bytes = text.as_bytes();
    let mut at = 0;
    while let Some(byte) = bytes.get(at) {
        let end = match (byte, bytes.get(at + 1)) {
            (b'"', _) => end_of_string(bytes, at),
            (b'/', Some(b'/')) => cut(&mut cuts, at, find(bytes, at, b"\n").unwrap_or(bytes.len())),
            (b'/', Some(b'*')) => cut(&mut cuts, at, find(bytes, at + 2, b"*/").map_or(bytes.len(), |end| end + 2)),
            (b'}' | b']', _) => comma.map_or(at + 1, |comma| cut(&mut cuts, comma, comma + 1).max(at + 1)),
            _ => at + 1,
        };
        let is_comment = *byte == b'/' && end > at + 1;
        comma = match byte {
            b',' => Some(at),
            byte if byte.is_ascii_whitespace() || is_comment => comma,
            _ => None,
        };
        at = end;
    }
    if cuts.is_empty() {
        return Cow::Borrowed(text);
    }
    let mut made = text.as_bytes().to_vec();
    for (start, end) in cuts {
        // A line break stays, and a letter of several bytes becomes several spaces.
        made[start..end].iter_mut().filter(|byte| **byte != b'\n').for_each(|byte| *byte = b' ');
    }
    String::from_utf8(made).map_or(Cow::Borrowed(text), Cow::Owned)
}

fn cut(cuts: &mut Vec<(usize, usize)>, start: usize, end: usize) -> usize {
    cuts.push((start, end));
    end
}

/// The place behind the string that begins at `start`, or the end of the text if it does not end.
fn end_of_string(bytes: &[u8], start: usize) -> usize {
    let mut at = start + 1;
    while let Some(byte) = bytes.get(at) {
        match byte {
            b'"' => return at + 1,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    bytes.len()
}

fn find(bytes: &[u8], from: usize, wanted: &[u8]) -> Option<usize> {
    let rest = bytes.get(from..)?;
    rest.windows(wanted.len()).position(|window| window == wanted).map(|place| from + place)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R16: comments and commas at the end are read over.
    #[test]
    fn comments_and_trailing_commas_become_spaces() {
        for (text, made) in [
            ("{\"a\": 1, // é\n}", "{\"a\": 1       \n}"),
            ("[1,/* x */]", "[1        ]"),
            ("{/**/\"a\":[1 , ] , }", "{    \"a\":[1   ]   }"),
            ("// x\n{}", "    \n{}"),
            ("{} // x", "{}     "),
        ] {
            assert_eq!(plain(text), made);
            assert!(serde_json::from_str::<serde_json::Value>(made).is_ok(), "{made}");
        }
    }

    #[test]
    fn what_stands_in_a_string_and_plain_json_stay() {
        for text in [r#"{"a":"// ,] /* \" ,}","b":"\\"}"#, "{}", "", "[1,2]", "{\"a\":\"open", "\"\\"] {
            assert!(matches!(plain(text), Cow::Borrowed(same) if same == text), "{text}");
        }
    }

    /// R12: a byte order mark.
    #[test]
    fn a_byte_order_mark_is_passed_over() {
        assert_eq!(plain("\u{feff}{}"), "{}");
    }

    #[test]
    fn what_is_no_json_stays_none() {
        for text in ["/", "/*", "[1,,]", "{\"a\":1 /", "{\"a\" /* x", "[1 // ]"] {
            assert!(serde_json::from_str::<serde_json::Value>(&plain(text)).is_err(), "{text}");
        }
    }
}
