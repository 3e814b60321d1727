//! A wrong request gets the right status and an error in its protocol's form, and changes nothing.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use gatehouse_e2e::{Composition, Wish, World, in_every_composition};
use gatehouse_fixtures::provider::{Consent, GrantType, Person};
use gatehouse_fixtures::{Browser, Fault, Outgoing, Page};
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, RETRY_AFTER};
use http::{Method, Request, Response, StatusCode};
use serde_json::{Value, json};

in_every_composition! {
    fn a_wrong_request_to_the_broker_is_refused_in_oauths_form(composition: Composition) {
        let world = World::local(composition);
        world.connect();
        let before = world.house.rows().unwrap();
        let json = [("content-type", "application/json")];
        let form = [("content-type", "application/x-www-form-urlencoded")];
        for (method, path, headers, body, status, error) in [
            ("GET", "/nowhere", &[][..], "", 404, "not_found"),
            ("GET", "/auth/unknown", &[], "", 404, "unknown_service"),
            ("GET", "/auth/Demo", &[], "", 404, "unknown_service"),
            ("GET", "/auth/demo?ticket=forged", &[], "", 400, "invalid_request"),
            ("POST", "/auth/demo", &[], "", 400, "invalid_request"),
            ("PUT", "/auth/demo", &[], "", 405, "invalid_request"),
            ("GET", "/callback/demo", &[], "", 400, "invalid_request"),
            ("GET", "/callback/demo?code=x&state=", &[], "", 400, "invalid_request"),
            ("GET", "/callback/demo?code=x&state=unknown", &[], "", 400, "invalid_request"),
            ("GET", "/callback/demo?state=a&state=b", &[], "", 400, "invalid_request"),
            ("GET", "/callback/unknown?code=x&state=y", &[], "", 400, "invalid_request"),
            ("POST", "/token/unknown", &[], "", 404, "unknown_service"),
            ("GET", "/token/demo", &[], "", 405, "invalid_request"),
            ("POST", "/token/demo", &json, "{", 400, "invalid_request"),
            ("POST", "/token/demo", &json, "[1]", 400, "invalid_request"),
            ("POST", "/token/demo", &form, "subject_token=a&subject_token=b", 400, "invalid_request"),
            ("POST", "/token/demo", &[("authorization", "Bearer wrong")], "", 401, "invalid_client"),
            ("POST", "/token/demo", &[("origin", "http://evil.test")], "", 403, "access_denied"),
            ("DELETE", "/token/unknown", &[], "", 404, "unknown_service"),
            ("POST", "/resolve", &json, "{", 400, "invalid_request"),
            ("POST", "/resolve", &[("authorization", "Bearer wrong")], "{}", 401, "invalid_client"),
            ("POST", "/disconnect/demo", &[("origin", "http://evil.test")], "", 403, "access_denied"),
            ("GET", "/connections", &[("authorization", "Bearer wrong")], "", 401, "invalid_token"),
        ] {
            let answer = send(&world, method, &format!("{}{path}", world.house.broker()), headers, body);
            let said: Value = serde_json::from_str(answer.body()).unwrap_or_default();
            assert_eq!((answer.status().as_u16(), said["error"].as_str()), (status, Some(error)), "{method} {path} {headers:?}");
            assert!(said["error_description"].is_string(), "{method} {path}");
            assert_eq!(answer.headers().contains_key(ALLOW), status == 405, "{method} {path}");
        }
        assert_eq!(world.house.rows().unwrap(), before);
        assert_eq!(world.provider.token_requests(GrantType::AuthorizationCode), 1);
        assert_eq!(world.provider.revocations(), 0);
    }

    fn a_wrong_request_to_the_gateway_is_refused_in_json_rpc(composition: Composition) {
        let world = World::local(composition);
        let before = world.house.rows().unwrap();
        let post = [("content-type", "application/json"), ("accept", "application/json, text/event-stream")];
        let elsewhere = [("origin", "http://evil.test"), post[0], post[1]];
        let session = [("mcp-session-id", "not-ours"), ("mcp-protocol-version", "2025-11-25"), post[0], post[1]];
        let list = r#"{"jsonrpc":"2.0","id":1,"method":"tools/list"}"#;
        for (method, path, headers, body, status) in [
            ("GET", "/mcp", &post[..], "", 405),
            ("PUT", "/mcp", &post, list, 405),
            ("POST", "/mcp/servers", &post, list, 405),
            ("POST", "/mcp/demo/more", &post, list, 404),
            ("POST", "/mcp", &post, "{", 400),
            ("POST", "/mcp", &post, "", 400),
            ("POST", "/mcp", &post, "1", 400),
            ("POST", "/mcp", &post, r#"{"jsonrpc":"2.0","id":1}"#, 400),
            ("POST", "/mcp", &session, list, 404),
            ("DELETE", "/mcp", &post, "", 400),
            ("POST", "/mcp", &elsewhere, list, 403),
        ] {
            let answer = send(&world, method, &format!("{}{path}", world.house.gateway()), headers, body);
            let said: Value = serde_json::from_str(answer.body()).unwrap_or_default();
            assert_eq!(answer.status().as_u16(), status, "{method} {path} {body}: {}", answer.body());
            assert!(said["error"]["code"].is_i64() && said["jsonrpc"] == "2.0", "{method} {path} {body}: {}", answer.body());
            assert_eq!(answer.headers().contains_key(ALLOW), status == 405, "{method} {path}");
        }
        assert_eq!(world.house.rows().unwrap(), before);
        assert!(world.server.seen().is_empty());
    }

    fn an_unknown_server_and_an_unknown_tool_are_errors_of_the_protocol(composition: Composition) {
        let world = World::local(composition);
        world.connect();
        let url = format!("{}/mcp/unknown", world.house.gateway());
        let reply = gatehouse_fixtures::McpClient::modern(world.house.wire(), url).list_tools().unwrap();
        assert_eq!((reply.status, reply.error().is_some()), (StatusCode::NOT_FOUND, true), "{}", reply.body);
        for tool in ["unknown__echo", "whoami", ""] {
            let reply = world.modern().call(tool, json!({})).unwrap();
            assert_eq!(reply.error().map(|error| &error["code"]), Some(&json!(-32602)), "{tool}: {}", reply.body);
        }
        assert!(world.server.bearers_seen().is_empty());
    }

    fn a_body_of_100_mb_is_refused_before_it_is_read(composition: Composition) {
        let world = World::local(composition);
        let gateway = (world.house.gateway_address(), "/mcp");
        let broker = (world.house.broker_address(), "/token/demo");
        for (address, path) in [gateway, broker] {
            for (chunked, bearer, status) in [
                (false, "", 413),
                (true, "", 413),
                // A24: of somebody whom nobody knows it is not read that far.
                (true, "authorization: Bearer x\r\n", 401),
            ] {
                let answer = post_endlessly(address, path, chunked, bearer);
                let expected = format!("HTTP/1.1 {status} ");
                assert!(answer.starts_with(&expected), "{path}, chunked: {chunked}, {bearer:?}: {answer:?}");
            }
        }
        world.connect();
        assert_eq!(world.whoami(&mut world.modern()).as_deref(), Ok("alice"));
    }

    /// Item 10.
    fn a_replayed_state_is_refused_and_asks_the_provider_nothing(composition: Composition) {
        let world = World::local(composition);
        let mut browser = world.browser();
        let page = world.connect_as(&mut browser, Person::Alice);
        let callback = callback_of(&page);
        let before = world.house.rows().unwrap();
        let again = browser.open(&callback).unwrap();
        assert_eq!(again.status, StatusCode::BAD_REQUEST);
        assert_eq!(world.house.rows().unwrap(), before);
        assert_eq!(world.provider.token_requests(GrantType::AuthorizationCode), 1);
    }

    /// Items 5 and 6: whoever starts a flow must be who finishes it, and a stranger cannot end it either.
    fn a_state_of_another_browser_is_refused_and_still_good_in_its_own(composition: Composition) {
        let world = World::local(composition);
        let (mut own, mut other) = (world.browser(), world.browser());
        let callback = flow_up_to_the_callback(&world, &mut own, "demo");
        let before = world.house.rows().unwrap();
        assert_eq!(other.open(&callback).unwrap().status, StatusCode::BAD_REQUEST);
        assert_eq!(world.house.rows().unwrap(), before);
        assert_eq!(world.provider.token_requests(GrantType::AuthorizationCode), 0);
        assert_eq!(own.open(&callback).unwrap().status, StatusCode::OK);
        assert_eq!(world.whoami(&mut world.modern()).as_deref(), Ok("alice"));
    }

    /// Item 1: the path's service must be the state's; else the state has leaked, and is burnt.
    fn a_state_at_another_services_callback_is_refused_and_burnt(composition: Composition) {
        let other = json!({
            "client_id": "other", "authorize_url": "https://other.test/authorize", "token_url": "https://other.test/token"
        });
        let world = World::new(composition, Wish { services: json!({ "other": other }), ..Wish::default() });
        let mut browser = world.browser();
        let callback = flow_up_to_the_callback(&world, &mut browser, "demo");
        let crossed = browser.open(&callback.replace("/callback/demo", "/callback/other")).unwrap();
        assert_eq!(crossed.status, StatusCode::BAD_REQUEST);
        assert_eq!(browser.open(&callback).unwrap().status, StatusCode::BAD_REQUEST);
        assert_eq!(world.provider.token_requests(GrantType::AuthorizationCode), 0);
        assert!(world.whoami(&mut world.modern()).unwrap_err().contains("not connected"));
    }

    /// Item 13: an answer of another issuer, or of none where one is promised.
    fn an_answer_of_another_issuer_is_refused(composition: Composition) {
        let world = World::local(composition);
        for iss in ["", "&iss=http%3A%2F%2Fevil.test"] {
            let mut browser = world.browser();
            let callback = flow_up_to_the_callback(&world, &mut browser, "demo");
            let (before_iss, _) = callback.split_once("&iss=").expect("the provider names itself");
            let page = browser.open(&format!("{before_iss}{iss}")).unwrap();
            assert_eq!(page.status, StatusCode::BAD_REQUEST, "{iss}");
        }
        assert_eq!(world.provider.token_requests(GrantType::AuthorizationCode), 0);
    }

    /// Item 14.
    fn a_person_who_declines_is_told_so_and_nothing_is_kept(composition: Composition) {
        let world = World::local(composition);
        world.provider.set_consent(Consent::Deny);
        let page = world.browser().open_and_press(&world.connect_page(), "Connect").unwrap();
        assert_eq!(page.status, StatusCode::BAD_REQUEST);
        assert!(page.body.contains("access_denied"), "{}", page.body);
        assert_eq!(connections_and_flows(&world), 0);
        assert_eq!(world.provider.token_requests(GrantType::AuthorizationCode), 0);
    }

    fn a_provider_that_fails_at_the_exchange_is_told_as_that_and_the_next_try_works(composition: Composition) {
        let world = World::local(composition);
        for (fault, status) in [
            (Fault::oauth_error(StatusCode::INTERNAL_SERVER_ERROR, "server_error"), StatusCode::SERVICE_UNAVAILABLE),
            (Fault::Reset, StatusCode::SERVICE_UNAVAILABLE),
            (Fault::oauth_error(StatusCode::BAD_REQUEST, "invalid_grant"), StatusCode::BAD_REQUEST),
            (Fault::html(StatusCode::OK), StatusCode::BAD_GATEWAY),
        ] {
            world.provider.fail_next_token_requests(1, fault.clone());
            let page = world.browser().open_and_press(&world.connect_page(), "Connect").unwrap();
            assert_eq!(page.status, status, "{fault:?}: {}", page.body);
            assert_eq!(page.headers.contains_key(RETRY_AFTER), status == StatusCode::SERVICE_UNAVAILABLE, "{fault:?}");
            assert_eq!(connections_and_flows(&world), 0, "{fault:?}");
        }
        world.connect();
    }

    fn a_missing_or_malformed_setting_is_one_line_that_names_it(composition: Composition) {
        for (setting, value, route) in [
            ("encryption_keys", "", "/auth/demo"),
            ("encryption_keys", "k1:dG9vIHNob3J0", "/auth/demo"),
            ("oauth_clients", "{", "/auth/demo"),
            ("oauth_clients", r#"{"demo":{"client_id":"x","tokn_url":"y"}}"#, "/auth/demo"),
            ("api_keys", "ann", "/connections"),
        ] {
            let variables = vec![(setting, value.to_owned())];
            let world = World::new(composition, Wish { variables, ..Wish::default() });
            let bearer = [("authorization", "Bearer some-key")];
            let headers = if route == "/connections" { &bearer[..] } else { &[] };
            let answer = send(&world, "GET", &format!("{}{route}", world.house.broker()), headers, "");
            assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR, "{setting}={value}");
            assert!(answer.body().contains(setting), "{}", answer.body());
            let output = world.house.output();
            assert_eq!(output.lines().filter(|line| line.contains(setting)).count(), 1, "{output}");
            assert!(world.house.rows().unwrap().is_empty());

            let health = send(&world, "GET", &format!("{}/health", world.house.broker()), &[], "");
            assert_eq!((health.status(), health.body().contains(setting)), (StatusCode::SERVICE_UNAVAILABLE, true));
        }
    }

    fn a_gateway_whose_broker_lacks_its_keys_says_so(composition: Composition) {
        let variables = vec![("encryption_keys", String::new())];
        let world = World::new(composition, Wish { variables, ..Wish::default() });
        let reply = world.modern().list_tools().unwrap();
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", reply.body);
        assert!(reply.error().is_some() && reply.body.contains("encryption_keys"), "{}", reply.body);
    }
}

/// Only where gateway and broker are two components is there a service key between them.
#[test]
fn a_gateway_whose_service_key_is_not_known_says_so() {
    for composition in [Composition::OneApp, Composition::TwoApps] {
        let variables = vec![("service_keys", String::new())];
        let world = World::new(composition, Wish { variables, ..Wish::default() });
        let reply = world.modern().list_tools().unwrap();
        assert_eq!(reply.status, StatusCode::INTERNAL_SERVER_ERROR, "{}", reply.body);
        assert!(reply.body.contains("service_key"), "{}", reply.body);
    }
}

fn send(world: &World, method: &str, url: &str, headers: &[(&str, &str)], body: &str) -> Response<String> {
    let mut request = Request::builder().method(Method::from_bytes(method.as_bytes()).unwrap()).uri(url);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    world.house.wire().send(request.body(Outgoing::from(body)).unwrap()).unwrap()
}

/// Goes to the provider and back, and stops before the browser asks for the callback.
fn flow_up_to_the_callback(world: &World, browser: &mut Browser, service: &str) -> String {
    world.provider.set_consent(Consent::Approve(Person::Alice));
    let page = browser.open(&format!("{}/auth/{service}", world.house.broker())).unwrap();
    let start = browser.submit(&page, "Connect", &[]).unwrap();
    let provider = start.leads_to().unwrap().expect("the flow leads to the provider");
    let consented = browser.get(provider.as_str()).unwrap();
    consented.leads_to().unwrap().expect("the provider leads back").into()
}

/// The rows that hold a connection or a flow: `c` and `f` of the broker's kinds.
fn connections_and_flows(world: &World) -> usize {
    let rows = world.house.rows().unwrap();
    rows.keys().filter(|(_, _, key)| key.starts_with("b.c.") || key.starts_with("b.f.")).count()
}

fn callback_of(page: &Page) -> String {
    page.passed.iter().find(|url| url.path() == "/callback/demo").expect("a callback was passed").to_string()
}

/// Sends 100 MB for as long as anyone takes them, and gives what was answered meanwhile.
fn post_endlessly(address: SocketAddr, path: &str, chunked: bool, bearer: &str) -> String {
    const PIECE: usize = 64 * 1024;
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
    stream.set_write_timeout(Some(Duration::from_secs(20))).unwrap();
    let length = if chunked { "transfer-encoding: chunked" } else { "content-length: 104857600" };
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: {address}\r\n{length}\r\n{ACCEPT}: application/json, text/event-stream\r\n\
         {CONTENT_TYPE}: application/json\r\n{bearer}\r\n"
    );
    stream.write_all(head.as_bytes()).unwrap();
    // Read meanwhile: a server that has answered may close, and a reset takes unread bytes with it.
    let mut answers = stream.try_clone().unwrap();
    let reader = std::thread::spawn(move || {
        let mut answer = Vec::new();
        let mut buffer = [0; 4096];
        while let Ok(read @ 1..) = answers.read(&mut buffer) {
            answer.extend(&buffer[..read]);
            if answer.windows(4).any(|window| window == b"\r\n\r\n") {
                break;
            }
        }
        String::from_utf8_lossy(&answer).into_owned()
    });
    let mut piece = if chunked { format!("{PIECE:x}\r\n").into_bytes() } else { Vec::new() };
    piece.extend([b' '; PIECE]);
    piece.extend(if chunked { &b"\r\n"[..] } else { &[] });
    for _ in 0..100 * 1024 * 1024 / PIECE {
        match stream.write_all(&piece) {
            Ok(()) => {}
            Err(error) if error.kind() == ErrorKind::WouldBlock => panic!("{path} neither reads nor refuses"),
            Err(_) => break,
        }
    }
    reader.join().unwrap()
}
