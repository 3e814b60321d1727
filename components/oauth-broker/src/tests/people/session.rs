//! Sessions, and connect links of signed-in people.

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

/// A12: what was copied from a browser is of no use after that browser has signed out; other sessions go on.
#[test]
fn a_copied_cookie_ends_with_its_session() {
    let world = World::public();
    let mut browsers = [ANNS_KEY, ANNS_KEY, BOBS_KEY].map(|credential| {
        let mut browser = Browser::default();
        browser.sign_in(&world, credential);
        browser
    });
    let mut thief = Browser { cookies: browsers[0].cookies.clone() };
    let out = browsers[0].post(&world, "/sign-out", "");
    assert_eq!((out.status(), head(&out, "clear-site-data").as_str()), (StatusCode::SEE_OTHER, "\"cache\""));
    assert!(browsers[0].cookies.is_empty());
    for path in ["/connections", "/", "/auth/forge"] {
        assert_eq!(thief.get(&world, path).status(), StatusCode::UNAUTHORIZED, "{path}");
    }
    for browser in &mut browsers[1..] {
        assert_eq!(browser.get(&world, "/connections").status(), StatusCode::OK);
    }
    let before = world.dump();
    thief.post(&world, "/sign-out", "everywhere=1");
    assert_eq!(world.dump(), before, "a session that is over ends no other");
}

/// A12: the flow of a session that is over cannot be finished by who has copied its cookies.
#[test]
fn a_flow_of_an_ended_session_cannot_be_finished() {
    let world = World::public();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    let to = browser.start(&world, "/auth/forge");
    let mut thief = Browser { cookies: browser.cookies.clone() };
    browser.post(&world, "/sign-out", "");
    world.answer(200, grant("access-1", 3600, "refresh-1"));
    let answer = thief.get(&world, &format!("/callback/forge?code=x&state={}", to["state"]));
    assert_eq!(answer.status(), StatusCode::FORBIDDEN);
    assert!(world.sent.borrow().is_empty());
}

/// A12: a person who has lost a browser ends its session from another one.
#[test]
fn a_person_can_sign_out_everywhere() {
    let world = World::public();
    let [mut ann, mut lost, mut bob] = [ANNS_KEY, ANNS_KEY, BOBS_KEY].map(|credential| {
        let mut browser = Browser::default();
        browser.sign_in(&world, credential);
        browser
    });
    world.pass(60);
    assert!(text(&ann.get(&world, "/")).contains("name=\"everywhere\""));
    ann.post(&world, "/sign-out", "everywhere=1");
    assert_eq!(lost.get(&world, "/connections").status(), StatusCode::UNAUTHORIZED);
    assert_eq!(bob.get(&world, "/connections").status(), StatusCode::OK);
    world.pass(1);
    ann.sign_in(&world, ANNS_KEY);
    assert_eq!(ann.get(&world, "/connections").status(), StatusCode::OK);
}

/// A12: one row a subject, whose size is bounded. What no longer fits is over all the same.
#[test]
fn sessions_without_number_are_ended_in_one_small_row() {
    let world = World::public();
    let mut thieves = Vec::new();
    for _ in 0..100 {
        let mut browser = Browser::default();
        browser.sign_in(&world, ANNS_KEY);
        thieves.push(Browser { cookies: browser.cookies.clone() });
        browser.post(&world, "/sign-out", "");
        world.pass(1);
    }
    let rows: Vec<usize> = world.dump().into_values().map(|row| row.len()).collect();
    assert!(rows.len() == 1 && rows[0] < 2048, "{rows:?}");
    for thief in &mut thieves {
        assert_eq!(thief.get(&world, "/connections").status(), StatusCode::UNAUTHORIZED);
    }
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    assert_eq!(browser.get(&world, "/connections").status(), StatusCode::OK);
}

/// A12: a person who signs out of two browsers at the same moment is out of both.
#[test]
fn sessions_that_end_at_the_same_moment_all_end() {
    for seed in 0..50 {
        let world = World::public();
        let mut browsers: Vec<Browser> = (0..3).map(|_| Browser::default()).collect();
        for browser in &mut browsers {
            browser.sign_in(&world, ANNS_KEY);
        }
        let mut crowd = crowd::Crowd::new(world, seed);
        crowd.lag = [0, 99][seed as usize % 2];
        let sign_out = |browser: &Browser| {
            let cookie = format!("__Host-gatehouse-session={}", browser.cookies["__Host-gatehouse-session"]);
            let request = crowd.world.request("POST", "/sign-out").header("cookie", cookie);
            let request = request.header("spin-client-addr", "192.0.2.1:1").body(Vec::new()).unwrap();
            let caller: crowd::Caller<'_, StatusCode> = Box::pin(async { serve(&crowd, request).await.status() });
            caller
        };
        let told = crowd.run(browsers.iter().map(sign_out).collect());
        assert_eq!(told, [StatusCode::SEE_OTHER; 3], "seed {seed}");
        crowd.settle();
        for browser in &mut browsers {
            assert_eq!(browser.get(&crowd.world, "/connections").status(), StatusCode::UNAUTHORIZED, "seed {seed}");
        }
    }
}

/// A12: nobody is told to be out who is not.
#[test]
fn a_sign_out_that_cannot_be_written_says_so() {
    let world = World::public();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    world.read_only.set(true);
    let answer = browser.post(&world, "/sign-out", "");
    assert_eq!(answer.status(), StatusCode::SERVICE_UNAVAILABLE);
    assert!(text(&answer).contains("You are still signed in"), "{}", text(&answer));
    assert_eq!(browser.get(&world, "/connections").status(), StatusCode::OK, "its cookie is still there");
    world.read_only.set(false);
    assert_eq!(browser.post(&world, "/sign-out", "").status(), StatusCode::SEE_OTHER);
    assert_eq!(browser.get(&world, "/connections").status(), StatusCode::UNAUTHORIZED);
}

/// A12: only a request by session pays for it, with one read. A store that does not answer lets no session in.
#[test]
fn a_session_costs_one_read_and_nothing_else_does() {
    let world = World::public();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    let reads = |browser: Option<&mut Browser>| {
        world.reads.set(0);
        match browser {
            Some(browser) => browser.get(&world, "/connections").status(),
            None => {
                let request =
                    world.request("GET", "/connections").header("authorization", format!("Bearer {ANNS_KEY}"));
                world.handle(request.body(Vec::new()).unwrap()).status()
            }
        };
        world.reads.get()
    };
    assert_eq!(reads(Some(&mut browser)), reads(None) + 1);
    world.store_down.set(true);
    assert_eq!(browser.get(&world, "/connections").status(), StatusCode::SERVICE_UNAVAILABLE);
}

/// A12 and A26: a clock that was years ahead when somebody signed out everywhere keeps nobody out afterwards.
#[test]
fn a_wrong_clock_ends_no_later_sessions() {
    let world = World::public();
    let mut browser = Browser::default();
    let now = world.clock.get();
    world.pass(100 * 86_400);
    browser.sign_in(&world, ANNS_KEY);
    browser.post(&world, "/sign-out", "everywhere=1");
    world.clock.set(now);
    browser.sign_in(&world, ANNS_KEY);
    assert_eq!(browser.get(&world, "/connections").status(), StatusCode::OK);
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
