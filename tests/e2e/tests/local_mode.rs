//! Who is the owner without a login: only the person at this machine, and only where the operator has said so.

use gatehouse_e2e::{Composition, Wish, World, in_every_composition, root};
use gatehouse_fixtures::provider::Person;
use gatehouse_host::{App, Folder, Options};
use http::header::{ACCEPT, CONTENT_TYPE, LOCATION};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

in_every_composition! {
    /// A25: a loopback `public_url` has full sign-in.
    fn on_loopback_nobody_gets_in_without_a_login(composition: Composition) {
        let world = World::new(composition, Wish { variables: vec![("local_owner", "false".to_owned())], ..Wish::default() });
        let (broker, gateway) = (world.house.broker(), world.house.gateway());
        for (method, url) in [
            ("GET", format!("{broker}/")),
            ("GET", format!("{broker}/connections")),
            ("GET", format!("{broker}/auth/demo")),
            ("POST", format!("{broker}/token/demo")),
            ("POST", format!("{broker}/tickets")),
            ("POST", format!("{broker}/resolve")),
            ("GET", format!("{broker}/admin/audit")),
            ("GET", format!("{gateway}/mcp/servers")),
            ("POST", format!("{gateway}/mcp")),
        ] {
            let answer = send(&world, method, &url, &[]);
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{method} {url}: {}", answer.body());
        }
        let health = send(&world, "GET", &format!("{broker}/health"), &[]);
        assert_eq!(said(&health)["local_mode"], false, "{}", health.body());
        assert!(world.house.rows().unwrap().is_empty());

        // With one, everything works as on a public address.
        let ann = world.house.keys().ann.value.clone();
        let mut browser = world.browser();
        let page = browser.open(&broker).unwrap();
        let page = browser.press(&page, "Sign in", &[("credential", &ann)]).unwrap();
        assert!(page.body.contains("Signed in as ann"), "{}", page.body);
        world.connect_as(&mut browser, Person::Alice);
        assert_eq!(world.whoami(&mut world.modern().with_bearer(&ann)).as_deref(), Ok("alice"));
        let page = browser.open(&broker).unwrap();
        let page = browser.press(&page, "Sign out", &[]).unwrap();
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
        assert_eq!(browser.open(&format!("{broker}/connections")).unwrap().status, StatusCode::UNAUTHORIZED);
    }

    /// A25: what others reach is nobody's own machine.
    fn local_owner_with_a_public_url_is_refused(composition: Composition) {
        let variables = vec![("local_owner", "true".to_owned())];
        let world = World::new(composition, Wish { public: true, variables, ..Wish::default() });
        for path in ["/", "/connections", "/admin/audit"] {
            let answer = send(&world, "GET", &format!("{}{path}", world.house.broker()), &[]);
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR, "{path}: {}", answer.body());
            assert!(answer.body().contains("local_owner"), "{path}: {}", answer.body());
        }
        let health = send(&world, "GET", &format!("{}/health", world.house.broker()), &[]);
        assert_eq!((health.status(), &said(&health)["local_mode"]), (StatusCode::SERVICE_UNAVAILABLE, &json!(false)));
        // At a public address the gateway asks nobody about a caller without a bearer.
        let reply = world.modern().list_tools().unwrap();
        assert_eq!(reply.status, StatusCode::UNAUTHORIZED, "{}", reply.body);
        let ann = world.house.keys().ann.value.clone();
        assert_eq!(world.modern().with_bearer(ann).list_tools().unwrap().status, StatusCode::OK);
    }

    /// A25, A20, A21, A06: the second wall, where `local_owner` is set and something stands before the app.
    fn in_local_mode_what_others_send_is_refused(composition: Composition) {
        let world = World::local(composition);
        world.connect();
        let before = world.house.rows().unwrap();
        let (broker, gateway) = (world.house.broker(), world.house.gateway());
        let own = broker.as_str();
        for fields in [
            &[("x-forwarded-for", "203.0.113.7")][..],
            &[("forwarded", "for=203.0.113.7")],
            &[("via", "1.1 proxy")],
            &[("cf-ray", "8a1")],
            &[("x-real-ip", "203.0.113.7")],
            // What a host says of a peer that is elsewhere; the name is the one that a proxy has put there.
            &[("spin-client-addr", "203.0.113.7:5000")],
            &[("host", "gatehouse.example.com")],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
            &[("origin", "http://evil.test")],
            &[("origin", own), ("origin", "http://evil.test")],
        ] {
            for (method, url) in [
                ("GET", format!("{broker}/")),
                ("GET", format!("{broker}/connections")),
                ("POST", format!("{broker}/token/demo")),
                ("GET", format!("{broker}/admin/audit")),
                ("GET", format!("{gateway}/mcp/servers")),
                ("POST", format!("{gateway}/mcp")),
                ("GET", format!("{gateway}/mcp/sse")),
                ("POST", format!("{gateway}/mcp/demo")),
            ] {
                let answer = send(&world, method, &url, fields);
                assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{method} {url} {fields:?}: {}", answer.body());
            }
        }
        assert_eq!(world.house.rows().unwrap(), before);
        assert_eq!(world.whoami(&mut world.modern()).as_deref(), Ok("alice"));
    }

    /// Any loopback name works; cookies belong to that of the setting.
    fn another_name_of_this_machine_works_too(composition: Composition) {
        let world = World::local(composition);
        let named = |url: String| url.replace("127.0.0.1", "localhost");
        let to = world.house.wire().pointing(&named(world.house.broker()), world.house.broker_address());
        let to = to.pointing(&named(world.house.gateway()), world.house.gateway_address());
        let page = to.send(Request::get(named(world.connect_page())).body(()).unwrap()).unwrap();
        assert_eq!(page.status(), StatusCode::TEMPORARY_REDIRECT, "{}", page.body());
        assert_eq!(page.headers()[LOCATION], world.connect_page());
        let servers = to.send(Request::get(named(world.house.gateway()) + "/mcp/servers").body(()).unwrap()).unwrap();
        assert_eq!(servers.status(), StatusCode::OK, "{}", servers.body());
    }

    /// A13: a `.env` of before calls the gateway's key `mcp-gateway`.
    fn a_gateway_whose_key_has_another_name_is_told_so(composition: Composition) {
        let variables = vec![("gateway_keys", "mcp-gateway".to_owned())];
        let world = World::new(composition, Wish { variables, ..Wish::default() });
        let health = send(&world, "GET", &format!("{}/health", world.house.broker()), &[]);
        assert_eq!(health.status(), StatusCode::SERVICE_UNAVAILABLE);
        assert!(said(&health)["checks"]["gateway_keys"].as_str().unwrap().contains("service_keys"), "{}", health.body());
        let reply = world.modern().list_tools().unwrap();
        if composition == Composition::Consolidated {
            // The gateway in this app asks by no key.
            assert_eq!(reply.status, StatusCode::OK, "{}", reply.body);
            return;
        }
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", reply.body);
        assert!(reply.body.contains("gateway_keys"), "{}", reply.body);
        // The caller may be anybody: the cure is on the operator's log.
        assert!(world.house.output().contains("service_keys"), "{}", world.house.output());
    }
}

