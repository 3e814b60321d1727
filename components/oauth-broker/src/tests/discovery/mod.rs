//! Services that are known by the URL of their MCP server alone.

mod client;
mod client_auth;
mod guard;
mod issuer;
mod metadata;
mod outbound;
mod real_servers;
mod registration;
mod scopes;

use std::collections::BTreeMap;

use http::{HeaderMap, Response, StatusCode};
use serde_json::{Value, json};

use super::*;

pub(super) const SERVER: &str = "https://mcp.example.com/mcp";
pub(super) const RESOURCE: &str = "https://mcp.example.com/.well-known/oauth-protected-resource/mcp";
pub(super) const ROOT: &str = "https://mcp.example.com/.well-known/oauth-protected-resource";
pub(super) const ISSUER: &str = "https://login.example.net";
pub(super) const METADATA: &str = "https://login.example.net/.well-known/oauth-authorization-server";
pub(super) const OPENID: &str = "https://login.example.net/.well-known/openid-configuration";

/// A world with `notes`, an MCP server that does all that the specification says, and an authorization server that
/// registers clients.
pub(super) fn world() -> World {
    upstream(World::local())
}

pub(super) fn upstream(world: World) -> World {
    world.offer("notes", json!({ "mcp_server": SERVER }));
    challenge(&world, &format!(r#"Bearer resource_metadata="{RESOURCE}", scope="notes:read""#));
    for place in [RESOURCE, ROOT, METADATA, OPENID] {
        missing(&world, place);
    }
    at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": [ISSUER], "scopes_supported": ["all"] }));
    at(&world, METADATA, metadata(ISSUER));
    posted(&world, "https://login.example.net/register", 201, json!({ "client_id": "registered-1" }));
    posted(&world, "https://login.example.net/token", 200, granted("a-1", "r-1"));
    posted(&world, "https://login.example.net/revoke", 200, json!({}));
    world
}

pub(super) fn metadata(issuer: &str) -> Value {
    json!({
        "issuer": issuer,
        "authorization_endpoint": "https://login.example.net/authorize",
        "token_endpoint": "https://login.example.net/token",
        "registration_endpoint": "https://login.example.net/register",
        "revocation_endpoint": "https://login.example.net/revoke",
        "code_challenge_methods_supported": ["plain", "S256"],
        "token_endpoint_auth_methods_supported": ["none"],
    })
}

pub(super) fn granted(token: &str, refresh_token: &str) -> Value {
    json!({ "access_token": token, "token_type": "Bearer", "expires_in": 3600, "refresh_token": refresh_token })
}

pub(super) fn answer(status: u16, body: &Value) -> Answer {
    Ok(Response::builder().status(status).body(body.to_string().into_bytes()).unwrap())
}

pub(super) fn put(world: &World, address: String, answer: Answer) {
    world.sites.borrow_mut().insert(address, answer);
}

pub(super) fn at(world: &World, url: &str, document: Value) {
    put(world, format!("GET {url}"), answer(200, &document));
}

pub(super) fn missing(world: &World, url: &str) {
    put(world, format!("GET {url}"), answer(404, &json!({})));
}

pub(super) fn posted(world: &World, url: &str, status: u16, body: Value) {
    put(world, format!("POST {url}"), answer(status, &body));
}

pub(super) fn challenge(world: &World, header: &str) {
    let answer = Response::builder().status(401).header("www-authenticate", header).body(Vec::new());
    put(world, format!("POST {SERVER}"), Ok(answer.unwrap()));
}

/// The authorization server's metadata with some members changed.
pub(super) fn saying(world: &World, members: Value) {
    let mut said = metadata(ISSUER);
    for (name, value) in members.as_object().unwrap() {
        said[name] = value.clone();
    }
    at(world, METADATA, said);
}

/// Where requests went, as `METHOD url`.
pub(super) fn sent(world: &World) -> Vec<String> {
    world.sent.borrow().iter().map(|request| format!("{} {}", request.method(), request.uri())).collect()
}

pub(super) fn sent_to(world: &World, host: &str) -> bool {
    world.sent.borrow().iter().any(|request| request.uri().host() == Some(host))
}

fn sent_to_path(world: &World, path: &str) -> bool {
    world.sent.borrow().iter().any(|request| request.uri().path() == path)
}

pub(super) fn start(world: &World) -> BTreeMap<String, String> {
    Browser::default().start(world, "/auth/notes")
}

pub(super) fn connect(world: &World) {
    connect_with(world, "");
}

/// Connects; the provider adds `said` to its answer.
pub(super) fn connect_with(world: &World, said: &str) -> Response<Vec<u8>> {
    let mut browser = Browser::default();
    let to = browser.start(world, "/auth/notes");
    browser.get(world, &format!("/callback/notes?code=canary-code&state={}{said}", to["state"]))
}

pub(super) fn resolved(world: &World) -> Value {
    world.resolve(None, json!({ "service": "notes" }))
}

/// What the page says where the button would be.
pub(super) fn refused(world: &World) -> String {
    let page = Browser::default().get(world, "/auth/notes");
    assert!(page.status().is_server_error(), "{} {}", page.status(), text(&page));
    text(&page).replace("&#39;", "'").replace("&quot;", "\"").replace("&amp;", "&")
}

pub(super) fn refuses(world: &World, why: &str) {
    let page = refused(world);
    // As a sentence it begins with a capital letter.
    assert!(page.contains(why.get(1..).unwrap_or_default()), "{why}\n{page}");
}

fn form(body: &[u8]) -> BTreeMap<String, String> {
    url::form_urlencoded::parse(body).into_owned().collect()
}

pub(super) fn last_form(world: &World, url: &str) -> (HeaderMap, BTreeMap<String, String>) {
    let sent = world.sent.borrow();
    let request = sent.iter().rfind(|request| request.uri() == url).unwrap_or_else(|| panic!("nothing went to {url}"));
    (request.headers().clone(), form(request.body()))
}

#[test]
fn a_service_is_connected_refreshed_and_revoked_by_nothing_but_its_servers_url() {
    let world = world();
    let mut browser = Browser::default();
    let to = browser.start(&world, "/auth/notes");
    assert_eq!(
        sent(&world),
        [
            format!("POST {SERVER}"),
            format!("GET {RESOURCE}"),
            format!("GET {METADATA}"),
            "POST https://login.example.net/register".to_owned(),
        ]
    );
    assert!(world.sent.borrow().iter().all(|request| !request.headers().contains_key("authorization")));
    assert_eq!((to["client_id"].as_str(), to["resource"].as_str()), ("registered-1", SERVER));
    assert_eq!((to["scope"].as_str(), to["code_challenge_method"].as_str()), ("notes:read", "S256"));
    let done = browser.get(&world, &format!("/callback/notes?code=canary-code&state={}", to["state"]));
    assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", text(&done));
    let (_, form) = last_form(&world, "https://login.example.net/token");
    assert_eq!((form["resource"].as_str(), form["client_id"].as_str()), (SERVER, "registered-1"));
    assert!(form.contains_key("code_verifier"));
    let token = resolved(&world);
    assert_eq!((&token["access_token"], &token["scopes"]), (&json!("a-1"), &json!(["notes:read"])));

    // Nothing is looked for twice in a day.
    let before = world.sent.borrow().len();
    world.pass(3600);
    posted(&world, "https://login.example.net/token", 200, granted("a-2", "r-2"));
    assert_eq!(resolved(&world)["access_token"], "a-2");
    assert_eq!(world.sent.borrow().len(), before + 1);
    let (_, form) = last_form(&world, "https://login.example.net/token");
    assert_eq!((form["grant_type"].as_str(), form["resource"].as_str()), ("refresh_token", SERVER));
    assert_eq!((form["refresh_token"].as_str(), form["client_id"].as_str()), ("r-1", "registered-1"));

    let ended = browser.post(&world, "/disconnect/notes", "");
    assert_eq!(ended.status(), StatusCode::SEE_OTHER, "{}", text(&ended));
    let (_, form) = last_form(&world, "https://login.example.net/revoke");
    assert_eq!(form["token"], "r-2");
}

#[test]
fn lists_health_and_fresh_tokens_discover_nothing() {
    let world = world();
    for path in ["/", "/connections", "/health"] {
        assert_eq!(world.get(path).status(), StatusCode::OK, "{path}");
    }
    assert_eq!(resolved(&world)["status"], "not_connected");
    assert!(sent(&world).is_empty());
    connect(&world);
    let before = world.sent.borrow().len();
    assert_eq!(resolved(&world)["status"], "token");
    world.get("/connections");
    assert_eq!(world.sent.borrow().len(), before);
}

#[test]
fn a_step_up_asks_for_what_is_granted_too() {
    let world = world();
    connect(&world);
    for scope in ["notes:write", "notes:delete"] {
        let stands = world.resolve(None, json!({ "service": "notes", "scopes": [scope] }));
        assert_eq!((&stands["status"], &stands["missing_scopes"]), (&json!("needs_reconnect"), &json!([scope])));
        let link = stands["connect_url"].as_str().unwrap().replace(LOCAL, "");
        let mut browser = Browser::default();
        let to = browser.start(&world, &link);
        assert!(to["scope"].split(' ').any(|asked| asked == "notes:read"), "{}", to["scope"]);
        assert!(to["scope"].split(' ').any(|asked| asked == scope), "{}", to["scope"]);
        browser.get(&world, &format!("/callback/notes?code=x&state={}", to["state"]));
    }
    assert_eq!(resolved(&world)["scopes"], json!(["notes:read", "notes:delete", "notes:write"]));
}

#[test]
fn at_a_refresh_no_error_of_discovery_ends_a_grant() {
    let world = world();
    connect(&world);
    // Nobody answers: what was known still serves.
    world.pass(86_400);
    put(&world, format!("POST {SERVER}"), Err(SendFault::Timeout));
    posted(&world, "https://login.example.net/token", 200, granted("a-2", "r-2"));
    assert_eq!(resolved(&world)["access_token"], "a-2");
    assert!(world.log.borrow().iter().any(|line| line.contains("The stored result of discovery is used")));
    // Nor is it asked again at once.
    world.pass(60);
    let knocks = |world: &World| sent(world).iter().filter(|url| **url == format!("POST {SERVER}")).count();
    let before = knocks(&world);
    let refused = resolved(&world)["fingerprint"].clone();
    posted(&world, "https://login.example.net/token", 200, granted("a-3", "r-3"));
    assert_eq!(world.resolve(None, json!({ "service": "notes", "refused": refused }))["access_token"], "a-3");
    assert_eq!(knocks(&world), before);
    // It says what cannot be trusted: the grant waits.
    world.pass(86_400);
    challenge(&world, &format!(r#"Bearer resource_metadata="{RESOURCE}""#));
    saying(&world, json!({ "code_challenge_methods_supported": [] }));
    assert_eq!(resolved(&world)["status"], "temporarily_unavailable");
    saying(&world, json!({}));
    posted(&world, "https://login.example.net/token", 200, granted("a-4", "r-4"));
    assert_eq!(resolved(&world)["access_token"], "a-4");
}

/// A26: what a clock that was ahead has found is looked for again, when a flow begins and when a token is renewed.
#[test]
fn a_discovery_by_a_clock_that_was_ahead_is_repeated() {
    let world = world();
    let looks = || sent(&world).iter().filter(|url| **url == format!("POST {SERVER}")).count();
    let set_back = |seconds: u64| world.clock.set(world.clock.get() - seconds * 1000);
    let mut browser = Browser::default();
    world.pass(7 * 86_400);
    let page = browser.get(&world, "/auth/notes");
    set_back(7 * 86_400);
    assert_eq!(looks(), 1);
    let ticket = between(&text(&browser.get(&world, "/auth/notes")), "name=\"ticket\" value=\"", "\"");
    assert_eq!((looks(), page.status()), (2, StatusCode::OK));
    world.pass(7 * 86_400);
    browser.get(&world, "/auth/notes");
    set_back(7 * 86_400);
    assert_eq!(looks(), 3);
    assert_eq!(browser.post(&world, "/auth/notes", &format!("ticket={ticket}")).status(), StatusCode::OK);
    assert_eq!(looks(), 4);

    connect(&world);
    world.pass(7 * 86_400);
    browser.get(&world, "/auth/notes");
    set_back(7 * 86_400);
    world.pass(3600);
    let before = looks();
    assert_eq!(resolved(&world)["status"], "token");
    assert_eq!(looks(), before + 1);
}
