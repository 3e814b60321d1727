//! No secret is seen in the store, in logs or in errors.

use serde_json::json;

use super::*;

/// Everything that is secret in a flow of these tests.
fn canaries(world: &World, browser: &Browser, state: &str) -> Vec<String> {
    let mut canaries: Vec<String> = [
        "access-1",
        "refresh-1",
        "access-2",
        "refresh-2",
        "canary-client-secret",
        "canary-code",
        "canary-anns-api-key",
        "canary-service-key",
        "canary-admin-key",
        "canary-owner-passphrase",
        "canary-description",
        "AAECAwQFBgcICQoL",
    ]
    .map(str::to_owned)
    .into();
    canaries.push(state.to_owned());
    canaries.extend(browser.cookies.values().cloned());
    for form in world.forms_sent_to("https://forge.example/token") {
        canaries.extend(form.get("code_verifier").cloned());
    }
    canaries
}

fn assert_absent(canaries: &[String], what: &str, bytes: &[u8]) {
    for canary in canaries {
        let found = bytes.windows(canary.len()).any(|window| window == canary.as_bytes());
        assert!(!found, "{canary} in {what}");
    }
}

/// Item 30: at no moment does the store hold anything in clear. Item 34: nor do the log and the errors.
#[test]
fn no_secret_is_seen_in_the_store_or_the_log_or_an_error() {
    let world = World::public();
    world.set("audit", "store");
    let mut browser = Browser::default();
    browser.sign_in(&world, "canary-wrong");
    browser.sign_in(&world, ANNS_KEY);
    let to = browser.start(&world, "/auth/forge");
    let mut dumps = vec![world.dump()];
    let mut shown = Vec::new();

    world.answer(200, grant("access-1", 3600, "refresh-1"));
    let cookies = browser.cookies.clone();
    shown.push(browser.get(&world, &format!("/callback/forge?code=canary-code&state={}", to["state"])));
    dumps.push(world.dump());
    world.pass(3600);
    world.answer(200, grant("access-2", 3600, "refresh-2"));
    world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }));
    dumps.push(world.dump());

    world.pass(3600);
    for (status, body) in [
        (500, json!({ "error": "canary-description refresh-2" })),
        (200, json!({ "access_token": ["access-2"] })),
        (400, json!({ "error": "canary-description\nrefresh-2 access-2", "error_description": "refresh-2" })),
        (401, json!({ "error": "invalid_client", "error_description": "canary-client-secret" })),
        (400, json!({ "error": "invalid_grant", "error_description": "refresh-2" })),
    ] {
        world.answer(status, body);
        shown.push(world.token("forge", Some(ANNS_KEY)));
    }
    dumps.push(world.dump());
    browser.cookies = cookies;
    shown.push(browser.get(&world, &format!("/callback/forge?code=canary-code&state={}", to["state"])));
    shown.push(browser.get(&world, "/"));
    shown.push(browser.get(&world, "/connections"));
    shown.push(world.get("/health"));
    let again = browser.start(&world, "/auth/forge");
    world.answer(400, json!({ "error": "invalid_client", "error_description": "canary-description" }));
    shown.push(browser.get(&world, &format!("/callback/forge?code=canary-code&state={}", again["state"])));
    shown.push(world.token("forge", Some("canary-service-key2")));
    for path in ["/admin/audit", "/admin/audit?subject=ann", "/admin/audit?hours=canary"] {
        for key in [ADMIN_KEY, "canary-wrong"] {
            let request = world.request("GET", path).header("authorization", format!("Bearer {key}"));
            shown.push(world.handle(request.body(Vec::new()).unwrap()));
        }
    }
    for form in ["", "cursor=canary", "lost=canary"] {
        let request = world.request("POST", "/admin/sweep").header("authorization", format!("Bearer {ADMIN_KEY}"));
        shown.push(world.handle(request.body(form.as_bytes().to_vec()).unwrap()));
    }

    let mut canaries = canaries(&world, &browser, &to["state"]);
    for (number, dump) in dumps.iter().enumerate() {
        for (key, value) in dump {
            assert_absent(&canaries, &format!("store {number}"), key.as_bytes());
            assert_absent(&canaries, &format!("store {number}"), value);
            for name in ["ann", "forge", "https", "read write"] {
                assert_absent(&[name.to_owned()], "store", key.split_at(4).1.as_bytes());
                assert_absent(&[format!("\"{name}\"")], "store", value);
            }
        }
    }
    assert!(!world.log.borrow().is_empty());
    for line in world.log.borrow().iter() {
        assert_absent(&canaries, "the log", line.as_bytes());
        // Who and what is said in the audit only.
        assert!(!line.contains('\n') && (line.starts_with("audit ") || !line.contains("ann")), "{line}");
    }
    canaries.push("canary".to_owned());
    for answer in shown {
        assert_absent(&canaries, "an answer", answer.body());
    }
}

