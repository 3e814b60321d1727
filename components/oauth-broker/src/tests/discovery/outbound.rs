//! The broker's own requests: never to itself, and in no circle.

use http::{Request, StatusCode};
use serde_json::{Value, json};

use super::*;

const GATEWAY: &str = "https://mcp.gatehouse.example";

fn of_the_gatehouse(world: &World) -> Vec<String> {
    let is_own = |url: &String| url.contains(PUBLIC) || url.contains(LOCAL) || url.contains(GATEWAY);
    sent(world).into_iter().filter(is_own).collect()
}

/// A05: an operator's mistake, found before anything is sent.
#[test]
fn this_gatehouse_is_no_service_of_its_own() {
    for (world, urls) in [
        (
            World::public(),
            ["https://auth.example.com/mcp", "https://AUTH.example.com:443/", "https://mcp.gatehouse.example/mcp/x"],
        ),
        (World::local(), ["http://127.0.0.1:3000/mcp", "http://localhost:3000/mcp", "http://[::1]:3000/"]),
    ] {
        if world.settings.borrow()["public_url"] == PUBLIC {
            world.set("gateway_url", GATEWAY);
        }
        for url in urls {
            world.offer("notes", json!({ "mcp_server": url }));
            let request = world.request("GET", "/health").header("authorization", format!("Bearer {ADMIN_KEY}"));
            let health = read(&world.handle(request.body(Vec::new()).unwrap()));
            let said = health["checks"]["oauth_clients"].as_str().unwrap();
            assert_eq!(said, "`notes`: `mcp_server` is an address of this Gatehouse itself", "{url}");
        }
        world.offer("notes", json!({ "mcp_server": "https://auth.example.com:8443/mcp" }));
        assert_eq!(read(&world.get("/health"))["checks"]["oauth_clients"], "ok");
        assert!(world.sent.borrow().is_empty());
    }
}

