//! A client that is slow, or goes away, does nothing lasting to others.
//!
//! Sockets by hand, because no client library sends half a request.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use gatehouse_e2e::{Composition, Wish, World, in_every_composition};
use gatehouse_fixtures::raw::{Kind, Step};
use gatehouse_fixtures::streams::{self, listen_as_legacy, listen_as_modern, opened};
use gatehouse_fixtures::{McpClient, Raw, mcp_server::Eras};
use http::StatusCode;
use serde_json::json;

/// Sockets of each component that send half a body. All three compositions share one process and one pool of instances.
const HALF_SENT: usize = 50;
/// Clients, and the host's side of them.
const FILES: u64 = 8192;

in_every_composition! {
    /// A02: half-sent bodies are answered, wrong requests at once and right ones in time, and others are served meanwhile.
    fn bodies_that_do_not_come_stop_nobody(composition: Composition) {
        streams::allow_files(FILES).unwrap();
        let world = World::new(composition, Wish { public: true, ..Wish::default() });
        let key = &world.house.keys().ann.value.clone();
        let (gateway, broker) = (Side::gateway(&world), Side::broker(&world));
        // Once, so that nothing is compiled while the clock runs.
        assert_eq!(list_tools(&world, key), StatusCode::OK);

        let right = |side: &Side, length: &str| side.head("POST", side.path, &format!("authorization: Bearer {key}\r\n{length}"));
        let ten = "content-length: 10\r\n";
        let late: Vec<(&Side, String, Vec<u8>)> = [&gateway, &broker]
            .into_iter()
            .flat_map(|side| {
                let silent = (0..HALF_SENT).map(|_| (side, right(side, ten), Vec::new()));
                let chunked = (side, right(side, "transfer-encoding: chunked\r\n"), b"1\r\n{\r\n".to_vec());
                let trickle = (side, right(side, "content-length: 1000\r\n"), vec![b' '; 900]);
                silent.chain([chunked, trickle]).collect::<Vec<_>>()
            })
            .collect();
        let wrong = [
            (&gateway, gateway.head("POST", "/mcp/a/b", ten), 404),
            (&gateway, gateway.head("PUT", "/mcp", ten), 405),
            (&gateway, gateway.head("DELETE", "/mcp", ten), 401),
            (&gateway, gateway.head("OPTIONS", "/mcp", ten), 405),
            (&gateway, gateway.head("POST", "/mcp", ten), 401),
            (&gateway, gateway.head("GET", "/mcp/servers", ten), 401),
            (&gateway, gateway.head("POST", "/mcp", "content-length: 4000000\r\nauthorization: Bearer wrong\r\n"), 401),
            (&gateway, gateway.head("POST", "/mcp", "expect: 100-continue\r\ncontent-length: 10\r\n"), 401),
            (&gateway, gateway.head("POST", "/mcp", ten).replace("host: ", "host: evil."), 403),
            (&broker, broker.head("POST", "/token/a/b", ten), 404),
            (&broker, broker.head("PUT", "/token/x", ten), 405),
            (&broker, broker.head("OPTIONS", "/token/x", ten), 204),
            (&broker, broker.head("GET", "/health", ten), 200),
            (&broker, broker.head("POST", "/token/x", ten), 401),
            (&broker, broker.head("POST", "/resolve", "content-length: 60000\r\nauthorization: Bearer wrong\r\n"), 401),
            (&broker, broker.head("POST", "/tickets", "expect: 100-continue\r\ncontent-length: 10\r\n"), 401),
            (&broker, broker.head("POST", "/sign-out", "origin: https://evil.test\r\ncontent-length: 10\r\n"), 403),
        ];

        let started = Instant::now();
        let answers = thread::scope(|scope| {
            let late: Vec<_> = late.iter().map(|(side, head, slowly)| scope.spawn(move || side.send(head, slowly))).collect();
            thread::sleep(Duration::from_secs(2));
            for (side, head, status) in &wrong {
                let answer = side.send(head, b"").unwrap_or_else(|error| panic!("{head}: {error}"));
                assert_eq!(answer.status, *status, "{head}{}", answer.text);
                assert!(!answer.text.contains("100 Continue"), "{head}");
                assert!(answer.took < AT_ONCE, "{head}: {:?}", answer.took);
            }
            while started.elapsed() < Duration::from_secs(8) {
                let asked = Instant::now();
                assert_eq!(list_tools(&world, key), StatusCode::OK);
                assert!(asked.elapsed() < AT_ONCE, "{:?}", asked.elapsed());
            }
            late.into_iter().map(|sent| sent.join().unwrap().unwrap()).collect::<Vec<_>>()
        });
        for ((_, head, _), answer) in late.iter().zip(answers) {
            assert_eq!(answer.status, 408, "{head}{}", answer.text);
            assert!(answer.text.contains("in time"), "{}", answer.text);
            assert!((DEADLINE - JITTER..DEADLINE + LATE).contains(&answer.took), "{head}: {:?}", answer.took);
        }
        assert_eq!(list_tools(&world, key), StatusCode::OK);
    }

    /// A02: the client that asks first is told to go on only if its body is wanted.
    fn a_client_that_asks_before_it_sends_its_body_is_served(composition: Composition) {
        let world = World::new(composition, Wish { public: true, ..Wish::default() });
        let side = Side::gateway(&world);
        let body = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        let fields = format!(
            "authorization: Bearer {}\r\nexpect: 100-continue\r\ncontent-length: {}\r\n",
            world.house.keys().ann.value,
            body.len()
        );
        let mut stream = side.connect().unwrap();
        stream.write_all(side.head("POST", "/mcp", &fields).as_bytes()).unwrap();
        assert!(read_head(&mut stream).unwrap().starts_with("HTTP/1.1 100 "));
        stream.write_all(body.as_bytes()).unwrap();
        assert!(read_head(&mut stream).unwrap().starts_with("HTTP/1.1 200 "));
    }

    /// A04 and item 34: what a client or a caller writes starts no line of a log, the gateway's or the broker's, and moves no
    /// terminal's cursor.
    fn nobody_writes_lines_of_the_log(composition: Composition) {
        let server = Raw::mcp(Kind::Modern, |_| vec![Step::Close]).unwrap();
        let wish = Wish { servers: json!({ "raw": { "url": server.url() } }), ..Wish::default() };
        let world = World::new(composition, wish);
        world.connect();
        let forged = "x\noauth-broker: audit {\"forged\":1}\r\u{1b}[31m\u{85}\u{9b}2J\u{2028}\u{202e}";
        let mut client = McpClient::modern(world.house.wire(), format!("{}/mcp/raw", world.house.gateway()));
        // Its name is in a header too, which cannot say this: the body alone is what a legacy client sends.
        let mut legacy = McpClient::legacy(world.house.wire(), client.url(), "2025-06-18");
        let _ = client.list_tools().unwrap();
        let _ = legacy.request(forged, json!({})).unwrap();
        let body = json!({ "resource": forged }).to_string();
        let request = http::Request::post(format!("{}/token/demo", world.house.broker()))
            .header("content-type", "application/json")
            .body(gatehouse_fixtures::Outgoing::from(&*body))
            .unwrap();
        assert_eq!(world.house.wire().send(request).unwrap().status(), StatusCode::OK);

        let output = world.house.output();
        assert!(output.contains(r"gateway: x\u000aoauth-broker: audit {"), "{output}");
        assert!(output.contains(r"\u009b2J\u2028\u202e"), "{output}");
        assert_eq!(output.matches("forged").count(), 2, "{output}");
        assert!(output.lines().all(|line| !line.starts_with("oauth-broker: audit {\"forged")), "{output}");
        let harmful = |letter: char| letter != '\n' && (letter.is_control() || "\u{2028}\u{202e}".contains(letter));
        assert!(!output.contains(harmful), "{output:?}");
    }
}

