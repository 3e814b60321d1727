//! Makes an app that can be served from a manifest.
//!
//! Everything that Spin would refuse is refused here, before a port is opened.

use crate::component::{Component, Loading};
use crate::engine::ENGINE;
use crate::guest::Guest;
use crate::key_value::Stores;
use crate::logs::{Capture, HostLog};
use crate::manifest::Manifest;
use crate::outbound::Clients;
use crate::routes::Router;
use crate::runtime_config::{OutboundNetworking, RuntimeConfig};
use crate::variables::{Provider, Variables};
use anyhow::{Context, Result};
use std::collections::{BTreeMap, HashMap};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

/// What is decided outside of the manifest. The defaults are those of `spin up`.
#[derive(Clone, Default)]
pub struct Options {
    /// `--variable`: these come before every other source.
    pub variables: Vec<(String, String)>,
    /// `--runtime-config-file`.
    pub runtime_config: Option<PathBuf>,
    /// `--state-dir`: the default is `.spin` beside the manifest.
    pub state_dir: Folder,
    /// `--log-dir`: the default is `logs` in the state folder.
    pub log_dir: Folder,
    /// `--env`: environment variables of every component.
    pub environment: Vec<(String, String)>,
    /// `--clock-offset`: a file with the seconds by which the components' wall clock is wrong.
    pub clock_offset: Option<PathBuf>,
    /// `--key-value`: set in the default store before the first request.
    pub key_values: Vec<(String, String)>,
    /// `--quiet`: nothing goes to the console.
    pub quiet: bool,
    /// Takes a copy of all output, of the components and of the host.
    pub capture: Option<Capture>,
}

/// A folder that the host writes to.
#[derive(Clone, Default)]
pub enum Folder {
    #[default]
    Default,
    At(PathBuf),
    /// No folder at all: stores are in memory, logs are not kept.
    None,
}

/// A loaded app. Clones share it.
#[derive(Clone)]
pub struct App(Arc<Inner>);

struct Inner {
    name: String,
    components: HashMap<String, Arc<Component>>,
    router: Router,
    stores: Stores,
    key_values: Vec<(String, String)>,
    clock_offset: Option<PathBuf>,
    clients: Clients,
    networking: Arc<OutboundNetworking>,
    address: OnceLock<SocketAddr>,
    log: HostLog,
    /// The copies of the components' files, which end with the app.
    _files: tempfile::TempDir,
}

impl App {
    /// Reads, composes and compiles the app of a manifest. Takes seconds when a component is new to the cache.
    pub fn load(manifest_path: &Path, options: Options) -> Result<Self> {
        let manifest_path = std::path::absolute(manifest_path)?;
        let manifest = Manifest::from_file(&manifest_path)?;
        let app_dir = manifest_path.parent().context("a manifest is in a folder")?;
        let runtime_config = runtime_config(&options)?;
        let state_dir = folder(&options.state_dir, &runtime_config.state_dir, || Some(app_dir.join(".spin")))?;
        let log_dir =
            folder(&options.log_dir, &runtime_config.log_dir, || state_dir.as_ref().map(|dir| dir.join("logs")))?;
        if let Some(dir) = &log_dir {
            std::fs::create_dir_all(dir).with_context(|| format!("cannot create the log folder {dir:?}"))?;
        }

        let providers = providers(&options, &runtime_config)?;
        let stores = Stores::open(&runtime_config.stores(state_dir.as_deref()))?;
        let log = HostLog { quiet: options.quiet, capture: options.capture };
        let files = tempfile::tempdir()?;
        let loading = Loading {
            manifest: &manifest,
            app_dir,
            variables: Arc::new(Variables::resolve(&manifest, &providers)?),
            stores: &stores,
            environment: &options.environment,
            files_dir: files.path(),
            log_dir: log_dir.as_deref(),
            log: &log,
            linker: &Guest::linker(&ENGINE)?,
            runtime_config: &runtime_config,
        };
        let components = load_components(&loading)?;
        Ok(Self(Arc::new(Inner {
            components,
            router: Router::new(manifest.triggers())?,
            name: manifest.application.name,
            stores,
            key_values: options.key_values,
            clock_offset: options.clock_offset,
            clients: Clients::new(runtime_config.outbound_http.connection_pooling),
            networking: Arc::new(runtime_config.outbound_networking),
            address: OnceLock::new(),
            log,
            _files: files,
        })))
    }

