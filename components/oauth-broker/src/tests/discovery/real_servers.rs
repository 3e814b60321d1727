//! Servers as they are found in the world: the broker's rows of the list of real inputs.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::*;

const TOKEN: &str = "https://login.example.net/token";
const REGISTER: &str = "https://login.example.net/register";

/// R01: a server that has lost its clients is connected again with a new one, by one flow.
#[test]
fn a_client_that_is_gone_at_a_refresh_is_registered_again() {
    for error in ["invalid_client", "unauthorized_client"] {
        let world = world();
        connect(&world);
        world.pass(3600);
        posted(&world, TOKEN, 401, json!({ "error": error }));
        assert_eq!(resolved(&world)["status"], "needs_reconnect", "{error}");
        posted(&world, REGISTER, 201, json!({ "client_id": "registered-2" }));
        posted(&world, TOKEN, 200, granted("a-2", "r-2"));
        assert_eq!(start(&world)["client_id"], "registered-2", "{error}");
    }
}

fn registrations(world: &World) -> Vec<Value> {
    let sent = world.sent.borrow();
    let there = sent.iter().filter(|request| request.uri().path() == "/register");
    there.map(|request| serde_json::from_slice::<Value>(request.body()).unwrap()["scope"].clone()).collect()
}

/// R02: a registration says which scopes will be asked for, and more scopes make another.
#[test]
fn a_registration_says_the_scopes_that_will_be_asked_for() {
    let world = world();
    challenge(&world, "Bearer");
    at(
        &world,
        RESOURCE,
        json!({ "resource": SERVER, "authorization_servers": [ISSUER], "scopes_supported": ["mcp:use"] }),
    );
    saying(&world, json!({ "scopes_supported": ["mcp:use", "openid", "offline_access"] }));
    connect(&world);
    assert_eq!(registrations(&world), ["mcp:use offline_access"]);
    assert_eq!(start(&world)["scope"], "mcp:use offline_access");
    assert_eq!(registrations(&world).len(), 1, "the same scopes need no other");

    let step_up = |scope: &str| {
        let stands = world.resolve(None, json!({ "service": "notes", "scopes": [scope] }));
        let link = stands["connect_url"].as_str().unwrap().replace(LOCAL, "");
        Browser::default().start(&world, &link)["scope"].clone()
    };
    posted(&world, REGISTER, 201, json!({ "client_id": "registered-2" }));
    assert_eq!(step_up("mcp:admin"), "mcp:use offline_access mcp:admin");
    assert_eq!(registrations(&world)[1..], ["mcp:use offline_access mcp:admin"]);
    // The scopes of two people do not replace each other's registration without end.
    step_up("mcp:other");
    assert_eq!(registrations(&world)[2..], ["mcp:use offline_access mcp:other mcp:admin"]);
    step_up("mcp:admin");
    step_up("mcp:other");
    start(&world);
    assert_eq!(registrations(&world).len(), 3);
    // A grant keeps the client that it was made with.
    world.pass(3600);
    assert_eq!(resolved(&world)["status"], "token");
    assert_eq!(last_form(&world, TOKEN).1["client_id"], "registered-1");

    // Without scopes there is nothing to say, and the operator's come before the server's.
    let world = self::world();
    challenge(&world, "Bearer");
    at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": [ISSUER] }));
    start(&world);
    world.offer("notes", json!({ "mcp_server": SERVER, "scopes": ["mine", "too"] }));
    start(&world);
    assert_eq!(registrations(&world), [Value::Null, json!("mine too")]);
}

