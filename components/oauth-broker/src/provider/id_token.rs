//! What does an id token say?
//!
//! It is read where a provider has no other place that tells the account. It came from the token endpoint itself, over
//! TLS, which stands for its signature (OpenID Connect Core 1.0 section 3.1.3.7, item 6); that it is by this issuer, for
//! this client and not over is checked all the same.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;

use super::Failure;
use crate::catalogue::Service;

/// Its claims; nothing where the answer has none, as that to a refresh.
pub fn claims(service: &Service, token: Option<&str>, now: u64) -> Result<Value, Failure> {
    let Some(token) = token else { return Ok(Value::Null) };
    let wrong = Failure::Malformed("id token");
    let mut parts = token.split('.').map(|part| {
        let bytes = Base64UrlUnpadded::decode_vec(part).ok()?;
        serde_json::from_slice::<Value>(json::check(&bytes).ok()?).ok()
    });
    let (Some(Some(head)), Some(Some(claims))) = (parts.next(), parts.next()) else { return Err(wrong) };
    let ours = |value: &Value| *value == service.client_id.as_str();
    let good = head["alg"].as_str().is_some_and(|alg| ALGORITHMS.contains(&alg))
        && service.issuer.as_deref().is_none_or(|issuer| claims["iss"] == issuer)
        && (ours(&claims["aud"]) || claims["aud"].as_array().is_some_and(|list| list.iter().any(ours)))
        && (claims["azp"].is_null() || ours(&claims["azp"]))
        && claims["exp"].as_u64().is_some_and(|end| end.saturating_add(SKEW) > now);
    if good { Ok(claims) } else { Err(wrong) }
}

/// Those that need a key which is not also the client's.
const ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];
/// Seconds by which clocks may differ.
const SKEW: u64 = 600;
