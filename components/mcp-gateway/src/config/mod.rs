//! Reads `servers.json`: which servers are behind this gateway.
//!
//! It has the `mcpServers` form that people already have. Each entry is read on its own and only when it is asked for
//! ([`server`]): a bad one costs itself and nothing else (`/mcp/servers` tells what is wrong with it), and a call pays for
//! the one entry that it needs. Files of other programs load as they are: `mcpServers`, VS Code's `servers`, Zed's
//! `context_servers` and opencode's `mcp`, with comments and commas at the end. Other keys at the top are named in the log.

mod endpoint;
mod placeholder;
mod plain;
mod server;
mod tools;

use std::borrow::Cow;
use std::fmt::Display;
use std::str::FromStr;

use http_auth::Origin;
use thiserror::Error;

use crate::places::Places;
use crate::{kept, names, seats};
use endpoint::Endpoint;
use json::Object;
pub use plain::plain;
pub use server::{Entry, Fault, Own, Server};
pub use tools::{Pin, glob};

/// Routes that a server's own route would hide.
const RESERVED: [&str; 2] = ["servers", "sse"];
const FILE_KEYS: [&str; 6] = ["endpoints", "resolutionSeconds", "streams", "browserOrigins", "$schema", "inputs"];
/// Where programs keep their servers: Claude, Cursor and most others; VS Code; Zed; opencode (and VS Code's settings, with
/// `servers` in it).
const CONTAINERS: [&str; 4] = ["mcpServers", "servers", "context_servers", "mcp"];
/// In `endpoints`: the one of all servers.
pub const EVERYTHING: &str = "*";
/// Where the MCP Inspector serves its page.
const INSPECTOR: [&str; 2] = ["http://localhost:6274", "http://127.0.0.1:6274"];

/// Why there are no servers at all.
#[derive(Debug, Error)]
pub enum ConfigError {
    #[error("servers.json: {0}")]
    Unreadable(String),
    #[error("servers.json: not JSON: {0}")]
    NotJson(serde_json::Error),
    #[error("servers.json: {0}")]
    Shape(String),
}

pub struct Config<'a> {
    /// Keys at the top of the file that say nothing here.
    pub foreign: Vec<Cow<'a, str>>,
    entries: Vec<Entry<'a>>,
    /// The first of each prefix.
    by_prefix: Places<'a>,
    /// For how long a resolution may be used again; see [`kept`].
    pub resolution_seconds: u64,
    /// How many streams of one person may listen at once, 0 for any number; see [`seats`].
    pub streams: u8,
    /// Whose pages may call the gateway, beside its own; `None` if the file does not say.
    browser_origins: Option<Vec<Origin>>,
    endpoints: Vec<Endpoint<'a>>,
}

impl<'a> Config<'a> {
    /// Reads the file, which has to be JSON: [`plain`] makes it so.
    pub fn read(text: &'a str) -> Result<Self, ConfigError> {
        let file = Object::parse(text).map_err(ConfigError::NotJson)?;
        let is_known = |key: &str| FILE_KEYS.contains(&key) || CONTAINERS.contains(&key);
        let foreign = file.members().map(|(key, _)| key).filter(|key| !is_known(key)).cloned().collect();
        let resolution_seconds = number(&file, "resolutionSeconds", kept::SECONDS, kept::MOST_SECONDS)?;
        let streams = number(&file, "streams", seats::SEATS, seats::SEATS)?;
        let browser_origins = browser_origins(&file)?;
        let servers = container(&file)?;
        let mut entries: Vec<Entry<'a>> = Vec::new();
        let mut by_prefix = Places::default();
        for (name, text) in servers.members() {
            let prefix = match name {
                Cow::Borrowed(name) => names::prefix(name),
                Cow::Owned(name) => Cow::Owned(names::prefix(name).into_owned()),
            };
            let first = by_prefix.note(prefix.clone(), entries.len());
            let clash = if RESERVED.contains(&&*prefix) {
                Some(format!("the name \"{prefix}\" is a route of the gateway itself: choose another"))
            } else {
                entries.get_mut(first).map(|other| {
                    if other.name == *name {
                        // Which of the two the operator means, and whose rules, only they know.
                        return other.clash.insert(format!("\"{name}\" stands there twice: choose another")).clone();
                    }
                    format!("its name is told apart from \"{}\" by nothing: choose another", other.name)
                })
            };
            entries.push(Entry { name: name.clone(), prefix, text, clash, own: Own::default() });
        }
        let mut config =
            Self { foreign, entries, by_prefix, endpoints: Vec::new(), resolution_seconds, streams, browser_origins };
        config.endpoints = endpoint::read(&file, &config.entries, &config.by_prefix)
            .map_err(|problem| ConfigError::Shape(format!("\"endpoints\": {problem}")))?;
        Ok(config)
    }

