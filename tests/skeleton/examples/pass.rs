//! A component that reads one key and forwards the request as it is.
#![cfg(target_family = "wasm")]

use gatehouse_skeleton::{forward, read_one_key};
use wasi::http::types::{IncomingRequest, ResponseOutparam};

struct Pass;
wasi::http::proxy::export!(Pass);

impl wasi::exports::http::incoming_handler::Guest for Pass {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        shell::run(async {
            read_one_key();
            forward(request, out, None).await;
        });
    }
}
