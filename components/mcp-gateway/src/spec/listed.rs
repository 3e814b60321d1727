//! Where `servers.json` has rules for a server's tools, only what the server has listed is called.

use super::upstreams::{echo, json_reply, legacy, legacy_stateless, modern};
use super::*;

const BOTH: [Era; 2] = [Era::Legacy, Era::Modern];
/// Rules under which `echo` may be called.
const RULES: [&str; 6] = [
    r#"{"deny":["denied"]}"#,
    r#"{"allow":["echo","Denied*","den*"],"deny":["denied"]}"#,
    r#"{"pin":"flag","deny":["denied"]}"#,
    r#"{"pin":"hold","deny":["denied"]}"#,
    r#"{"pin":"freeze","deny":["denied"]}"#,
    r#"{"deny":["denied"],"rename":{"echo":"say"}}"#,
];

/// A server that takes a tool's name for another's in other letters or with white space around it.
fn careless(method: &str, params: &Value) -> String {
    match method {
        "tools/list" => r#"{"tools":[{"name":"echo"},{"name":"denied"}]}"#.into(),
        "tools/call" => {
            let name = params["name"].as_str().unwrap().trim().to_lowercase();
            assert_ne!(name, "denied", "the denied tool was called");
            echo(method, params)
        }
        _ => String::new(),
    }
}

fn kinds() -> [Upstream; 3] {
    [modern(careless), legacy(careless), legacy_stateless(careless)]
}

fn ruled(rules: &str, upstream: Upstream) -> World {
    let file = format!(
        r#"{{"endpoints":{{"found":{{"servers":["up"],"tools":"search"}}}},
        "mcpServers":{{"up":{{"url":"https://up.example/mcp","tools":{rules}}}}}}}"#
    );
    World::new(&file, vec![("https://up.example/mcp", upstream)])
}

fn calls(world: &World) -> usize {
    world.methods().iter().filter(|method| *method == "tools/call").count()
}

