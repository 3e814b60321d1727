//! Reads the metadata documents (RFC 9728 section 3.2, RFC 8414 section 2, OpenID Connect Discovery 1.0)
//!
//! Only the members that are needed are read. A member of another form than it should have counts as absent: few of these
//! documents are written by hand, and many have more in them than any specification.

use http_auth::scope::ASKED_FOR;
use serde_json::Value;

use sealing::Secret;

/// Of a protected resource.
#[derive(Debug)]
pub(crate) struct ResourceMetadata {
    pub resource: String,
    pub authorization_servers: Vec<String>,
    pub scopes_supported: Vec<String>,
}

/// Of an authorization server.
#[derive(Debug)]
pub(crate) struct ServerMetadata {
    pub issuer: String,
    pub authorization_endpoint: String,
    pub token_endpoint: String,
    pub registration_endpoint: Option<String>,
    pub revocation_endpoint: Option<String>,
    pub code_challenge_methods: Vec<String>,
    /// `None` if it is absent, as in the next.
    pub client_auth_methods: Option<Vec<String>>,
    pub grant_types: Option<Vec<String>>,
    pub scopes_supported: Vec<String>,
    pub takes_documents: bool,
    pub says_issuer: bool,
}

/// The answer to a registration (RFC 7591 section 3.2).
#[derive(Debug)]
pub(crate) struct Registered {
    pub client_id: String,
    pub client_secret: Option<Secret>,
    /// Seconds since the Unix epoch.
    pub ends: Option<u64>,
    pub client_auth_method: Option<String>,
    pub redirect_uris: Option<Vec<String>>,
    pub scopes: Option<Vec<String>>,
}

pub(crate) fn resource_metadata(members: &Value) -> ResourceMetadata {
    ResourceMetadata {
        resource: text(members, "resource").unwrap_or_default(),
        authorization_servers: texts(members, "authorization_servers").unwrap_or_default(),
        scopes_supported: texts(members, "scopes_supported").unwrap_or_default(),
    }
}

pub(crate) fn server_metadata(members: &Value) -> ServerMetadata {
    ServerMetadata {
        issuer: text(members, "issuer").unwrap_or_default(),
        authorization_endpoint: text(members, "authorization_endpoint").unwrap_or_default(),
        token_endpoint: text(members, "token_endpoint").unwrap_or_default(),
        registration_endpoint: text(members, "registration_endpoint"),
        revocation_endpoint: text(members, "revocation_endpoint"),
        code_challenge_methods: texts(members, "code_challenge_methods_supported").unwrap_or_default(),
        client_auth_methods: texts(members, "token_endpoint_auth_methods_supported"),
        grant_types: texts(members, "grant_types_supported"),
        scopes_supported: texts(members, "scopes_supported").unwrap_or_default(),
        takes_documents: members["client_id_metadata_document_supported"] == true,
        says_issuer: members["authorization_response_iss_parameter_supported"] == true,
    }
}

pub(crate) fn registered(document: &[u8]) -> Option<Registered> {
    let members = object(document)?;
    // RFC 6749 appendix A.1.
    let printable = |text: &String| text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    let client_id = text(&members, "client_id").filter(|id| (1..=LONGEST_ID).contains(&id.len()) && printable(id))?;
    Some(Registered {
        client_id,
        client_secret: text(&members, "client_secret").filter(|secret| !secret.is_empty()).map(Secret::from),
        ends: members["client_secret_expires_at"].as_u64().filter(|end| *end > 0),
        client_auth_method: text(&members, "token_endpoint_auth_method"),
        redirect_uris: texts(&members, "redirect_uris"),
        scopes: text(&members, "scope").map(|scope| scopes(scope.split_ascii_whitespace())),
    })
}

/// The error of a registration and its description (RFC 7591 section 3.2.2).
pub(crate) fn registration_error(document: &[u8]) -> Option<(String, Option<String>)> {
    let members = object(document)?;
    Some((text(&members, "error").filter(|error| !error.is_empty())?, text(&members, "error_description")))
}

pub(super) fn object(document: &[u8]) -> Option<Value> {
    serde_json::from_slice(json::check(document).ok()?).ok().filter(Value::is_object)
}

fn text(members: &Value, name: &str) -> Option<String> {
    members[name].as_str().map(str::to_owned)
}

fn texts(members: &Value, name: &str) -> Option<Vec<String>> {
    Some(members[name].as_array()?.iter().filter_map(|text| text.as_str().map(str::to_owned)).collect())
}

/// The scopes of a list that a flow can ask for.
pub(crate) fn scopes<'s>(list: impl Iterator<Item = &'s str>) -> Vec<String> {
    let mut list = list;
    let mut scopes = Vec::new();
    ASKED_FOR.add(&mut scopes, &mut list);
    scopes
}

const LONGEST_ID: usize = 2048;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scopes_are_valid_tokens_and_bounded_in_number() {
        assert_eq!(scopes(["a", "b:c/d", "a", "", "e\"f", "g h", "é"].into_iter()), ["a", "b:c/d"]);
        let many: Vec<String> = (0..1000).map(|number| number.to_string()).collect();
        assert_eq!(scopes(many.iter().map(String::as_str)).len(), ASKED_FOR.most);
    }

    /// A01: of two members of one name another reader would have taken the other one.
    #[test]
    fn a_document_with_a_name_twice_is_none() {
        assert!(registered(br#"{"client_id":"a","client_id":"b"}"#).is_none());
        assert!(registered(br#"{"client_id":"a","x":[{"y":1,"y":2}]}"#).is_none());
        assert!(registered(b"\xef\xbb\xbf{\"client_id\":\"a\"}").is_some());
    }

    #[test]
    fn a_client_id_is_something_that_can_be_one() {
        for bad in [r#"{"client_id":""}"#, r#"{"client_id":"a\nb"}"#, r#"{"client_id":1}"#, "{}", "[]", "x"] {
            assert!(registered(bad.as_bytes()).is_none(), "{bad}");
        }
        let long = format!(r#"{{"client_id":"{}"}}"#, "x".repeat(LONGEST_ID + 1));
        assert!(registered(long.as_bytes()).is_none());
        assert!(registered(br#"{"client_id":"a b"}"#).is_some());
    }
}
