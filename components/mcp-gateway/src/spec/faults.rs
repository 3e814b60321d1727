//! What an upstream does wrong costs one proper answer that says so, soon, and nothing later.

use super::upstreams::{echo, event, events_reply, json_reply, legacy, legacy_stateless, modern};
use super::*;

type Kind = fn() -> Upstream;
const KINDS: [(&str, Kind); 3] =
    [("modern", || modern(echo)), ("sessions", || legacy(echo)), ("stateless", || legacy_stateless(echo))];

/// What is answered to a call with this id.
type Fault = fn(&str) -> Reply;

fn typed(status: u16, media_type: &str, body: impl Into<Vec<u8>>) -> Reply {
    Reply::Answer(status, vec![("content-type", media_type.into())], vec![Piece::Bytes(body.into())])
}

fn result(id: &str) -> String {
    format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"resultType":"complete"}}}}"#)
}

const FAULTS: [(&str, Fault); 24] = [
    ("it cannot be reached", |_| Reply::Fails(SendError::Connection)),
    ("its head does not come", |_| Reply::Fails(SendError::Timeout)),
    ("a page with 200", |_| typed(200, "text/html", "<h1>Hello</h1>")),
    ("a page with 502", |_| typed(502, "text/html", "<h1>Bad Gateway</h1>")),
    ("a page with 404", |_| typed(404, "text/html", "<h1>Not Found</h1>")),
    ("a page that is called JSON", |_| typed(200, "application/json", "<h1>Hello</h1>")),
    ("events that are called JSON", |id| typed(200, "application/json", format!("data: {}\n\n", result(id)))),
    ("JSON that is called events", |id| typed(200, "text/event-stream", result(id))),
    ("no type", |id| Reply::Answer(200, vec![], vec![Piece::Bytes(result(id).into())])),
    ("a type that is none", |id| typed(200, "application/jsonp", result(id))),
    ("what was packed and not asked for", |_| typed(200, "application/json", b"\x1f\x8b\x08\0\0\0\0\0".to_vec())),
    ("an empty answer", |_| typed(200, "application/json", "")),
    ("half an answer", |id| typed(200, "application/json", &result(id)[..20])),
    ("an answer that breaks off", |_| {
        Reply::Answer(
            200,
            vec![("content-type", "application/json".into())],
            vec![Piece::Bytes(b"{".into()), Piece::Breaks],
        )
    }),
    ("a stream that breaks off", |_| events_reply(vec![Piece::Bytes(b"data: {".into()), Piece::Breaks])),
    ("a stream without an answer", |_| events_reply(vec![Piece::Bytes(b": hello\n\n".into())])),
    ("a list of answers", |id| json_reply(200, format!("[{}]", result(id)))),
    ("202", |_| Reply::Answer(202, vec![], vec![])),
    ("204", |_| Reply::Answer(204, vec![], vec![])),
    ("a redirect", |_| Reply::Answer(307, vec![("location", "https://elsewhere.example/".into())], vec![])),
    ("401, whatever the token", |_| Reply::Answer(401, vec![("www-authenticate", "Bearer".into())], vec![])),
    ("429", |_| Reply::Answer(429, vec![("retry-after", "9".into())], vec![])),
    ("an event without end", |_| events_reply((0..18).map(|_| Piece::Bytes(vec![b'x'; 1024 * 1024])).collect())),
    ("an answer to another request alone", |_| events_reply(vec![event(result("77"))])),
];

