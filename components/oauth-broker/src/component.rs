//! Implements the host on Spin, and exports the component.

use std::cell::{Cell, OnceCell};
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use http::{Request, Response};
use http_auth::Hops;
use shell::{SendError, Timeouts};
use spin_sdk::key_value::{Error as StoreError, Store};
use spin_sdk::variables;
use wasi::clocks::monotonic_clock;
use wasi::exports::http::incoming_handler;
use wasi::http::types::{IncomingRequest, ResponseOutparam};

use crate::host::{ANSWER_LIMIT, CALL_LIMIT, Host, SendFault, StoreFault};
use crate::http::resolve::{self, Outcome, Question, ResolveError, Wanted};
use crate::settings::{SettingError, Settings};
use crate::vault::RowError;
use sealing::Secret;

mod wit {
    wit_bindgen::generate!({ path: "../../wit", world: "oauth-broker" });
    use crate::component::Component;
    export!(Component);
}
use wit::exports::gatehouse::broker::tokens;

struct Component;
wasi::http::proxy::export!(Component);

impl incoming_handler::Guest for Component {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        shell::run(async {
            let host = Spin::default();
            let response = match shell::read_head(request) {
                Ok(request) => crate::http::handle(&host, request).await,
                Err(error) => crate::http::unreadable(&host, error),
            };
            shell::respond(out, response).await;
        });
    }
}

impl tokens::Guest for Component {
    fn public_urls() -> Result<tokens::Origins, tokens::Error> {
        let host = Spin::default();
        let settings = Settings::new(&host);
        let misconfigured = |error: SettingError| {
            host.log(&error.to_string());
            tokens::Error::Misconfigured(RowError::from(error).public_text())
        };
        Ok(tokens::Origins {
            gateway: settings.gateway_url().map_err(misconfigured)?.as_str().to_owned(),
            broker: settings.public_url().map_err(misconfigured)?.as_str().to_owned(),
        })
    }

    fn resolve(request: tokens::ResolveRequest) -> Result<tokens::Resolution, tokens::Error> {
        let question = Question {
            subject_token: request.bearer.map(Secret::from),
            resource: request.resource,
            services: request
                .services
                .into_iter()
                .map(|wanted| Wanted {
                    service: wanted.service,
                    account: wanted.account,
                    refused: wanted.refused,
                    scopes: wanted.scopes,
                })
                .collect(),
        };
        let resolution = shell::run(resolve::resolve(&Spin::default(), question)).map_err(|error| match error {
            ResolveError::Bearer => tokens::Error::InvalidToken,
            ResolveError::Audience => tokens::Error::WrongAudience,
            ResolveError::Request(what) => tokens::Error::Misconfigured(what.to_owned()),
            // The log has it already.
            ResolveError::Setting(error) => tokens::Error::Misconfigured(RowError::from(error).public_text()),
        })?;
        Ok(said(resolution))
    }
}

fn said(resolution: resolve::Resolution) -> tokens::Resolution {
    let sealing_key = resolution.caller.sealing_key.as_ref().map(Secret::reveal).unwrap_or_default();
    let outcome = |outcome: Outcome| match outcome {
        Outcome::Token { access_token, token_type, expires_at, scopes, extra, fingerprint } => {
            tokens::Outcome::Token(tokens::AccessToken {
                value: access_token.reveal().to_owned(),
                token_type,
                expires_at,
                scopes,
                extra: extra.into_iter().collect(),
                fingerprint,
            })
        }
        Outcome::NotConnected { connect_url } => tokens::Outcome::NotConnected(connect_url),
        Outcome::NeedsReconnect { connect_url, missing_scopes } => {
            tokens::Outcome::NeedsReconnect(tokens::Reconnect { url: connect_url, missing_scopes })
        }
        Outcome::TemporarilyUnavailable { retry_after } => tokens::Outcome::TemporarilyUnavailable(retry_after),
        Outcome::UnknownService => tokens::Outcome::UnknownService,
    };
    tokens::Resolution {
        caller: tokens::Caller {
            subject: resolution.caller.subject,
            client_id: None,
            scopes: resolution.caller.scopes,
            expires_at: None,
            sealing_key: Base64UrlUnpadded::decode_vec(sealing_key).unwrap_or_default(),
        },
        outcomes: resolution.services.into_iter().map(|resolved| outcome(resolved.outcome)).collect(),
    }
}

/// The store is opened when it is first needed: a request that ends before that does not pay for it.
#[derive(Default)]
struct Spin {
    store: OnceCell<Store>,
    hops: Cell<Hops>,
}

impl Spin {
    fn store(&self) -> Result<&Store, StoreFault> {
        if let Some(store) = self.store.get() {
            return Ok(store);
        }
        let opened = match Store::open("broker") {
            Err(StoreError::AccessDenied | StoreError::NoSuchStore) => Store::open("default"),
            opened => opened,
        };
        let store = opened.map_err(|error| self.fault("open", &error))?;
        Ok(self.store.get_or_init(|| store))
    }

    fn fault(&self, what: &str, error: &StoreError) -> StoreFault {
        // What a backend says about itself may name its address, with a password in it.
        let class = match error {
            StoreError::StoreTableFull => "too many stores are open",
            StoreError::NoSuchStore => "there is no such store",
            StoreError::AccessDenied => "key_value_stores does not grant it",
            StoreError::Other(_) => "the backend failed",
        };
        self.log(&format!("store: {what}: {class}"));
        StoreFault
    }
}

impl Host for Spin {
    fn setting(&self, name: &str) -> Option<String> {
        variables::get(name).ok()
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreFault> {
        self.store()?.get(key).map_err(|error| self.fault("get", &error))
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreFault> {
        self.store()?.set(key, value).map_err(|error| self.fault("set", &error))
    }

    fn delete(&self, key: &str) -> Result<(), StoreFault> {
        self.store()?.delete(key).map_err(|error| self.fault("delete", &error))
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Result<Response<Vec<u8>>, SendFault> {
        let call = async {
            let (head, body) = shell::send(request, TIMEOUTS).await?.into_parts();
            Ok(Response::from_parts(head, body.collect(ANSWER_LIMIT).await?))
        };
        // The limits of the parts do not add up to one: a peer may send a byte every nine seconds.
        shell::within(CALL_LIMIT, call).await.unwrap_or(Err(SendError::Timeout)).map_err(fault)
    }

    fn hops(&self) -> &Cell<Hops> {
        &self.hops
    }

    fn now(&self) -> u64 {
        shell::now()
    }

    fn ticks(&self) -> u64 {
        monotonic_clock::now() / 1_000_000
    }

    async fn sleep(&self, duration: Duration) {
        shell::sleep(duration).await;
    }

    fn random(&self, bytes: &mut [u8]) {
        if getrandom::fill(bytes).is_err() {
            // Without randomness nothing here is safe.
            panic!("the host has no randomness");
        }
    }

    fn log(&self, line: &str) {
        eprintln!("oauth-broker: {}", shell::log::line(line));
    }
}

fn fault(error: SendError) -> SendFault {
    match error {
        SendError::Denied => SendFault::Denied,
        SendError::Timeout => SendFault::Timeout,
        SendError::TooLarge(_) => SendFault::TooLarge,
        SendError::Head => SendFault::Head,
        SendError::Url | SendError::Connection => SendFault::Connection,
    }
}

const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(10),
    between_bytes: Duration::from_secs(10),
};