/// A17: `deny` compares letter by letter, and servers may not.
#[test]
fn a_name_that_the_server_has_not_listed_is_unknown_where_there_are_rules() {
    for rules in RULES {
        for era in BOTH {
            for upstream in kinds() {
                let world = ruled(rules, upstream);
                for name in ["Denied", "DENIED", "denied ", " denied", "denied\\t", "den\\u0131ed", "nothing"] {
                    let shown: String = serde_json::from_str(&format!("\"{name}\"")).unwrap();
                    for (path, name, shown) in [
                        ("/mcp/up", name.to_owned(), shown.clone()),
                        ("/mcp", format!("up__{name}"), format!("up__{shown}")),
                    ] {
                        let got = world.serve(era.request(
                            path,
                            "tools/call",
                            &format!(r#""name":"{name}""#).replace("\\t", "\\u0009"),
                        ));
                        // A header cannot repeat some of these as they are.
                        if got.status == 400 {
                            assert_eq!(got.error().1, -32020, "{name}");
                            continue;
                        }
                        assert_eq!(got.error(), (OK, -32602), "{rules} {era:?} {name}");
                        assert_eq!(got.json()["error"]["message"], format!("Unknown tool: {shown}"));
                    }
                    let inner = format!(r#""name":"gatehouse_call_tool","arguments":{{"name":"up__{name}"}}"#);
                    let told = world.serve(era.request("/mcp/found", "tools/call", &inner)).json()["result"].clone();
                    assert_eq!(told["isError"], true, "{told}");
                    assert!(told["content"][0]["text"].as_str().unwrap().contains("Unknown tool"), "{told}");
                }
                assert_eq!(calls(&world), 0);
                let name = if rules.contains("say") { "up__say" } else { "up__echo" };
                let got = world.serve(era.call("/mcp", name));
                assert_eq!(got.json()["result"]["content"][0]["text"], "hi of echo", "{rules}");
                assert_eq!(calls(&world), 1);
            }
        }
    }
}

/// A17: without rules nothing is asked beforehand.
#[test]
fn a_server_without_rules_is_asked_for_no_list() {
    for rules in ["{}", r#"{"rename":{"echo":"say"}}"#, r#"{"describe":{"echo":"x"}}"#] {
        let world = ruled(rules, modern(echo));
        world.serve(Era::Modern.call("/mcp", "up__get-sum"));
        assert_eq!(world.methods(), ["server/discover", "tools/call"]);
    }
}

/// A17: what it costs: one row, and the list once in an hour.
#[test]
fn a_warm_call_under_rules_reads_one_row_more_and_asks_for_no_list() {
    for rules in RULES {
        let name = if rules.contains("say") { "up__say" } else { "up__echo" };
        let world = ruled(rules, modern(careless));
        world.serve(Era::Modern.call("/mcp", name));
        assert_eq!(world.methods(), ["server/discover", "tools/list", "tools/call"], "{rules}");
        for _ in 0..3 {
            // Longer than the list is believed.
            world.pass(60);
            let loads = world.loads.get();
            world.serve(Era::Modern.call("/mcp", name));
            // What is kept for the bearer (nothing), how the server speaks, and what it has listed.
            assert_eq!((world.loads.get() - loads, world.methods()), (3, vec!["tools/call".to_owned()]), "{rules}");
        }
        world.pass(60 * 60);
        world.serve(Era::Modern.call("/mcp", name));
        let asked = world.methods();
        let is_pinned = rules.contains("pin");
        assert_eq!(
            asked.contains(&"tools/list".to_owned()),
            !is_pinned,
            "{rules}: what is pinned is remembered: {asked:?}"
        );
    }
}

/// A17: a tool that came after the last list is found.
#[test]
fn a_tool_that_was_not_listed_before_is_looked_for_once_more() {
    for rules in RULES.into_iter().filter(|rules| !rules.contains("freeze") && !rules.contains("allow")) {
        let listed = Rc::new(RefCell::new(r#"{"name":"echo"}"#.to_owned()));
        let (says, inner) = (listed.clone(), modern(careless));
        let world = ruled(
            rules,
            Box::new(move |sent| match sent.method().as_str() {
                "tools/list" => {
                    let result = format!(
                        r#"{{"resultType":"complete","tools":[{}],"ttlMs":1000,"cacheScope":"private"}}"#,
                        says.borrow()
                    );
                    json_reply(200, format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, sent.json()["id"]))
                }
                _ => inner(sent),
            }),
        );
        assert_eq!(world.serve(Era::Modern.call("/mcp", "up__later")).error(), (OK, -32602));
        *listed.borrow_mut() = r#"{"name":"echo"},{"name":"later"}"#.into();
        world.pass(2);
        let got = world.serve(Era::Modern.call("/mcp", "up__later"));
        assert_eq!(got.json()["result"]["content"][0]["text"], "hi of later", "{rules} {}", got.text());
    }
}

/// A17: nothing is called on a guess.
#[test]
fn a_list_that_cannot_be_had_is_said_and_nothing_is_called() {
    for rules in RULES.into_iter().filter(|rules| !rules.contains("rename")) {
        for fault in 0..4 {
            let inner = modern(careless);
            let world = ruled(
                rules,
                Box::new(move |sent| match (sent.method().as_str(), fault) {
                    ("tools/list", 0) => Reply::Answer(500, vec![], vec![]),
                    ("tools/list", 1) => Reply::NeverAnswers,
                    ("tools/list", 2) => json_reply(200, r#"{"jsonrpc":"2.0","id":1,"result":{"tools":{}}}"#),
                    ("tools/list", _) => Reply::Fails(SendError::Connection),
                    _ => inner(sent),
                }),
            );
            for era in BOTH {
                let told = world.serve(era.call("/mcp", "up__echo")).text();
                assert!(
                    told.contains("only tools that it lists may be called, and its list could not be had"),
                    "{told}"
                );
            }
            assert_eq!(calls(&world), 0);
        }
        // It has no tools at all.
        let world = ruled(rules, modern(|method, _| if method == "tools/call" { "{}".into() } else { String::new() }));
        assert_eq!(world.serve(Era::Modern.call("/mcp", "up__echo")).error(), (OK, -32602));
        assert_eq!(calls(&world), 0);
    }
}

/// A17: a token that was refused for the list is renewed as for a call.
#[test]
fn a_token_that_the_list_finds_refused_is_renewed() {
    let file = r#"{"mcpServers":{"up":{"url":"https://up.example/mcp","service":"s","tools":{"deny":["denied"]}}}}"#;
    let upstream = super::upstreams::behind_token("new", modern(careless));
    let world = World::new(file, vec![("https://up.example/mcp", upstream)]);
    world.outcomes.borrow_mut().insert("s", [token("old"), token("new")].into());
    let got = world.serve(Era::Modern.call("/mcp", "up__echo"));
    assert_eq!(got.json()["result"]["content"][0]["text"], "hi of echo");
}

/// A17: where the store keeps nothing, the list is asked for each time.
#[test]
fn without_a_store_rules_hold_all_the_same() {
    for rules in RULES.into_iter().filter(|rules| !rules.contains("rename")) {
        let world = ruled(rules, modern(careless));
        world.most.set(0);
        for _ in 0..2 {
            assert_eq!(world.serve(Era::Modern.call("/mcp", "up__Denied")).error(), (OK, -32602), "{rules}");
            let got = world.serve(Era::Modern.call("/mcp", "up__echo"));
            assert_eq!(got.json()["result"]["content"][0]["text"], "hi of echo", "{rules}");
        }
        assert_eq!(calls(&world), 2);
    }
}

/// A17: of one person's tools another's list says nothing.
#[test]
fn what_one_person_was_listed_counts_for_them_alone() {
    let world = ruled(RULES[0], modern(careless));
    world.serve(Era::Modern.call("/mcp", "up__echo"));
    world.sent();
    world.subject.set("bob");
    world.serve(Era::Modern.call("/mcp", "up__echo"));
    assert!(world.methods().contains(&"tools/list".to_owned()));
}
