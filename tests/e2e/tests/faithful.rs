//! What passes the built components comes out as it went in, but for the names that have to change.
//!
//! The same corpus as the gateway's own tests (`tests/fixtures/src/odd.rs`), over real connections: here what counts is that
//! HTTP on both sides and the pieces in which bodies arrive change nothing.

use gatehouse_e2e::{Composition, Wish, World};
use gatehouse_fixtures::odd::{self, Call};
use gatehouse_fixtures::raw::{self, Asked, Kind, Step};
use gatehouse_fixtures::{Raw, Wire};
use serde_json::json;

const KINDS: [Kind; 3] = [Kind::Modern, Kind::Sessions, Kind::Stateless];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    /// In pieces of unknown length.
    Chunked,
    /// An event stream with a notification before the answer.
    Stream,
}

#[test]
fn whatever_is_odd_comes_out_of_every_pairing_as_it_went_in() {
    let odd = odd::all();
    for form in [Form::Json, Form::Chunked, Form::Stream] {
        for is_error in [false, true] {
            let call = |modern_server| Call {
                odd: odd.clone(),
                id: r#""\u0061""#.into(),
                names: ["", r#""echo""#].map(str::to_owned),
                modern_client: false,
                modern_server,
                has_meta: true,
                is_error,
                in_events: form == Form::Stream,
            };
            let servers = KINDS.map(|kind| {
                let call = call(kind == Kind::Modern);
                Raw::mcp(kind, move |asked| answered(&call, form, asked)).unwrap()
            });
            let entries = KINDS.iter().zip(&servers);
            let entries = entries.map(|(kind, server)| (prefix(*kind), json!({ "url": server.url() })));
            let wish = Wish { servers: entries.collect(), ..Wish::default() };
            let world = World::new(Composition::OneApp, wish);
            for (kind, server) in KINDS.into_iter().zip(&servers) {
                for modern_client in [false, true] {
                    for single in [false, true] {
                        let call = Call { modern_client, ..call(kind == Kind::Modern) };
                        passes(&world, kind, server, call, form, single);
                    }
                }
            }
        }
    }
}

fn passes(world: &World, kind: Kind, server: &Raw, mut call: Call, form: Form, single: bool) {
    let prefix = prefix(kind);
    let (path, name) = match single {
        true => (format!("/mcp/{prefix}"), "echo".to_owned()),
        false => ("/mcp".to_owned(), format!("{prefix}__echo")),
    };
    call.names[0] = format!("\"{name}\"");
    let got = send(&world.house.wire(), &format!("{}{path}", world.house.gateway()), &name, &call);

    let about = format!("{kind:?} {form:?} {path}, a modern client: {}", call.modern_client);
    let asked = server.asked().pop().unwrap();
    assert_eq!(asked.id() == call.id, kind != Kind::Sessions, "{about}");
    same(&asked.body, &call.passed_request(&asked.id(), &own_meta(&asked.body)), &about);
    match form {
        Form::Json | Form::Chunked => same(&got, &call.passed_answer(), &about),
        Form::Stream => {
            let [progress, answer] = odd::data(&got).try_into().unwrap_or_else(|_| panic!("{about}: {got}"));
            same(&progress, &call.progress(), &about);
            same(&answer, &call.passed_answer(), &about);
        }
    }
}

fn answered(call: &Call, form: Form, asked: &Asked) -> Vec<Step> {
    let answer = call.answer(&asked.id());
    match form {
        Form::Json => raw::json(&answer),
        Form::Chunked => {
            let head = "HTTP/1.1 200 OK\r\nContent-Type: Application/JSON; charset=\"utf-8\"\r\nTransfer-Encoding: chunked\r\n\r\n";
            // Prime, so that pieces end within characters and escapes.
            let chunks = answer
                .as_bytes()
                .chunks(8_191)
                .map(|chunk| Step::Send([format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat()));
            let first = [Step::Send(head.into())].into_iter();
            first.chain(chunks).chain([Step::Send(b"0\r\n\r\n".to_vec())]).collect()
        }
        Form::Stream => {
            let send = |message: &str| Step::Send(odd::event(message).into_bytes());
            let pause = Step::Pause(std::time::Duration::from_millis(20));
            vec![raw::stream(), send(&call.progress()), pause, send(&answer), Step::Close]
        }
    }
}

fn send(wire: &Wire, url: &str, name: &str, call: &Call) -> String {
    let mut request = http::Request::post(url)
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream");
    if call.modern_client {
        request = request.header("mcp-protocol-version", "2026-07-28").header("mcp-method", "tools/call");
        request = request.header("mcp-name", name);
    }
    let answer = wire.send(request.body(call.request()).unwrap()).unwrap();
    assert_eq!(answer.status(), 200, "{}", answer.body());
    answer.into_body()
}

/// What the gateway says of itself to a modern server in the place of a legacy client.
fn own_meta(body: &str) -> String {
    const START: &str =
        r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities""#;
    let start = body.find(START).unwrap_or(body.len());
    let end = body[start..].find(r#""info""#).map_or(start, |at| start + at + r#""info""#.len());
    body[start..end].to_owned()
}

/// As `assert_eq`, with the place where they part instead of a megabyte.
fn same(left: &str, right: &str, about: &str) {
    if left != right {
        let at = left.bytes().zip(right.bytes()).take_while(|(a, b)| a == b).count();
        let near = |text: &str| {
            String::from_utf8_lossy(&text.as_bytes()[at.saturating_sub(60).min(text.len())..(at + 60).min(text.len())])
                .into_owned()
        };
        panic!("{about}: at {at} of {} and {}:\n{}\n{}", left.len(), right.len(), near(left), near(right));
    }
}

fn prefix(kind: Kind) -> String {
    format!("{kind:?}").to_lowercase()
}
