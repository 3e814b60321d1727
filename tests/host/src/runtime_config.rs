//! What the operator decides outside of the manifest: the backends of stores, the sources of variables, blocked
//! networks, roots of trust.
//!
//! The runtime config of Spin, as far as this host goes. Keys that Spin knows and this host does not are refused like
//! keys that nobody knows.

use crate::variables::Provider;
use anyhow::{Context, Result, bail, ensure};
use ip_network::IpNetwork;
use serde::{Deserialize, Deserializer};
use std::collections::{BTreeMap, HashMap};
use std::net::IpAddr;
use std::path::{Path, PathBuf};

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RuntimeConfig {
    #[serde(default, rename = "key_value_store")]
    stores: BTreeMap<String, Store>,
    #[serde(default, rename = "variables_provider", alias = "config_provider")]
    providers: Vec<VariablesProvider>,
    #[serde(default)]
    pub outbound_networking: OutboundNetworking,
    #[serde(default)]
    pub outbound_http: OutboundHttp,
    #[serde(default)]
    pub client_tls: Vec<ClientTls>,
    pub state_dir: Option<String>,
    pub log_dir: Option<String>,
}

impl RuntimeConfig {
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the runtime config {path:?}"))?;
        let mut config: Self = toml::from_str(&text).with_context(|| format!("in the runtime config {path:?}"))?;
        let dir = path.parent().unwrap_or(Path::new(""));
        for (label, store) in &mut config.stores {
            store.check().with_context(|| format!("could not configure key-value store with label {label:?}"))?;
            if let Store::Spin { path: Some(path) } = store {
                *path = dir.join(&path);
            }
        }
        for tls in &mut config.client_tls {
            tls.check()?;
            if let Some(path) = &mut tls.ca_roots_file {
                *path = dir.join(&path);
            }
        }
        Ok(config)
    }

    /// The store of each label. `default` is always there: a file in the state folder, or memory if there is none.
    pub fn stores(&self, state_dir: Option<&Path>) -> BTreeMap<String, Store> {
        let mut stores = self.stores.clone();
        stores
            .entry("default".to_owned())
            .or_insert_with(|| Store::Spin { path: state_dir.map(|dir| dir.join("sqlite_key_value.db")) });
        stores
    }

    /// The providers in Spin's order, behind those of the command line.
    pub fn providers(&self) -> Result<Vec<Provider>> {
        let mut providers = Vec::new();
        for provider in &self.providers {
            providers.push(match provider {
                VariablesProvider::Static { values } => Provider::Static(values.clone()),
                VariablesProvider::Env { prefix, dotenv_path } => {
                    Provider::environment(prefix.clone(), dotenv_path.as_deref())?
                }
            });
        }
        providers.push(Provider::environment(None, Some(Path::new(".env")))?);
        Ok(providers)
    }
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Store {
    Spin {
        path: Option<PathBuf>,
    },
    Redis {
        url: String,
    },
    AzureCosmos {
        #[serde(flatten)]
        _settings: toml::Table,
    },
    AwsDynamo {
        #[serde(flatten)]
        _settings: toml::Table,
    },
}

impl Store {
    fn check(&self) -> Result<()> {
        match self {
            Self::Spin { .. } | Self::Redis { .. } => Ok(()),
            Self::AzureCosmos { .. } | Self::AwsDynamo { .. } => bail!("this host offers only spin and redis"),
        }
    }
}

#[derive(Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum VariablesProvider {
    Static { values: HashMap<String, String> },
    Env { prefix: Option<String>, dotenv_path: Option<PathBuf> },
}

#[derive(Default, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboundNetworking {
    #[serde(default)]
    block_networks: Vec<BlockedNetwork>,
}

impl OutboundNetworking {
    /// Whether connecting to the address is prohibited. An IPv4 address inside IPv6 counts as both.
    pub fn blocks(&self, address: IpAddr) -> bool {
        let blocked = self.block_networks.iter().any(|network| match network {
            BlockedNetwork::Private => !IpNetwork::from(address).is_global(),
            BlockedNetwork::Network(network) => network.contains(address),
        });
        let inner = match address {
            IpAddr::V6(address) => address.to_ipv4(),
            IpAddr::V4(_) => None,
        };
        blocked || inner.is_some_and(|inner| self.blocks(inner.into()))
    }
}

