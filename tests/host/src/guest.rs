//! One instance of a component, and what it can reach.
//!
//! WASI 0.2, `fermyon:spin/key-value@2.0.0` and `fermyon:spin/variables@2.0.0`. An import of anything else has nothing
//! to link to, and the app does not load. Sockets link, as in Spin, but every address is denied.

use crate::app::App;
use crate::clock::WrongClock;
use crate::component::Component;
use crate::key_value::Store;
use crate::outbound::Outbound;
use crate::variables::check_name;
use anyhow::Result;
use std::sync::Arc;
use wasmtime::component::{HasSelf, Linker, Resource, ResourceTable};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::p2::bindings::LinkOptions;
use wasmtime_wasi_http::p2::bindings::http::outgoing_handler::Host as _;
use wasmtime_wasi_http::p2::bindings::http::types;
use wasmtime_wasi_http::p2::types::{HostFutureIncomingResponse, HostOutgoingRequest};
use wasmtime_wasi_http::p2::{HttpError, HttpResult};
use wasmtime_wasi_http::{RequestOptions, WasiHttp, WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use bindings::fermyon::spin::{key_value, variables};

mod bindings {
    wasmtime::component::bindgen!({
        path: "wit",
        world: "platform",
        imports: { default: async | trappable },
        with: { "fermyon:spin/key-value.store": crate::key_value::Store },
    });
}

pub struct Guest {
    component: Arc<Component>,
    table: ResourceTable,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    outbound: Outbound,
}

impl Guest {
    pub fn new(app: &App, component: &Arc<Component>) -> Result<Self> {
        let mut wasi = WasiCtx::builder();
        wasi.envs(&component.environment);
        let [stdout, stderr] = component.output.clone();
        wasi.stdout(stdout).stderr(stderr);
        if let Some(file) = app.clock_offset() {
            wasi.wall_clock(WrongClock(file.to_owned()));
        }
        if let Some(files) = &component.files {
            wasi.preopened_dir(files, "/", FsPerms::ReadOnly)?;
        }
        Ok(Self {
            component: component.clone(),
            table: ResourceTable::new(),
            wasi: wasi.build(),
            http: WasiHttpCtx::new(),
            outbound: Outbound::new(app, component),
        })
    }

    pub fn linker(engine: &wasmtime::Engine) -> Result<Linker<Self>> {
        let mut linker = Linker::new(engine);
        wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
        types::add_to_linker::<_, WasiHttp>(&mut linker, &LinkOptions::default().into(), Self::http)?;
        // By hand, to have a look at the request first. 0.2.12 is what wasmtime's own bindings are of.
        linker.instance("wasi:http/outgoing-handler@0.2.12")?.func_wrap(
            "handle",
            |mut store, (request, options): (Resource<HostOutgoingRequest>, Option<Resource<RequestOptions>>)| {
                match Guest::handle(store.data_mut(), request, options) {
                    Ok(response) => Ok((Ok(response),)),
                    // What is no error code traps.
                    Err(error) => Ok((Err(error.downcast()?),)),
                }
            },
        )?;
        bindings::Platform::add_to_linker::<_, HasSelf<Self>>(&mut linker, |guest| guest)?;
        Ok(linker)
    }

    fn handle(
        &mut self,
        request: Resource<HostOutgoingRequest>,
        options: Option<Resource<RequestOptions>>,
    ) -> HttpResult<Resource<HostFutureIncomingResponse>> {
        let outgoing = self.table.get_mut(&request)?;
        // A relative request goes to the app itself, as one to this name does.
        let authority = outgoing.authority.get_or_insert_with(|| "self.alt".to_owned());
        let scheme = if matches!(outgoing.scheme, Some(types::Scheme::Http)) { "http" } else { "https" };
        // Chaining to a component that is not there traps; every later failure is an error that the caller can handle.
        self.outbound.check_chaining(scheme, authority).map_err(HttpError::trap)?;
        self.http().handle(request, options)
    }
}

impl WasiView for Guest {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Guest {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { ctx: &mut self.http, table: &mut self.table, hooks: &mut self.outbound }
    }
}

impl key_value::Host for Guest {}

impl key_value::HostStore for Guest {
    async fn open(&mut self, label: String) -> wasmtime::Result<Result<Resource<Store>, key_value::Error>> {
        let Some(store) = self.component.stores.get(&label) else {
            return Ok(Err(key_value::Error::AccessDenied));
        };
        if let Err(error) = store.opened().await {
            return Ok(Err(key_value::Error::Other(error)));
        }
        Ok(Ok(self.table.push(store.clone())?))
    }

    async fn get(&mut self, store: Resource<Store>, key: String) -> KeyValueResult<Option<Vec<u8>>> {
        Ok(self.table.get(&store)?.get(&key).await.map_err(key_value::Error::Other))
    }

    async fn set(&mut self, store: Resource<Store>, key: String, value: Vec<u8>) -> KeyValueResult<()> {
        Ok(self.table.get(&store)?.set(&key, &value).await.map_err(key_value::Error::Other))
    }

    async fn delete(&mut self, store: Resource<Store>, key: String) -> KeyValueResult<()> {
        Ok(self.table.get(&store)?.delete(&key).await.map_err(key_value::Error::Other))
    }

    async fn exists(&mut self, store: Resource<Store>, key: String) -> KeyValueResult<bool> {
        Ok(self.table.get(&store)?.exists(&key).await.map_err(key_value::Error::Other))
    }

    async fn get_keys(&mut self, store: Resource<Store>) -> KeyValueResult<Vec<String>> {
        Ok(self.table.get(&store)?.keys().await.map_err(key_value::Error::Other))
    }

    async fn drop(&mut self, store: Resource<Store>) -> wasmtime::Result<()> {
        self.table.delete(store)?;
        Ok(())
    }
}

/// The outer error traps, the inner one is the component's to handle.
type KeyValueResult<T> = wasmtime::Result<Result<T, key_value::Error>>;

impl variables::Host for Guest {
    async fn get(&mut self, name: String) -> wasmtime::Result<Result<String, variables::Error>> {
        if let Err(error) = check_name(&name) {
            return Ok(Err(variables::Error::InvalidName(error.to_string())));
        }
        let Component { id, variables, .. } = &*self.component;
        let undefined = || variables::Error::Undefined(format!("no variable for {id:?}.{name:?}"));
        Ok(variables.get(id, &name).ok_or_else(undefined))
    }
}
