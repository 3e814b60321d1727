//! Streams that end too soon, and clients that leave and come again, on a real host.

use std::io::{BufRead, BufReader};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::sleep;
use std::time::{Duration, Instant};

use gatehouse_e2e::{Composition, Wish, World};
use gatehouse_fixtures::raw::{self, Asked, Kind, Step};
use gatehouse_fixtures::{McpClient, Raw};
use http::{Request, StatusCode};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(20);
const CHANGED: &str = r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#;

fn send(text: impl Into<String>) -> Step {
    Step::Send(text.into().into_bytes())
}

fn is_get(asked: &Asked) -> bool {
    asked.head.starts_with("GET")
}

/// A world with this server at `/mcp/raw0` and `/mcp`, and more of them.
fn with(servers: &[Raw]) -> World {
    let entry = |server: &Raw| json!({ "url": server.url() });
    let servers = servers.iter().enumerate().map(|(number, server)| (format!("raw{number}"), entry(server)));
    World::new(Composition::OneApp, Wish { servers: servers.collect(), ..Wish::default() })
}

fn client(world: &World, is_modern: bool) -> McpClient {
    let (wire, url) = (world.house.wire_with_timeout(PATIENCE), format!("{}/mcp/raw0", world.house.gateway()));
    if is_modern { McpClient::modern(wire, url) } else { McpClient::legacy(wire, url, "2025-11-25") }
}

/// Opens the stream of GET at `path`; gives its lines.
fn listen(world: &World, path: &str, session: &str, after: Option<&str>) -> impl Iterator<Item = String> + use<> {
    let mut request = Request::get(format!("{}{path}", world.house.gateway()))
        .header("accept", "text/event-stream")
        .header("mcp-protocol-version", "2025-11-25")
        .header("mcp-session-id", session);
    if let Some(after) = after {
        request = request.header("last-event-id", after);
    }
    let answer = world.house.wire_with_timeout(PATIENCE).stream(request.body(()).unwrap()).unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    BufReader::new(answer.into_body().into_reader()).lines().map_while(Result::ok)
}

fn wait_for(what: &str, mut there: impl FnMut() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !there() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(20));
    }
}

/// Which events a server was asked to go on after, and when.
type Resumed = Arc<Mutex<Vec<(String, Instant)>>>;

/// A server whose call ends after an event with an id, and which gives the answer by GET.
fn resumable(ends: Step) -> (Raw, Resumed) {
    let resumed = Resumed::default();
    let (asked_for, called) = (resumed.clone(), Mutex::new(String::new()));
    let server = Raw::start(move |asked| {
        if let Some(event) = asked.header("last-event-id").filter(|_| is_get(asked)) {
            asked_for.lock().unwrap().push((event.to_owned(), Instant::now()));
            let id = called.lock().unwrap().clone();
            let answer =
                format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":"late"}}]}}}}"#);
            return vec![raw::stream(), send(format!("id: e2\ndata: {answer}\n\n")), Step::Hang];
        }
        match &*asked.method() {
            "tools/call" => {
                *called.lock().unwrap() = asked.id();
                vec![raw::stream(), send("id: e1\nretry: 300\ndata:\n\n"), ends.clone()]
            }
            _ => Kind::Sessions.answer(asked),
        }
    });
    (server.unwrap(), resumed)
}

/// R22: a stream that ends, and one whose connection breaks.
#[test]
fn a_call_whose_stream_ends_after_an_id_is_resumed() {
    for ends in [Step::Close, Step::Reset] {
        let (server, resumed) = resumable(ends);
        let world = with(std::slice::from_ref(&server));
        for (is_modern, count) in [(true, 1), (false, 2)] {
            let began = Instant::now();
            let reply = client(&world, is_modern).call("echo", json!({})).unwrap();
            assert_eq!(reply.text(), Some("late"), "{}", reply.body);
            let resumed = resumed.lock().unwrap();
            assert_eq!((resumed.len(), resumed[count - 1].0.as_str()), (count, "e1"));
            let pause = resumed[count - 1].1 - began;
            assert!(pause >= Duration::from_millis(300) && pause < Duration::from_secs(3), "{pause:?}");
            assert_eq!(server.count("tools/call"), count, "each is sent once");
        }
    }
}

/// R56: the client's connection ends with our host, and the call goes on at the server.
#[test]
fn a_client_resumes_its_call_after_the_host_was_restarted() {
    let (server, resumed) = resumable(Step::Hang);
    let mut world = with(std::slice::from_ref(&server));
    let mut caller = client(&world, false);
    let answer = caller.stream("tools/call", json!({ "name": "echo", "arguments": {} })).unwrap();
    let session = caller.session_id().unwrap().to_owned();
    let mut lines = BufReader::new(answer.into_body().into_reader()).lines().map_while(Result::ok);
    let id = lines.find_map(|line| line.strip_prefix("id: ").map(str::to_owned)).expect("an event with an id");
    assert!(resumed.lock().unwrap().is_empty());
    world.house.restart().unwrap();
    let mut lines = listen(&world, "/mcp/raw0", &session, Some(&id));
    let data = lines.find_map(|line| line.strip_prefix("data: ").map(str::to_owned)).expect("the answer");
    let answer: Value = serde_json::from_str(&data).unwrap();
    assert_eq!(answer["result"]["content"][0]["text"], "late");
    assert_eq!(resumed.lock().unwrap()[0].0, "e1");
    assert!(lines.all(|line| line.is_empty() || line.starts_with(':')), "and it ends");
    assert_eq!((server.count("tools/call"), server.count("notifications/cancelled")), (1, 0));
}

