//! Walks from an MCP server's URL to its authorization server.
//!
//! 1. A request without a token. Its 401 may name the metadata of the server and the scopes that it wants.
//! 2. The metadata of the MCP server (RFC 9728): where the challenge says, then at the well-known place of its path, then
//!    of its host.
//! 3. The metadata of the authorization server that it names, in the specification's order: RFC 8414, OpenID Connect with the
//!    path behind the well-known part, OpenID Connect with the path before it. A document that names another issuer ends
//!    the search.
//! 4. Where there is no metadata of the MCP server, it is a server of 2025-03-26: its host is the authorization server, with
//!    metadata or, if it has turned the caller away, with the endpoints `/authorize`, `/token` and `/register`.
//!
//! No place is the only one: many servers answer 500 or a page at one place and have the document at the next. An error
//! counts only if no place has the document.
//!
//! The resource may be the MCP server or something of the same origin that it lies under, such as the whole host, as the
//! official SDKs have it. RFC 9728 section 3.3 wants it letter by letter, but many servers behind one host name the host.
//! So the tenants of a host have to trust each other, as they have to for cookies and redirects.

use std::iter;
use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::{Method, Request, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use serde_json::Value;
use url::Url;

use super::documents::{self, ResourceMetadata, ServerMetadata};
use super::guard::{self, AddressError, Named};
use super::{Discovery, DiscoveryError, McpServer, OFFLINE, ServiceError};
use crate::host::{Host, SendFault};
use crate::outbound;
use crate::provider::{Failure, USER_AGENT};
use http_auth::challenge::{self, Bearer};
use http_auth::coding;
use http_auth::scope::{ASKED_FOR, SUPPORTED};

/// The result of a walk: an MCP server and its authorization server. Every URL has passed the guard.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Found {
    pub issuer: String,
    /// What the token is for (RFC 8707).
    pub resource: String,
    pub scopes: Vec<String>,
    pub authorize: String,
    pub token: String,
    pub register: Option<String>,
    pub revoke: Option<String>,
    /// True if every authorization response names its issuer (RFC 9207).
    pub says_issuer: bool,
    /// `None` if the metadata do not say.
    pub client_auth: Option<Vec<String>>,
    pub grant_types: Option<Vec<String>>,
    pub takes_documents: bool,
}

impl Found {
    /// All its addresses.
    pub(super) fn urls(&self) -> impl Iterator<Item = &String> {
        let optional = [self.register.as_ref(), self.revoke.as_ref()].into_iter().flatten();
        [&self.issuer, &self.authorize, &self.token].into_iter().chain(optional)
    }
}

