//! A secret turns up only where it belongs. (Items 30 and 34.)
//!
//! A full run, with all that goes wrong in one, then a search for every secret that was used in it, in every form in
//! which a program may have written it: in all output of the components and the host, in all that is on the disk, and
//! in all answers but those that are there to carry it.

use std::thread::sleep;
use std::time::Duration;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use gatehouse_e2e::{Wish, World, in_every_composition};
use gatehouse_fixtures::provider::{Consent, Person};
use gatehouse_fixtures::{Browser, Fault, Page};
use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::{Request, StatusCode};
use serde_json::json;

in_every_composition! {
    fn no_secret_is_in_a_log_an_answer_or_on_the_disk(composition: Composition) {
        for public in [false, true] {
            let mut world = World::new(composition, Wish { public, ..Wish::default() });
            let (mut answers, browsers) = full_run(&mut world);
            answers.push(world.house.output());
            assert!(answers.last().is_some_and(|output| output.contains("demo")), "something is logged of what failed");
            let text = answers.join("\n");
            let disk = world.house.disk().unwrap();
            assert!(disk.len() > 1000);

            let keys = world.house.keys();
            let own = keys.all().map(|(name, value)| (name.to_owned(), value.to_owned()));
            let issued = world.provider.secrets().into_iter().map(|secret| (format!("{:?}", secret.kind), secret.value));
            let cookies = browsers.iter().flat_map(Browser::cookie_values).map(|value| ("cookie".into(), value.to_owned()));
            let mut searched = 0;
            for (name, secret) in own.into_iter().chain(issued).chain(cookies) {
                searched += 1;
                for form in forms(&secret) {
                    assert!(!text.contains(&form), "{name} as {form:?} is in an answer or a log");
                    assert!(!contains(&disk, form.as_bytes()), "{name} as {form:?} is on the disk");
                }
            }
            assert!(searched > 20, "only {searched} secrets were searched for");
        }
    }
}

#[test]
fn the_search_finds_what_is_there() {
    let secret = Base64UrlUnpadded::encode_string(b"a secret of a test");
    for form in forms(&secret) {
        assert!(contains(format!("before {form} after").as_bytes(), form.as_bytes()));
    }
    assert!(forms(&secret).contains(&"6120736563726574206f6620612074657374".to_owned()));
}

/// Connects, calls, refreshes, fails in many ways and disconnects. Gives all text that anyone was answered, and the
/// browsers, whose cookies are secrets too.
fn full_run(world: &mut World) -> (Vec<String>, Vec<Browser>) {
    let mut answers = Vec::new();
    let key = world.house.keys().ann.value.clone();
    let mut browser = world.browser();
    let signed_in = browser.open(&world.house.broker()).unwrap();
    if signed_in.status == StatusCode::UNAUTHORIZED {
        let wrong = browser.press(&signed_in, "Sign in", &[("credential", "wrong")]).unwrap();
        let signed_in = browser.press(&wrong, "Sign in", &[("credential", &key)]).unwrap();
        answers.extend([wrong.body, signed_in.body]);
    }
    let mut clients = [world.modern(), world.legacy(), world.direct()].map(|client| client.with_bearer(&key));
    if world.house.broker().starts_with("http://") {
        // The key is Ann's; locally the browser is the owner's, and so is a client without a key.
        clients = [world.modern(), world.legacy(), world.direct()];
    }

    // Wrong states, wrong answers, a provider that fails.
    world.provider.set_consent(Consent::Deny);
    answers.push(browser.open_and_press(&world.connect_page(), "Connect").unwrap().body);
    world.provider.set_consent(Consent::Approve(Person::Alice));
    for fault in [
        Fault::oauth_error(StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
        Fault::oauth_error(StatusCode::BAD_REQUEST, "invalid_grant"),
        Fault::oauth_error(StatusCode::UNAUTHORIZED, "invalid_client"),
        Fault::html(StatusCode::OK),
        Fault::Reset,
        Fault::CutAnswer,
    ] {
        world.provider.fail_next_token_requests(1, fault);
        answers.push(browser.open_and_press(&world.connect_page(), "Connect").unwrap().body);
    }

    world.provider.set_access_token_lifetime(Duration::from_secs(1));
    let page = world.connect_as(&mut browser, Person::Alice);
    let callback = page.passed.iter().find(|url| url.path() == "/callback/demo").unwrap().to_string();
    answers.push(page.body.clone());
    answers.push(browser.open(&callback).unwrap().body);
    answers.push(browser.open(&format!("{callback}&state=again")).unwrap().body);
    sleep(Duration::from_millis(2100));
    for fault in
        [Fault::oauth_error(StatusCode::BAD_GATEWAY, "server_error"), Fault::html(StatusCode::OK), Fault::Reset]
    {
        world.provider.fail_next_token_requests(1, fault);
        answers.push(world.whoami(&mut clients[0]).unwrap_err());
    }
    world.provider.set_access_token_lifetime(Duration::from_secs(3600));
    for client in &mut clients {
        assert_eq!(world.whoami(client).as_deref(), Ok("alice"));
        answers.push(client.list_tools().unwrap().body);
    }
    for fault in [Fault::html(StatusCode::INTERNAL_SERVER_ERROR), Fault::Reset, Fault::html(StatusCode::OK)] {
        world.server.fail_next("tools/call", 1, fault);
        answers.push(format!("{:?}", world.whoami(&mut clients[0])));
    }
    world.house.restart().unwrap();
    world.provider.revoke_grants(Person::Alice);
    answers.push(format!("{:?}", world.whoami(&mut clients[0])));
    for path in ["/connections", "/health", "/", "/token/demo", "/resolve"] {
        for method in ["GET", "POST", "DELETE"] {
            let request = Request::builder().method(method).uri(format!("{}{path}", world.house.broker()));
            let request = request.header(AUTHORIZATION, "Bearer wrong").header(CONTENT_TYPE, "application/json");
            answers.push(world.house.wire().send(request.body("{").unwrap()).unwrap().into_body());
        }
    }
    answers.push(disconnected(world, &mut browser, page));
    let reply = clients[1].call("demo__echo", json!({ "message": "hello" })).unwrap();
    answers.push(format!("{:?} {}", reply.headers, reply.body));
    (answers, vec![browser])
}

fn disconnected(world: &World, browser: &mut Browser, page: Page) -> String {
    world.provider.go_down();
    let body = browser.press(&page, "Disconnect", &[]).unwrap().body;
    world.provider.come_back().unwrap();
    body
}

/// As it is, and as an encoding of it would look.
fn forms(secret: &str) -> Vec<String> {
    let bytes = secret.as_bytes();
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let mut forms =
        vec![secret.to_owned(), hex(bytes), Base64::encode_string(bytes), Base64UrlUnpadded::encode_string(bytes)];
    // What is base64 itself may have been written decoded.
    let decoded = Base64::decode_vec(secret).or_else(|_| Base64UrlUnpadded::decode_vec(secret));
    forms.extend(decoded.ok().map(|bytes| hex(&bytes)));
    forms
}

fn contains(haystack: &[u8], needle: &[u8]) -> bool {
    haystack.windows(needle.len()).any(|window| window == needle)
}
