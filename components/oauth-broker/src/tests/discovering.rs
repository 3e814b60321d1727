//! A service of which nothing is known but the URL of its MCP server.

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
fn what_needs_no_provider_discovers_nothing() {
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

/// Item 8: no assertion is ever sent that another server could be made to accept, whatever the metadata ask for.
#[test]
fn no_client_assertion_leaves() {
    let asks_for = |methods: Value| {
        let world = world();
        saying(&world, json!({ "token_endpoint_auth_methods_supported": methods }));
        let secret = json!({ "client_id": "registered-1", "client_secret": "canary-registered-secret" });
        posted(&world, "https://login.example.net/register", 201, secret);
        world
    };
    let world = asks_for(json!(["private_key_jwt", "client_secret_jwt", "client_secret_post"]));
    connect(&world);
    world.pass(3600);
    assert_eq!(resolved(&world)["status"], "token");
    world.handle(world.request("DELETE", "/token/notes").body(Vec::new()).unwrap());
    let (_, form) = last_form(&world, "https://login.example.net/token");
    assert_eq!(form["client_secret"], "canary-registered-secret");
    for (url, times) in [("/register", 1), ("/token", 2), ("/revoke", 1)] {
        let url = format!("POST https://login.example.net{url}");
        assert_eq!(sent(&world).iter().filter(|sent| **sent == url).count(), times, "{url}");
    }
    for request in world.sent.borrow().iter() {
        let body = String::from_utf8_lossy(request.body());
        // Nor does it register as one that could sign.
        for word in ["client_assertion", "jwt", "jwks"] {
            assert!(!body.contains(word) && !request.uri().to_string().contains(word), "{word}: {}", request.uri());
        }
    }
    for methods in [json!(["private_key_jwt"]), json!(["client_secret_jwt"]), json!(["private_key_jwt", "none "])] {
        let world = asks_for(methods);
        refuses(&world, "https://login.example.net wants clients to authenticate in a way that is not known here");
        assert!(!sent_to_path(&world, "/token") && !sent_to_path(&world, "/register"));
    }
}

/// Item 8: metadata that name an endpoint at another host are refused, since a code would go from one server to another.
#[test]
fn an_endpoint_at_another_host_is_refused_unless_the_operator_vouches_for_it() {
    for field in ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"] {
        let world = world();
        saying(&world, json!({ field: "https://other.example.org/x" }));
        refuses(
            &world,
            &format!(
                "https://login.example.net names other.example.org for its {field}. If the two belong together, list \
                 the host in `hosts` of this service"
            ),
        );
        assert!(!sent_to(&world, "other.example.org"));
        world.offer("notes", json!({ "mcp_server": SERVER, "hosts": ["example.org"] }));
        posted(&world, "https://other.example.org/x", 201, json!({ "client_id": "registered-1" }));
        start(&world);
    }
    let world = world();
    saying(
        &world,
        json!({
            "authorization_endpoint": "https://mcp.example.com/authorize",
            "token_endpoint": "https://api.login.example.net/token",
        }),
    );
    start(&world);
    saying(&world, json!({ "token_endpoint": "https://example.net/token" }));
    assert!(refused(&world).contains("example.net for its token_endpoint"));
}

/// Item 9: the issuer is compared byte by byte, whichever document it is in; R03: but for the slash of its root.
#[test]
fn metadata_of_another_issuer_are_refused() {
    for said in ["https://login.example.net/a", "https://LOGIN.example.net", "https://evil.example/", ""] {
        for place in [METADATA, OPENID] {
            let world = world();
            missing(&world, METADATA);
            at(&world, place, metadata(said));
            refuses(
                &world,
                &format!(
                    "the metadata at {place} give {said} as issuer, which is not the one that it was asked for (RFC 8414 section 3.3)"
                ),
            );
            assert!(!sent(&world).contains(&"POST https://login.example.net/register".to_owned()));
        }
    }
}

