//! Writes and reads the `requestState` of a held call.

use base64ct::{Base64UrlUnpadded, Encoding};
use http::{Response, StatusCode};

use crate::config::Server;
use crate::eras::Relay;
use crate::eras::modern::{HELD_STATE, input_required};
use crate::host::{Caller, Host};
use crate::jsonrpc;
use crate::memory::{self, Place};
use crate::shelf::Shelf;
use crate::upstream::{Link, Peer};

/// The content of a `requestState`.
pub struct State {
    /// Since when the client is asked.
    pub since: u64,
    pub shelf: u8,
    pub name: String,
    pub round: usize,
    /// The number of notifications that the client has heard.
    pub heard: usize,
}

impl State {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let since = words.next()?.parse().ok()?;
        let mut number = || words.next()?.parse().ok();
        let (shelf, round, heard) = (u8::try_from(number()?).ok()?, number()?, number()?);
        Some(Self { since, shelf, name: words.next()?.to_owned(), round, heard })
    }
}

/// The state of a held call that the request goes on with, if it does; or what is wrong with it.
pub fn state<H: Host>(
    host: &H,
    relay: &Relay<'_>,
    server: &Server<'_>,
    caller: &Caller,
) -> Result<Option<State>, &'static str> {
    let Some(params) = relay.params.as_ref().filter(|_| relay.client.is_modern()) else { return Ok(None) };
    let state = params.string("requestState").map_err(|_| "Invalid params: \"requestState\" is there twice")?;
    let Some(sealed) = state.as_ref().and_then(|state| state.strip_prefix(HELD_STATE)) else { return Ok(None) };
    let sealed = Base64UrlUnpadded::decode_vec(sealed).ok();
    let opened = sealed.and_then(|sealed| place(relay, server, caller).open(caller, &sealed));
    let link = Link { server, token: None, caller, profile: relay.client.profile() };
    match opened.and_then(|state| State::read(std::str::from_utf8(&state).ok()?)) {
        Some(state) => Ok(Some(state)),
        // A modern server that is a Gatehouse itself has given its own.
        None if matches!(memory::recall(host, link), Some(Peer::Modern(_))) => Ok(None),
        None => Err("Invalid params: requestState is not of this call"),
    }
}

/// The result that asks the client for `requests`, and has it come again to this holder.
pub fn required<H: Host>(
    host: &H,
    relay: &Relay<'_>,
    server: &Server<'_>,
    shelf: &Shelf<'_>,
    (round, heard): (usize, usize),
    requests: &str,
) -> Response<Vec<u8>> {
    let state = format!("{} {} {round} {heard} {}", host.now(), shelf.number, shelf.name);
    let sealed = place(relay, server, shelf.caller).seal(host, shelf.caller, state.as_bytes()).unwrap_or_default();
    let state = [HELD_STATE, &Base64UrlUnpadded::encode_string(&sealed)].concat();
    jsonrpc::respond(StatusCode::OK, jsonrpc::result(relay.request.id, &input_required(requests, &state)))
}

/// The place that a `requestState` belongs to: one request at one server.
fn place(relay: &Relay<'_>, server: &Server<'_>, caller: &Caller) -> Place {
    let name = relay.handle.as_ref().map_or("", |handle| &handle.value);
    let arguments = relay.params.as_ref().and_then(|params| params.find("arguments")).unwrap_or_default();
    Place::new("q", &[&caller.subject, &server.name, &server.url.to_string(), &relay.request.method, name, arguments])
}
