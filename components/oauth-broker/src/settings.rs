//! What has the operator set, and is it right?
//!
//! Settings are read and parsed at most once in a request, and only when something asks for them: most requests need
//! a few of them. What is missing or malformed is one [`SettingError`], which names the setting and never its
//! value.
//!
//! | setting | form |
//! |---|---|
//! | `public_url` | the origin of these pages; `https`, or `http` on loopback |
//! | `gateway_url` | the gateway's origin, where it is another one than `public_url` |
//! | `local_owner` | `true`: local mode, in which the person at this machine is the owner and needs no login. For loopback URLs only. Not set: `false` |
//! | `encryption_keys` | `id:base64` of 32 bytes, comma-separated; the first encrypts, all decrypt |
//! | `service_keys` | `name:sha256` (hex) of each calling service's key, comma-separated |
//! | `gateway_keys` | the names in `service_keys` that are gateways, comma-separated. Not set: `gateway` |
//! | `api_keys` | `subject:sha256` (hex) of each API key, comma-separated; a subject may have several |
//! | `owner_passphrase` | signs the owner in, in a browser, outside of local mode |
//! | `return_urls` | URLs to which a person may be sent when a connection is made, comma-separated |
//! | `internal_hosts` | hosts of private networks that metadata of discovered services may name: `host` (port 443) or `host:port`, comma-separated |
//! | `admin_keys` | `name:sha256` (hex) of each admin's key, comma-separated: for `/admin/…` |
//! | `handout_policy` | JSON: what each calling service may have ([`crate::policy`]); not set: everything |
//! | `audit` | `store` (the log too; not set: this) or `log` (nothing else) |
//! | `oauth_clients` | JSON: service id to client and [`crate::catalogue`] fields |

use std::cell::OnceCell;

use http_auth::Origin;
use thiserror::Error;
use url::Url;
use zeroize::Zeroizing;

use crate::audit::Kept;
use crate::connect::return_url::ReturnUrl;
use crate::discovery::guard::Named;
use crate::host::Host;
use crate::people::keys::HashedKeys;
use crate::policy::Policy;
use crate::vault::Vault;
use sealing::Secret;

/// A setting that is missing or malformed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{setting}: {problem}")]
pub struct SettingError {
    pub setting: &'static str,
    /// What is wrong with it, without its value. For the operator: the log, and an admin's requests.
    pub problem: String,
}

impl SettingError {
    /// What anybody may know of the problem.
    pub fn word(&self) -> &'static str {
        if self.problem == MISSING { MISSING } else { "wrong (the log says more)" }
    }
}

const MISSING: &str = "missing";

pub struct Settings<'h, H> {
    host: &'h H,
    public_url: OnceCell<PublicUrl>,
    vault: OnceCell<Vault>,
    oauth_clients: OnceCell<Zeroizing<String>>,
    handout_policy: OnceCell<Option<Policy>>,
}

impl<'h, H: Host> Settings<'h, H> {
    pub fn new(host: &'h H) -> Self {
        Self {
            host,
            public_url: OnceCell::new(),
            vault: OnceCell::new(),
            oauth_clients: OnceCell::new(),
            handout_policy: OnceCell::new(),
        }
    }

    pub fn public_url(&self) -> Result<&PublicUrl, SettingError> {
        once(&self.public_url, || PublicUrl::parse("public_url", &self.required("public_url")?))
    }

    pub fn gateway_url(&self) -> Result<PublicUrl, SettingError> {
        match self.optional("gateway_url") {
            Some(url) => PublicUrl::parse("gateway_url", &url),
            None => Ok(self.public_url()?.clone()),
        }
    }

    /// Returns true in local mode: the person at this machine is the owner and needs no login.
    ///
    /// Errors: `local_owner` is true although others can reach one of our URLs. A loopback URL alone decides nothing: behind
    /// a proxy with a forgotten `public_url`, every stranger would be the owner.
    pub fn is_local_mode(&self) -> Result<bool, SettingError> {
        let problem = match self.optional("local_owner").as_deref().map(str::trim) {
            None | Some("false") => return Ok(false),
            Some("true") if self.public_url()?.is_loopback() && self.gateway_url()?.is_loopback() => return Ok(true),
            Some("true") => {
                "`public_url` and `gateway_url` have to be loopback addresses if it is true: set it to false, and people sign in"
            }
            Some(_) => "neither true nor false",
        };
        Err(SettingError { setting: "local_owner", problem: problem.to_owned() })
    }

