//! Local mode: the owner needs no login, and only if the operator has set `local_owner`.

use http::{Request, StatusCode};
use serde_json::json;

use super::*;

/// A world on loopback whose people sign in.
fn loopback() -> World {
    let world = World::local();
    world.set("local_owner", "false");
    world
}

fn status(world: &World, method: &str, path: &str, fields: &[(&str, &str)]) -> StatusCode {
    let mut request = world.request(method, path);
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    world.handle(request.body(Vec::new()).unwrap()).status()
}

const DOORS: [(&str, &str); 9] = [
    ("GET", "/"),
    ("GET", "/connections"),
    ("GET", "/auth/forge"),
    ("POST", "/auth/forge"),
    ("POST", "/token/forge"),
    ("DELETE", "/token/forge"),
    ("POST", "/disconnect/forge"),
    ("GET", "/admin/audit"),
    ("POST", "/admin/sweep"),
];

/// A25: a loopback `public_url` alone makes nobody the owner, on no route.
#[test]
fn on_loopback_nobody_is_the_owner_without_the_setting() {
    for value in [None, Some(""), Some("false"), Some(" false ")] {
        let world = loopback();
        match value {
            None => drop(world.settings.borrow_mut().remove("local_owner")),
            Some(value) => world.set("local_owner", value),
        }
        for (method, path) in DOORS {
            assert_eq!(status(&world, method, path, &[]), StatusCode::UNAUTHORIZED, "{value:?} {method} {path}");
        }
        let wish = json!({ "service": "forge" }).to_string().into_bytes();
        let ticket = world.handle(world.request("POST", "/tickets").body(wish).unwrap());
        assert_eq!(read(&ticket)["error"], "login_required");
        let question = json!({ "resource": format!("{LOCAL}/mcp"), "services": [] });
        let unsigned = world.request("POST", "/resolve").body(question.to_string().into_bytes()).unwrap();
        assert_eq!(read(&world.handle(unsigned))["error"], "invalid_client");
        assert_eq!(read(&world.ask(SERVICE_KEY, &question))["error"], "invalid_token");
        assert_eq!(read(&world.get("/health"))["local_mode"], false);
        assert!(world.dump().is_empty());
    }
}

/// A25: the plugged-in broker gives the gateway no owner either.
#[test]
fn on_loopback_the_wit_interface_knows_no_owner_without_the_setting() {
    use crate::http::resolve::{Question, ResolveError, resolve};
    let question = || Question { subject_token: None, resource: format!("{LOCAL}/mcp"), services: Vec::new() };
    assert!(matches!(run(resolve(&loopback(), question())).err(), Some(ResolveError::Bearer)));
    assert_eq!(run(resolve(&World::local(), question())).unwrap().caller.subject, "owner");
}

