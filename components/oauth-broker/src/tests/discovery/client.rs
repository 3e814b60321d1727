//! Which client the broker uses at an authorization server, and how it is registered.

use super::*;

/// Item 8: no assertion is ever sent that another server could be made to accept, even if the metadata ask for one.
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
fn a_failed_registration_is_refused_with_the_servers_reason() {
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
fn a_registration_that_the_server_has_forgotten_is_replaced() {
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
fn a_stored_registration_is_sealed() {
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