#[test]
fn every_fault_is_a_tools_error_and_the_next_call_works() {
    for (fault, answer) in FAULTS {
        for (kind, inner) in KINDS {
            for era in [Era::Legacy, Era::Modern] {
                let broken = Rc::new(Cell::new(true));
                let (now, inner) = (broken.clone(), inner());
                let world = World::with(Box::new(move |sent| match sent.method().as_str() {
                    "tools/call" if now.get() => answer(&sent.json()["id"].to_string()),
                    _ => inner(sent),
                }));
                for path in ["/mcp", "/mcp/up"] {
                    let call = || era.call(path, if path == "/mcp" { "up__echo" } else { "echo" });
                    let about = format!("{fault}: {era:?} {kind} {path}");
                    let got = world.serve(call());
                    assert_eq!(got.status, OK, "{about}");
                    assert!(got.finished && got.json()["result"]["isError"] == true, "{about}: {}", got.text());
                    assert!(got.text().contains("The server up could not be called: "), "{about}: {}", got.text());
                    assert!(world.sent().len() <= 7, "{about}");
                    assert!(world.elapsed() < Duration::from_secs(5), "{about}");
                    broken.set(false);
                    assert!(world.serve(call()).text().contains("hi of echo"), "{about}");
                    broken.set(true);
                    world.sent();
                }
            }
        }
    }
}

#[test]
fn an_answer_may_name_its_request_in_another_form() {
    for (asked, answered) in [("1.0", "1"), ("-0", "0"), ("7", "\"7\""), ("\"a\"", r#""\u0061""#), ("1e3", "1000")] {
        for (kind, inner) in KINDS.into_iter().filter(|(kind, _)| *kind != "sessions") {
            for era in [Era::Legacy, Era::Modern] {
                let inner = inner();
                let world = World::with(Box::new(move |sent| match sent.method().as_str() {
                    "tools/call" => events_reply(vec![event(result(answered))]),
                    _ => inner(sent),
                }));
                let request = era.request_with_id("/mcp", asked, "tools/call", r#""name":"up__echo""#);
                let got = world.serve(request).text();
                assert!(got.contains(r#""content":[]"#), "{asked} {kind} {era:?}: {got}");
            }
        }
    }
}

#[test]
fn what_answers_another_request_is_read_over_and_what_follows_the_answer_too() {
    for (kind, inner) in KINDS {
        let inner = inner();
        let world = World::with(Box::new(move |sent| match sent.method().as_str() {
            "tools/call" => {
                let right = result(&sent.json()["id"].to_string());
                let said =
                    r#"{"jsonrpc":"2.0","method":"notifications/progress","params":{"progressToken":1,"progress":1}}"#;
                let wrong = r#"{"jsonrpc":"2.0","id":"another","result":{"secret":true}}"#;
                events_reply(vec![
                    event(said),
                    Piece::Wait(Duration::from_secs(1)),
                    event(wrong),
                    event(&right),
                    event(&right),
                    event(said),
                ])
            }
            _ => inner(sent),
        }));
        for era in [Era::Legacy, Era::Modern] {
            let got = world.serve(era.call("/mcp", "up__echo"));
            let events = got.events();
            assert_eq!((events.len(), &events[1]["id"]), (2, &1.into()), "{kind} {era:?}: {}", got.text());
            assert!(!got.text().contains("secret"));
        }
    }
}

/// What the gateway asks by itself has nobody who could lose patience.
#[test]
fn a_handshake_that_never_ends_is_given_up() {
    for slow in ["server/discover", "initialize"] {
        let inner = legacy(echo);
        let world = World::with(Box::new(move |sent| match sent.method() {
            method if method == slow => {
                let dripping =
                    (0..10_000).flat_map(|_| [Piece::Bytes(b": x\n\n".into()), Piece::Wait(Duration::from_secs(20))]);
                events_reply(dripping.collect())
            }
            _ => inner(sent),
        }));
        let got = world.serve(Era::Modern.call("/mcp", "up__echo"));
        assert!(got.text().contains("it took too long to answer"), "{}", got.text());
        assert!(world.elapsed() <= Duration::from_secs(61), "{:?}", world.elapsed());
    }
}

#[test]
fn a_token_that_is_refused_for_ever_costs_two_questions_of_the_broker() {
    let world =
        World::with_service(Box::new(|_| Reply::Answer(401, vec![], vec![])), [token("a"), token("b"), token("c")]);
    for era in [Era::Legacy, Era::Modern] {
        let before = world.asked.borrow().len();
        let got = world.serve(era.call("/mcp", "up__echo"));
        assert_eq!(got.json()["result"]["isError"], true, "{}", got.text());
        assert_eq!((world.asked.borrow().len() - before, world.sent().len()), (2, 2));
    }
}