    pub fn vault(&self) -> Result<&Vault, SettingError> {
        once(&self.vault, || {
            Vault::parse(self.required("encryption_keys").map(Secret::from)?.reveal())
                .map_err(|problem| SettingError { setting: "encryption_keys", problem })
        })
    }

    pub fn service_keys(&self) -> Result<HashedKeys, SettingError> {
        self.hashed_keys("service_keys")
    }

    /// Returns true if the service that `service_keys` calls `name` is a gateway, which seals what it keeps for people.
    ///
    /// Errors: it is none, and another gateway's key is missing. Then it may be that gateway, by another name.
    pub fn is_gateway(&self, name: &str) -> Result<bool, SettingError> {
        let is_named = self.gateway_keys().split(',').any(|listed| listed.trim() == name);
        if is_named { Ok(true) } else { self.check_gateway_keys().map(|()| false) }
    }

    /// Returns an error if a name in `gateway_keys` has no key in `service_keys`.
    pub fn check_gateway_keys(&self) -> Result<(), SettingError> {
        let keys = self.service_keys()?;
        let list = self.gateway_keys();
        let mut names = list.split(',').map(str::trim).enumerate().filter(|(_, name)| !name.is_empty());
        let Some((place, _)) = names.find(|(_, name)| keys.names().all(|known| known != *name)) else { return Ok(()) };
        Err(SettingError {
            setting: "gateway_keys",
            problem: format!(
                "`service_keys` has no key with the name in entry {} of `gateway_keys` (`gateway` if not set): give the gateway's key \
                 that name in `service_keys`, or put the name that it has there into `gateway_keys`. If no gateway asks by a key, \
                 set `gateway_keys` to nothing",
                place + 1
            ),
        })
    }

    fn gateway_keys(&self) -> String {
        self.host.setting("gateway_keys").unwrap_or_else(|| "gateway".to_owned())
    }

    pub fn api_keys(&self) -> Result<HashedKeys, SettingError> {
        self.hashed_keys("api_keys")
    }

    pub fn admin_keys(&self) -> Result<HashedKeys, SettingError> {
        self.hashed_keys("admin_keys")
    }

    /// None: every service may ask for everything.
    pub fn handout_policy(&self) -> Result<Option<&Policy>, SettingError> {
        let policy = once(&self.handout_policy, || {
            let policy = self.optional("handout_policy").map(|json| Policy::parse(&json)).transpose();
            policy.map_err(|problem| SettingError { setting: "handout_policy", problem })
        })?;
        Ok(policy.as_ref())
    }

    pub fn audit(&self) -> Result<Kept, SettingError> {
        match self.optional("audit").as_deref().map(str::trim) {
            None | Some("store") => Ok(Kept::Store),
            Some("each") => Ok(Kept::Each),
            Some("log") => Ok(Kept::Log),
            Some(_) => Err(SettingError { setting: "audit", problem: "neither store, each nor log".to_owned() }),
        }
    }

    pub fn owner_passphrase(&self) -> Option<Secret> {
        self.optional("owner_passphrase").map(Secret::from)
    }

    /// The text of `oauth_clients`; [`crate::catalogue`] reads it.
    pub fn oauth_clients(&self) -> &str {
        self.oauth_clients
            .get_or_init(|| Zeroizing::new(self.optional("oauth_clients").unwrap_or_else(|| "{}".to_owned())))
    }

    pub fn return_urls(&self) -> Result<Vec<ReturnUrl>, SettingError> {
        let list = self.optional("return_urls").unwrap_or_default();
        let entry = |(place, entry): (usize, &str)| {
            ReturnUrl::parse(entry.trim()).ok_or_else(|| SettingError {
                setting: "return_urls",
                problem: format!(
                    "entry {} is not an https URL in the form that a browser would show, without user and fragment",
                    place + 1
                ),
            })
        };
        list.split(',').enumerate().filter(|(_, entry)| !entry.trim().is_empty()).map(entry).collect()
    }

    /// Hosts of private networks to which discovery may go, for every caller.
    pub fn internal_hosts(&self) -> Result<Vec<Named>, SettingError> {
        let list = self.optional("internal_hosts").unwrap_or_default();
        let entry = |(place, entry): (usize, &str)| {
            Named::parse(entry.trim()).ok_or_else(|| SettingError {
                setting: "internal_hosts",
                problem: format!("entry {} is not host:port, such as login.corp.internal:8443", place + 1),
            })
        };
        list.split(',').enumerate().filter(|(_, entry)| !entry.trim().is_empty()).map(entry).collect()
    }

