//! What a browser gets: the answers that a page of another origin may read, and the page that a person sees.

use http::{HeaderName, Method};

use super::upstreams::{echo, legacy, modern};
use super::*;

const LOCAL: &str = "http://127.0.0.1:3000";
const INSPECTOR: &str = "http://localhost:6274";
const FOREIGN: &str = "http://localhost:8080";
/// Every kind of MCP endpoint.
const ENDPOINTS: [&str; 6] = ["/mcp", "/mcp/up", "/mcp/work", "/mcp/nobody", "/mcp/sse", "/mcp/up/sse"];
const NOT_ENDPOINTS: [&str; 3] = ["/mcp/servers", "/mcp/a/b", "/elsewhere"];

/// A gateway of this machine, or one at a public address that lets the Inspector's page in.
fn world(is_local: bool) -> World {
    let file = |origins| {
        format!(
            r#"{{"mcpServers":{{"up":{{"url":"https://up.example/mcp"}}}},"endpoints":{{"work":["up"]}}{origins}}}"#
        )
    };
    let listed = format!(r#","browserOrigins":["{INSPECTOR}"]"#);
    let mut world =
        World::new(&file(if is_local { "" } else { &listed }), vec![("https://up.example/mcp", modern(echo))]);
    if is_local {
        world.gateway = LOCAL.into();
    }
    world
}

/// `request` at `path` of this world, with more header fields.
fn at(mut request: Request<Vec<u8>>, path: &str, fields: &[(&str, &str)]) -> Request<Vec<u8>> {
    *request.uri_mut() = path.parse().unwrap();
    for (name, value) in fields {
        request.headers_mut().append(HeaderName::from_bytes(name.as_bytes()).unwrap(), value.parse().unwrap());
    }
    request
}

fn bare(method: Method, path: &str, fields: &[(&str, &str)]) -> Request<Vec<u8>> {
    at(Request::builder().method(method).body(Vec::new()).unwrap(), path, fields)
}

fn preflight(path: &str, origin: &str) -> Request<Vec<u8>> {
    let wanted = "authorization,content-type,mcp-method,Mcp-Param-Region,mcp-later,x-secret,mcp-a secret";
    let fields = [
        ("origin", origin),
        ("sec-fetch-site", "cross-site"),
        ("access-control-request-method", "POST"),
        ("access-control-request-headers", wanted),
    ];
    bare(Method::OPTIONS, path, &fields)
}

fn list<'g>(got: &'g Got, name: &str) -> Vec<&'g str> {
    got.headers.get_all(name).iter().flat_map(|value| value.to_str().unwrap().split(", ")).collect()
}

/// Returns true if an answer says that the page of `origin` may read it.
fn lets(got: &Got, origin: &str) -> bool {
    let granted = list(got, "access-control-allow-origin");
    assert!(granted.is_empty() || granted == [origin], "{granted:?}");
    assert_eq!(got.header("access-control-allow-credentials"), None);
    granted == [origin]
}

/// R35: a page that the guard lets in is told what it may send and read, without a bearer.
#[test]
fn a_preflight_of_a_page_that_is_let_in_is_answered() {
    for is_local in [true, false] {
        for path in ENDPOINTS {
            let world = world(is_local);
            let own = world.gateway.clone();
            for page in [INSPECTOR, own.as_str()] {
                let got = world.serve(preflight(path, page));
                assert_eq!((got.status, got.text()), (204, String::new()), "{path} {page}");
                assert!(lets(&got, page));
                assert_eq!(list(&got, "access-control-allow-methods"), ["GET", "POST", "DELETE"]);
                let sent = list(&got, "access-control-allow-headers");
                for name in ["authorization", "content-type", "mcp-session-id", "mcp-protocol-version", "mcp-method"] {
                    assert!(sent.contains(&name), "{name}: {sent:?}");
                }
                for name in ["mcp-name", "last-event-id", "Mcp-Param-Region", "mcp-later"] {
                    assert!(sent.contains(&name), "{name}: {sent:?}");
                }
                assert!(!sent.iter().any(|name| name.contains("secret") || name.contains('*')), "{sent:?}");
                assert!(list(&got, "vary").contains(&"Origin"));
            }
            assert_eq!((world.asked.borrow().len(), world.sent().len()), (0, 0));
        }
    }
}