    /// The variables that a manifest declares, each with the value that the command line, the runtime config, the
    /// environment or `.env` gives it. `None`: the manifest's default is left, if it has one.
    pub fn variables(manifest_path: &Path, options: &Options) -> Result<BTreeMap<String, Option<String>>> {
        let manifest = Manifest::from_file(&std::path::absolute(manifest_path)?)?;
        let providers = providers(options, &runtime_config(options)?)?;
        let given = |name: &str| providers.iter().find_map(|provider| provider.get(name).transpose()).transpose();
        manifest.variables.keys().map(|name| Ok((name.0.clone(), given(&name.0)?))).collect()
    }

    pub fn name(&self) -> &str {
        &self.0.name
    }

    /// The ids of the components.
    pub fn components(&self) -> impl Iterator<Item = &str> {
        self.0.components.keys().map(String::as_str)
    }

    /// How long each of `count` instantiations of a component takes, one after the other and without a request.
    pub async fn time_instantiations(&self, component: &str, count: usize) -> Result<Vec<Duration>> {
        let component = self.component(component)?;
        let mut durations = Vec::with_capacity(count);
        for _ in 0..count {
            durations.push(component.time_instantiation(self).await?);
        }
        Ok(durations)
    }

    pub(crate) fn component(&self, id: &str) -> Result<&Arc<Component>> {
        self.0.components.get(id).with_context(|| format!("the app has no component {id:?}"))
    }

    pub(crate) fn router(&self) -> &Router {
        &self.0.router
    }

    pub(crate) fn clients(&self) -> &Clients {
        &self.0.clients
    }

    pub(crate) fn networking(&self) -> &Arc<OutboundNetworking> {
        &self.0.networking
    }

    pub(crate) fn clock_offset(&self) -> Option<&Path> {
        self.0.clock_offset.as_deref()
    }

    pub(crate) fn log(&self) -> &HostLog {
        &self.0.log
    }

    /// Where the app is served: what a request to itself goes to.
    pub(crate) fn address(&self) -> Option<SocketAddr> {
        self.0.address.get().copied()
    }

    pub(crate) async fn prepare(&self, address: SocketAddr) -> Result<()> {
        self.0.address.set(address).ok().context("an app is served once")?;
        let store = self.0.stores.get("default").context("there is always a default store")?;
        for (key, value) in &self.0.key_values {
            let set = store.set(key, value.as_bytes()).await;
            set.map_err(anyhow::Error::msg).with_context(|| format!("cannot set the key {key:?}"))?;
        }
        Ok(())
    }
}

fn runtime_config(options: &Options) -> Result<RuntimeConfig> {
    match &options.runtime_config {
        Some(path) => RuntimeConfig::from_file(&std::path::absolute(path)?),
        None => Ok(RuntimeConfig::default()),
    }
}

/// Where values of variables come from, in their order.
fn providers(options: &Options, runtime_config: &RuntimeConfig) -> Result<Vec<Provider>> {
    let mut providers = vec![Provider::Static(options.variables.iter().cloned().collect())];
    providers.extend(runtime_config.providers()?);
    Ok(providers)
}

/// All at once, each on a thread: compiling is what takes the time.
fn load_components(loading: &Loading<'_>) -> Result<HashMap<String, Arc<Component>>> {
    std::thread::scope(|scope| {
        let threads: Vec<_> =
            loading.manifest.components.keys().map(|id| (id, scope.spawn(move || loading.component(id)))).collect();
        threads
            .into_iter()
            .map(|(id, thread)| {
                let component = thread.join().map_err(|_| anyhow::anyhow!("loading panicked")).flatten();
                let component = component.with_context(|| format!("cannot load component {:?}", id.0))?;
                Ok((component.id.clone(), Arc::new(component)))
            })
            .collect()
    })
}

/// The command line comes before the runtime config, where an empty path means none.
fn folder(
    option: &Folder,
    configured: &Option<String>,
    default: impl FnOnce() -> Option<PathBuf>,
) -> Result<Option<PathBuf>> {
    Ok(match (option, configured.as_deref()) {
        (Folder::At(path), _) => Some(std::path::absolute(path)?),
        (Folder::None, _) | (Folder::Default, Some("")) => None,
        (Folder::Default, Some(path)) => Some(std::path::absolute(path)?),
        (Folder::Default, None) => default(),
    })
}
