//! How is a tool called?
//!
//! Name to upstream by the name alone, the person's token to the call, one request to the upstream, its answer back.
//! What goes wrong on the way is a result with `isError`, which the model sees and can pass on to the person; only a
//! name that nobody has is an error of the protocol.

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use crate::config::Server;
use crate::connections;
use crate::eras::{Call, Site, Target};
use crate::host::Host;
use crate::json::{self, Edits};
use crate::jsonrpc;
use crate::passage::{Answer, Fit, deliver};
use crate::upstream::{self, Answered, Failure, Link, Outgoing, Peer};
use crate::visitor::{Standing, Visitor};

pub async fn call<'h, H: Host>(host: &'h H, call: &Call<'_>, site: &Site<'_>, visitor: &mut Visitor) -> Answer<'h, H> {
    let id = call.request.id;
    let (server, tool) = match &call.target {
        Target::Tool { server, tool } => (&**server, tool.as_str()),
        Target::Connections => {
            let members = connections::tool_result(site, visitor);
            return Answer::Whole(call.client.result(id, &members), None);
        }
        Target::Unknown => {
            let message = format!("Unknown tool: {}", call.name);
            return Answer::Whole(call.client.error(id, jsonrpc::INVALID_PARAMS, &message), None);
        }
    };
    let mut attempt = once(host, call, server, tool, visitor).await;
    if let (Err(Stopped::Failed(Failure::Refused)), Some(service)) = (&attempt, server.service.as_deref()) {
        visitor.renew(host, &[service]);
        attempt = once(host, call, server, tool, visitor).await;
    }
    let members = match attempt {
        Ok(answer) => return answer,
        Err(Stopped::Closed(members)) => members,
        Err(Stopped::Failed(failure)) => {
            host.log(&format!("gateway: tools/call at {}: {failure}", server.prefix));
            tool_error(&format!("The server {} could not be called: {failure}.", server.name))
        }
    };
    Answer::Whole(call.client.result(id, &members), None)
}

enum Stopped {
    /// There is no token: what the person is told, as members of a result.
    Closed(String),
    Failed(Failure),
}

async fn once<'h, H: Host>(
    host: &'h H,
    call: &Call<'_>,
    server: &Server<'_>,
    tool: &str,
    visitor: &Visitor,
) -> Result<Answer<'h, H>, Stopped> {
    let token = match visitor.standing(server) {
        Standing::Open(token) => token,
        Standing::Closed(outcome) => return Err(Stopped::Closed(connections::closed(server, outcome))),
    };
    let link = Link { server, token, caller: &visitor.caller };
    let write = |peer: &Peer| Outgoing {
        method: "tools/call",
        name: Some(tool),
        headers: &call.param_headers,
        body: write(host, call, tool, peer),
    };
    let Answered { peer, content } = upstream::exchange(host, link, write).await.map_err(Stopped::Failed)?;
    let fit = Fit {
        client: call.client,
        id: call.request.id.to_owned(),
        renamed: peer.shares_ids(),
        same_era: call.client.is_modern() == (peer == Peer::Modern),
    };
    deliver(host, content, fit, call.takes_events).await.map_err(Stopped::Failed)
}

/// The client's message as `peer` is to get it: the tool's own name, and what the peer's era writes differently.
fn write(host: &impl Host, call: &Call<'_>, tool: &str, peer: &Peer) -> Vec<u8> {
    let mut edits = Edits::new(call.request.text);
    if tool != call.name {
        edits.replace(call.name_text, json::quoted(tool));
    }
    if peer.shares_ids() {
        edits.replace(call.request.id, request_key(host, call));
    }
    match peer {
        Peer::Modern => upstream::modern::write_call(call, &mut edits),
        Peer::Legacy(_) => upstream::legacy::write_call(call, &mut edits),
    }
    edits.apply()
}

/// The id of this request in a session that several clients share, where their own ids could meet (a server of the
/// TypeScript SDK would then answer one client with another's result). Derived from the client's session and id, so
/// that a later `notifications/cancelled` of that client can be sent on without having kept anything.
fn request_key(host: &impl Host, call: &Call<'_>) -> String {
    let nonce = match call.session {
        Some(session) => session.nonce,
        None => {
            let mut nonce = [0; 16];
            host.random(&mut nonce);
            nonce
        }
    };
    let digest = Sha256::new().chain_update(nonce).chain_update(call.request.id).finalize();
    let short = digest.first_chunk::<12>().copied().unwrap_or_default();
    json::quoted(&Base64UrlUnpadded::encode_string(&short))
}

/// Members of a result that tells the model what went wrong.
pub fn tool_error(message: &str) -> String {
    format!(r#""content":[{{"type":"text","text":{}}}],"isError":true"#, json::quoted(message))
}