/// A06: the host knows at once that a client has gone, and so do its stream, its seat and the streams behind it within
/// seconds. A stream that somebody reads goes on.
#[test]
fn clients_that_open_streams_and_vanish_free_their_seats_soon() {
    let servers = [Kind::Modern, Kind::Sessions].map(|kind| streams::server(kind).unwrap());
    let [modern, legacy] = servers.each_ref().map(Raw::url);
    let servers_of = json!({ "modern": { "url": modern }, "legacy": { "url": legacy } });
    let wish = Wish { servers: servers_of, file: json!({ "streams": 4 }), ..Wish::default() };
    let world = World::new(Composition::OneApp, wish);
    let address = world.house.gateway_address();
    let hanging = || servers.iter().map(Raw::hanging).sum::<usize>();
    let sse = listen_as_legacy(address).replace("GET /mcp ", "GET /mcp/sse ");
    let kinds = [listen_as_legacy(address), listen_as_modern(address), sse];

    let mut oldest = opened(address, &kinds[0]).unwrap();
    within("the oldest is open", || hanging() == 2);
    for round in 0..2 {
        for kind in &kinds {
            let gone: Vec<_> = (0..3).map(|_| opened(address, kind).unwrap()).collect();
            drop(gone);
            let left = Instant::now();
            within("nobody holds what nobody reads", || hanging() == 2);
            assert!(left.elapsed() < SOON, "round {round}: {:?}\n{kind}", left.elapsed());
        }
        // All at once, and more than there are seats: refused or served, the oldest is none of their business.
        let crowd = streams::in_parallel(12, |_| opened(address, &kinds[round % 2]));
        drop(crowd);
    }
    thread::sleep(Duration::from_secs(6));
    oldest.set_nonblocking(true).unwrap();
    let mut said = Vec::new();
    let end = oldest.read_to_end(&mut said);
    assert!(end.is_err_and(|error| error.kind() == ErrorKind::WouldBlock), "the oldest stream has ended");
}

