//! Requests that come back to where they were sent from end soon, and chains of gateways work.

use super::upstreams::{behind_token, echo, legacy, modern};
use super::*;

const UP: &str = "https://up.example/mcp";

fn passed(request: Request<Vec<u8>>, count: &str) -> Request<Vec<u8>> {
    with_header(request, "gatehouse-hop", count)
}

/// A16: what is sent for a request says how many Gatehouses it has passed, in every kind of request to a server.
#[test]
fn every_request_to_a_server_counts_the_gatehouses_before_it() {
    for upstream in [modern(echo), legacy(echo)] {
        let world = World::with_service(behind_token("good", upstream), [token("good")]);
        for (came, sent) in [(None, "1"), (Some("1"), "2"), (Some("2"), "3")] {
            for era in [Era::Legacy, Era::Modern] {
                for request in [era.call("/mcp", "up__echo"), era.list("/mcp")] {
                    let request = match came {
                        Some(count) => passed(request, count),
                        None => request,
                    };
                    let got = world.serve(request);
                    assert_eq!(got.status, 200, "{}", got.text());
                    let all = world.sent();
                    assert!(!all.is_empty());
                    for one in all {
                        assert_eq!(one.header("gatehouse-hop"), Some(sent), "{one:?}");
                    }
                    world.store.borrow_mut().clear();
                }
            }
        }
    }
}

/// A16: a request that has passed too many asks nobody anything.
#[test]
fn a_request_that_has_gone_in_circles_is_refused() {
    for count in ["3", "4", "0", "x", ""] {
        for era in [Era::Legacy, Era::Modern] {
            let world = World::with(modern(echo));
            let got = world.serve(passed(era.call("/mcp", "up__echo"), count));
            assert_eq!(got.status, 508, "{count}");
            assert!(got.text().contains("Gatehouse-Hop"), "{}", got.text());
            assert!(world.sent().is_empty() && world.asked.borrow().is_empty());
        }
    }
}

/// A16: the person learns what is wrong, and the server is not tried in another era.
#[test]
fn a_server_that_leads_back_is_named_as_one() {
    let answer = |_: &Sent| Reply::Answer(508, vec![("content-type", "application/json".into())], vec![]);
    let world = World::new(&format!(r#"{{"mcpServers":{{"up":{{"url":"{UP}"}}}}}}"#), vec![(UP, Box::new(answer))]);
    let got = world.serve(Era::Modern.call("/mcp", "up__echo"));
    assert!(got.text().contains("leads back to here"), "{}", got.text());
    assert_eq!(world.sent().len(), 1);
}

/// A16: this gateway's own URL in the file costs its entry and no request.
#[test]
fn a_gateway_behind_itself_is_listed_with_the_reason() {
    let file = format!(r#"{{"mcpServers":{{"me":{{"url":"{GATEWAY}/mcp"}},"up":{{"url":"{UP}"}}}}}}"#);
    let world = World::new(&file, vec![(UP, modern(echo))]);
    let got = world.serve(Era::Modern.call("/mcp/me", "echo"));
    assert!(got.text().contains("this Gatehouse's own address"), "{}", got.text());
    assert!(world.sent().is_empty());
    assert!(world.serve(Era::Modern.call("/mcp", "up__echo")).text().contains("hi of echo"));
}
