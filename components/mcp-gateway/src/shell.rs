//! Implements [`Host`] on Spin.

use std::cell::OnceCell;
use std::time::Duration;

use http::{Request, Response};
use http_auth::Hops;
use shell::{Body, ResponseWriter, SendError as WasiSendError, Timeouts};
use spin_sdk::key_value::Store;
use wasi::exports::http::incoming_handler::Guest;
use wasi::filesystem::preopens;
use wasi::filesystem::types::{DescriptorFlags, OpenFlags, PathFlags};
use wasi::http::types::{IncomingRequest, ResponseOutparam};

use crate::host::{
    AccessToken, Caller, Gone, Host, Origins, Outcome, Outlet, Resolution, ResolveError, ResolveRequest, Secret,
    SendError, Source,
};
use crate::memory::Met;
use crate::routes;

wit_bindgen::generate!({ path: "../../wit", world: "mcp-gateway" });

use gatehouse::broker::tokens;

const CONNECT: Duration = Duration::from_secs(5);
/// A server that has asked a person something is silent for as long as that takes.
const BETWEEN_BYTES: Duration = Duration::from_secs(11 * 60);
/// `servers.json` is read with one call up to here, which is some 80 servers. The host allots and clears as much for every
/// call.
const FILE_CHUNK: u64 = 16 * 1024;
const FILE_LIMIT: usize = 1024 * 1024;

struct Gateway;
wasi::http::proxy::export!(Gateway);

impl Guest for Gateway {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        shell::run(async {
            match shell::read_head(request) {
                Ok(request) => {
                    routes::serve(&Spin::default(), request, Client { out: Some(out), writer: None }).await;
                }
                Err(error) => shell::respond(out, routes::unread(error)).await,
            }
        });
    }
}

/// The client, as WASI HTTP shows it: first an answer that is owed, then perhaps a body that is being written.
struct Client {
    out: Option<ResponseOutparam>,
    writer: Option<ResponseWriter>,
}

impl Outlet<Body> for Client {
    async fn respond(&mut self, response: Response<Vec<u8>>) {
        if let Some(out) = self.out.take() {
            shell::respond(out, response).await;
        }
    }

    async fn start(&mut self, head: Response<()>, first: &[u8]) -> Result<(), Gone> {
        let out = self.out.take().ok_or(Gone)?;
        self.writer = Some(shell::start(out, head, first).await.map_err(|_| Gone)?);
        Ok(())
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.writer.as_mut().ok_or(Gone)?.write(bytes).await.map_err(|_| Gone)
    }

    async fn pipe(&mut self, source: &mut Body) -> Result<bool, Gone> {
        self.writer.as_mut().ok_or(Gone)?.pipe(source).await.map_err(|_| Gone)
    }

    fn finish(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.finish();
        }
    }

    fn is_gone(&self) -> bool {
        self.writer.as_ref().is_some_and(ResponseWriter::is_closed)
    }
}

/// The store is opened once, when it is first needed: the gateway's own where the manifest grants one, else the one that
/// every host has.
#[derive(Default)]
struct Spin {
    store: OnceCell<Option<Store>>,
}

impl Spin {
    fn store(&self) -> Option<&Store> {
        let open = || Store::open("gateway").or_else(|_| Store::open("default")).ok();
        self.store.get_or_init(open).as_ref()
    }
}

impl Host for Spin {
    type Body = Body;
    type Outlet = Client;

    /// Four host calls: the preopened folders, the file, its text, and no more.
    fn servers(&self) -> Result<Vec<u8>, String> {
        let (root, _) = preopens::get_directories().into_iter().next().ok_or("no file is granted to this component")?;
        let file = root
            .open_at(PathFlags::empty(), "servers.json", OpenFlags::empty(), DescriptorFlags::READ)
            .map_err(|error| format!("cannot be opened ({error})"))?;
        let mut text = Vec::new();
        while text.len() <= FILE_LIMIT {
            let (bytes, ended) =
                file.read(FILE_CHUNK, text.len() as u64).map_err(|error| format!("cannot be read ({error})"))?;
            text.extend_from_slice(&bytes);
            if ended || bytes.is_empty() || (bytes.len() as u64) < FILE_CHUNK {
                return Ok(text);
            }
        }
        Err("longer than 1 MiB".into())
    }

