//! What is not ours to change passes byte for byte.

use super::upstreams::{json_reply, legacy_stateless, modern};
use super::*;

/// Numbers beyond every type, forms of numbers, escapes, a key that is there twice, whitespace, depth.
const ODD: &str = r#"{ "a" :1.0,"b":1,"c":123456789012345678901234567890,"d":1e+2, "e":"\u0041\ud83d\ude00\/","f":-0,"a":{"a":[ ]} }"#;

fn odd_answer(method: &str, _: &Value) -> String {
    match method {
        "tools/list" => r#"{"tools":[]}"#.into(),
        _ => format!(r#"{{"content" : [],  "structuredContent":{ODD}}}"#),
    }
}

#[test]
fn odd_arguments_reach_every_upstream_as_they_are() {
    for era in [Era::Legacy, Era::Modern] {
        for upstream in [modern(odd_answer), legacy_stateless(odd_answer)] {
            let world = World::with(upstream);
            world.serve(era.request(
                "/mcp",
                "tools/call",
                &format!(r#""arguments":{ODD}, "name" :"up__echo","x":{ODD}"#),
            ));
            let sent = world.sent().pop().unwrap().body;
            assert!(sent.contains(&format!(r#""arguments":{ODD}, "name" :"echo","x":{ODD}"#)), "{sent}");
        }
    }
}

#[test]
fn odd_results_reach_every_client_as_they_are() {
    for era in [Era::Legacy, Era::Modern] {
        for upstream in [modern(odd_answer), legacy_stateless(odd_answer), super::upstreams::legacy(odd_answer)] {
            let got = World::with(upstream).serve(era.call("/mcp", "up__echo")).text();
            assert!(got.contains(&format!(r#""content" : [],  "structuredContent":{ODD}}}"#)), "{got}");
        }
    }
}

#[test]
fn between_sides_of_one_era_without_renaming_nothing_changes_at_all() {
    let strange = r#" {"result":{"resultType":"complete","content":[]} ,"extra":1.0,"id":1e0,"jsonrpc":"2.0"} "#;
    let inner = modern(odd_answer);
    let world = World::with(Box::new(move |sent| match sent.method().as_str() {
        "tools/call" => json_reply(200, strange),
        _ => inner(sent),
    }));
    let body = format!(
        r#"{{ "params" : {{"_meta":{{{}}},"name":"echo"}},"method":"tools/call","id":1e0, "jsonrpc":"2.0","new":{ODD}}}"#,
        Era::META
    );
    let got = world.serve(with_body(Era::Modern.call("/mcp/up", "echo"), &body));
    assert_eq!(world.sent().pop().unwrap().body, body);
    assert_eq!(got.text(), strange);
}

#[test]
fn a_large_answer_that_need_not_change_is_not_held() {
    let large = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"x":"{}"}}}}"#, "x".repeat(300_000));
    let (kept, inner) = (large.clone(), modern(odd_answer));
    let world = World::with(Box::new(move |sent| match sent.method().as_str() {
        "tools/call" => {
            let pieces = kept.as_bytes().chunks(50_000).map(|chunk| Piece::Bytes(chunk.to_vec())).collect();
            Reply::Answer(200, vec![("content-type", "application/json".into())], pieces)
        }
        _ => inner(sent),
    }));
    let got = world.serve(Era::Modern.call("/mcp/up", "echo"));
    assert_eq!((got.whole, got.pieces.len()), (false, 6), "100 kB first, then as it comes");
    assert_eq!(got.text(), large);
    let got = world.serve(Era::Legacy.call("/mcp/up", "echo"));
    assert_eq!((got.whole, got.text()), (true, large), "what has to be looked at is held");
}

#[test]
fn an_answer_that_would_have_to_be_held_and_is_too_long_is_an_error() {
    let inner = modern(odd_answer);
    let world = World::with(Box::new(move |sent| match sent.method().as_str() {
        "tools/call" => {
            let pieces = (0..17).map(|_| Piece::Bytes(vec![b' '; 1024 * 1024])).collect();
            Reply::Answer(200, vec![("content-type", "application/json".into())], pieces)
        }
        _ => inner(sent),
    }));
    let got = world.serve(Era::Legacy.call("/mcp/up", "echo"));
    assert!(got.text().contains("longer than 16 MiB") && got.json()["result"]["isError"] == true);
}

#[test]
fn an_upstreams_own_errors_pass_in_the_clients_form() {
    let cases = [
        (Era::Modern, 200, -32002, (OK, -32602)),
        (Era::Modern, 200, -32042, (OK, -32603)),
        (Era::Modern, 404, -32601, (404, -32601)),
        (Era::Legacy, 200, -32002, (OK, -32002)),
        (Era::Legacy, 404, -32601, (OK, -32601)),
        (Era::Legacy, 500, -32603, (OK, -32603)),
    ];
    for (era, status, code, expected) in cases {
        let inner = legacy_stateless(odd_answer);
        let world = World::with(Box::new(move |sent| match sent.method().as_str() {
            "tools/call" => json_reply(
                status,
                format!(r#"{{"jsonrpc":"2.0","id":1,"error":{{"message":"m","code":{code},"data":{ODD}}}}}"#),
            ),
            _ => inner(sent),
        }));
        let got = world.serve(era.call("/mcp", "up__echo"));
        assert_eq!(got.error(), expected, "{era:?} {code}");
        assert!(got.text().contains(ODD), "data passes as it is: {}", got.text());
    }
}
