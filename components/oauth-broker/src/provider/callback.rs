//! Checks that a callback was made by its provider.

use std::collections::BTreeMap;

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

use super::{Failure, call};
use crate::catalogue::Service;
use crate::params::Params;
use sealing::Secret;

/// Checks what a row says of its provider's callbacks.
pub fn check(service: &Service, params: &Params) -> Result<(), Failure> {
    if service.callback_hmac && !is_signed(params, service.client_secret.as_ref()) {
        return Err(Failure::Forged("its signature is wrong"));
    }
    for (name, template) in &service.callback_expect {
        let expected = call::filled(template, &|name| service.variables.get(name).cloned());
        if expected.is_none() || params.get(name) != expected.as_deref() {
            return Err(Failure::Forged("a parameter is not what this service has"));
        }
    }
    Ok(())
}

/// HMAC-SHA256 in hexadecimal, under the client's secret, over all other parameters in the order of their names.
fn is_signed(params: &Params, secret: Option<&Secret>) -> bool {
    let (Some(signature), Some(secret)) = (params.get("hmac"), secret) else { return false };
    let others = crate::maps::map_of(params.iter().filter(|(name, _)| *name != "hmac"));
    let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(others).finish();
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(secret.reveal().as_bytes()) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(text.as_bytes());
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    let signature: Option<Vec<u8>> = signature.as_bytes().chunks(2).map(digits).collect();
    signature.is_some_and(|signature| mac.verify_slice(&signature).is_ok())
}

/// The parameters of a callback that a row wants kept, by their own names.
pub fn wanted(service: &Service, params: &Params) -> BTreeMap<String, String> {
    let paths = service.extra.values().chain([&service.answer.scope]);
    let names = paths.filter_map(|path| path.strip_prefix("callback."));
    // Longer than any provider's value.
    let named = |name: &str| Some((name.to_owned(), params.get(name).filter(|value| value.len() <= 512)?.to_owned()));
    crate::maps::map_of(names.filter_map(named))
}
