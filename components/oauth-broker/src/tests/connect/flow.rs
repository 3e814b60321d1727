//! The way from `GET /auth/{service}` to a connection, and all attempts that must not lead there.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use http::StatusCode;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::*;
use crate::vault::{RowId, RowKind};

/// A flow that has started: the world, the browser, and the callback's query without the code.
fn started() -> (World, Browser, String) {
    let world = World::local();
    let mut browser = Browser::default();
    let to = browser.start(&world, "/auth/forge");
    (world, browser, format!("code=canary-code&state={}", to["state"]))
}

fn flow_cookies(browser: &Browser) -> impl Iterator<Item = &String> {
    browser.cookies.keys().filter(|name| name.contains("-flow-"))
}

/// Asserts that the callback is refused with `status`, calls no provider and changes nothing but perhaps a flow.
fn refused(world: &World, browser: &mut Browser, path: &str, status: u16) -> String {
    let sent = world.sent.borrow().len();
    let response = browser.get(world, path);
    assert_eq!(response.status().as_u16(), status, "{}", text(&response));
    assert_eq!(world.sent.borrow().len(), sent, "a provider was called");
    assert!(world.store.borrow().keys().all(|key| !key.starts_with("b.c.")), "something was connected");
    text(&response)
}

#[test]
fn a_person_connects_and_the_token_is_handed_out() {
    let world = World::local();
    let mut browser = Browser::default();
    let to = browser.start(&world, "/auth/forge");
    assert_eq!(to["client_id"], "forge-id");
    assert_eq!(to["redirect_uri"], "http://127.0.0.1:3000/callback/forge");
    assert_eq!(to["scope"], "read write");
    assert_eq!((to["response_type"].as_str(), to["code_challenge_method"].as_str()), ("code", "S256"));

    world.answer(200, grant("access-1", 3600, "refresh-1"));
    let done = browser.get(&world, &format!("/callback/forge?code=canary-code&state={}", to["state"]));
    assert_eq!((done.status(), head(&done, "location").as_str()), (StatusCode::SEE_OTHER, "/?connected=forge"));

    let token = world.token("forge", None);
    assert_eq!(token.status(), StatusCode::OK);
    assert_eq!(read(&token)["access_token"], "access-1");
    let resolved = world.resolve(None, json!({ "service": "forge" }));
    assert_eq!((resolved["status"].as_str(), resolved["access_token"].as_str()), (Some("token"), Some("access-1")));
}

/// Item 12: what is sent to the token endpoint is the verifier of the challenge, 43 to 128 characters, fresh per flow.
#[test]
fn the_code_is_exchanged_with_the_verifier_of_the_challenge() {
    let mut verifiers = Vec::new();
    let world = World::local();
    let mut browser = Browser::default();
    for _ in 0..2 {
        let to = browser.start(&world, "/auth/forge");
        world.answer(200, grant("access-1", 3600, "refresh-1"));
        browser.get(&world, &format!("/callback/forge?code=the-code&state={}", to["state"]));
        let form = world.forms_sent_to("https://forge.example/token").pop().unwrap();
        assert_eq!((form["grant_type"].as_str(), form["code"].as_str()), ("authorization_code", "the-code"));
        assert_eq!(form["redirect_uri"], "http://127.0.0.1:3000/callback/forge");
        let challenge = Base64UrlUnpadded::encode_string(&Sha256::digest(form["code_verifier"].as_bytes()));
        assert_eq!(challenge, to["code_challenge"]);
        assert!((43..=128).contains(&form["code_verifier"].len()));
        verifiers.push(form["code_verifier"].clone());
    }
    assert_ne!(verifiers[0], verifiers[1]);
}