impl<H: Host> Discovery<'_, H> {
    pub(super) async fn walk(&self, server: &McpServer) -> Result<Found, ServiceError> {
        let end = self.host.ticks() + PATIENCE;
        let (asked, bearer) = self.probe(server, end).await?;
        let Some((resource, at)) = self.resource_metadata(server, &bearer, end).await? else {
            return self.of_2025_03_26(server, asked, &bearer, end).await;
        };
        let mut wanted = bearer.scopes();
        if bearer.scope.is_none() {
            SUPPORTED.add(&mut wanted, &mut resource.scopes_supported.iter().map(String::as_str));
        }
        let issuer = issuer_of(server, &resource, &at)?;
        let url = address("authorization_servers", at.as_str(), issuer, server)?;
        let Some(metadata) = self.server_metadata(&url, issuer, end).await? else {
            return Err(DiscoveryError::NoMetadata(shown(issuer)).into());
        };
        Ok(found(server, metadata, resource.resource, wanted)?)
    }

    /// The specification before RFC 9728. No document says so, so the host is trusted with what is under it alone.
    async fn of_2025_03_26(
        &self,
        server: &McpServer,
        asked: bool,
        bearer: &Bearer,
        end: u64,
    ) -> Result<Found, ServiceError> {
        let origin = server.url.origin().ascii_serialization();
        let at = |path: &str| {
            let mut url = server.url.clone();
            url.set_query(None);
            url.set_path(path);
            url
        };
        let wanted = bearer.scopes();
        let resource = server.url.as_str().to_owned();
        if let Some(metadata) = self.server_metadata(&at("/"), &origin, end).await? {
            return Ok(found(server, metadata, resource, wanted)?);
        }
        if !asked {
            return Err(DiscoveryError::Open(shown(server.url.as_str())).into());
        }
        Ok(Found {
            issuer: origin,
            resource,
            scopes: wanted,
            authorize: at("/authorize").into(),
            token: at("/token").into(),
            register: Some(at("/register").into()),
            revoke: None,
            says_issuer: false,
            client_auth: Some(vec!["none".to_owned()]),
            grant_types: None,
            takes_documents: false,
        })
    }

    /// Sends a request without a token. Returns whether the server refuses it, and the challenge. The request changes
    /// nothing, and a server of any era understands it.
    async fn probe(&self, server: &McpServer, end: u64) -> Result<(bool, Bearer), ServiceError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(server.url.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/list");
        let answer = self.call(request, PROBE.to_vec(), &server.url, end).await?;
        let bearer = challenge::bearer(answer.headers()).unwrap_or_default();
        Ok((answer.status() == StatusCode::UNAUTHORIZED, bearer))
    }

    /// The metadata of the MCP server and where they were; `None` if the server has none.
    async fn resource_metadata(
        &self,
        server: &McpServer,
        bearer: &Bearer,
        end: u64,
    ) -> Result<Option<(ResourceMetadata, Url)>, ServiceError> {
        let mut root = server.url.clone();
        root.set_path("/");
        root.set_query(None);
        let mut places = vec![resource_place(&server.url), resource_place(&root)];
        if let Some(named) = &bearer.resource_metadata {
            places.insert(0, address("resource_metadata", server.url.as_str(), named, server)?);
        }
        let is_promised = bearer.resource_metadata.is_some();
        let found = self.first_document(places, &["resource"], is_promised, end).await?;
        Ok(found.map(|(members, at)| (documents::resource_metadata(&members), at)))
    }

    /// The metadata of an authorization server, which have to say that they are its (RFC 8414 section 3.3).
    async fn server_metadata(&self, url: &Url, issuer: &str, end: u64) -> Result<Option<ServerMetadata>, ServiceError> {
        let needed = ["issuer", "authorization_endpoint", "token_endpoint"];
        let Some((members, at)) = self.first_document(server_places(url), &needed, false, end).await? else {
            return Ok(None);
        };
        let metadata = documents::server_metadata(&members);
        if !is_same_issuer(&metadata.issuer, issuer) {
            return Err(DiscoveryError::Issuer { url: shown(at.as_str()), found: shown(&metadata.issuer) }.into());
        }
        Ok(Some(metadata))
    }

    /// The first JSON object at one of `places` that has the `needed` texts, and where it was. Silence at a place, and any
    /// answer of one that `is_promised` (the first), are an error only if no later place has the document.
    async fn first_document(
        &self,
        places: Vec<Url>,
        needed: &[&str],
        is_promised: bool,
        end: u64,
    ) -> Result<Option<(Value, Url)>, ServiceError> {
        let mut trouble = None;
        for (number, place) in places.iter().enumerate() {
            if places.iter().take(number).any(|earlier| earlier == place) {
                continue;
            }
            let url = shown(place.as_str());
            let error = match self.get(place, end).await {
                Ok(Ok(document)) => match documents::object(&document) {
                    Some(members) if needed.iter().all(|name| members[*name].is_string()) => {
                        return Ok(Some((members, place.clone())));
                    }
                    _ => DiscoveryError::Form(url).into(),
                },
                Ok(Err(status)) => DiscoveryError::NoResourceMetadata { url, status: status.as_u16() }.into(),
                Err(error) => {
                    trouble.get_or_insert(error);
                    continue;
                }
            };
            if is_promised && number == 0 {
                trouble = Some(error);
            }
        }
        trouble.map_or(Ok(None), Err)
    }

    /// A document, or the status that came in its place. No redirect is followed: no one vouches for its target.
    async fn get(&self, url: &Url, end: u64) -> Result<Result<Vec<u8>, StatusCode>, ServiceError> {
        let request =
            Request::builder().method(Method::GET).uri(url.as_str()).header(header::ACCEPT, "application/json");
        let answer = self.call(request, Vec::new(), url, end).await?;
        let status = answer.status();
        Ok(if status == StatusCode::OK { Ok(answer.into_body()) } else { Err(status) })
    }

    /// One request of the way, which as a whole has an end. An answer that says nothing about the question is silence.
    pub(super) async fn call(
        &self,
        request: http::request::Builder,
        body: Vec<u8>,
        url: &Url,
        end: u64,
    ) -> Result<Response<Vec<u8>>, ServiceError> {
        let silent = |why: String| ServiceError::NoAnswer { who: shown(&url.origin().ascii_serialization()), why };
        let request =
            request.header(header::USER_AGENT, USER_AGENT).header(header::ACCEPT_ENCODING, coding::NONE).body(body);
        let request = request.map_err(|_| silent("the request could not be made".to_owned()))?;
        if self.host.ticks() >= end {
            return Err(silent(SendFault::Timeout.to_string()));
        }
        let sent = outbound::send(self.host, request).map_err(|_| DiscoveryError::Own(shown(url.as_str())))?;
        let answer = match select(pin!(sent), pin!(self.host.sleep(CALL))).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(SendFault::Timeout),
        };
        match answer {
            Ok(answer) if Failure::is_busy(answer.status()) => {
                Err(silent(format!("it answers {}", answer.status().as_u16())))
            }
            Ok(answer) if answer.body().len() > LONGEST => Err(DiscoveryError::Long(shown(url.as_str())).into()),
            Ok(answer) if answer.status().is_success() && coding::of(answer.headers()).is_some() => {
                let coding = coding::of(answer.headers()).unwrap_or_default();
                Err(DiscoveryError::Coded { url: shown(url.as_str()), coding }.into())
            }
            Ok(answer) => Ok(answer),
            Err(SendFault::TooLarge) => Err(DiscoveryError::Long(shown(url.as_str())).into()),
            Err(fault) => Err(silent(fault.to_string())),
        }
    }

    pub(super) fn end_of_patience(&self) -> u64 {
        self.host.ticks() + PATIENCE
    }
}

