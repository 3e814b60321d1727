//! Reads the bearer token of a request (RFC 6750 section 2.1).

use http::{HeaderMap, header};
use thiserror::Error;

/// The reason why a request's `Authorization` cannot be used. The text holds nothing of its value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum BearerError {
    /// Two readers could take different ones.
    #[error("there is more than one Authorization header")]
    Several,
    #[error("the bearer token in Authorization is not a b64token of RFC 6750")]
    Form,
}

/// The bearer token of a request, without its scheme. `None` if there is no `Authorization`, or one of another scheme:
/// its case does not matter (RFC 9110 section 11.1).
pub fn bearer(headers: &HeaderMap) -> Result<Option<&str>, BearerError> {
    let mut fields = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = fields.next() else { return Ok(None) };
    if fields.next().is_some() {
        return Err(BearerError::Several);
    }
    let value = value.as_bytes().trim_ascii();
    let scheme = value.iter().take_while(|byte| !matches!(byte, b' ' | b'\t')).count();
    let (scheme, token) = value.split_at(scheme);
    if !scheme.eq_ignore_ascii_case(b"bearer") {
        return Ok(None);
    }
    let token = std::str::from_utf8(token.trim_ascii()).map_err(|_| BearerError::Form)?;
    if is_token(token) { Ok(Some(token)) } else { Err(BearerError::Form) }
}

/// `b64token` of RFC 6750 section 2.1.
fn is_token(token: &str) -> bool {
    let letters = token.trim_end_matches('=');
    !letters.is_empty() && letters.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/".contains(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn read(values: &[&str]) -> Result<Option<String>, BearerError> {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, HeaderValue::from_bytes(value.as_bytes()).unwrap());
        }
        bearer(&headers).map(|token| token.map(str::to_owned))
    }

    #[test]
    fn a_bearer_is_read_without_its_scheme() {
        for value in ["Bearer a.b-c_d~e+f/g==", "bearer a.b-c_d~e+f/g==", "BEARER \t a.b-c_d~e+f/g== "] {
            assert_eq!(read(&[value]), Ok(Some("a.b-c_d~e+f/g==".into())), "{value}");
        }
        assert_eq!(read(&[]), Ok(None));
        assert_eq!(read(&["Basic YTpi"]), Ok(None));
        assert_eq!(read(&["Bearerx y"]), Ok(None));
    }

    #[test]
    fn a_bearer_that_readers_could_take_for_another_is_refused() {
        for value in ["Bearer", "Bearer ", "Bearer a b", "Bearer a,Bearer b", "Bearer =", "Bearer a=b", "Bearer \u{e9}"]
        {
            assert_eq!(read(&[value]), Err(BearerError::Form), "{value}");
        }
        assert_eq!(read(&["Bearer a", "Bearer b"]), Err(BearerError::Several));
        assert_eq!(read(&["Basic YTpi", "Bearer b"]), Err(BearerError::Several));
    }
}
