//! A loaded component: its code, and the rights that its part of the manifest gives it.

use crate::allowed_hosts::AllowedHosts;
use crate::app::App;
use crate::compose::compose;
use crate::engine::ENGINE;
use crate::guest::Guest;
use crate::key_value::{Store, Stores};
use crate::logs::{GuestOutput, HostLog};
use crate::manifest::{KebabId, Manifest};
use crate::outbound::TlsConfigs;
use crate::runtime_config::RuntimeConfig;
use crate::variables::Variables;
use anyhow::{Context, Result, anyhow};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};
use wasmtime::Store as WasmStore;
use wasmtime::component::{Component as Compiled, InstancePre, Linker};
use wasmtime_wasi_http::p2::bindings::{Proxy, ProxyPre};

pub struct Component {
    pub id: String,
    pub environment: Vec<(String, String)>,
    pub files: Option<PathBuf>,
    pub stores: HashMap<String, Store>,
    pub variables: Arc<Variables>,
    pub allowed: AllowedHosts,
    pub tls: TlsConfigs,
    pub output: [GuestOutput; 2],
    code: InstancePre<Guest>,
    /// The same code, if it answers HTTP.
    handler: Option<ProxyPre<Guest>>,
}

/// What all components of an app are loaded with.
pub struct Loading<'a> {
    pub manifest: &'a Manifest,
    pub app_dir: &'a Path,
    pub runtime_config: &'a RuntimeConfig,
    pub variables: Arc<Variables>,
    pub stores: &'a Stores,
    pub environment: &'a [(String, String)],
    pub files_dir: &'a Path,
    pub log_dir: Option<&'a Path>,
    pub log: &'a HostLog,
    pub linker: &'a Linker<Guest>,
}

impl Loading<'_> {
    pub fn component(&self, id: &KebabId) -> Result<Component> {
        let manifest = &self.manifest.components[id];
        let KebabId(id) = id;

        let mut stores = HashMap::new();
        for label in &manifest.key_value_stores {
            let store = self.stores.get(label).with_context(|| format!("unknown key_value_stores label {label:?}"))?;
            stores.insert(label.clone(), store.clone());
        }
        let files = (!manifest.files.is_empty()).then(|| self.files_dir.join(id));
        if let Some(files) = &files {
            crate::files::copy(self.app_dir, &manifest.files, &manifest.exclude_files, files)?;
        }
        let mut environment: Vec<_> = manifest.environment.clone().into_iter().collect();
        environment.extend_from_slice(self.environment);

        let source = self.app_dir.join(manifest.source()?);
        let wasm = compose(&source, self.app_dir, &manifest.dependencies(self.manifest)?)?;
        let compiled = self.compile(id, &wasm)?;
        let code = self.linker.instantiate_pre(&compiled).map_err(|error| {
            anyhow!(error).context("it imports what this host does not offer, or what no dependency satisfies")
        })?;
        let handler = ProxyPre::new(code.clone()).ok();
        let has_trigger =
            self.manifest.triggers().iter().any(|trigger| trigger.component.as_ref().is_some_and(|c| c.0 == *id));
        if has_trigger && handler.is_none() {
            return Err(anyhow!("it has an HTTP trigger but does not export wasi:http/incoming-handler@0.2"));
        }
        Ok(Component {
            id: id.clone(),
            environment,
            files,
            stores,
            variables: self.variables.clone(),
            allowed: AllowedHosts::resolve(&manifest.allowed_outbound_hosts, &self.variables, self.manifest)?,
            tls: TlsConfigs::new(&self.runtime_config.client_tls, id)?,
            output: self.log.component(id, self.log_dir)?,
            code,
            handler,
        })
    }

    /// From the cache in milliseconds; else in seconds, with a line before and after.
    fn compile(&self, id: &str, wasm: &[u8]) -> Result<Compiled> {
        let start = Instant::now();
        let (done, finished) = std::sync::mpsc::channel::<()>();
        let compiled = std::thread::scope(|scope| {
            scope.spawn(move || {
                if finished.recv_timeout(WORTH_A_LINE) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
                    self.log.line(format_args!("compiling {id} …"));
                }
            });
            let compiled = Compiled::new(&ENGINE, wasm);
            drop(done);
            compiled
        });
        if start.elapsed() >= WORTH_A_LINE {
            self.log.line(format_args!("compiled {id} in {:.1} s", start.elapsed().as_secs_f32()));
        }
        compiled.map_err(|error| anyhow!(error).context("it is not a component that can be compiled"))
    }
}

impl Component {
    /// A fresh instance that answers HTTP, with a memory of its own.
    pub async fn instantiate(self: &Arc<Self>, app: &App) -> Result<(WasmStore<Guest>, Proxy)> {
        let mut store = self.store(app)?;
        let handler = self.handler.as_ref().with_context(|| format!("{:?} does not answer HTTP", self.id))?;
        let proxy = handler.instantiate_async(&mut store).await?;
        Ok((store, proxy))
    }

    /// How long one instantiation takes, without a request.
    pub async fn time_instantiation(self: &Arc<Self>, app: &App) -> Result<Duration> {
        let start = Instant::now();
        let mut store = self.store(app)?;
        self.code.instantiate_async(&mut store).await?;
        Ok(start.elapsed())
    }

    fn store(self: &Arc<Self>, app: &App) -> Result<WasmStore<Guest>> {
        let mut store = WasmStore::new(&ENGINE, Guest::new(app, self)?);
        // Nobody advances the epoch; without a deadline in the future the first check would trap.
        store.set_epoch_deadline(u64::MAX / 2);
        Ok(store)
    }
}

const WORTH_A_LINE: Duration = Duration::from_millis(300);