/// A05: an address of ours that a stranger names is not requested, in any document.
#[test]
fn a_stranger_does_not_lead_the_broker_to_itself() {
    let evil = format!("{LOCAL}/auth/evil");
    let own = || {
        let world = upstream(World::local());
        // The operator's own naming does not make it a service.
        world.offer("notes", json!({ "mcp_server": SERVER, "hosts": ["127.0.0.1:3000"] }));
        world
    };
    let refuses_itself = |world: &World, url: &str| {
        refuses(world, &format!("{url} is an address of this Gatehouse itself, which is no service of its own"));
        assert_eq!(of_the_gatehouse(world), Vec::<String>::new(), "{url}");
    };
    let world = own();
    challenge(&world, &format!(r#"Bearer resource_metadata="{evil}""#));
    start(&world);
    assert_eq!(of_the_gatehouse(&world), Vec::<String>::new(), "the well-known place has the document");
    missing(&world, RESOURCE);
    refuses_itself(&world, &evil);
    let world = own();
    at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": [LOCAL] }));
    refuses_itself(&world, &format!("{LOCAL}/.well-known/oauth-authorization-server"));
    for field in ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"] {
        let world = own();
        saying(&world, json!({ field: evil }));
        refuses_itself(&world, &evil);
    }
    // A name under the server's host is one that its metadata may name.
    let world = upstream(World::public());
    world.set("gateway_url", GATEWAY);
    world.offer("notes", json!({ "mcp_server": SERVER, "hosts": ["gatehouse.example"] }));
    saying(&world, json!({ "token_endpoint": "https://mcp.gatehouse.example/token" }));
    let mut browser = Browser::default();
    browser.sign_in(&world, PASSPHRASE);
    assert!(text(&browser.get(&world, "/auth/notes")).contains("is an address of this Gatehouse itself"));
    assert_eq!(of_the_gatehouse(&world), Vec::<String>::new());
}

/// A05: nor does what a grant says, or a row.
#[test]
fn no_row_sends_a_secret_to_this_gatehouse() {
    let world = World::local();
    let row = json!({
        "client_id": "id", "client_secret": "canary-secret", "authorize_url": "https://forge.example/authorize",
        "token_url": format!("{LOCAL}/token/forge"),
    });
    world.offer("forge", row);
    let mut browser = Browser::default();
    let to = browser.start(&world, "/auth/forge");
    let done = browser.get(&world, &format!("/callback/forge?code=x&state={}", to["state"]));
    assert!(text(&done).contains("it is an address of this Gatehouse itself"), "{}", text(&done));
    assert!(world.sent.borrow().is_empty());
}

/// A05: a server on loopback does not lead to what else listens there.
#[test]
fn a_loopback_server_leads_to_no_port_that_nobody_named() {
    let server = "http://127.0.0.1:9000/mcp";
    let issuer = "http://127.0.0.1:9001";
    let local = |entry: Value, internal: &str| {
        let world = World::local();
        world.offer("notes", entry);
        world.set("internal_hosts", internal);
        let place = |url: &str, path: &str| format!("GET {url}/.well-known/{path}");
        put(&world, format!("POST {server}"), answer(401, &json!({})));
        let resource = json!({ "resource": server, "authorization_servers": [issuer] });
        put(&world, place("http://127.0.0.1:9000", "oauth-protected-resource/mcp"), answer(200, &resource));
        let mut said = metadata(issuer);
        for field in ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"] {
            said[field] = json!(format!("{issuer}/{field}"));
        }
        put(&world, place(issuer, "oauth-authorization-server"), answer(200, &said));
        posted(&world, "http://127.0.0.1:9001/registration_endpoint", 201, json!({ "client_id": "registered-1" }));
        world
    };
    let entry = |hosts: &[&str]| json!({ "mcp_server": server, "hosts": hosts });
    for (entry, internal) in [
        (entry(&[]), ""),
        (entry(&["127.0.0.1"]), ""),
        (entry(&["127.0.0.1:9002"]), "127.0.0.1,127.0.0.1:9003"),
        (entry(&["localhost:9001"]), "[::1]:9001"),
    ] {
        let world = local(entry.clone(), internal);
        refuses(&world, "it is an address of this machine or of a private network");
        assert!(!sent(&world).iter().any(|url| url.contains(":9001")), "{entry} {internal}");
    }
    for (entry, internal) in [(entry(&["127.0.0.1:9001"]), ""), (entry(&[]), "10.0.0.1, 127.0.0.1:9001")] {
        assert_eq!(start(&local(entry, internal))["client_id"], "registered-1");
    }
}

/// A05: `internal_hosts` says where the broker may go. Which of them belong together is another matter (item 8).
#[test]
fn an_internal_host_does_not_belong_to_every_service() {
    let world = upstream(World::local());
    world.set("internal_hosts", "login.corp:8443");
    saying(&world, json!({ "token_endpoint": "https://login.corp:8443/token" }));
    refuses(&world, "https://login.example.net names login.corp:8443 for its token_endpoint");
    world.offer("notes", json!({ "mcp_server": SERVER, "hosts": ["login.corp:8443"] }));
    start(&world);
}

#[test]
fn an_internal_host_that_is_none_is_named_by_its_place() {
    let world = World::local();
    for bad in ["https://a.example", "10.0.0.1,", ",x:", "self.alt", "a.example, 169.254.169.254", "a.example:443/x"] {
        world.set("internal_hosts", bad);
        let said = read(&world.get("/health"))["checks"]["internal_hosts"].as_str().unwrap().to_owned();
        if bad == "10.0.0.1," {
            assert_eq!(said, "ok");
        } else {
            let place = if bad.starts_with(',') || bad.contains(", ") { 2 } else { 1 };
            assert_eq!(said, format!("entry {place} is not host:port, such as login.corp.internal:8443"), "{bad}");
        }
    }
}

