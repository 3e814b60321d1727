//! Who may call what with which token, and what a person is told when there is none.

use super::upstreams::{behind_token, echo, legacy, modern};
use super::*;
use crate::host::WantedService;
use http::HeaderName;

const BOTH: [Era; 2] = [Era::Legacy, Era::Modern];
const CONNECT: &str = "https://auth.example.com/connect/ticket-1";

fn not_connected() -> Outcome {
    Outcome::NotConnected(CONNECT.into())
}

#[test]
fn the_upstream_gets_the_services_token_and_never_the_clients_bearer_or_cookies() {
    for upstream in [modern(echo), legacy(echo)] {
        let world = World::with_service(behind_token("good", upstream), [token("good")]);
        world.serve(with_header(Era::Legacy.call("/mcp", "up__echo"), "cookie", "session=secret"));
        let sent = world.sent();
        assert!(!sent.is_empty());
        for sent in sent {
            assert_eq!(sent.header("authorization"), Some("Bearer good"));
            assert_eq!(sent.header("cookie"), None);
            assert!(!format!("{sent:?}").contains(BEARER));
        }
    }
}

#[test]
fn a_server_without_a_service_gets_no_token_but_its_own_headers() {
    let file = r#"{"mcpServers":{"up":{"url":"https://up.example/mcp","headers":{"X-Api-Key":"k"}}}}"#;
    let world = World::new(file, vec![("https://up.example/mcp", modern(echo))]);
    world.serve(Era::Legacy.call("/mcp", "up__echo"));
    assert!(
        world.sent().iter().all(|sent| sent.header("authorization").is_none() && sent.header("x-api-key") == Some("k"))
    );
    assert_eq!(world.asked.borrow()[0].services, []);
}

#[test]
fn the_broker_is_asked_once_for_the_one_service_and_the_resource_the_client_named() {
    let world = World::with_service(modern(echo), [token("good")]);
    world.serve(Era::Legacy.call("/mcp/up", "echo"));
    let asked = world.asked.borrow();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].resource, "https://mcp.example.com/mcp/up");
    assert_eq!(asked[0].bearer.as_ref().unwrap().reveal(), BEARER);
    assert_eq!(asked[0].services, [WantedService { service: "s".into(), ..WantedService::default() }]);
}

#[test]
fn a_refused_token_is_renewed_and_the_call_made_again_exactly_once() {
    for era in BOTH {
        let world = World::with_service(behind_token("new", modern(echo)), [token("old"), token("new")]);
        let got = world.serve(era.call("/mcp", "up__echo"));
        assert_eq!(got.json()["result"]["content"][0]["text"], "hi of echo");
        assert_eq!(
            world.asked.borrow()[1].services,
            [WantedService {
                service: "s".into(),
                refused: Some("fingerprint of old".into()),
                ..WantedService::default()
            }]
        );
        assert_eq!(world.asked.borrow().len(), 2);

        let world = World::with_service(behind_token("other", modern(echo)), [token("old"), token("new")]);
        let got = world.serve(era.call("/mcp", "up__echo"));
        assert_eq!(got.json()["result"]["isError"], true);
        assert!(got.text().contains("does not accept the token"), "{}", got.text());
        assert_eq!((world.sent().len(), world.asked.borrow().len()), (2, 2), "no third try");
    }
}

#[test]
fn a_token_that_cannot_be_renewed_gives_the_link_to_connect_again() {
    let reconnect = Outcome::NeedsReconnect { url: CONNECT.into(), missing_scopes: vec![] };
    let world = World::with_service(behind_token("new", modern(echo)), [token("old"), reconnect]);
    let got = world.serve(Era::Legacy.call("/mcp", "up__echo")).json();
    assert_eq!(got["result"]["structuredContent"]["connect_url"], CONNECT);
    assert_eq!(got["result"]["structuredContent"]["state"], "needs_reconnect");
}

#[test]
fn a_service_that_is_not_connected_is_a_tool_error_with_the_link() {
    for era in BOTH {
        let world = World::with_service(modern(echo), [not_connected()]);
        let got = world.serve(era.call("/mcp/up", "echo"));
        let result = &got.json()["result"];
        assert_eq!((got.status, &result["isError"]), (OK, &true.into()));
        assert!(result["content"][0]["text"].as_str().unwrap().contains(CONNECT));
        assert_eq!(result["structuredContent"]["service"], "s");
        assert_eq!(result["structuredContent"]["connect_url"], CONNECT);
        assert_eq!(result["resultType"] == "complete", era == Era::Modern);
        assert_eq!(world.sent().len(), 0);
    }
}

