//! The audit: which events are noted, and who may read them.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::*;
use crate::names::{ConnectionId, Subject};

/// Ann has connected the forge, and what is noted is kept.
fn anns() -> World {
    let world = World::public();
    world.set("audit", "store");
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    world.connect(&mut browser, "forge", grant("access-1", 3600, "refresh-1"));
    // Within one second the order of stored lines is chance.
    world.pass(1);
    world
}

fn ask(world: &World, path: &str, key: Option<&str>) -> Response<Vec<u8>> {
    let mut request = world.request("GET", path);
    if let Some(key) = key {
        request = request.header("authorization", format!("Bearer {key}"));
    }
    world.handle(request.body(Vec::new()).unwrap())
}

fn record(world: &World, query: &str) -> Value {
    let answer = ask(world, &format!("/admin/audit{query}"), Some(ADMIN_KEY));
    assert_eq!(answer.status(), StatusCode::OK, "{}", text(&answer));
    read(&answer)["record"].clone()
}

fn events(record: &Value) -> Vec<&str> {
    record["lines"].as_array().unwrap().iter().map(|line| line["event"].as_str().unwrap()).collect()
}

fn logged(world: &World) -> Vec<Value> {
    let log = world.log.borrow();
    let lines = log.iter().filter_map(|line| line.strip_prefix("audit "));
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

#[test]
fn a_token_that_leaves_says_to_whom_of_whom_and_for_what() {
    let world = anns();
    world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }));
    let grant = crate::broker::Broker::new(&world)
        .connections()
        .get(&ConnectionId { subject: Subject::parse("ann").unwrap(), ..owners("forge") })
        .unwrap()
        .unwrap()
        .grant;
    let expected = json!({
        "time": NOW + 1, "event": "handed_out", "by": { "service": "gateway" }, "subject": "ann",
        "resource": "https://auth.example.com/mcp",
        "connections": [{ "service": "forge", "grant": grant, "generation": 1 }],
    });
    assert_eq!(logged(&world).last(), Some(&expected));
    assert_eq!(record(&world, "?subject=ann")["lines"].as_array().unwrap().last(), Some(&expected));
}

#[test]
fn a_script_may_say_what_its_token_is_for() {
    let world = anns();
    let request = world.request("POST", "/token/forge").header("authorization", format!("Bearer {ANNS_KEY}"));
    let long = "x".repeat(5000);
    world.handle(request.body(format!("resource={long}").into_bytes()).unwrap());
    let line = logged(&world).pop().unwrap();
    assert_eq!((&line["by"], line["resource"].as_str().unwrap().len()), (&json!("person"), 512));
}

/// A04: what a caller says it wants a token for, and the longest line that there can be.
#[test]
fn the_text_of_a_caller_is_escaped_in_the_log_and_in_the_record() {
    let world = anns();
    let said = "x\noauth-broker: audit {}\u{9b}31m\u{85}\u{7f}\u{202e}\u{2028}";
    let request = world.request("POST", "/token/forge").header("authorization", format!("Bearer {ANNS_KEY}"));
    let body = json!({ "resource": said }).to_string();
    world.handle(request.header("content-type", "application/json").body(body.into_bytes()).unwrap());
    let stored = text(&ask(&world, "/admin/audit?subject=ann", Some(ADMIN_KEY)));
    for text in [&stored, &world.log.borrow().join(" ")] {
        assert!(text.contains(r"\u009b31m\u0085\u007f\u202e\u2028"), "{text}");
        assert!(!text.contains(|letter: char| letter.is_control() || "\u{202e}\u{2028}".contains(letter)), "{text}");
    }
    assert!(logged(&world).iter().any(|line| line["resource"] == said), "it says the same");
}

#[test]
fn all_that_one_answer_holds_is_one_line_and_nothing_is_none() {
    let world = anns();
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    world.connect(
        &mut browser,
        "github",
        json!({ "access_token": "access-2", "token_type": "bearer", "scope": "repo" }),
    );
    let before = logged(&world).len();
    let question = |services: Value| json!({ "subject_token": ANNS_KEY, "resource": "https://auth.example.com/mcp", "services": services });
    world.ask(
        SERVICE_KEY,
        &question(json!([{ "service": "github" }, { "service": "nothing" }, { "service": "forge" }])),
    );
    world.ask(SERVICE_KEY, &question(json!([{ "service": "nothing" }])));
    world.ask(SERVICE_KEY, &question(json!([])));
    let lines = logged(&world);
    assert_eq!(lines.len(), before + 1);
    let services: Vec<&Value> =
        lines[before]["connections"].as_array().unwrap().iter().map(|one| &one["service"]).collect();
    assert_eq!(services, ["github", "forge"]);
}