/// R35: nobody else gets CORS, and nothing but the endpoints of MCP has it.
#[test]
fn no_other_page_gets_cors_and_nothing_else_has_it() {
    for is_local in [true, false] {
        let world = world(is_local);
        for path in ENDPOINTS {
            for page in [FOREIGN, "null", "https://evil.example", "http://localhost:6274.evil.example", ""] {
                for request in [preflight(path, page), at(Era::Modern.list(path), path, &[("origin", page)])] {
                    let what = format!("{} {path} {page}", request.method());
                    let got = world.serve(request);
                    assert_eq!((got.status, lets(&got, page)), (403, false), "{what}");
                    assert_eq!(got.header("access-control-allow-methods"), None, "{what}");
                }
            }
            let two = at(preflight(path, INSPECTOR), path, &[("origin", INSPECTOR)]);
            let got = world.serve(two);
            assert_eq!((got.status, lets(&got, INSPECTOR)), (403, false), "two origins at {path}");
            // What has no origin is no preflight, and neither is what does not say what it asks about.
            let got = world.serve(bare(Method::OPTIONS, path, &[("access-control-request-method", "POST")]));
            assert_eq!((got.status, got.header("allow")), (405, Some("POST, GET, DELETE")), "{path}");
            let got = world.serve(bare(Method::OPTIONS, path, &[("origin", INSPECTOR)]));
            assert_eq!((got.status, lets(&got, INSPECTOR)), (405, true), "{path}");
        }
        for path in NOT_ENDPOINTS {
            for request in [preflight(path, INSPECTOR), bare(Method::GET, path, &[("origin", INSPECTOR)])] {
                let what = format!("{} {path}", request.method());
                assert!(!lets(&world.serve(request), INSPECTOR), "{what}");
            }
        }
    }
    // A proxy, another machine and a rebound name get no CORS either: not even for an error.
    let world = world(true);
    for fields in [[("via", "1.1 proxy")], [("spin-client-addr", "203.0.113.7:5000")], [("host", "evil.example:3000")]]
    {
        let got = world.serve(at(preflight("/mcp", INSPECTOR), "/mcp", &fields));
        assert_eq!((got.status, lets(&got, INSPECTOR)), (403, false), "{fields:?}");
    }
}

