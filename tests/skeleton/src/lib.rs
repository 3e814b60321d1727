//! Each composition without logic: what it costs if there is nothing in it.
//!
//! The benchmark's yardstick: components with the same hops, one store read and one forward as Gatehouse's, and no
//! logic at all. They live in `examples/`, because each has to be a wasm file of its own; this is what they share.

#![cfg(target_family = "wasm")]

use std::time::Duration;

use http::{Request, Response, StatusCode};
use shell::Timeouts;
use wasi::http::types::{IncomingRequest, ResponseOutparam};

pub const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(5),
    first_byte: Duration::from_secs(60),
    between_bytes: Duration::from_secs(60),
};

pub fn read_one_key() {
    let store = spin_sdk::key_value::Store::open("default").expect("granted");
    store.get("skeleton").expect("readable");
}

/// The whole of a request that is well made and at most `limit` bytes long.
pub async fn read(request: IncomingRequest, limit: usize) -> Request<Vec<u8>> {
    let (head, mut body) = shell::read_head(request).expect("HTTP").into_parts();
    Request::from_parts(head, body.read(limit, shell::sleep).await.expect("small"))
}

/// Sends the request to the URL in its `x-upstream` header, and its answer back in one piece.
pub async fn forward(request: IncomingRequest, out: ResponseOutparam, token: Option<String>) {
    let mut request = read(request, 4 * 1024 * 1024).await;
    *request.uri_mut() = request.headers()["x-upstream"].to_str().expect("text").parse().expect("a URL");
    if let Some(token) = token {
        // Beside the caller's own, which is what the upstream checks.
        request.headers_mut().insert("x-token", format!("Bearer {token}").parse().expect("a token"));
    }
    let response = match shell::send(request, TIMEOUTS).await {
        Ok(response) => {
            let (head, body) = response.into_parts();
            Response::from_parts(head, body.collect(16 * 1024 * 1024).await.expect("whole"))
        }
        Err(_) => {
            let mut response = Response::new(Vec::new());
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            response
        }
    };
    shell::respond(out, response).await;
}

/// The one answer that a skeleton has. A macro, because each component generates the types from the WIT for itself, and
/// has them in scope.
#[macro_export]
macro_rules! resolution {
    () => {{
        Resolution {
            caller: Caller {
                subject: "owner".into(),
                client_id: None,
                scopes: Vec::new(),
                expires_at: None,
                sealing_key: vec![0; 32],
            },
            outcomes: vec![Outcome::Token(AccessToken {
                value: "skeleton".into(),
                token_type: "Bearer".into(),
                expires_at: None,
                scopes: Vec::new(),
                extra: Vec::new(),
                fingerprint: "skeleton".into(),
            })],
        }
    }};
}
