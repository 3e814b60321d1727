//! The page that asks a person before they leave for a provider, and what counts as their answer.

use http::{Response, StatusCode};
use serde_json::json;

use super::*;

/// The page's ticket.
fn ticket(page: &Response<Vec<u8>>) -> String {
    between(&text(page), "name=\"ticket\" value=\"", "\"")
}

/// Asserts that the button does nothing: no flow, and nobody is sent anywhere.
fn refused(world: &World, browser: &mut Browser, path: &str, form: &str, status: u16) -> String {
    let before = world.dump();
    let answer = browser.post(world, path, form);
    assert_eq!(answer.status().as_u16(), status, "{}", text(&answer));
    assert!(!text(&answer).contains("http-equiv"), "{}", text(&answer));
    assert_eq!(world.dump(), before);
    text(&answer)
}

/// Items 5 and 6: any page may send a browser here, and a provider may agree without asking; so this alone does nothing.
#[test]
fn to_open_the_page_starts_nothing() {
    let world = World::local();
    let mut browser = Browser::default();
    let page = browser.get(&world, "/auth/forge");
    assert_eq!(page.status(), StatusCode::OK);
    assert!(world.dump().is_empty() && world.sent.borrow().is_empty());
    assert!(browser.cookies.keys().all(|name| !name.contains("flow")));
    assert!(!text(&page).contains("http-equiv"));
}

#[test]
fn the_page_says_who_what_where_and_which_scopes() {
    let world = World::public();
    let forge = json!({
        "client_id": "id", "name": "<Forge>", "scopes": ["read", "all&<b>"],
        "authorize_url": "https://login.forge.example/authorize", "token_url": "https://forge.example/token",
    });
    world.offer("forge", forge);
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    let page = text(&browser.get(&world, "/auth/forge?account=work"));
    for said in [
        "<title>Connect &lt;Forge&gt; ",
        "<strong>login.forge.example</strong>",
        "<strong>ann</strong>",
        "<strong>work</strong>",
        "<code>read</code></li>",
        "<code>all&amp;&lt;b&gt;</code></li>",
        "href=\"/\">Cancel<",
    ] {
        assert!(page.contains(said), "{said} in {page}");
    }
    assert!(!page.contains("<script") && !page.contains("A link led you here"));
}

#[test]
fn a_step_up_tells_what_is_new_from_what_is_granted() {
    let world = World::local();
    let mut browser = Browser::default();
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    let outcome = world.resolve(None, json!({ "service": "forge", "scopes": ["read", "admin"] }));
    let link = outcome["connect_url"].as_str().unwrap().strip_prefix(LOCAL).unwrap().to_owned();
    let page = browser.get(&world, &link);
    for said in [
        "A link led you here",
        "the connection that you have",
        "<code>read</code> granted already",
        "<code>write</code> granted already",
        "<code>admin</code> <strong>new</strong>",
    ] {
        assert!(text(&page).contains(said), "{said}");
    }
    assert_eq!(
        leads_to(&browser.agree(&world, &page)).query_pairs().find(|(name, _)| name == "scope").unwrap().1,
        "read write admin"
    );
}

/// The scopes that a person has agreed to are asked for, even if the settings have changed since.
#[test]
fn the_scopes_that_were_shown_are_those_that_are_asked_for() {
    let world = World::local();
    let mut browser = Browser::default();
    let page = browser.get(&world, "/auth/forge");
    let wider = json!({
        "client_id": "forge-id", "scopes": ["everything"],
        "authorize_url": "https://forge.example/authorize", "token_url": "https://forge.example/token",
    });
    world.offer("forge", wider);
    let left = leads_to(&browser.agree(&world, &page));
    assert!(left.query().unwrap().contains("scope=read+write"), "{left}");
}

