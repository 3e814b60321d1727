//! A provider that posts its answer from its own site, as Apple does.

use http::{Response, StatusCode};
use serde_json::json;

use super::*;

/// Ann at her browser, on the way to Apple; and the parameters she takes there.
fn started() -> (World, Browser, std::collections::BTreeMap<String, String>) {
    let world = World::public();
    world.offer("apple", json!({ "client_id": "the-id", "client_secret": "a.jwt.of-ours" }));
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    let to = browser.start(&world, "/auth/apple");
    (world, browser, to)
}

/// A post from another site: of our cookies it has only those that browsers send with one.
fn post(world: &World, browser: &mut Browser, path: &str, form: &str) -> Response<Vec<u8>> {
    let lax: std::collections::BTreeMap<_, _> =
        browser.cookies.extract_if(.., |name, _| !name.contains("gatehouse-flow-")).collect();
    let request = world.request("POST", path).header("content-type", "application/x-www-form-urlencoded");
    let answer = browser.send(world, request.header("origin", "null"), form.as_bytes().to_vec());
    browser.cookies.extend(lax);
    answer
}

fn grant_with_id_token(world: &World, claims: serde_json::Value) {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let part = |value: serde_json::Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
    let mut answer = grant("access-1", 3600, "refresh-1");
    let alg = claims.get("test_alg").cloned().unwrap_or(json!("RS256"));
    answer["id_token"] = json!(format!("{}.{}.sig", part(json!({ "alg": alg })), part(claims)));
    world.answer(200, answer);
}

