//! Clients of 2025-03-26 to 2025-11-25 (S/2025-11-25/basic/transports, lifecycle).

use super::upstreams::{echo, legacy as legacy_server, modern};
use super::*;
use base64ct::{Base64UrlUnpadded, Encoding};

fn world() -> World {
    World::with(modern(echo))
}

fn initialize(version: &str) -> Request<Vec<u8>> {
    let members =
        format!(r#""protocolVersion":"{version}","capabilities":{{}},"clientInfo":{{"name":"c","version":"1"}}"#);
    without_header(Era::Legacy.request("/mcp", "initialize", &members), "mcp-protocol-version")
}

fn raw(body: &str) -> Request<Vec<u8>> {
    with_body(Era::Legacy.list("/mcp"), body)
}

fn session(world: &World, version: &str) -> String {
    world.serve(initialize(version)).header("mcp-session-id").unwrap().to_owned()
}

#[test]
fn initialize_says_what_the_upstream_can_and_remembers_it() {
    let world = world();
    let got = world.serve(initialize("2025-06-18"));
    assert_eq!((got.status, got.whole), (OK, true));
    let result = &got.json()["result"];
    assert_eq!(result["protocolVersion"], "2025-06-18");
    assert_eq!(result["capabilities"], serde_json::json!({"tools": {}}));
    assert_eq!(result["serverInfo"]["name"], "gatehouse");
    assert!(result["instructions"].as_str().unwrap().contains("up"));
    assert!(got.header("mcp-session-id").is_some());
    assert_eq!(world.methods(), ["initialize", "server/discover"]);
    world.serve(initialize("2025-11-25"));
    assert_eq!(world.sent().len(), 0, "it is remembered");
    world.pass(6 * 60);
    world.serve(initialize("2025-11-25"));
    assert_eq!(world.methods(), ["initialize", "server/discover"], "but not for ever");
}

#[test]
fn a_version_that_is_not_spoken_gets_the_newest_legacy_one() {
    for asked in ["2024-10-07", "2026-07-28", "1.0"] {
        assert_eq!(world().serve(initialize(asked)).json()["result"]["protocolVersion"], "2025-11-25", "{asked}");
    }
    let without = Era::Legacy.request("/mcp", "initialize", "");
    assert_eq!(world().serve(without).error(), (OK, -32602));
}

#[test]
fn a_session_is_served_by_every_instance_on_the_same_store() {
    let one = world();
    let id = session(&one, "2025-06-18");
    let another = world();
    *another.store.borrow_mut() = one.store.take();
    assert_eq!(another.serve(with_header(Era::Legacy.list("/mcp"), "mcp-session-id", &id)).status, OK);
}

#[test]
fn a_session_that_is_not_ours_is_404_so_that_its_client_starts_anew() {
    for id in ["x", "gh2", "1868a90c-ad6e-4d3b-a1b7-0b0f3e3f5b1e"] {
        assert_eq!(world().serve(with_header(Era::Legacy.list("/mcp"), "mcp-session-id", id)).status, 404);
        let mut get = with_header(Era::Legacy.list("/mcp"), "mcp-session-id", id);
        *get.method_mut() = http::Method::GET;
        assert_eq!(world().serve(get).status, 404);
    }
}

/// The id of `id` with other capabilities.
fn forged(id: &str, capabilities: u8) -> String {
    let mut bytes = Base64UrlUnpadded::decode_vec(&id[3..]).unwrap();
    bytes[1] = capabilities;
    ["gh2", &Base64UrlUnpadded::encode_string(&bytes)].concat()
}

/// A10: an id that was not given to this person is no session for any request.
#[test]
fn a_session_that_was_made_up_or_is_another_persons_is_404_and_leaves_nothing_behind() {
    let world = World::with(legacy_server(echo));
    let id = session(&world, "2025-11-25");
    world.serve(with_header(Era::Legacy.call("/mcp", "up__echo"), "mcp-session-id", &id));
    let rows = world.store.borrow().len();
    world.sent();
    let own = Base64UrlUnpadded::decode_vec(&id[3..]).unwrap()[1];
    for capabilities in (0..=255).filter(|other| *other != own) {
        let id = forged(&id, capabilities);
        let mut get = without_header(with_body(Era::Legacy.list("/mcp"), ""), "content-type");
        *get.method_mut() = http::Method::GET;
        let cancelled = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#;
        let ping = r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#;
        for request in [
            Era::Legacy.call("/mcp", "up__echo"),
            Era::Legacy.list("/mcp/up"),
            with_body(Era::Legacy.list("/mcp"), cancelled),
            with_body(Era::Legacy.list("/mcp"), ping),
            get,
        ] {
            assert_eq!(world.serve(with_header(request, "mcp-session-id", &id)).status, 404, "{capabilities}");
        }
    }
    assert_eq!((world.store.borrow().len(), world.sent().len()), (rows, 0));
    world.subject.set("bob");
    assert_eq!(world.serve(with_header(Era::Legacy.list("/mcp"), "mcp-session-id", &id)).status, 404);
    let again = with_header(initialize("2025-11-25"), "mcp-session-id", &id);
    assert_eq!(world.serve(again).status, OK, "to begin is always possible");
    let modern = with_header(Era::Modern.list("/mcp"), "mcp-session-id", "x");
    assert_eq!(world.serve(modern).status, OK, "modern requests have no session");
}

/// A10: what one person can have stored of one upstream is bounded by the profiles that there are.
#[test]
fn all_profiles_of_a_person_leave_no_more_rows_than_the_documented_bound() {
    fn has_all(method: &str, params: &Value) -> String {
        match method {
            "prompts/list" => r#"{"prompts":[]}"#.into(),
            "resources/list" => r#"{"resources":[]}"#.into(),
            "resources/templates/list" => r#"{"resourceTemplates":[]}"#.into(),
            "resources/subscribe" => "{}".into(),
            _ => echo(method, params),
        }
    }
    let can = r#"{"tools":{},"prompts":{},"resources":{"subscribe":true}}"#;
    let world = World::with(super::upstreams::legacy_that_can(can, has_all, Rc::default(), 404));
    let sampling = [
        "",
        r#""sampling":{},"#,
        r#""sampling":{"tools":{}},"#,
        r#""sampling":{"context":{}},"#,
        r#""sampling":{"tools":{},"context":{}},"#,
    ];
    let roots = ["", r#""roots":{},"#, r#""roots":{"listChanged":true},"#];
    let elicitation =
        ["", r#""elicitation":{},"#, r#""elicitation":{"url":{}},"#, r#""elicitation":{"form":{},"url":{}},"#];
    let tasks = ["", r#""extensions":{"io.modelcontextprotocol/tasks":{}},"#];
    let mut all = Vec::new();
    for sampling in sampling {
        for roots in roots {
            all.extend(elicitation.map(|elicitation| [sampling, roots, elicitation].concat()));
        }
    }
    for members in all {
        for tasks in tasks {
            let capabilities = [&members, tasks].concat();
            let capabilities = capabilities.trim_end_matches(',');
            let members = format!(r#""protocolVersion":"2025-11-25","capabilities":{{{capabilities}}}"#);
            let opened = world.serve(Era::Legacy.request("/mcp", "initialize", &members));
            let id = opened.header("mcp-session-id").unwrap().to_owned();
            for (method, members) in [
                ("tools/call", r#""name":"up__echo""#),
                ("tools/list", ""),
                ("prompts/list", ""),
                ("resources/list", ""),
                ("resources/templates/list", ""),
                ("resources/subscribe", r#""uri":"gatehouse://up/a:b""#),
            ] {
                let got = world.serve(with_header(Era::Legacy.request("/mcp", method, members), "mcp-session-id", &id));
                assert!(got.json()["error"].is_null(), "{}", got.text());
            }
        }
    }
    let rows = world.store.borrow().keys().filter(|key| !key.starts_with("g.k.")).count();
    assert_eq!(
        rows,
        120 * 4 + 64 * 3 + 3,
        "four lists for each profile; a session, the server's session and a note for each of 64 that are open; the list \
         of those, what the server says, how it fared"
    );
}

#[test]
fn a_client_without_a_session_is_served() {
    assert_eq!(world().serve(without_header(Era::Legacy.list("/mcp"), "mcp-protocol-version")).status, OK);
}

#[test]
fn a_version_header_has_to_be_one_that_is_spoken() {
    for (version, status) in
        [("2025-03-26", OK), ("2025-06-18", OK), ("2024-11-05", OK), ("x", 400), ("2025-11-26x", 400)]
    {
        let got = world().serve(with_header(Era::Legacy.list("/mcp"), "mcp-protocol-version", version));
        assert_eq!(got.status, status, "{version}");
    }
}

#[test]
fn ping_is_answered_here() {
    let got = world().serve(raw(r#"{"jsonrpc":"2.0","id":"p\u0069ng","method":"ping"}"#));
    assert_eq!(got.text(), r#"{"jsonrpc":"2.0","id":"p\u0069ng","result":{}}"#);
}

#[test]
fn notifications_and_responses_are_taken_without_a_body() {
    for body in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":1}}"#,
        r#"{"jsonrpc":"2.0","id":9,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":9,"error":{"code":1,"message":"x"}}"#,
    ] {
        let got = world().serve(raw(body));
        assert_eq!((got.status, got.text()), (202, String::new()), "{body}");
    }
}

#[test]
fn what_is_not_offered_is_an_unknown_method() {
    for method in [
        "logging/setLevel",
        "resources/list",
        "resources/templates/list",
        "prompts/list",
        "server/discover",
        "nonsense",
    ] {
        let got = world().serve(Era::Legacy.request("/mcp", method, r#""level":"info""#));
        assert_eq!(got.error(), (OK, -32601), "{method}");
    }
}

#[test]
fn batches_are_of_2025_03_26_alone() {
    let world = world();
    let batch = r#"[{"jsonrpc":"2.0","id":1,"method":"ping"},{"jsonrpc":"2.0","method":"notifications/x"},
        {"jsonrpc":"2.0","id":"c","method":"tools/call","params":{"name":"up__echo","arguments":{"message":"b"}}},
        {"jsonrpc":"2.0","id":3,"method":"nonsense"}, 7, {"jsonrpc":"2.0","id":4,"method":"initialize"}]"#;
    let id = session(&world, "2025-03-26");
    let got = world.serve(with_header(without_header(raw(batch), "mcp-protocol-version"), "mcp-session-id", &id));
    let answers = got.json();
    let ids: Vec<&Value> = answers.as_array().unwrap().iter().map(|answer| &answer["id"]).collect();
    assert_eq!(ids, [&Value::from(1), &"c".into(), &3.into(), &Value::Null, &4.into()]);
    assert_eq!(answers[1]["result"]["content"][0]["text"], "b of echo");
    assert_eq!(world.asked.borrow().len(), 2, "initialize and the batch: one resolve each");

    for version in ["2025-06-18", "2025-11-25"] {
        let id = session(&world, version);
        assert_eq!(world.serve(with_header(raw(batch), "mcp-session-id", &id)).error(), (400, -32600));
    }
    let old = |body: &str| with_header(raw(body), "mcp-protocol-version", "2025-03-26");
    assert_eq!(world.serve(old("[]")).error(), (400, -32600));
    assert_eq!(world.serve(old("[1,")).error(), (400, -32700));
    assert_eq!(world.serve(old(r#"[{"jsonrpc":"2.0","method":"notifications/x"}]"#)).status, 202);
    let flood = format!("[{}]", vec![r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#; 65].join(","));
    assert_eq!(world.serve(old(&flood)).error(), (400, -32600));
}

#[test]
fn malformed_messages_are_400_with_the_code_that_says_why() {
    assert_eq!(world().serve(raw("{")).error(), (400, -32700));
    assert_eq!(world().serve(raw("")).error(), (400, -32700));
    assert_eq!(world().serve(raw(r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#)).error(), (400, -32600));
    let mut not_text = raw("");
    *not_text.body_mut() = vec![b'{', 0xff];
    assert_eq!(world().serve(not_text).error(), (400, -32700));
    assert_eq!(world().asked.borrow().len(), 0, "nobody is asked about it");
}

#[test]
fn the_body_has_to_be_json_by_its_content_type() {
    for kind in ["text/plain", "application/x-www-form-urlencoded", "application/jsonp"] {
        assert_eq!(world().serve(with_header(Era::Legacy.list("/mcp"), "content-type", kind)).error(), (415, 415));
    }
    assert_eq!(world().serve(without_header(Era::Legacy.list("/mcp"), "content-type")).status, 415);
    let fine = with_header(Era::Legacy.list("/mcp"), "content-type", "Application/JSON; charset=utf-8");
    assert_eq!(world().serve(fine).status, OK);
}

#[test]
fn get_is_405_and_says_what_is_allowed() {
    for path in ["/mcp", "/mcp/up", "/mcp/"] {
        let mut get = Era::Legacy.list(path);
        *get.method_mut() = http::Method::GET;
        let got = world().serve(get);
        assert_eq!((got.error().0, got.header("allow")), (405, Some("POST")), "no server has anything to say");
    }
}

/// R43: DELETE ends a session, and the servers' sessions that hang on it. An id that is unknown, over, or another person's
/// is 404.
#[test]
fn delete_ends_a_session_and_the_servers_sessions_that_hang_on_it() {
    let world = World::with(super::upstreams::legacy(echo));
    let (id, other) = (session(&world, "2025-11-25"), session(&world, "2025-11-25"));
    let call = |id: &str| world.serve(with_header(Era::Legacy.call("/mcp", "up__echo"), "mcp-session-id", id));
    let delete = |id: &str| world.serve(deleting(with_header(Era::Legacy.list("/mcp"), "mcp-session-id", id)));
    assert_eq!(call(&id).status, OK);
    let rows = world.store.borrow().len();
    world.sent();
    world.subject.set("bob");
    assert_eq!(delete(&id).status, 404, "it is another person's");
    world.subject.set("alice");
    let got = delete(&id);
    assert_eq!((got.status, got.text().as_str()), (204, ""));
    let sent = world.sent();
    assert_eq!((sent.len(), sent[0].header("mcp-session-id")), (1, Some("session-1")), "the server is told");
    assert!(sent[0].body.is_empty());
    assert!(world.store.borrow().len() < rows, "what belonged to it is gone");
    assert_eq!((delete(&id).status, call(&id).status), (404, 404));
    assert_eq!(call(&other).status, OK, "the other one goes on");
    let without = world.serve(deleting(Era::Legacy.list("/mcp")));
    assert_eq!(without.status, 400);
}

/// R41: each client has a session of its own upstream, as if it were connected directly; modern ones, whose era has none,
/// share.
#[test]
fn each_legacy_client_has_its_own_session_at_a_legacy_server() {
    let opened = Rc::new(Cell::new(0));
    let world = World::with(super::upstreams::legacy_sharing(echo, opened.clone()));
    let (first, second) = (session(&world, "2025-11-25"), session(&world, "2025-11-25"));
    let upstream = |request: Request<Vec<u8>>| {
        world.sent();
        assert_eq!(world.serve(request).status, OK);
        world.sent().last().unwrap().header("mcp-session-id").unwrap().to_owned()
    };
    let of = |id: &str| upstream(with_header(Era::Legacy.call("/mcp", "up__echo"), "mcp-session-id", id));
    let (one, two) = (of(&first), of(&second));
    assert_ne!(one, two);
    assert_eq!((of(&first), of(&second)), (one, two), "and keeps it");
    let modern = upstream(Era::Modern.call("/mcp", "up__echo"));
    assert_eq!(upstream(Era::Modern.call("/mcp/up", "echo")), modern);
    assert_eq!(opened.get(), 3);
}

/// R41: the sessions of a person are bounded; the longest unused goes first, at the server too.
#[test]
fn the_sixty_fifth_session_ends_the_one_that_was_not_used_for_the_longest() {
    let world = World::with(super::upstreams::legacy_sharing(echo, Rc::default()));
    let call = |id: &str| world.serve(with_header(Era::Legacy.call("/mcp", "up__echo"), "mcp-session-id", id)).status;
    let ids: Vec<String> = (0..64)
        .map(|_| {
            world.pass(1);
            session(&world, "2025-11-25")
        })
        .collect();
    ids.iter().for_each(|id| assert_eq!(call(id), OK));
    let rows = world.store.borrow().len();
    // The oldest is used again, so the second one is the longest unused.
    world.pass(11 * 60);
    assert_eq!(call(&ids[0]), OK);
    for _ in 0..3 {
        world.sent();
        session(&world, "2025-11-25");
        assert!(world.sent().iter().any(|sent| sent.body.is_empty()), "the server is told");
    }
    assert_eq!(ids[..5].iter().map(|id| call(id)).collect::<Vec<_>>(), [OK, 404, 404, 404, OK]);
    assert!(world.store.borrow().len() <= rows, "nothing is left of those that are over");
}

/// R41: a session that the store did not keep is none: its client goes on without.
#[test]
fn a_store_that_keeps_nothing_gives_no_session() {
    let world = world();
    world.most.set(0);
    let got = world.serve(initialize("2025-11-25"));
    assert_eq!((got.status, got.header("mcp-session-id")), (OK, None));
    assert_eq!(world.serve(Era::Legacy.call("/mcp", "up__echo")).status, OK);
}

/// R50: what a legacy client declares of itself reaches the server.
#[test]
fn a_server_is_told_what_a_legacy_client_declares() {
    let world = World::with(super::upstreams::legacy(echo));
    let declared = r#"{"roots":{},"experimental":{"x":{"y":1.0}},"extensions":{"com.acme/z":{}},"tasks":{"list":{}}}"#;
    let members = format!(r#""protocolVersion":"2025-11-25","capabilities":{declared}"#);
    let opened = world.serve(Era::Legacy.request("/mcp", "initialize", &members));
    let id = opened.header("mcp-session-id").unwrap().to_owned();
    let call = with_header(Era::Legacy.call("/mcp", "up__echo"), "mcp-session-id", &id);
    assert_eq!(world.serve(call).status, OK);
    let told = world.sent().into_iter().rfind(|sent| sent.method() == "initialize").unwrap().json();
    let declared: Value = serde_json::from_str(declared).unwrap();
    assert_eq!(told["params"]["capabilities"], declared);
}

/// R40: where client and server share an era, that era is spoken.
#[test]
fn a_dual_era_server_is_spoken_to_in_the_clients_era() {
    let dual: Upstream = {
        let (old, new) = (super::upstreams::legacy(echo), modern(echo));
        Box::new(move |sent| match sent.header("mcp-protocol-version") {
            Some("2026-07-28") => new(sent),
            _ => old(sent),
        })
    };
    let world = World::with(dual);
    for _ in 0..2 {
        assert_eq!(world.serve(Era::Modern.call("/mcp", "up__echo")).status, OK);
        assert!(world.sent().iter().all(|sent| sent.header("mcp-protocol-version") == Some("2026-07-28")));
        assert_eq!(world.serve(Era::Legacy.call("/mcp", "up__echo")).status, OK);
        let sent = world.sent();
        assert!(sent.iter().all(|sent| sent.header("mcp-protocol-version") != Some("2026-07-28")), "{sent:?}");
    }
    let described = world.serve(initialize("2025-11-25")).json();
    assert_eq!(described["result"]["protocolVersion"], "2025-11-25");
}

fn deleting(mut request: Request<Vec<u8>>) -> Request<Vec<u8>> {
    *request.method_mut() = http::Method::DELETE;
    request
}
