//! A broken server costs its own tools, and one proper error for each call.
//!
//! The gateway's own tests (`spec/faults.rs`) have what a message can say; here is what only a connection can do.

use std::time::Duration;

use gatehouse_e2e::{Composition, Wish, World};
use gatehouse_fixtures::raw::{self, Kind, Step};
use gatehouse_fixtures::{McpClient, Raw};
use serde_json::{Value, json};

/// More than any of these may take, with all of them at once.
const PATIENCE: Duration = Duration::from_secs(25);
const JSON: &str = "content-type: application/json\r\n";

/// What is answered, whatever was asked.
fn faults() -> Vec<(&'static str, Vec<Step>)> {
    let head = |fields: &str| Step::Send(format!("HTTP/1.1 200 OK\r\n{fields}\r\n").into());
    let bytes = |text: &str| Step::Send(text.into());
    let event = |data: &str| Step::Send(format!("data: {data}\n\n").into());
    let short_pause = Step::Pause(Duration::from_millis(20));
    vec![
        ("no head", vec![Step::Hang]),
        ("a connection that is closed", vec![Step::Close]),
        ("a connection that is reset", vec![Step::Reset]),
        ("a head that is cut off", vec![bytes("HTTP/1.1 200 OK\r\ncontent-ty"), Step::Close]),
        ("no HTTP", vec![bytes("SSH-2.0-OpenSSH_9.2\r\n"), Step::Close]),
        (
            "a head without end",
            vec![bytes("HTTP/1.1 200 OK\r\n"), Step::Repeat(b"x: y\r\n".repeat(1000), 200), Step::Close],
        ),
        (
            "a body that is reset",
            vec![head(&format!("{JSON}content-length: 99\r\n")), bytes("{\"js"), short_pause.clone(), Step::Reset],
        ),
        (
            "a body that is shorter than it says",
            vec![head(&format!("{JSON}content-length: 99\r\n")), bytes("{\"js"), Step::Close],
        ),
        (
            "two lengths",
            vec![head(&format!("{JSON}content-length: 2\r\ncontent-length: 3\r\n")), bytes("{}}"), Step::Close],
        ),
        ("a length that is none", vec![head(&format!("{JSON}content-length: -2\r\n")), bytes("{}"), Step::Close]),
        (
            "chunks that are none",
            vec![head(&format!("{JSON}transfer-encoding: chunked\r\n")), bytes("zz\r\n{}\r\n0\r\n\r\n"), Step::Close],
        ),
        (
            "chunks that break off",
            vec![head(&format!("{JSON}transfer-encoding: chunked\r\n")), bytes("2\r\n{}\r\n"), Step::Close],
        ),
        (
            "an encoding that nobody knows",
            vec![head(&format!("{JSON}transfer-encoding: x\r\n")), bytes("<x>"), Step::Close],
        ),
        (
            "a body that was packed",
            raw::answer("200 OK", &format!("{JSON}content-encoding: gzip\r\n"), b"\x1f\x8b\x08\0\0\0\0\0\0\x03"),
        ),
        ("a page with 200", raw::answer("200 OK", "content-type: text/html\r\n", b"<h1>Hello</h1>")),
        ("a page with 502", raw::answer("502 Bad Gateway", "content-type: text/html\r\n", b"<h1>Bad Gateway</h1>")),
        ("204", vec![bytes("HTTP/1.1 204 No Content\r\n\r\n")]),
        ("202", raw::answer("202 Accepted", "", b"")),
        ("a stream that is reset", vec![raw::stream(), bytes(": hello\n\ndata: {"), short_pause.clone(), Step::Reset]),
        (
            "a stream that is reset after a word",
            vec![
                raw::stream(),
                event(
                    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#,
                ),
                Step::Pause(Duration::from_millis(200)),
                Step::Reset,
            ],
        ),
        ("one line without end", vec![raw::stream(), bytes("data: "), Step::Repeat(vec![b'x'; 64 * 1024], 100_000)]),
        ("JSON without end", vec![head(JSON), bytes("["), Step::Repeat(vec![b' '; 64 * 1024], 100_000)]),
        ("401, whatever the token", raw::answer("401 Unauthorized", "www-authenticate: Bearer\r\n", b"")),
    ]
}

