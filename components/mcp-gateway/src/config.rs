//! Which servers are behind this gateway?
//!
//! `servers.json`, in the `mcpServers` form that people already have. Each entry is read on its own and only when it is
//! asked for: a bad one costs itself and nothing else (`/mcp/servers` tells what is wrong with it), and a call pays for
//! the one entry that it needs. Rules:
//!
//! * `url` is https at a host of the outside world, or anything on loopback. `allowHttp` lets it be plain http, and
//!   `allowPrivate` lets an https one be of a private network: at this one host and port, since no redirect to another is
//!   followed.
//!   Refused: this Gatehouse itself, `*.spin.internal`, `self.alt`, link-local addresses, relative URLs, user and
//!   password, fragments.
//! * Files of other programs load as they are: `mcpServers`, VS Code's `servers`, Zed's `context_servers` and opencode's
//!   `mcp`, with comments and commas at the end. Other keys at the top are named in the log.
//! * Keys of an entry that change nothing here are read over, and those that say the same in another word are understood. A
//!   key that would change what a server is offered with, but cannot be followed, makes the entry `unsupported` rather
//!   than be ignored. Any other key is an error that names it.
//! * `timeout` is in seconds; from 1000 on it is taken as milliseconds, as half of the clients write it.
//! * What another program fills in before use (`${TOKEN}`, `{env:TOKEN}`, …) is an error in a URL or a header, so that it is
//!   never sent as it stands.

mod placeholder;
mod plain;

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::Display;
use std::str::FromStr;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri, header};
use http_auth::Origin;
use http_auth::address::Place;
use thiserror::Error;

use crate::places::Places;
use crate::{kept, names, seats};
use json::Object;
use placeholder::placeholder;
pub use plain::plain;

/// Routes that a server's own route would hide.
const RESERVED: [&str; 2] = ["servers", "sse"];
const FILE_KEYS: [&str; 6] = ["endpoints", "resolutionSeconds", "streams", "browserOrigins", "$schema", "inputs"];
/// Where programs keep their servers: Claude, Cursor and most others; VS Code; Zed; opencode (and VS Code's settings, with
/// `servers` in it).
const CONTAINERS: [&str; 4] = ["mcpServers", "servers", "context_servers", "mcp"];
/// In `endpoints`: the one of all servers.
pub const EVERYTHING: &str = "*";
const LOCAL_PROCESS: [&str; 6] = ["command", "args", "env", "environment", "cwd", "envFile"];
/// Keys that change nothing here. A key that begins with `_`, `$`, `x-` or `/` is a comment.
const READ_OVER: [&str; 30] = [
    "alwaysAllow",
    "autoApprove",
    "autoStart",
    "chatMenu",
    "dev",
    "disabledReason",
    "displayName",
    "gallery",
    "icon",
    "iconPath",
    "iconUrl",
    "id",
    "initTimeout",
    "label",
    "metadata",
    "name",
    "note",
    "notes",
    "provider",
    "reconnect",
    "requiresOAuth",
    "serverInstructions",
    "source",
    "sseReadTimeout",
    "startup",
    "tags",
    "title",
    "trust",
    "version",
    "watch",
];
const NOT_OURS: [&str; 4] = ["auth", "oauth", "headersHelper", "authProviderType"];
/// Other words for `url`: Gemini CLI (whose `url` is an address of the older transport), Windsurf.
const URLS: [&str; 3] = ["httpUrl", "url", "serverUrl"];
/// Other words for `tools.allow` and `tools.deny`: Gemini CLI, Windsurf, Roo Code.
const ALLOWS: [&str; 2] = ["includeTools", "enabledTools"];
const DENIES: [&str; 2] = ["excludeTools", "disabledTools"];
/// Header fields that are the gateway's own towards an upstream, or the host's.
const OWN_HEADERS: [&str; 17] = [
    "accept",
    "connection",
    "content-length",
    "content-type",
    "gatehouse-hop",
    "host",
    "http2-settings",
    "keep-alive",
    "last-event-id",
    "mcp-method",
    "mcp-name",
    "mcp-protocol-version",
    "mcp-session-id",
    "proxy-authorization",
    "te",
    "transfer-encoding",
    "upgrade",
];
/// Where the MCP Inspector serves its page.
const INSPECTOR: [&str; 2] = ["http://localhost:6274", "http://127.0.0.1:6274"];
const PATIENCE: Duration = Duration::from_secs(60);
const CALL_PATIENCE: Duration = Duration::from_secs(10 * 60);

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