#[test]
fn the_life_of_a_connection_is_told() {
    let world = anns();
    world.pass(3600);
    world.answer(400, json!({ "error": "invalid_grant" }));
    world.token("forge", Some(ANNS_KEY));
    world.pass(1);
    let request = world.request("DELETE", "/token/forge").header("authorization", format!("Bearer {ANNS_KEY}"));
    world.handle(request.body(Vec::new()).unwrap());
    world.pass(1);
    let mut told: Vec<String> = events(&record(&world, "?subject=ann")).into_iter().map(str::to_owned).collect();
    told[..2].sort();
    assert_eq!(told, ["connected", "signed_in", "grant_ended", "disconnected"]);
    assert_eq!(events(&record(&world, "?subject=ann")).last(), Some(&"read"), "and so is who read it");
}

#[test]
fn a_sign_in_that_was_refused_belongs_to_nobody() {
    let world = anns();
    Browser::default().sign_in(&world, "canary-wrong");
    assert_eq!(events(&record(&world, "")), ["sign_in_refused"]);
    assert!(!events(&record(&world, "?subject=ann")).contains(&"sign_in_refused"));
}

#[test]
fn a_service_that_asks_for_what_it_may_not_have_is_noted_once_a_minute() {
    let world = anns();
    world.set("handout_policy", "{}");
    let noted = |world: &World| logged(world).iter().filter(|line| line["event"] == "not_handed_out").count();
    for _ in 0..5 {
        world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }));
    }
    assert_eq!(noted(&world), 1);
    world.pass(61);
    world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }));
    assert_eq!(noted(&world), 2);
}

/// Every hand-out is in the log; what differs by its time only is stored once in ten seconds.
#[test]
fn hand_outs_that_are_alike_share_a_stored_line_for_a_while() {
    let world = anns();
    let kept = |world: &World| {
        let record = record(world, "?subject=ann");
        events(&record).into_iter().filter(|event| *event == "handed_out").count()
    };
    let (before, told) = (kept(&world), logged(&world).len());
    for _ in 0..5 {
        world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }));
    }
    assert_eq!((kept(&world), logged(&world).len()), (before + 1, told + 5 + 1));
    world.token("forge", Some(ANNS_KEY));
    assert_eq!(kept(&world), before + 2, "by another way, and for nothing that is named");
    world.pass(10);
    world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }));
    assert_eq!(kept(&world), before + 3);
    world.set("audit", "each");
    world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }));
    world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }));
    assert_eq!(kept(&world), before + 5);
}

/// What the way of every call costs beside its own read: one read, now and then one write, or nothing.
#[test]
fn a_stored_line_costs_one_read_and_one_write() {
    let world = anns();
    world.set("audit", "each");
    // So that every row is there: the first line of a row looks whether its key is noted, once in four hours.
    for _ in 0..100 {
        world.token("forge", Some(ANNS_KEY));
    }
    for (audit, cost) in [("each", (2, 1)), ("store", (2, 0)), ("", (2, 0)), ("log", (1, 0))] {
        world.set("audit", audit);
        world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }));
        world.reads.set(0);
        world.writes.set(0);
        world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }));
        assert_eq!((world.reads.get(), world.writes.get()), cost, "{audit}");
    }
}

#[test]
fn a_store_that_takes_no_line_keeps_no_token_back() {
    let world = anns();
    world.read_only.set(true);
    assert_eq!(world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }))["status"], "token");
    assert_eq!(logged(&world).last().unwrap()["event"], "handed_out");
    assert!(world.log.borrow().last().unwrap().starts_with("an audit line could not be stored"));
}

#[test]
fn a_setting_that_says_nothing_known_keeps_lines_and_is_named() {
    let world = anns();
    world.set("audit", "nowhere");
    assert_eq!(world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }))["status"], "token");
    assert_eq!(events(&record(&world, "?subject=ann")).last(), Some(&"handed_out"));
    assert_ne!(read(&world.get("/health"))["checks"]["audit"], "ok");
}