    fn public_urls(&self) -> Result<Origins, ResolveError> {
        let origins = tokens::public_urls().map_err(resolve_error)?;
        Ok(Origins { gateway: origins.gateway, broker: origins.broker })
    }

    fn resolve(&self, request: &ResolveRequest) -> Result<Resolution, ResolveError> {
        let request = tokens::ResolveRequest {
            bearer: request.bearer.as_ref().map(|bearer| bearer.reveal().to_owned()),
            resource: request.resource.clone(),
            services: request
                .services
                .iter()
                .map(|wanted| tokens::WantedService {
                    service: wanted.service.clone(),
                    account: wanted.account.clone(),
                    refused: wanted.refused.clone(),
                    scopes: wanted.scopes.clone(),
                })
                .collect(),
        };
        let resolution = tokens::resolve(&request).map_err(resolve_error)?;
        Ok(Resolution {
            caller: Caller {
                subject: resolution.caller.subject,
                expires_at: resolution.caller.expires_at,
                sealing_key: resolution.caller.sealing_key,
                hops: Hops::default(),
                met: Met::default(),
            },
            outcomes: resolution.outcomes.into_iter().map(outcome).collect(),
        })
    }

    fn load(&self, key: &str) -> Option<Vec<u8>> {
        self.store()?.get(key).ok()?
    }

    fn save(&self, key: &str, value: &[u8]) {
        // What a backend says about itself may name its address, with a password in it.
        if self.store().is_none_or(|store| store.set(key, value).is_err()) {
            self.log("gateway: the store keeps nothing");
        }
    }

    fn forget(&self, key: &str) {
        // What could not be taken away is not believed for long.
        if let Some(store) = self.store() {
            let _ = store.delete(key);
        }
    }

    async fn send(&self, request: Request<Vec<u8>>, patience: Duration) -> Result<Response<Body>, SendError> {
        let timeouts = Timeouts { connect: CONNECT, first_byte: patience, between_bytes: BETWEEN_BYTES };
        shell::send(request, timeouts).await.map_err(send_error)
    }

    fn now(&self) -> u64 {
        shell::now()
    }

    fn random(&self, bytes: &mut [u8]) {
        bytes.copy_from_slice(&wasi::random::random::get_random_bytes(bytes.len() as u64));
    }

    async fn sleep(&self, duration: Duration) {
        shell::sleep(duration).await;
    }

    fn log(&self, line: &str) {
        eprintln!("{}", shell::log::line(line));
    }
}

impl Source for Body {
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, SendError> {
        Body::chunk(self).await.map_err(send_error)
    }
}

fn outcome(outcome: tokens::Outcome) -> Outcome {
    match outcome {
        tokens::Outcome::Token(token) => Outcome::Token(AccessToken {
            value: Secret::from(token.value),
            token_type: token.token_type,
            expires_at: token.expires_at,
            fingerprint: token.fingerprint,
        }),
        tokens::Outcome::NotConnected(url) => Outcome::NotConnected(url),
        tokens::Outcome::NeedsReconnect(reconnect) => {
            Outcome::NeedsReconnect { url: reconnect.url, missing_scopes: reconnect.missing_scopes }
        }
        tokens::Outcome::TemporarilyUnavailable(seconds) => Outcome::TemporarilyUnavailable(seconds),
        tokens::Outcome::UnknownService => Outcome::UnknownService,
    }
}

fn resolve_error(error: tokens::Error) -> ResolveError {
    match error {
        tokens::Error::InvalidToken => ResolveError::InvalidToken,
        tokens::Error::WrongAudience => ResolveError::WrongAudience,
        tokens::Error::Unavailable(seconds) => ResolveError::Unavailable(seconds),
        tokens::Error::Misconfigured(setting) => ResolveError::Misconfigured(setting),
    }
}

fn send_error(error: WasiSendError) -> SendError {
    match error {
        WasiSendError::Denied => SendError::Denied,
        WasiSendError::Timeout => SendError::Timeout,
        WasiSendError::Head => SendError::Head,
        WasiSendError::Url | WasiSendError::Connection | WasiSendError::TooLarge(_) => SendError::Connection,
    }
}
