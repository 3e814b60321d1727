//! Links with which a person can connect a service: which callers may have them made, for which person.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::*;

const DONE: &str = "https://app.example/done?a=b";

fn mint(world: &World, bearer: Option<&str>, wish: &Value) -> Response<Vec<u8>> {
    let mut request = world.request("POST", "/tickets").header("content-type", "application/json");
    if let Some(bearer) = bearer {
        request = request.header("authorization", format!("Bearer {bearer}"));
    }
    world.handle(request.body(wish.to_string().into_bytes()).unwrap())
}

/// The path of the link that was made.
fn path(answer: &Response<Vec<u8>>) -> String {
    assert_eq!(answer.status(), StatusCode::OK, "{}", text(answer));
    let url = read(answer)["connect_url"].as_str().unwrap().to_owned();
    url.strip_prefix(PUBLIC).or(url.strip_prefix(LOCAL)).unwrap().to_owned()
}

/// A public world that knows where to go back to, and ann at her browser.
fn world() -> (World, Browser) {
    let world = World::public();
    world.set("return_urls", &format!("https://app.example/, {DONE}"));
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    (world, browser)
}

/// Item 7: a link is for the caller's own subject, or for the person whose bearer a service passes on.
#[test]
fn a_person_has_a_link_made_for_themselves_and_a_service_for_whom_it_speaks() {
    let (world, mut ann) = world();
    let wish = json!({ "service": "forge" });
    let passed_on = json!({ "service": "forge", "subject_token": ANNS_KEY });
    for answer in [mint(&world, Some(ANNS_KEY), &wish), mint(&world, Some(SERVICE_KEY), &passed_on)] {
        assert_eq!(read(&answer)["expires_in"], 600);
        assert_eq!(head(&answer, "cache-control"), "no-store");
        ann.start(&world, &path(&answer));
    }
    let answer = ann.post(&world, "/tickets", &wish.to_string());
    ann.start(&world, &path(&answer));
    let bobs = path(&mint(&world, Some(BOBS_KEY), &wish));
    assert_eq!(ann.get(&world, &bobs).status(), StatusCode::FORBIDDEN);

    let local = World::local();
    Browser::default().start(&local, &path(&mint(&local, None, &wish)));
}

#[test]
fn nobody_else_has_one_made() {
    let (world, ann) = world();
    let wish = json!({ "service": "forge" });
    for (bearer, wish, status, error) in [
        (None, wish.clone(), 401, "login_required"),
        (Some("canary-unknown"), wish.clone(), 401, "invalid_client"),
        (Some(SERVICE_KEY), wish.clone(), 400, "invalid_token"),
        (Some(SERVICE_KEY), json!({ "service": "forge", "subject_token": "canary-unknown" }), 400, "invalid_token"),
        (Some(BOBS_KEY), json!({ "service": "forge", "subject_token": ANNS_KEY }), 400, "invalid_token"),
        (None, json!({ "service": "forge", "subject_token": ANNS_KEY }), 401, "login_required"),
    ] {
        let answer = mint(&world, bearer, &wish);
        assert_eq!((answer.status().as_u16(), read(&answer)["error"].as_str()), (status, Some(error)));
        assert!(!text(&answer).contains("connect_url") && !text(&answer).contains("canary"));
    }
    let cookies: Vec<String> = ann.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
    for origin in ["https://evil.example", "null"] {
        let request = world.request("POST", "/tickets").header("origin", origin).header("cookie", cookies.join("; "));
        let answer = world.handle(request.body(wish.to_string().into_bytes()).unwrap());
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{origin}");
    }
}

/// What a service may not have it cannot ask a person for either; people are not limited.
#[test]
fn a_service_has_links_made_within_its_rights_only() {
    let (world, _) = world();
    world.set("handout_policy", &json!({ "gateway": { "services": { "forge": ["read", "write"] } } }).to_string());
    for (bearer, service, scopes, status) in [
        (SERVICE_KEY, "forge", json!([]), 200),
        (SERVICE_KEY, "forge", json!(["read"]), 200),
        (SERVICE_KEY, "forge", json!(["admin"]), 404),
        (SERVICE_KEY, "github", json!([]), 404),
        (ANNS_KEY, "github", json!(["admin"]), 200),
    ] {
        let wish = json!({ "service": service, "scopes": scopes, "subject_token": ANNS_KEY });
        assert_eq!(mint(&world, Some(bearer), &wish).status().as_u16(), status, "{wish}");
    }
}

#[test]
fn a_wish_that_is_not_understood_makes_no_link() {
    let (world, _) = world();
    let many: Vec<String> = (0..65).map(|number| format!("s{number}")).collect();
    for (wish, status) in [
        (json!({ "service": "nothing" }), 404),
        (json!({ "service": "../x" }), 404),
        (json!({}), 400),
        (json!([]), 400),
        (json!({ "service": "forge", "subject": "bob" }), 400),
        (json!({ "service": "forge", "account": "A b" }), 400),
        (json!({ "service": "forge", "scopes": ["a b"] }), 400),
        (json!({ "service": "forge", "scopes": [""] }), 400),
        (json!({ "service": "forge", "scopes": ["\"x"] }), 400),
        (json!({ "service": "forge", "scopes": ["é"] }), 400),
        (json!({ "service": "forge", "scopes": many }), 400),
        (json!({ "service": "forge", "scopes": ["x".repeat(2049)] }), 400),
        (json!({ "service": "forge", "return_to": "" }), 400),
    ] {
        assert_eq!(mint(&world, Some(ANNS_KEY), &wish).status().as_u16(), status, "{wish}");
    }
    assert!(world.dump().is_empty());
}

