//! Which tools are listed while servers fail in many ways, and what is told about the servers.

use super::upstreams::{echo, events_reply, json_reply, legacy, modern};
use super::*;

const THREE: &str = r#"{"mcpServers":{
    "first":{"url":"https://first.example/mcp"},
    "second":{"url":"https://second.example/mcp","service":"s"},
    "third server":{"url":"https://third.example/mcp"}}}"#;

fn three(second: Upstream, outcome: Outcome) -> World {
    let upstreams = vec![
        ("https://first.example/mcp", modern(echo)),
        ("https://second.example/mcp", second),
        ("https://third.example/mcp", legacy(echo)),
    ];
    let world = World::new(THREE, upstreams);
    world.outcomes.borrow_mut().insert("s", [outcome].into());
    world
}

const OTHERS: [&str; 4] = ["first__echo", "first__get-sum", "third-server__echo", "third-server__get-sum"];

fn servers_tools(got: &Got) -> Vec<String> {
    got.tool_names().into_iter().filter(|name| name != "gatehouse_connections").collect()
}

#[test]
fn all_servers_stand_in_the_files_order() {
    let world = three(modern(echo), token("t"));
    let names = world.serve(Era::Modern.list("/mcp")).tool_names();
    assert_eq!(
        names,
        [
            "gatehouse_connections",
            "first__echo",
            "first__get-sum",
            "second__echo",
            "second__get-sum",
            OTHERS[2],
            OTHERS[3]
        ]
    );
    assert_eq!(world.asked.borrow().len(), 1);
}

#[test]
fn a_server_that_is_down_slow_wrong_or_not_connected_costs_its_own_tools_alone() {
    let cases: Vec<(Upstream, Outcome)> = vec![
        (Box::new(|_| Reply::Fails(SendError::Connection)), token("t")),
        (Box::new(|_| Reply::NeverAnswers), token("t")),
        (Box::new(|_| Reply::Answer(500, vec![], vec![])), token("t")),
        (Box::new(|_| Reply::Answer(401, vec![], vec![])), token("t")),
        (Box::new(|_| json_reply(200, "{}")), token("t")),
        (Box::new(|_| events_reply(vec![Piece::Bytes(b"data: {".to_vec()), Piece::Breaks])), token("t")),
        (modern(echo), Outcome::NotConnected("https://auth.example.com/c".into())),
        (modern(echo), Outcome::UnknownService),
    ];
    for (second, outcome) in cases {
        let world = three(second, outcome);
        assert_eq!(servers_tools(&world.serve(Era::Legacy.list("/mcp"))), OTHERS);
        assert!(world.elapsed() <= Duration::from_secs(10), "no longer than the deadline");
        assert_eq!(servers_tools(&world.serve(Era::Modern.list("/mcp"))), OTHERS);
    }
}

#[test]
fn slow_servers_are_waited_for_at_the_same_time() {
    let upstreams: Vec<(&'static str, Upstream)> = vec![
        ("https://first.example/mcp", Box::new(|_| Reply::NeverAnswers)),
        ("https://second.example/mcp", Box::new(|_| Reply::NeverAnswers)),
        ("https://third.example/mcp", Box::new(|_| Reply::NeverAnswers)),
    ];
    let world = World::new(THREE, upstreams);
    world.outcomes.borrow_mut().insert("s", [token("t")].into());
    assert_eq!(servers_tools(&world.serve(Era::Legacy.list("/mcp"))), [""; 0]);
    assert_eq!(world.elapsed(), Duration::from_secs(10));
}