/// Why one server is not offered. The text names the server's key that it is about.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Fault {
    #[error("disabled in servers.json")]
    Disabled,
    #[error("{0}")]
    Unsupported(String),
    #[error("{0}")]
    Misconfigured(String),
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

/// What the file says of one endpoint.
struct Endpoint<'a> {
    /// What follows `/mcp/`; [`EVERYTHING`] for `/mcp` itself.
    name: Cow<'a, str>,
    /// The places of the servers behind it, in the file's order; `None` if the route has its own.
    servers: Option<Vec<usize>>,
    /// Whether its tools are found by searching (`finding`) instead of listed.
    searched: bool,
}

/// Where this installation is reached, so that no server's URL leads back to it.
#[derive(Clone, Copy, Default)]
pub struct Own<'a> {
    pub gateway: Option<&'a Origin>,
    /// `None` if it is the gateway's.
    pub broker: Option<&'a Origin>,
}

/// One entry of the file, not yet read.
pub struct Entry<'a> {
    pub name: Cow<'a, str>,
    /// See [`names::prefix`].
    pub prefix: Cow<'a, str>,
    text: &'a str,
    clash: Option<String>,
    own: Own<'a>,
}

/// A server that can be called.
pub struct Server<'a> {
    pub name: Cow<'a, str>,
    pub prefix: &'a str,
    pub url: Uri,
    pub service: Option<Cow<'a, str>>,
    /// Which of the person's accounts at the service.
    pub account: Option<Cow<'a, str>>,
    /// Sent with every request. They may hold secrets.
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub description: Option<Cow<'a, str>>,
    /// How long the server may take to answer a handshake or to list what it has.
    pub patience: Duration,
    /// How long it may take to begin its answer to a call, which may be the call's whole work.
    pub call_patience: Duration,
    /// What becomes of tools that change (`pins`); none: nothing is looked at.
    pub pin: Option<Pin>,
    tools: Tools<'a>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Pin {
    Flag,
    Hold,
    /// What comes later is held too.
    Freeze,
}

/// What the file changes about the tools of a server.
#[derive(Default)]
struct Tools<'a> {
    allow: Option<Vec<Cow<'a, str>>>,
    deny: Vec<Cow<'a, str>>,
    /// Their own names, and those they have here.
    rename: Pairs<'a>,
    /// The other way.
    renamed: Pairs<'a>,
    /// Their own names, and their descriptions here.
    describe: Pairs<'a>,
    pin: Option<Pin>,
    /// Their own names, and the digests of their definitions.
    pins: Pairs<'a>,
}

/// What belongs to each of some names.
#[derive(Default)]
struct Pairs<'a> {
    places: Places<'a>,
    pairs: Vec<(Cow<'a, str>, Cow<'a, str>)>,
}

impl<'a> Pairs<'a> {
    /// Returns false if the name has something already.
    fn add(&mut self, name: Cow<'a, str>, value: Cow<'a, str>) -> bool {
        let is_new = self.places.note(name.clone(), self.pairs.len()) == self.pairs.len();
        if is_new {
            self.pairs.push((name, value));
        }
        is_new
    }

    fn of(&self, name: &str) -> Option<&str> {
        self.pairs.get(self.places.find(name)?).map(|(_, value)| &**value)
    }
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
        config.endpoints = endpoints(&file, &config)?;
        Ok(config)
    }

    /// The same for the installation that is reached at `own`, which is none of its servers.
    pub fn reached_at(mut self, own: Own<'a>) -> Self {
        for entry in &mut self.entries {
            entry.own = own;
        }
        self
    }

    /// The servers of the endpoint called `name`, in the file's order; none where it is not one.
    pub fn endpoint(&self, name: &str) -> Option<Vec<&Entry<'a>>> {
        let servers = self.endpoints.iter().find(|known| known.name == name)?.servers.as_ref()?;
        Some(servers.iter().filter_map(|place| self.entries.get(*place)).collect())
    }

    /// Whether the tools of the endpoint called `name` are found by searching.
    pub fn is_searched(&self, name: &str) -> bool {
        self.endpoints.iter().any(|known| known.searched && known.name == name)
    }

    /// Returns true if a page of `origin` may call the gateway at `own`. If the file says nothing, the Inspector's page of this
    /// machine may call a gateway of this machine.
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