/// R02: a server that registers for fewer scopes is asked for those, and the operator's log says so; a server that refuses the
/// scopes of a registration gets one without.
#[test]
fn another_scope_in_the_answer_to_a_registration_is_seen() {
    let asked = |said: Value| {
        let world = world();
        challenge(&world, r#"Bearer scope="a b""#);
        let mut answer = json!({ "client_id": "registered-1" });
        answer["scope"] = said;
        posted(&world, REGISTER, 201, answer);
        let mut browser = Browser::default();
        let page = text(&browser.get(&world, "/auth/notes"));
        let to = browser.start(&world, "/auth/notes");
        let is_noted = world.log.borrow().iter().any(|line| line.contains("registers this Gatehouse for fewer scopes"));
        assert_eq!(page.contains(">b<"), to["scope"].contains('b'), "the page shows what will be asked for");
        (to["scope"].clone(), is_noted, registrations(&world).len())
    };
    assert_eq!(asked(json!("a")), ("a".to_owned(), true, 1));
    assert_eq!(asked(json!("b other")), ("b".to_owned(), true, 1));
    for said in [Value::Null, json!("a b"), json!("b c a"), json!(""), json!("other"), json!(["a"]), json!(7)] {
        assert_eq!(asked(said.clone()), ("a b".to_owned(), false, 1), "{said}");
    }

    let world = world();
    *world.provider.borrow_mut() = None;
    posted(&world, REGISTER, 400, json!({ "error": "invalid_client_metadata" }));
    refuses(&world, "https://login.example.net does not register this Gatehouse as a client (invalid_client_metadata)");
    assert_eq!(registrations(&world), [json!("notes:read"), Value::Null]);
}

/// R02: the client's document says the scopes too, and those that are asked for later.
#[test]
fn the_clients_document_says_the_scopes() {
    let world = upstream(World::public());
    saying(
        &world,
        json!({ "client_id_metadata_document_supported": true, "scopes_supported": ["notes:read", "offline_access"] }),
    );
    let document = || read(&world.get("/client/notes"))["scope"].clone();
    assert_eq!(document(), Value::Null, "nothing is known yet");
    let mut browser = Browser::default();
    browser.sign_in(&world, PASSPHRASE);
    let to = browser.start(&world, "/auth/notes");
    assert_eq!((document(), to["scope"].as_str()), (json!("notes:read offline_access"), "notes:read offline_access"));
    browser.get(&world, &format!("/callback/notes?code=x&state={}", to["state"]));
    let body = json!({ "service": "notes", "scopes": ["notes:write"] });
    let request = world.request("POST", "/tickets").header("authorization", format!("Bearer {ANNS_KEY}"));
    let ticket = world.handle(request.body(body.to_string().into_bytes()).unwrap());
    let link = read(&ticket)["connect_url"].as_str().map(|url| url.replace(PUBLIC, "")).unwrap();
    let mut anns = Browser::default();
    anns.sign_in(&world, ANNS_KEY);
    let to = anns.start(&world, &link);
    assert!(to["scope"].ends_with("notes:write"), "{}", to["scope"]);
    assert_eq!(document(), "notes:read offline_access notes:write");
    // What was asked for is not forgotten when the server is looked at again.
    world.pass(86_401);
    anns.sign_in(&world, ANNS_KEY);
    anns.get(&world, "/auth/notes");
    assert_eq!(document(), "notes:read offline_access notes:write");
}

/// R03: a root slash at one origin makes no other issuer; what the metadata say is compared with the answer's `iss`.
#[test]
fn an_issuer_with_a_root_slash_is_the_issuer_without() {
    let slash = "https://login.example.net/";
    for (named, said, iss, well) in [
        (slash, ISSUER, ISSUER, true),
        (ISSUER, slash, slash, true),
        (slash, slash, slash, true),
        (slash, ISSUER, slash, false),
        (ISSUER, slash, ISSUER, false),
    ] {
        let world = world();
        at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": [named] }));
        saying(&world, json!({ "issuer": said }));
        let done = connect_with(&world, &format!("&iss={iss}"));
        assert_eq!(done.status() == StatusCode::SEE_OTHER, well, "{named} {said} {iss}");
    }
    // The operator's `issuer` is compared alike, and a grant outlives a server that writes itself otherwise from now on.
    for written in [ISSUER, slash] {
        let world = world();
        world.offer("notes", json!({ "mcp_server": SERVER, "issuer": written }));
        connect(&world);
        saying(&world, json!({ "issuer": slash }));
        world.pass(86_400);
        assert_eq!(resolved(&world)["status"], "token", "{written}");
    }
}

/// R08: no request asks for a coding, and one that comes anyway is named.
#[test]
fn every_request_asks_for_no_coding_and_one_that_comes_is_named() {
    let coded = |body: &Value| {
        Response::builder().header("content-encoding", "gzip").body(body.to_string().into_bytes()).unwrap()
    };
    let world = world();
    connect(&world);
    world.pass(3600);
    resolved(&world);
    Browser::default().post(&world, "/disconnect/notes", "");
    world.offer("gitlab", json!({ "client_id": "the-id", "client_secret": "s" }));
    world.connect(&mut Browser::default(), "gitlab", grant("a", 3600, "r"));
    let sent = world.sent.borrow();
    assert!(sent.len() >= 8, "probe, two documents, registration, token, refresh, revocation, whoami");
    for request in sent.iter() {
        assert_eq!(request.headers()["accept-encoding"], "identity", "{}", request.uri());
    }

    for place in [RESOURCE, METADATA] {
        let world = self::world();
        put(&world, format!("GET {place}"), Ok(coded(&metadata(ISSUER))));
        refuses(&world, &format!("what is at {place} is gzip-coded, although it was asked for without a coding"));
    }
    let world = self::world();
    put(&world, format!("POST {REGISTER}"), Ok(coded(&json!({ "client_id": "x" }))));
    refuses(&world, &format!("what is at {REGISTER} is gzip-coded"));

    let world = self::world();
    let mut browser = Browser::default();
    let to = browser.start(&world, "/auth/notes");
    put(&world, format!("POST {TOKEN}"), Ok(coded(&granted("a", "r"))));
    let page = browser.get(&world, &format!("/callback/notes?code=x&state={}", to["state"]));
    assert!(text(&page).contains("the answer is gzip-coded"), "{}", text(&page));
    posted(&world, TOKEN, 200, granted("a", "r"));
    connect(&world);
    world.pass(3600);
    put(&world, format!("POST {TOKEN}"), Ok(coded(&granted("a", "r"))));
    assert_eq!(resolved(&world)["status"], "temporarily_unavailable");
    assert!(world.log.borrow().iter().any(|line| line.contains("gzip-coded")));
    // A status that says enough is not hidden by the coding of its page.
    let busy = Response::builder().status(503).header("content-encoding", "br").header("retry-after", "9");
    put(&world, format!("POST {TOKEN}"), Ok(busy.body(Vec::new()).unwrap()));
    assert_eq!(resolved(&world)["retry_after"], 9);
}

/// R12: a byte order mark before JSON is passed over wherever the broker reads JSON from outside.
#[test]
fn a_byte_order_mark_is_passed_over() {
    let marked = |status: u16, body: &Value| {
        let body = format!("\u{feff}{body}").into_bytes();
        Ok(Response::builder().status(status).header("content-type", "application/json").body(body).unwrap())
    };
    let world = world();
    let document = json!({ "resource": SERVER, "authorization_servers": [ISSUER] });
    put(&world, format!("GET {RESOURCE}"), marked(200, &document));
    put(&world, format!("GET {METADATA}"), marked(200, &metadata(ISSUER)));
    put(&world, format!("POST {REGISTER}"), marked(201, &json!({ "client_id": "registered-1" })));
    put(&world, format!("POST {TOKEN}"), marked(200, &granted("a-1", "r-1")));
    connect(&world);
    assert_eq!(resolved(&world)["access_token"], "a-1");
    world.pass(3600);
    put(&world, format!("POST {TOKEN}"), marked(400, &json!({ "error": "invalid_grant" })));
    assert_eq!(resolved(&world)["status"], "needs_reconnect");
    put(&world, format!("POST {REGISTER}"), marked(400, &json!({ "error": "invalid_redirect_uri" })));
    world.store.borrow_mut().clear();
    refuses(&world, "does not register this Gatehouse as a client (invalid_redirect_uri)");

    let world = World::local();
    world.offer(
        "op",
        json!({
            "client_id": "x", "authorize_url": "https://op.example/a", "token_url": "https://op.example/t",
            "whoami": { "url": "https://op.example/me", "account": ["name"] },
        }),
    );
    put(&world, "POST https://op.example/t".to_owned(), marked(200, &granted("a", "r")));
    put(&world, "GET https://op.example/me".to_owned(), marked(200, &json!({ "name": "ann" })));
    let mut browser = Browser::default();
    let to = browser.start(&world, "/auth/op");
    browser.get(&world, &format!("/callback/op?code=x&state={}", to["state"]));
    let listed = read(&world.get("/connections"));
    assert!(listed["services"].as_array().unwrap().iter().any(|one| one["label"] == "ann"), "{listed}");

    // What services and operators write.
    let request = world.request("POST", "/token/op").header("content-type", "application/json");
    assert_eq!(world.handle(request.body("\u{feff}{}".into()).unwrap()).status(), StatusCode::OK);
    let clients = world.settings.borrow()["oauth_clients"].clone();
    world.set("oauth_clients", &format!("\u{feff}{clients}"));
    world.set("handout_policy", "\u{feff}{\"gateway\": {\"services\": {\"*\": [\"*\"]}}}");
    let body = format!("\u{feff}{}", json!({ "resource": format!("{LOCAL}/mcp"), "services": [{ "service": "op" }] }));
    let request = http::Request::post("http://oauth-broker.spin.internal/resolve");
    let request = request.header("authorization", format!("Bearer {SERVICE_KEY}")).body(body.into_bytes()).unwrap();
    assert_eq!(read(&world.handle(request))["services"][0]["status"], "token");
}

/// R17: trouble at one well-known place is no end while another place may have the document.
#[test]
fn trouble_at_one_well_known_place_leads_on_to_the_next() {
    let tenant = "https://login.example.net/app";
    let places = [
        "https://login.example.net/.well-known/oauth-authorization-server/app",
        "https://login.example.net/.well-known/openid-configuration/app",
        "https://login.example.net/app/.well-known/openid-configuration",
    ];
    let page = |status: u16| Ok(Response::builder().status(status).body(b"<html>".to_vec()).unwrap());
    let long = || Ok(Response::new(vec![b' '; 70 * 1024]));
    let coded = || Ok(Response::builder().header("content-encoding", "br").body(b"x".to_vec()).unwrap());
    let statuses = [200, 204, 302, 400, 401, 403, 404, 405, 410, 418, 429, 500, 501, 502, 503];
    let mut all: Vec<(Answer, Option<String>)> = vec![
        (Err(SendFault::Timeout), Some("does not answer now (no answer in time)".to_owned())),
        (Err(SendFault::Connection), Some("does not answer now (no connection)".to_owned())),
        (Err(SendFault::TooLarge), Some("is longer than 64 KB".to_owned())),
    ];
    all.extend(statuses.map(|status: u16| {
        let busy = status >= 500 || status == 429;
        (page(status), busy.then(|| format!("does not answer now (it answers {status})")))
    }));
    all.push((long(), Some("is longer than 64 KB".to_owned())));
    all.push((coded(), Some("is br-coded".to_owned())));
    for (trouble, why) in all {
        // Of the authorization server.
        let world = world();
        at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": [tenant] }));
        for place in places {
            put(&world, format!("GET {place}"), trouble.clone());
        }
        refuses(&world, why.as_deref().unwrap_or("has no metadata at any of the well-known places"));
        at(&world, places[2], metadata(tenant));
        start(&world);

        // Of the MCP server, by its challenge and by its own places.
        for header in ["Bearer".to_owned(), format!(r#"Bearer resource_metadata="{RESOURCE}""#)] {
            let world = self::world();
            challenge(&world, &header);
            put(&world, format!("GET {RESOURCE}"), trouble.clone());
            at(&world, ROOT, json!({ "resource": SERVER, "authorization_servers": [ISSUER] }));
            assert_eq!(start(&world)["resource"], SERVER, "{header} {trouble:?}");
        }
    }
}

/// R18: where the challenge leads nowhere, the server's own places are tried; if they have nothing, the error names the first.
#[test]
fn a_challenge_that_leads_nowhere_leads_to_the_servers_own_places() {
    let nowhere = "https://mcp.example.com/gone.json";
    for answer in [answer(404, &json!({})), answer(200, &json!({})), answer(200, &json!([])), answer(500, &json!({}))] {
        for place in [RESOURCE, ROOT] {
            let world = world();
            challenge(&world, &format!(r#"Bearer resource_metadata="{nowhere}""#));
            missing(&world, RESOURCE);
            put(&world, format!("GET {nowhere}"), answer.clone());
            at(&world, place, json!({ "resource": SERVER, "authorization_servers": [ISSUER] }));
            assert_eq!(start(&world)["resource"], SERVER);
        }
    }
    let world = world();
    challenge(&world, &format!(r#"Bearer resource_metadata="{nowhere}""#));
    missing(&world, RESOURCE);
    missing(&world, nowhere);
    refuses(&world, &format!("the metadata of the MCP server should be at {nowhere}, which answers 404"));
    put(&world, format!("GET {nowhere}"), answer(200, &json!({ "resource": 1 })));
    refuses(&world, &format!("what is at {nowhere} is not of the expected form"));
}

/// R19: metadata may speak of the whole host, or of a folder that the server is in; what they say is what is asked for.
#[test]
fn a_resource_above_the_server_is_the_one_that_is_asked_for() {
    for resource in ["https://mcp.example.com", "https://mcp.example.com/", "https://mcp.example.com/mcp/"] {
        let world = world();
        at(&world, RESOURCE, json!({ "resource": resource, "authorization_servers": [ISSUER] }));
        let mut browser = Browser::default();
        let to = browser.start(&world, "/auth/notes");
        assert_eq!(to["resource"], resource);
        browser.get(&world, &format!("/callback/notes?code=x&state={}", to["state"]));
        assert_eq!(last_form(&world, TOKEN).1["resource"], resource);
        world.pass(3600);
        resolved(&world);
        assert_eq!(last_form(&world, TOKEN).1["resource"], resource);
    }
    for resource in ["https://other.example.com", "http://mcp.example.com", "https://mcp.example.com/mc"] {
        let world = world();
        at(&world, RESOURCE, json!({ "resource": resource, "authorization_servers": [ISSUER] }));
        refuses(&world, &format!("speak of the resource {resource}, which is not this MCP server"));
    }
}

/// R26: no parameter comes twice: ours replaces the one of the URL's own query, whose others stay.
#[test]
fn a_parameter_of_the_endpoints_own_query_is_replaced_and_the_others_stay() {
    let query = |to: &url::Url| -> Vec<(String, String)> { to.query_pairs().into_owned().collect() };
    let leads = |world: &World, path: &str| {
        let mut browser = Browser::default();
        let page = browser.get(world, path);
        leads_to(&browser.agree(world, &page))
    };
    let world = world();
    let own =
        "https://login.example.net/authorize?resource=https%3A%2F%2Fold&audience=x%20y&state=old&client_id=old&b=1&b=2";
    saying(&world, json!({ "authorization_endpoint": own }));
    let to = query(&leads(&world, "/auth/notes"));
    for name in ["resource", "state", "client_id", "scope", "redirect_uri", "response_type", "code_challenge"] {
        assert_eq!(to.iter().filter(|(other, _)| other == name).count(), 1, "{name} {to:?}");
    }
    let has = |name: &str, value: &str| to.contains(&(name.to_owned(), value.to_owned()));
    assert!(has("resource", SERVER) && has("audience", "x y") && has("b", "1") && has("b", "2"), "{to:?}");
    assert!(!to.iter().any(|(_, value)| value.contains("old")), "{to:?}");
    // What need not change keeps its form.
    saying(&world, json!({ "authorization_endpoint": "https://login.example.net/authorize?a=x%20y&flag" }));
    assert!(leads(&world, "/auth/notes").as_str().contains("authorize?a=x%20y&flag&response_type="));

    // The same of a row of the settings, and of the other endpoints.
    let world = World::local();
    world.offer(
        "op",
        json!({
            "client_id": "id", "client_secret": "s", "authorize_url": "https://op.example/a?state=old&prompt=none&p=1",
            "authorize_params": { "prompt": "login" },
            "token_url": "https://op.example/t?grant_type=old&p=1", "revoke": {
                "url": "https://op.example/r?token=old&p=1", "method": "GET", "send": "query",
            },
        }),
    );
    let to = query(&leads(&world, "/auth/op"));
    assert_eq!(to.iter().filter(|(name, _)| name == "state" || name == "prompt").count(), 2, "{to:?}");
    assert!(to.contains(&("prompt".into(), "login".into())) && to.contains(&("p".into(), "1".into())), "{to:?}");
    world.connect(&mut Browser::default(), "op", grant("a", 3600, "r"));
    world.answer(200, json!({}));
    world.handle(world.request("DELETE", "/token/op").body(Vec::new()).unwrap());
    let uris: Vec<String> = world.sent.borrow().iter().map(|request| request.uri().to_string()).collect();
    assert_eq!(uris[0], "https://op.example/t?p=1");
    assert!(uris[1].starts_with("https://op.example/r?p=1&token=r&") && !uris[1].contains("old"), "{}", uris[1]);
}
