//! The page of a person's connections: every account, what can be done about it, and what has happened.

use http::StatusCode;
use serde_json::json;

use super::*;

/// Connects the account of this name.
fn connect(world: &World, browser: &mut Browser, account: &str, grant: serde_json::Value) {
    let to = browser.start(world, &format!("/auth/forge?account={account}"));
    world.answer(200, grant);
    let done = browser.get(world, &format!("/callback/forge?code=canary-code&state={}", to["state"]));
    assert_eq!(done.status(), StatusCode::SEE_OTHER, "{}", text(&done));
    world.answers.borrow_mut().clear();
}

#[test]
fn every_account_has_buttons_of_its_own() {
    let world = World::local();
    let mut browser = Browser::default();
    let before = text(&browser.get(&world, "/"));
    assert!(before.contains("href=\"/auth/forge\">Connect<") && !before.contains("Connect another account"));
    connect(&world, &mut browser, "", grant("access-1", 3600, "refresh-1"));
    connect(&world, &mut browser, "work", grant("access-2", 3600, "refresh-2"));
    let page = text(&browser.get(&world, "/?connected=forge&account=work"));
    for said in [
        "forge (work) is connected.",
        "called <strong>work</strong>",
        "href=\"/auth/forge\">Connect again<",
        "href=\"/auth/forge?account=work\">Connect again<",
        "name=\"account\" value=\"\"><button>Disconnect",
        "name=\"account\" value=\"work\"><button>Disconnect",
    ] {
        assert!(page.contains(said), "{said} in {page}");
    }
    assert_eq!(page.matches("<h2>forge</h2>").count(), 1);
    assert_eq!(page.matches("<summary>Connect another account<span class=\"hidden\"> of forge</span>").count(), 1);

    world.answer(200, json!({}));
    let done = browser.post(&world, "/disconnect/forge", "account=work");
    assert_eq!(head(&done, "location"), "/?disconnected=forge&account=work");
    let page = text(&browser.get(&world, "/?disconnected=forge&account=work"));
    assert!(page.contains("forge (work) is disconnected.") && !page.contains("called <strong>work"));
    assert_eq!(read(&world.token("forge", None))["access_token"], "access-1");
}

#[test]
fn the_page_says_whether_the_provider_knows_of_the_end() {
    let world = World::local();
    let mut browser = Browser::default();
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    world.fault(SendFault::Timeout);
    let done = browser.post(&world, "/disconnect/forge", "");
    assert_eq!(head(&done, "location"), "/?disconnected=forge&revoked=queued");
    world.fault(SendFault::Timeout);
    assert!(text(&browser.get(&world, "/?disconnected=forge&revoked=queued")).contains("is asked for a week"));
    assert!(text(&browser.get(&world, "/?disconnected=forge&revoked=no")).contains("in its own settings"));
}

/// What is missing is asked for with what was granted, and stays so.
#[test]
fn what_an_earlier_step_up_has_brought_is_asked_for_again() {
    let world = World::local();
    let mut browser = Browser::default();
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    let outcome = world.resolve(None, json!({ "service": "forge", "scopes": ["admin", "never"] }));
    let link = outcome["connect_url"].as_str().unwrap().strip_prefix(LOCAL).unwrap().to_owned();
    let to = browser.start(&world, &link);
    assert_eq!(to["scope"], "read write admin never");
    let mut granted = grant("access-2", 3600, "refresh-2");
    granted["scope"] = json!("read admin");
    world.answer(200, granted);
    browser.get(&world, &format!("/callback/forge?code=x&state={}", to["state"]));
    world.answers.borrow_mut().clear();
    let page = text(&browser.get(&world, "/"));
    assert!(page.contains("Granted: <code>read</code> <code>admin</code>"), "{page}");
    assert!(page.contains("Not granted: <code>write</code>") && page.contains(">Grant what is missing<"), "{page}");
    assert_eq!(browser.start(&world, "/auth/forge")["scope"], "read write admin");
}

#[test]
fn what_ends_soon_is_told_before() {
    let world = World::local();
    let mut browser = Browser::default();
    let mut answer = grant("access-1", 3600, "x");
    answer.as_object_mut().unwrap().remove("refresh_token");
    world.connect(&mut browser, "forge", answer);
    assert!(text(&browser.get(&world, "/")).contains("Ends in 60 minutes, unless you connect again."));
    world.pass(3600);
    let page = text(&browser.get(&world, "/"));
    assert!(page.contains("has to be connected again") && page.contains("class=\"button first\" href=\"/auth/forge\""));
}

#[test]
fn an_address_puts_no_words_onto_the_page() {
    let world = World::local();
    let mut browser = Browser::default();
    for query in ["connected=forge&account=%3Cb%3E", "connected=forge&account=A%20b"] {
        let page = text(&browser.get(&world, &format!("/?{query}")));
        assert!(page.contains("forge is connected.") && !page.contains("(A b)") && !page.contains("<b>"), "{query}");
    }
}