/// A25: what stands behind a public address is nobody's own machine, and the operator learns it at once.
#[test]
fn local_owner_is_an_error_with_an_address_that_others_reach() {
    for (setting, value) in [("public_url", PUBLIC), ("gateway_url", "https://mcp.example.com"), ("local_owner", "yes")]
    {
        let world = World::local();
        world.set(setting, value);
        for (method, path) in [("GET", "/"), ("GET", "/connections"), ("POST", "/token/forge"), ("GET", "/admin/audit")]
        {
            let answer = world.handle(world.request(method, path).body(Vec::new()).unwrap());
            let said = read(&answer);
            assert_eq!((answer.status(), &said["error"]), (StatusCode::INTERNAL_SERVER_ERROR, &json!("server_error")));
            assert!(said["error_description"].as_str().unwrap().starts_with("local_owner: "), "{said}");
        }
        let health = world.get("/health");
        assert_eq!(health.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert_ne!(read(&health)["checks"]["local_owner"], "ok");
        assert_eq!(read(&health)["local_mode"], false);
    }
}

#[test]
fn on_loopback_a_person_signs_in_connects_and_signs_out() {
    let world = loopback();
    let mut browser = Browser::default();
    assert!(text(&browser.get(&world, "/")).contains("action=\"/sign-in\""));
    let cookie = head(&browser.sign_in(&world, PASSPHRASE), "set-cookie");
    assert!(cookie.starts_with("gatehouse-session=") && !cookie.contains("Secure"), "{cookie}");
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    let page = text(&browser.get(&world, "/"));
    assert!(page.contains("/disconnect/forge") && page.contains("Signed in as owner"), "{page}");
    assert_eq!(status(&world, "GET", "/connections", &[("authorization", &format!("Bearer {ANNS_KEY}"))]), 200);
    browser.post(&world, "/sign-out", "");
    assert!(browser.cookies.keys().eq(["gatehouse-owners-browser"]), "{:?}", browser.cookies);
    assert_eq!(browser.get(&world, "/connections").status(), StatusCode::UNAUTHORIZED);
}

/// A25, A20: the second wall, where the operator has set `local_owner` and a proxy stands before it.
#[test]
fn in_local_mode_what_a_proxy_passed_on_is_not_the_owners() {
    let world = World::local();
    for fields in [
        [("x-forwarded-for", "203.0.113.7")],
        [("x-forwarded-proto", "https")],
        [("forwarded", "for=203.0.113.7")],
        [("x-real-ip", "203.0.113.7")],
        [("via", "1.1 proxy")],
        [("cf-ray", "8a1")],
        [("spin-client-addr", "203.0.113.7:5000")],
        [("spin-client-addr", "")],
    ] {
        for (method, path) in DOORS {
            assert_eq!(status(&world, method, path, &fields), StatusCode::FORBIDDEN, "{method} {path} {fields:?}");
        }
    }
    assert!(world.dump().is_empty());
}

/// A06, A21: what a page of another origin sends without an Origin, and what has two.
#[test]
fn in_local_mode_a_page_of_another_origin_is_not_the_owner() {
    let world = World::local();
    for fields in [
        &[("sec-fetch-site", "cross-site")][..],
        &[("sec-fetch-site", "same-site"), ("sec-fetch-mode", "no-cors")],
        &[("origin", "http://localhost:8080")],
        &[("origin", "http://localhost:6274")],
        &[("origin", LOCAL), ("origin", "https://evil.example")],
        &[("origin", LOCAL), ("origin", LOCAL)],
    ] {
        for (method, path) in DOORS {
            assert_eq!(status(&world, method, path, fields), StatusCode::FORBIDDEN, "{method} {path} {fields:?}");
        }
    }
    // A person who follows a link, and the owner's tools: Node's `fetch` names a mode and no site.
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(status(&world, "GET", "/", &link), StatusCode::OK);
    assert_eq!(status(&world, "GET", "/admin/audit", &[("sec-fetch-mode", "cors")]), StatusCode::OK);
}

/// Cookies belong to a name, and this machine has several.
#[test]
fn another_name_of_this_machine_leads_to_that_of_the_setting() {
    for world in [World::local(), loopback()] {
        for (uri, to) in [
            ("http://localhost:3000/", "http://127.0.0.1:3000/"),
            ("http://[::1]:3000/auth/forge?account=work", "http://127.0.0.1:3000/auth/forge?account=work"),
            ("http://LOCALHOST:3000//evil.example", ""),
        ] {
            let answer = world.handle(Request::get(uri).header("accept", "text/html").body(Vec::new()).unwrap());
            assert_eq!(head(&answer, "location"), to, "{uri}");
            assert_eq!(answer.status(), if to.is_empty() { 404 } else { 307 }, "{uri}");
        }
        let post = Request::post("http://localhost:3000/auth/forge").body(Vec::new()).unwrap();
        let answer = world.handle(post);
        assert_eq!((answer.status(), head(&answer, "location")), (StatusCode::FORBIDDEN, String::new()));
        assert!(text(&answer).contains(LOCAL), "{}", text(&answer));
        for foreign in ["http://evil.example:3000/", "http://localhost:3001/"] {
            let answer = world.handle(Request::get(foreign).body(Vec::new()).unwrap());
            assert_eq!(head(&answer, "location"), "", "{foreign}");
        }
    }
    // What needs no cookie may name this machine as it likes.
    let world = World::local();
    world.connect(&mut Browser::default(), "forge", grant("access-1", 3600, "refresh-1"));
    let token = Request::post("http://localhost:3000/token/forge").body(Vec::new()).unwrap();
    assert_eq!(world.handle(token).status(), StatusCode::OK);
    // A public address has one name, and leads nowhere.
    let elsewhere = Request::get("http://localhost:3000/").body(Vec::new()).unwrap();
    assert_eq!(World::public().handle(elsewhere).status(), StatusCode::UNAUTHORIZED);
}

/// R37: the settings do not know at which port the host listens.
#[test]
fn in_local_mode_any_port_of_this_machine_is_our_own() {
    let world = World::local();
    world.connect(&mut Browser::default(), "forge", grant("access-1", 3600, "refresh-1"));
    let send = |method: &str, host: &str, path: &str, origin: Option<String>| {
        let mut request = Request::builder().method(method).uri(format!("http://{host}{path}"));
        if let Some(origin) = origin {
            request = request.header("origin", origin);
        }
        world.handle(request.header("accept", "text/html").body(Vec::new()).unwrap())
    };
    for host in ["127.0.0.1:3011", "localhost:3011", "[::1]:3011"] {
        let page = send("GET", host, "/", None);
        assert_eq!(page.status(), StatusCode::OK, "{host}: {}", text(&page));
        assert!(text(&page).contains("lead to http://127.0.0.1:3000"), "{host}: {}", text(&page));
        assert_eq!(send("POST", host, "/token/forge", None).status(), StatusCode::OK, "{host}");
        // The page that this port served, and no page of another port: not even of the one that the setting names.
        let form = |origin: &str| send("POST", host, "/disconnect/none", Some(format!("http://{origin}"))).status();
        assert_ne!(form(host), StatusCode::FORBIDDEN, "{host}");
        for foreign in ["127.0.0.1:3000", "localhost:3012", "localhost:6274", "evil.example:3011"] {
            assert_eq!(form(foreign), StatusCode::FORBIDDEN, "{host} {foreign}");
        }
    }
    for foreign in ["127.0.0.2:3011", "evil.example:3011", "a.localhost:3011"] {
        assert_eq!(send("GET", foreign, "/", None).status(), StatusCode::FORBIDDEN, "{foreign}");
    }
    assert!(!text(&send("GET", "127.0.0.1:3000", "/", None)).contains("lead to"));
}

/// A25: that local mode is on is on the log, in `/health` and on the page; once for each page, and not for each call.
#[test]
fn local_mode_says_that_it_is_on() {
    let world = World::local();
    assert!(text(&world.get("/")).contains("local_owner"));
    world.get("/connections");
    world.token("forge", None);
    let log = world.log.borrow();
    assert_eq!(log.iter().filter(|line| line.contains("local_owner")).count(), 1, "{log:?}");
    assert_eq!(read(&world.get("/health"))["local_mode"], true);
    assert_eq!(read(&World::public().get("/health"))["local_mode"], false);
}