/// Item 12: RFC 7636 appendix B.
#[test]
fn the_challenge_is_that_of_the_standard() {
    let world = World::local();
    let service =
        run(crate::broker::Broker::new(&world).services().service(&owners("forge").service, None)).unwrap().unwrap();
    let verifier = "dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk".to_owned().into();
    let redirect_uri = "http://127.0.0.1:3000/callback/forge";
    let asked = crate::provider::Asked { scopes: &[], state: "s", redirect_uri, verifier: &verifier };
    let begun = run(crate::provider::begin(&world, &service, asked));
    let url = begun.unwrap_or_else(|failure| panic!("{failure}")).to;
    assert!(url.query().unwrap().contains("code_challenge=E9Melhoa2OwvFrEMTJguCHaoeK1t8URWbuGJSstw-cM&"), "{url}");
}

/// Item 2: one Gatehouse is one tenant. A state of another, which has a service of the same name, is none here, even on
/// the same store.
#[test]
fn a_state_of_another_gatehouse_is_refused() {
    let (world, mut browser, query) = started();
    let other = World::local();
    refused(&other, &mut browser, &format!("/callback/forge?{query}"), 400);
    other.store.borrow_mut().extend(world.dump());
    other.set("encryption_keys", "k1:HxweHRsaGRgXFhUUExIREA8ODQwLCgkIBwYFBAMCAQA=");
    refused(&other, &mut browser, &format!("/callback/forge?{query}"), 400);
    assert!(other.sent.borrow().is_empty());
}

/// Item 3: a service that borrows another's authorize URL gets its own redirect URI, and no code of the other's.
#[test]
fn a_service_that_poses_as_another_gets_a_redirect_uri_of_its_own() {
    let world = World::local();
    let posing = json!({
        "client_id": "posing", "client_secret": "x", "authorize_url": "https://github.com/login/oauth/authorize",
        "token_url": "https://posing.example/token",
    });
    world.offer("posing", posing);
    let mut browser = Browser::default();
    let to = browser.start(&world, "/auth/posing");
    assert_eq!(to["redirect_uri"], "http://127.0.0.1:3000/callback/posing");
    refused(&world, &mut browser, &format!("/callback/github?code=canary-code&state={}", to["state"]), 400);
    let to = browser.start(&world, "/auth/github");
    refused(&world, &mut browser, &format!("/callback/posing?code=canary-code&state={}", to["state"]), 400);
    assert!(world.sent.borrow().is_empty(), "no code left for anybody");
}

/// Item 4: every service is the operator's, and has a client of its own or is not offered: none is borrowed.
#[test]
fn a_service_has_no_other_services_client() {
    let world = World::local();
    world.offer("mine", json!({ "authorize_url": "https://github.com/x", "token_url": "https://github.com/y" }));
    let mut browser = Browser::default();
    let refused = browser.get(&world, "/auth/mine");
    assert_eq!(refused.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text(&refused).contains("oauth_clients: wrong"));
    assert!(world.log.borrow().last().unwrap().contains("`client_id` is missing"));
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    world.connect(&mut browser, "github", grant("access-1", 3600, "refresh-1"));
    for request in world.sent.borrow().iter().filter(|request| request.method() == "POST") {
        let form = String::from_utf8_lossy(request.body()).into_owned();
        let said = format!("{:?} {form}", request.headers());
        let (own, other) = if request.uri() == "https://forge.example/token" {
            ("forge-id", "github-id")
        } else {
            ("github-id", "forge-id")
        };
        let basic = |id: &str, secret: &str| Base64::encode_string(format!("{id}:{secret}").as_bytes());
        let clients = |id: &str| {
            let secret = if id == "forge-id" { "canary-client-secret" } else { "canary-github-secret" };
            let authorization = request.headers().get("authorization").map(|value| value.to_str().unwrap().to_owned());
            said.contains(id) || authorization.is_some_and(|value| value.contains(&basic(id, secret)))
        };
        assert!(clients(own) && !clients(other), "{}", request.uri());
    }
}

/// Item 1: the state of one service at another's callback is refused, sends nothing, and is burnt.
#[test]
fn a_state_that_comes_in_at_another_service_is_refused_and_burnt() {
    let (world, mut browser, query) = started();
    refused(&world, &mut browser, &format!("/callback/github?{query}"), 400);
    refused(&world, &mut browser, &format!("/callback/forge?{query}"), 400);
}

