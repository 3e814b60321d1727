//! Nothing of one service gets to another's server: no code, no client, no token, for no caller.

use http::StatusCode;
use serde_json::{Value, json};

use super::*;

fn client(rest: Value) -> Value {
    let mut client = json!({ "client_id": "the-id", "client_secret": "canary-the-secret" });
    client.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
    client
}

/// The hosts that were called.
fn hosts(world: &World) -> Vec<String> {
    world.sent.borrow().iter().map(|request| request.uri().host().unwrap().to_owned()).collect()
}

/// Item 4: an entry that has another's client, but not its server, is no service.
#[test]
fn a_client_of_a_catalogue_row_is_not_shown_to_another_server() {
    let evil = json!({ "authorize_url": "https://evil.example/a", "token_url": "https://evil.example/t" });
    // Its secret; or its public id at its own server, where people would agree.
    let github_door = json!({
        "client_secret": "another", "authorize_url": "https://github.com/login/oauth/authorize",
        "token_url": "https://evil.example/t",
    });
    for borrowed in [evil, github_door] {
        let world = World::local();
        world.offer("github", client(json!({})));
        world.offer("free-repos", client(borrowed));
        let refused = world.get("/auth/free-repos");
        assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
        let said = world.log.borrow().last().unwrap().clone();
        assert!(said.contains("`free-repos`: it has the client of `github`") && !said.contains("canary"), "{said}");
        assert_eq!(Browser::default().start(&world, "/auth/github")["client_id"], "the-id");
    }
    // Two entries for one server may share a client, and two servers may have clients of the same name.
    let world = World::local();
    world.offer("gitlab", client(json!({})));
    let urls =
        json!({ "authorize_url": "https://gitlab.com/oauth/authorize", "token_url": "https://gitlab.com/oauth/token" });
    world.offer("gitlab-read", client(urls));
    let own = json!({
        "client_secret": "of-its-own", "authorize_url": "https://op.example/a", "token_url": "https://op.example/t",
    });
    world.offer("op", client(own));
    for service in ["gitlab", "gitlab-read", "op"] {
        Browser::default().start(&world, &format!("/auth/{service}"));
    }
}

/// Item 3: an own token endpoint under a catalogue's name does not get the codes of that row's authorize endpoint.
#[test]
fn a_row_is_moved_to_another_server_as_a_whole() {
    let world = World::local();
    world.offer("github", client(json!({ "token_url": "https://evil.example/t" })));
    let refused = world.get("/auth/github");
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text(&refused).contains("oauth_clients: wrong"), "{}", text(&refused));
    let log = world.log.borrow();
    assert!(log.last().unwrap().contains("`github`: `authorize_url` is missing"), "{log:?}");
    for (service, more) in
        [("trello", json!({})), ("instagram", json!({})), ("figma", json!({})), ("hubspot", json!({}))]
    {
        let world = World::local();
        let mut own = json!({ "authorize_url": "https://op.example/a", "token_url": "https://op.example/t" });
        own.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        world.offer(service, client(own));
        let answer =
            json!({ "access_token": "access-1", "oauth_token": "access-1", "refresh_token": "r", "expires_in": 60 });
        let mut browser = Browser::default();
        let to = browser.start(&world, &format!("/auth/{service}"));
        for _ in 0..4 {
            world.answer(200, answer.clone());
        }
        browser.get(&world, &format!("/callback/{service}?code=c&oauth_verifier=c&state={}", to["state"]));
        world.pass(60);
        world.resolve(None, json!({ "service": service }));
        let delete = world.request("DELETE", &format!("/token/{service}"));
        world.handle(delete.body(Vec::new()).unwrap());
        assert!(
            !hosts(&world).is_empty() && hosts(&world).iter().all(|host| host == "op.example"),
            "{:?}",
            hosts(&world)
        );
    }
}

/// Zoho's callback names the server that has the code: only Zoho's count.
#[test]
fn a_callback_does_not_send_the_code_to_a_server_of_its_own() {
    for (server, goes) in [
        ("https://accounts.zoho.in", true),
        ("https://accounts.zoho.evil", false),
        ("https://evil.example", false),
        ("https://accounts.zoho.com.evil.example", false),
        ("https://accounts.zoho.com@evil.example", false),
        ("https://accounts.zoho.com:444", false),
        ("http://accounts.zoho.com", false),
        ("accounts.zoho.com", false),
        ("https://accounts.zoho.com/", false),
        ("https://oauth-broker.spin.internal", false),
        ("", false),
    ] {
        let world = World::local();
        world.offer("zoho", client(json!({})));
        let mut browser = Browser::default();
        let state = browser.start(&world, "/auth/zoho").remove("state").unwrap();
        world.answer(200, grant("access-1", 3600, "refresh-1"));
        let mut query = url::form_urlencoded::Serializer::new(String::new());
        query.extend_pairs([("code", "c"), ("state", &state), ("accounts-server", server)]);
        let done = browser.get(&world, &format!("/callback/zoho?{}", query.finish()));
        assert_eq!(done.status() == StatusCode::SEE_OTHER, goes, "{server}");
        let expected: &[&str] = if goes { &["accounts.zoho.in", "accounts.zoho.in"] } else { &[] };
        assert_eq!(hosts(&world), expected, "{server}");
    }
}

