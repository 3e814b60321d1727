//! Checks lists of scopes and bounds them. One table says how much each writer may say.

/// The bounds of a list of scopes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bounds {
    /// The most scopes.
    pub most: usize,
    /// The most bytes, each scope with one byte between it and the next.
    pub bytes: usize,
}

/// The longest scope, in bytes.
pub const LONGEST: usize = 256;
/// Of one request: what a challenge calls for, or what a caller adds to the service's own scopes.
pub const CALLED_FOR: Bounds = Bounds { most: 64, bytes: 2048 };
/// Of metadata that list what there is. With `offline_access`, it is within [`ASKED_FOR`].
pub const SUPPORTED: Bounds = Bounds { most: 100, bytes: 3072 };
/// Of an authorization request, which has to fit into a URL.
pub const ASKED_FOR: Bounds = Bounds { most: 128, bytes: 4096 };
/// Of what a provider says it has granted.
pub const GRANTED: Bounds = Bounds { most: 512, bytes: 16 * 1024 };

/// Returns true if `word` is a `scope-token` of RFC 6749 section 3.3, of at most [`LONGEST`] bytes.
pub fn is_scope(word: &str) -> bool {
    let fits = |byte: u8| matches!(byte, 0x21 | 0x23..=0x5b | 0x5d..=0x7e);
    (1..=LONGEST).contains(&word.len()) && word.bytes().all(fits)
}

impl Bounds {
    /// Adds the scopes of `words` to `scopes`, each once, until one does not fit any more. Words that are no scopes are left
    /// out. Returns true if nothing was left out.
    pub fn add(self, scopes: &mut Vec<String>, words: &mut dyn Iterator<Item = &str>) -> bool {
        let mut bytes: usize = scopes.iter().map(|scope| scope.len() + 1).sum();
        let mut is_whole = true;
        for word in words {
            if !is_scope(word) {
                is_whole = false;
            } else if !scopes.iter().any(|known| known == word) {
                bytes += word.len() + 1;
                if scopes.len() >= self.most || bytes > self.bytes {
                    return false;
                }
                scopes.push(word.to_owned());
            }
        }
        is_whole
    }

    /// Returns true if all of `scopes` are scopes, and not too many.
    pub fn hold(self, scopes: &[String]) -> bool {
        let bytes: usize = scopes.iter().map(|scope| scope.len() + 1).sum();
        scopes.len() <= self.most && bytes <= self.bytes && scopes.iter().all(|scope| is_scope(scope))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The scopes that are taken. Only invalid and repeated ones are left out.
    fn taken(bounds: Bounds, words: &[&str]) -> Vec<String> {
        let mut scopes = Vec::new();
        let is_whole = bounds.add(&mut scopes, &mut words.iter().copied());
        assert_eq!(is_whole, words.iter().all(|word| scopes.iter().any(|scope| scope == word)));
        scopes
    }

    /// A18: what is no scope is left out.
    #[test]
    fn a_scope_is_a_token_of_rfc_6749() {
        let long = "x".repeat(LONGEST + 1);
        for bad in ["", "a b", "a\"b", "a\\b", "a\nb", "a\u{7f}", "\u{e9}", "\u{202e}", &long] {
            assert!(!is_scope(bad), "{bad:?}");
            assert_eq!(taken(ASKED_FOR, &["a", bad, "b:c/d", "a"]), ["a", "b:c/d"], "{bad:?}");
            assert!(!ASKED_FOR.hold(&["a".to_owned(), bad.to_owned()]), "{bad:?}");
        }
        assert!(ASKED_FOR.hold(&[long[1..].to_owned(), "https://a.example/~x?y=(z)#!".to_owned()]));
    }

    /// A18: a list has an end, in number and in bytes.
    #[test]
    fn a_list_has_an_end() {
        for bounds in [CALLED_FOR, SUPPORTED, ASKED_FOR, GRANTED] {
            let many: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
            let words: Vec<&str> = many.iter().map(String::as_str).collect();
            assert_eq!(taken(bounds, &words).len(), bounds.most);
            assert!(bounds.hold(&many[..bounds.most]) && !bounds.hold(&many[..=bounds.most]));
            let long: Vec<String> = (100..400).map(|number| format!("{number}{}", "x".repeat(200))).collect();
            let words: Vec<&str> = long.iter().map(String::as_str).collect();
            let taken = taken(bounds, &words);
            let bytes = taken.join(" ").len();
            assert!((bounds.bytes - 204..bounds.bytes).contains(&bytes), "{bytes}");
            assert!(bounds.hold(&taken) && !bounds.hold(&long[..=taken.len()]));
        }
    }
}
