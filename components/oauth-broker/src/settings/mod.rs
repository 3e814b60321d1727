//! Reads the operator's settings, each at most once in a request.
//!
//! [`Setting`] is the table of all settings. This room parses only the addresses of this installation and local mode. Every
//! other setting is parsed by the room that uses it, when a request needs it. A setting that is missing or malformed is a
//! [`SettingError`], which names the setting and never its value.

mod public_url;

use std::cell::OnceCell;
use std::fmt;

use thiserror::Error;
use zeroize::Zeroizing;

use crate::host::Host;
pub use public_url::PublicUrl;
pub(crate) use public_url::is_loopback;

/// The one table of settings: a new one is an entry here, and the compiler finds what else it needs.
macro_rules! settings {
    ($($(#[$doc:meta])* $setting:ident = $name:literal,)+) => {
        /// A setting of the operator, by its name in `spin.toml`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Setting {
            $($(#[$doc])* $setting,)+
        }

        impl Setting {
            pub const ALL: [Self; [$($name),+].len()] = [$(Self::$setting),+];

            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$setting => $name,)+
                }
            }
        }
    };
}

settings! {
    /// The origin of the broker's pages: `https`, or `http` on loopback.
    PublicUrl = "public_url",
    /// The gateway's origin, where it differs from `public_url`.
    GatewayUrl = "gateway_url",
    /// `true`: local mode, in which the person at this machine is the owner and needs no login. For loopback URLs only.
    /// Default: `false`.
    LocalOwner = "local_owner",
    /// `id:base64` of 32 bytes, comma-separated; the first seals, all open. Parsed by [`crate::vault`].
    EncryptionKeys = "encryption_keys",
    /// `name:sha256` (hex) of each calling service's key, comma-separated. Parsed by [`crate::people`].
    ServiceKeys = "service_keys",
    /// The names in `service_keys` that are gateways, comma-separated. Default: `gateway`. Parsed by [`crate::people`].
    GatewayKeys = "gateway_keys",
    /// `subject:sha256` (hex) of each API key, comma-separated; a subject may have several. Parsed by [`crate::people`].
    ApiKeys = "api_keys",
    /// Signs the owner in, in a browser, outside of local mode. Used by [`crate::people`].
    OwnerPassphrase = "owner_passphrase",
    /// URLs to which a person may be sent when a connection is made, comma-separated. Parsed by [`crate::connect`].
    ReturnUrls = "return_urls",
    /// Hosts of private networks that metadata of discovered services may name: `host` (port 443) or `host:port`,
    /// comma-separated. Parsed by [`crate::discovery`].
    InternalHosts = "internal_hosts",
    /// `name:sha256` (hex) of each admin's key, comma-separated: for `/admin/…`. Parsed by [`crate::people`].
    AdminKeys = "admin_keys",
    /// JSON: what each calling service may have. Default: everything. Parsed by [`crate::policy`].
    HandoutPolicy = "handout_policy",
    /// Where audit lines are kept beside the log: `store` (default), `each` or `log`. Parsed by [`crate::audit`].
    Audit = "audit",
    /// JSON: service id to client and fields of the [`crate::catalogue`]. Parsed by [`crate::services`].
    OauthClients = "oauth_clients",
}

impl fmt::Display for Setting {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(self.name())
    }
}

/// A setting that is missing or malformed.
#[derive(Debug, Error, Clone, PartialEq, Eq)]
#[error("{setting}: {problem}")]
pub struct SettingError {
    pub setting: Setting,
    /// What is wrong with it, without its value. For the operator: the log, and an admin's requests.
    pub problem: String,
}

impl SettingError {
    pub fn new(setting: Setting, problem: impl Into<String>) -> Self {
        Self { setting, problem: problem.into() }
    }

    /// The part of the problem that any caller may know.
    pub fn public_problem(&self) -> &'static str {
        if self.problem == MISSING { MISSING } else { "wrong (the log says more)" }
    }
}

const MISSING: &str = "missing";

pub struct Settings<'h, H> {
    host: &'h H,
    texts: [OnceCell<Option<Zeroizing<String>>>; Setting::ALL.len()],
    public_url: OnceCell<PublicUrl>,
}

impl<'h, H: Host> Settings<'h, H> {
    pub fn new(host: &'h H) -> Self {
        Self { host, texts: [const { OnceCell::new() }; _], public_url: OnceCell::new() }
    }

    /// The value as the operator has set it, which may be blank. `None` if it is not set.
    pub fn raw(&self, setting: Setting) -> Option<&str> {
        let text = self.texts.get(setting as usize)?;
        text.get_or_init(|| self.host.setting(setting.name()).map(Zeroizing::new)).as_ref().map(|text| text.as_str())
    }

    /// The value. `None` if it is not set, or blank.
    pub fn text(&self, setting: Setting) -> Option<&str> {
        self.raw(setting).filter(|value| !value.trim().is_empty())
    }

