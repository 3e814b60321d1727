//! Which way leads from an MCP server's URL to its authorization server?
//!
//! 1. A request without a token. Its 401 may name the metadata of the server and the scopes that it wants.
//! 2. The metadata of the MCP server (RFC 9728): where the challenge says, and only there; else at the well-known place of
//!    its path, then of its host.
//! 3. The metadata of the authorization server that it names, in the specification's order: RFC 8414, OpenID Connect with the
//!    path behind the well-known part, OpenID Connect with the path before it. An answer that is no such document is
//!    as good as none; one that names another issuer ends the search.
//! 4. Where there is no metadata of the MCP server, it is a server of 2025-03-26: its host is the authorization server, with
//!    metadata or, if it has turned the caller away, with the endpoints `/authorize`, `/token` and `/register`.
//!
//! The resource may be the MCP server or something that it lies under, such as the whole host; but only the metadata at
//! the resource's own well-known place may speak for that (RFC 9728 section 3.3): else a tenant of a host could ask
//! for tokens that are good at its neighbours'.

use std::pin::pin;
use std::time::Duration;

use futures_util::future::{Either, select};
use http::{Method, Request, Response, StatusCode, header};
use serde::{Deserialize, Serialize};
use url::Url;

use super::documents::{self, ResourceMetadata, ServerMetadata};
use super::guard::{self, AddressError};
use super::{McpServer, OFFLINE, ServiceError, Unfit};
use crate::Broker;
use crate::host::{Host, SendFault};
use crate::provider::{Failure, USER_AGENT};
use http_auth::challenge::{self, Bearer};

/// What there is to know of an MCP server and its authorization server. Every URL has passed the guard.
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
    /// Whether every answer says who made it (RFC 9207).
    pub says_issuer: bool,
    /// None: not said.
    pub client_auth: Option<Vec<String>>,
    pub grant_types: Option<Vec<String>>,
    pub takes_documents: bool,
}