/// A16: what is sent for a request says how many Gatehouses it has passed: to an MCP server, its authorization server, and
/// the provider of a row.
#[test]
fn every_request_to_a_provider_counts_the_gatehouses_before_it() {
    let world = world();
    for (came, leaves) in [(None, "1"), (Some("1"), "2"), (Some("2"), "3"), (None, "1")] {
        for path in ["/auth/notes", "/token/forge"] {
            let mut browser = Browser::default();
            if path == "/token/forge" {
                world.connect(&mut browser, "forge", grant("access", 1, "refresh"));
                world.pass(3600);
                world.answer(200, grant("access", 3600, "refresh"));
            }
            world.sent.borrow_mut().clear();
            let method = if path == "/auth/notes" { "GET" } else { "POST" };
            let mut request = world.request(method, path);
            if let Some(count) = came {
                request = request.header("gatehouse-hop", count);
            }
            let answer = world.handle(request.body(Vec::new()).unwrap());
            assert_eq!(answer.status(), StatusCode::OK, "{path} {}", text(&answer));
            assert!(!world.sent.borrow().is_empty(), "{path}");
            for request in world.sent.borrow().iter() {
                assert_eq!(request.headers()["gatehouse-hop"], leaves, "{} {path}", request.uri());
            }
        }
    }
}

/// A16: a request that has gone in circles gets nothing, wherever it goes.
#[test]
fn a_request_that_has_passed_too_many_gatehouses_is_refused() {
    let world = world();
    for count in ["3", "0", "x"] {
        for (method, path) in
            [("GET", "/auth/notes"), ("POST", "/token/notes"), ("POST", "/resolve"), ("GET", "/health")]
        {
            let request = world.request(method, path).header("gatehouse-hop", count);
            let answer = world.handle(request.body(Vec::new()).unwrap());
            assert_eq!(answer.status(), StatusCode::LOOP_DETECTED, "{path}");
            assert!(text(&answer).contains("Gatehouse-Hop"), "{}", text(&answer));
        }
    }
    assert!(world.sent.borrow().is_empty());
    // The gateway's own question is no such request.
    let body = json!({ "resource": format!("{LOCAL}/mcp"), "services": [] }).to_string().into_bytes();
    let ask = Request::post("http://oauth-broker.spin.internal/resolve")
        .header("authorization", format!("Bearer {SERVICE_KEY}"));
    assert_eq!(world.handle(ask.body(body).unwrap()).status(), StatusCode::OK);
}

/// A16: `resolve` has no header to count by. A walk that leads back to it, over another gateway, finds that a walk is under
/// way.
#[test]
fn a_walk_that_leads_back_to_its_own_beginning_begins_no_other() {
    for lost in [false, true] {
        let world = world();
        connect(&world);
        if lost {
            world.store.borrow_mut().retain(|key, _| !key.starts_with("b.d."));
        }
        world.pass(86_400);
        world.sent.borrow_mut().clear();
        let nested = move |world: &World| {
            let status = resolved(world)["status"].clone();
            assert_eq!(status, if lost { "temporarily_unavailable" } else { "token" });
        };
        *world.meanwhile.borrow_mut() = Some(Box::new(nested));
        assert_eq!(resolved(&world)["status"], "token");
        let knocks = sent(&world).iter().filter(|url| **url == format!("POST {SERVER}")).count();
        assert_eq!(knocks, 1, "{lost}");
    }
}

/// The same for an unknown server that does not answer.
#[test]
fn a_server_that_is_silent_is_not_looked_for_at_every_call() {
    let world = world();
    connect(&world);
    world.store.borrow_mut().retain(|key, _| !key.starts_with("b.d."));
    world.sites.borrow_mut().remove(&format!("POST {SERVER}"));
    world.pass(3600);
    world.sent.borrow_mut().clear();
    for _ in 0..5 {
        assert_eq!(resolved(&world)["status"], "temporarily_unavailable");
    }
    assert_eq!(world.sent.borrow().len(), 1);
    world.pass(300);
    challenge(&world, &format!(r#"Bearer resource_metadata="{RESOURCE}""#));
    assert_eq!(resolved(&world)["status"], "token");
}
