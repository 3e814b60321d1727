//! Reads the endpoints that `servers.json` makes of some of its servers.

use std::borrow::Cow;
use std::collections::BTreeSet;

use super::server::Entry;
use super::{EVERYTHING, RESERVED};
use crate::names;
use crate::places::Places;
use json::Object;

/// What the file says of one endpoint.
pub struct Endpoint<'a> {
    /// What follows `/mcp/`; [`EVERYTHING`] for `/mcp` itself.
    pub name: Cow<'a, str>,
    /// The places of the servers behind it, in the file's order; `None` if the route has its own.
    pub servers: Option<Vec<usize>>,
    /// True if its tools are found by searching (`finding`) instead of listed.
    pub searched: bool,
}

/// The endpoints of the file that has `entries`. The error says what is wrong with them.
pub fn read<'a>(file: &Object<'a>, entries: &[Entry<'a>], by_prefix: &Places<'_>) -> Result<Vec<Endpoint<'a>>, String> {
    let Some(text) = file.get("endpoints").map_err(|twice| twice.to_string())? else { return Ok(Vec::new()) };
    let endpoints = Object::parse(text).map_err(|_| "has to be an object")?;
    let (mut named, mut seen) = (Places::default(), Places::default());
    for (place, entry) in entries.iter().enumerate() {
        named.note(entry.name.clone(), place);
    }
    let mut read: Vec<Endpoint<'a>> = Vec::new();
    for (place, (name, text)) in endpoints.members().enumerate() {
        let mut read_one = || {
            if seen.note(name.clone(), place) != place {
                return Err("stands there twice".to_owned());
            }
            let is_route = name == EVERYTHING || by_prefix.find(name).is_some();
            if !is_route && (RESERVED.contains(&&**name) || names::prefix(name) != *name) {
                return Err("is not a name of its own of letters, digits, - and _".to_owned());
            }
            endpoint(name, text, is_route, &named)
        };
        read.push(read_one().map_err(|problem| format!("\"{name}\" {problem}"))?);
    }
    Ok(read)
}

/// One endpoint: a list of servers, or an object. One that the route has anyway is not over other servers than its own.
fn endpoint<'a>(
    name: &Cow<'a, str>,
    text: &'a str,
    is_route: bool,
    named: &Places<'_>,
) -> Result<Endpoint<'a>, String> {
    let (servers, tools) = match Object::parse(text) {
        Err(_) => (Some(text), None),
        Ok(keys) => {
            if let Some((key, _)) = keys.members().find(|(key, _)| !["servers", "tools"].contains(&&***key)) {
                return Err(format!("has the unknown key \"{key}\""));
            }
            let once = |key| keys.get(key).map_err(|twice| twice.to_string());
            (once("servers")?, once("tools")?)
        }
    };
    let searched = match tools.map(json::string) {
        None => false,
        Some(Some(mode)) if mode == "search" => true,
        Some(_) => return Err("has other \"tools\" than \"search\"".to_owned()),
    };
    let servers = match (servers, is_route) {
        (Some(_), true) => return Err("has servers of its own already".to_owned()),
        (None, true) => None,
        (servers, false) => {
            let listed = servers.and_then(json::array);
            let servers: Option<Vec<_>> = listed.and_then(|listed| listed.into_iter().map(json::string).collect());
            Some(servers.ok_or("has to be a list of servers, or to have one as \"servers\"")?)
        }
    };
    let Some(servers) = servers else { return Ok(Endpoint { name: name.clone(), servers: None, searched }) };
    let mut places = BTreeSet::new();
    for server in &servers {
        places.insert(named.find(server).ok_or_else(|| format!("names \"{server}\", which is no server"))?);
    }
    Ok(Endpoint { name: name.clone(), servers: Some(places.into_iter().collect()), searched })
}
