//! Feeds bytes from outside to the broker, for the fuzzers of `tests/fuzz`.
//!
//! One function for each way in. Each panics if the bytes do more than get an answer: if a row is lost, or a secret told.

use http::{Request, Response, StatusCode};

#[path = "tests/world.rs"]
pub mod world;
use world::{Browser, World, grant, owners, run};

use crate::broker::Broker;
use crate::connections::Status;
use crate::host::Host;
use crate::vault::{RowId, RowKind};

/// Any request: the method and the path on the first line, headers on the next ones, then the body.
pub fn requests(data: &[u8]) {
    let world = connected(World::public());
    let before = world.dump();
    let (head, body) = split(data, b"\n\n");
    let Ok(head) = std::str::from_utf8(head) else { return };
    let mut lines = head.lines();
    let (method, path) = lines.next().unwrap_or_default().split_once(' ').unwrap_or_default();
    let mut request = Request::builder().method(method).uri(format!("{}{path}", world::PUBLIC));
    for (name, value) in lines.filter_map(|line| line.split_once(": ")) {
        request = request.header(name, value);
    }
    let Ok(request) = request.body(body.to_vec()) else { return };
    let response = world.handle(request);
    tells_nothing(&world, &response);
    assert_ne!(response.status(), StatusCode::INTERNAL_SERVER_ERROR, "{}", world::text(&response));
    // What counts the guesses of strangers is theirs to change.
    for (key, row) in before.into_iter().filter(|(key, _)| !key.starts_with("b.l.")) {
        assert_eq!(world.store.borrow().get(&key), Some(&row), "a stranger changed a row");
    }
}

/// The query of a callback, in the browser that started the flow. Only with that flow's state is a code sent anywhere.
pub fn callback(data: &[u8]) {
    let world = World::local();
    let mut browser = Browser::default();
    let started = browser.start(&world, "/auth/forge");
    let Ok(query) = std::str::from_utf8(data) else { return };
    // `$` stands for the state: no fuzzer guesses it.
    let query = query.replace('$', &started["state"]);
    if http::Uri::try_from(format!("{}/callback/forge?{query}", world::LOCAL)).is_err() {
        return;
    }
    let response = browser.get(&world, &format!("/callback/forge?{query}"));
    tells_nothing(&world, &response);
    let sent = world.sent.borrow().len();
    assert!(sent == 0 || query.contains(&started["state"]), "a code without its state was sent");
    assert!(world.dump().keys().all(|key| !key.starts_with("b.c.")), "connected without a token");
}

/// The provider's answer to a refresh: the first byte chooses the status, the second the content type.
pub fn answers(data: &[u8]) {
    let [status, kind, body @ ..] = data else { return };
    let status = [200, 201, 204, 302, 400, 401, 403, 404, 408, 429, 500, 503][usize::from(*status) % 12];
    let kinds = ["application/json", "application/x-www-form-urlencoded", "text/plain", "text/html", ""];
    let kind = kinds[usize::from(*kind) % kinds.len()];
    let world = connected(World::local());
    world.pass(3600);
    let response = Response::builder().status(status).header("content-type", kind).body(body.to_vec());
    world.answers.borrow_mut().push_back(Ok(response.unwrap()));
    let connection = run(Broker::new(&world).connections().status(&owners("forge"), None, &[])).unwrap();
    let kept = Broker::new(&world).connections().get(&owners("forge")).unwrap().unwrap();
    assert!(kept.refresh_token.is_some(), "a refresh token was lost");
    if let Status::NeedsReconnect { .. } = connection {
        assert!(body.windows(5).any(|word| word == b"error"), "a grant was ended by what says no error");
    }
    if status >= 500 || status == 429 {
        assert!(matches!(connection, Status::RetryAfter(_)), "{connection:?}");
    }
}

/// The metadata of an MCP server and its authorization server: the first line is the challenge's field, each further one an
/// answer.
pub fn metadata(data: &[u8]) {
    let mut answers = data.split(|byte| *byte == b'\n');
    let world = World::public();
    world.offer("mcp", serde_json::json!({ "mcp_server": "https://mcp.example/mcp" }));
    let challenge = answers.next().unwrap_or_default();
    let Ok(challenge) = http::HeaderValue::from_bytes(challenge) else { return };
    let refused = Response::builder().status(401).header("www-authenticate", challenge).body(Vec::new());
    world.answers.borrow_mut().push_back(Ok(refused.unwrap()));
    for answer in answers {
        let response = Response::builder().status(200).header("content-type", "application/json").body(answer.to_vec());
        world.answers.borrow_mut().push_back(Ok(response.unwrap()));
    }
    let mut browser = Browser::default();
    browser.sign_in(&world, world::PASSPHRASE);
    let page = browser.get(&world, "/auth/mcp");
    tells_nothing(&world, &page);
    for request in world.sent.borrow().iter() {
        let uri = request.uri();
        assert_eq!(uri.scheme_str(), Some("https"), "{uri}");
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let address = host.parse::<std::net::IpAddr>();
        assert!(!host.ends_with(".internal") && !address.is_ok_and(|address| address.is_loopback()), "{uri}");
    }
}

/// Rows of the store: as they are, and as the content of a sealed row.
pub fn stored(data: &[u8]) {
    let world = connected(World::local());
    let broker = Broker::new(&world);
    let keys: Vec<String> = world.dump().into_keys().collect();
    for key in &keys {
        Host::set(&world, key, data).unwrap();
    }
    let _ = run(broker.connections().status(&owners("forge"), None, &[])).unwrap();
    tells_nothing(&world, &world.get("/connections"));
    for key in keys {
        assert_eq!(world.store.borrow().get(&key).map(Vec::as_slice), Some(data), "what cannot be read was changed");
    }
    let id = owners("forge");
    let place = RowId { kind: RowKind::Connection, identity: &id.identity() };
    let sealed = broker.vault().keyring().unwrap().seal(place, data, [7; 24]);
    Host::set(&world, &place.key(), &sealed).unwrap();
    let _ = run(broker.connections().status(&owners("forge"), None, &[])).unwrap();
    tells_nothing(&world, &world.get("/connections"));
}

/// The value of a setting: the first byte chooses which.
pub fn settings(data: &[u8]) {
    let [which, value @ ..] = data else { return };
    let Ok(value) = std::str::from_utf8(value) else { return };
    let world = connected(World::local());
    let names: Vec<String> = world.settings.borrow().keys().cloned().collect();
    world.set(&names[usize::from(*which) % names.len()], value);
    for path in ["/health", "/connections", "/", "/auth/forge"] {
        let request = Request::get(format!("{}{path}", world::LOCAL)).body(Vec::new()).unwrap();
        tells_nothing(&world, &world.handle(request));
    }
}

fn connected(world: World) -> World {
    let mut browser = Browser::default();
    browser.sign_in(&world, world::PASSPHRASE);
    world.connect(&mut browser, "forge", grant("canary-access", 3600, "canary-refresh"));
    world.sent.borrow_mut().clear();
    world
}

/// No secret is in the answer, nor in the log.
fn tells_nothing(world: &World, response: &Response<Vec<u8>>) {
    let said = format!(
        "{:?}{}{}",
        response.headers(),
        String::from_utf8_lossy(response.body()),
        world.log.borrow().join("\n")
    );
    assert!(!said.contains("canary"), "{said}");
}

fn split<'d>(data: &'d [u8], at: &[u8]) -> (&'d [u8], &'d [u8]) {
    match data.windows(at.len()).position(|window| window == at) {
        Some(place) => (&data[..place], &data[place + at.len()..]),
        None => (data, &[]),
    }
}