/// Item 13: who announces that every answer says its issuer has to say it, and whoever says one has to say the right one.
#[test]
fn an_answer_without_the_right_issuer_is_refused() {
    for (announced, said, well) in [
        (true, "&iss=https://login.example.net", true),
        (true, "", false),
        (true, "&iss=https://login.example.net/", false),
        (true, "&iss=https://evil.example", false),
        (false, "", true),
        (false, "&iss=https%3A%2F%2Flogin.example.net", true),
        (false, "&iss=https://evil.example", false),
    ] {
        let world = world();
        saying(&world, json!({ "authorization_response_iss_parameter_supported": announced }));
        let done = connect_with(&world, said);
        assert_eq!(done.status() == StatusCode::SEE_OTHER, well, "{announced} {said} {}", text(&done));
        assert_eq!(sent(&world).contains(&"POST https://login.example.net/token".to_owned()), well);
    }
    let world = world();
    let mut browser = Browser::default();
    let to = browser.start(&world, "/auth/notes");
    let path = format!("/callback/notes?error=canary-error&iss=https://evil.example&state={}", to["state"]);
    assert!(!text(&browser.get(&world, &path)).contains("canary-error"));
}

#[test]
fn the_metadata_of_a_server_are_looked_for_where_it_says_and_else_at_the_well_known_places() {
    let document = |resource: &str| json!({ "resource": resource, "authorization_servers": [ISSUER] });
    let looked = |world: &World| -> Vec<String> {
        let there = |url: &String| url.starts_with("GET https://mcp.example.com/");
        sent(world).into_iter().filter(there).map(|url| url.replace("GET https://mcp.example.com", "")).collect()
    };
    let named = world();
    challenge(&named, r#"Bearer resource_metadata="https://mcp.example.com/custom.json""#);
    at(&named, "https://mcp.example.com/custom.json", document(SERVER));
    start(&named);
    assert_eq!(looked(&named), ["/custom.json"]);

    let by_path = world();
    challenge(&by_path, "Bearer");
    start(&by_path);
    assert_eq!(looked(&by_path), ["/.well-known/oauth-protected-resource/mcp"]);

    let by_host = world();
    challenge(&by_host, "Bearer");
    missing(&by_host, RESOURCE);
    at(&by_host, ROOT, document("https://mcp.example.com"));
    let to = start(&by_host);
    assert_eq!(
        looked(&by_host),
        ["/.well-known/oauth-protected-resource/mcp", "/.well-known/oauth-protected-resource"]
    );
    assert_eq!(to["resource"], "https://mcp.example.com");
}

#[test]
fn the_metadata_of_an_authorization_server_are_looked_for_in_the_specifications_order() {
    let tenant = "https://login.example.net/tenant";
    let places = [
        "https://login.example.net/.well-known/oauth-authorization-server/tenant",
        "https://login.example.net/.well-known/openid-configuration/tenant",
        "https://login.example.net/tenant/.well-known/openid-configuration",
    ];
    for last in 0..places.len() {
        let world = world();
        at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": [tenant] }));
        for place in places {
            // A page that answers everything is as good as none.
            put(&world, format!("GET {place}"), Ok(Response::new(b"<html>Welcome".to_vec())));
        }
        at(&world, places[last], metadata(tenant));
        start(&world);
        let looked: Vec<String> = sent(&world).into_iter().filter(|url| url.contains("/tenant")).collect();
        let expected: Vec<String> = places[..=last].iter().map(|place| format!("GET {place}")).collect();
        assert_eq!(looked, expected);
    }
    let world = world();
    missing(&world, METADATA);
    refuses(
        &world,
        "https://login.example.net has no metadata at any of the well-known places (RFC 8414, OpenID Connect Discovery)",
    );
}

#[test]
fn a_server_of_2025_03_26_is_its_own_authorization_server() {
    let old = || {
        let world = world();
        challenge(&world, "Bearer");
        for place in [
            RESOURCE,
            "https://mcp.example.com/.well-known/oauth-authorization-server",
            "https://mcp.example.com/.well-known/openid-configuration",
        ] {
            missing(&world, place);
        }
        world
    };
    let world = old();
    for issuer in ["https://mcp.example.com", "https://mcp.example.com/"] {
        let mut said = metadata(issuer);
        for field in ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"] {
            said[field] = json!(format!("https://mcp.example.com/oauth/{field}"));
        }
        at(&world, "https://mcp.example.com/.well-known/oauth-authorization-server", said);
        posted(&world, "https://mcp.example.com/oauth/registration_endpoint", 201, json!({ "client_id": "old-1" }));
        assert_eq!(start(&world)["client_id"], "old-1");
    }
    let world = old();
    posted(&world, "https://mcp.example.com/register", 201, json!({ "client_id": "old-2" }));
    posted(&world, "https://mcp.example.com/token", 200, granted("a", "r"));
    connect(&world);
    assert_eq!(resolved(&world)["access_token"], "a");
    // Only who has been turned away looks for endpoints that nobody has named.
    let world = old();
    posted(&world, SERVER, 200, json!({ "jsonrpc": "2.0", "id": 1, "result": { "tools": [] } }));
    refuses(
        &world,
        "https://mcp.example.com/mcp answers without authorization and names no authorization server: there is nothing to connect",
    );
    assert!(!sent(&world).contains(&"POST https://mcp.example.com/register".to_owned()));
}