fn endpoints<'a>(file: &Object<'a>, config: &Config<'a>) -> Result<Vec<Endpoint<'a>>, ConfigError> {
    let shape = |problem: String| ConfigError::Shape(format!("\"endpoints\": {problem}"));
    let Some(text) = file.get("endpoints").map_err(|twice| ConfigError::Shape(twice.to_string()))? else {
        return Ok(Vec::new());
    };
    let endpoints = Object::parse(text).map_err(|_| shape("has to be an object".into()))?;
    let (mut named, mut seen) = (Places::default(), Places::default());
    for (place, entry) in config.entries.iter().enumerate() {
        named.note(entry.name.clone(), place);
    }
    let mut read: Vec<Endpoint<'a>> = Vec::new();
    for (place, (name, text)) in endpoints.members().enumerate() {
        let mut read_one = || {
            if seen.note(name.clone(), place) != place {
                return Err("stands there twice".to_owned());
            }
            let is_route = name == EVERYTHING || config.find(name).is_some();
            if !is_route && (RESERVED.contains(&&**name) || names::prefix(name) != *name) {
                return Err("is not a name of its own of letters, digits, - and _".to_owned());
            }
            endpoint(name, text, is_route, &named)
        };
        read.push(read_one().map_err(|problem| shape(format!("\"{name}\" {problem}")))?);
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

impl<'a> Entry<'a> {
    /// Reads the entry.
    pub fn server(&self) -> Result<Server<'_>, Fault> {
        if let Some(clash) = &self.clash {
            return Err(Fault::Misconfigured(clash.clone()));
        }
        let keys = Object::parse(self.text).map_err(|_| wrong("the entry", "has to be an object"))?;
        let has_url = URLS.iter().any(|key| keys.find(key).is_some());
        let mut unsupported = None;
        for (key, value) in keys.members() {
            match &**key {
                "type" | "transport" | "transportType" | "service" | "account" | "headers" | "tools"
                | "description" | "disabled" | "enabled" | "isActive" | "timeout" | "allowHttp" | "allowPrivate" => {}
                key if READ_OVER.contains(&key) || key.starts_with(['_', '$', '/']) || key.starts_with("x-") => {}
                key if URLS.contains(&key) || ALLOWS.contains(&key) || DENIES.contains(&key) => {}
                // Beside a URL, only `command` says that there is a process to start.
                key if LOCAL_PROCESS.contains(&key) => {
                    if key == "command" || !has_url {
                        unsupported =
                            Some("it is started as a local process (stdio): put a bridge to HTTP in front".into());
                    }
                }
                // `"oauth": false` and `"oauth": {}` say nothing.
                key if NOT_OURS.contains(&key) => {
                    if !matches!(value, "false" | "null" | "{}") {
                        unsupported = Some(format!("its key \"{key}\" is another program's: use \"service\""));
                    }
                }
                key => return Err(Fault::Misconfigured(format!("unknown key \"{key}\""))),
            }
        }
        if one(&keys, "disabled")? == Some("true")
            || one(&keys, "enabled")? == Some("false")
            || one(&keys, "isActive")? == Some("false")
        {
            return Err(Fault::Disabled);
        }
        for key in ["type", "transport", "transportType"] {
            let Some(kind) = text(&keys, key)? else { continue };
            match kind.to_ascii_lowercase().replace(['-', '_'], "").as_str() {
                "http" | "streamablehttp" | "streamable" | "remote" => {}
                "sse" => {
                    unsupported.get_or_insert_with(|| {
                        "its transport is \"sse\", which is no longer spoken to servers: write the server's Streamable HTTP \
                         URL (often it ends with /mcp) and \"type\": \"http\""
                            .into()
                    });
                }
                "stdio" | "local" | "ws" | "websocket" | "builtin" | "inmemory" => {
                    unsupported.get_or_insert_with(|| format!("its transport is \"{kind}\": only Streamable HTTP is"));
                }
                _ => return Err(wrong(key, "has to be \"http\" (or \"stdio\", \"sse\", which are listed only)")),
            }
        }
        if let Some(reason) = unsupported {
            return Err(Fault::Unsupported(reason));
        }

        let url = URLS.iter().find_map(|key| text(&keys, key).transpose()).transpose()?;
        let url = url.ok_or_else(|| wrong("url", "is missing"))?;
        let service = text(&keys, "service")?;
        let account = text(&keys, "account")?;
        if account.is_some() && service.is_none() {
            return Err(wrong("account", "needs a \"service\" whose account it is"));
        }
        let headers = headers(&keys)?;
        if service.is_some() && headers.iter().any(|(name, _)| name == header::AUTHORIZATION) {
            return Err(wrong("headers", "has \"Authorization\" although \"service\" gives the token"));
        }
        let tools = tools(&keys)?;
        let patience = patience(&keys)?;
        Ok(Server {
            name: self.name.clone(),
            prefix: &self.prefix,
            url: upstream_url(&url, &keys, self.own)?,
            service,
            account,
            headers,
            description: text(&keys, "description")?,
            patience: patience.unwrap_or(PATIENCE),
            call_patience: patience.unwrap_or(CALL_PATIENCE),
            pin: tools.pin,
            tools,
        })
    }
}

impl<'a> Server<'a> {
    /// Whether the file lets this tool be seen and called.
    pub fn offers(&self, tool: &str) -> bool {
        let fits = |patterns: &[Cow<'_, str>]| patterns.iter().any(|pattern| glob(pattern, tool));
        self.tools.allow.as_deref().is_none_or(fits) && !fits(&self.tools.deny)
    }

    /// Whether the tools are offered as the server has them, so that nothing has to be looked at.
    pub fn tools_are_its_own(&self) -> bool {
        let Tools { allow, deny, rename, renamed: _, describe, pin, pins: _ } = &self.tools;
        let is_empty = |of: &Pairs<'_>| of.pairs.is_empty();
        allow.is_none() && deny.is_empty() && is_empty(rename) && is_empty(describe) && pin.is_none()
    }

    /// Whether the file has rules about which tools may be called.
    pub fn limits_tools(&self) -> bool {
        self.tools.allow.is_some() || !self.tools.deny.is_empty() || self.pin.is_some()
    }

    /// The name that the server's `tool` has here; none where it is not offered. A name that the file gives to one tool
    /// hides another that has it by itself.
    pub fn shown<'t>(&'t self, tool: &'t str) -> Option<Cow<'t, str>> {
        if !self.offers(tool) {
            return None;
        }
        match self.tools.rename.of(tool) {
            Some(here) => Some(Cow::Borrowed(here)),
            None if self.tools.renamed.of(tool).is_some() => None,
            None => Some(Cow::Borrowed(tool)),
        }
    }

    /// The other way: the server's own name for what is called `name` here.
    pub fn tool_called<'t>(&'t self, name: &'t str) -> Option<Cow<'t, str>> {
        let own = match self.tools.renamed.of(name) {
            Some(own) => Cow::Borrowed(own),
            None => Cow::Borrowed(name),
        };
        (self.shown(&own)? == name).then_some(own)
    }

    /// What the file says in the place of a tool's own description.
    pub fn description_of(&self, tool: &str) -> Option<&str> {
        self.tools.describe.of(tool)
    }

    /// The digest that the file says a tool's definition has to have.
    pub fn pinned(&self, tool: &str) -> Option<&str> {
        self.tools.pins.of(tool)
    }

    /// The URL without its query, which may hold a key.
    pub fn shown_url(&self) -> String {
        let origin = format!(
            "{}://{}",
            self.url.scheme_str().unwrap_or_default(),
            self.url.authority().map_or("", |a| a.as_str())
        );
        origin + self.url.path()
    }
}

fn upstream_url(url: &str, keys: &Object<'_>, own: Own<'_>) -> Result<Uri, Fault> {
    if placeholder(url).is_some() {
        return Err(wrong("url", "holds a placeholder, which nothing fills in here: write the value"));
    }
    if url.contains('#') {
        return Err(wrong("url", "must not have a fragment"));
    }
    let uri: Uri = url.parse().map_err(|_| wrong("url", "is not a URL"))?;
    let (Some(scheme), Some(authority)) = (uri.scheme_str(), uri.authority()) else {
        return Err(wrong("url", "has to be absolute"));
    };
    if authority.as_str().contains('@') {
        return Err(wrong("url", "must not hold a user or a password"));
    }
    if [own.gateway, own.broker].into_iter().flatten().any(|own| own.is_authority(authority)) {
        return Err(wrong("url", "is this Gatehouse's own address: it cannot be a server behind itself"));
    }
    let (allow, of_what) = match (Place::of(authority.host()), scheme) {
        (Place::Forbidden, _) => {
            return Err(wrong("url", "must not be the app itself, a component of it, or a link-local host"));
        }
        (Place::Invalid, _) => return Err(wrong("url", "has no host that everybody takes for the same one")),
        (Place::Public, "https") | (Place::Loopback, "http" | "https") => return Ok(uri),
        (_, "http") => ("allowHttp", "is plain http"),
        (_, "https") => ("allowPrivate", "is in a private network"),
        _ => return Err(wrong("url", "has to be https or http")),
    };
    if flag(keys, allow)? {
        return Ok(uri);
    }
    let how = "If it is meant, set it to true, and list host and port in the manifest's allowed_outbound_hosts";
    Err(wrong("url", &format!("{of_what}, which needs \"{allow}\". {how}")))
}

fn flag(keys: &Object<'_>, key: &'static str) -> Result<bool, Fault> {
    match one(keys, key)? {
        None | Some("false") => Ok(false),
        Some("true") => Ok(true),
        Some(_) => Err(wrong(key, "has to be true or false")),
    }
}

fn headers(keys: &Object<'_>) -> Result<Vec<(HeaderName, HeaderValue)>, Fault> {
    let Some(headers) = one(keys, "headers")? else { return Ok(Vec::new()) };
    let headers = Object::parse(headers).map_err(|_| wrong("headers", "has to be an object"))?;
    let mut read: Vec<(HeaderName, HeaderValue)> = Vec::new();
    for (name, value) in headers.members() {
        let of = |problem: &str| wrong("headers", &format!("\"{name}\" {problem}"));
        let value = json::string(value).ok_or_else(|| of("has to be a string"))?;
        if placeholder(&value).is_some() {
            return Err(of("holds a placeholder, which nothing fills in here: write the value, or use \"service\""));
        }
        let known = HeaderName::from_bytes(name.as_bytes()).map_err(|_| of("is not a header's name"))?;
        if OWN_HEADERS.contains(&known.as_str()) {
            return Err(of("is the gateway's own"));
        }
        if read.iter().any(|(other, _)| *other == known) {
            return Err(of("is there twice"));
        }
        let mut value = HeaderValue::from_str(&value).map_err(|_| of("is not a header's value"))?;
        value.set_sensitive(true);
        read.push((known, value));
    }
    Ok(read)
}

fn tools<'a>(keys: &Object<'a>) -> Result<Tools<'a>, Fault> {
    let listed = |key: &'static str| match one(keys, key)? {
        None => Ok(None),
        Some(list) => names_in(list).map(Some).ok_or_else(|| wrong(key, "has to be a list of names")),
    };
    let [other_allow, other_deny] =
        [ALLOWS, DENIES].map(|words| words.into_iter().find_map(|key| listed(key).transpose()));
    let (other_allow, other_deny) = (other_allow.transpose()?, other_deny.transpose()?);
    let others = Tools { allow: other_allow, deny: other_deny.unwrap_or_default(), ..Tools::default() };
    let Some(text) = one(keys, "tools")? else { return Ok(others) };
    if others.allow.is_some() || !others.deny.is_empty() {
        return Err(wrong("tools", "stands beside another program's key for the same: keep one of them"));
    }
    if let Some(allow) = names_in(text) {
        return Ok(Tools { allow: Some(allow), ..Tools::default() });
    }
    let tools = Object::parse(text)
        .map_err(|_| wrong("tools", "has to be a list of names or {\"allow\": […], \"deny\": […]}"))?;
    let known = ["allow", "deny", "rename", "describe", "pin", "pins"];
    if let Some((key, _)) = tools.members().find(|(key, _)| !known.contains(&&***key)) {
        return Err(Fault::Misconfigured(format!("unknown key \"{key}\" in \"tools\"")));
    }
    let patterns = |key| match one(&tools, key)? {
        None => Ok(None),
        Some(patterns) => {
            names_in(patterns).map(Some).ok_or_else(|| wrong("tools", &format!("\"{key}\" has to be a list of names")))
        }
    };
    let pairs = |key| {
        let mut pairs = Pairs::default();
        let Some(text) = one(&tools, key)? else { return Ok(pairs) };
        let shape = || wrong("tools", &format!("\"{key}\" has to be an object of strings"));
        for (own, text) in Object::parse(text).map_err(|_| shape())?.members() {
            if !pairs.add(own.clone(), json::string(text).ok_or_else(shape)?) {
                return Err(wrong("tools", &format!("\"{key}\" has \"{own}\" twice")));
            }
        }
        Ok(pairs)
    };
    let rename = pairs("rename")?;
    let mut renamed = Pairs::default();
    for (own, here) in &rename.pairs {
        if !renamed.add(here.clone(), own.clone()) {
            return Err(wrong("tools", &format!("\"rename\" gives the name \"{here}\" twice")));
        }
    }
    let pins = pairs("pins")?;
    let is_digest = |text: &str| text.strip_prefix("sha256-").is_some_and(|digest| digest.len() == 44);
    if let Some((tool, _)) = pins.pairs.iter().find(|(_, digest)| !is_digest(digest)) {
        return Err(wrong("tools", &format!("\"pins\" has no \"sha256-…\" for \"{tool}\", as /mcp/servers shows it")));
    }
    let pin = match one(&tools, "pin")?.map(json::string) {
        None => (!pins.pairs.is_empty()).then_some(Pin::Hold),
        Some(pin) => Some(match pin.as_deref() {
            Some("flag") => Pin::Flag,
            Some("hold") => Pin::Hold,
            Some("freeze") => Pin::Freeze,
            _ => return Err(wrong("tools", "\"pin\" has to be \"flag\", \"hold\" or \"freeze\"")),
        }),
    };
    Ok(Tools {
        pin,
        pins,
        allow: patterns("allow")?,
        deny: patterns("deny")?.unwrap_or_default(),
        rename,
        renamed,
        describe: pairs("describe")?,
    })
}

