//! Refuses clients of another era than the server's, on the route of a server with `"bridge": false` in `servers.json`.
//!
//! A client of both eras tries `server/discover` first. The refusal makes it go on with `initialize`, as it would at the
//! server itself; so it gets a session of its own there. For that the refusal of `server/discover` has the code that legacy
//! servers answer there. With -32022, by which this era refuses a version, the Rust SDK gives up if it speaks none of the
//! versions that are named, and only the TypeScript and the Python SDK go on. All other requests are refused with -32022.

use http::{Method, Response, StatusCode};
use std::pin::pin;

use crate::config::Server;
use crate::eras::legacy::Version;
use crate::eras::{Client, Decision, Relay, Site, Target, modern};
use crate::host::{Host, within};
use crate::session::{ClientEra, Profile};
use crate::upstream::{self, Failure, Link, bridge};
use crate::visitor::{Standing, Visitor};
use crate::{jsonrpc, routes};

/// The code by which legacy servers refuse a request that is not `initialize` and names no session.
const NO_SESSION: i64 = -32000;

/// The refusal of a request that begins no session. `None`: it can be served.
pub async fn refusal<H: Host>(
    host: &H,
    decision: &Decision<'_>,
    site: &Site<'_>,
    servers: &[Server<'_>],
    visitor: &mut Visitor,
) -> Option<Response<Vec<u8>>> {
    let called = match decision {
        Decision::Relay(relay) => match &**relay {
            Relay { target: Target::Server { server, .. }, .. } => Some(&**server),
            _ => servers.first(),
        },
        _ => servers.first(),
    };
    let server = called.filter(|server| !server.bridge && site.is_single())?;
    let (client, of) = match decision {
        Decision::Relay(relay) => (&relay.client, Refused::Request(relay.request.id)),
        Decision::List(list) => (&list.client, Refused::Request(list.request.id)),
        Decision::Listen(listen) => {
            let id = listen.request.as_ref().map(|request| request.id);
            (&listen.client, id.map_or(Refused::Stream, Refused::Request))
        }
        Decision::SetLevel(wanted) => (&wanted.client, Refused::Request(wanted.id)),
        // `initialize` has its session first: the server is met for it.
        Decision::Describe(describe) if describe.client.is_modern() => {
            (&describe.client, Refused::Discover(describe.id))
        }
        _ => return None,
    };
    of_client(host, client, of, server, visitor).await
}

/// The request that is refused, by its id.
#[derive(Clone, Copy)]
pub enum Refused<'a> {
    Discover(&'a str),
    Request(&'a str),
    /// The GET of a legacy client.
    Stream,
}

/// The refusal of a request of `client`.
pub async fn of_client<H: Host>(
    host: &H,
    client: &Client,
    of: Refused<'_>,
    server: &Server<'_>,
    visitor: &mut Visitor,
) -> Option<Response<Vec<u8>>> {
    let mut found = ask(host, client, server, visitor).await;
    if matches!(found, Err(Failure::Refused)) {
        visitor.renew(host, std::iter::once(server));
        found = ask(host, client, server, visitor).await;
    }
    match found {
        Ok(()) => None,
        Err(Failure::NotBridged { is_modern }) => Some(refuse(client, of, server, is_modern)),
        // A client of both eras must not take a failure for an era.
        Err(failure) if client.is_modern() => {
            let message = format!("The server {} could not be asked which versions it speaks: {failure}.", server.name);
            let (Refused::Discover(id) | Refused::Request(id)) = of else { return None };
            let body = jsonrpc::error(Some(id), jsonrpc::INTERNAL_ERROR, &message, None);
            Some(jsonrpc::respond(StatusCode::BAD_GATEWAY, body))
        }
        Err(_) => None,
    }
}

/// The refusal by what is remembered of the server, before a session is opened for `client`.
pub fn of_remembered<H: Host>(
    host: &H,
    client: &Client,
    id: &str,
    server: &Server<'_>,
    visitor: &Visitor,
) -> Option<Response<Vec<u8>>> {
    let link = Link { server, token: None, caller: &visitor.caller, profile: client.profile() };
    match bridge::remembered(host, link) {
        Some(Err(Failure::NotBridged { is_modern })) => Some(refuse(client, Refused::Request(id), server, is_modern)),
        _ => None,
    }
}

/// Finds out whether the server speaks the client's era.
async fn ask<H: Host>(host: &H, client: &Client, server: &Server<'_>, visitor: &Visitor) -> Result<(), Failure> {
    let link = |token| Link { server, token, caller: &visitor.caller, profile: client.profile() };
    if let Standing::Open(token) = visitor.standing(server) {
        let peer = within(host, server.patience, pin!(upstream::peer(host, link(token)))).await;
        let found = peer.unwrap_or(Err(Failure::Late)).map(drop);
        return match found {
            Err(Failure::NotBridged { .. } | Failure::Refused) | Ok(()) => found,
            failed => bridge::remembered(host, link(None)).unwrap_or(failed),
        };
    }
    // Without a connection the server cannot be asked. A client of both eras then speaks the older one, in which a server
    // that lives from its sessions works.
    let older = Profile { client: ClientEra::Legacy(None), ..client.profile() };
    let older = Link { profile: older, ..link(None) };
    match bridge::remembered(host, link(None)) {
        Some(known) => known,
        None if client.is_modern() && bridge::remembered(host, older).is_none_or(|known| known.is_ok()) => {
            Err(Failure::NotBridged { is_modern: false })
        }
        None => Ok(()),
    }
}

/// The error names the versions that are spoken.
fn refuse(client: &Client, of: Refused<'_>, server: &Server<'_>, is_modern: bool) -> Response<Vec<u8>> {
    let (id, code) = match of {
        Refused::Stream => return routes::not_allowed(&[Method::POST]),
        Refused::Discover(id) => (id, NO_SESSION),
        Refused::Request(id) => (id, modern::UNSUPPORTED_VERSION),
    };
    let supported: Vec<&str> = match is_modern {
        true => vec![modern::VERSION],
        false => Version::NEWEST_FIRST.map(Version::name).to_vec(),
    };
    let requested = match client {
        Client::Modern(_) => modern::VERSION,
        Client::Legacy(client) => client.session.map_or(Version::V20250326, |session| session.version).name(),
    };
    let failure = Failure::NotBridged { is_modern };
    let message = ["Unsupported protocol version: the server ", &server.name, ": ", &failure.to_string()].concat();
    let supported = supported.join("\",\"");
    let data = [r#"{"supported":[""#, &supported, r#""],"requested":""#, requested, r#""}"#].concat();
    let body = jsonrpc::error(Some(id), code, &message, Some(&data));
    jsonrpc::respond(StatusCode::BAD_REQUEST, body)
}