/// Item 63: no address of a private network, wherever it is named, is gone to.
#[test]
fn nobody_is_led_to_a_private_address() {
    let private = "https://10.0.0.7/latest";
    let why = "is not an address to go to: it is an address of this machine or of a private network";
    let refuses_before_going = |world: &World, what: &str| {
        refuses(world, what);
        assert!(!sent_to(world, "10.0.0.7"), "{what}");
    };
    let world = world();
    challenge(&world, &format!(r#"Bearer resource_metadata="{private}""#));
    refuses_before_going(&world, &format!("resource_metadata of {SERVER} {why}"));
    let world = self::world();
    at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": [private] }));
    refuses_before_going(&world, &format!("authorization_servers of {RESOURCE} {why}"));
    for field in ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"] {
        let world = self::world();
        saying(&world, json!({ field: private }));
        refuses_before_going(&world, &format!("{field} of {ISSUER} {why}"));
    }
    for (bad, why) in [
        ("http://login.example.net", "it has to be https (http is for loopback addresses)"),
        (
            "http://127.0.0.1:3000",
            "it is an address of this machine or of a private network, and neither `hosts` nor `internal_hosts` names it",
        ),
        ("https://oauth-broker.spin.internal", "`*.spin.internal`, `self.alt` and link-local hosts are not outside"),
        ("https://self.alt/auth/evil", "`*.spin.internal`, `self.alt` and link-local hosts are not outside"),
        ("https://169.254.169.254/latest", "`*.spin.internal`, `self.alt` and link-local hosts are not outside"),
        ("/relative", "not a URL"),
        ("https://u:p@login.example.net", "a user name, a password or a fragment has no place in it"),
        ("https://login.example.net?x", "it has a query"),
        ("https://login.example.net/{client_id}", "it has braces"),
    ] {
        let world = self::world();
        at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": [bad] }));
        refuses(&world, &format!("authorization_servers of {RESOURCE} is not an address to go to: {why}"));
        assert_eq!(sent(&world).len(), 2, "{bad}");
    }
}

/// Item 63: a redirect is where a stranger leads, and is not followed.
#[test]
fn no_redirect_is_followed() {
    for place in [RESOURCE, METADATA] {
        let world = world();
        let moved = Response::builder().status(302).header("location", "https://moved.example/").body(Vec::new());
        put(&world, format!("GET {place}"), Ok(moved.unwrap()));
        refused(&world);
        assert!(!sent_to(&world, "moved.example"));
    }
}

#[test]
fn a_document_that_is_too_long_is_not_read() {
    for place in [RESOURCE, METADATA] {
        let world = world();
        let mut long = metadata(ISSUER);
        long["filler"] = json!("x".repeat(64 * 1024));
        at(&world, place, long);
        refuses(&world, &format!("what is at {place} is longer than 64 KB"));
        put(&world, format!("GET {place}"), Err(SendFault::TooLarge));
        refuses(&world, &format!("what is at {place} is longer than 64 KB"));
    }
}

#[test]
fn what_is_no_metadata_of_this_server_is_refused() {
    for (document, why) in [
        (
            json!({ "resource": "https://evil.example/mcp", "authorization_servers": [ISSUER] }),
            format!(
                "the metadata at {RESOURCE} speak of the resource https://evil.example/mcp, which is not this MCP server"
            ),
        ),
        (
            json!({ "resource": "https://mcp.example.com/other", "authorization_servers": [ISSUER] }),
            format!(
                "the metadata at {RESOURCE} speak of the resource https://mcp.example.com/other, which is not this MCP \
                 server"
            ),
        ),
        (json!({ "resource": SERVER }), format!("the metadata at {RESOURCE} name no authorization server")),
        (json!({ "resource": 1 }), format!("what is at {RESOURCE} is not of the expected form")),
        (json!([]), format!("what is at {RESOURCE} is not of the expected form")),
    ] {
        let world = world();
        at(&world, RESOURCE, document);
        refuses(&world, &why);
        assert!(!sent_to(&world, "login.example.net"));
    }
    let world = world();
    missing(&world, RESOURCE);
    refuses(&world, &format!("the metadata of the MCP server should be at {RESOURCE}, which answers 404"));
}

#[test]
fn a_server_without_pkce_is_refused() {
    for methods in [json!([]), json!(["plain"]), json!(["s256"])] {
        let world = world();
        saying(&world, json!({ "code_challenge_methods_supported": methods }));
        refuses(&world, "https://login.example.net does not offer PKCE with S256, without which no code is safe");
    }
}

#[test]
fn silence_says_nothing_and_has_an_end() {
    for (address, who) in [
        (format!("POST {SERVER}"), "https://mcp.example.com"),
        (format!("GET {RESOURCE}"), "https://mcp.example.com"),
        (format!("GET {METADATA}"), "https://login.example.net"),
        ("POST https://login.example.net/register".to_owned(), "https://login.example.net"),
    ] {
        for (silence, why) in [
            (answer(503, &json!({})), "it answers 503"),
            (answer(429, &json!({})), "it answers 429"),
            (Err(SendFault::Timeout), "no answer in time"),
            (Err(SendFault::Connection), "no connection"),
            (Err(SendFault::Denied), "the host does not allow this destination: see allowed_outbound_hosts"),
        ] {
            let world = world();
            put(&world, address.clone(), silence);
            let page = Browser::default().get(&world, "/auth/notes");
            assert_eq!(page.status(), StatusCode::SERVICE_UNAVAILABLE);
            assert!(page.headers().contains_key("retry-after"));
            let said = format!("{who} does not answer now ({why}). Nothing is lost: try again");
            assert!(text(&page).contains(&said), "{said}\n{}", text(&page));
        }
    }
    let world = world();
    *world.meanwhile.borrow_mut() = Some(Box::new(|world| world.pass(13)));
    refuses(&world, "https://mcp.example.com does not answer now (no answer in time). Nothing is lost: try again");
    assert_eq!(sent(&world).len(), 1);
}

#[test]
fn scopes_are_those_of_the_challenge_or_else_of_the_metadata_or_none() {
    let asked = |header: &str, scopes: Value, offline: bool| {
        let world = world();
        challenge(&world, header);
        at(
            &world,
            RESOURCE,
            json!({ "resource": SERVER, "authorization_servers": [ISSUER], "scopes_supported": scopes }),
        );
        if offline {
            saying(&world, json!({ "scopes_supported": ["other", "offline_access"] }));
        }
        start(&world).get("scope").cloned()
    };
    assert_eq!(asked(r#"Bearer scope="a b""#, json!(["c"]), false).as_deref(), Some("a b"));
    assert_eq!(asked("Bearer", json!(["c", "d"]), false).as_deref(), Some("c d"));
    assert_eq!(asked("Bearer", Value::Null, false), None);
    assert_eq!(asked(r#"Bearer scope="a""#, json!(["c"]), true).as_deref(), Some("a offline_access"));
    assert_eq!(asked("Bearer", Value::Null, true), None);
    let world = world();
    world.offer("notes", json!({ "mcp_server": SERVER, "scopes": ["mine"] }));
    assert_eq!(start(&world)["scope"], "mine");
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
fn a_registration_is_for_one_redirect_uri_and_kept() {
    let world = world();
    start(&world);
    start(&world);
    let sent = world.sent.borrow();
    let registrations: Vec<Value> = sent
        .iter()
        .filter(|request| request.uri().path() == "/register")
        .map(|request| serde_json::from_slice(request.body()).unwrap())
        .collect();
    assert_eq!(
        registrations,
        [json!({
            "client_name": "Gatehouse", "client_uri": LOCAL, "redirect_uris": [format!("{LOCAL}/callback/notes")],
            "grant_types": ["authorization_code", "refresh_token"], "response_types": ["code"],
            "token_endpoint_auth_method": "none", "application_type": "native", "scope": "notes:read",
        })]
    );
}

#[test]
fn the_client_authenticates_as_the_server_wants_it() {
    let secret = "canary-registered-secret";
    for (supported, registered, expected) in [
        (Value::Null, json!({}), "basic"),
        (json!(["client_secret_basic"]), json!({}), "basic"),
        (json!(["none", "client_secret_post"]), json!({}), "post"),
        (json!(["none"]), json!({}), "none"),
        (json!(["client_secret_basic"]), json!({ "token_endpoint_auth_method": "client_secret_post" }), "post"),
        (json!(["client_secret_basic"]), json!({ "token_endpoint_auth_method": "none" }), "none"),
        (json!(["client_secret_basic"]), json!({ "client_secret": null }), "none"),
        (json!(["client_secret_basic"]), json!({ "client_secret": "" }), "none"),
    ] {
        let world = world();
        saying(&world, json!({ "token_endpoint_auth_methods_supported": supported }));
        let mut said = json!({ "client_id": "registered-1", "client_secret": secret });
        said.as_object_mut().unwrap().extend(registered.as_object().unwrap().clone());
        posted(&world, "https://login.example.net/register", 201, said);
        connect(&world);
        let (headers, form) = last_form(&world, "https://login.example.net/token");
        let how = match (headers.get("authorization"), form.get("client_secret")) {
            (Some(basic), None) => {
                assert_eq!(basic, "Basic cmVnaXN0ZXJlZC0xOmNhbmFyeS1yZWdpc3RlcmVkLXNlY3JldA==");
                "basic"
            }
            (None, Some(_)) => "post",
            (None, None) => "none",
            both => panic!("{both:?}"),
        };
        assert_eq!(how, expected, "{supported} {registered}");
    }
}

#[test]
fn what_is_no_registration_is_refused_with_the_servers_reason() {
    for (status, said, why) in [
        (
            400,
            json!({ "error": "invalid_redirect_uri", "error_description": "no loopback <here>" }),
            "https://login.example.net does not register this Gatehouse as a client (invalid_redirect_uri: no loopback &lt;here&gt;)",
        ),
        (400, json!({ "error": "invalid_client_metadata" }), "(invalid_client_metadata)"),
        (403, json!({}), "(it answers 403)"),
        (302, json!({}), "(it answers 302)"),
        (
            201,
            json!({ "client_id": "x", "redirect_uris": ["https://evil.example/"] }),
            "(it registers another redirect URI)",
        ),
        (201, json!({}), "what is at https://login.example.net/register is not of the expected form"),
        (
            201,
            json!({ "client_id": "x", "token_endpoint_auth_method": "private_key_jwt" }),
            "https://login.example.net wants clients to authenticate in a way that is not known here",
        ),
    ] {
        let world = world();
        posted(&world, "https://login.example.net/register", status, said);
        refuses(&world, why);
    }
    let world = world();
    saying(&world, json!({ "registration_endpoint": null }));
    refuses(
        &world,
        "https://login.example.net takes neither a client id metadata document from here nor a registration: register a \
         client there, and set `client_id` of this service",
    );
}

#[test]
fn a_registration_that_the_server_has_forgotten_is_made_anew() {
    let world = world();
    posted(&world, "https://login.example.net/token", 401, json!({ "error": "invalid_client" }));
    connect(&world);
    assert_eq!(resolved(&world)["status"], "not_connected");
    posted(&world, "https://login.example.net/register", 201, json!({ "client_id": "registered-2" }));
    posted(&world, "https://login.example.net/token", 200, granted("a-1", "r-1"));
    assert_eq!(start(&world)["client_id"], "registered-2");

    // At its authorization endpoint the server says so to nobody but the person.
    posted(&world, "https://login.example.net/register", 201, json!({ "client_id": "registered-3" }));
    let ids: Vec<String> = (0..6).map(|_| start(&world)["client_id"].clone()).collect();
    assert_eq!(ids.first().map(String::as_str), Some("registered-2"));
    assert_eq!(ids.last().map(String::as_str), Some("registered-3"));
    connect(&world);
    posted(&world, "https://login.example.net/register", 201, json!({ "client_id": "registered-4" }));
    assert_eq!(start(&world)["client_id"], "registered-3");
}

#[test]
fn a_grant_outlives_the_registration_of_another_client() {
    let world = world();
    connect(&world);
    for _ in 0..5 {
        start(&world);
    }
    posted(&world, "https://login.example.net/register", 201, json!({ "client_id": "registered-2" }));
    assert_eq!(start(&world)["client_id"], "registered-2");
    world.pass(3600);
    assert_eq!(resolved(&world)["status"], "token");
    let (_, form) = last_form(&world, "https://login.example.net/token");
    assert_eq!((form["grant_type"].as_str(), form["client_id"].as_str()), ("refresh_token", "registered-1"));
    // And it ends with its own.
    world.pass(3600);
    posted(&world, "https://login.example.net/token", 401, json!({ "error": "invalid_client" }));
    assert_eq!(resolved(&world)["status"], "needs_reconnect");
}

#[test]
fn a_secret_that_ends_soon_is_not_used_for_a_new_flow() {
    let world = world();
    saying(&world, json!({ "token_endpoint_auth_methods_supported": ["client_secret_basic"] }));
    let said = json!({ "client_id": "ends", "client_secret": "s", "client_secret_expires_at": NOW + 1000 });
    posted(&world, "https://login.example.net/register", 201, said);
    assert_eq!(start(&world)["client_id"], "ends");
    world.pass(200);
    let said = json!({ "client_id": "lasts", "client_secret": "s", "client_secret_expires_at": 0 });
    posted(&world, "https://login.example.net/register", 201, said);
    assert_eq!(start(&world)["client_id"], "lasts");
}

/// Item 66: nothing that one issuer gave goes to another.
#[test]
fn when_the_authorization_server_changes_nothing_of_the_old_one_goes_to_the_new() {
    let world = world();
    connect(&world);
    let issuer = "https://new.example.org";
    let mut said = metadata(issuer);
    for field in ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"] {
        said[field] = json!(format!("{issuer}/{field}"));
    }
    at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": [issuer] }));
    at(&world, "https://new.example.org/.well-known/oauth-authorization-server", said);
    posted(&world, "https://new.example.org/registration_endpoint", 201, json!({ "client_id": "new-1" }));
    posted(&world, "https://new.example.org/token_endpoint", 200, granted("a-new", "r-new"));
    world.pass(86_400);
    assert_eq!(resolved(&world)["status"], "needs_reconnect");
    // No word of it to the person's old one either, whose metadata are not known any more.
    let ended = Browser::default().post(&world, "/disconnect/notes", "");
    assert!(head(&ended, "location").contains("revoked=no"), "{}", head(&ended, "location"));
    assert_eq!(start(&world)["client_id"], "new-1");
    connect(&world);
    assert_eq!(resolved(&world)["access_token"], "a-new");
    for request in world.sent.borrow().iter().filter(|request| request.uri().host() == Some("new.example.org")) {
        let body = String::from_utf8_lossy(request.body()).into_owned();
        assert!(!body.contains("registered-1") && !body.contains("r-1"), "{body}");
    }
}

/// A07: between page and button somebody else had the authorization server discovered anew, and it is another one.
#[test]
fn a_button_leads_to_the_authorization_server_that_its_page_named() {
    for issuer in ["https://new.example.org", "https://login.example.net/tenant"] {
        let world = world();
        let mut browser = Browser::default();
        let page = browser.get(&world, "/auth/notes");
        assert!(text(&page).contains("<strong>login.example.net</strong>"), "{}", text(&page));
        at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": [issuer] }));
        let mut changed = metadata(issuer);
        if issuer.starts_with("https://new") {
            for name in ["authorization", "token", "registration", "revocation"] {
                changed[format!("{name}_endpoint")] = json!(format!("{issuer}/{name}"));
            }
        }
        let place = issuer.replacen(".net/tenant", ".net/.well-known/oauth-authorization-server/tenant", 1);
        let place = place.replacen(".org", ".org/.well-known/oauth-authorization-server", 1);
        at(&world, &place, changed);
        posted(&world, &format!("{issuer}/registration"), 201, json!({ "client_id": "registered-2" }));
        Browser::default().get(&world, "/auth/notes");

        let again = browser.agree(&world, &page);
        assert_eq!(again.status(), StatusCode::CONFLICT, "{}", text(&again));
        assert!(text(&again).contains("The service has changed"), "{}", text(&again));
        assert!(!world.dump().keys().any(|key| key.starts_with("b.f.")), "a flow was started");
        let url = url::Url::parse(issuer).unwrap();
        assert!(text(&again).contains(&format!("<strong>{}</strong>", url.host_str().unwrap())));
        assert_eq!(leads_to(&browser.agree(&world, &again)).host_str(), url.host_str());
    }
}

/// Item 66: a flow that began at one issuer does not end at another.
#[test]
fn a_flow_ends_where_it_began() {
    let world = world();
    let mut browser = Browser::default();
    let to = browser.start(&world, "/auth/notes");
    let issuer = "https://new.example.org";
    let mut said = metadata(issuer);
    for field in ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"] {
        said[field] = json!(format!("{issuer}/{field}"));
    }
    at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": [issuer] }));
    at(&world, "https://new.example.org/.well-known/oauth-authorization-server", said);
    posted(&world, "https://new.example.org/registration_endpoint", 201, json!({ "client_id": "new-1" }));
    start(&world);
    let done = browser.get(&world, &format!("/callback/notes?code=canary-code&state={}", to["state"]));
    assert_eq!(done.status(), StatusCode::CONFLICT);
    assert!(!sent(&world).contains(&"POST https://new.example.org/token_endpoint".to_owned()));
    assert!(!sent(&world).contains(&"POST https://login.example.net/token".to_owned()));
}

#[test]
fn the_operators_client_comes_first_and_belongs_to_one_issuer() {
    let world = upstream(World::public());
    saying(
        &world,
        json!({
            "client_id_metadata_document_supported": true,
            "token_endpoint_auth_methods_supported": ["none", "client_secret_post"],
        }),
    );
    let entry = json!({ "mcp_server": SERVER, "client_id": "ours", "client_secret": "canary-our-secret" });
    world.offer("notes", entry.clone());
    let mut browser = Browser::default();
    browser.sign_in(&world, PASSPHRASE);
    let to = browser.start(&world, "/auth/notes");
    assert_eq!(to["client_id"], "ours");
    browser.get(&world, &format!("/callback/notes?code=x&state={}", to["state"]));
    let (_, form) = last_form(&world, "https://login.example.net/token");
    assert_eq!((form["client_id"].as_str(), form["client_secret"].as_str()), ("ours", "canary-our-secret"));

    at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": ["https://new.example.org", ISSUER] }));
    let mut said = metadata("https://new.example.org");
    said["token_endpoint_auth_methods_supported"] = json!(["client_secret_post"]);
    at(&world, "https://new.example.org/.well-known/oauth-authorization-server", said);
    world.offer("notes", {
        let mut entry = entry.clone();
        entry["hosts"] = json!(["login.example.net"]);
        entry
    });
    let page = text(&browser.get(&world, "/auth/notes"));
    assert!(
        page.contains(
            "The MCP server now names https://new.example.org as its authorization server. The client of this service \
             belongs to https://login.example.net: register one there and set it, with `issuer`"
        ),
        "{page}"
    );
    for (issuer, well) in [(ISSUER, true), ("https://new.example.org", true), ("https://third.example", false)] {
        let mut entry = entry.clone();
        entry["issuer"] = json!(issuer);
        entry["hosts"] = json!(["login.example.net"]);
        world.offer("notes", entry);
        let page = browser.get(&world, "/auth/notes");
        assert_eq!(page.status().is_success(), well, "{issuer} {}", text(&page));
    }
    assert!(
        text(&browser.get(&world, "/auth/notes")).contains(
            "The MCP server does not name https://third.example as its authorization server, but `issuer` of this service does"
        )
    );
}

#[test]
fn a_client_is_known_by_its_document_where_others_can_reach_it() {
    let document = |world: &World| world.get("/client/notes");
    let world = upstream(World::public());
    saying(&world, json!({ "client_id_metadata_document_supported": true }));
    let mut browser = Browser::default();
    browser.sign_in(&world, PASSPHRASE);
    let to = browser.start(&world, "/auth/notes");
    let url = format!("{PUBLIC}/client/notes");
    assert_eq!(to["client_id"], url);
    assert!(!sent(&world).contains(&"POST https://login.example.net/register".to_owned()));
    let said = document(&world);
    assert_eq!(head(&said, "content-type"), "application/json");
    let said = read(&said);
    assert_eq!((&said["client_id"], &said["client_name"]), (&json!(url), &json!("Gatehouse")));
    assert_eq!(said["redirect_uris"], json!([format!("{PUBLIC}/callback/notes")]));
    assert_eq!(said["redirect_uris"], json!([to["redirect_uri"]]));
    assert_eq!(said["grant_types"], json!(["authorization_code", "refresh_token"]));
    assert_eq!(said["token_endpoint_auth_method"], "none");
    assert!(said.get("client_secret").is_none());
    browser.get(&world, &format!("/callback/notes?code=x&state={}", to["state"]));
    let (headers, form) = last_form(&world, "https://login.example.net/token");
    assert_eq!(form["client_id"], url);
    assert!(!headers.contains_key("authorization") && !form.contains_key("client_secret"));

    // Where the server wants a secret, or does not take documents, it registers.
    for said in [
        json!({ "client_id_metadata_document_supported": true, "token_endpoint_auth_methods_supported": ["client_secret_basic"] }),
        json!({ "client_id_metadata_document_supported": false }),
    ] {
        saying(&world, said);
        assert_eq!(browser.start(&world, "/auth/notes")["client_id"], "registered-1");
    }
    // Nobody reaches loopback from outside, by TLS or not.
    let local = self::world();
    saying(&local, json!({ "client_id_metadata_document_supported": true }));
    assert_eq!(start(&local)["client_id"], "registered-1");
    local.set("public_url", "https://127.0.0.1:3000");
    assert_eq!(start(&local)["client_id"], "registered-1");
    local.set("public_url", LOCAL);
    for (service, status) in [("notes", StatusCode::NOT_FOUND), ("forge", StatusCode::NOT_FOUND)] {
        assert_eq!(local.get(&format!("/client/{service}")).status(), status, "{service}");
    }
    for service in ["forge", "nobody"] {
        assert_eq!(world.get(&format!("/client/{service}")).status(), StatusCode::NOT_FOUND, "{service}");
    }
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
    assert!(world.log.borrow().iter().any(|line| line.contains("what was known of it still serves")));
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
fn what_was_found_by_a_clock_that_was_ahead_is_looked_for_again() {
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

#[test]
fn an_id_that_now_means_another_service_gets_nothing_of_the_old() {
    let world = world();
    connect(&world);
    let row = json!({
        "client_id": "x", "authorize_url": "https://forge.example/authorize", "token_url": "https://forge.example/token",
    });
    world.offer("notes", row.clone());
    world.pass(3600);
    assert_eq!(resolved(&world)["status"], "needs_reconnect");
    assert!(!sent_to(&world, "forge.example"));

    let world = self::world();
    world.offer("notes", row);
    world.connect(&mut Browser::default(), "notes", granted("a", "r"));
    world.offer("notes", json!({ "mcp_server": SERVER }));
    world.pass(3600);
    assert_eq!(resolved(&world)["status"], "needs_reconnect");
    assert!(!sent_to(&world, "mcp.example.com"));
}

#[test]
fn what_is_kept_of_a_client_is_sealed() {
    let world = world();
    saying(&world, json!({ "token_endpoint_auth_methods_supported": ["client_secret_post"] }));
    let said = json!({ "client_id": "canary-client-id", "client_secret": "canary-registered-secret" });
    posted(&world, "https://login.example.net/register", 201, said);
    connect(&world);
    for (key, row) in world.dump() {
        let row = String::from_utf8_lossy(&row).into_owned();
        assert!(!row.contains("canary") && !key.contains("notes") && !row.contains("login.example.net"));
    }
    assert!(world.log.borrow().iter().all(|line| !line.contains("canary")));
}

#[test]
fn an_entry_of_an_mcp_server_says_what_is_wrong_with_it() {
    for (entry, why) in [
        (
            json!({ "mcp_server": "http://mcp.example.com/" }),
            "`notes`: `mcp_server`: it has to be https (http is for loopback addresses)",
        ),
        (json!({ "mcp_server": "mcp.example.com" }), "`notes`: `mcp_server`: not a URL"),
        (
            json!({ "mcp_server": "https://x.spin.internal/" }),
            "`notes`: `mcp_server`: `*.spin.internal`, `self.alt` and link-local hosts are not outside",
        ),
        (json!({ "mcp_server": SERVER, "token_url": "x" }), "`notes`: unknown field `token_url`"),
        (
            json!({ "mcp_server": SERVER, "client_secret": "canary-secret" }),
            "`notes`: `client_secret` is of no use without `client_id`",
        ),
        (
            json!({ "mcp_server": SERVER, "hosts": ["https://a.example/"] }),
            "`notes`: `hosts` has one that is no host, such as auth.example.com or 10.0.0.5:8443",
        ),
        (
            json!({ "mcp_server": SERVER, "hosts": [""] }),
            "`notes`: `hosts` has one that is no host, such as auth.example.com or 10.0.0.5:8443",
        ),
    ] {
        let world = world();
        world.offer("notes", entry);
        let health = read(&world.get("/health"));
        let said = health["checks"]["oauth_clients"].as_str().unwrap();
        assert!(said.starts_with(why) && !said.contains("canary"), "{said}");
    }
}
