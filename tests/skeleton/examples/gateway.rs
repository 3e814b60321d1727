//! A gateway without logic: asks the broker, reads one key, forwards.
#![cfg(target_family = "wasm")]

use gatehouse_skeleton::{forward, read_one_key};
use wasi::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({ path: "../../wit", world: "mcp-gateway" });

use gatehouse::broker::tokens::{Outcome, ResolveRequest, WantedService, resolve};

struct Gateway;
wasi::http::proxy::export!(Gateway);

impl wasi::exports::http::incoming_handler::Guest for Gateway {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        let resolution = resolve(&ResolveRequest {
            bearer: None,
            resource: "http://127.0.0.1/mcp".into(),
            services: vec![WantedService { service: "demo".into(), account: None, refused: None, scopes: Vec::new() }],
        });
        let token = match resolution.expect("resolved").outcomes.pop() {
            Some(Outcome::Token(token)) => token.value,
            _ => panic!("the skeleton broker always has a token"),
        };
        shell::run(async {
            read_one_key();
            forward(request, out, Some(token)).await;
        });
    }
}
