//! A15: the work grows with what a server or the file sends, and not with its square.
//!
//! Each test does the same for n and for four times as much. What is linear takes four times as long then, what is
//! quadratic sixteen times. Less than seven is asked for, of the time that this thread was running.

use std::time::Instant;

use super::upstreams::{json_reply, modern, modern_that_can};
use super::*;
use crate::config::Config;
use crate::lists::MOST_ENTRIES;
use crate::pins::Remembered;
use crate::sse::Parser;
use crate::upstream::params::{headers_of, repeated};

/// For how long this thread was running, where the system tells; else the time of day.
fn running() -> Duration {
    let told = std::fs::read_to_string("/proc/thread-self/schedstat").ok();
    let nanoseconds = told.and_then(|told| told.split(' ').next()?.parse().ok());
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    nanoseconds.map_or_else(|| START.get_or_init(Instant::now).elapsed(), Duration::from_nanos)
}

/// Has `prepare` make what `n` and `4 n` are, and measures what `work` does with it.
fn grows_no_faster_than_it<T>(n: usize, prepare: impl Fn(usize) -> T, work: impl Fn(&T)) {
    // The system counts in steps of some milliseconds.
    const LEAST: Duration = Duration::from_millis(40);
    let took = |n| {
        let made = prepare(n);
        let measure = |_| {
            let (before, mut times) = (running(), 0);
            while times == 0 || running() - before < LEAST {
                work(&made);
                times += 1;
            }
            (running() - before) / times
        };
        (0..3).map(measure).min().unwrap()
    };
    let (few, many) = (took(n), took(4 * n));
    let ratio = many.as_secs_f64() / few.as_secs_f64();
    println!("{n}: {few:?}, {}: {many:?}, {ratio:.1} times", 4 * n);
    assert!(ratio < 7.0, "{n} took {few:?}, four times as many {many:?}");
}

fn joined(n: usize, one: impl Fn(usize) -> String) -> String {
    (0..n).map(one).collect::<Vec<_>>().join(",")
}