/// Item 5: a forged callback, in a browser that did not start the flow, is refused; and the flow is not lost by it.
#[test]
fn a_callback_in_another_browser_is_refused_and_does_not_end_the_flow() {
    let (world, mut browser, query) = started();
    refused(&world, &mut Browser::default(), &format!("/callback/forge?{query}"), 400);
    let mut other = Browser::default();
    other.start(&world, "/auth/forge");
    refused(&world, &mut other, &format!("/callback/forge?{query}"), 400);
    let forged = browser.cookies.keys().map(|name| (name.clone(), "forged".to_owned()));
    let mut forged = Browser { cookies: forged.collect() };
    refused(&world, &mut forged, &format!("/callback/forge?{query}"), 400);

    world.answer(200, grant("access-1", 3600, "refresh-1"));
    assert_eq!(browser.get(&world, &format!("/callback/forge?{query}")).status(), StatusCode::SEE_OTHER);
}

/// Item 10: one-time.
#[test]
fn a_replayed_state_is_refused() {
    let (world, mut browser, query) = started();
    world.answer(200, grant("access-1", 3600, "refresh-1"));
    let cookies = browser.cookies.clone();
    browser.get(&world, &format!("/callback/forge?{query}"));
    browser.cookies = cookies;
    let sent = world.sent.borrow().len();
    let before = world.dump();
    let again = browser.get(&world, &format!("/callback/forge?{query}"));
    assert_eq!(again.status(), StatusCode::BAD_REQUEST);
    assert_eq!((world.sent.borrow().len(), world.dump()), (sent, before));
}

/// Item 10: at most ten minutes old.
#[test]
fn a_state_ends_after_ten_minutes() {
    let (world, mut browser, query) = started();
    world.pass(600);
    refused(&world, &mut browser, &format!("/callback/forge?{query}"), 400);
}

/// Item 10: without a state, and with one that never was.
#[test]
fn a_callback_without_a_state_of_ours_is_refused() {
    let (world, mut browser, _) = started();
    for query in ["", "?code=x", "?code=x&state=", "?code=x&state=never-was"] {
        refused(&world, &mut browser, &format!("/callback/forge{query}"), 400);
    }
    refused(&world, &mut browser, "/callback/nothing?code=x&state=y", 400);
}

/// Item 10: two tabs at once both succeed.
#[test]
fn two_tabs_do_not_meet() {
    let world = World::local();
    let mut browser = Browser::default();
    let tabs =
        ["forge", "forge", "github"].map(|service| (service, browser.start(&world, &format!("/auth/{service}"))));
    assert_eq!(flow_cookies(&browser).count(), 3);
    for (service, to) in tabs {
        world.answer(200, grant("access-1", 3600, "refresh-1"));
        let done = browser.get(&world, &format!("/callback/{service}?code=x&state={}", to["state"]));
        assert_eq!(done.status(), StatusCode::SEE_OTHER);
        world.answers.borrow_mut().clear();
    }
    assert_eq!(flow_cookies(&browser).count(), 0, "each flow takes its cookie back");
}

/// Item 10: 256 bits, and the store holds only its digest. Item 11: the cookie is not the state.
#[test]
fn the_state_is_stored_hashed_and_is_not_the_cookie() {
    let (world, browser, query) = started();
    let state = query.split_once("state=").unwrap().1;
    assert_eq!(state.len(), 43);
    assert!(world.store.borrow().keys().all(|key| !key.contains(state)));
    assert!(browser.cookies.values().all(|value| value != state && value.len() == 43));
}