#[test]
fn a_busy_person_has_a_bounded_record_that_says_what_is_missing() {
    let world = anns();
    world.set("audit", "each");
    let form = format!("resource={}", "x".repeat(512)).into_bytes();
    for _ in 0..600 {
        let request = world.request("POST", "/token/forge").header("authorization", format!("Bearer {ANNS_KEY}"));
        world.handle(request.body(form.clone()).unwrap());
    }
    let rows: Vec<usize> =
        world.dump().into_iter().filter(|(key, _)| key.starts_with("b.a.")).map(|(_, row)| row.len()).collect();
    assert!(rows.len() <= 8 && rows.iter().all(|row| *row < 34 * 1024), "{rows:?}");
    let record = record(&world, "?subject=ann");
    let kept = record["lines"].as_array().unwrap().len() as u64;
    assert_eq!(kept + record["dropped"].as_u64().unwrap(), 602);
    assert!(kept > 300, "{kept}");
}

/// A full row of Ann's: lines of `sort` go in until there is one that is left out.
fn flood(world: &World, sort: impl Fn(usize) -> String) -> usize {
    world.set("audit", "each");
    for number in 0..500 {
        let request = world.request("POST", "/token/forge").header("authorization", format!("Bearer {ANNS_KEY}"));
        world.handle(request.body(format!("resource={}", sort(number)).into_bytes()).unwrap());
    }
    500
}

fn resources(record: &Value) -> Vec<String> {
    let lines = record["lines"].as_array().unwrap().iter();
    lines.filter_map(|line| Some(line["resource"].as_str()?.split('-').next()?.to_owned())).collect()
}

/// A11: what is left out of a full row is old.
#[test]
fn the_newest_lines_are_kept() {
    let world = anns();
    let padding = "x".repeat(500);
    let number = flood(&world, |number| format!("{number}-{padding}"));
    let record = record(&world, "?subject=ann");
    let kept = resources(&record);
    assert!(record["dropped"].as_u64().unwrap() > 100 && kept.len() > 300, "{}", kept.len());
    for newest in number - 100..number {
        assert!(kept.contains(&newest.to_string()), "{newest} of {kept:?}");
    }
}

/// A11: a flood of lines that say the same does not push out a line that says something else, and nor does one of lines that
/// differ in what a caller chooses.
#[test]
fn a_flood_of_one_sort_of_lines_pushes_out_no_other_sort() {
    let padding = "x".repeat(500);
    let same: &dyn Fn(usize) -> String = &|_| format!("flood-{padding}");
    let differing: &dyn Fn(usize) -> String = &|number| format!("{number}-{padding}");
    for sort in [same, differing] {
        let world = anns();
        world.resolve(Some(ANNS_KEY), json!({ "service": "forge" }));
        let request = world.request("POST", "/token/forge").header("authorization", format!("Bearer {ANNS_KEY}"));
        world.handle(request.body(b"resource=theft-".to_vec()).unwrap());
        flood(&world, sort);
        let record = record(&world, "?subject=ann");
        let events = events(&record);
        assert!(events.contains(&"connected") && events.contains(&"signed_in"), "{events:?}");
        let services: Vec<&Value> = record["lines"].as_array().unwrap().iter().map(|line| &line["by"]).collect();
        assert!(services.contains(&&json!({ "service": "gateway" })));
        let kept = resources(&record);
        assert!(kept.contains(&"theft".to_owned()) || kept.contains(&"499".to_owned()), "{kept:?}");
        let rows = world.dump().into_iter().filter(|(key, _)| key.starts_with("b.a."));
        assert!(rows.map(|(_, row)| row.len()).all(|length| length < 34 * 1024));
    }
}

/// A11: an answer holds no more than so many lines, and leaves out what a row would.
#[test]
fn an_answer_that_is_cut_has_every_sort_of_lines() {
    let world = anns();
    world.set("audit", "each");
    let mut browser = Browser::default();
    browser.sign_in(&world, ANNS_KEY);
    world.connect(&mut browser, "forge", grant("access-1", 30 * 86_400, "refresh-1"));
    for _ in 0..5 {
        for _ in 0..1100 {
            world.token("forge", Some(ANNS_KEY));
        }
        world.pass(14_400);
    }
    let record = record(&world, "?subject=ann&hours=48");
    assert_eq!((&record["cut"], record["lines"].as_array().unwrap().len()), (&json!(true), 5000));
    assert!(events(&record).contains(&"connected"));
}