    /// The same for the installation that is reached at `own`, which is none of its servers.
    pub fn reached_at(mut self, own: Own<'a>) -> Self {
        for entry in &mut self.entries {
            entry.own = own;
        }
        self
    }

    /// The servers of the endpoint called `name`, in the file's order. `None` if there is no such endpoint.
    pub fn endpoint(&self, name: &str) -> Option<Vec<&Entry<'a>>> {
        let servers = self.endpoints.iter().find(|known| known.name == name)?.servers.as_ref()?;
        Some(servers.iter().filter_map(|place| self.entries.get(*place)).collect())
    }

    /// Returns true if the tools of the endpoint called `name` are found by searching.
    pub fn is_searched(&self, name: &str) -> bool {
        self.endpoints.iter().any(|known| known.searched && known.name == name)
    }

    /// Returns true if a page of `origin` may call the gateway at `own`. If the file says nothing, the Inspector's page of
    /// this machine may call a gateway of this machine.
    pub fn lets_pages_of(&self, origin: &Origin, own: &Origin) -> bool {
        match &self.browser_origins {
            Some(listed) => listed.contains(origin),
            None => own.is_loopback() && INSPECTOR.iter().any(|text| Origin::parse(text).as_ref() == Some(origin)),
        }
    }

    pub fn entries(&self) -> &[Entry<'a>] {
        &self.entries
    }

    /// The entry that a route or the first part of a tool's name stands for.
    pub fn find(&self, prefix: &str) -> Option<&Entry<'a>> {
        self.entries.get(self.by_prefix.find(prefix)?)
    }

    /// All servers that can be called, in the file's order.
    pub fn servers(&self) -> impl Iterator<Item = Server<'_>> {
        self.entries.iter().filter_map(|entry| entry.server().ok())
    }
}

/// A whole number from 0 to `most`, `usual` where the file does not say.
fn number<N: FromStr + PartialOrd + Display + Copy>(
    file: &Object<'_>,
    key: &'static str,
    usual: N,
    most: N,
) -> Result<N, ConfigError> {
    let Some(text) = file.get(key).map_err(|twice| ConfigError::Shape(twice.to_string()))? else { return Ok(usual) };
    let number = text.parse().ok().filter(|number| *number <= most);
    number.ok_or_else(|| ConfigError::Shape(format!("\"{key}\" has to be 0 to {most}")))
}

/// The object that holds the servers.
fn container<'a>(file: &Object<'a>) -> Result<Object<'a>, ConfigError> {
    let mut found = None;
    for key in CONTAINERS {
        let Some(text) = file.get(key).map_err(|ambiguous| ConfigError::Shape(ambiguous.to_string()))? else {
            continue;
        };
        if let Some((other, _)) = found {
            return Err(ConfigError::Shape(format!("has servers under \"{other}\" and under \"{key}\"")));
        }
        found = Some((key, text));
    }
    let (key, text) = found.ok_or_else(|| ConfigError::Shape("\"mcpServers\" is missing".into()))?;
    let wrong = || ConfigError::Shape(format!("\"{key}\" has to be an object"));
    let servers = Object::parse(text).map_err(|_| wrong())?;
    match servers.find("servers").filter(|_| key == "mcp") {
        // VS Code's settings.json.
        Some(inner) => Object::parse(inner).map_err(|_| wrong()),
        None => Ok(servers),
    }
}

fn browser_origins(file: &Object<'_>) -> Result<Option<Vec<Origin>>, ConfigError> {
    let wrong = || ConfigError::Shape("\"browserOrigins\" has to be a list of origins: \"https://app.example\"".into());
    let read = |text: &str| json::string(text).and_then(|text| Origin::parse(&text)).ok_or_else(wrong);
    match file.get("browserOrigins").map_err(|ambiguous| ConfigError::Shape(ambiguous.to_string()))? {
        None => Ok(None),
        Some(list) => json::array(list).ok_or_else(wrong)?.into_iter().map(read).collect::<Result<_, _>>().map(Some),
    }
}
