//! How answers that take their time reach the client.

use super::upstreams::{echo, event, events_reply, legacy, modern};
use super::*;

/// An upstream whose `tools/call` streams these pieces; `ID` in them stands for the id that it was called with.
fn streaming(modern_era: bool, pieces: fn(&str) -> Vec<Piece>) -> Upstream {
    let inner = if modern_era { modern(echo) } else { legacy(echo) };
    Box::new(move |sent| match sent.method().as_str() {
        "tools/call" if modern_era || sent.header("mcp-session-id").is_some() => {
            events_reply(pieces(&sent.json()["id"].to_string()))
        }
        _ => inner(sent),
    })
}

fn progress(step: u32) -> Piece {
    event(format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":1,"progress":{step}}}}}"#
    ))
}

fn done(id: &str) -> Piece {
    event(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[],"resultType":"complete"}}}}"#))
}

const BOTH: [Era; 2] = [Era::Legacy, Era::Modern];

#[test]
fn events_reach_the_client_when_they_come_and_end_with_the_answer() {
    for era in BOTH {
        for modern_era in [true, false] {
            let world = World::with(streaming(modern_era, |id| {
                let wait = || Piece::Wait(Duration::from_secs(1));
                vec![progress(1), wait(), progress(2), wait(), done(id), wait(), progress(3)]
            }));
            let got = world.serve(with_progress(era.call("/mcp", "up__echo")));
            assert!(!got.whole);
            assert_eq!(got.pieces.len(), 3, "each when it comes: {:?}", got.pieces);
            let events = got.events();
            assert_eq!((events.len(), &events[0]["params"]["progress"], &events[2]["id"]), (3, &1.into(), &1.into()));
            assert_eq!(got.header("x-accel-buffering"), Some("no"));
            assert!(!got.text().contains("id: 1_2"), "no ids of events: this endpoint has many servers");
        }
    }
}

#[test]
fn what_is_over_at_once_leaves_in_one_write() {
    let world =
        World::with(streaming(false, |id| vec![Piece::Bytes(b"id: 0\ndata:\n\n: hello\n\n".to_vec()), done(id)]));
    let got = world.serve(with_progress(Era::Legacy.call("/mcp", "up__echo")));
    assert_eq!((got.whole, got.header("content-type")), (true, Some("application/json")), "a comment says nothing");
    let world = World::with(streaming(true, |id| vec![done(id)]));
    let got = world.serve(with_progress(Era::Legacy.call("/mcp", "up__echo")));
    assert_eq!((got.whole, got.header("content-type")), (true, Some("application/json")));
    let world = World::with(streaming(true, |id| {
        let both = [progress(1), done(id)].map(|piece| match piece {
            Piece::Bytes(bytes) => bytes,
            _ => vec![],
        });
        vec![Piece::Bytes(both.concat())]
    }));
    let got = world.serve(with_progress(Era::Modern.call("/mcp", "up__echo")));
    assert_eq!((got.whole, got.events().len()), (true, 2));
}

#[test]
fn a_client_that_has_to_wait_gets_signs_of_life() {
    let world = World::with(streaming(true, |id| vec![Piece::Wait(Duration::from_secs(40)), done(id)]));
    let got = world.serve(with_progress(Era::Modern.call("/mcp", "up__echo")));
    assert_eq!(got.pieces[..3], [":\n\n", ":\n\n", ":\n\n"], "after 2, 7 and 12 seconds");
    assert_eq!(got.events().len(), 1);
}

#[test]
fn a_stream_that_breaks_off_ends_with_an_error_that_says_so() {
    for last in [|_: &str| vec![progress(1), Piece::Breaks], |_: &str| vec![progress(1)]] {
        let got = World::with(streaming(true, last)).serve(with_progress(Era::Legacy.call("/mcp", "up__echo")));
        let events = got.events();
        assert_eq!((events.len(), &events[1]["result"]["isError"], &events[1]["id"]), (2, &true.into(), &1.into()));
    }
    let got = World::with(streaming(true, |_| vec![])).serve(with_progress(Era::Legacy.call("/mcp", "up__echo")));
    assert_eq!(got.json()["result"]["isError"], true);
}

#[test]
fn a_client_that_takes_no_events_gets_the_answer_alone() {
    let world = World::with(streaming(true, |id| vec![progress(1), Piece::Wait(Duration::from_secs(9)), done(id)]));
    let got =
        world.serve(with_header(with_progress(Era::Legacy.call("/mcp", "up__echo")), "accept", "application/json"));
    assert_eq!((got.whole, &got.json()["id"]), (true, &1.into()));
}

#[test]
fn a_modern_client_hears_only_what_belongs_to_its_request() {
    fn noisy(id: &str) -> Vec<Piece> {
        vec![
            event(r#"{"jsonrpc":"2.0","method":"notifications/message","params":{"level":"info","data":"x"}}"#),
            event(r#"{"jsonrpc":"2.0","method":"notifications/tools/list_changed"}"#),
            event(r#"{"jsonrpc":"2.0","id":7,"method":"sampling/createMessage","params":{}}"#),
            progress(1),
            Piece::Wait(Duration::from_secs(1)),
            done(id),
        ]
    }
    let methods = |got: &Got| -> Vec<String> {
        got.events()
            .iter()
            .filter_map(|event| Some(event["method"].as_str()?.trim_start_matches("notifications/").to_owned()))
            .collect()
    };
    let call = |world: &World, era: Era, more: &str| {
        let mut request = with_progress(era.call("/mcp", "up__echo"));
        let body =
            String::from_utf8(request.body().clone()).unwrap().replace(r#""_meta":{"#, &format!(r#""_meta":{{{more}"#));
        *request.body_mut() = body.into_bytes();
        world.serve(request)
    };
    let world = World::with(streaming(false, noisy));
    assert_eq!(methods(&call(&world, Era::Modern, "")), ["progress"]);
    let logs = r#""io.modelcontextprotocol/logLevel":"info","#;
    assert_eq!(methods(&call(&world, Era::Modern, logs)), ["message", "progress"]);
    assert_eq!(
        methods(&call(&world, Era::Legacy, "")),
        ["message", "tools/list_changed", "progress"],
        "but no requests"
    );
}

#[test]
fn a_modern_upstream_that_asks_for_input_is_passed_on_only_to_who_can_give_it() {
    fn asks(id: &str) -> Vec<Piece> {
        vec![event(format!(
            r#"{{"jsonrpc":"2.0","id":{id},"result":{{"resultType":"input_required","inputRequests":{{"a":{{}}}},"requestState":"s"}}}}"#
        ))]
    }
    let world = World::with(streaming(true, asks));
    let modern = world.serve(with_progress(Era::Modern.call("/mcp", "up__echo"))).json();
    assert_eq!(
        (&modern["result"]["resultType"], &modern["result"]["requestState"]),
        (&"input_required".into(), &"s".into())
    );
    let legacy = world.serve(with_progress(Era::Legacy.call("/mcp", "up__echo"))).json();
    assert_eq!(legacy["result"]["isError"], true);
    assert!(legacy["result"]["resultType"].is_null());
}
