//! Which tools are there?
//!
//! All servers are asked at once, each with its own deadline, and their answers stand in the file's order. A server
//! that is down, slow or not connected costs its own entries and nothing else. All pages are drained into one.

use std::time::Duration;

use futures_util::future::join_all;
use http::{Response, StatusCode};

use crate::config::Server;
use crate::connections;
use crate::eras::{List, Route, Site};
use crate::host::{Host, within};
use crate::json::{self, Edits, Object};
use crate::jsonrpc;
use crate::names;
use crate::upstream::{self, ANSWER_LIMIT, Failure, Link, Outgoing, Peer};
use crate::visitor::{Standing, Visitor};

const DEADLINE: Duration = Duration::from_secs(10);
const MOST_PAGES: usize = 64;

pub async fn list<H: Host>(
    host: &H,
    list: &List<'_>,
    site: &Site<'_>,
    servers: &[Server<'_>],
    visitor: &mut Visitor,
) -> Response<Vec<u8>> {
    let mut found = all(host, site, servers, visitor).await;
    let refused: Vec<&str> = servers
        .iter()
        .zip(&found)
        .filter(|(_, found)| matches!(found, Some(Err(Failure::Refused))))
        .filter_map(|(server, _)| server.service.as_deref())
        .collect();
    if !refused.is_empty() {
        visitor.renew(host, &refused);
        let again = servers
            .iter()
            .zip(&mut found)
            .filter(|(server, found)| matches!(found, Some(Err(Failure::Refused))) && server.service.is_some());
        let visitor = &*visitor;
        join_all(again.map(|(server, found)| async { *found = in_time(host, site, server, visitor).await })).await;
    }
    for (server, failure) in
        servers.iter().zip(&found).filter_map(|(server, found)| Some((server, found.as_ref()?.as_ref().err()?)))
    {
        host.log(&format!("gateway: tools/list at {}: {failure}", server.prefix));
    }
    // Where there is only one server, its failure is the answer.
    if let (Route::One(_), [Some(Err(failure))]) = (site.route, found.as_slice()) {
        let name = servers.first().map_or("", |server| &server.name);
        let message = format!("The server {name} could not be asked: {failure}.");
        return list.client.error(list.id, jsonrpc::INTERNAL_ERROR, &message);
    }
    let own = connections::listed(site, servers, visitor).then(|| connections::DEFINITION.to_owned());
    let tools: Vec<String> = own.into_iter().chain(found.into_iter().flatten().flatten().flatten()).collect();
    let members = ["\"tools\":[", &tools.join(","), "]"].concat();
    jsonrpc::respond(StatusCode::OK, jsonrpc::result(list.id, &list.client.dialect().cacheable(&members)))
}

type Found = Option<Result<Vec<String>, Failure>>;

async fn all<H: Host>(host: &H, site: &Site<'_>, servers: &[Server<'_>], visitor: &Visitor) -> Vec<Found> {
    join_all(servers.iter().map(|server| in_time(host, site, server, visitor))).await
}

/// The tools of one server; none when there is no token to ask with.
async fn in_time<H: Host>(host: &H, site: &Site<'_>, server: &Server<'_>, visitor: &Visitor) -> Found {
    let Standing::Open(token) = visitor.standing(server) else { return None };
    let link = Link { server, token, caller: &visitor.caller };
    Some(within(host, DEADLINE, tools(host, site, link)).await.unwrap_or(Err(Failure::Late)))
}

async fn tools<H: Host>(host: &H, site: &Site<'_>, link: Link<'_>) -> Result<Vec<String>, Failure> {
    let mut tools = Vec::new();
    let mut size = 0;
    let mut cursor: Option<String> = None;
    for _ in 0..MOST_PAGES {
        let members = cursor.as_ref().map(|cursor| ["\"cursor\":", cursor].concat()).unwrap_or_default();
        let mut id = [0; 8];
        host.random(&mut id);
        // As large as a JSON number can be without losing digits on the way.
        let id = u64::from_be_bytes(id) >> 11;
        let write = |peer: &Peer| Outgoing {
            method: "tools/list",
            name: None,
            headers: &[],
            body: match peer {
                Peer::Modern => upstream::modern::write_own(id, "tools/list", &members),
                Peer::Legacy(_) => upstream::legacy::write_own(id, "tools/list", &members),
            },
        };
        let content = upstream::exchange(host, link, write).await?.content;
        let page = upstream::message(host, content).await?;
        size += page.len();
        if size > ANSWER_LIMIT {
            return Err(Failure::TooLong);
        }
        let result = upstream::result_of(&page).ok_or(Failure::NotMcp)?;
        let listed = result.get("tools").ok().flatten().and_then(json::array).ok_or(Failure::NotMcp)?;
        tools.extend(listed.into_iter().filter_map(|tool| offered(site, link.server, tool)));
        cursor = match result.get("nextCursor") {
            Ok(Some(next)) if next.starts_with('"') => Some(next.to_owned()),
            _ => return Ok(tools),
        };
    }
    Ok(tools)
}

/// The tool as it is offered here: only its name changes. A tool without a name, one that the file hides, and one whose
/// name would be longer than any client has to take is none.
fn offered(site: &Site<'_>, server: &Server<'_>, tool: &str) -> Option<String> {
    let members = Object::parse(tool).ok()?;
    let text = members.get("name").ok()??;
    let name = json::string(text)?;
    if !server.offers(&name) {
        return None;
    }
    let here = site.tool_name(server, &name);
    if here == name {
        return Some(tool.to_owned());
    }
    if here.len() > names::LONGEST {
        return None;
    }
    let mut edits = Edits::new(tool);
    edits.replace(text, json::quoted(&here));
    String::from_utf8(edits.apply()).ok()
}