#[test]
fn a_week_later_the_rows_of_the_ring_are_replaced() {
    let world = anns();
    assert_eq!(events(&record(&world, "?subject=ann&hours=1")).len(), 2);
    world.pass(3 * 3600);
    assert_eq!(events(&record(&world, "?subject=ann&hours=2")), ["read"; 0]);
    assert!(events(&record(&world, "?subject=ann&hours=4")).len() >= 3);
    for _ in 0..30 {
        world.pass(86_400);
        for _ in 0..20 {
            world.resolve(Some(BOBS_KEY), json!({ "service": "forge" }));
            record(&world, "?subject=ann&hours=1");
        }
    }
    let rows = world.dump().into_keys().filter(|key| key.starts_with("b.a.")).count();
    assert!(rows <= 42 * 8, "{rows}");
    let week = record(&world, "?subject=ann&hours=168");
    let times = week["lines"].as_array().unwrap().iter().map(|line| line["time"].as_u64().unwrap());
    let times: Vec<u64> = times.collect();
    assert!(times.is_sorted() && times[0] > world.clock.get() / 1000 - 168 * 3600);
}

#[test]
fn an_audit_row_that_does_not_open_is_counted_and_replaced() {
    let world = anns();
    world.set("audit", "each");
    let keys: Vec<String> = world.dump().into_keys().filter(|key| key.starts_with("b.a.")).collect();
    for key in &keys {
        world.store.borrow_mut().insert(key.clone(), b"broken".to_vec());
    }
    assert_eq!(record(&world, "?subject=ann")["unreadable"].as_u64(), Some(keys.len() as u64));
    for _ in 0..100 {
        world.token("forge", Some(ANNS_KEY));
    }
    assert_eq!(record(&world, "?subject=ann")["unreadable"], 0);
}

/// Item 35: in the form of the other routes.
#[test]
fn a_caller_without_an_admin_key_sees_nothing() {
    let world = anns();
    for key in [None, Some(""), Some("wrong"), Some(ANNS_KEY), Some(SERVICE_KEY), Some(PASSPHRASE)] {
        let answer = ask(&world, "/admin/audit?subject=ann", key);
        assert_eq!((answer.status(), &read(&answer)["error"]), (StatusCode::UNAUTHORIZED, &json!("invalid_client")));
        assert_eq!(head(&answer, "www-authenticate"), "Bearer");
    }
    let mut session = Browser::default();
    session.sign_in(&world, PASSPHRASE);
    assert_eq!(session.get(&world, "/admin/audit").status(), StatusCode::UNAUTHORIZED);
    world.set("admin_keys", "");
    assert_eq!(ask(&world, "/admin/audit", Some(ADMIN_KEY)).status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&world, "/admin/else", Some(ADMIN_KEY)).status(), StatusCode::NOT_FOUND);
}

/// An admin key opens nothing else: it reads what happened and holds no one's tokens.
#[test]
fn an_admin_key_gets_no_token() {
    let world = anns();
    assert_eq!(world.token("forge", Some(ADMIN_KEY)).status(), StatusCode::UNAUTHORIZED);
    assert_eq!(world.ask(ADMIN_KEY, &json!({})).status(), StatusCode::UNAUTHORIZED);
    assert_eq!(ask(&world, "/connections", Some(ADMIN_KEY)).status(), StatusCode::UNAUTHORIZED);
}

#[test]
fn in_local_mode_the_owners_tools_are_admins_and_no_browser_is() {
    let world = World::local();
    assert_eq!(ask(&world, "/admin/audit", None).status(), StatusCode::OK);
    assert_eq!(ask(&world, "/admin/audit", Some("wrong")).status(), StatusCode::UNAUTHORIZED);
    for (name, value) in [("sec-fetch-site", "same-origin"), ("origin", LOCAL), ("sec-fetch-site", "none")] {
        let request = world.request("GET", "/admin/audit").header(name, value);
        assert_eq!(world.handle(request.body(Vec::new()).unwrap()).status(), StatusCode::FORBIDDEN, "{name}: {value}");
    }
}

#[test]
fn a_question_about_the_audit_that_makes_no_sense_is_told_so() {
    let world = anns();
    for query in ["?subject=a%20b", "?hours=0", "?hours=169", "?hours=x", "?hours=1&hours=2"] {
        let answer = ask(&world, &format!("/admin/audit{query}"), Some(ADMIN_KEY));
        assert_eq!(answer.status(), StatusCode::BAD_REQUEST, "{query}");
    }
}