/// A07: where a person has agreed to go is where the button leads, or else the page asks again.
#[test]
fn a_page_whose_service_has_changed_is_shown_again() {
    let world = World::local();
    let mut browser = Browser::default();
    let page = browser.get(&world, "/auth/forge");
    let moved = |host: &str, name: &str| {
        let forge = json!({
            "client_id": "forge-id", "scopes": ["read", "write"], "name": name,
            "authorize_url": format!("https://{host}/authorize"), "token_url": "https://forge.example/token",
        });
        world.offer("forge", forge);
    };
    moved("elsewhere.example", "forge");
    let again = browser.agree(&world, &page);
    assert_eq!(again.status(), StatusCode::CONFLICT);
    let said = text(&again);
    assert!(said.contains("The service has changed") && said.contains("<strong>elsewhere.example</strong>"), "{said}");
    assert!(world.dump().is_empty() && world.sent.borrow().is_empty());
    assert_eq!(browser.agree(&world, &page).status(), StatusCode::CONFLICT, "the old page stays of no use");
    moved("elsewhere.example", "Another");
    let again = browser.agree(&world, &again);
    assert!(again.status() == StatusCode::CONFLICT && text(&again).contains("<bdi>Another</bdi>, at"));
    assert_eq!(leads_to(&browser.agree(&world, &again)).host_str(), Some("elsewhere.example"));
}

/// A07: what a link asks for stays asked for, and page and link are still used up together.
#[test]
fn a_page_that_is_shown_again_is_that_of_its_link() {
    let world = World::local();
    let mut browser = Browser::default();
    let outcome = world.resolve(None, json!({ "service": "forge", "account": "work" }));
    let link = outcome["connect_url"].as_str().unwrap().strip_prefix(LOCAL).unwrap().to_owned();
    let page = browser.get(&world, &link);
    let forge = json!({
        "client_id": "forge-id", "scopes": ["read", "write"],
        "authorize_url": "https://elsewhere.example/authorize", "token_url": "https://forge.example/token",
    });
    world.offer("forge", forge);
    let again = browser.agree(&world, &page);
    assert!(again.status() == StatusCode::CONFLICT && text(&again).contains("<strong>work</strong>"));
    assert_eq!(browser.agree(&world, &again).status(), StatusCode::OK);
    assert!(text(&browser.get(&world, &link)).contains("has been used"));
}

/// Items 5 and 7: what one browser was shown starts nothing in another.
#[test]
fn a_page_of_another_browser_starts_nothing() {
    let world = World::local();
    let mut browser = Browser::default();
    let page = browser.get(&world, "/auth/forge");
    let form = format!("ticket={}", ticket(&page));
    refused(&world, &mut Browser::default(), "/auth/forge", &form, 400);
    let mut other = Browser::default();
    other.get(&world, "/auth/forge");
    let said = refused(&world, &mut other, "/auth/forge", &form, 400);
    assert!(said.contains("another browser") && said.contains(">Start again<"), "{said}");
    other.cookies.insert("gatehouse-browser".into(), "forged".into());
    refused(&world, &mut other, "/auth/forge", &form, 400);
    assert_eq!(browser.agree(&world, &page).status(), StatusCode::OK, "it is still good in its own");
}

/// Items 6 and 7.
#[test]
fn a_page_of_another_person_starts_nothing() {
    let world = World::public();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    let page = browser.get(&world, "/auth/forge");
    let form = format!("ticket={}", ticket(&page));
    browser.sign_in(&world, BOBS_KEY);
    let said = refused(&world, &mut browser, "/auth/forge", &form, 403);
    assert!(!said.contains("Start again"));
    browser.cookies.remove("__Host-gatehouse-session");
    let said = refused(&world, &mut browser, "/auth/forge", &form, 401);
    assert!(said.contains(&format!("value=\"/auth/forge?ticket={}\"", ticket(&page))), "after signing in it goes on");
    browser.sign_in(&world, ANNS_KEY);
    browser.start(&world, &format!("/auth/forge?ticket={}", ticket(&page)));
}

/// Item 7: one-time.
#[test]
fn a_page_works_once() {
    let world = World::local();
    let mut browser = Browser::default();
    let page = browser.get(&world, "/auth/forge");
    let form = format!("ticket={}", ticket(&page));
    browser.agree(&world, &page);
    refused(&world, &mut browser, "/auth/forge", &form, 400);
    for _ in 0..40 {
        world.pass(1);
        browser.start(&world, "/auth/forge");
    }
    refused(&world, &mut browser, "/auth/forge", &form, 400);
}

/// Item 7: ten minutes.
#[test]
fn a_page_ends_after_ten_minutes() {
    let world = World::local();
    let mut browser = Browser::default();
    let page = browser.get(&world, "/auth/forge");
    world.pass(601);
    refused(&world, &mut browser, "/auth/forge", &format!("ticket={}", ticket(&page)), 400);
}

