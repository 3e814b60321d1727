//! Messages pass the gateway as they are, as they arrive, for as long as someone listens.

use std::io::{BufRead, BufReader};
use std::thread::sleep;
use std::time::{Duration, Instant};

use gatehouse_e2e::{Composition, Wish, World, in_every_composition};
use gatehouse_fixtures::mcp_server::Eras;
use gatehouse_fixtures::{Fault, McpClient};
use http::StatusCode;
use serde_json::{Value, json};

in_every_composition! {
    fn every_pairing_of_eras_lists_and_calls(composition: Composition) {
        for eras in [Eras::ModernOnly, Eras::LegacyOnly, Eras::Dual] {
            let world = connected(composition, Some(eras));
            for mut client in [world.modern(), world.legacy(), world.direct()] {
                let prefix = if client.url().ends_with("/mcp") { "demo__" } else { "" };
                let listed = client.list_tools().unwrap();
                let tools: Vec<_> = listed.result().unwrap()["tools"].as_array().unwrap().iter().collect();
                let echo = tools.iter().find(|tool| tool["name"] == format!("{prefix}echo"));
                assert!(echo.is_some_and(|tool| tool["inputSchema"]["required"] == json!(["message"])), "{}", listed.body);
                let reply = client.call(&format!("{prefix}echo"), json!({ "message": "grüß Gott" })).unwrap();
                assert_eq!(reply.text(), Some("grüß Gott"), "{eras:?}: {}", reply.body);
                // Only the modern era says that a result is complete.
                let complete = reply.result().unwrap().get("resultType").is_some();
                assert_eq!(complete, client.session_id().is_none(), "{eras:?}: {}", reply.body);
                // The server counts what it is asked: once for each warm call, and not for a list that may be kept.
                let before = world.server.all_requests();
                for _ in 0..3 {
                    client.call(&format!("{prefix}echo"), json!({ "message": "again" })).unwrap();
                }
                assert_eq!(world.server.all_requests() - before, 3, "{eras:?} {}", client.url());
                let before = world.server.all_requests();
                client.list_tools().unwrap();
                // A server of both eras is asked in the client's; what is said in the older one is kept for a minute.
                let is_legacy = eras == Eras::LegacyOnly || eras == Eras::Dual && client.session_id().is_some();
                let is_kept = is_legacy && !prefix.is_empty();
                assert_eq!(world.server.all_requests() - before, usize::from(!is_kept), "{eras:?} {}", client.url());
            }
        }
    }

    fn what_the_client_wrote_reaches_the_server_byte_for_byte(composition: Composition) {
        let world = connected(composition, None);
        let arguments = r#"{"message":"x","z":1.0,"a":12345678901234567890123,"e":1.50E+1,"u":"\u00fc","n":null}"#;
        let message = format!(
            concat!(
                r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{{"name":"demo__echo","arguments":{},"#,
                r#""_meta":{{"io.modelcontextprotocol/protocolVersion":"2026-07-28","#,
                r#""io.modelcontextprotocol/clientCapabilities":{{}}}}}}}}"#
            ),
            arguments
        );
        let request = http::Request::post(format!("{}/mcp", world.house.gateway()))
            .header("content-type", "application/json")
            .header("accept", "application/json, text/event-stream")
            .header("mcp-protocol-version", "2026-07-28")
            .header("mcp-method", "tools/call")
            .header("mcp-name", "demo__echo")
            .header("mcp-param-region", "eu")
            .header("cookie", "not=yours")
            .body(message)
            .unwrap();
        let answer = world.house.wire().send(request).unwrap();
        assert_eq!(answer.status(), StatusCode::OK, "{}", answer.body());
        let seen = world.server.seen().into_iter().rfind(|seen| seen.method.as_deref() == Some("tools/call")).unwrap();
        let body = String::from_utf8(seen.body.to_vec()).unwrap();
        assert!(body.contains(arguments), "{body}");
        assert_eq!(seen.headers["mcp-param-region"], "eu");
        assert_eq!(seen.headers["mcp-name"], "echo");
        assert!(!seen.headers.contains_key("cookie"));
    }

    fn progress_arrives_while_the_server_is_still_counting(composition: Composition) {
        let world = connected(composition, None);
        for mut client in [world.modern(), world.legacy()] {
            let started = Instant::now();
            let answer = client.stream("tools/call", count(5, 200)).unwrap();
            assert_eq!(answer.headers()["content-type"], "text/event-stream");
            let mut steps = Vec::new();
            for line in BufReader::new(answer.into_body().into_reader()).lines() {
                let line = line.unwrap();
                let Some(data) = line.strip_prefix("data:") else { continue };
                let Ok(message) = serde_json::from_str::<Value>(data) else { continue };
                steps.push((started.elapsed(), message));
            }
            let (first, last) = (steps.first().unwrap(), steps.last().unwrap());
            assert_eq!(first.1["params"]["progressToken"], "p", "{steps:?}");
            assert!(last.0 - first.0 > Duration::from_millis(600), "all came at once: {steps:?}");
            assert_eq!(last.1["result"]["content"][0]["text"], "counted to 5");
        }
    }

    fn a_result_of_many_megabytes_passes(composition: Composition) {
        let world = connected(composition, None);
        let reply = world.modern().call("demo__big", json!({ "bytes": 8_000_000 })).unwrap();
        assert_eq!(reply.text().map(str::len), Some(8_000_000));
    }

    fn a_server_that_fails_is_a_tool_error_and_never_a_hang(composition: Composition) {
        let world = World::new(composition, Wish { server: json!({ "timeout": 1 }), ..Wish::default() });
        world.connect();
        let mut client = McpClient::modern(
            world.house.wire_with_timeout(Duration::from_secs(10)),
            format!("{}/mcp", world.house.gateway()),
        );
        assert_eq!(world.whoami(&mut client).as_deref(), Ok("alice"));
        for fault in [
            Fault::html(StatusCode::INTERNAL_SERVER_ERROR),
            Fault::html(StatusCode::OK),
            Fault::too_many_requests(Duration::from_secs(1)),
            Fault::Hang,
            Fault::Reset,
            Fault::LoseAnswer,
            Fault::CutAnswer,
        ] {
            world.server.fail_next("tools/call", 1, fault.clone());
            let reply = client.call("demo__echo", json!({ "message": "x" })).unwrap();
            assert_eq!(reply.status, StatusCode::OK, "{fault:?}: {}", reply.body);
            assert!(reply.is_tool_error() || reply.error().is_some(), "{fault:?}: {}", reply.body);
            world.server.stop_failing();
            assert_eq!(world.whoami(&mut client).as_deref(), Ok("alice"), "after {fault:?}");
        }
    }
}

/// A call that changes something may have been done before the connection broke: it is not sent again.
#[test]
fn a_call_whose_answer_was_lost_is_not_repeated() {
    let world = connected(Composition::OneApp, None);
    let mut client = world.modern();
    assert_eq!(world.whoami(&mut client).as_deref(), Ok("alice"));
    let before = world.server.requests("tools/call");
    world.server.fail_next("tools/call", 1, Fault::LoseAnswer);
    assert!(world.whoami(&mut client).is_err());
    assert_eq!(world.server.requests("tools/call"), before + 1);
}

/// 2026-07-28: a client that goes away has cancelled. It is noticed with the next step of the stream.
#[test]
fn a_client_that_goes_away_ends_the_upstreams_work() {
    let world = connected(Composition::OneApp, None);
    let answer = world.modern().stream("tools/call", count(500, 20)).unwrap();
    assert_eq!(answer.status(), StatusCode::OK);
    drop(answer);
    let patience = Instant::now() + Duration::from_secs(8);
    while world.server.abandoned() == 0 && Instant::now() < patience {
        sleep(Duration::from_millis(20));
    }
    assert_eq!(world.server.abandoned(), 1);
}

fn connected(composition: Composition, eras: Option<Eras>) -> World {
    let world = World::new(composition, Wish { eras, ..Wish::default() });
    world.connect();
    world
}

fn count(to: u64, pause_ms: u64) -> Value {
    json!({
        "name": "demo__count",
        "arguments": { "to": to, "pause_ms": pause_ms },
        "_meta": { "progressToken": "p" }
    })
}
