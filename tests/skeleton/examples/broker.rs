//! A broker without logic: reads one key and gives the one answer, over HTTP and by composition.
#![cfg(target_family = "wasm")]

use gatehouse_skeleton::{read, read_one_key};
use http::Response;
use wasi::http::types::{IncomingRequest, ResponseOutparam};

wit_bindgen::generate!({ path: "../../wit", world: "oauth-broker" });

use exports::gatehouse::broker::tokens::{
    AccessToken, Caller, Error, Guest, Origins, Outcome, Resolution, ResolveRequest,
};

struct Broker;
export!(Broker);
wasi::http::proxy::export!(Broker);

impl wasi::exports::http::incoming_handler::Guest for Broker {
    fn handle(request: IncomingRequest, out: ResponseOutparam) {
        shell::run(async {
            read(request, 64 * 1024).await;
            read_one_key();
            shell::respond(out, Response::new(vec![b'x'; 300])).await;
        });
    }
}

impl Guest for Broker {
    fn public_urls() -> Result<Origins, Error> {
        Err(Error::Unavailable(0))
    }

    fn resolve(_: ResolveRequest) -> Result<Resolution, Error> {
        read_one_key();
        Ok(gatehouse_skeleton::resolution!())
    }
}