/// Item 10: a flow's name is made of the digest of its state, in the store's key, in its subject's list and in the name of
/// the cookie. A thief of one of them cannot answer in the provider's place.
#[test]
fn a_flow_is_named_by_the_digest_of_its_state() {
    let (world, browser, query) = started();
    let state = query.split_once("state=").unwrap().1;
    let digest = Base64UrlUnpadded::encode_string(&Sha256::digest(state.as_bytes()));
    let key = |name: &str| RowId { kind: RowKind::Flow, identity: &[name] }.key();
    assert!(world.dump().contains_key(&key(&digest)) && !world.dump().contains_key(&key(state)));
    let pending = RowId { kind: RowKind::PendingFlows, identity: &["owner"] };
    let pending: serde_json::Value = crate::broker::Broker::new(&world).vault().read(pending).unwrap().unwrap();
    assert_eq!(pending[0]["id"], digest);
    assert!(browser.cookies.contains_key(&format!("gatehouse-flow-{}", &digest[..8])));
}

/// Item 10: the state, and what else nobody may guess, is 256 bits as they came from the random source, each of its own.
#[test]
fn a_state_a_cookie_and_a_verifier_are_256_random_bits_each() {
    let (world, browser, query) = started();
    let state = query.split_once("state=").unwrap().1.to_owned();
    world.answer(200, grant("access-1", 3600, "refresh-1"));
    let mut again = Browser { cookies: browser.cookies.clone() };
    again.get(&world, &format!("/callback/forge?{query}"));
    let verifier = world.forms_sent_to("https://forge.example/token")[0]["code_verifier"].clone();
    let mut secrets: Vec<String> = browser.cookies.into_values().chain([state, verifier]).collect();
    secrets.sort();
    secrets.dedup();
    assert_eq!(secrets.len(), 4, "the cookies of the browser and of the flow, the state, the verifier");
    for secret in secrets {
        let bytes = Base64UrlUnpadded::decode_vec(&secret).unwrap();
        assert_eq!(bytes.len(), 32);
        assert_eq!(world.drawn.borrow().iter().filter(|drawn| **drawn == bytes).count(), 1, "drawn at once, and once");
    }
}

/// Item 11.
#[test]
fn the_flow_cookie_is_host_bound_and_out_of_reach_of_scripts() {
    let world = World::public();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    let page = browser.get(&world, "/auth/forge");
    let cookie = head(&browser.agree(&world, &page), "set-cookie");
    assert!(cookie.starts_with("__Host-gatehouse-flow-"), "{cookie}");
    for part in ["; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age=600"] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    assert!(!cookie.contains("Domain"));
}

/// Item 6: who starts a flow has to be who finishes it, also when the other has no session at all.
#[test]
fn another_persons_browser_does_not_finish_the_flow() {
    let world = World::public();
    let mut ann = Browser::default();
    ann.sign_in(&world, ANNS_KEY);
    let to = ann.start(&world, "/auth/forge");
    let path = format!("/callback/forge?code=x&state={}", to["state"]);
    ann.cookies.retain(|name, _| name.contains("flow"));

    let mut victim = Browser { cookies: ann.cookies.clone() };
    refused(&world, &mut victim, &path, 403);
    victim.sign_in(&world, BOBS_KEY);
    refused(&world, &mut victim, &path, 403);

    victim.sign_in(&world, ANNS_KEY);
    world.answer(200, grant("access-1", 3600, "refresh-1"));
    assert_eq!(victim.get(&world, &path).status(), StatusCode::SEE_OTHER);
}

/// Item 14: and the connection that was there stays as it is.
#[test]
fn a_person_who_declines_keeps_the_connection_of_before() {
    let world = World::local();
    let mut browser = Browser::default();
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    let row = |world: &World| world.dump().into_iter().find(|(key, _)| key.starts_with("b.c."));
    let before = row(&world);
    let to = browser.start(&world, "/auth/forge");
    let declined = browser.get(&world, &format!("/callback/forge?error=access_denied&state={}", to["state"]));
    assert_eq!((declined.status(), row(&world)), (StatusCode::BAD_REQUEST, before));
    assert!(text(&declined).contains("what was connected before is as it was"));
    assert!(text(&declined).contains("href=\"/auth/forge\">Start again<"));
    assert_eq!(flow_cookies(&browser).count(), 0, "the flow is over, and so is its cookie");
    assert_eq!(read(&world.token("forge", None))["access_token"], "access-1");
}