    fn hashed_keys(&self, setting: &'static str) -> Result<HashedKeys, SettingError> {
        HashedKeys::parse(&self.optional(setting).unwrap_or_default())
            .map_err(|problem| SettingError { setting, problem })
    }

    fn required(&self, setting: &'static str) -> Result<String, SettingError> {
        self.optional(setting).ok_or_else(|| SettingError { setting, problem: MISSING.to_owned() })
    }

    fn optional(&self, setting: &str) -> Option<String> {
        self.host.setting(setting).filter(|value| !value.trim().is_empty())
    }
}

/// An origin at which this installation is reached from outside. Configured: whatever a request says about its own
/// address may be forged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PublicUrl {
    text: String,
    origin: Origin,
}

impl PublicUrl {
    fn parse(setting: &'static str, text: &str) -> Result<Self, SettingError> {
        let wrong = |problem: &str| SettingError { setting, problem: problem.to_owned() };
        let url = Url::parse(text.trim()).map_err(|_| wrong("not a URL"))?;
        let bare = url.path() == "/" && url.query().is_none() && url.fragment().is_none();
        let nobody = url.username().is_empty() && url.password().is_none();
        if !bare || !nobody || !url.has_host() {
            return Err(wrong("not an origin, such as https://auth.example.com"));
        }
        match url.scheme() {
            "https" => {}
            "http" if is_loopback(&url) => {}
            "http" => return Err(wrong("http is for loopback addresses; anywhere else it has to be https")),
            _ => return Err(wrong("neither http nor https")),
        }
        let text = url.origin().ascii_serialization();
        let origin = Origin::parse(&text).ok_or_else(|| wrong("not an origin, such as https://auth.example.com"))?;
        Ok(Self { text, origin })
    }

    /// Without a trailing slash; a default port is left out.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Returns true if this names an address that only this machine can reach.
    pub fn is_loopback(&self) -> bool {
        self.origin.is_loopback()
    }

    pub fn is_secure(&self) -> bool {
        self.origin.is_https()
    }

    /// Whether `resource` is a URL of this origin (RFC 8707 section 2).
    pub fn contains(&self, resource: &str) -> bool {
        match resource.strip_prefix(&self.text) {
            Some(rest) if rest.is_empty() || rest.starts_with('/') || rest.starts_with('?') => true,
            // Written in another way, such as with upper case or a default port.
            _ => Url::parse(resource).is_ok_and(|url| {
                url.username().is_empty()
                    && url.password().is_none()
                    && url.origin().is_tuple()
                    && url.origin().ascii_serialization() == self.text
            }),
        }
    }
}

pub(crate) fn is_loopback(url: &Url) -> bool {
    url.host_str().is_some_and(http_auth::address::is_loopback)
}

fn once<T>(cell: &OnceCell<T>, parse: impl FnOnce() -> Result<T, SettingError>) -> Result<&T, SettingError> {
    match cell.get() {
        Some(value) => Ok(value),
        None => {
            let value = parse()?;
            Ok(cell.get_or_init(|| value))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn url(text: &str) -> Result<PublicUrl, SettingError> {
        PublicUrl::parse("public_url", text)
    }

    #[test]
    fn a_loopback_address_is_told_from_one_that_others_reach() {
        for local in ["http://127.0.0.1:3000", "http://127.8.8.8", "http://[::1]:3000", "http://localhost:3000/"] {
            assert!(url(local).unwrap().is_loopback(), "{local}");
        }
        for public in ["https://auth.example.com", "https://localhost.example.com", "https://10.0.0.1"] {
            assert!(!url(public).unwrap().is_loopback(), "{public}");
        }
    }

    #[test]
    fn a_public_url_is_https_and_nothing_but_an_origin() {
        for bad in
            ["http://auth.example.com", "auth.example.com", "https://a.example/x", "https://u@a.example", "ftp://a"]
        {
            assert_eq!(url(bad).unwrap_err().setting, "public_url", "{bad}");
        }
        assert_eq!(url("https://Auth.Example.com:443/").unwrap().as_str(), "https://auth.example.com");
    }

    #[test]
    fn a_resource_is_told_from_its_lookalikes() {
        let gateway = url("https://mcp.example.com").unwrap();
        for good in ["https://mcp.example.com", "https://mcp.example.com/mcp", "HTTPS://MCP.example.com:443/mcp/x"] {
            assert!(gateway.contains(good), "{good}");
        }
        for bad in
            ["https://mcp.example.com.evil/mcp", "https://mcp.example.com@evil/", "http://mcp.example.com/", "/mcp", ""]
        {
            assert!(!gateway.contains(bad), "{bad}");
        }
    }
}
