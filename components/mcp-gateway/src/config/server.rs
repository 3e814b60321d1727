//! Reads one entry of `servers.json`.
//!
//! * `url` is https at a host of the outside world, or anything on loopback. `allowHttp` lets it be plain http, and
//!   `allowPrivate` lets an https one be of a private network: at this one host and port, since no redirect to another is
//!   followed.
//!   Refused: this Gatehouse itself, `*.spin.internal`, `self.alt`, link-local addresses, relative URLs, user and
//!   password, fragments.
//! * Keys that change nothing here are read over, and those that say the same in another word are understood. A
//!   key that would change what a server is offered with, but cannot be followed, makes the entry `unsupported` rather
//!   than be ignored. Any other key is an error that names it.
//! * `timeout` is in seconds; from 1000 on it is taken as milliseconds, as half of the clients write it.
//! * What another program fills in before use (`${TOKEN}`, `{env:TOKEN}`, …) is an error in a URL or a header, so that it is
//!   never sent as it stands.

use std::borrow::Cow;
use std::time::Duration;

use http::{HeaderName, HeaderValue, Uri, header};
use http_auth::Origin;
use http_auth::address::Place;
use thiserror::Error;

use super::placeholder::placeholder;
use super::tools::{self, ALLOWS, DENIES, Pin, Tools};
use json::Object;

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
const PATIENCE: Duration = Duration::from_secs(60);
const CALL_PATIENCE: Duration = Duration::from_secs(10 * 60);

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
    pub(super) text: &'a str,
    pub(super) clash: Option<String>,
    pub(super) own: Own<'a>,
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
    /// True if clients of an era that the server does not speak are served too.
    pub bridge: bool,
    /// What is done with tools that change (`pins`). `None` if nothing is checked.
    pub pin: Option<Pin>,
    tools: Tools<'a>,
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
                | "description" | "disabled" | "enabled" | "isActive" | "timeout" | "allowHttp" | "allowPrivate"
                | "bridge" => {}
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
        let tools = tools::read(&keys)?;
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
            bridge: flag(&keys, "bridge", true)?,
            pin: tools.pin,
            tools,
        })
    }
}

impl<'a> Server<'a> {
    /// Returns true if the file lets this tool be seen and called.
    pub fn offers(&self, tool: &str) -> bool {
        self.tools.offers(tool)
    }

    /// Returns true if the tools are offered as the server has them, so that nothing has to be looked at.
    pub fn tools_are_its_own(&self) -> bool {
        self.tools.change_nothing()
    }

    /// Returns true if the file has rules about which tools may be called.
    pub fn limits_tools(&self) -> bool {
        self.tools.allow.is_some() || !self.tools.deny.is_empty() || self.pin.is_some()
    }

    /// The name that the server's `tool` has here. `None` if it is not offered. A name that the file gives to one tool hides
    /// another tool whose own name it is.
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
    if flag(keys, allow, false)? {
        return Ok(uri);
    }
    let how = "If it is meant, set it to true, and list host and port in the manifest's allowed_outbound_hosts";
    Err(wrong("url", &format!("{of_what}, which needs \"{allow}\". {how}")))
}

fn flag(keys: &Object<'_>, key: &'static str, usual: bool) -> Result<bool, Fault> {
    match one(keys, key)? {
        None => Ok(usual),
        Some("false") => Ok(false),
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

fn patience(keys: &Object<'_>) -> Result<Option<Duration>, Fault> {
    let Some(timeout) = one(keys, "timeout")? else { return Ok(None) };
    match timeout.parse::<u64>() {
        Ok(seconds @ 1..1000) => Ok(Some(Duration::from_secs(seconds))),
        Ok(milliseconds @ 1000..=3_600_000) => Ok(Some(Duration::from_millis(milliseconds))),
        _ => Err(wrong("timeout", "has to be a whole number of seconds")),
    }
}

pub(super) fn one<'a>(keys: &Object<'a>, key: &'static str) -> Result<Option<&'a str>, Fault> {
    keys.get(key).map_err(|twice| Fault::Misconfigured(twice.to_string()))
}

fn text<'a>(keys: &Object<'a>, key: &'static str) -> Result<Option<Cow<'a, str>>, Fault> {
    match one(keys, key)? {
        None => Ok(None),
        Some(value) => json::string(value).map(Some).ok_or_else(|| wrong(key, "has to be a string")),
    }
}

pub(super) fn wrong(key: &str, problem: &str) -> Fault {
    let key = if key == "the entry" { key.to_owned() } else { format!("\"{key}\"") };
    Fault::Misconfigured(format!("{key} {problem}"))
}