#[test]
fn missing_scopes_a_busy_service_and_an_unknown_one_are_told_apart() {
    let cases = [
        (
            Outcome::NeedsReconnect { url: CONNECT.into(), missing_scopes: vec!["repo".into()] },
            "needs_reconnect",
            "repo",
        ),
        (Outcome::TemporarilyUnavailable(30), "unavailable", "30 s"),
        (Outcome::UnknownService, "misconfigured", "not in oauth_clients"),
    ];
    for (outcome, state, said) in cases {
        let world = World::with_service(modern(echo), [outcome]);
        let result = &world.serve(Era::Legacy.call("/mcp", "up__echo")).json()["result"];
        assert_eq!(result["structuredContent"]["state"], state);
        assert!(result["content"][0]["text"].as_str().unwrap().contains(said));
    }
}

#[test]
fn a_tool_that_is_hidden_is_as_unknown_as_one_that_does_not_exist() {
    let file = r#"{"mcpServers":{"up":{"url":"https://up.example/mcp","tools":{"deny":["get-*"]}},"off":{"url":"https://x.example","disabled":true}}}"#;
    for era in BOTH {
        for name in ["up__get-sum", "nobody__echo", "echo", "off__echo", "__echo", "up_echo", ""] {
            let world = World::new(file, vec![("https://up.example/mcp", modern(echo))]);
            let got = world.serve(era.call("/mcp", name));
            assert_eq!(got.error(), (OK, -32602), "{name}");
            assert_eq!(got.json()["error"]["message"], format!("Unknown tool: {name}"));
            assert_eq!(world.sent().len(), 0);
        }
        let world = World::new(file, vec![("https://up.example/mcp", modern(echo))]);
        assert_eq!(world.serve(era.call("/mcp/up", "get-sum")).error(), (OK, -32602));
    }
}