/// R46, R57: a client that closes its connection after a second and a half, while the server says what it does not hear.
#[test]
fn a_modern_client_that_leaves_has_the_call_cancelled_promptly_while_the_server_talks() {
    let log = r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#;
    let server = Raw::mcp(Kind::Sessions, move |_| {
        let step = [send(format!("data: {log}\n\n")), Step::Pause(Duration::from_millis(300))];
        [raw::stream()].into_iter().chain(std::iter::repeat_n(step, 60).flatten()).collect()
    })
    .unwrap();
    let world = with(std::slice::from_ref(&server));
    // The head of the answer comes with the first sign of life, so the client gives up before that.
    let impatient = world.house.wire_with_timeout(Duration::from_millis(1_500));
    let began = Instant::now();
    McpClient::modern(impatient, format!("{}/mcp/raw0", world.house.gateway())).call("echo", json!({})).unwrap_err();
    wait_for("it is cancelled", || server.count("notifications/cancelled") == 1);
    assert!(began.elapsed() < Duration::from_secs(6), "{:?}", began.elapsed());
    // One that stays hears that the call is alive.
    let answer = client(&world, true).stream("tools/call", json!({ "name": "echo", "arguments": {} })).unwrap();
    let mut lines = BufReader::new(answer.into_body().into_reader()).lines().map_while(Result::ok);
    let began = Instant::now();
    assert_eq!(lines.by_ref().filter(|line| line == ":").take(3).count(), 3);
    assert!(began.elapsed() < Duration::from_secs(18), "{:?}", began.elapsed());
}

/// R25: two servers behind the endpoint, and the stream of one ends after a second.
#[test]
fn the_stream_of_a_server_that_ends_is_opened_again_and_heard() {
    let opened = Arc::new(AtomicUsize::new(0));
    let count = opened.clone();
    let ending = Raw::start(move |asked| match is_get(asked) {
        true if count.fetch_add(1, Ordering::SeqCst) < 2 => {
            vec![raw::stream(), send(": hello\n\n"), Step::Pause(Duration::from_secs(1)), Step::Close]
        }
        true => vec![raw::stream(), send(format!("data: {CHANGED}\n\n")), Step::Hang],
        false => Kind::Sessions.answer(asked),
    })
    .unwrap();
    let lasting = Raw::start(|asked| match is_get(asked) {
        true => vec![raw::stream(), Step::Hang],
        false => Kind::Sessions.answer(asked),
    })
    .unwrap();
    let servers = [ending, lasting];
    let world = with(&servers);
    let mut caller = world.legacy();
    caller.list_tools().unwrap();
    let mut lines = listen(&world, "/mcp", caller.session_id().unwrap(), None);
    assert!(lines.any(|line| line.contains("list_changed")));
    assert_eq!(opened.load(Ordering::SeqCst), 3);
}

/// R42: the server gives each session one stream, and the old one is still open when the client comes again.
#[test]
fn a_client_that_comes_again_hears_what_is_said_in_its_session() {
    let streams: Arc<AtomicUsize> = Arc::default();
    let open = streams.clone();
    let server = Raw::start(move |asked| match is_get(asked) {
        true if asked.header("last-event-id").is_some() => raw::answer("400 Bad Request", "", b""),
        // The second one is opened while the first is; it is free again for the third.
        true => match open.fetch_add(1, Ordering::SeqCst) {
            0 => vec![raw::stream(), send(": hello\n\n"), Step::Hang],
            1 | 2 => raw::answer("409 Conflict", "", b""),
            _ => vec![raw::stream(), send(format!("data: {CHANGED}\n\n")), Step::Hang],
        },
        false => Kind::Sessions.answer(asked),
    })
    .unwrap();
    let world = with(std::slice::from_ref(&server));
    let mut caller = client(&world, false);
    caller.list_tools().unwrap();
    let session = caller.session_id().unwrap().to_owned();
    let first = listen(&world, "/mcp/raw0", &session, None);
    wait_for("the first stream is open", || server.hanging() == 1);
    drop(first);
    let mut lines = listen(&world, "/mcp/raw0", &session, None);
    assert!(lines.any(|line| line.contains("list_changed")));
    assert_eq!(server.count("initialize"), 1, "in the session in which it calls");
    wait_for("the first stream is closed", || server.hanging() == 1);
}