/// R35: a client that cannot read an error cannot sign in.
#[test]
fn a_page_that_is_let_in_can_read_every_answer() {
    let page = [("origin", INSPECTOR), ("sec-fetch-site", "cross-site")];
    let modern = || at(Era::Modern.list("/mcp"), "/mcp", &page);
    let large = "x".repeat(crate::routes::BODY_LIMIT + 1);
    for (request, status) in [
        (modern(), 200),
        (without_header(modern(), "authorization"), 401),
        (with_header(modern(), "authorization", "Bearer a b"), 401),
        (at(modern(), "/mcp", &[("authorization", "Bearer again")]), 400),
        (at(Era::Modern.list("/mcp"), "/mcp/nobody", &page), 404),
        (bare(Method::PUT, "/mcp", &page), 405),
        (with_header(modern(), "accept", "text/plain"), 406),
        (with_body(modern(), &large), 413),
        (with_header(modern(), "content-type", "text/plain"), 415),
        (with_header(modern(), "gatehouse-hop", "99"), 508),
    ] {
        let what = format!("{} {:?}", request.uri(), request.headers());
        let got = world(false).serve(request);
        assert_eq!((got.status, lets(&got, INSPECTOR)), (status, true), "{what}");
        let exposed = list(&got, "access-control-expose-headers");
        for name in ["mcp-session-id", "mcp-protocol-version", "www-authenticate", "retry-after"] {
            assert!(exposed.contains(&name), "{name}: {exposed:?}");
        }
        assert!(list(&got, "vary").contains(&"Origin"), "{what}");
    }
    // A session, and a stream.
    let world = World::with(legacy(echo));
    world.servers.replace(format!(
        r#"{{"mcpServers":{{"up":{{"url":"https://up.example/mcp"}}}},"browserOrigins":["{INSPECTOR}"]}}"#
    ));
    let initialize = Era::Legacy.request("/mcp", "initialize", r#""protocolVersion":"2025-11-25","capabilities":{}"#);
    let opened = world.serve(at(initialize, "/mcp", &page));
    assert!(lets(&opened, INSPECTOR) && opened.header("mcp-session-id").is_some());
    let stream = Request::get("/mcp/sse").header("accept", "text/event-stream").header("authorization", "Bearer b");
    let got = world.serve_until(at(stream.body(Vec::new()).unwrap(), "/mcp/sse", &page), 1);
    assert_eq!((got.status, got.header("content-type")), (200, Some("text/event-stream")));
    assert!(lets(&got, INSPECTOR));
    // Whether there is a page or not, a cache may not mix the answers up.
    assert!(list(&world.serve(Era::Legacy.list("/mcp")), "vary").contains(&"Origin"));
}

/// R37: at another port the page of that port is our own, and that of the settings' port is another one.
#[test]
fn at_another_port_of_this_machine_only_that_ports_page_is_our_own() {
    let world = world(true);
    for (host, page, status) in [
        ("127.0.0.1:3011", "http://127.0.0.1:3011", OK),
        ("localhost:3011", "http://127.0.0.1:3011", OK),
        ("127.0.0.1:3011", INSPECTOR, OK),
        ("127.0.0.1:3011", LOCAL, 403),
        ("127.0.0.1:3011", "http://localhost:3012", 403),
        ("127.0.0.1:3011", "https://127.0.0.1:3011", 403),
    ] {
        let got = world.serve(at(Era::Modern.list("/mcp"), "/mcp", &[("host", host), ("origin", page)]));
        assert_eq!((got.status, lets(&got, page)), (status, status == OK), "{host} {page}");
    }
}

/// What a browser sends when a person opens an address.
const NAVIGATION: [(&str, &str); 3] = [
    ("accept", "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"),
    ("sec-fetch-mode", "navigate"),
    ("sec-fetch-dest", "document"),
];

/// R55: a person who opens an endpoint sees the same page at each of them, be it there or not, and known or not.
#[test]
fn a_person_who_opens_an_endpoint_gets_a_page_without_data() {
    let mut pages = Vec::new();
    for is_local in [true, false] {
        for path in ENDPOINTS {
            for more in [&[("sec-fetch-site", "none")][..], &[("sec-fetch-site", "cross-site")], &[("cookie", "a=b")]] {
                for bearer in [None, Some(BEARER), Some("a b")] {
                    let world = world(is_local);
                    let mut request = bare(Method::GET, path, &[&NAVIGATION[..], more].concat());
                    if let Some(bearer) = bearer {
                        request = with_header(request, "authorization", &format!("Bearer {bearer}"));
                    }
                    let got = world.serve(request);
                    assert_eq!((got.status, got.header("content-type")), (OK, Some("text/html; charset=utf-8")));
                    assert_eq!((list(&got, "vary"), got.header("cache-control")), (vec!["Accept"], Some("no-store")));
                    let policy = got.header("content-security-policy").unwrap();
                    assert!(policy.starts_with("default-src 'none'") && policy.contains("frame-ancestors 'none'"));
                    assert!(!policy.contains("unsafe") && !got.text().contains("<script"));
                    assert_eq!(got.header("x-frame-options"), Some("DENY"));
                    assert_eq!((world.asked.borrow().len(), world.loads.get(), world.reads.get()), (0, 0, 0));
                    pages.push(got.text());
                }
            }
            let got = world(is_local).serve(bare(Method::HEAD, path, &NAVIGATION));
            assert_eq!((got.status, got.header("vary")), (OK, Some("Accept")), "{path}");
        }
    }
    assert!(pages[0].contains("Streamable HTTP") && pages[0].contains(&format!("href=\"{BROKER}/\"")), "{}", pages[0]);
    assert!(pages.iter().all(|page| *page == pages[0]));
}

/// R55: what is no browser's question for a page is answered as before.
#[test]
fn every_other_get_is_answered_as_before() {
    let events = "text/event-stream";
    for (path, accept, status) in [
        ("/mcp", events, 401),
        ("/mcp", "*/*", 401),
        ("/mcp", "application/json, text/event-stream", 401),
        ("/mcp", "text/html, text/event-stream", 401),
        ("/mcp", "text/html;q=0, */*", 401),
        ("/mcp/servers", NAVIGATION[0].1, 401),
        ("/mcp/a/b", NAVIGATION[0].1, 404),
        ("/elsewhere", NAVIGATION[0].1, 404),
    ] {
        let got = world(false).serve(bare(Method::GET, path, &[("accept", accept)]));
        assert_eq!(got.status, status, "{path} {accept}");
    }
    // Of another name of ours, of another machine: the guard comes first.
    for fields in [("host", "evil.example"), ("via", "1.1 proxy")] {
        let got = world(true).serve(bare(Method::GET, "/mcp", &[&NAVIGATION[..], &[fields]].concat()));
        assert_eq!(got.status, 403, "{fields:?}");
    }
    let posted = at(Era::Modern.list("/mcp"), "/mcp", &[("accept", "text/html")]);
    assert_eq!(world(false).serve(posted).status, OK, "a POST is a message");
    let head = bare(Method::HEAD, "/mcp", &[("accept", "*/*")]);
    assert_eq!(world(false).serve(head).status, 405);
}