/// The strings of the list that `text` is.
fn names_in(text: &str) -> Option<Vec<Cow<'_, str>>> {
    json::array(text)?.into_iter().map(json::string).collect()
}

fn patience(keys: &Object<'_>) -> Result<Option<Duration>, Fault> {
    let Some(timeout) = one(keys, "timeout")? else { return Ok(None) };
    match timeout.parse::<u64>() {
        Ok(seconds @ 1..1000) => Ok(Some(Duration::from_secs(seconds))),
        Ok(milliseconds @ 1000..=3_600_000) => Ok(Some(Duration::from_millis(milliseconds))),
        _ => Err(wrong("timeout", "has to be a whole number of seconds")),
    }
}

fn one<'a>(keys: &Object<'a>, key: &'static str) -> Result<Option<&'a str>, Fault> {
    keys.get(key).map_err(|twice| Fault::Misconfigured(twice.to_string()))
}

fn text<'a>(keys: &Object<'a>, key: &'static str) -> Result<Option<Cow<'a, str>>, Fault> {
    match one(keys, key)? {
        None => Ok(None),
        Some(value) => json::string(value).map(Some).ok_or_else(|| wrong(key, "has to be a string")),
    }
}

fn wrong(key: &str, problem: &str) -> Fault {
    let key = if key == "the entry" { key.to_owned() } else { format!("\"{key}\"") };
    Fault::Misconfigured(format!("{key} {problem}"))
}

/// Whether `pattern`, in which `*` stands for any characters, is all of `name`.
pub fn glob(pattern: &str, name: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(rest) = pieces.next().and_then(|first| name.strip_prefix(first)) else { return false };
    let Some(last) = pieces.next_back() else { return rest.is_empty() };
    let Some(mut rest) = rest.strip_suffix(last) else { return false };
    for piece in pieces {
        let Some((_, after)) = rest.split_once(piece) else { return false };
        rest = after;
    }
    true
}
