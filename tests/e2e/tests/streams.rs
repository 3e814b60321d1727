//! How many streams are open at once without a failed request? As many as the operator's pool has room for.
//!
//! Spin gives every stream an instance, and by default has room for 1,000 memories, of which an instance of the gateway has
//! two. The test is run again in a process of its own, whose pool is larger, by the variable that Spin reads too.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::time::Duration;

use gatehouse_e2e::{Composition, Wish, World};
use gatehouse_fixtures::Raw;
use gatehouse_fixtures::raw::{self, Asked, Kind, Step};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use serde_json::json;

const POOL: &str = "SPIN_MAX_INSTANCE_COUNT";
const IDLE: usize = 1_000;
const ACTIVE: usize = 200;
/// Clients, both sides of the host, and the servers are in one process: an idle stream is a connection of a client and one
/// to each of two servers, an active one to one of them, each has two ends here, and each instance has a folder.
const FILES: u64 = (8 * IDLE + 6 * ACTIVE + 500) as u64;
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_thousand_idle_streams_and_two_hundred_active_ones_are_open_at_once() {
    if std::env::var_os(POOL).is_none() {
        let name = "a_thousand_idle_streams_and_two_hundred_active_ones_are_open_at_once";
        let mut again = Command::new(std::env::current_exe().unwrap());
        assert!(again.args(["--exact", name, "--nocapture"]).env(POOL, "4000").status().unwrap().success());
        return;
    }
    let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
    assert!(maximum.is_none_or(|most| most >= FILES), "{FILES} open files are not allowed here");
    setrlimit(Resource::Nofile, Rlimit { current: Some(FILES), maximum }).unwrap();

    let servers = [Kind::Modern, Kind::Sessions].map(|kind| Raw::start(move |asked| serve(kind, asked)).unwrap());
    let [modern, legacy] = servers.each_ref().map(Raw::url);
    let wish = Wish { servers: json!({ "modern": { "url": modern }, "legacy": { "url": legacy } }), ..Wish::default() };
    let world = World::new(Composition::OneApp, wish);
    let address = world.house.gateway_address();
    // What is found out once.
    opened(address, &listen_as_modern(address)).unwrap();

    let idle = in_parallel(&world, IDLE, |number| {
        let request = if number % 2 == 0 { listen_as_modern(address) } else { listen_as_legacy(address) };
        opened(address, &request)
    });
    let ended = in_parallel(&world, ACTIVE, |number| {
        let server = ["modern", "legacy"][number % 2];
        let mut stream = opened(address, &call(address, server, number % 4 < 2))?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    });
    for text in &ended {
        assert_eq!(text.matches("notifications/progress").count(), STEPS, "{text}");
        assert!(text.contains("\"content\":[]"), "{text}");
    }
    // Each idle one of each client hangs at both servers.
    let hanging: usize = servers.iter().map(Raw::hanging).sum();
    assert!(hanging >= 2 * IDLE, "{hanging} streams are open behind {IDLE}");
    for mut stream in idle {
        stream.set_nonblocking(true).unwrap();
        let said = stream.read(&mut [0; 4096]);
        assert!(!matches!(said, Ok(0)), "an idle stream has ended");
        assert!(said.is_ok() || said.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock));
    }
}

const STEPS: usize = 10;

fn serve(kind: Kind, asked: &Asked) -> Vec<Step> {
    let event = |text: &str| Step::Send(format!("data: {text}\n\n").into());
    if asked.head.starts_with("GET") && kind == Kind::Sessions {
        return vec![raw::stream(), Step::Hang];
    }
    match &*asked.method() {
        "subscriptions/listen" => {
            let said = r#"{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{"notifications":{"toolsListChanged":true}}}"#;
            vec![raw::stream(), event(said), Step::Hang]
        }
        "tools/call" => {
            let progress =
                r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
            let step = [event(progress), Step::Pause(Duration::from_millis(100))];
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"content":[]}}}}"#, asked.id());
            let steps = std::iter::repeat_n(step, STEPS).flatten();
            [raw::stream()].into_iter().chain(steps).chain([event(&answer), Step::Close]).collect()
        }
        _ => kind.answer(asked),
    }
}

fn listen_as_modern(address: SocketAddr) -> String {
    let params = format!(r#""notifications":{{"toolsListChanged":true}},"_meta":{{{META}}}"#);
    post(
        address,
        "mcp-protocol-version: 2026-07-28\r\nmcp-method: subscriptions/listen\r\n",
        "subscriptions/listen",
        &params,
    )
}

fn listen_as_legacy(address: SocketAddr) -> String {
    format!(
        "GET /mcp HTTP/1.1\r\nhost: {address}\r\naccept: text/event-stream\r\nmcp-protocol-version: 2025-11-25\r\n\r\n"
    )
}

fn call(address: SocketAddr, server: &str, modern: bool) -> String {
    let name = format!("{server}__echo");
    if modern {
        let fields = format!("mcp-protocol-version: 2026-07-28\r\nmcp-method: tools/call\r\nmcp-name: {name}\r\n");
        post(address, &fields, "tools/call", &format!(r#""name":"{name}","_meta":{{"progressToken":1,{META}}}"#))
    } else {
        let params = format!(r#""name":"{name}","_meta":{{"progressToken":1}}"#);
        post(address, "mcp-protocol-version: 2025-11-25\r\n", "tools/call", &params)
    }
}

fn post(address: SocketAddr, fields: &str, method: &str, params: &str) -> String {
    let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#);
    format!(
        "POST /mcp HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\ncontent-type: application/json\r\n\
         accept: application/json, text/event-stream\r\n{fields}content-length: {}\r\n\r\n{body}",
        body.len()
    )
}

/// Sends a request; gives its stream once its head has come with 200 and the right type.
fn opened(address: SocketAddr, request: &str) -> io::Result<TcpStream> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(request.as_bytes())?;
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    let head = String::from_utf8_lossy(&head).to_lowercase();
    if head.starts_with("http/1.1 200") && head.contains("text/event-stream") {
        Ok(stream)
    } else {
        Err(io::Error::other(head))
    }
}

/// All at once, each on a thread; none may fail.
fn in_parallel<T: Send>(world: &World, count: usize, act: impl Fn(usize) -> io::Result<T> + Sync) -> Vec<T> {
    let act = &act;
    let done: Vec<io::Result<T>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..count).map(|number| scope.spawn(move || act(number))).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let failed = done.iter().filter_map(|done| done.as_ref().err()).collect::<Vec<_>>();
    assert!(failed.is_empty(), "{} of {count} failed, such as {:?}\n{}", failed.len(), failed[0], world.house.output());
    done.into_iter().flatten().collect()
}

const META: &str = concat!(
    r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
    r#""io.modelcontextprotocol/clientCapabilities":{}"#
);
