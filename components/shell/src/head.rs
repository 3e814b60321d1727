//! Bounds the heads that components make.
//!
//! Hosts end the instance of a component that makes a longer one, and its client learns no reason. With wasmtime the limit is
//! 128 KiB.

use http::HeaderMap;

/// The most bytes of a head, with [`OVERHEAD`] for each field.
pub const LONGEST: usize = 64 * 1024;
const OVERHEAD: usize = 128;

/// Returns true if all hosts take a head with these fields.
pub fn is_short(headers: &HeaderMap) -> bool {
    let lengths = headers.iter().map(|(name, value)| name.as_str().len() + value.len() + OVERHEAD);
    lengths.sum::<usize>() <= LONGEST
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    /// A27: many short fields are as long as a single one.
    #[test]
    fn a_head_is_short_by_all_its_fields() {
        let with = |fields: usize, length: usize| {
            let mut headers = HeaderMap::new();
            for _ in 0..fields {
                headers.append("x", HeaderValue::try_from("v".repeat(length)).unwrap());
            }
            is_short(&headers)
        };
        assert!(with(1, LONGEST - OVERHEAD - 1) && with(8, 4096));
        assert!(!with(1, LONGEST - OVERHEAD) && !with(16, 4096) && !with(600, 1));
    }
}