/// Item 14.
#[test]
fn a_refusal_by_the_provider_is_shown_escaped_and_calls_nothing() {
    let (world, mut browser, query) = started();
    let query = query.replace("code=canary-code", "error=access_denied&error_description=%3Cscript%3Eno%3C/script%3E");
    let page = refused(&world, &mut browser, &format!("/callback/forge?{query}"), 400);
    assert!(page.contains("access_denied") && page.contains("&lt;script&gt;no"), "{page}");
    refused(&world, &mut browser, &format!("/callback/forge?{query}"), 400);
}

/// Item 13, as far as it needs no metadata: `iss` is compared byte by byte, in errors too.
#[test]
fn an_answer_of_another_issuer_is_refused() {
    let world = World::local();
    let service = json!({
        "client_id": "id", "authorize_url": "https://op.example/a", "token_url": "https://op.example/t",
        "issuer": "https://op.example", "issuer_required": true,
    });
    world.offer("op", service);
    let mut browser = Browser::default();
    for rest in ["code=x", "code=x&iss=https://evil.example", "code=x&iss=https://op.example/", "error=access_denied"] {
        let to = browser.start(&world, "/auth/op");
        let page = refused(&world, &mut browser, &format!("/callback/op?{rest}&state={}", to["state"]), 400);
        assert!(page.contains("issuer"), "{page}");
    }
    let to = browser.start(&world, "/auth/op");
    world.answer(200, grant("access-1", 3600, "refresh-1"));
    let done = browser.get(&world, &format!("/callback/op?code=x&iss=https://op.example&state={}", to["state"]));
    assert_eq!(done.status(), StatusCode::SEE_OTHER);
}

/// Item 15.
#[test]
fn the_callback_leads_away_from_the_url_with_the_code() {
    let (world, mut browser, query) = started();
    world.answer(200, grant("access-1", 3600, "refresh-1"));
    let done = browser.get(&world, &format!("/callback/forge?{query}"));
    assert_eq!(head(&done, "referrer-policy"), "no-referrer");
    assert_eq!(head(&done, "cache-control"), "no-store");
    assert!(!head(&done, "location").contains("code"));
    let failed = browser.get(&world, &format!("/callback/forge?{query}"));
    for (name, value) in [
        ("cache-control", "no-store"),
        ("referrer-policy", "no-referrer"),
        ("x-frame-options", "DENY"),
        ("x-content-type-options", "nosniff"),
    ] {
        assert_eq!(head(&failed, name), value);
    }
    assert!(head(&failed, "content-security-policy").starts_with("default-src 'none'"));
    assert!(!text(&failed).contains("http"), "nothing of another origin");
}

/// Item 16: a parameter that is there twice.
#[test]
fn a_parameter_twice_is_refused_and_the_flow_goes_on() {
    let (world, mut browser, query) = started();
    let state = query.split_once("state=").unwrap().1;
    let same = format!("state={state}");
    for twice in ["code=a", "code=", "state=a", "state=", same.as_str()] {
        refused(&world, &mut browser, &format!("/callback/forge?{query}&{twice}"), 400);
    }
    for name in ["error", "error_description", "error_uri", "iss", "scope", "session_state", "hmac", "user", "x"] {
        for twice in [format!("{name}=a&{name}=b"), format!("{name}=a&{name}=a"), format!("{name}=&{name}=")] {
            refused(&world, &mut browser, &format!("/callback/forge?{query}&{twice}"), 400);
            refused(&world, &mut browser, &format!("/callback/forge?{twice}&{query}"), 400);
        }
    }
    world.answer(200, grant("access-1", 3600, "refresh-1"));
    // Item 16: a parameter without a value is as good as absent.
    assert_eq!(browser.get(&world, &format!("/callback/forge?{query}&error=&iss=")).status(), StatusCode::SEE_OTHER);
}