#[test]
fn a_link_says_the_account_the_further_scopes_and_where_to_go() {
    let (world, mut ann) = world();
    let wish = json!({ "service": "forge", "account": "work", "scopes": ["read", "admin"], "return_to": DONE });
    let link = path(&mint(&world, Some(ANNS_KEY), &wish));
    // What else is in the address changes nothing.
    let page = ann.get(&world, &format!("{link}&account=home&return_to=https://evil.example/"));
    for said in ["<strong>work</strong>", "<code>admin</code>", "<strong>app.example</strong>"] {
        assert!(text(&page).contains(said), "{said}");
    }
    assert!(
        text(&page)
            .contains(&format!("href=\"{}&amp;error=access_denied&amp;service=forge&amp;account=work\">Cancel<", DONE))
    );
    let to = leads_to(&ann.agree(&world, &page));
    let state = to.query_pairs().find(|(name, _)| name == "state").unwrap().1.into_owned();
    assert!(to.query().unwrap().contains("scope=read+write+admin"), "{to}");
    world.answer(200, grant("access-1", 3600, "refresh-1"));
    let done = ann.get(&world, &format!("/callback/forge?code=canary-code&state={state}"));
    assert_eq!(head(&done, "location"), format!("{DONE}&connected=forge&account=work"));
    assert_eq!(head(&done, "referrer-policy"), "no-referrer");
}

/// Item 17: only to a listed URL, letter by letter. (`return_url` has the list of tricks.)
#[test]
fn a_link_leads_back_to_a_listed_url_only() {
    let (world, _) = world();
    for bad in
        ["https://evil.example/", "//evil", "https://app.example", "https://app.example/x", "https://app.example@evil/"]
    {
        let answer = mint(&world, Some(ANNS_KEY), &json!({ "service": "forge", "return_to": bad }));
        assert_eq!(
            (answer.status().as_u16(), read(&answer)["error"].as_str()),
            (400, Some("invalid_request")),
            "{bad}"
        );
    }
    world.set("return_urls", "https://app.example");
    let wish = json!({ "service": "forge", "return_to": "https://app.example" });
    let answer = mint(&world, Some(ANNS_KEY), &wish);
    assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
    assert!(text(&answer).contains("return_urls: wrong"), "{}", text(&answer));
    assert!(world.log.borrow().last().unwrap().starts_with("return_urls: entry 1"));
}

/// Item 17: what happened is told without a secret, and a URL that is not listed any more leads nowhere.
#[test]
fn the_way_back_tells_what_went_wrong_and_no_more() {
    let (world, mut ann) = world();
    let wish = json!({ "service": "forge", "return_to": DONE });
    for (query, answer, error) in [
        ("error=access_denied&error_description=canary", None, "access_denied"),
        ("code=canary-code", Some((503, json!({}))), "temporarily_unavailable"),
        ("code=canary-code", Some((400, json!({ "error": "invalid_grant" }))), "invalid_grant"),
        ("", None, "invalid_request"),
    ] {
        let to = ann.start(&world, &path(&mint(&world, Some(ANNS_KEY), &wish)));
        answer.into_iter().for_each(|(status, body)| world.answer(status, body));
        let back = ann.get(&world, &format!("/callback/forge?{query}&state={}", to["state"]));
        assert_eq!(back.status(), StatusCode::SEE_OTHER, "{}", text(&back));
        assert_eq!(head(&back, "location"), format!("{DONE}&error={error}&service=forge"));
        assert!(ann.cookies.keys().all(|name| !name.contains("flow")));
    }
    let to = ann.start(&world, &path(&mint(&world, Some(ANNS_KEY), &wish)));
    world.set("return_urls", "");
    world.answer(200, grant("access-1", 3600, "refresh-1"));
    let back = ann.get(&world, &format!("/callback/forge?code=x&state={}", to["state"]));
    assert_eq!(head(&back, "location"), "/?connected=forge");
}

/// What is not the flow's own person and browser goes nowhere but to a page here.
#[test]
fn a_stranger_is_not_sent_back_to_anyones_url() {
    let (world, mut ann) = world();
    let to = ann.start(&world, &path(&mint(&world, Some(ANNS_KEY), &json!({ "service": "forge", "return_to": DONE }))));
    let mut bob = Browser::default();
    bob.sign_in(&world, BOBS_KEY);
    let answer = bob.get(&world, &format!("/callback/forge?error=access_denied&state={}", to["state"]));
    assert_eq!((answer.status(), head(&answer, "location")), (StatusCode::BAD_REQUEST, String::new()));
}

#[test]
fn to_make_links_writes_nothing() {
    let (world, _) = world();
    for _ in 0..50 {
        mint(&world, Some(ANNS_KEY), &json!({ "service": "forge" }));
    }
    assert!(world.dump().is_empty());
}