/// The authorization server to use, of those that the MCP server names.
fn issuer_of<'r>(server: &McpServer, resource: &'r ResourceMetadata, at: &Url) -> Result<&'r str, DiscoveryError> {
    if !speaks_for(&resource.resource, &server.url) {
        return Err(DiscoveryError::Resource { url: shown(at.as_str()), found: shown(&resource.resource) });
    }
    let named = &resource.authorization_servers;
    match &server.issuer {
        Some(issuer) => named
            .iter()
            .find(|named| is_same_issuer(named, issuer))
            .ok_or_else(|| DiscoveryError::NotNamed(shown(issuer))),
        None => named.first().ok_or_else(|| DiscoveryError::NoServer(shown(at.as_str()))),
    }
    .map(String::as_str)
}

/// Returns true if `server` is `resource`, or of the same origin and under its path.
pub(crate) fn speaks_for(resource: &str, server: &Url) -> bool {
    let Some(resource) = Url::parse(resource).ok().filter(|_| resource.len() <= guard::LONGEST) else { return false };
    let is_anybodys = resource.username().is_empty() && resource.password().is_none();
    if resource.origin() != server.origin() || resource.fragment().is_some() || !is_anybodys {
        return false;
    }
    let path = resource.path().trim_end_matches('/');
    match server.path().trim_end_matches('/').strip_prefix(path) {
        Some("") if resource.query() == server.query() => true,
        Some(rest) => rest.starts_with('/') && resource.query().is_none(),
        None => false,
    }
}

