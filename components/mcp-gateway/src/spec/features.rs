//! Prompts, resources, templates and completions, of every upstream for every client.

use super::upstreams::{event, events_reply, json_reply, legacy_stateless, legacy_that_can, modern_that_can};
use super::*;

const BOTH: [Era; 2] = [Era::Legacy, Era::Modern];
const ALL: &str = r#"{"tools":{"listChanged":true},"prompts":{},"resources":{"subscribe":true,"listChanged":true},"completions":{},"logging":{},"extensions":{"io.modelcontextprotocol/ui":{"z":1.0}}}"#;

/// A server that has one of everything, with odd members on each.
pub fn library(method: &str, params: &Value) -> String {
    match method {
        "tools/list" => r#"{"tools":[{"name":"echo","inputSchema":{},"icons":[{"src":"x"}]}]}"#.into(),
        "prompts/list" => {
            r#"{"prompts":[{"name":"greet","arguments":[{"name":"who"}],"_meta":{"odd":1.0}},{"name":"bye"}]}"#.into()
        }
        "resources/list" => {
            r#"{"resources":[{"uri":"test://text","name":"t","size":1e2},{"name":"only","uri":"note:\u0061"}]}"#.into()
        }
        "resources/templates/list" => {
            r#"{"resourceTemplates":[{"uriTemplate":"test://t/{id}/data","name":"by id"}]}"#.into()
        }
        "prompts/get" => format!(
            r#"{{"messages":[{{"role":"user","content":{{"type":"text","text":"{}"}}}}]}}"#,
            params["name"].as_str().unwrap()
        ),
        "resources/read" => {
            format!(r#"{{"contents":[{{"uri":{},"text":"read","annotations":{{"priority":0.50}}}}]}}"#, params["uri"])
        }
        "completion/complete" => {
            let reference = &params["ref"];
            let named = reference["name"].as_str().or(reference["uri"].as_str()).unwrap();
            format!(r#"{{"completion":{{"values":["{named}"],"total":1e0}}}}"#)
        }
        _ => String::new(),
    }
}

fn kinds() -> [(&'static str, Upstream); 2] {
    [("modern", modern_that_can(ALL, library)), ("legacy", legacy_that_can(ALL, library, Rc::default(), 404))]
}

/// `a` and `b` have the same; `c` has tools alone.
fn three() -> World {
    let file = r#"{"mcpServers":{"a":{"url":"https://a.example/mcp"},"b":{"url":"https://b.example/mcp"},"c":{"url":"https://c.example/mcp"}}}"#;
    let [(_, a), (_, b)] = kinds();
    let c = legacy_stateless(super::upstreams::echo);
    World::new(file, vec![("https://a.example/mcp", a), ("https://b.example/mcp", b), ("https://c.example/mcp", c)])
}

fn keys(got: &Got, member: &str, key: &str) -> Vec<String> {
    let json = got.json();
    let entries = json["result"][member].as_array().unwrap_or_else(|| panic!("no {member}: {json}"));
    entries.iter().map(|entry| entry[key].as_str().unwrap().to_owned()).collect()
}

#[test]
fn every_client_gets_everything_of_every_upstream_on_its_own_route() {
    for era in BOTH {
        for (kind, upstream) in kinds() {
            let world = World::with(upstream);
            let ask = |method: &str, members: &str| {
                let got = world.serve(era.request("/mcp/up", method, members));
                assert_eq!(got.status, OK, "{kind} {method}: {}", got.text());
                let complete = got.json()["result"]["resultType"] == "complete";
                assert_eq!(complete, era == Era::Modern, "{kind} {method}: {}", got.text());
                let is_kept = matches!(method, "resources/read") || method.ends_with("/list");
                let says = |name: &str| !got.json()["result"][name].is_null();
                assert_eq!(says("cacheScope") && says("ttlMs"), era == Era::Modern && is_kept, "{kind} {method}");
                assert!(era == Era::Modern || !says("ttlMs"), "{kind} {method}");
                got
            };
            assert!(ask("prompts/list", "").text().contains(r#""_meta":{"odd":1.0}"#));
            assert!(ask("resources/list", "").text().contains(r#"{"uri":"test://text","name":"t","size":1e2}"#));
            assert!(ask("resources/templates/list", "").text().contains("test://t/{id}/data"));
            assert!(ask("prompts/get", r#""name":"greet""#).text().contains(r#""text":"greet""#));
            assert!(ask("resources/read", r#""uri":"test://text""#).text().contains(r#""priority":0.50"#));
            for reference in
                [r#"{"type":"ref/prompt","name":"greet"}"#, r#"{"type":"ref/resource","uri":"test://t/{id}/data"}"#]
            {
                let members = format!(r#""ref":{reference},"argument":{{"name":"x","value":""}}"#);
                assert!(ask("completion/complete", &members).text().contains(r#""total":1e0"#));
            }
        }
    }
}

#[test]
fn prompts_of_many_servers_are_named_like_tools_and_uris_that_several_have_say_whose_they_are() {
    for era in BOTH {
        let world = three();
        let got = world.serve(era.request("/mcp", "prompts/list", ""));
        assert_eq!(keys(&got, "prompts", "name"), ["a__greet", "a__bye", "b__greet", "b__bye"]);
        assert!(got.text().contains(r#""_meta":{"odd":1.0}"#));
        let got = world.serve(era.request("/mcp", "resources/list", ""));
        let [a, b] =
            ["a", "b"].map(|server| ["test://text", "note:a"].map(|uri| format!("gatehouse://{server}/{uri}")));
        assert_eq!(keys(&got, "resources", "uri"), [a, b].concat());
        let got = world.serve(era.request("/mcp/a", "resources/list", ""));
        assert!(got.text().contains(r#""uri":"note:\u0061""#), "byte for byte where nothing collides");
        let got = world.serve(era.request("/mcp", "resources/templates/list", ""));
        let templates = ["gatehouse://a/test://t/{id}/data", "gatehouse://b/test://t/{id}/data"];
        assert_eq!(keys(&got, "resourceTemplates", "uriTemplate"), templates);
    }
}

#[test]
fn what_is_listed_can_be_asked_for_by_the_name_it_is_listed_with() {
    for era in BOTH {
        let world = three();
        world.serve(era.request("/mcp", "resources/list", ""));
        world.serve(era.request("/mcp", "resources/templates/list", ""));
        world.sent();
        for (uri, server, own) in [
            ("gatehouse://a/test://text", "a", "test://text"),
            ("gatehouse://b/test://text", "b", "test://text"),
            ("gatehouse://a/note:a", "a", "note:a"),
            ("gatehouse://a/test://t/7/data", "a", "test://t/7/data"),
            ("gatehouse://b/test://t/7/data", "b", "test://t/7/data"),
        ] {
            let got = world.serve(era.request("/mcp", "resources/read", &format!(r#""uri":"{uri}""#)));
            assert!(got.text().contains("\"read\""), "{uri}: {}", got.text());
            let sent = world.sent();
            assert_eq!(sent.len(), 1, "one request upstream");
            assert_eq!(
                (&*sent[0].url, sent[0].json()["params"]["uri"].as_str()),
                (&*format!("https://{server}.example/mcp"), Some(own))
            );
        }
        let got = world.serve(era.request("/mcp", "prompts/get", r#""name":"b__greet""#));
        assert!(got.text().contains(r#""text":"greet""#));
        let members = r#""ref":{"type":"ref/prompt","name":"b__greet"},"argument":{"name":"who","value":"x"}"#;
        let got = world.serve(era.request("/mcp", "completion/complete", members));
        assert_eq!(got.json()["result"]["completion"]["values"][0], "greet");
        let members = r#""ref":{"type":"ref/resource","uri":"gatehouse://b/test://t/{id}/data"},"argument":{"name":"id","value":""}"#;
        let got = world.serve(era.request("/mcp", "completion/complete", members));
        assert_eq!(got.json()["result"]["completion"]["values"][0], "test://t/{id}/data");
        assert!(world.sent().iter().all(|sent| sent.url == "https://b.example/mcp"));
    }
}

#[test]
fn what_nobody_has_is_an_error_of_the_clients_era_and_nobody_is_shown_it() {
    for (era, not_found) in [(Era::Legacy, (OK, -32002)), (Era::Modern, (OK, -32602))] {
        let world = three();
        world.serve(era.request("/mcp", "resources/list", ""));
        world.sent();
        let got = world.serve(era.request("/mcp", "resources/read", r#""uri":"other://secret""#));
        assert_eq!(got.error(), not_found);
        assert!(world.sent().iter().all(|sent| !sent.body.contains("secret")));
        for (method, members) in [
            ("resources/read", r#""uri":"gatehouse://nobody/x:y""#),
            ("prompts/get", r#""name":"greet""#),
            ("prompts/get", r#""name":"nobody__greet""#),
            ("tasks/get", r#""taskId":"1""#),
        ] {
            let got = world.serve(era.request("/mcp", method, members));
            let code = if method == "resources/read" { not_found.1 } else { -32602 };
            assert_eq!(got.error(), (OK, code), "{method} {members}");
        }
        for (method, members) in [
            ("resources/read", ""),
            ("prompts/get", r#""name":7"#),
            ("completion/complete", r#""ref":{"type":"ref/other"}"#),
            ("completion/complete", r#""ref":{"type":"ref/prompt","uri":"x"}"#),
        ] {
            assert_eq!(world.serve(era.request("/mcp", method, members)).error(), (OK, -32602), "{method} {members}");
        }
    }
}

#[test]
fn a_modern_servers_not_found_is_a_legacy_clients_not_found() {
    let inner = modern_that_can(ALL, library);
    let world = World::with(Box::new(move |sent| match &*sent.method() {
        "resources/read" => super::upstreams::error(200, &sent.json()["id"], -32602),
        _ => inner(sent),
    }));
    let read = |era: Era| world.serve(era.request("/mcp/up", "resources/read", r#""uri":"x:y""#)).error();
    assert_eq!((read(Era::Legacy), read(Era::Modern)), ((OK, -32002), (OK, -32602)));
}

#[test]
fn what_one_of_many_can_is_declared_and_what_none_can_is_not() {
    let capabilities = |world: &World, era: Era, path: &str| {
        let method = if era == Era::Modern { "server/discover" } else { "initialize" };
        world.serve(era.request(path, method, r#""protocolVersion":"2025-11-25""#)).json()["result"]["capabilities"]
            .clone()
    };
    let world = three();
    let legacy = serde_json::json!({"tools": {"listChanged": true}, "prompts": {}, "completions": {}, "logging": {},
        "resources": {"subscribe": true, "listChanged": true}});
    assert_eq!(capabilities(&world, Era::Legacy, "/mcp"), legacy);
    let mut modern = legacy;
    modern["extensions"] = serde_json::json!({"io.modelcontextprotocol/ui": {"z": 1.0}});
    assert_eq!(capabilities(&world, Era::Modern, "/mcp"), modern);
    assert_eq!(capabilities(&world, Era::Modern, "/mcp/c"), serde_json::json!({"tools": {}}));
    let own: Value = serde_json::from_str(ALL).unwrap();
    assert_eq!(capabilities(&world, Era::Modern, "/mcp/a"), own, "its own word, to a client of its own era");
    let crossed = capabilities(&world, Era::Legacy, "/mcp/a");
    assert_eq!(crossed["resources"], serde_json::json!({"subscribe": true, "listChanged": true}));
}

#[test]
fn a_servers_instructions_are_what_a_model_is_told_on_its_route_and_are_named_in_the_aggregate() {
    let instructions = |world: &World, path: &str| {
        let got = world.serve(Era::Modern.request(path, "server/discover", ""));
        got.json()["result"]["instructions"].as_str().unwrap().to_owned()
    };
    let world = three();
    assert_eq!(instructions(&world, "/mcp/a"), "Be kind.");
    let all = instructions(&world, "/mcp");
    assert!(all.starts_with("Behind this gateway: a, b, c.") && all.contains("# a\n> Be kind."), "{all}");
}

#[test]
fn a_list_is_asked_for_once_while_it_is_believed_and_anew_when_it_has_changed() {
    for (kind, upstream) in kinds() {
        let world = World::with(upstream);
        let ask = || world.serve(Era::Legacy.request("/mcp", "prompts/list", "")).text();
        let first = ask();
        assert_eq!(world.methods().last().unwrap(), "prompts/list", "{kind}");
        assert_eq!(ask(), first);
        assert_eq!(world.methods(), [""; 0], "{kind}");
        world.run(world.sleep(Duration::from_secs(61)));
        assert_eq!(ask(), first);
        assert_eq!(world.methods(), ["prompts/list"], "{kind}");
    }
    let (_, inner) = kinds().into_iter().next().unwrap();
    let world = World::with(Box::new(move |sent| match &*sent.method() {
        "prompts/get" => super::upstreams::events_reply(vec![
            super::upstreams::event(r#"{"jsonrpc":"2.0","method":"notifications/prompts/list_changed"}"#),
            super::upstreams::event(format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{}}}}"#, sent.json()["id"])),
        ]),
        _ => inner(sent),
    }));
    for _ in 0..2 {
        world.serve(Era::Legacy.request("/mcp", "prompts/list", ""));
    }
    world.serve(Era::Legacy.request("/mcp", "prompts/get", r#""name":"up__greet""#));
    world.sent();
    world.serve(Era::Legacy.request("/mcp", "prompts/list", ""));
    assert_eq!(world.methods(), ["prompts/list"]);
}

#[test]
fn how_long_a_merged_list_may_be_kept_is_what_the_first_to_change_says_and_for_whom_what_all_say() {
    let says = |world: &World, path: &str| {
        let result = world.serve(Era::Modern.request(path, "prompts/list", "")).json()["result"].clone();
        (result["ttlMs"].as_u64().unwrap(), result["cacheScope"].as_str().unwrap().to_owned())
    };
    // The modern one says five seconds and public, the legacy one nothing.
    let world = three();
    assert_eq!(says(&world, "/mcp"), (5000, "private".into()));
    world.run(world.sleep(Duration::from_secs(2)));
    assert_eq!(says(&world, "/mcp"), (3000, "private".into()), "what is kept here is that much older");
    let [(_, up), _] = kinds();
    assert_eq!(says(&World::with(up), "/mcp"), (5000, "public".into()));
    let [(_, up), _] = kinds();
    assert_eq!(says(&World::with_service(up, [token("t")]), "/mcp"), (5000, "private".into()));
    let [(_, up), _] = kinds();
    let down: Upstream = Box::new(|_| Reply::Fails(SendError::Connection));
    let file = r#"{"mcpServers":{"a":{"url":"https://a.example/mcp"},"b":{"url":"https://b.example/mcp"}}}"#;
    let world = World::new(file, vec![("https://a.example/mcp", up), ("https://b.example/mcp", down)]);
    assert_eq!(says(&world, "/mcp").0, 0, "a list that lacks something is not kept");
}

#[test]
fn a_list_of_thousands_comes_in_pages_that_hold_each_entry_once() {
    fn many(method: &str, _: &Value) -> String {
        let tools: Vec<String> = (0..1500).map(|n| format!(r#"{{"name":"t{n}"}}"#)).collect();
        if method == "tools/list" { format!(r#"{{"tools":[{}]}}"#, tools.join(",")) } else { String::new() }
    }
    let file = r#"{"mcpServers":{"a":{"url":"https://a.example/mcp"},"b":{"url":"https://b.example/mcp"}}}"#;
    let upstreams = vec![
        ("https://a.example/mcp", super::upstreams::modern(many)),
        ("https://b.example/mcp", super::upstreams::legacy(many)),
    ];
    let world = World::new(file, upstreams);
    let mut names = Vec::new();
    let mut cursor = Value::Null;
    for page in 0.. {
        let members = if page == 0 { String::new() } else { format!(r#""cursor":{cursor}"#) };
        let got = world.serve(Era::Legacy.request("/mcp", "tools/list", &members));
        names.extend(got.tool_names());
        cursor = got.json()["result"]["nextCursor"].clone();
        if cursor.is_null() {
            assert_eq!(page, 2);
            break;
        }
    }
    let expected: Vec<String> = ["a", "b"].iter().flat_map(|s| (0..1500).map(move |n| format!("{s}__t{n}"))).collect();
    assert_eq!(names, expected);
    assert_eq!(world.methods().iter().filter(|method| *method == "tools/list").count(), 2, "one for each server");
}

#[test]
fn on_its_own_route_a_list_is_the_servers_own_to_the_last_byte() {
    let strange =
        r#" {"result":{"prompts":[ ], "x":1.0,"resultType":"complete","nextCursor":"c"} ,"id":1,"jsonrpc":"2.0"}"#;
    let inner = modern_that_can(ALL, library);
    let world = World::with(Box::new(move |sent| match &*sent.method() {
        "prompts/list" => json_reply(200, strange),
        _ => inner(sent),
    }));
    let got = world.serve(Era::Modern.request("/mcp/up", "prompts/list", r#""cursor":"its own""#));
    assert_eq!(got.text(), strange);
    assert_eq!(world.sent().pop().unwrap().json()["params"]["cursor"], "its own");
}

#[test]
fn a_method_of_tomorrow_reaches_the_one_server_that_could_know_it() {
    fn knows(method: &str, _: &Value) -> String {
        if method == "skills/list" { r#"{"skills":[]}"#.into() } else { String::new() }
    }
    for era in BOTH {
        let world = World::with(modern_that_can("{}", knows));
        assert_eq!(
            world.serve(era.request("/mcp/up", "skills/list", "")).json()["result"]["skills"],
            serde_json::json!([])
        );
        let status = if era == Era::Modern { 404 } else { OK };
        assert_eq!(world.serve(era.request("/mcp/up", "skills/burn", "")).error(), (status, -32601));
        assert_eq!(world.serve(era.request("/mcp", "skills/list", "")).error(), (status, -32601));
    }
}

#[test]
fn the_file_renames_and_describes_tools_and_names_endpoints_over_some_servers() {
    let file = r#"{"endpoints":{"work":["b","a"]},"mcpServers":{
        "a":{"url":"https://a.example/mcp","tools":{"rename":{"echo":"say"},"describe":{"echo":"Says \"it\"."}}},
        "b":{"url":"https://b.example/mcp","tools":{"rename":{"get-sum":"echo"}}},"c":{"url":"https://c.example/mcp"}}}"#;
    let up = || super::upstreams::modern(super::upstreams::echo);
    let world = World::new(
        file,
        vec![("https://a.example/mcp", up()), ("https://b.example/mcp", up()), ("https://c.example/mcp", up())],
    );
    for era in BOTH {
        let got = world.serve(era.list("/mcp/work"));
        // The name that the file gives hides the server's own tool of that name.
        assert_eq!(got.tool_names(), ["a__say", "a__get-sum", "b__echo"]);
        assert_eq!(got.json()["result"]["tools"][0]["description"], "Says \"it\".");
        assert_eq!(world.serve(era.list("/mcp/a")).tool_names(), ["say", "get-sum"]);
        for (path, name, own) in
            [("/mcp/work", "a__say", "echo"), ("/mcp", "b__echo", "get-sum"), ("/mcp/a", "say", "echo")]
        {
            let got = world.serve(era.call(path, name));
            assert_eq!(got.json()["result"]["content"][0]["text"], format!("hi of {own}"), "{path} {name}");
        }
        for (path, name) in
            [("/mcp/work", "a__echo"), ("/mcp", "b__get-sum"), ("/mcp/work", "c__echo"), ("/mcp/a", "echo")]
        {
            assert_eq!(world.serve(era.call(path, name)).error(), (OK, -32602), "{path} {name}");
        }
    }
}

#[test]
fn a_legacy_client_does_not_know_which_parameters_stand_in_headers_and_the_gateway_learns_it() {
    fn regional(method: &str, params: &Value) -> String {
        match method {
            "tools/list" => r#"{"tools":[{"name":"echo","inputSchema":{"properties":{
                "region":{"type":"string","x-mcp-header":"Region"},
                "deep":{"properties":{"n":{"type":"integer","x-mcp-header":"N"}}}}}}]}"#
                .into(),
            _ => super::upstreams::echo(method, params),
        }
    }
    let inner = super::upstreams::modern(regional);
    let strict = move |sent: &Sent| match sent.method().as_str() {
        "tools/call" if sent.header("mcp-param-region") != Some("=?base64?w6k=?=") => {
            super::upstreams::error(400, &sent.json()["id"], -32020)
        }
        _ => inner(sent),
    };
    let world = World::with(Box::new(strict));
    let call = || {
        world.serve(Era::Legacy.request(
            "/mcp",
            "tools/call",
            r#""name":"up__echo","arguments":{"region":"é","message":"m","deep":{"n":42}}"#,
        ))
    };
    assert_eq!(call().json()["result"]["content"][0]["text"], "m of echo");
    assert_eq!(world.methods(), ["initialize", "server/discover", "tools/call", "tools/list", "tools/call"]);
    let loads = world.loads.get();
    assert_eq!(call().json()["result"]["content"][0]["text"], "m of echo");
    let sent = world.sent();
    assert_eq!((sent.len(), sent[0].header("mcp-param-n")), (1, Some("42")), "and then knows it");
    assert_eq!(world.loads.get() - loads, 2, "what is kept for the bearer (nothing), and of the server");
}

#[test]
fn the_only_server_with_resources_is_asked_for_every_uri() {
    let file = r#"{"mcpServers":{"a":{"url":"https://a.example/mcp"},"b":{"url":"https://b.example/mcp"}}}"#;
    let [_, (_, b)] = kinds();
    let a = super::upstreams::modern(super::upstreams::echo);
    let world = World::new(file, vec![("https://a.example/mcp", a), ("https://b.example/mcp", b)]);
    let got = world.serve(Era::Modern.request("/mcp", "resources/read", r#""uri":"never:listed""#));
    assert!(got.text().contains("\"read\""), "{}", got.text());
    assert!(!world.methods().iter().any(|method| method.ends_with("/list")), "nothing has to be listed for that");
}

#[test]
fn a_list_that_was_kept_for_another_account_is_not_this_ones() {
    let [(_, up), _] = kinds();
    let world = World::with_service(up, [token("first")]);
    let ask = || world.serve(Era::Legacy.request("/mcp", "prompts/list", "")).status;
    ask();
    world.sent();
    ask();
    assert_eq!(world.sent().len(), 0);
    world.outcomes.borrow_mut().insert("s", [token("second")].into());
    ask();
    let sent = world.sent();
    assert_eq!((sent.len(), sent[0].header("authorization")), (1, Some("Bearer second")));
}

/// R49: on its own route a server is itself, and nothing is invented.
#[test]
fn on_its_own_route_a_server_says_who_it_is() {
    const INFO: &str = r#"{"name":"weather","title":"Weather","version":"7","icons":[{"src":"https://a/i.png"}],"websiteUrl":"https://a"}"#;
    for upstream_era in [Era::Legacy, Era::Modern] {
        let world = World::with(Box::new(move |sent| {
            let id = sent.json()["id"].to_string();
            match (sent.method().as_str(), upstream_era) {
                ("server/discover", Era::Modern) => json_reply(
                    200,
                    format!(
                        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"complete","supportedVersions":["2026-07-28"],"capabilities":{{}},"_meta":{{"io.modelcontextprotocol/serverInfo":{INFO}}}}}}}"#
                    ),
                ),
                ("initialize", Era::Legacy) => json_reply(
                    200,
                    format!(
                        r#"{{"jsonrpc":"2.0","id":{id},"result":{{"protocolVersion":"2025-11-25","capabilities":{{}},"serverInfo":{INFO}}}}}"#
                    ),
                ),
                ("notifications/initialized", _) => Reply::Answer(202, vec![], vec![]),
                _ => Reply::Answer(404, vec![], vec![]),
            }
        }));
        let expected: Value = serde_json::from_str(INFO).unwrap();
        let described =
            |path: &str| world.serve(Era::Modern.request(path, "server/discover", "")).json()["result"].clone();
        assert_eq!(described("/mcp/up")["_meta"]["io.modelcontextprotocol/serverInfo"], expected, "{upstream_era:?}");
        assert!(described("/mcp/up").get("instructions").is_none(), "none are invented");
        assert_eq!(described("/mcp")["_meta"]["io.modelcontextprotocol/serverInfo"]["name"], "gatehouse");
        let begin = r#""protocolVersion":"2025-11-25","capabilities":{},"clientInfo":{"name":"c","version":"1"}"#;
        let result = world.serve(Era::Legacy.request("/mcp/up", "initialize", begin)).json()["result"].clone();
        assert_eq!((&result["serverInfo"], result.get("instructions")), (&expected, None), "{upstream_era:?}");
    }
}

/// R36: what the aggregate cannot serve it does not declare.
#[test]
fn an_extension_with_methods_of_its_own_is_declared_on_the_servers_own_route_alone() {
    const CAN: &str =
        r#"{"tools":{},"extensions":{"com.acme/y":{},"io.modelcontextprotocol/ui":{"a":1},"com.acme/x":{}}}"#;
    let world = World::with(modern_that_can(CAN, super::upstreams::echo));
    let extensions = |path: &str| {
        let result = world.serve(Era::Modern.request(path, "server/discover", "")).json();
        result["result"]["capabilities"]["extensions"].clone()
    };
    assert_eq!(extensions("/mcp"), serde_json::json!({"io.modelcontextprotocol/ui": {"a": 1}}));
    assert_eq!(extensions("/mcp/up").as_object().unwrap().len(), 3);
}

/// R48: what no specification names is its sender's and its reader's business.
#[test]
fn notifications_of_a_vendor_pass_where_client_and_server_share_an_era() {
    const SAID: &str = r#"{"jsonrpc":"2.0","method":"acme/searchProgress","params":{"step":1.50,"acme":null}}"#;
    let talks = |inner: Upstream| -> Upstream {
        Box::new(move |sent| {
            let message = if sent.body.is_empty() { Value::Null } else { sent.json() };
            if message["method"] != "tools/call" {
                return inner(sent);
            }
            let answer = format!(
                r#"{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"complete","content":[]}}}}"#,
                message["id"]
            );
            events_reply(vec![event(SAID), event(answer)])
        })
    };
    for (era, upstream) in [
        (Era::Modern, modern_that_can(r#"{"tools":{}}"#, library)),
        (Era::Legacy, legacy_that_can(r#"{"tools":{}}"#, library, Rc::default(), 404)),
    ] {
        let world = World::with(talks(upstream));
        for (path, tool) in [("/mcp/up", "echo"), ("/mcp", "up__echo")] {
            let text = world.serve(era.call(path, tool)).text();
            assert!(text.contains(&format!("data: {SAID}\n")), "{era:?} {path}: {text}");
        }
    }
}