/// Item 34: what holds a secret does not print it.
#[test]
fn debug_output_shows_no_secret() {
    let world = World::local();
    world.connect(&mut Browser::default(), "forge", grant("access-1", 3600, "refresh-1"));
    let broker = crate::broker::Broker::new(&world);
    let id = owners("forge");
    let connection = broker.connections().get(&id).unwrap().unwrap();
    let service = run(broker.services().service(&id.service, None)).unwrap().unwrap();
    let printed = format!("{connection:?} {service:?}");
    for secret in ["access-1", "refresh-1", "canary"] {
        assert!(!printed.contains(secret), "{secret}");
    }
}

/// Item 31: two people's rows exchanged in the store open for neither.
#[test]
fn rows_that_were_swapped_in_the_store_are_served_to_nobody() {
    let world = World::public();
    for (key, token) in [(ANNS_KEY, "anns-token"), (BOBS_KEY, "bobs-token")] {
        let mut browser = Browser::default();
        browser.sign_in(&world, key);
        world.connect(&mut browser, "forge", grant(token, 3600, "refresh-1"));
    }
    let rows: Vec<String> = world.dump().into_keys().filter(|key| key.starts_with("b.c.")).collect();
    let swapped = {
        let store = world.store.borrow();
        [(rows[0].clone(), store[&rows[1]].clone()), (rows[1].clone(), store[&rows[0]].clone())]
    };
    world.store.borrow_mut().extend(swapped);
    for key in [ANNS_KEY, BOBS_KEY] {
        assert_eq!(world.resolve(Some(key), json!({ "service": "forge" }))["status"], "needs_reconnect");
    }
}

/// Item 34: no panic can say more than its place. Outside of tests nothing is unwrapped, no message of a panic has a value in
/// it, and nothing is printed by `Debug` but what redacts itself; the records of the WIT interface are not printed at all.
#[test]
fn no_panic_and_no_debug_output_has_a_value_in_it() {
    let mut rooms = vec![std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/src"))];
    let mut read = 0;
    while let Some(room) = rooms.pop() {
        for entry in std::fs::read_dir(room).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_str().unwrap();
            if path.is_dir() && name != "tests" {
                rooms.push(path);
            } else if name.ends_with(".rs") && name != "tests.rs" && name != "fuzz.rs" {
                let text = std::fs::read_to_string(&path).unwrap();
                let code = text.split("#[cfg(test)]\nmod").next().unwrap();
                for (number, line) in code.lines().enumerate() {
                    let line = line.trim();
                    let panics = [".unwrap()", ".expect(", "dbg!(", "todo!(", "println!(\"{:"];
                    let says = ["panic!(", "unreachable!("].iter().filter_map(|name| line.split_once(name));
                    let says = says.into_iter().any(|(_, message)| message.contains('{'));
                    let found = !line.starts_with("//")
                        && (panics.iter().any(|what| line.contains(what)) || says || line.contains(":?}"));
                    assert!(!found, "{}:{}: {line}", path.display(), number + 1);
                    read += 1;
                }
            }
        }
    }
    assert!(read > 3000, "{read}");
}