/// Returns true if two issuers are one: letter by letter (RFC 8414 section 3.3), except for the slash that is the whole path
/// of an origin. Libraries that read an issuer as a URL write it, others do not.
pub(super) fn is_same_issuer(one: &str, other: &str) -> bool {
    let bare = |issuer: &str| match issuer.strip_suffix('/') {
        Some(origin) if origin.matches('/').count() == 2 && !origin.contains(['?', '#']) => origin.len(),
        _ => issuer.len(),
    };
    one.get(..bare(one)) == other.get(..bare(other))
}

/// Where a resource's metadata are (RFC 9728 section 3.1).
fn resource_place(resource: &Url) -> Url {
    let mut place = resource.clone();
    place.set_path(&format!("/.well-known/oauth-protected-resource{}", resource.path().trim_end_matches('/')));
    place
}

/// Where an authorization server's metadata may be (RFC 8414 section 3.1, OpenID Connect Discovery 1.0 section 4).
fn server_places(issuer: &Url) -> Vec<Url> {
    let path = issuer.path().trim_end_matches('/');
    let mut places = vec![
        format!("/.well-known/oauth-authorization-server{path}"),
        format!("/.well-known/openid-configuration{path}"),
    ];
    if !path.is_empty() {
        places.push(format!("{path}/.well-known/openid-configuration"));
    }
    let at = |path: String| {
        let mut place = issuer.clone();
        place.set_path(&path);
        place
    };
    places.into_iter().map(at).collect()
}

/// The result of metadata that are safe to use.
fn found(
    server: &McpServer,
    metadata: ServerMetadata,
    resource: String,
    mut scopes: Vec<String>,
) -> Result<Found, DiscoveryError> {
    let issuer = metadata.issuer;
    if !metadata.code_challenge_methods.iter().any(|method| method == "S256") {
        return Err(DiscoveryError::Pkce(shown(&issuer)));
    }
    let mut hosts = server.hosts.clone();
    hosts.extend(Url::parse(&issuer).ok().as_ref().and_then(Named::of));
    let endpoint = |field: &'static str, text: &str| {
        let url = address(field, &issuer, text, server)?;
        if !hosts.iter().any(|host| host.covers(&url)) {
            let host = shown(url.authority());
            return Err(DiscoveryError::Elsewhere { issuer: shown(&issuer), field, host });
        }
        Ok(url.to_string())
    };
    let optional =
        |field: &'static str, text: &Option<String>| text.as_ref().map(|text| endpoint(field, text)).transpose();
    if !scopes.is_empty() && metadata.scopes_supported.iter().any(|scope| scope == OFFLINE) {
        ASKED_FOR.add(&mut scopes, &mut iter::once(OFFLINE));
    }
    Ok(Found {
        authorize: endpoint("authorization_endpoint", &metadata.authorization_endpoint)?,
        token: endpoint("token_endpoint", &metadata.token_endpoint)?,
        register: optional("registration_endpoint", &metadata.registration_endpoint)?,
        revoke: optional("revocation_endpoint", &metadata.revocation_endpoint)?,
        resource,
        scopes,
        says_issuer: metadata.says_issuer,
        client_auth: metadata.client_auth_methods,
        grant_types: metadata.grant_types,
        takes_documents: metadata.takes_documents,
        issuer,
    })
}

fn address(field: &'static str, of: &str, text: &str, server: &McpServer) -> Result<Url, DiscoveryError> {
    let refused = |why| DiscoveryError::Address { field, of: shown(of), why };
    let url = guard::outside(text, |url| server.names(url)).map_err(refused)?;
    if field == "authorization_servers" && url.query().is_some() {
        // RFC 8414 section 2.
        return Err(refused(AddressError::Query));
    }
    Ok(url)
}

