//! Nothing of a grant goes to another issuer than the one that made it.

use super::*;

/// Item 9: the issuer is compared byte by byte, in every document; R03: except for the slash of its root.
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

/// Item 13: a server that announces `iss` in every answer has to send it, and an `iss` that is sent has to be the right one.
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

/// A07: between page and button another person had the authorization server discovered again, and it is another one.
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
