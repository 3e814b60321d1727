//! Which tools are there, whatever the servers do; and what is told about the servers.

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
    assert_eq!(world.sent().len(), 65);
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

fn overview() -> Request<Vec<u8>> {
    Request::get(format!("{GATEWAY}/mcp/servers")).header("authorization", "Bearer x").body(vec![]).unwrap()
}

#[test]
fn the_overview_asks_no_upstream_and_tells_what_is_known() {
    let world = three(modern(echo), Outcome::NotConnected("https://auth.example.com/c".into()));
    let servers = world.serve(overview()).json()["servers"].clone();
    assert_eq!(world.sent().len(), 0);
    assert_eq!(
        servers[0],
        serde_json::json!({"name": "first", "state": "ready", "detail": "needs no connection", "url": "https://first.example/mcp"})
    );
    assert_eq!(servers[1]["state"], "not_connected");
    assert_eq!(servers[1]["connect_url"], "https://auth.example.com/c");
    assert_eq!((&servers[2]["name"], &servers[2]["prefix"]), (&"third server".into(), &"third-server".into()));
    world.serve(Era::Legacy.list("/mcp"));
    let servers = world.serve(overview()).json()["servers"].clone();
    assert_eq!((&servers[0]["era"], &servers[2]["era"]), (&"modern".into(), &"legacy".into()));
}

#[test]
fn the_overview_is_for_known_callers_and_by_get() {
    let world = three(modern(echo), token("t"));
    let got = world.serve(Era::Legacy.list("/mcp/servers"));
    assert_eq!((got.error().0, got.header("allow")), (405, Some("GET")));
    *world.resolve_error.borrow_mut() = Some(ResolveError::InvalidToken);
    assert_eq!(world.serve(overview()).status, 401);
}
