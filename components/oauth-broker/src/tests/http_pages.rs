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
    assert_eq!(page.matches("<h2><bdi>forge</bdi></h2>").count(), 1);
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
fn the_scopes_of_an_earlier_step_up_are_asked_for_again() {
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
fn the_page_warns_of_a_connection_that_ends_soon() {
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
fn the_query_puts_no_text_onto_the_page() {
    let world = World::local();
    let mut browser = Browser::default();
    for query in ["connected=forge&account=%3Cb%3E", "connected=forge&account=A%20b"] {
        let page = text(&browser.get(&world, &format!("/?{query}")));
        assert!(page.contains("forge is connected.") && !page.contains("(A b)") && !page.contains("<b>"), "{query}");
    }
}

/// A19: what a provider calls an account is text that stays within its own place, on pages and in JSON.
#[test]
fn an_accounts_label_changes_nothing_around_it() {
    let world = World::local();
    let forge = json!({
        "client_id": "forge-id", "scopes": ["read"], "name": "For\u{202e}ge",
        "authorize_url": "https://xn--frge-5qd.example/authorize", "token_url": "https://forge.example/token",
        "whoami": { "url": "https://forge.example/me", "account": ["login"] },
    });
    world.offer("forge", forge);
    let mut browser = Browser::default();
    let connect = |browser: &mut Browser, label: &str| {
        let to = browser.start(&world, "/auth/forge");
        let mut granted = grant("access-1", 3600, "refresh-1");
        granted["scope"] = json!("re\u{202e}ad");
        world.answer(200, granted);
        world.answer(200, json!({ "login": label }));
        browser.get(&world, &format!("/callback/forge?code=x&state={}", to["state"]));
        assert!(world.answers.borrow().is_empty());
    };
    let marks = "\u{202e}\u{2066}\u{200b}\u{e0041}\u{2028}\n\u{9b}";
    let invisible = |text: &str| text.chars().any(|letter| !crate::text::is_visible(letter) && letter != '\n');
    connect(&mut browser, &format!("ann{marks}<b>{}", "x".repeat(5_000)));
    let label = read(&world.get("/connections"))["services"][0]["label"].as_str().unwrap().to_owned();
    assert_eq!(label, format!("ann<b>{}", "x".repeat(94)));
    for page in [browser.get(&world, "/"), browser.get(&world, "/auth/forge")] {
        let said = text(&page);
        assert!(said.contains("as <strong><bdi>ann&lt;b&gt;xxx") && said.contains("<bdi>Forge</bdi>"), "{said}");
        assert!(!invisible(&said), "{said:?}");
    }
    let stored = crate::broker::Broker::new(&world).connections().get(&owners("forge")).unwrap().unwrap();
    assert_eq!(stored.label.as_deref(), Some(label.as_str()), "a gateway or a sweep reads no other");

    let old = crate::connections::row::Connection { label: Some(format!("ann{marks}")), ..stored };
    crate::broker::Broker::new(&world).connections().save(&owners("forge"), &old).unwrap();
    let listed = text(&world.get("/connections"));
    assert!(!invisible(&listed) && !listed.contains("\\u") && listed.contains("\"label\":\"ann\""), "{listed}");
    assert!(text(&browser.get(&world, "/")).contains("<bdi>ann</bdi>"));

    connect(&mut browser, marks);
    assert_eq!(read(&world.get("/connections"))["services"][0]["label"], json!(null));
}

/// A19: so is what a provider says of an error.
#[test]
fn an_error_of_a_provider_changes_nothing_around_it() {
    let world = World::local();
    let mut browser = Browser::default();
    let to = browser.start(&world, "/auth/forge");
    let answer = browser.get(
        &world,
        &format!("/callback/forge?error=x%E2%80%AEy&error_description=a%E2%80%AE%E2%81%A6%0Ab&state={}", to["state"]),
    );
    assert!(text(&answer).contains("The provider did not connect you: xy (ab)"), "{}", text(&answer));
}

/// A19: a host is shown in the letters that it is looked up by, so that none looks like another.
#[test]
fn a_host_is_shown_in_ascii() {
    for (host, status) in
        [("xn--frge-5qd.example", StatusCode::OK), ("f\u{43e}rge.example", StatusCode::INTERNAL_SERVER_ERROR)]
    {
        let world = World::local();
        let forge = json!({
            "client_id": "forge-id", "authorize_url": format!("https://{host}/authorize"),
            "token_url": "https://forge.example/token",
        });
        world.offer("forge", forge);
        let page = Browser::default().get(&world, "/auth/forge");
        assert_eq!((page.status(), text(&page).contains('\u{43e}')), (status, false));
        assert_eq!(text(&page).contains("<strong>xn--frge-5qd.example</strong>"), status == StatusCode::OK);
    }
}