impl<H: Host> Broker<'_, H> {
    pub(super) async fn walk(&self, server: &McpServer) -> Result<Found, ServiceError> {
        let end = self.host.ticks() + PATIENCE;
        let (asked, bearer) = self.knock(server, end).await?;
        let Some((resource, at)) = self.resource_metadata(server, &bearer, end).await? else {
            return self.of_2025_03_26(server, asked, &bearer, end).await;
        };
        let wanted = match bearer.scope {
            Some(scope) => documents::scopes(scope.split_ascii_whitespace()),
            None => documents::scopes(resource.scopes_supported.iter().map(String::as_str)),
        };
        let issuer = issuer_of(server, &resource, &at)?;
        let url = address("authorization_servers", at.as_str(), issuer, &server.hosts)?;
        let Some(metadata) = self.server_metadata(&url, &[issuer], end).await? else {
            return Err(Unfit::NoMetadata(shown(issuer)).into());
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
        let wanted = documents::scopes(bearer.scope.iter().flat_map(|scope| scope.split_ascii_whitespace()));
        let resource = server.url.as_str().to_owned();
        // No document has said how the issuer is written, and many write a host with a slash.
        if let Some(metadata) = self.server_metadata(&at("/"), &[&origin, &format!("{origin}/")], end).await? {
            return Ok(found(server, metadata, resource, wanted)?);
        }
        if !asked {
            return Err(Unfit::Open(shown(server.url.as_str())).into());
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

    /// Whether the server turns away who has no token, and what it says then. The request changes nothing, and is one
    /// that a server of any era reads.
    async fn knock(&self, server: &McpServer, end: u64) -> Result<(bool, Bearer), ServiceError> {
        let request = Request::builder()
            .method(Method::POST)
            .uri(server.url.as_str())
            .header(header::CONTENT_TYPE, "application/json")
            .header(header::ACCEPT, "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/list");
        let answer = self.call(request, KNOCK.to_vec(), &server.url, end).await?;
        let bearer = challenge::bearer(answer.headers()).unwrap_or_default();
        Ok((answer.status() == StatusCode::UNAUTHORIZED, bearer))
    }

    /// The metadata of the MCP server and where they were; none where the server has none.
    async fn resource_metadata(
        &self,
        server: &McpServer,
        bearer: &Bearer,
        end: u64,
    ) -> Result<Option<(ResourceMetadata, Url)>, ServiceError> {
        if let Some(named) = &bearer.resource_metadata {
            let url = address("resource_metadata", server.url.as_str(), named, &server.hosts)?;
            return match self.get(&url, end).await? {
                Ok(document) => match documents::resource_metadata(&document) {
                    Some(metadata) => Ok(Some((metadata, url))),
                    None => Err(Unfit::Form(shown(url.as_str())).into()),
                },
                Err(status) => {
                    Err(Unfit::NoResourceMetadata { url: shown(url.as_str()), status: status.as_u16() }.into())
                }
            };
        }
        let mut root = server.url.clone();
        root.set_path("/");
        root.set_query(None);
        let places = [resource_place(&server.url), resource_place(&root)];
        for (place, url) in places.iter().enumerate() {
            if places.iter().take(place).any(|earlier| earlier == url) {
                continue;
            }
            if let Ok(document) = self.get(url, end).await?
                && let Some(metadata) = documents::resource_metadata(&document)
            {
                return Ok(Some((metadata, url.clone())));
            }
        }
        Ok(None)
    }

    /// The metadata of an authorization server, which have to say that they are its (RFC 8414 section 3.3): byte by byte.
    async fn server_metadata(
        &self,
        url: &Url,
        issuers: &[&str],
        end: u64,
    ) -> Result<Option<ServerMetadata>, ServiceError> {
        for place in server_places(url) {
            let Ok(document) = self.get(&place, end).await? else { continue };
            let Some(metadata) = documents::server_metadata(&document) else { continue };
            if !issuers.contains(&metadata.issuer.as_str()) {
                return Err(Unfit::Issuer { url: shown(place.as_str()), said: shown(&metadata.issuer) }.into());
            }
            return Ok(Some(metadata));
        }
        Ok(None)
    }

    /// A document, or the status that came in its place. No redirect is followed: where it leads, nobody has vouched for.
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
        let silent = |why: String| ServiceError::Silent { who: shown(&url.origin().ascii_serialization()), why };
        let request = request.header(header::USER_AGENT, USER_AGENT).body(body);
        let request = request.map_err(|_| silent("the request could not be made".to_owned()))?;
        if self.host.ticks() >= end {
            return Err(silent(SendFault::Timeout.to_string()));
        }
        let answer = match select(pin!(self.host.send(request)), pin!(self.host.sleep(CALL))).await {
            Either::Left((answer, _)) => answer,
            Either::Right(_) => Err(SendFault::Timeout),
        };
        match answer {
            Ok(answer) if Failure::is_busy(answer.status()) => {
                Err(silent(format!("it answers {}", answer.status().as_u16())))
            }
            Ok(answer) if answer.body().len() > LONGEST => Err(Unfit::Long(shown(url.as_str())).into()),
            Ok(answer) => Ok(answer),
            Err(SendFault::TooLarge) => Err(Unfit::Long(shown(url.as_str())).into()),
            Err(fault) => Err(silent(fault.to_string())),
        }
    }

    pub(super) fn end_of_patience(&self) -> u64 {
        self.host.ticks() + PATIENCE
    }
}

/// The authorization server to use, of those that the MCP server names.
fn issuer_of<'r>(server: &McpServer, resource: &'r ResourceMetadata, at: &Url) -> Result<&'r str, Unfit> {
    if !speaks_for(&resource.resource, at, &server.url) {
        return Err(Unfit::Resource { url: shown(at.as_str()), said: shown(&resource.resource) });
    }
    let named = &resource.authorization_servers;
    match &server.issuer {
        Some(issuer) => named.iter().find(|named| *named == issuer).ok_or_else(|| Unfit::NotNamed(shown(issuer))),
        None => named.first().ok_or_else(|| Unfit::NoServer(shown(at.as_str()))),
    }
    .map(String::as_str)
}

