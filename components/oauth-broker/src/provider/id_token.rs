//! Reads the claims of an id token.
//!
//! It is read where a provider has no other place that tells the account. It came from the token endpoint itself, over
//! TLS, which stands for its signature (OpenID Connect Core 1.0 section 3.1.3.7, item 6); that it is by this issuer, for
//! this client, for this flow and not over is checked all the same.

use base64ct::{Base64UrlUnpadded, Encoding};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::Failure;
use crate::catalogue::Service;
use sealing::Secret;

/// The nonce that the id token of a flow has to repeat. It is made of the flow's verifier, so that nothing more has to be
/// stored.
pub fn nonce(verifier: &Secret) -> String {
    let digest = Sha256::new().chain_update("gatehouse.nonce.v1").chain_update(verifier.reveal()).finalize();
    Base64UrlUnpadded::encode_string(&digest)
}

/// The claims of an id token; null if the answer has none, as after a refresh. `nonce` is `None` outside of a flow.
pub fn claims(service: &Service, token: Option<&str>, nonce: Option<&str>, now: u64) -> Result<Value, Failure> {
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
        && match &claims["aud"] {
            // Of several one has to be named, and to be us (OpenID Connect Core 1.0 section 3.1.3.7, items 4 and 5).
            Value::Array(list) => list.iter().any(ours) && (list.len() == 1 || ours(&claims["azp"])),
            one => ours(one),
        }
        && (claims["azp"].is_null() || ours(&claims["azp"]))
        && nonce.is_none_or(|nonce| claims["nonce"] == nonce)
        && claims["exp"].as_u64().is_some_and(|end| end.saturating_add(SKEW) > now);
    if good { Ok(claims) } else { Err(wrong) }
}

/// Those that need a key which is not also the client's.
const ALGORITHMS: [&str; 4] = ["RS256", "PS256", "ES256", "EdDSA"];
/// Seconds by which clocks may differ.
const SKEW: u64 = 600;