/// Item 16, and a bound: what is asked has an end.
#[test]
fn a_callback_of_unreasonable_size_is_refused() {
    let (world, mut browser, query) = started();
    let many: String = (0..64).map(|number| format!("&p{number}=x")).collect();
    for more in [format!("&x={}", "x".repeat(16 * 1024)), many] {
        refused(&world, &mut browser, &format!("/callback/forge?{query}{more}"), 400);
    }
    world.answer(200, grant("access-1", 3600, "refresh-1"));
    assert_eq!(browser.get(&world, &format!("/callback/forge?{query}")).status(), StatusCode::SEE_OTHER);
}

#[test]
fn a_service_that_is_not_offered_cannot_be_connected() {
    let world = World::local();
    let mut browser = Browser::default();
    for unknown in ["gitlab", "nothing", "..", "A", "a%2Fb"] {
        assert_eq!(browser.get(&world, &format!("/auth/{unknown}")).status(), StatusCode::NOT_FOUND, "{unknown}");
    }
    assert!(world.dump().is_empty());
}

#[test]
fn a_provider_that_is_down_leaves_an_older_connection_as_it_was() {
    let world = World::local();
    let mut browser = Browser::default();
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    for status in [500, 503, 429, 302] {
        let to = browser.start(&world, "/auth/forge");
        world.answer(status, json!({}));
        let answer = browser.get(&world, &format!("/callback/forge?code=x&state={}", to["state"]));
        assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE, "{status}");
        assert!(!head(&answer, "retry-after").is_empty());
    }
    let to = browser.start(&world, "/auth/forge");
    world.fault(SendFault::Timeout);
    let answer = browser.get(&world, &format!("/callback/forge?code=x&state={}", to["state"]));
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(read(&world.token("forge", None))["access_token"], "access-1");
}

#[test]
fn a_code_that_the_provider_does_not_take_connects_nothing() {
    for (error, status) in [("invalid_grant", 400), ("invalid_client", 500), ("invalid_request", 502)] {
        let (world, mut browser, query) = started();
        world.answer(400, json!({ "error": error, "error_description": "canary-description" }));
        let answer = browser.get(&world, &format!("/callback/forge?{query}"));
        assert_eq!(answer.status().as_u16(), status);
        assert!(text(&answer).contains(error) && !text(&answer).contains("canary"));
        assert_eq!(world.token("forge", None).status(), StatusCode::NOT_FOUND);
    }
}

#[test]
fn flows_that_nobody_finishes_do_not_pile_up() {
    let world = World::local();
    for _ in 0..100 {
        world.pass(1);
        Browser::default().start(&world, "/auth/forge");
    }
    assert_eq!(world.dump().len(), 16 + 2, "flows, their names, and the tickets that were used");
    world.pass(601);
    Browser::default().start(&world, "/auth/forge");
    assert_eq!(world.dump().len(), 1 + 2);
    let largest = world.dump().values().map(Vec::len).max();
    assert!(largest < Some(1000), "{largest:?}");
}

#[test]
fn the_account_is_named_when_the_provider_tells_and_nothing_is_lost_when_it_does_not() {
    let world = World::local();
    let mut browser = Browser::default();
    for (status, body, account) in [
        (200, json!({ "login": "octocat" }), json!("octocat")),
        (500, json!({}), json!(null)),
        (200, json!([]), json!(null)),
    ] {
        let to = browser.start(&world, "/auth/github");
        world.answer(200, grant("access-1", 3600, "refresh-1"));
        world.answer(status, body);
        browser.get(&world, &format!("/callback/github?code=x&state={}", to["state"]));
        let listed = read(&world.get("/connections"));
        let github =
            listed["services"].as_array().unwrap().iter().find(|one| one["service"] == "github").unwrap().clone();
        assert_eq!((github["connected"].as_bool(), &github["label"]), (Some(true), &account));
    }
}