#[test]
fn all_pages_are_drained_into_one_and_no_more_than_64() {
    fn two_pages(_: &str, params: &Value) -> String {
        match params["cursor"].as_str() {
            None => r#"{"tools":[{"name":"one"}],"nextCursor":"\u0031"}"#.into(),
            Some("1") => r#"{"tools":[{"name":"two"}]}"#.into(),
            Some(other) => panic!("{other}"),
        }
    }
    for upstream in [modern(two_pages), legacy(two_pages)] {
        let got = World::with(upstream).serve(Era::Legacy.list("/mcp"));
        assert_eq!(got.tool_names(), ["up__one", "up__two"]);
        assert!(got.json()["result"]["nextCursor"].is_null());
    }
    fn endless(_: &str, params: &Value) -> String {
        let page = params["cursor"].as_str().map_or(0, |page| page.parse::<u32>().unwrap() + 1);
        format!(r#"{{"tools":[{{"name":"more-{page}"}}],"nextCursor":"{page}"}}"#)
    }
    let world = World::with(modern(endless));
    assert_eq!(world.serve(Era::Legacy.list("/mcp")).tool_names().len(), 64);
    assert_eq!(world.methods().iter().filter(|method| *method == "tools/list").count(), 64);
}

#[test]
fn only_what_the_file_lets_through_is_listed() {
    let file =
        r#"{"mcpServers":{"up":{"url":"https://up.example/mcp","tools":{"allow":["get-*","echo"],"deny":["*cho"]}}}}"#;
    let world = World::new(file, vec![("https://up.example/mcp", modern(echo))]);
    assert_eq!(world.serve(Era::Legacy.list("/mcp")).tool_names(), ["up__get-sum"]);
    assert_eq!(world.serve(Era::Legacy.list("/mcp/up")).tool_names(), ["get-sum"]);
}

#[test]
fn a_name_that_not_every_client_takes_is_shortened_and_finds_its_way_back() {
    fn long(method: &str, params: &Value) -> String {
        let name = "a".repeat(80);
        match method {
            "tools/list" => {
                format!(r#"{{"tools":[{{"name":"{name}"}},{{"name":"b/c"}},{{"no":"name"}},7,{{"name":"echo"}}]}}"#)
            }
            _ => echo(method, params),
        }
    }
    for upstream in [modern(long), legacy(long)] {
        let world = World::with(upstream);
        let names = world.serve(Era::Legacy.list("/mcp")).tool_names();
        assert_eq!(names.len(), 3);
        assert!(names.iter().all(|name| name.len() <= 64 && !name.contains('/')), "{names:?}");
        for (name, own) in [(&names[0], "a".repeat(80)), (&names[1], "b/c".into()), (&names[2], "echo".into())] {
            let got = world.serve(Era::Modern.call("/mcp", name));
            assert_eq!(got.json()["result"]["content"][0]["text"], format!("hi of {own}"));
        }
    }
}

#[test]
fn a_refused_token_is_renewed_once_for_a_list_too() {
    let second = super::upstreams::behind_token("new", modern(echo));
    let world = three(second, token("old"));
    *world.outcomes.borrow_mut().get_mut("s").unwrap() = [token("old"), token("new")].into();
    assert_eq!(servers_tools(&world.serve(Era::Legacy.list("/mcp"))).len(), 6);
    assert_eq!(world.asked.borrow().len(), 2);
}

#[test]
fn on_its_own_route_a_failing_server_is_an_error_and_an_unconnected_one_offers_the_link() {
    let world = World::with(Box::new(|_| Reply::Fails(SendError::Connection)));
    assert_eq!(world.serve(Era::Legacy.list("/mcp/up")).error(), (OK, -32603));
    let world = World::with_service(modern(echo), [Outcome::NotConnected("https://auth.example.com/c".into())]);
    assert_eq!(world.serve(Era::Legacy.list("/mcp/up")).tool_names(), ["gatehouse_connections"]);
    let world = World::with_service(modern(echo), [token("t")]);
    assert_eq!(world.serve(Era::Legacy.list("/mcp/up")).tool_names(), ["echo", "get-sum"], "only what is its own");
}

pub fn overview() -> Request<Vec<u8>> {
    Request::get(format!("{GATEWAY}/mcp/servers")).header("authorization", "Bearer x").body(vec![]).unwrap()
}

#[test]
fn the_overview_asks_no_upstream_and_tells_what_is_known() {
    let world = three(modern(echo), Outcome::NotConnected("https://auth.example.com/c".into()));
    let servers = world.serve(overview()).json()["servers"].clone();
    assert_eq!(world.sent().len(), 0);
    assert_eq!(
        servers[0],
        serde_json::json!({"name": "first", "state": "not_seen", "detail": "needs no connection; it has not been asked yet",
            "url": "https://first.example/mcp"})
    );
    assert_eq!(servers[1]["state"], "not_connected");
    assert_eq!(servers[1]["connect_url"], "https://auth.example.com/c");
    assert_eq!((&servers[2]["name"], &servers[2]["prefix"]), (&"third server".into(), &"third-server".into()));
    world.serve(Era::Legacy.list("/mcp"));
    let servers = world.serve(overview()).json()["servers"].clone();
    assert_eq!((&servers[0]["era"], &servers[2]["era"]), (&"modern".into(), &"legacy".into()));
    assert_eq!((&servers[0]["state"], &servers[0]["detail"]), (&"ready".into(), &"needs no connection".into()));
    assert_eq!(servers[0]["last_success"], 1_800_000_000);
}

/// R38: "ready" is never said of a server that has not answered.
#[test]
fn a_server_that_nothing_listens_at_is_never_called_ready() {
    let upstreams = vec![
        ("https://first.example/mcp", Box::new(|_: &Sent| Reply::Fails(SendError::Connection)) as Upstream),
        ("https://second.example/mcp", modern(echo)),
        ("https://third.example/mcp", legacy(echo)),
    ];
    let world = World::new(THREE, upstreams);
    world.outcomes.borrow_mut().insert("s", [token("t")].into());
    let states = |world: &World| -> Vec<String> {
        let servers = world.serve(overview()).json()["servers"].clone();
        servers.as_array().unwrap().iter().map(|server| server["state"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(states(&world), ["not_seen"; 3]);
    world.serve(Era::Modern.list("/mcp"));
    assert_eq!(states(&world), ["unreachable", "ready", "ready"]);
    let first = world.serve(overview()).json()["servers"][0].clone();
    assert_eq!(first["last_failure_reason"], "the connection to it failed");
    assert!(first["detail"].as_str().unwrap().contains("the connection to it failed"), "{first}");
    let told = world.serve(Era::Modern.call("/mcp", "gatehouse_connections")).json();
    assert_eq!(told["result"]["structuredContent"]["servers"][0]["state"], "unreachable");
}

/// R05: who comes first waits once for a server that takes connections and never answers; for a while nobody else does.
#[test]
fn a_server_that_never_answers_is_waited_for_once() {
    for era in [Era::Legacy, Era::Modern] {
        let silent = Rc::new(Cell::new(true));
        let (now, inner) = (silent.clone(), modern(echo));
        let second: Upstream = Box::new(move |sent| if now.get() { Reply::NeverAnswers } else { inner(sent) });
        let world = three(second, token("t"));
        let timed = |request: Request<Vec<u8>>| {
            let before = world.elapsed();
            let got = world.serve(request);
            (servers_tools(&got), (world.elapsed() - before).as_secs())
        };
        let (tools, seconds) = timed(era.list("/mcp"));
        assert_eq!((tools, seconds), (OTHERS.map(str::to_owned).to_vec(), 10));
        for _ in 0..3 {
            let (tools, seconds) = timed(era.list("/mcp"));
            assert_eq!((tools, seconds), (OTHERS.map(str::to_owned).to_vec(), 0));
        }
        let second = world.serve(overview()).json()["servers"][1].clone();
        assert_eq!(second["state"], "unreachable", "{second}");
        assert!(second["last_failure_reason"].as_str().unwrap().contains("too long"), "{second}");
        // A call is its person's own affair: it is tried.
        silent.set(false);
        assert!(world.serve(era.call("/mcp", "second__echo")).text().contains("hi of echo"));
        world.pass(31);
        assert_eq!(timed(era.list("/mcp")).0.len(), 6, "it is asked again");
        assert_eq!(world.serve(overview()).json()["servers"][1]["state"], "ready");
    }
}

/// R05: the same for `initialize` and `server/discover`.
#[test]
fn a_server_that_never_answers_holds_up_one_description() {
    let world = three(Box::new(|_| Reply::NeverAnswers), token("t"));
    let discover = || Era::Modern.request("/mcp", "server/discover", "");
    let before = world.elapsed();
    world.serve(discover());
    assert_eq!((world.elapsed() - before).as_secs(), 5);
    let before = world.elapsed();
    world.serve(discover());
    assert_eq!((world.elapsed() - before).as_secs(), 0);
}

/// R06: one bad entry costs itself, is named, and no client refuses the rest.
#[test]
fn a_bad_entry_costs_itself_and_is_named() {
    let bad = |method: &str, params: &Value| {
        match method {
        "tools/list" => concat!(
            r#"{"tools":[{"name":"bare"},{"name":"nulls","description":null,"inputSchema":{"type":"object","required":null}},"#,
            r#"{"name":7},{"name":"array","inputSchema":[]},{"name":"echo","inputSchema":{"type":"object"}}]}"#
        )
            .into(),
        "prompts/list" => r#"{"prompts":[{"name":"good","arguments":null},{"title":"bad"}]}"#.into(),
        "resources/list" => r#"{"resources":[{"uri":"a:b","mimeType":null},{"name":"bad"}]}"#.into(),
        "resources/templates/list" => r#"{"resourceTemplates":[{"uriTemplate":"a:{b}"},{"uriTemplate":null}]}"#.into(),
        _ => echo(method, params),
    }
    };
    for era in [Era::Legacy, Era::Modern] {
        let capabilities = r#"{"tools":{},"prompts":{},"resources":{}}"#;
        for upstream in [
            super::upstreams::modern_that_can(capabilities, bad),
            super::upstreams::legacy_that_can(capabilities, bad, Rc::default(), 404),
        ] {
            let world = World::with(upstream);
            let got = world.serve(era.list("/mcp"));
            assert_eq!(got.tool_names(), ["up__bare", "up__nulls", "up__echo"], "{era:?}");
            for tool in got.json()["result"]["tools"].as_array().unwrap() {
                assert_eq!(tool["inputSchema"]["type"], "object", "{tool}");
                assert!(tool.as_object().unwrap().values().all(|value| !value.is_null()), "{tool}");
            }
            for (method, member) in [
                ("prompts/list", "prompts"),
                ("resources/list", "resources"),
                ("resources/templates/list", "resourceTemplates"),
            ] {
                let listed = world.serve(era.request("/mcp", method, "")).json()["result"][member].clone();
                assert_eq!(listed.as_array().map(Vec::len), Some(1), "{method}: {listed}");
                assert!(listed[0]["name"].is_string(), "{listed}");
            }
            let left_out = world.serve(overview()).json()["servers"][0]["left_out"].clone();
            let left_out: Vec<&str> = left_out.as_array().unwrap().iter().filter_map(Value::as_str).collect();
            assert_eq!(left_out.len(), 5, "{left_out:?}");
            assert!(left_out.contains(&"tools/list array: its inputSchema is no object"), "{left_out:?}");
            let named = |line: &String| line.contains("entries of tools/list are left out");
            assert!(world.logged.borrow().iter().any(named), "{:?}", world.logged.borrow());
        }
    }
}

/// R09: a cursor that was used before ends the list.
#[test]
fn a_cursor_that_leads_round_ends_the_list() {
    for (next, pages) in [(r#""""#, 2), (r#""a""#, 2)] {
        let world = World::with(Box::new(move |sent| match sent.method().as_str() {
            "tools/list" => {
                let id = sent.json()["id"].to_string();
                let result = format!(r#"{{"tools":{},"nextCursor":{next}}}"#, super::upstreams::TOOLS);
                json_reply(200, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{result}}}"#))
            }
            _ => modern(echo)(sent),
        }));
        let names = world.serve(Era::Modern.list("/mcp")).tool_names();
        assert_eq!(names, ["up__echo", "up__get-sum"], "{next}");
        assert_eq!(world.methods().iter().filter(|method| *method == "tools/list").count(), pages, "{next}");
    }
}

#[test]
fn the_overview_is_for_known_callers_and_by_get() {
    let world = three(modern(echo), token("t"));
    let got = world.serve(Era::Legacy.list("/mcp/servers"));
    assert_eq!((got.error().0, got.header("allow")), (405, Some("GET")));
    *world.resolve_error.borrow_mut() = Some(ResolveError::InvalidToken);
    assert_eq!(world.serve(overview()).status, 401);
}

/// Twenty servers with so many tools together, in pages of 100, with names that are short, long, odd, and everywhere the
/// same.
fn twenty(tools: usize) -> World {
    let each = tools / 20;
    let server = move |number: usize| -> Upstream {
        let (of_era, is_modern) = if number.is_multiple_of(2) { (modern(echo), true) } else { (legacy(echo), false) };
        Box::new(move |sent| {
            let message = sent.json();
            if sent.method() != "tools/list" || !is_modern && sent.header("mcp-session-id").is_none() {
                return of_era(sent);
            }
            let start = message["params"]["cursor"].as_str().map_or(0, |cursor| cursor.parse().unwrap());
            let end = each.min(start + 100);
            let entries: Vec<String> = (start..end).map(|tool| entry(number, tool)).collect();
            let next = if end < each { format!(r#","nextCursor":"{end}""#) } else { String::new() };
            let ttl = if is_modern { r#","resultType":"complete","ttlMs":60000,"cacheScope":"private""# } else { "" };
            let answer = format!(r#"{{"tools":[{}]{next}{ttl}}}"#, entries.join(","));
            json_reply(200, format!(r#"{{"jsonrpc":"2.0","id":{},"result":{answer}}}"#, message["id"]))
        })
    };
    let entries = (0..20).map(|number| format!(r#""s{number}":{{"url":"https://s{number}.example/mcp"}}"#));
    let file = format!(r#"{{"mcpServers":{{{}}}}}"#, entries.collect::<Vec<_>>().join(","));
    World::new(
        &file,
        (0..20).map(|number| (&*format!("https://s{number}.example/mcp").leak(), server(number))).collect(),
    )
}

fn entry(server: usize, tool: usize) -> String {
    let name = match tool % 4 {
        0 => format!("tool-{tool}"),
        1 => format!("{}-{tool}", "long".repeat(20)),
        2 => format!("ö/{tool}"),
        _ => format!("__{tool}_x0123abcd"),
    };
    let description = format!("What tool {tool} of server {server} does. ").repeat(5);
    format!(
        r#"{{"name":"{name}","description":"{description}","inputSchema":{{"type":"object"}},"x":{server}e{tool}}}"#
    )
}

/// All pages, each asked of another instance; what they cost, and the entries.
fn all_pages(world: &World, era: Era) -> Vec<Value> {
    let mut entries = Vec::new();
    let mut cursor = String::new();
    for _ in 0..64 {
        let got = world.serve(era.request("/mcp", "tools/list", &cursor));
        let result = got.text();
        // Numbers like 1e400 cannot be read into values.
        let result = crate::upstream::result_of(&result).unwrap();
        let page = json::array(result.find("tools").unwrap()).unwrap();
        assert!(page.len() <= 1000);
        entries.extend(page.into_iter().map(|entry| {
            let entry = json::Object::parse(entry).unwrap();
            serde_json::json!([entry.string("name").unwrap().unwrap(), entry.find("x").unwrap()])
        }));
        match result.find("nextCursor") {
            Some(next) => cursor = format!("\"cursor\":{next}"),
            None => return entries,
        }
    }
    panic!("more than 64 pages");
}

#[test]
fn of_ten_thousand_tools_each_is_listed_once_in_a_fixed_order_under_a_valid_name() {
    let world = twenty(10_000);
    let listed = all_pages(&world, Era::Modern);
    let expected: Vec<String> =
        (0..20).flat_map(|server| (0..500).map(move |tool| format!("{server}e{tool}"))).collect();
    assert!(listed.iter().map(|entry| entry[1].as_str().unwrap()).eq(expected));
    let names: std::collections::BTreeSet<_> = listed.iter().map(|entry| entry[0].as_str().unwrap()).collect();
    assert_eq!(names.len(), 10_000, "each has a name of its own");
    for name in names {
        assert!(name.len() <= 64 && name.bytes().all(|c| c.is_ascii_alphanumeric() || b"_-.".contains(&c)), "{name}");
    }
    // Cursors and order are no instance's, and no store's.
    let again = twenty(10_000);
    assert_eq!(all_pages(&again, Era::Legacy), listed);
    for entry in listed.iter().step_by(1237) {
        let got = again.serve(Era::Modern.call("/mcp", entry[0].as_str().unwrap()));
        assert!(got.text().contains("hi of "), "{}: {}", entry[0], got.text());
    }
}

#[test]
fn of_many_servers_one_that_is_dead_costs_its_own_tools_alone() {
    let mut world = twenty(10_000);
    let whole = all_pages(&world, Era::Legacy);
    world.store.borrow_mut().clear();
    world.upstreams.insert("https://s7.example/mcp", Box::new(|_| Reply::Fails(SendError::Connection)));
    let rest = all_pages(&world, Era::Legacy);
    let is_its = |entry: &&Value| entry[1].as_str().unwrap().starts_with("7e");
    assert_eq!(rest, whole.iter().filter(|entry| !is_its(entry)).cloned().collect::<Vec<_>>());
    assert_eq!(rest.len(), 9_500);
}

#[test]
fn what_listing_all_tools_costs_grows_no_faster_than_they_do() {
    let cost = |tools| {
        let world = twenty(tools);
        all_pages(&world, Era::Modern);
        let asked = world.sent().len();
        let (before, loads) = (world.loaded.get(), world.loads.get());
        all_pages(&world, Era::Modern);
        assert_eq!(world.sent().len(), 0, "kept");
        (asked, world.loaded.get() - before, world.loads.get() - loads)
    };
    let (few, many) = (cost(2_500), cost(10_000));
    assert!(many.0 <= 4 * few.0, "requests: {few:?} {many:?}");
    assert!(many.1 <= 5 * few.1, "bytes of the store: {few:?} {many:?}");
    assert!(many.2 <= 4 * few.2, "reads of the store: {few:?} {many:?}");
}

#[test]
fn a_store_that_takes_no_list_costs_requests_and_no_tool() {
    let world = twenty(2_500);
    let whole = all_pages(&world, Era::Legacy);
    world.store.borrow_mut().clear();
    world.most.set(1_000);
    for _ in 0..2 {
        world.sent();
        assert_eq!(all_pages(&world, Era::Legacy), whole);
        assert!(world.sent().len() >= 20);
    }
    assert!(world.store.borrow().values().all(|row| row.len() <= 1_000));
}

/// R53: a tool that can only be called as a task is not offered where there are no tasks.
#[test]
fn a_tool_that_needs_a_task_is_left_to_its_servers_own_route() {
    let tools = |method: &str, params: &Value| match method {
        "tools/list" => concat!(
            r#"{"tools":[{"name":"slow","inputSchema":{"type":"object"},"execution":{"taskSupport":"required"}},"#,
            r#"{"name":"either","inputSchema":{"type":"object"},"execution":{"taskSupport":"optional"}}]}"#
        )
        .into(),
        _ => echo(method, params),
    };
    for era in [Era::Legacy, Era::Modern] {
        let world = World::with(legacy(tools));
        assert_eq!(world.serve(era.list("/mcp")).tool_names(), ["up__either"], "{era:?}");
        assert_eq!(world.serve(era.list("/mcp/up")).tool_names(), ["slow", "either"], "{era:?}");
        let left_out = world.serve(overview()).json()["servers"][0]["left_out"].to_string();
        assert!(left_out.contains("slow") && left_out.contains("/mcp/up"), "{left_out}");
    }
}