/// A25: `public_url` has no default in any manifest, and the host says which variable has no value.
#[test]
fn a_manifest_without_a_public_url_is_refused() {
    for manifest in ["spin.toml", "deploy/broker.toml", "deploy/consolidated.toml"] {
        let set = ["encryption_keys", "service_keys", "gateway_service_key"];
        let options = Options {
            variables: set.map(|name| (name.to_owned(), "set".to_owned())).into(),
            state_dir: Folder::None,
            quiet: true,
            ..Options::default()
        };
        let error = App::load(&root().join(manifest), options).err().map(|error| format!("{error:#}"));
        assert!(error.as_ref().is_some_and(|error| error.contains(": public_url.")), "{manifest}: {error:?}");
    }
}

fn send(world: &World, method: &str, url: &str, fields: &[(&str, &str)]) -> Response<String> {
    let mut request = Request::builder().method(method).uri(url).header(ACCEPT, "application/json, text/event-stream");
    for (name, value) in fields {
        request = request.header(*name, *value);
    }
    let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
    let body = match (method, url.ends_with("/tickets")) {
        ("GET", _) => "",
        (_, true) => r#"{"service":"demo"}"#,
        (_, false) if url.contains("/mcp") => list,
        (_, false) if url.ends_with("/resolve") => r#"{"resource":"","services":[]}"#,
        (_, false) => "",
    };
    if !body.is_empty() {
        request = request.header(CONTENT_TYPE, "application/json");
    }
    world.house.wire().send(request.body(body).unwrap()).unwrap()
}

fn said(answer: &Response<String>) -> Value {
    serde_json::from_str(answer.body()).unwrap_or_default()
}
