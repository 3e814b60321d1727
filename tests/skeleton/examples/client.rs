//! A broker client without logic: one request of the usual size, one answer, nothing read in it.
#![cfg(target_family = "wasm")]

use gatehouse_skeleton::TIMEOUTS;
use http::Request;

wit_bindgen::generate!({ path: "../../wit", world: "broker-client" });

use exports::gatehouse::broker::tokens::{
    AccessToken, Caller, Error, Guest, Origins, Outcome, Resolution, ResolveRequest,
};

struct Client;
export!(Client);

impl Guest for Client {
    fn public_urls() -> Result<Origins, Error> {
        Err(Error::Unavailable(0))
    }

    fn resolve(_: ResolveRequest) -> Result<Resolution, Error> {
        let url = spin_sdk::variables::get("broker_url").expect("set") + "/resolve";
        let request = Request::post(url).body(vec![b'x'; 100]).expect("valid");
        shell::run(async {
            let answer = shell::send(request, TIMEOUTS).await.expect("sent");
            answer.into_body().collect(1024 * 1024).await.expect("whole");
        });
        Ok(gatehouse_skeleton::resolution!())
    }
}