#[test]
fn servers_that_are_broken_altogether_cost_the_others_nothing() {
    let servers: Vec<Raw> =
        faults().into_iter().map(|(_, steps)| Raw::start(move |_| steps.clone()).unwrap()).collect();
    let world = with(&servers, &json!({}));
    let mut clients = clients(&world);
    for client in &mut clients {
        let listed = client.list_tools().unwrap();
        let tools = listed.result().unwrap_or_else(|| panic!("{}", listed.body))["tools"].as_array().unwrap();
        let names: Vec<_> = tools.iter().filter_map(|tool| tool["name"].as_str()).collect();
        assert_eq!(names, ["gatehouse_connections", "demo__big", "demo__count", "demo__echo", "demo__whoami"]);
    }
    every_call_is_an_error(clients, &servers);
}

#[test]
fn servers_that_break_while_they_are_called_cost_one_error_each() {
    for kind in [Kind::Modern, Kind::Sessions] {
        let start = |steps: Vec<Step>| Raw::mcp(kind, move |_| steps.clone()).unwrap();
        let servers: Vec<Raw> = faults().into_iter().map(|(_, steps)| start(steps)).collect();
        let world = with(&servers, &json!({}));
        let mut clients = clients(&world);
        for client in &mut clients {
            assert_eq!(client.list_tools().unwrap().body.matches("__echo").count(), 1 + servers.len());
        }
        every_call_is_an_error(clients, &servers);
    }
}

fn every_call_is_an_error(clients: [McpClient; 2], servers: &[Raw]) {
    std::thread::scope(|scope| {
        for ((fault, _), (number, server)) in faults().into_iter().zip(servers.iter().enumerate()) {
            for (client, era) in clients.iter().zip(["modern", "legacy"]) {
                scope.spawn(move || {
                    let mut client = client.clone();
                    let reply = client.call(&format!("raw{number}__echo"), json!({})).unwrap();
                    let said = reply.text().or(reply.error().and_then(|error| error["message"].as_str()));
                    assert!(reply.error().is_some() || reply.is_tool_error(), "{fault}, {era}: {}", reply.body);
                    let named =
                        said.is_some_and(|said| said.contains(&format!("The server raw{number} could not be called")));
                    assert!(named, "{fault}, {era}: {}", reply.body);
                    assert!(server.asked().len() <= 16, "{fault}: asked {} times", server.asked().len());
                });
            }
        }
    });
    for mut client in clients {
        assert_eq!(client.call("demo__echo", json!({ "message": "still here" })).unwrap().text(), Some("still here"));
    }
}

/// What is odd and still HTTP (RFC 9110, RFC 9112) is an answer like any other.
#[test]
fn odd_http_is_http() {
    let result =
        r#"{"jsonrpc":"2.0","id":ID,"result":{"content":[{"type":"text","text":"fine"}],"resultType":"complete"}}"#;
    let odd: [(&str, &str); 9] = [
        ("an end that the connection tells", "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\nBODY"),
        ("HTTP/1.0", "HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n\r\nBODY"),
        ("no reason", "HTTP/1.1 200 \r\nContent-Type:application/json\r\nContent-Length:LENGTH\r\n\r\nBODY"),
        (
            "a hint before",
            "HTTP/1.1 103 Early Hints\r\nlink: </x>\r\n\r\nHTTP/1.1 200 OK\r\ncontent-type: application/json\r\n\r\nBODY",
        ),
        (
            "a type in capitals",
            "HTTP/1.1 200 OK\r\ncontent-type: APPLICATION/JSON ; Charset=UTF-8\r\ncontent-length: LENGTH\r\n\r\nBODY",
        ),
        (
            "chunks with extensions",
            "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: Chunked\r\n\r\nHEX;x=y\r\nBODY\r\n0\r\nx-trailer: z\r\n\r\n",
        ),
        (
            "events of CR",
            "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream;charset=utf-8\r\n\r\nid: 1\rdata: BODY\r\r",
        ),
        (
            "events of CRLF with a mark",
            "HTTP/1.1 200 OK\r\ncontent-type: Text/Event-Stream\r\n\r\n\u{feff}: x\r\nretry: 1\r\n\r\ndata:BODY\r\n\r\n",
        ),
        ("an event without its end", "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: BODY"),
    ];
    for kind in [Kind::Modern, Kind::Sessions] {
        let start = |text: &'static str| {
            Raw::mcp(kind, move |asked| {
                let body = result.replace("ID", &asked.id());
                let text = text.replace("LENGTH", &body.len().to_string()).replace("HEX", &format!("{:x}", body.len()));
                vec![Step::Send(text.replace("BODY", &body).into()), Step::Close]
            })
            .unwrap()
        };
        let servers = odd.map(|(_, text)| start(text));
        let world = with(&servers, &json!({}));
        for (number, (what, _)) in odd.iter().enumerate() {
            for mut client in clients(&world) {
                let reply = client.call(&format!("raw{number}__echo"), json!({})).unwrap();
                assert_eq!(reply.text(), Some("fine"), "{what}: {}", reply.body);
            }
        }
    }
}