/// A01: of two claims of one name another reader would have taken the other one.
#[test]
fn an_id_token_with_a_claim_twice_connects_nobody() {
    use base64ct::{Base64UrlUnpadded, Encoding};
    let part = |text: String| Base64UrlUnpadded::encode_string(text.as_bytes());
    for (more, connects) in [(r#""s\u0075b":"002","#, false), (r#""Sub":"002","#, true)] {
        let (world, mut browser, to) = started();
        let kept = post(&world, &mut browser, "/callback/apple", &format!("code=x&state={}", to["state"]));
        let mut answer = grant("access-1", 3600, "refresh-1");
        let claims = part(good_for(&to).to_string().replacen('{', &format!("{{{more}"), 1));
        answer["id_token"] = json!(format!("{}.{claims}.sig", part(r#"{"alg":"RS256"}"#.to_owned())));
        world.answer(200, answer);
        let done = browser.get(&world, &head(&kept, "location"));
        assert_eq!(done.status() == StatusCode::SEE_OTHER, connects, "{more}");
    }
}

fn good() -> serde_json::Value {
    json!({ "iss": "https://appleid.apple.com", "aud": "the-id", "sub": "001", "exp": NOW + 600 })
}

/// The claims that the flow of this authorize request expects.
fn good_for(to: &std::collections::BTreeMap<String, String>) -> serde_json::Value {
    let mut claims = good();
    claims["nonce"] = json!(to["nonce"]);
    claims
}

/// Item 11: only the flow of such a service has a cookie that comes along from another site, and only the flow's.
#[test]
fn a_flows_cookie_crosses_sites_only_where_the_provider_posts() {
    let (world, mut browser, _) = started();
    world.offer("github", json!({ "client_id": "id" }));
    for (service, same_site) in [("apple", "SameSite=None; Secure"), ("github", "SameSite=Lax; Secure")] {
        let page = browser.get(&world, &format!("/auth/{service}"));
        let left = browser.agree(&world, &page);
        let cookies: Vec<_> = left.headers().get_all("set-cookie").iter().map(|said| said.to_str().unwrap()).collect();
        let flow = cookies.iter().find(|cookie| cookie.starts_with("__Host-gatehouse-flow-")).unwrap();
        assert!(flow.ends_with(same_site) && flow.contains("; HttpOnly;"), "{flow}");
        assert!(cookies.iter().filter(|cookie| *cookie != flow).all(|cookie| !cookie.contains("SameSite=None")));
    }
}

/// Items 11 and 15: the code never stands in a URL, and who is signed in is asked where the browser says it.
#[test]
fn a_posted_answer_is_kept_and_fetched_by_the_same_person() {
    let (world, mut browser, to) = started();
    assert_eq!(to["response_mode"], "form_post");
    let form = format!("code=canary-code&state={}&user=%7B%7D", to["state"]);
    let kept = post(&world, &mut browser, "/callback/apple", &form);
    assert_eq!((kept.status(), world.sent.borrow().len()), (StatusCode::SEE_OTHER, 0));
    assert_eq!(head(&kept, "location"), format!("/callback/apple?state={}", to["state"]));
    assert!(world.dump().values().all(|row| !row.windows(11).any(|part| part == b"canary-code")));

    let mut bob = Browser { cookies: browser.cookies.clone() };
    bob.sign_in(&world, BOBS_KEY);
    assert_eq!(bob.get(&world, &head(&kept, "location")).status(), StatusCode::FORBIDDEN);

    grant_with_id_token(&world, good_for(&to));
    let done = browser.get(&world, &head(&kept, "location"));
    assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", text(&done));
    assert_eq!(world.forms_sent_to("https://appleid.apple.com/auth/token")[0]["code"], "canary-code");
    let token = world.resolve(Some(ANNS_KEY), json!({ "service": "apple" }));
    assert_eq!((&token["access_token"], &token["extra"]["sub"]), (&json!("access-1"), &json!("001")));
}

/// Items 1, 5 and 10, for an answer that is posted.
#[test]
fn a_posted_answer_that_is_not_of_this_flow_is_refused() {
    let (world, mut browser, to) = started();
    let form = format!("code=x&state={}", to["state"]);
    let refused = |browser: &mut Browser, path: &str, form: &str| {
        let status = post(&world, browser, path, form).status();
        assert!(status.is_client_error(), "{status} {path} {form}");
    };
    refused(&mut Browser::default(), "/callback/apple", &form);
    refused(&mut browser, "/callback/apple", "code=x");
    refused(&mut browser, "/callback/apple", "code=x&state=invented");
    // Item 16.
    for name in ["code", "state", "error", "error_description", "iss", "scope", "user", "x"] {
        refused(&mut browser, "/callback/apple", &format!("{form}&{name}=a&{name}=b"));
    }
    refused(&mut browser, "/callback/apple", &format!("{form}&code=y"));
    refused(&mut browser, "/callback/apple", &format!("{form}&state={}", to["state"]));
    // The first answer counts; a second cannot take its place.
    assert_eq!(post(&world, &mut browser, "/callback/apple", &form).status(), StatusCode::SEE_OTHER);
    refused(&mut browser, "/callback/apple", &form.replace("code=x", "code=y"));
    grant_with_id_token(&world, good_for(&to));
    browser.get(&world, &format!("/callback/apple?code=z&state={}", to["state"]));
    assert_eq!(world.forms_sent_to("https://appleid.apple.com/auth/token")[0]["code"], "x");

    let to = browser.start(&world, "/auth/apple");
    refused(&mut browser, "/callback/forge", &format!("code=x&state={}", to["state"]));
    refused(&mut browser, "/callback/apple", &format!("code=x&state={}", to["state"]));
    let to = browser.start(&world, "/auth/forge");
    refused(&mut browser, "/callback/forge", &format!("code=x&state={}", to["state"]));
}

/// Item 19: each flow has a nonce of its own, where an id token is read.
#[test]
fn a_nonce_is_asked_for_where_an_id_token_is_read() {
    let (world, mut browser, to) = started();
    let again = browser.start(&world, "/auth/apple");
    assert_eq!((to["nonce"].len(), again["nonce"].len()), (43, 43));
    assert_ne!(to["nonce"], again["nonce"]);
    assert!(![&to["state"], &to["code_challenge"]].contains(&&to["nonce"]));
    assert!(!browser.start(&world, "/auth/forge").contains_key("nonce"));
    // Another flow's id token is of no use in this one.
    let kept = post(&world, &mut browser, "/callback/apple", &format!("code=x&state={}", again["state"]));
    let mut claims = good();
    claims["nonce"] = json!(to["nonce"]);
    grant_with_id_token(&world, claims);
    assert_ne!(browser.get(&world, &head(&kept, "location")).status(), StatusCode::SEE_OTHER);
}

/// Item 19: an id token of another issuer, for another client, over, or signed with what is no signature.
#[test]
fn an_id_token_that_is_not_ours_connects_nobody() {
    let claims = |name: &str, value: serde_json::Value| {
        let mut claims = good();
        claims[name] = value;
        claims
    };
    let bad = [
        claims("iss", json!("https://evil.example")),
        claims("iss", json!("https://appleid.apple.com/")),
        claims("aud", json!("another")),
        claims("aud", json!(["another"])),
        claims("azp", json!("another")),
        claims("exp", json!(NOW - 3600)),
        claims("exp", json!(NOW - 600)),
        claims("aud", json!(["other", "the-id"])),
        claims("aud", json!([])),
        json!({ "azp": "other", "aud": ["other", "the-id"], "iss": "https://appleid.apple.com", "exp": NOW + 600 }),
        claims("nonce", json!("another")),
        claims("nonce", json!(null)),
        claims("exp", json!("never")),
        claims("test_alg", json!("none")),
        claims("test_alg", json!("HS256")),
    ];
    for (claims, connects) in bad.map(|claims| (claims, false)).into_iter().chain([
        (json!({ "azp": "the-id", "aud": ["other", "the-id"], "iss": "https://appleid.apple.com", "exp": NOW + 600 }), true),
        (claims("aud", json!(["the-id"])), true),
        // Clocks differ.
        (claims("exp", json!(NOW - 599)), true),
    ]) {
        let (world, mut browser, to) = started();
        let kept = post(&world, &mut browser, "/callback/apple", &format!("code=x&state={}", to["state"]));
        let mut claims = claims;
        if claims.get("nonce").is_none() {
            claims["nonce"] = json!(to["nonce"]);
        }
        grant_with_id_token(&world, claims.clone());
        let done = browser.get(&world, &head(&kept, "location"));
        assert_eq!(done.status() == StatusCode::SEE_OTHER, connects, "{claims}");
    }
}