    pub fn required(&self, setting: Setting) -> Result<&str, SettingError> {
        self.text(setting).ok_or_else(|| SettingError::new(setting, MISSING))
    }

    /// The entries of a comma-separated list, without blank ones, each with its position from 1.
    pub fn entries(&self, setting: Setting) -> impl Iterator<Item = (usize, &str)> {
        entries(self.text(setting).unwrap_or_default())
    }

    pub fn public_url(&self) -> Result<&PublicUrl, SettingError> {
        once(&self.public_url, || PublicUrl::parse(Setting::PublicUrl, self.required(Setting::PublicUrl)?))
    }

    pub fn gateway_url(&self) -> Result<PublicUrl, SettingError> {
        match self.text(Setting::GatewayUrl) {
            Some(url) => PublicUrl::parse(Setting::GatewayUrl, url),
            None => Ok(self.public_url()?.clone()),
        }
    }

    /// Returns true in local mode: the person at this machine is the owner and needs no login.
    ///
    /// Errors: `local_owner` is true although others can reach one of our URLs. A loopback URL alone decides nothing: behind
    /// a proxy with a forgotten `public_url`, every stranger would be the owner.
    pub fn is_local_mode(&self) -> Result<bool, SettingError> {
        let problem = match self.text(Setting::LocalOwner).map(str::trim) {
            None | Some("false") => return Ok(false),
            Some("true") if self.public_url()?.is_loopback() && self.gateway_url()?.is_loopback() => return Ok(true),
            Some("true") => {
                "`public_url` and `gateway_url` have to be loopback addresses if it is true: set it to false, and people sign in"
            }
            Some(_) => "neither true nor false",
        };
        Err(SettingError::new(Setting::LocalOwner, problem))
    }
}

/// The entries of a comma-separated list, without blank ones, each with its position from 1.
pub fn entries(list: &str) -> impl Iterator<Item = (usize, &str)> {
    let entries = list.split(',').map(str::trim).enumerate();
    entries.filter(|(_, entry)| !entry.is_empty()).map(|(position, entry)| (position + 1, entry))
}

/// The value in `cell`, which is parsed if it is not there yet.
pub(crate) fn once<T>(cell: &OnceCell<T>, parse: impl FnOnce() -> Result<T, SettingError>) -> Result<&T, SettingError> {
    match cell.get() {
        Some(value) => Ok(value),
        None => {
            let value = parse()?;
            Ok(cell.get_or_init(|| value))
        }
    }
}

/// Describes a mistake in the JSON of a setting without the value, which may be a secret and which serde quotes. What is
/// left: the field's name, unless that could be a secret too, and the permitted values.
pub(crate) fn json_problem(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let variant = message.strip_prefix("unknown variant `").and_then(|rest| rest.rsplit_once("`, expected "));
    if let Some((_, expected)) = variant {
        return format!("unknown variant, expected {expected}");
    }
    let is_name = |name: &str| name.len() <= 32 && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_');
    let about = ["unknown field `", "missing field `", "duplicate field `", "the member \""];
    let name = about.iter().find_map(|about| message.strip_prefix(about)?.split_once(['`', '"']));
    if name.is_some_and(|(name, rest)| is_name(name) && (rest.starts_with(", ") || rest.starts_with(' '))) {
        return message;
    }
    format!("not JSON of the expected form at line {} column {}", error.line(), error.column())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A setting that a manifest does not pass on could not be set there.
    #[test]
    fn every_manifest_passes_every_setting_to_the_broker() {
        for manifest in [
            include_str!("../../../../spin.toml"),
            include_str!("../../../../deploy/broker.toml"),
            include_str!("../../../../deploy/consolidated.toml"),
        ] {
            let (_, variables) = manifest.split_once("[component.oauth-broker.variables]").unwrap();
            let variables = variables.split("\n[").next().unwrap();
            for setting in Setting::ALL {
                let is_passed = variables.lines().any(|line| line.starts_with(&format!("{setting} = ")));
                assert!(is_passed, "{setting} in {variables}");
            }
        }
    }

    #[test]
    fn each_setting_is_read_once_and_a_blank_one_counts_as_not_set() {
        let world = crate::tests::World::local();
        let settings = Settings::new(&world);
        assert_eq!(settings.text(Setting::Audit), Some("log"));
        world.set("audit", "each");
        assert_eq!(settings.text(Setting::Audit), Some("log"));
        world.set("gateway_keys", " ");
        assert_eq!((settings.raw(Setting::GatewayKeys), settings.text(Setting::GatewayKeys)), (Some(" "), None));
    }

    #[test]
    fn the_entries_of_a_list_are_counted_with_the_blank_ones() {
        let list: Vec<_> = entries(" a,, b,").collect();
        assert_eq!(list, [(1, "a"), (3, "b")]);
    }
}