#[derive(Clone)]
enum BlockedNetwork {
    /// Every network that is not globally routable.
    Private,
    Network(IpNetwork),
}

impl<'de> Deserialize<'de> for BlockedNetwork {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text == "private" {
            return Ok(Self::Private);
        }
        IpNetwork::from_str_truncate(&text)
            .map(Self::Network)
            .map_err(|_| serde::de::Error::custom(format!("{text:?} is neither a network nor \"private\"")))
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboundHttp {
    /// Once the table is there, leaving the key out turns pooling off: so does Spin, whatever its docs say.
    #[serde(default)]
    pub connection_pooling: bool,
}

impl Default for OutboundHttp {
    fn default() -> Self {
        Self { connection_pooling: true }
    }
}

/// Roots of trust for some hosts of some components. Client certificates are not offered here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ClientTls {
    pub component_ids: Vec<String>,
    pub hosts: Vec<String>,
    pub ca_use_platform_roots: Option<bool>,
    pub ca_use_webpki_roots: Option<bool>,
    pub ca_roots_file: Option<PathBuf>,
}

impl ClientTls {
    fn check(&self) -> Result<()> {
        ensure!(!self.component_ids.is_empty(), "client_tls: 'component_ids' list may not be empty");
        ensure!(!self.hosts.is_empty(), "client_tls: 'hosts' list may not be empty");
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(text: &str) -> Result<RuntimeConfig> {
        let dir = tempfile::tempdir()?;
        let path = dir.path().join("runtime-config.toml");
        std::fs::write(&path, text)?;
        RuntimeConfig::from_file(&path)
    }

    #[test]
    fn the_default_store_is_a_file_in_the_state_folder() {
        let stores = RuntimeConfig::default().stores(Some(Path::new("/state")));
        assert_eq!(stores["default"], Store::Spin { path: Some("/state/sqlite_key_value.db".into()) });
        assert_eq!(RuntimeConfig::default().stores(None)["default"], Store::Spin { path: None });
    }

    #[test]
    fn a_path_is_relative_to_the_runtime_config() {
        let config = config("[key_value_store.broker]\ntype = \"spin\"\npath = \"kv.db\"").unwrap();
        let stores = config.stores(None);
        let Store::Spin { path: Some(path) } = &stores["broker"] else { panic!("must have a path") };
        assert!(path.is_absolute() && path.ends_with("kv.db"));
        assert!(stores.contains_key("default"));
    }

    #[test]
    fn backends_that_this_host_lacks_are_refused() {
        for store in
            ["type = \"azure_cosmos\"\naccount = \"a\"", "type = \"aws_dynamo\"\nregion = \"r\"\ntable = \"t\""]
        {
            let error = config(&format!("[key_value_store.default]\n{store}")).err().unwrap();
            assert!(format!("{error:#}").contains("only spin and redis"));
        }
        assert!(config("[key_value_store.default]\ntype = \"other\"").is_err());
    }

    #[test]
    fn unknown_keys_are_refused() {
        for text in ["colour = 1", "[sqlite_database.default]\ntype = \"spin\"", "[outbound_networking]\nx = 1"] {
            assert!(config(text).is_err(), "{text}");
        }
    }

    #[test]
    fn pooling_is_on_unless_the_table_leaves_it_out() {
        assert!(config("").unwrap().outbound_http.connection_pooling);
        assert!(!config("[outbound_http]").unwrap().outbound_http.connection_pooling);
    }

    #[test]
    fn private_means_every_address_that_is_not_global() {
        let networking = config("[outbound_networking]\nblock_networks = [\"private\", \"198.51.100.0/24\"]")
            .unwrap()
            .outbound_networking;
        for blocked in ["127.0.0.1", "10.1.1.1", "169.254.169.254", "::1", "::ffff:10.1.1.1", "198.51.100.7", "fc00::1"]
        {
            assert!(networking.blocks(blocked.parse().unwrap()), "{blocked}");
        }
        for open in ["1.1.1.1", "2600::beef"] {
            assert!(!networking.blocks(open.parse().unwrap()), "{open}");
        }
    }
}