/// A stranger's words in an error: short, and letters of ASCII alone.
pub(super) fn shown(text: &str) -> String {
    text.chars().take(200).flat_map(char::escape_default).collect()
}

/// `tools/list` of 2026-07-28, whose `_meta` means nothing to an older server.
const PROBE: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"gatehouse","version":"0.1.0"},"io.modelcontextprotocol/clientCapabilities":{}}}}"#;
/// The longest document that is looked at, in bytes.
pub(super) const LONGEST: usize = 64 * 1024;
/// The longest that one call lasts.
const CALL: Duration = Duration::from_secs(5);
/// For how many milliseconds after its beginning a walk goes on.
const PATIENCE: u64 = 12_000;

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Url {
        Url::parse(text).unwrap()
    }

    /// R19: the resource is the server or, at its origin, a prefix of its path.
    #[test]
    fn a_resource_is_the_server_or_a_prefix_of_its_path() {
        let server = url("https://mcp.example.com/team/mcp");
        for resource in [
            "https://mcp.example.com/team/mcp",
            "https://mcp.example.com/team/mcp/",
            "HTTPS://MCP.example.com:443/team/mcp",
            "https://mcp.example.com",
            "https://mcp.example.com/",
            "https://mcp.example.com/team",
            "https://mcp.example.com/team/",
        ] {
            assert!(speaks_for(resource, &server), "{resource}");
        }
        let long = format!("https://mcp.example.com/team/mcp{}", "/".repeat(guard::LONGEST));
        for resource in [
            "https://mcp.example.com/tea",
            "https://mcp.example.com/team/mcp/deeper",
            "https://mcp.example.com/other",
            "https://evil.example/team/mcp",
            "https://example.com",
            "http://mcp.example.com/team/mcp",
            "https://mcp.example.com:8443/team/mcp",
            "https://mcp.example.com/team/mcp#x",
            "https://mcp.example.com/#x",
            "https://mcp.example.com/team/mcp?x",
            "https://mcp.example.com/?x",
            "mcp",
            "",
            "https://u@mcp.example.com/team/mcp",
            "https://:p@mcp.example.com/team/mcp",
            &long,
        ] {
            assert!(!speaks_for(resource, &server), "{resource}");
        }
        let with_query = url("https://mcp.example.com/mcp?team=1");
        for (resource, speaks) in [
            ("https://mcp.example.com/mcp?team=1", true),
            ("https://mcp.example.com", true),
            ("https://mcp.example.com/mcp?team=2", false),
            ("https://mcp.example.com/mcp", false),
        ] {
            assert_eq!(speaks_for(resource, &with_query), speaks, "{resource}");
        }
    }

    /// R03: a root slash at one origin makes no other issuer; every other letter does.
    #[test]
    fn an_issuer_is_the_same_with_and_without_a_root_slash() {
        for (one, other) in [
            ("http://h", "http://h/"),
            ("https://h:8443/", "https://h:8443"),
            ("https://h/a", "https://h/a"),
            ("https://h/", "https://h/"),
        ] {
            assert!(is_same_issuer(one, other) && is_same_issuer(other, one), "{one} {other}");
        }
        for (one, other) in [
            ("https://h", "https://H/"),
            ("https://h", "http://h/"),
            ("https://h", "https://h:443/"),
            ("https://h", "https://h//"),
            ("https://h/a", "https://h/a/"),
            ("https://h", "https://h/a"),
            ("https://h", "https://h2"),
            ("https://h?x", "https://h?x/"),
            ("https://h", ""),
            ("https://h", "https:///"),
        ] {
            assert!(!is_same_issuer(one, other) && !is_same_issuer(other, one), "{one} {other}");
        }
    }

    #[test]
    fn a_strangers_text_is_shown_short_and_in_ascii() {
        assert_eq!(shown("https://a/\u{202e}\n<b>"), "https://a/\\u{202e}\\n<b>");
        assert!(shown(&"é".repeat(10_000)).len() <= 200 * 10);
    }
}