#[test]
fn no_redirect_is_followed() {
    let lure = Raw::mcp(Kind::Modern, |_| Vec::new()).unwrap();
    let servers: Vec<Raw> = [301, 302, 303, 307, 308]
        .into_iter()
        .map(|status| {
            let to = format!("location: {}\r\n", lure.url());
            Raw::mcp(Kind::Modern, move |_| raw::answer(&format!("{status} Moved"), &to, b"")).unwrap()
        })
        .collect();
    let world = with(&servers, &json!({}));
    for number in 0..servers.len() {
        let reply = world.modern().call(&format!("raw{number}__echo"), json!({})).unwrap();
        assert!(reply.is_tool_error() && reply.body.contains("redirects are not followed"), "{}", reply.body);
    }
    assert_eq!(lure.asked().len(), 0);
}

#[test]
fn a_server_that_forgets_its_session_at_every_request_is_not_asked_without_end() {
    let gone = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32001,"message":"Session not found"}}"#;
    let server = Raw::mcp(Kind::Sessions, move |_| raw::answer("404 Not Found", JSON, gone.as_bytes())).unwrap();
    let world = with(std::slice::from_ref(&server), &json!({}));
    for (mut client, round) in clients(&world).into_iter().zip(1..) {
        let reply = client.call("raw0__echo", json!({})).unwrap();
        assert!(reply.error().is_some(), "{}", reply.body);
        // The first call has just opened its session; the next one believes in it once, and opens one more.
        assert!(server.count("tools/call") <= 2 * round && server.count("initialize") <= 1 + round);
    }
}

#[test]
fn a_server_that_refuses_every_token_costs_one_refresh() {
    let server =
        Raw::mcp(Kind::Modern, |_| raw::answer("401 Unauthorized", "www-authenticate: Bearer\r\n", b"")).unwrap();
    let world = with(std::slice::from_ref(&server), &json!({ "service": "demo" }));
    world.connect();
    let before = world.provider.token_requests(gatehouse_fixtures::provider::GrantType::RefreshToken);
    for mut client in clients(&world) {
        let reply = client.call("raw0__echo", json!({})).unwrap();
        assert!(reply.is_tool_error(), "{}", reply.body);
    }
    assert!(server.count("tools/call") <= 4, "{}", server.count("tools/call"));
    assert!(world.provider.token_requests(gatehouse_fixtures::provider::GrantType::RefreshToken) - before <= 2);
    assert_eq!(world.whoami(&mut world.modern()).as_deref(), Ok("alice"));
}

/// A world whose `demo` needs no token, and these servers with it.
fn with(servers: &[Raw], more: &Value) -> World {
    let entry = |server: &Raw| {
        let mut entry = json!({ "url": server.url(), "timeout": 1 });
        entry.as_object_mut().unwrap().extend(more.as_object().cloned().unwrap_or_default());
        entry
    };
    let servers = servers.iter().enumerate().map(|(number, server)| (format!("raw{number}"), entry(server)));
    let world = World::new(Composition::OneApp, Wish { servers: servers.collect(), ..Wish::default() });
    world.connect();
    world
}

fn clients(world: &World) -> [McpClient; 2] {
    let wire = || world.house.wire_with_timeout(PATIENCE);
    let url = format!("{}/mcp", world.house.gateway());
    [McpClient::modern(wire(), &url), McpClient::legacy(wire(), &url, "2025-11-25")]
}