/// A server `up` that lists `entries` of `method`, and what the file says of it.
fn listing(method: &'static str, entries: String, file: &str) -> World {
    let inner = modern(|_, _| String::new());
    let upstream: Upstream = Box::new(move |sent| match sent.method() == method {
        true => {
            let result = format!(r#"{{"resultType":"complete","tools":[{entries}],"ttlMs":0,"cacheScope":"public"}}"#);
            json_reply(200, format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, sent.json()["id"]))
        }
        false => inner(sent),
    });
    let file = format!(r#"{{"mcpServers":{{"up":{{"url":"https://up.example/mcp"{file}}}}}}}"#);
    World::new(&file, vec![("https://up.example/mcp", upstream)])
}

fn tool(n: usize) -> String {
    format!(r#"{{"name":"tool-{n:06}","inputSchema":{{"type":"object"}}}}"#)
}

#[test]
fn a_list_of_a_pinned_server() {
    let prepare = |n| {
        let world = listing("tools/list", joined(n, tool), r#","tools":{"pin":"hold"}"#);
        world.serve(Era::Modern.list("/mcp"));
        world
    };
    grows_no_faster_than_it(2_500, prepare, |world| {
        assert!(world.serve(Era::Modern.list("/mcp")).text().contains("up__tool-000000"));
    });
}

#[test]
fn what_is_remembered_of_the_tools_of_a_pinned_server() {
    // They differ at their ends alone.
    let names = |n| -> Vec<String> { (0..n).map(|n| format!("{}{n:06}", "x".repeat(100))).collect() };
    grows_no_faster_than_it(1_000, names, |names| {
        let mut remembered = Remembered::default();
        assert!(names.iter().all(|name| remembered.tool(name).is_some_and(|tool| tool.name == *name)));
    });
}

#[test]
fn an_approval_of_tools_of_a_pinned_server() {
    let prepare = |n| {
        let world = listing("tools/list", joined(n, tool), r#","tools":{"pin":"hold"}"#);
        world.serve(Era::Modern.list("/mcp"));
        world
    };
    grows_no_faster_than_it(2_500, prepare, |world| {
        let approve = r#""name":"gatehouse_approve_tools","arguments":{"server":"up"}"#;
        let got = world.serve(Era::Modern.request("/mcp", "tools/call", approve));
        assert!(got.text().contains("waits for an approval"), "{}", got.text());
    });
}

#[test]
fn what_the_file_says_of_many_tools() {
    let prepare = |n| {
        let pairs = |with: fn(usize) -> String| joined(n, |n| format!(r#""tool-{n:06}":"{}""#, with(n)));
        let digest = |_| format!("sha256-{}=", "A".repeat(43));
        let file = format!(
            r#","tools":{{"rename":{{{}}},"describe":{{{}}},"pins":{{{}}},"pin":"flag"}}"#,
            pairs(|n| format!("name-{n}")),
            pairs(|n| format!("words {n}")),
            pairs(digest)
        );
        listing("tools/list", joined(n, tool), &file)
    };
    grows_no_faster_than_it(2_000, prepare, |world| {
        assert!(world.serve(Era::Modern.list("/mcp")).text().contains("up__name-0"));
    });
}

#[test]
fn a_search_of_many_tools() {
    let prepare = |n| {
        let world = listing("tools/list", joined(n, tool), "");
        let file = world.servers.borrow().replacen('{', r#"{"endpoints":{"*":{"tools":"search"}},"#, 1);
        *world.servers.borrow_mut() = file;
        world
    };
    grows_no_faster_than_it(1_000, prepare, |world| {
        let find = r#""name":"gatehouse_find_tools","arguments":{"query":"tool","limit":50}"#;
        assert!(world.serve(Era::Modern.request("/mcp", "tools/call", find)).text().contains("up__tool-"));
    });
}

#[test]
fn resources_and_templates_that_several_servers_list() {
    fn has(method: &str, _: &Value) -> String {
        // The number is what `prepare` says.
        let n = N.get();
        match method {
            "resources/list" => {
                let uris = joined(n, |n| format!(r#"{{"uri":"file:///{n}","name":"a"}}"#));
                format!(r#"{{"resources":[{uris}]}}"#)
            }
            "resources/templates/list" => {
                let templates = joined(n, |n| format!(r#"{{"uriTemplate":"file:///{n}/{{+a}}/{{b}}","name":"a"}}"#));
                format!(r#"{{"resourceTemplates":[{templates}]}}"#)
            }
            _ => String::new(),
        }
    }
    thread_local! { static N: Cell<usize> = const { Cell::new(0) }; }
    let prepare = |n| {
        N.set(n);
        let file = r#"{"mcpServers":{"a":{"url":"https://a.example/mcp"},"b":{"url":"https://b.example/mcp"}}}"#;
        let server = || modern_that_can(r#"{"resources":{}}"#, has);
        let world = World::new(file, vec![("https://a.example/mcp", server()), ("https://b.example/mcp", server())]);
        world.serve(Era::Modern.request("/mcp", "resources/list", ""));
        world
    };
    grows_no_faster_than_it(200, prepare, |world| {
        let got = world.serve(Era::Modern.request("/mcp", "resources/list", ""));
        assert!(got.text().contains("gatehouse://a/file:///0"));
        let got = world.serve(Era::Modern.request("/mcp", "resources/read", r#""uri":"file:///none/of/them""#));
        assert!(got.text().contains("-32602"), "{}", got.text());
    });
}

#[test]
fn a_file_of_many_servers_and_endpoints() {
    let prepare = |n| {
        let servers = joined(n, |n| format!(r#""server-{n}":{{"url":"https://s{n}.example/mcp"}}"#));
        let names = joined(n, |n| format!(r#""server-{n}""#));
        let endpoints = joined(n, |n| format!(r#""endpoint-{n}":["server-{n}"]"#));
        format!(r#"{{"mcpServers":{{{servers}}},"endpoints":{{"all":[{names}],{endpoints}}}}}"#)
    };
    grows_no_faster_than_it(1_000, prepare, |file| {
        let config = Config::read(file).unwrap();
        let all = config.endpoint("all").unwrap();
        assert!(all.iter().all(|entry| config.find(&entry.prefix).is_some_and(|found| found.name == entry.name)));
        assert!(config.endpoint("endpoint-7").unwrap()[0].name == "server-7");
    });
}

#[test]
fn the_state_of_many_servers() {
    let prepare = |n| {
        let servers = joined(n, |n| format!(r#""server-{n}":{{"url":"https://s{n}.example/mcp"}}"#));
        let names = joined(n, |n| format!(r#""server-{n}""#));
        World::new(&format!(r#"{{"mcpServers":{{{servers}}},"endpoints":{{"all":[{names}]}}}}"#), vec![])
    };
    grows_no_faster_than_it(500, prepare, |world| {
        let got = world.serve(Era::Modern.call("/mcp/all", "gatehouse_connections"));
        assert!(got.text().contains("server-0"), "{}", got.text());
    });
}

#[test]
fn an_object_of_many_members() {
    let prepare = |n| format!("{{{}}}", joined(n, |n| format!(r#""m{n}":{n}"#)));
    grows_no_faster_than_it(10_000, prepare, |text| {
        let object = json::Object::parse(text).unwrap();
        assert_eq!(object.get("name"), Ok(None));
        let mut edits = json::Edits::new(text);
        edits.rework(&object, &["m7", "name"], "\"name\":1");
        assert!(json::Object::parse(std::str::from_utf8(&edits.apply()).unwrap()).is_ok());
    });
}

#[test]
fn parameters_that_are_repeated_in_headers() {
    let prepare = |n| {
        let properties = joined(n, |n| format!(r#""p{n}":{{"type":"string","x-mcp-header":"h{n}"}}"#));
        let tool = format!(r#"{{"name":"x","inputSchema":{{"type":"object","properties":{{{properties}}}}}}}"#);
        (headers_of(&[tool]), format!("{{{}}}", joined(n, |n| format!(r#""p{n}":"v""#))))
    };
    grows_no_faster_than_it(1_000, prepare, |(known, arguments)| {
        let arguments = json::Object::parse(arguments).unwrap();
        assert!(!repeated(known, "x", Some(&arguments)).is_empty());
    });
}

#[test]
fn events_however_they_are_cut() {
    let events = |n| (joined(n, |_| "x".to_owned()), (0..n).map(|n| format!("data: {n}\n\n")).collect::<String>());
    grows_no_faster_than_it(20_000, events, |(long, many)| {
        let mut parser = Parser::default();
        parser.push(b"data: ");
        for chunk in long.as_bytes().chunks(2) {
            parser.push(chunk);
            assert!(parser.piece().unwrap().is_none());
        }
        let mut parser = Parser::default();
        parser.push(many.as_bytes());
        let mut count = 0;
        while parser.piece().unwrap().is_some() {
            count += 1;
        }
        assert!(count >= 20_000);
    });
}

/// A15: a limit that is documented, logged and shown.
#[test]
fn of_one_server_so_many_tools_are_looked_at_and_what_is_beyond_is_said() {
    let world = listing("tools/list", joined(MOST_ENTRIES + 5, tool), "");
    let mut cursor = String::new();
    let mut count = 0;
    loop {
        let got = world.serve(Era::Modern.request("/mcp", "tools/list", &cursor)).json();
        count += got["result"]["tools"].as_array().unwrap().len();
        match got["result"]["nextCursor"].as_str() {
            Some(next) => cursor = format!(r#""cursor":"{next}""#),
            None => break,
        }
    }
    assert_eq!(count, MOST_ENTRIES);
    let said = "all beyond the first 10000";
    assert!(world.logged.borrow().iter().any(|line| line.contains("up") && line.contains(said)));
    let overview = Request::get(format!("{GATEWAY}/mcp/servers")).header("authorization", "Bearer x").body(vec![]);
    let got = world.serve(overview.unwrap()).json();
    assert!(got["servers"][0]["left_out"][0].as_str().unwrap().contains(said), "{got}");
}

/// A15: what is remembered of what a server says of itself has an end.
#[test]
fn what_a_server_says_of_itself_is_remembered_so_far() {
    let long = "é".repeat(1_000_000);
    let inner = modern(super::upstreams::echo);
    let world = World::with(Box::new(move |sent| match &*sent.method() {
        "server/discover" => {
            let result = format!(
                r#"{{"supportedVersions":["2026-07-28"],"capabilities":{{"tools":{{}},"x":"{long}"}},"instructions":"{long}"}}"#
            );
            json_reply(200, format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, sent.json()["id"]))
        }
        _ => inner(sent),
    }));
    let got = world.serve(Era::Modern.request("/mcp/up", "server/discover", ""));
    assert!(got.text().len() < 100_000, "{}", got.text().len());
    assert!(world.store.borrow().values().all(|row| row.len() < 200_000));
    assert!(world.serve(Era::Modern.call("/mcp", "up__echo")).text().contains("hi of echo"));
}
