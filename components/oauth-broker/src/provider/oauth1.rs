//! Speaks OAuth 1.0a (RFC 5849) with a provider that has nothing else.
//!
//! The flow is the same seen from outside: away to the provider and back to the callback with something that is
//! exchanged. Before it a request token is fetched; each request is signed with HMAC-SHA1 instead of carrying the secret.

use std::collections::BTreeMap;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Method, Response, header};
use sha1::Sha1;
use url::Url;

use super::dialect::{self, Outgoing, sensitive};
use super::{Asked, Begun, Failure, Returned};
use crate::catalogue::{Body, Service};
use crate::host::Host;
use sealing::Secret;

/// Fetches a request token (section 2.1), and sends the person to where it is authorised (section 2.2). What binds the
/// answer to its flow is a state in our own callback URL.
pub async fn begin<H: Host>(
    host: &H,
    service: &Service,
    request_token_url: &Url,
    asked: Asked<'_>,
) -> Result<Begun, Failure> {
    let callback = Url::parse_with_params(asked.redirect_uri, [("state", asked.state)]);
    let callback = callback.map_err(|_| Failure::Malformed("redirect URI"))?;
    let answer = signed(host, service, request_token_url, &[(CALLBACK, callback.as_str())], None).await?;
    dialect::check_success(host, service, &answer)?;
    let mut values: BTreeMap<String, Secret> = crate::maps::map_of(
        url::form_urlencoded::parse(answer.body().trim_ascii())
            .map(|(name, value)| (name.into_owned(), Secret::from(value.into_owned()))),
    );
    let kept = crate::maps::map_of(
        [TOKEN, TOKEN_SECRET].into_iter().filter_map(|name| Some((name.to_owned(), values.remove(name)?))),
    );
    let confirmed = values.get("oauth_callback_confirmed").is_some_and(|values| values.reveal() == "true");
    let Some(token) = kept.get(TOKEN).filter(|_| confirmed && kept.len() == 2) else {
        return Err(Failure::Malformed("answer"));
    };
    let mut to = service.authorize_url.url().clone();
    let mut params = vec![(TOKEN.to_owned(), token.reveal().to_owned())];
    params.extend(service.authorize_params.clone());
    if !asked.scopes.is_empty() && !service.scope_parameter.is_empty() {
        params.push((service.scope_parameter.clone(), asked.scopes.join(&service.scope_separator)));
    }
    dialect::remove_params(&mut to, &params);
    to.query_pairs_mut().extend_pairs(params);
    Ok(Begun { to, kept })
}

/// The verifier for a token (section 2.3).
pub async fn exchange<H: Host>(
    host: &H,
    service: &Service,
    url: &str,
    returned: &Returned<'_>,
) -> Result<Response<Vec<u8>>, Failure> {
    let (Some(token), Some(secret)) = (returned.kept.get(TOKEN), returned.kept.get(TOKEN_SECRET)) else {
        return Err(Failure::Forged("its flow began in another way"));
    };
    if returned.params.get(TOKEN) != Some(token.reveal()) {
        return Err(Failure::Forged("it has another request token"));
    }
    let url = Url::parse(url).map_err(|_| Failure::Malformed("URL"))?;
    signed(host, service, &url, &[(TOKEN, token.reveal()), ("oauth_verifier", returned.code)], Some(secret)).await
}

async fn signed<H: Host>(
    host: &H,
    service: &Service,
    url: &Url,
    further: &[(&str, &str)],
    token_secret: Option<&Secret>,
) -> Result<Response<Vec<u8>>, Failure> {
    let mut nonce = [0; 16];
    host.random(&mut nonce);
    let nonce = Base64UrlUnpadded::encode_string(&nonce);
    let now = host.now().to_string();
    let mut params = vec![
        ("oauth_consumer_key", service.client_id.as_str()),
        ("oauth_nonce", &nonce),
        ("oauth_signature_method", "HMAC-SHA1"),
        ("oauth_timestamp", &now),
        ("oauth_version", "1.0"),
    ];
    params.extend_from_slice(further);
    let secrets = [service.client_secret.as_ref(), token_secret];
    let signature = signature(url, &params, secrets.map(|secret| secret.map_or("", Secret::reveal)));
    params.push(("oauth_signature", &signature));
    let params: Vec<_> = params.iter().map(|(name, value)| format!("{name}=\"{}\"", quoted(value))).collect();
    let mut headers = HeaderMap::new();
    headers.insert(header::AUTHORIZATION, sensitive(format!("OAuth {}", params.join(", ")))?);
    let outgoing = Outgoing { method: Method::POST, url: url.as_str(), headers, body: Body::Form, params: Vec::new() };
    dialect::send(host, outgoing, Vec::new()).await
}

/// Section 3.4: the base string of a POST without a body, under the client's and the token's secret.
fn signature(url: &Url, params: &[(&str, &str)], secrets: [&str; 2]) -> String {
    let mut all: Vec<_> = params.iter().map(|(name, value)| (quoted(name), quoted(value))).collect();
    all.extend(url.query_pairs().map(|(name, value)| (quoted(&name), quoted(&value))));
    all.sort_unstable();
    let all: Vec<_> = all.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let base = url.as_str().split(['?', '#']).next().unwrap_or_default();
    let text = format!("POST&{}&{}", quoted(base), quoted(&all.join("&")));
    let key = format!("{}&{}", quoted(secrets[0]), quoted(secrets[1]));
    let Ok(mut mac) = Hmac::<Sha1>::new_from_slice(key.as_bytes()) else {
        unreachable!("HMAC takes keys of any length")
    };
    mac.update(text.as_bytes());
    Base64::encode_string(&mac.finalize().into_bytes())
}

/// Section 3.6.
fn quoted(text: &str) -> String {
    let mut quoted = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            quoted.push(char::from(byte));
        } else {
            quoted.push_str(&format!("%{byte:02X}"));
        }
    }
    quoted
}

const CALLBACK: &str = "oauth_callback";
const TOKEN: &str = "oauth_token";
const TOKEN_SECRET: &str = "oauth_token_secret";

#[cfg(test)]
mod tests {
    use super::*;

    /// The request for a token in RFC 5849 section 1.2, whose signature the RFC gives.
    #[test]
    fn a_request_is_signed_as_the_standard_does() {
        let url = Url::parse("https://photos.example.net/initiate").unwrap();
        let params = [
            ("oauth_consumer_key", "dpf43f3p2l4k3l03"),
            ("oauth_signature_method", "HMAC-SHA1"),
            ("oauth_timestamp", "137131200"),
            ("oauth_nonce", "wIjqoS"),
            ("oauth_callback", "http://printer.example.com/ready"),
        ];
        assert_eq!(signature(&url, &params, ["kd94hf93k423kf44", ""]), "74KNZJeDHnMBp0EMJ9ZHt/XKycU=");
    }
}
