//! Who is signed in, and what a connect link may do for whom.

use http::StatusCode;
use serde_json::json;

use super::*;

/// The path of the connect link that the gateway is given for the holder of `bearer`.
fn link(world: &World, bearer: &str) -> String {
    let outcome = world.resolve(Some(bearer), json!({ "service": "forge" }));
    assert_eq!(outcome["status"], "not_connected");
    outcome["connect_url"].as_str().unwrap().strip_prefix(PUBLIC).unwrap().to_owned()
}

#[test]
fn off_loopback_nobody_is_let_in_without_signing_in() {
    let world = World::public();
    for path in ["/", "/connections", "/auth/forge"] {
        let answer = world.get(path);
        assert_eq!((answer.status(), &read(&answer)["error"]), (StatusCode::UNAUTHORIZED, &json!("login_required")));
        let page = Browser::default().get(&world, path);
        assert_eq!(page.status(), StatusCode::UNAUTHORIZED);
        assert!(text(&page).contains("action=\"/sign-in\""));
    }
    assert!(world.dump().is_empty());
}

#[test]
fn the_passphrase_is_the_owner_and_an_api_key_is_its_subject() {
    let world = World::public();
    for (credential, subject) in [(PASSPHRASE, "owner"), (ANNS_KEY, "ann"), (BOBS_KEY, "bob")] {
        let mut browser = Browser::default();
        assert_eq!(browser.sign_in(&world, credential).status(), StatusCode::OK);
        assert_eq!(read(&browser.get(&world, "/connections"))["subject"], subject);
        browser.post(&world, "/sign-out", "");
        assert_eq!(browser.get(&world, "/connections").status(), StatusCode::UNAUTHORIZED);
    }
}

#[test]
fn a_session_is_host_bound_and_ends_after_twelve_hours() {
    let world = World::public();
    let mut browser = Browser::default();
    let cookie = head(&browser.sign_in(&world, ANNS_KEY), "set-cookie");
    assert!(cookie.starts_with("__Host-gatehouse-session="));
    for part in ["; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/"] {
        assert!(cookie.contains(part), "{part}");
    }
    world.pass(43_199);
    assert_eq!(browser.get(&world, "/connections").status(), StatusCode::OK);
    world.pass(1);
    assert_eq!(browser.get(&world, "/connections").status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn a_session_ends_with_the_credential_that_opened_it() {
    let world = World::public();
    let (mut owner, mut ann) = (Browser::default(), Browser::default());
    owner.sign_in(&world, PASSPHRASE);
    ann.sign_in(&world, ANNS_KEY);
    world.set("owner_passphrase", "another");
    world.set("api_keys", "");
    assert_eq!(owner.get(&world, "/connections").status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ann.get(&world, "/connections").status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn a_cookie_that_we_did_not_make_is_no_session() {
    let world = World::public();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    let ticket = link(&world, BOBS_KEY).split_once("ticket=").unwrap().1.to_owned();
    for forged in ["x".to_owned(), "AQ".to_owned(), ticket] {
        browser.cookies.insert("__Host-gatehouse-session".into(), forged);
        assert_eq!(browser.get(&world, "/connections").status(), StatusCode::UNAUTHORIZED);
    }
}

#[test]
fn guessing_is_slowed_down_and_locks_no_key_out() {
    let world = World::public();
    let mut browser = Browser::default();
    for _ in 0..10 {
        assert_eq!(browser.sign_in(&world, "guess").status(), StatusCode::UNAUTHORIZED);
    }
    let limited = browser.sign_in(&world, PASSPHRASE);
    assert_eq!((limited.status(), head(&limited, "retry-after").as_str()), (StatusCode::TOO_MANY_REQUESTS, "60"));
    assert_eq!(browser.sign_in(&world, ANNS_KEY).status(), StatusCode::OK);
    assert_eq!(world.dump().len(), 1, "one row, however many try");
    world.pass(60);
    assert_eq!(browser.sign_in(&world, PASSPHRASE).status(), StatusCode::OK);
}

#[test]
fn without_a_passphrase_nobody_signs_in_with_an_empty_one() {
    let world = World::public();
    world.set("owner_passphrase", "");
    for guess in ["", "owner", "%20"] {
        assert_eq!(Browser::default().sign_in(&world, guess).status(), StatusCode::UNAUTHORIZED);
    }
}

#[test]
fn another_site_can_neither_sign_in_nor_disconnect() {
    let world = World::public();
    for (path, name, value) in [
        ("/sign-in", "origin", "https://evil.example"),
        ("/sign-out", "origin", "null"),
        ("/disconnect/forge", "sec-fetch-site", "cross-site"),
        ("/disconnect/forge", "sec-fetch-site", "same-site"),
    ] {
        let request = world.request("POST", path).header(name, value);
        let answer = world.handle(request.body(format!("credential={ANNS_KEY}").into_bytes()).unwrap());
        assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{path}");
    }
}

/// Item 7: the link asks its opener to sign in, works for its subject, and once.
#[test]
fn a_connect_link_works_for_its_subject_and_once() {
    let world = World::public();
    let link = link(&world, ANNS_KEY);
    let mut browser = Browser::default();
    assert!(text(&browser.get(&world, &link)).contains("Sign in"));
    browser.sign_in(&world, ANNS_KEY);
    browser.start(&world, &link);
    let again = browser.get(&world, &link);
    assert_eq!(again.status(), StatusCode::BAD_REQUEST);
    assert!(text(&again).contains("has been used"));
}

/// Item 6 and 7: a link that ann hands to bob does not connect bob's account to ann.
#[test]
fn a_connect_link_is_of_no_use_to_another_person() {
    let world = World::public();
    let link = link(&world, ANNS_KEY);
    let mut bob = Browser::default();
    bob.sign_in(&world, BOBS_KEY);
    let before = world.dump();
    assert_eq!(bob.get(&world, &link).status(), StatusCode::FORBIDDEN);
    assert_eq!(world.dump(), before);
    let mut ann = Browser::default();
    ann.sign_in(&world, ANNS_KEY);
    ann.start(&world, &link);
}

/// Item 7: each once, and none is lost because another was used first.
#[test]
fn connect_links_are_used_in_any_order_and_each_once() {
    let world = World::public();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    let (first, same_second) = (link(&world, ANNS_KEY), link(&world, ANNS_KEY));
    world.pass(1);
    let later = link(&world, ANNS_KEY);
    for link in [&later, &same_second, &first] {
        browser.start(&world, link);
    }
    for link in [first, same_second, later] {
        assert_eq!(browser.get(&world, &link).status(), StatusCode::BAD_REQUEST);
    }
}

#[test]
fn a_connect_link_ends_after_ten_minutes_and_fits_its_service_only() {
    let world = World::public();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    let link = link(&world, ANNS_KEY);
    let elsewhere = link.replace("/auth/forge", "/auth/github");
    assert_eq!(browser.get(&world, &elsewhere).status(), StatusCode::BAD_REQUEST);
    for broken in ["/auth/forge?ticket=x", "/auth/forge?ticket=%00", "/auth/forge?ticket=a&ticket=b"] {
        assert_eq!(browser.get(&world, broken).status(), StatusCode::BAD_REQUEST);
    }
    world.pass(601);
    assert_eq!(browser.get(&world, &link).status(), StatusCode::BAD_REQUEST);
}

#[test]
fn making_connect_links_writes_nothing() {
    let world = World::public();
    for _ in 0..50 {
        link(&world, ANNS_KEY);
    }
    assert!(world.dump().is_empty());
}
