//! Where the metadata are looked for, and which are refused.

use super::*;

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
fn metadata_of_another_server_are_refused() {
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