/// A06, A02: half an answer whose rest does not come is not held for a client that has gone, and a client that does not read
/// its answer is not waited for without end.
#[test]
fn an_answer_that_nobody_takes_is_given_up() {
    let large = 30 << 20;
    let server = Raw::mcp(Kind::Modern, move |asked| {
        let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\n\r\n";
        let start = format!(r#"{head}{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"complete","x":""#, asked.id());
        let (much, rest) = if asked.body.contains("half") { (1 << 20, Step::Hang) } else { (large, Step::Close) };
        let mut steps = vec![Step::Send(start.into()), Step::Repeat(vec![b'x'; 1 << 20], much >> 20)];
        steps.extend([Step::Send(if much == large { br#""}}"#.to_vec() } else { b"x".to_vec() }), rest]);
        steps
    })
    .unwrap();
    let wish = Wish { eras: Some(Eras::Dual), servers: json!({ "raw": { "url": server.url() } }), ..Wish::default() };
    let world = World::new(Composition::OneApp, wish);
    let call =
        |what: &str| world.modern().stream("tools/call", json!({ "name": "raw__echo", "arguments": { "what": what } }));

    let half = call("half").unwrap();
    within("it hangs", || server.hanging() == 1);
    drop(half);
    let left = Instant::now();
    within("it is given up", || server.hanging() == 0);
    assert!(left.elapsed() < SOON, "{:?}", left.elapsed());

    let slow = call("all").unwrap();
    thread::sleep(READER_PATIENCE + Duration::from_secs(4));
    let mut read = 0;
    let mut body = slow.into_body().into_reader();
    let mut piece = vec![0; 1 << 20];
    let end = loop {
        match body.read(&mut piece) {
            Ok(0) => break Ok(()),
            Ok(more) => read += more,
            Err(error) => break Err(error),
        }
    };
    assert!(end.is_err() && read < large, "{read} bytes were kept for it");
}

/// Until `BODY_DEADLINE` of `components/shell`.
const DEADLINE: Duration = Duration::from_secs(12);
/// `READER_PATIENCE` of `components/shell`.
const READER_PATIENCE: Duration = Duration::from_secs(30);
const JITTER: Duration = Duration::from_millis(500);
/// On a machine that has other things to do.
const LATE: Duration = Duration::from_secs(5);
const AT_ONCE: Duration = Duration::from_secs(4);
const SOON: Duration = Duration::from_secs(6);

/// One component of an installation, as a socket reaches it.
struct Side {
    address: SocketAddr,
    host: String,
    path: &'static str,
}

struct Answer {
    status: u16,
    text: String,
    took: Duration,
}

impl Side {
    fn gateway(world: &World) -> Self {
        Self::new(world.house.gateway_address(), &world.house.gateway(), "/mcp")
    }

    fn broker(world: &World) -> Self {
        Self::new(world.house.broker_address(), &world.house.broker(), "/token/x")
    }

    fn new(address: SocketAddr, url: &str, path: &'static str) -> Self {
        let host = url.split_once("://").map_or("", |(_, host)| host).to_owned();
        Self { address, host, path }
    }

    fn head(&self, method: &str, path: &str, fields: &str) -> String {
        let types = "content-type: application/json\r\naccept: application/json, text/event-stream\r\n";
        format!("{method} {path} HTTP/1.1\r\nhost: {}\r\n{types}{fields}\r\n", self.host)
    }

    fn connect(&self) -> io::Result<TcpStream> {
        let stream = TcpStream::connect(self.address)?;
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        Ok(stream)
    }

    /// Sends a head and one byte, and then the rest one byte after the other, for as long as nothing is answered.
    fn send(&self, head: &str, slowly: &[u8]) -> io::Result<Answer> {
        let mut stream = self.connect()?;
        let started = Instant::now();
        stream.write_all(head.as_bytes())?;
        let waits = head.contains("expect:");
        if !waits && !head.contains("chunked") {
            stream.write_all(b"{")?;
        }
        let mut first = [0];
        for byte in slowly {
            stream.write_all(&[*byte])?;
            stream.set_read_timeout(Some(Duration::from_millis(300)))?;
            match stream.peek(&mut first) {
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
                _ => break,
            }
        }
        stream.set_read_timeout(Some(Duration::from_secs(60)))?;
        let mut text = read_head(&mut stream)?;
        let took = started.elapsed();
        stream.set_read_timeout(Some(Duration::from_millis(200)))?;
        let mut rest = Vec::new();
        // A connection that is kept open says nothing more.
        let _ = stream.read_to_end(&mut rest);
        text.push_str(&String::from_utf8_lossy(&rest));
        let status = text.split(' ').nth(1).and_then(|status| status.parse().ok());
        let status = status.ok_or_else(|| io::Error::other(format!("no status: {text:?}")))?;
        Ok(Answer { status, text, took })
    }
}

fn read_head(stream: &mut TcpStream) -> io::Result<String> {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let mut byte = [0];
        stream.read_exact(&mut byte)?;
        head.extend(byte);
    }
    Ok(String::from_utf8_lossy(&head).into_owned())
}

fn list_tools(world: &World, key: &str) -> StatusCode {
    world.modern().with_bearer(key).list_tools().unwrap().status
}

fn within(what: &str, is_so: impl Fn() -> bool) {
    let started = Instant::now();
    while !is_so() {
        assert!(started.elapsed() < Duration::from_secs(30), "{what}: not so");
        thread::sleep(Duration::from_millis(20));
    }
}
