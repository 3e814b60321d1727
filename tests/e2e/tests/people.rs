//! On a public address, people get in only as themselves and reach nothing of others.

use gatehouse_e2e::{Key, World, in_every_composition};
use gatehouse_fixtures::provider::{Consent, Person};
use gatehouse_fixtures::{Browser, McpClient, Outgoing, Page};
use http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use http::{Request, Response, StatusCode};
use serde_json::{Value, json};

in_every_composition! {
    /// RFC 6750 section 3: a challenge without an error where nothing was sent, `invalid_token` where something was.
    fn without_a_known_key_nobody_gets_in(composition: Composition) {
        let world = World::public(composition);
        let keys = world.house.keys();
        for (bearer, challenge) in [
            (None, "Bearer"),
            (Some("guessed"), r#"Bearer error="invalid_token""#),
            (Some(keys.service_key.as_str()), r#"Bearer error="invalid_token""#),
            (Some(keys.owner_passphrase.as_str()), r#"Bearer error="invalid_token""#),
        ] {
            for client in [world.modern(), world.legacy(), world.direct()] {
                let client = match bearer {
                    Some(bearer) => client.with_bearer(bearer),
                    None => client,
                };
                let answer = refused(client);
                assert!(answer.contains("401"), "{answer}");
            }
            let servers = get(&world, &format!("{}/mcp/servers", world.house.gateway()), bearer);
            assert_eq!(servers.status(), StatusCode::UNAUTHORIZED);
            assert_eq!(servers.headers()[WWW_AUTHENTICATE], challenge);
            assert!(!servers.body().contains("demo"), "{}", servers.body());
            let listing = get(&world, &format!("{}/connections", world.house.broker()), bearer);
            assert_eq!(listing.status(), StatusCode::UNAUTHORIZED);
        }
        assert!(world.server.seen().is_empty());
        assert!(world.house.rows().unwrap().is_empty());
    }

    fn each_person_calls_with_their_own_account(composition: Composition) {
        let world = World::public(composition);
        let keys = world.house.keys().clone();
        let mut ann = signed_in(&world, &keys.ann);
        world.connect_as(&mut ann, Person::Alice);
        assert!(world.whoami(&mut client(&world, &keys.ben)).unwrap_err().contains("not connected"));
        let mut ben = signed_in(&world, &keys.ben);
        world.connect_as(&mut ben, Person::Bob);
        for _ in 0..2 {
            assert_eq!(world.whoami(&mut client(&world, &keys.ann)).as_deref(), Ok("alice"));
            assert_eq!(world.whoami(&mut client(&world, &keys.ben)).as_deref(), Ok("bob"));
        }
        for (key, account) in [(&keys.ann, "alice"), (&keys.ben, "bob")] {
            let listing = get(&world, &format!("{}/connections", world.house.broker()), Some(&key.value));
            let listing: Value = serde_json::from_str(listing.body()).unwrap();
            assert_eq!(listing["subject"], key.subject);
            assert_eq!(listing["services"][0]["label"], account);
        }
        assert_eq!(world.server.bearers_seen().len(), 2);
    }

    /// A legacy session says nothing about who calls: the bearer of each request does.
    fn a_session_of_one_person_is_no_way_to_anothers_account(composition: Composition) {
        let world = World::public(composition);
        let keys = world.house.keys().clone();
        world.connect_as(&mut signed_in(&world, &keys.ann), Person::Alice);
        let mut ann = world.legacy().with_bearer(&keys.ann.value);
        assert_eq!(world.whoami(&mut ann).as_deref(), Ok("alice"));
        let mut ben_in_anns_session = ann.with_bearer(&keys.ben.value);
        assert!(world.whoami(&mut ben_in_anns_session).unwrap_err().contains("not connected"));
    }

    /// Items 6 and 7: a link is for one person, once; whoever else opens it connects nothing to anyone.
    fn a_link_is_for_the_person_it_was_made_for_and_works_once(composition: Composition) {
        let world = World::public(composition);
        let keys = world.house.keys().clone();
        let link = connect_link(&world, &keys.ann);

        let page = signed_in(&world, &keys.ben).open(&link).unwrap();
        assert_eq!(page.status, StatusCode::FORBIDDEN, "{}", page.body);
        assert!(world.whoami(&mut client(&world, &keys.ann)).is_err());
        assert!(world.whoami(&mut client(&world, &keys.ben)).is_err());

        let mut ann = world.browser();
        let page = ann.open(&link).unwrap();
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
        let page = sign_in(&mut ann, &page, &keys.ann.value);
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        assert!(world.whoami(&mut client(&world, &keys.ann)).is_err(), "nothing before the button is pressed");
        let page = ann.press(&page, "Connect", &[]).unwrap();
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        assert_eq!(world.whoami(&mut client(&world, &keys.ann)).as_deref(), Ok("alice"));

        let page = ann.open(&link).unwrap();
        assert_eq!(page.status, StatusCode::BAD_REQUEST, "{}", page.body);
    }

    /// Item 6, from the other end: the flow was begun by one person and its answer is opened by another.
    fn an_answer_that_reaches_another_person_connects_nobody(composition: Composition) {
        let world = World::public(composition);
        let keys = world.house.keys().clone();
        world.provider.set_consent(Consent::Approve(Person::Bob));
        let mut ben = signed_in(&world, &keys.ben);
        let page = ben.open(&world.connect_page()).unwrap();
        let start = ben.submit(&page, "Connect", &[]).unwrap();
        let mut ann = signed_in(&world, &keys.ann);
        let consented = ann.get(start.leads_to().unwrap().unwrap().as_str()).unwrap();
        let page = ann.open(consented.leads_to().unwrap().unwrap().as_str()).unwrap();
        assert!(page.status.is_client_error(), "{} {}", page.status, page.body);
        for key in [&keys.ann, &keys.ben] {
            assert!(world.whoami(&mut client(&world, key)).unwrap_err().contains("not connected"));
        }
    }

    fn the_owners_passphrase_signs_the_owner_in_and_a_wrong_one_nobody(composition: Composition) {
        let world = World::public(composition);
        let mut browser = world.browser();
        let page = browser.open(&world.house.broker()).unwrap();
        let page = sign_in(&mut browser, &page, "a guess");
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
        let page = sign_in(&mut browser, &page, &world.house.keys().owner_passphrase);
        assert_eq!(page.status, StatusCode::OK, "{}", page.body);
        assert!(page.body.contains("Signed in as owner"), "{}", page.body);
        let page = browser.press(&page, "Sign out", &[]).unwrap();
        assert_eq!(page.status, StatusCode::UNAUTHORIZED);
    }

    /// Item 35: an API key speaks for its own person alone, and a service key for nobody without that person's bearer.
    fn a_token_is_handed_to_its_own_person_and_to_services_that_act_for_them(composition: Composition) {
        let world = World::public(composition);
        let keys = world.house.keys().clone();
        world.connect_as(&mut signed_in(&world, &keys.ann), Person::Alice);
        let (ann, ben, service) = (&keys.ann.value, &keys.ben.value, &keys.service_key);
        for (caller, subject_token, status, error) in [
            (ann, None, 200, None),
            (ann, Some(ann), 200, None),
            (service, Some(ann), 200, None),
            (ben, None, 404, Some("not_connected")),
            (ben, Some(ann), 400, Some("invalid_token")),
            (service, None, 400, Some("invalid_token")),
            (service, Some(ben), 404, Some("not_connected")),
            (service, Some(service), 400, Some("invalid_token")),
        ] {
            let body = json!({ "subject_token": subject_token }).to_string();
            let answer = post(&world, "/token/demo", caller, &body);
            let said: Value = serde_json::from_str(answer.body()).unwrap();
            assert_eq!((answer.status().as_u16(), said["error"].as_str()), (status, error), "{}", answer.body());
            if status == 200 {
                let token = said["access_token"].as_str().unwrap();
                assert_eq!(world.provider.bearers()(token).as_deref(), Some("alice"));
                assert!(said.get("refresh_token").is_none());
            }
        }
    }

    fn only_a_service_key_may_ask_who_is_calling(composition: Composition) {
        let world = World::public(composition);
        let keys = world.house.keys().clone();
        let question = json!({
            "subject_token": keys.ann.value,
            "resource": format!("{}/mcp", world.house.gateway()),
            "services": [{ "service": "demo" }]
        });
        for caller in ["guessed", &keys.ann.value, &keys.owner_passphrase] {
            let answer = post(&world, "/resolve", caller, &question.to_string());
            assert_eq!(answer.status(), StatusCode::UNAUTHORIZED, "{}", answer.body());
            assert!(!answer.body().contains("sealing_key"));
        }
        let answer = post(&world, "/resolve", &keys.service_key, &question.to_string());
        assert_eq!(answer.status(), StatusCode::OK, "{}", answer.body());
    }

    /// Public URLs are configured: what a request says about its own address is never believed.
    fn forged_addresses_change_no_link(composition: Composition) {
        let world = World::public(composition);
        let keys = world.house.keys();
        let request = Request::get(format!("{}/mcp/servers", world.house.gateway()))
            .header(AUTHORIZATION, format!("Bearer {}", keys.ann.value))
            .header("x-forwarded-host", "evil.test")
            .header("x-forwarded-proto", "http")
            .header("forwarded", "host=evil.test;proto=http")
            .header("spin-full-url", "http://evil.test/mcp/servers")
            .header("spin-base-path", "/evil")
            .body(())
            .unwrap();
        let answer = world.house.wire().send(request).unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{}", answer.body());
        assert!(answer.body().contains(&format!("{}/auth/demo?ticket=", world.house.broker())), "{}", answer.body());
        assert!(!answer.body().contains("evil"), "{}", answer.body());
    }
}

fn client(world: &World, key: &Key) -> McpClient {
    world.modern().with_bearer(&key.value)
}

fn signed_in(world: &World, key: &Key) -> Browser {
    let mut browser = world.browser();
    let page = browser.open(&world.house.broker()).unwrap();
    let page = sign_in(&mut browser, &page, &key.value);
    assert!(page.body.contains(&format!("Signed in as {}", key.subject)), "{}", page.body);
    browser
}

fn sign_in(browser: &mut Browser, page: &Page, credential: &str) -> Page {
    browser.press(page, "Sign in", &[("credential", credential)]).unwrap()
}

fn connect_link(world: &World, key: &Key) -> String {
    let reply = client(world, key).call("demo__whoami", json!({})).unwrap();
    reply.result().unwrap()["structuredContent"]["connect_url"].as_str().unwrap().to_owned()
}

/// How a list of tools is refused; a legacy client is refused at `initialize`.
fn refused(mut client: McpClient) -> String {
    match client.list_tools() {
        Ok(reply) => format!("{} {}", reply.status, reply.body),
        Err(error) => error.to_string(),
    }
}

fn get(world: &World, url: &str, bearer: Option<&str>) -> Response<String> {
    let mut request = Request::get(url);
    if let Some(bearer) = bearer {
        request = request.header(AUTHORIZATION, format!("Bearer {bearer}"));
    }
    world.house.wire().send(request.body(()).unwrap()).unwrap()
}

fn post(world: &World, path: &str, bearer: &str, body: &str) -> Response<String> {
    let request = Request::post(format!("{}{path}", world.house.broker()))
        .header(AUTHORIZATION, format!("Bearer {bearer}"))
        .header(CONTENT_TYPE, "application/json")
        .body(Outgoing::from(body))
        .unwrap();
    world.house.wire().send(request).unwrap()
}