/// Item 7: a link alone starts nothing, not even sent as the form would be.
#[test]
fn a_link_without_its_page_starts_nothing() {
    let world = World::local();
    let mut browser = Browser::default();
    browser.get(&world, "/auth/forge");
    let outcome = world.resolve(None, json!({ "service": "forge" }));
    let link = outcome["connect_url"].as_str().unwrap().split_once("ticket=").unwrap().1.to_owned();
    for form in [format!("ticket={link}"), String::new(), "ticket=x".into(), format!("ticket={link}&ticket={link}")] {
        refused(&world, &mut browser, "/auth/forge", &form, 400);
    }
}

#[test]
fn a_page_fits_its_service_only() {
    let world = World::local();
    let mut browser = Browser::default();
    let page = browser.get(&world, "/auth/forge");
    refused(&world, &mut browser, "/auth/github", &format!("ticket={}", ticket(&page)), 400);
    refused(&world, &mut browser, "/auth/nothing", &format!("ticket={}", ticket(&page)), 404);
}

/// Item 5: not even with everything right in it.
#[test]
fn another_site_cannot_press_the_button() {
    for world in [World::local(), World::public()] {
        let mut browser = Browser::default();
        browser.sign_in(&world, ANNS_KEY);
        let page = browser.get(&world, "/auth/forge");
        let cookies: Vec<String> = browser.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        for (name, value) in [
            ("origin", "https://evil.example"),
            ("origin", "null"),
            ("sec-fetch-site", "cross-site"),
            ("sec-fetch-site", "same-site"),
        ] {
            let request = world.request("POST", "/auth/forge").header(name, value).header("cookie", cookies.join("; "));
            let answer = world.handle(request.body(format!("ticket={}", ticket(&page)).into_bytes()).unwrap());
            assert_eq!(answer.status(), StatusCode::FORBIDDEN, "{name}: {value}");
        }
        assert!(world.dump().is_empty());
        assert_eq!(browser.agree(&world, &page).status(), StatusCode::OK);
    }
}

/// Item 10: pages in two tabs do not disturb each other, in any order.
#[test]
fn pages_in_two_tabs_do_not_meet() {
    let world = World::local();
    let mut browser = Browser::default();
    let pages = ["forge", "forge", "github"].map(|service| {
        world.pass(1);
        browser.get(&world, &format!("/auth/{service}"))
    });
    for page in pages.iter().rev() {
        assert_eq!(browser.agree(&world, page).status(), StatusCode::OK);
    }
}

/// Item 11: the browser's cookie too. Item 15: what the page lets happen.
#[test]
fn the_page_can_be_framed_by_nobody_and_sends_its_form_to_nobody_else() {
    let world = World::public();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    let page = browser.get(&world, "/auth/forge");
    let cookie = head(&page, "set-cookie");
    assert!(cookie.starts_with("__Host-gatehouse-browser="), "{cookie}");
    for part in ["; Secure", "; HttpOnly", "; SameSite=Lax", "; Path=/", "; Max-Age=600"] {
        assert!(cookie.contains(part), "{part} in {cookie}");
    }
    for answer in [browser.agree(&world, &page), page] {
        let policy = head(&answer, "content-security-policy");
        for part in ["default-src 'none'", "form-action 'self'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(part), "{policy}");
        }
        assert_eq!(
            (head(&answer, "x-frame-options").as_str(), head(&answer, "cache-control").as_str()),
            ("DENY", "no-store")
        );
    }
    browser.post(&world, "/sign-out", "");
    assert!(!browser.cookies.contains_key("__Host-gatehouse-browser"));
}

#[test]
fn an_account_that_is_named_is_connected_beside_the_other() {
    let world = World::local();
    let mut browser = Browser::default();
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    let to = browser.start(&world, "/auth/forge?account=work");
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    let done = browser.get(&world, &format!("/callback/forge?code=x&state={}", to["state"]));
    assert_eq!(head(&done, "location"), "/?connected=forge&account=work");
    world.answers.borrow_mut().clear();
    assert_eq!(read(&world.token("forge", None))["access_token"], "access-1");
    let work = world.resolve(None, json!({ "service": "forge", "account": "work" }));
    assert_eq!(work["access_token"], "access-2");
    for bad in ["A", "a%20b", "%3Cb%3E"] {
        assert_eq!(browser.get(&world, &format!("/auth/forge?account={bad}")).status(), StatusCode::BAD_REQUEST);
    }
}