#[test]
fn a_call_that_names_its_tool_twice_or_not_at_all_is_refused() {
    for (params, expected) in [
        (r#"{"name":"up__echo","n\u0061me":"up__get-sum"}"#, (400, -32600)),
        ("{}", (OK, -32602)),
        (r#"{"name":7}"#, (OK, -32602)),
    ] {
        let body = format!(r#"{{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{params}}}"#);
        let world = World::with(modern(echo));
        assert_eq!(world.serve(with_body(Era::Legacy.call("/mcp", "up__echo"), &body)).error(), expected, "{params}");
        assert_eq!(world.sent().len(), 0);
    }
}

#[test]
fn an_upstream_that_is_down_is_a_tool_error_that_says_so() {
    let cases: [(Upstream, &str); 7] = [
        (Box::new(|_| Reply::Fails(SendError::Connection)), "the connection to it failed"),
        (Box::new(|_| Reply::Fails(SendError::Timeout)), "took too long"),
        (Box::new(|_| Reply::Fails(SendError::Denied)), "manifest"),
        (Box::new(|_| Reply::Answer(503, vec![], vec![])), "503"),
        (Box::new(|_| Reply::Answer(403, vec![], vec![])), "403"),
        (Box::new(|_| Reply::Answer(302, vec![("location", "https://evil.example".into())], vec![])), "redirects"),
        (Box::new(|_| Reply::Answer(200, vec![("content-type", "text/html".into())], vec![])), "not MCP"),
    ];
    for (upstream, said) in cases {
        let world = World::with(upstream);
        let got = world.serve(Era::Modern.call("/mcp", "up__echo"));
        let result = &got.json()["result"];
        assert_eq!((&result["isError"], &result["resultType"]), (&true.into(), &"complete".into()));
        assert!(result["content"][0]["text"].as_str().unwrap().contains(said), "{said}: {result}");
        assert!(world.store.borrow().keys().all(|key| key.starts_with("g.d.")), "only that it failed is learnt");
    }
}

#[test]
fn without_a_bearer_it_is_401_and_only_a_wrong_one_is_called_invalid() {
    for error in [ResolveError::InvalidToken, ResolveError::WrongAudience] {
        let world = World::with(modern(echo));
        *world.resolve_error.borrow_mut() = Some(error);
        for request in
            [Era::Legacy.list("/mcp"), Era::Modern.call("/mcp/up", "echo"), Era::Legacy.request("/mcp", "ping", "")]
        {
            let got = world.serve(request.clone());
            assert_eq!(
                (got.error(), got.header("www-authenticate")),
                ((401, 401), Some("Bearer error=\"invalid_token\""))
            );
            let got = world.serve(without_header(request.clone(), "authorization"));
            assert_eq!((got.error().0, got.header("www-authenticate")), (401, Some("Bearer")));
            let got = world.serve(with_header(request, "authorization", "Basic eDp5"));
            assert_eq!(got.header("www-authenticate"), Some("Bearer"));
        }
        assert_eq!(world.sent().len(), 0);
    }
}

#[test]
fn a_broker_that_is_away_or_misconfigured_is_the_installations_fault() {
    let world = World::with(modern(echo));
    *world.resolve_error.borrow_mut() = Some(ResolveError::Unavailable(7));
    let got = world.serve(Era::Legacy.list("/mcp"));
    assert_eq!((got.error().0, got.header("retry-after")), (503, Some("7")));
    *world.resolve_error.borrow_mut() = Some(ResolveError::Misconfigured("service_key: missing".into()));
    let got = world.serve(Era::Legacy.list("/mcp"));
    assert_eq!(got.error(), (500, -32603));
    assert!(got.text().contains("service_key: missing"));
    assert_eq!(world.logged.borrow().len(), 1);
}

#[test]
fn an_unknown_server_is_404_but_only_to_who_may_know() {
    let world = World::with(modern(echo));
    for path in ["/mcp/nobody", "/mcp/nobody/"] {
        assert_eq!(world.serve(Era::Legacy.list(path)).error(), (404, -32602));
    }
    assert_eq!(world.serve(Era::Legacy.list("/mcp/up/more")).error().0, 404);
    assert_eq!(world.serve(Era::Legacy.list("/mcpx")).error().0, 404);
    *world.resolve_error.borrow_mut() = Some(ResolveError::InvalidToken);
    assert_eq!(world.serve(Era::Legacy.list("/mcp/nobody")).error().0, 401);
}

#[test]
fn a_host_or_an_origin_that_is_not_ours_is_403() {
    let world = World::with(modern(echo));
    let at = |uri: &str, origin: Option<&str>| {
        let mut request = Era::Legacy.list("/mcp");
        *request.uri_mut() = uri.parse().unwrap();
        match origin {
            Some(origin) => with_header(request, "origin", origin),
            None => request,
        }
    };
    for (uri, origin, status) in [
        ("http://mcp.example.com/mcp", None, OK),
        ("http://MCP.example.com:443/mcp", None, OK),
        ("/mcp", None, OK),
        ("http://evil.example/mcp", None, 403),
        ("http://mcp.example.com:8080/mcp", None, 403),
        ("http://localhost/mcp", None, 403),
        ("/mcp", Some("https://mcp.example.com"), OK),
        ("/mcp", Some("http://localhost:6274"), 403),
        ("/mcp", Some("https://evil.example"), 403),
        ("/mcp", Some("http://mcp.example.com"), 403),
        ("/mcp", Some("https://localhost.evil.example"), 403),
        ("/mcp", Some("null"), 403),
    ] {
        assert_eq!(world.serve(at(uri, origin)).status, status, "{uri} {origin:?}");
    }
    let mut local = World::with(modern(echo));
    local.gateway = "http://127.0.0.1:3000".into();
    for (authority, status) in [
        ("127.0.0.1:3000", OK),
        ("localhost:3000", OK),
        ("[::1]:3000", OK),
        // R37: the settings do not know at which port the host listens.
        ("localhost:3011", OK),
        ("127.0.0.1", OK),
        ("127.0.0.2:3000", 403),
        ("rebound.example:3000", 403),
    ] {
        assert_eq!(local.serve(at(&format!("http://{authority}/mcp"), None)).status, status, "{authority}");
    }
    // On this machine the Inspector's page may call unless the file says otherwise, and no other page of it.
    let file = |origins: &str| format!(r#"{{"mcpServers":{{"up":{{"url":"https://up.example/mcp"}}}}{origins}}}"#);
    for (origins, page, status) in [
        ("", "http://127.0.0.1:3000", OK),
        ("", "http://localhost:6274", OK),
        ("", "http://127.0.0.1:6274", OK),
        ("", "http://localhost:8080", 403),
        (r#","browserOrigins":[]"#, "http://localhost:6274", 403),
        (r#","browserOrigins":["http://localhost:8080"]"#, "http://localhost:8080", OK),
    ] {
        let mut local = World::new(&file(origins), vec![("https://up.example/mcp", modern(echo))]);
        local.gateway = "http://127.0.0.1:3000".into();
        assert_eq!(local.serve(at("/mcp", Some(page))).status, status, "{origins} {page}");
    }
}

#[test]
fn without_a_public_url_another_machine_is_refused_whatever_it_says_of_itself() {
    let from = |addresses: &[&str]| {
        let mut request = Era::Modern.list("/mcp");
        *request.uri_mut() = "/mcp".parse().unwrap();
        for address in addresses {
            request.headers_mut().append("spin-client-addr", address.parse().unwrap());
        }
        request
    };
    let mut world = World::with(modern(echo));
    assert_eq!(world.serve(from(&["127.0.0.1:5000", "192.168.1.7:5000"])).status, OK);
    world.gateway = "http://127.0.0.1:3000".into();
    assert_eq!(world.serve(from(&["127.0.0.1:5000"])).status, OK);
    assert_eq!(world.serve(from(&["[::ffff:127.0.0.1]:5000"])).status, OK);
    for real in ["192.168.1.7:5000", "[2001:db8::1]:5000", "0.0.0.0:0", ""] {
        assert_eq!(world.serve(from(&["127.0.0.1:5000", real])).status, 403, "{real}");
    }
}

/// A25, A20, A21, A06: whether local mode is on or not, a gateway of this machine serves what comes from it directly, and no
/// page of another origin: at every address, before anything of the caller is looked at.
#[test]
fn on_loopback_what_came_by_a_proxy_or_from_another_page_is_403() {
    let mut world = World::with(modern(echo));
    world.gateway = "http://127.0.0.1:3000".into();
    *world.resolve_error.borrow_mut() = Some(ResolveError::InvalidToken);
    let send = |fields: &[(&str, &str)], path: &str| {
        let mut request = if path.ends_with("/sse") || path.ends_with("/servers") {
            Request::get(path).header("accept", "text/event-stream").body(Vec::new()).unwrap()
        } else {
            Era::Modern.list(path)
        };
        // By its `Host`, which is that of this world.
        *request.uri_mut() = path.parse().unwrap();
        for (name, value) in fields {
            request.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
        }
        world.serve(request).status
    };
    let own = "http://127.0.0.1:3000";
    let paths = ["/mcp", "/mcp/up", "/mcp/sse", "/mcp/up/sse", "/mcp/servers"];
    for path in paths {
        for fields in [
            &[("x-forwarded-for", "203.0.113.7")][..],
            &[("x-forwarded-host", "gatehouse.example.com")],
            &[("forwarded", "for=203.0.113.7")],
            &[("x-real-ip", "203.0.113.7")],
            &[("via", "1.1 proxy")],
            &[("cf-ray", "8a1")],
            &[("spin-client-addr", "203.0.113.7:5000")],
            &[("spin-client-addr", "")],
            &[("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "no-cors")],
            &[("sec-fetch-site", "same-site")],
            &[("origin", "http://localhost:8080")],
            &[("origin", own), ("origin", "http://evil.example")],
            &[("origin", own), ("origin", own)],
            &[("origin", "null")],
        ] {
            assert_eq!(send(fields, path), 403, "{path} {fields:?}");
        }
        // Node names a mode and no site: so do the proxy of the Inspector and most command-line clients.
        for fields in [&[][..], &[("sec-fetch-mode", "cors")], &[("origin", own), ("sec-fetch-site", "same-origin")]] {
            assert_eq!(send(fields, path), 401, "{path} {fields:?}");
        }
    }
    // A person who follows a link to the list of servers.
    let link = [("sec-fetch-site", "cross-site"), ("sec-fetch-mode", "navigate"), ("sec-fetch-dest", "document")];
    assert_eq!(send(&link, "/mcp/servers"), 401);
    assert_eq!(send(&link, "/mcp/sse"), 403);
}

#[test]
fn the_connections_tool_shows_what_is_connected_and_gives_links() {
    let file = r#"{"mcpServers":{"a":{"url":"https://a.example","service":"a"},"b":{"url":"https://b.example","service":"b"},"c":{"command":"x"}}}"#;
    for era in BOTH {
        let world = World::new(file, vec![("https://a.example/", modern(echo))]);
        world.outcomes.borrow_mut().insert("a", [token("t")].into());
        world.outcomes.borrow_mut().insert("b", [not_connected()].into());
        world.serve(era.list("/mcp"));
        let result = &world.serve(era.call("/mcp", "gatehouse_connections")).json()["result"];
        let servers = &result["structuredContent"]["servers"];
        let states: Vec<&str> =
            servers.as_array().unwrap().iter().map(|server| server["state"].as_str().unwrap()).collect();
        assert_eq!(states, ["ready", "not_connected", "unsupported"]);
        assert_eq!(servers[1]["connect_url"], CONNECT);
        assert!(result["content"][0]["text"].as_str().unwrap().contains(CONNECT));
        assert_eq!(result["resultType"] == "complete", era == Era::Modern);
    }
}

#[test]
fn no_secret_is_ever_printed() {
    let Outcome::Token(token) = token("very-secret") else { unreachable!() };
    assert_eq!(format!("{:?}", token.value), "[redacted]");
}

#[test]
fn what_is_kept_opens_for_nobody_else() {
    let world = World::with(modern(echo));
    world.serve(Era::Legacy.call("/mcp", "up__echo"));
    let (key, row) = world.store.borrow().clone().pop_last().unwrap();
    assert!(key.starts_with("g.u.") && key.len() == 4 + 43, "{key}");
    for text in ["alice", "up.example", "2026"] {
        assert!(!row.windows(text.len()).any(|window| window == text.as_bytes()));
    }
    // Damaged, cut or of another key, it is as if it were not there.
    for damage in
        [row[..row.len() - 1].to_vec(), vec![], [row.clone(), vec![0]].concat(), [vec![9], row[1..].to_vec()].concat()]
    {
        world.store.borrow_mut().insert(key.clone(), damage);
        world.sent();
        assert_eq!(world.serve(Era::Legacy.call("/mcp", "up__echo")).status, OK);
        assert_eq!(world.methods(), ["initialize", "server/discover", "tools/call"]);
    }
    world.sealing_key.set(8);
    world.serve(Era::Legacy.call("/mcp", "up__echo"));
    assert_eq!(world.methods(), ["initialize", "server/discover", "tools/call"]);
    assert_eq!(world.store.borrow().len(), 6, "not even the row's name is the same");
}

/// Wants more scopes of every token but `wide`.
fn wants_scopes(inner: Upstream) -> Upstream {
    Box::new(move |sent| match sent.header("authorization") {
        Some("Bearer wide") => inner(sent),
        _ => {
            let challenge =
                r#"Bearer error="insufficient_scope", scope="repo read:org", resource_metadata="https://x""#;
            Reply::Answer(403, vec![("www-authenticate", challenge.into())], vec![])
        }
    })
}

fn can_show_links(request: Request<Vec<u8>>) -> Request<Vec<u8>> {
    let body = String::from_utf8(request.body().clone()).unwrap();
    with_body(request, &body.replace(r#"clientCapabilities":{}"#, r#"clientCapabilities":{"elicitation":{"url":{}}}"#))
}

#[test]
fn scopes_that_an_upstream_calls_for_are_asked_of_the_broker_and_the_person_gets_the_link() {
    let missing = Outcome::NeedsReconnect { url: CONNECT.into(), missing_scopes: vec!["repo".into()] };
    for era in BOTH {
        let world = World::with_service(wants_scopes(modern(echo)), [token("narrow"), missing.clone()]);
        let got = world.serve(era.call("/mcp", "up__echo")).json();
        assert_eq!(got["result"]["structuredContent"]["connect_url"], CONNECT);
        assert!(got["result"]["content"][0]["text"].as_str().unwrap().contains("repo"));
        let asked = &world.asked.borrow()[1].services[0];
        assert_eq!((&asked.scopes, &asked.refused), (&vec!["repo".to_owned(), "read:org".to_owned()], &None));
    }
    // What the broker has already is used at once, and only once.
    let world = World::with_service(wants_scopes(modern(echo)), [token("narrow"), token("wide")]);
    assert_eq!(world.serve(Era::Modern.call("/mcp", "up__echo")).json()["result"]["content"][0]["text"], "hi of echo");
    let world = World::with_service(wants_scopes(modern(echo)), [token("narrow"), token("other")]);
    let got = world.serve(Era::Modern.call("/mcp", "up__echo"));
    assert!(got.text().contains("it wants more rights: repo read:org"), "{}", got.text());
    assert_eq!(world.asked.borrow().len(), 2);
}

#[test]
fn a_client_that_can_show_a_link_is_asked_to_in_its_own_eras_form() {
    let world = World::with_service(modern(echo), [not_connected()]);
    let modern_call = || can_show_links(Era::Modern.call("/mcp", "up__echo"));
    let result = world.serve(modern_call()).json()["result"].clone();
    assert_eq!(result["resultType"], "input_required");
    let asked = &result["inputRequests"]["connect"];
    assert_eq!(
        (&asked["method"], &asked["params"]["mode"], &asked["params"]["url"]),
        (&"elicitation/create".into(), &"url".into(), &CONNECT.into())
    );
    // When the person has connected, the same call with its answer just works, and the answer is not the upstream's.
    world.outcomes.borrow_mut().insert("s", [token("t")].into());
    let body = String::from_utf8(modern_call().body().clone()).unwrap();
    let again = body.replace(
        r#""name":"#,
        &format!(
            r#""inputResponses":{{"connect":{{"action":"accept"}}}},"requestState":{},"name":"#,
            result["requestState"]
        ),
    );
    let got = world.serve(with_body(modern_call(), &again));
    assert_eq!(got.json()["result"]["content"][0]["text"], "hi of echo");
    let sent = world.sent().pop().unwrap().json();
    assert!(sent["params"]["inputResponses"].is_null() && sent["params"]["requestState"].is_null());

    let session = |version: &str| {
        let members = format!(r#""protocolVersion":"{version}","capabilities":{{"elicitation":{{"url":{{}}}}}}"#);
        let opened = world.serve(Era::Legacy.request("/mcp", "initialize", &members));
        opened.header("mcp-session-id").unwrap().to_owned()
    };
    let (new, old) = (session("2025-11-25"), session("2025-06-18"));
    world.outcomes.borrow_mut().insert("s", [not_connected()].into());
    let got = world.serve(with_header(Era::Legacy.call("/mcp", "up__echo"), "mcp-session-id", &new));
    assert_eq!(got.error(), (OK, -32042));
    let asked = got.json()["error"]["data"]["elicitations"][0].clone();
    assert_eq!((&asked["mode"], &asked["url"]), (&"url".into(), &CONNECT.into()));
    assert!(asked["elicitationId"].as_str().is_some_and(|id| !id.is_empty() && !id.contains("ticket")));
    let got = world.serve(with_header(Era::Legacy.call("/mcp", "up__echo"), "mcp-session-id", &old));
    assert_eq!(got.json()["result"]["isError"], true, "its version has no links");
}

#[test]
fn what_is_no_tool_and_not_connected_is_an_error_with_the_link() {
    for era in BOTH {
        let world = World::with_service(modern(echo), [not_connected()]);
        let got = world.serve(era.request("/mcp/up", "resources/read", r#""uri":"x:y""#));
        assert_eq!(got.error(), (OK, -32603));
        assert_eq!(got.json()["error"]["data"]["connect_url"], CONNECT);
        let got = world.serve(era.request("/mcp/up", "prompts/list", ""));
        assert_eq!(got.json()["result"]["prompts"], serde_json::json!([]), "a list just lacks what is not there");
    }
}

#[test]
fn two_servers_of_one_service_may_be_two_accounts_of_one_person() {
    let file = r#"{"mcpServers":{"a":{"url":"https://up.example/mcp","service":"s"},"b":{"url":"https://up.example/mcp","service":"s","account":"work"}}}"#;
    let world = World::new(file, vec![("https://up.example/mcp", modern(echo))]);
    world.outcomes.borrow_mut().insert("s", [token("t")].into());
    world.serve(Era::Modern.call("/mcp", "b__echo"));
    world.serve(Era::Modern.list("/mcp"));
    let asked = world.asked.borrow();
    assert_eq!(asked[0].services[0].account.as_deref(), Some("work"));
    let accounts: Vec<_> = asked[1].services.iter().map(|wanted| wanted.account.as_deref()).collect();
    assert_eq!(accounts, [None, Some("work")]);
}