/// Whether metadata that were at `at` may say that `server` is, or lies under, `resource`.
pub(crate) fn speaks_for(resource: &str, at: &Url, server: &Url) -> bool {
    let Ok(resource) = Url::parse(resource) else { return false };
    let path = |url: &Url| url.path().trim_end_matches('/').to_owned();
    if resource.origin() != server.origin() || resource.fragment().is_some() {
        return false;
    }
    if path(&resource) == path(server) && resource.query() == server.query() {
        return true;
    }
    let above = path(server).strip_prefix(&path(&resource)).is_some_and(|rest| rest.starts_with('/'));
    above && resource.query().is_none() && resource_place(&resource) == *at
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

/// What the metadata come to, if they are safe to use.
fn found(
    server: &McpServer,
    metadata: ServerMetadata,
    resource: String,
    mut scopes: Vec<String>,
) -> Result<Found, Unfit> {
    let issuer = metadata.issuer;
    if !metadata.code_challenge_methods.iter().any(|method| method == "S256") {
        return Err(Unfit::Pkce(shown(&issuer)));
    }
    let mut hosts = server.hosts.clone();
    hosts.extend(Url::parse(&issuer).ok().and_then(|url| url.host_str().map(str::to_owned)));
    let endpoint = |field: &'static str, text: &str| {
        let url = address(field, &issuer, text, &server.hosts)?;
        if !guard::is_among(&url, &hosts) {
            let host = shown(url.host_str().unwrap_or_default());
            return Err(Unfit::Elsewhere { issuer: shown(&issuer), field, host });
        }
        Ok(url.to_string())
    };
    let optional =
        |field: &'static str, text: &Option<String>| text.as_ref().map(|text| endpoint(field, text)).transpose();
    if !scopes.is_empty() && metadata.scopes_supported.iter().any(|scope| scope == OFFLINE) {
        scopes.push(OFFLINE.to_owned());
        scopes = documents::scopes(scopes.iter().map(String::as_str));
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

fn address(field: &'static str, of: &str, text: &str, named: &[String]) -> Result<Url, Unfit> {
    let refused = |why| Unfit::Address { field, of: shown(of), why };
    let url = guard::outside(text, named).map_err(refused)?;
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
const KNOCK: &[u8] = br#"{"jsonrpc":"2.0","id":1,"method":"tools/list","params":{"_meta":{"io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientInfo":{"name":"gatehouse","version":"0.1.0"},"io.modelcontextprotocol/clientCapabilities":{}}}}"#;
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

    #[test]
    fn metadata_speak_for_the_server_or_from_the_place_of_what_it_lies_under() {
        let server = url("https://mcp.example.com/team/mcp");
        let own = url("https://mcp.example.com/.well-known/oauth-protected-resource/team/mcp");
        let root = url("https://mcp.example.com/.well-known/oauth-protected-resource");
        let team = url("https://mcp.example.com/.well-known/oauth-protected-resource/team");
        let odd = url("https://elsewhere.example/metadata.json");
        for (resource, at) in [
            ("https://mcp.example.com/team/mcp", &own),
            ("https://mcp.example.com/team/mcp/", &own),
            ("HTTPS://MCP.example.com:443/team/mcp", &odd),
            ("https://mcp.example.com", &root),
            ("https://mcp.example.com/", &root),
            ("https://mcp.example.com/team", &team),
        ] {
            assert!(speaks_for(resource, at, &server), "{resource} at {at}");
        }
        for (resource, at) in [
            // RFC 9728 section 3.3: a tenant's document speaks for the tenant alone.
            ("https://mcp.example.com", &own),
            ("https://mcp.example.com", &odd),
            ("https://mcp.example.com/team", &root),
            ("https://mcp.example.com/tea", &url("https://mcp.example.com/.well-known/oauth-protected-resource/tea")),
            ("https://mcp.example.com/team/mcp/deeper", &own),
            ("https://evil.example/team/mcp", &own),
            ("http://mcp.example.com/team/mcp", &own),
            ("https://mcp.example.com:8443/team/mcp", &own),
            ("https://mcp.example.com/team/mcp#x", &own),
            ("https://mcp.example.com/team/mcp?x", &own),
            ("mcp", &own),
        ] {
            assert!(!speaks_for(resource, at, &server), "{resource} at {at}");
        }
    }

    #[test]
    fn a_strangers_words_are_short_and_plain() {
        assert_eq!(shown("https://a/\u{202e}\n<b>"), "https://a/\\u{202e}\\n<b>");
        assert!(shown(&"é".repeat(10_000)).len() <= 200 * 10);
    }
}
