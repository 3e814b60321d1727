//! Asks a broker that is elsewhere, on behalf of a gateway.
//!
//! Implements `gatehouse:broker/tokens` by one HTTP request to the broker, `POST /resolve`, which is the same
//! documented API that any other service uses. It proves itself with a service key and forwards the caller's bearer in
//! the request's body. It keeps nothing, and every gateway request pays for it: so it stays small.
//!
//! Settings, as Spin variables of the component that it is composed into: `broker_url` (where to send), `service_key`
//! (secret), `broker_public_url` and `gateway_url` (what `public-urls` tells).
//!
//! May touch: those variables, and the host of `broker_url`.

pub mod wire;

#[cfg(target_family = "wasm")]
mod component;