/// Pipedrive's answer names the host of its API: only Pipedrive's see the token.
#[test]
fn an_answer_does_not_send_the_token_to_a_server_of_its_own() {
    for (domain, asked) in [
        ("https://ours.pipedrive.com", true),
        ("https://evil.example", false),
        ("https://evil.example/.pipedrive.com", false),
        ("https://a.b.pipedrive.com", false),
        ("https://ours.pipedrive.com@evil.example", false),
    ] {
        let world = World::local();
        world.offer("pipedrive", client(json!({})));
        let mut answer = grant("access-1", 3600, "refresh-1");
        answer["api_domain"] = json!(domain);
        world.connect(&mut Browser::default(), "pipedrive", answer);
        assert_eq!(world.resolve(None, json!({ "service": "pipedrive" }))["access_token"], "access-1");
        let expected: &[&str] =
            if asked { &["oauth.pipedrive.com", "ours.pipedrive.com"] } else { &["oauth.pipedrive.com"] };
        assert_eq!(hosts(&world), expected, "{domain}");
    }
}

/// Shopify signs what it sends to the callback, and says which shop it speaks for.
#[test]
fn a_signed_callback_is_the_providers_and_of_the_shop_that_was_meant() {
    use hmac::{Hmac, KeyInit, Mac};
    let sign = |query: &str, secret: &str| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(secret.as_bytes()).unwrap();
        mac.update(query.as_bytes());
        mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect::<String>()
    };
    let secret = "canary-the-secret";
    type Send = fn(&str, &str) -> String;
    let cases: [(&str, Send, bool); 8] = [
        ("right", |query, hmac| format!("{query}&hmac={hmac}"), true),
        ("in capitals", |query, hmac| format!("{query}&hmac={}", hmac.to_uppercase()), true),
        ("missing", |query, _| query.to_owned(), false),
        ("empty", |query, _| format!("{query}&hmac="), false),
        ("cut", |query, hmac| format!("{query}&hmac={}", &hmac[..62]), false),
        ("not hexadecimal", |query, hmac| format!("{query}&hmac={}", hmac.replace(char::is_alphabetic, "x")), false),
        ("of another code", |query, hmac| format!("{}&hmac={hmac}", query.replace("code=c", "code=d")), false),
        ("with more", |query, hmac| format!("{query}&more=1&hmac={hmac}"), false),
    ];
    for (name, send, connects) in cases {
        assert_eq!(shop_callback("ours.myshopify.com", |query| send(query, &sign(query, secret))), connects, "{name}");
    }
    assert!(!shop_callback("theirs.myshopify.com", |query| format!("{query}&hmac={}", sign(query, secret))));
    assert!(!shop_callback("ours.myshopify.com", |query| format!("{query}&hmac={}", sign(query, "another"))));
}

fn shop_callback(shop: &str, send: impl Fn(&str) -> String) -> bool {
    let world = World::local();
    world.offer("shopify", client(json!({ "variables": { "shop": "ours" } })));
    let mut browser = Browser::default();
    let to = browser.start(&world, "/auth/shopify");
    world.answer(200, grant("access-1", 3600, "refresh-1"));
    let query = send(&format!("code=c&shop={shop}&state={}&timestamp=1", to["state"]));
    let done = browser.get(&world, &format!("/callback/shopify?{query}"));
    let connected = done.status() == StatusCode::SEE_OTHER;
    assert_eq!(world.sent.borrow().is_empty(), !connected, "nothing is sent for what is forged");
    connected
}

/// OAuth 1.0a: the verifier of one request token is not exchanged with another.
#[test]
fn a_request_token_of_another_flow_is_refused() {
    for (said, connects) in [("request-token", true), ("another", false), ("", false)] {
        let world = World::local();
        world.offer("trello", client(json!({})));
        let mut browser = Browser::default();
        let form = "oauth_token=request-token&oauth_token_secret=canary&oauth_callback_confirmed=true";
        let answer = http::Response::builder().header("content-type", "text/plain");
        world.answers.borrow_mut().push_back(Ok(answer.body(form.as_bytes().to_vec()).unwrap()));
        browser.start(&world, "/auth/trello");
        let sent = world.sent.borrow()[0].headers()["authorization"].to_str().unwrap().to_owned();
        let callback = sent.split("oauth_callback=\"").nth(1).unwrap().split('"').next().unwrap().to_owned();
        let callback = url::form_urlencoded::parse(format!("u={callback}").as_bytes()).next().unwrap().1.into_owned();
        world.answer(200, json!({ "oauth_token": "access-1", "oauth_token_secret": "s" }));
        let path = callback.strip_prefix(LOCAL).unwrap();
        let done = browser.get(&world, &format!("{path}&oauth_token={said}&oauth_verifier=v"));
        assert_eq!(done.status() == StatusCode::SEE_OTHER, connects, "{said}");
        assert!(connects || world.sent.borrow().len() == 1);
    }
}
