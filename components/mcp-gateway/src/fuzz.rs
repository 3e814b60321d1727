//! Checks what must hold for any bytes from outside: they are answered, and pass unchanged.
//!
//! One function for each way in; `tests/fuzz` feeds them. Each panics if the gateway changes what it has to leave alone, or
//! sends requests without end.

use std::rc::Rc;
use std::time::Duration;

use http::Request;
use http_auth::Hops;
use serde_json::Value;

#[path = "spec/readers.rs"]
mod readers;
#[path = "spec/upstreams.rs"]
mod upstreams;
#[path = "spec/world.rs"]
pub mod world;
use readers::{differ, differ_about_entry};
use upstreams::{echo, json_reply, legacy, legacy_stateless, modern};
use world::{ANYWHERE, Era, Piece, Reply, Sent, Upstream, World, with_body, with_header};

use crate::config::Config;
use crate::eras::modern::encoded;
use crate::host::Caller;
use crate::memory::{Met, Place};
use crate::session::Profile;
use crate::upstream::Link;
use json::{Object, quoted};

/// A client's message: the first byte chooses its era, the server, the route, and whether there are rules for the server's
/// tools; the rest is the body.
pub fn requests(data: &[u8]) {
    let [choice, body @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(body) else { return };
    let (era, server, single) = (era_of(*choice), Server::of(choice >> 1), choice & 8 != 0);
    let (is_ruled, is_searched) = (choice & 16 != 0, choice & 32 != 0);
    let world =
        if is_ruled { World::new(RULED, vec![(ANYWHERE, server.upstream())]) } else { World::with(server.upstream()) };
    world.serve(era.call("/mcp/up", "echo"));
    world.sent();

    let path = match (single, is_ruled && is_searched) {
        (true, _) => "/mcp/up",
        (false, true) => "/mcp/found",
        (false, false) => "/mcp",
    };
    let got = world.serve(request(era, path, text));
    assert_ne!(got.status, 500, "{}", got.text());
    assert!(got.finished, "cut off: {}", got.text());
    let sent = world.sent();
    assert!(sent.len() <= MOST_SENT, "{} requests for one", sent.len());
    for sent in sent.iter().filter(|sent| !sent.body.is_empty()) {
        assert_eq!(differ(&sent.body), None, "{text} became {}", sent.body);
        if is_ruled && sent.method_in_text() == "tools/call" {
            let name = Object::parse(&sent.body).ok().and_then(|message| message.object("params").ok().flatten());
            let name = name.and_then(|params| params.string("name").ok().flatten().map(|name| name.into_owned()));
            assert!(matches!(name.as_deref(), Some("echo" | "get-sum")), "{text} called {name:?}");
        }
    }
    if is_ruled && is_searched && !single {
        return;
    }
    let Ok(asked) = Object::parse(text) else { return };
    let method = asked.string("method").ok().flatten().unwrap_or_default().into_owned();
    // A request of the gateway's own is not made of the client's.
    for sent in sent.iter().filter(|sent| is_passed(&method) && sent.method_in_text() == method) {
        match server {
            Server::Modern if era == Era::Modern => only_the_name_differs(text, &sent.body),
            Server::Stateless if era == Era::Legacy => only_the_name_differs(text, &sent.body),
            _ => same_but_for_the_era(text, &sent.body),
        }
    }
}

/// A server's answer to a call or a list: the first byte chooses client and server, the second how the answer comes, the
/// rest is its body, in which `$` stands for the request's id.
pub fn passages(data: &[u8]) {
    let [choice, how, body @ ..] = data else { return };
    let Ok(text) = std::str::from_utf8(body) else { return };
    let (era, server) = (era_of(*choice), Server::of(choice >> 1));
    let (is_list, single) = (choice & 8 != 0, choice & 16 != 0);
    let status = [200, 200, 200, 202, 400, 404, 500][usize::from(how & 7) % 7];
    let is_events = how & 8 != 0;
    let pieces = usize::from(how >> 4) + 1;
    let (kept, answered): (Rc<str>, Rc<std::cell::RefCell<String>>) = (text.into(), Rc::default());
    let (last, inner) = (answered.clone(), server.upstream());
    let world = World::with(Box::new(move |sent| {
        if !matches!(&*sent.method_in_text(), "tools/call" | "tools/list") {
            return inner(sent);
        }
        let message = Object::parse(&sent.body).unwrap();
        let text = kept.replace('$', message.find("id").unwrap());
        last.replace(text.clone());
        let media_type = if is_events { "text/event-stream" } else { "application/json; charset=utf-8" };
        Reply::Answer(status, vec![("content-type", media_type.into())], cut(&text, pieces))
    }));
    let path = if single { "/mcp/up" } else { "/mcp" };
    let got = world.serve(match is_list {
        true => era.list(path),
        false => era.call(path, if single { "echo" } else { "up__echo" }),
    });
    assert!(got.finished, "cut off: {}", got.text());
    assert!(world.sent().len() <= MOST_SENT, "asked without end");
    // A server may have its client wait for a minute before it resumes a stream.
    assert!(world.elapsed() < Duration::from_secs(120), "waited for what was there");

    let straight =
        (era == Era::Modern) == (server == Server::Modern) && server != Server::Sessions && (single || !is_list);
    let answer = answered.take();
    let answer = answer.strip_prefix('\u{feff}').unwrap_or(&answer);
    if got.header("content-type") == Some("text/event-stream") {
        let said: Vec<String> = read_events(answer.as_bytes(), answer.len().max(1));
        for message in read_events(got.text().as_bytes(), 7) {
            assert!(Object::parse(&message).is_ok(), "no message: {message}");
            assert_eq!(differ(&message), None, "{message}");
            let is_said = said.iter().any(|said| said.strip_prefix('\u{feff}').unwrap_or(said) == message);
            // Where many servers share an endpoint, what they say names them.
            let passes = straight && single;
            assert!(!passes || is_own(&message) || is_said, "{message} is none of {said:?}");
        }
    } else if !got.text().is_empty() {
        let text = got.text();
        let is_json = serde_json::from_str::<serde::de::IgnoredAny>(&text).is_ok();
        let passed = straight && status < 300 && !is_events;
        let expected = if passed { text == answer || is_json && is_own(&text) } else { is_json };
        assert!(expected, "{text} came of {answer}");
        assert_eq!(differ(&text), None, "{text}");
        if is_list && !single {
            let listed = Object::parse(&text).ok().and_then(|message| message.object("result").ok().flatten());
            let entries = listed.and_then(|result| result.get("tools").ok().flatten().and_then(json::array));
            for entry in entries.unwrap_or_default() {
                assert_eq!(differ_about_entry(entry), None, "{entry}");
            }
        }
    }
}

/// What an operator writes: no URL but those of the rules is ever called.
pub fn files(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let world = World::new("", vec![(ANYWHERE, modern(echo))]);
    world.servers.replace(text.to_owned());
    let names: Vec<String> = Config::read(text)
        .map(|config| config.servers().map(|server| server.prefix.to_owned()).collect())
        .unwrap_or_default();
    for name in ["gatehouse_connections", "a__b"]
        .into_iter()
        .map(str::to_owned)
        .chain(names.iter().take(3).map(|name| format!("{name}__echo")))
    {
        world.serve(Era::Modern.request("/mcp", "tools/call", &format!(r#""name":{}"#, quoted(&name))));
    }
    let got = world.serve(Era::Legacy.list("/mcp"));
    if got.status == 200 {
        for tool in got.tool_names() {
            assert!(tool.len() <= 64 && tool.is_ascii(), "{tool}");
        }
    }
    let overview = Request::get(format!("{}/mcp/servers", world::GATEWAY)).body(Vec::new()).unwrap();
    world.serve(overview);
    for sent in world.sent() {
        let url: http::Uri = sent.url.parse().unwrap();
        let host = url.host().unwrap().trim_end_matches('.').to_ascii_lowercase();
        assert!(host != "spin.internal" && !host.ends_with(".spin.internal"), "{url}");
        let is_safe = url.scheme_str() == Some("https") || http_auth::address::is_loopback(&host);
        assert!(is_safe, "{url}");
    }
}

/// What lies in the store: as it is, and as the content of the sealed rows of an upstream.
pub fn rows(data: &[u8]) {
    let [choice, data @ ..] = data else { return };
    let server = Server::of(choice >> 1);
    let world = World::with(server.upstream());
    let era = era_of(*choice);
    let works = |world: &World| {
        let got = world.serve(era.call("/mcp", "up__echo"));
        assert!(got.text().contains("hi of echo"), "{}", got.text());
        assert_eq!(world.serve(era.list("/mcp")).status, 200);
        assert!(world.sent().len() <= MOST_SENT);
    };
    works(&world);
    let keys: Vec<String> = world.store.borrow().keys().cloned().collect();
    for key in keys {
        world.store.borrow_mut().insert(key, data.to_vec());
    }
    works(&world);

    let text = world.servers.borrow().clone();
    let config = Config::read(&text).unwrap();
    let caller = Caller {
        subject: "alice".into(),
        expires_at: None,
        sealing_key: vec![7; 32],
        hops: Hops::default(),
        met: Met::default(),
    };
    let server = config.servers().next().unwrap();
    let link = Link { server: &server, token: None, caller: &caller, profile: Profile::NONE };
    for (kind, more) in [("u", "0"), ("f", ""), ("l", "tools0"), ("s", "")] {
        Place::of(kind, link, more).write(&world, &caller, data);
    }
    // It may be anything that the gateway itself could have written, so the server may be spoken to in a wrong way.
    assert_ne!(world.serve(era.call("/mcp", "up__echo")).status, 500);
    assert_eq!(world.serve(era.list("/mcp")).status, 200);
    assert_eq!(world.serve(Era::Legacy.request("/mcp", "initialize", r#""protocolVersion":"2025-11-25""#)).status, 200);
    assert!(world.sent().len() <= MOST_SENT);
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Server {
    Modern,
    Sessions,
    Stateless,
}

impl Server {
    fn of(choice: u8) -> Self {
        [Self::Modern, Self::Sessions, Self::Stateless][usize::from(choice & 3) % 3]
    }

    fn upstream(self) -> Upstream {
        let inner = match self {
            Self::Modern => modern(echo),
            Self::Sessions => legacy(echo),
            Self::Stateless => legacy_stateless(echo),
        };
        // Only what can be read into values is read by these.
        Box::new(move |sent| match serde_json::from_str::<Value>(&sent.body) {
            Err(_) if !sent.body.is_empty() => json_reply(200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
            Ok(message) if !message["method"].is_string() => Reply::Answer(202, vec![], vec![]),
            _ => inner(sent),
        })
    }
}

impl Sent {
    fn method_in_text(&self) -> String {
        let message = Object::parse(&self.body).ok();
        message
            .and_then(|message| message.string("method").ok().flatten().map(|method| method.into_owned()))
            .unwrap_or_default()
    }
}

fn era_of(choice: u8) -> Era {
    if choice & 1 == 0 { Era::Legacy } else { Era::Modern }
}

/// A request whose headers say what its body says, as far as that can be said.
fn request(era: Era, path: &str, text: &str) -> Request<Vec<u8>> {
    let mut request = with_body(era.list(path), text);
    let Ok(message) = Object::parse(text) else { return request };
    if era == Era::Modern {
        let method = message.string("method").ok().flatten().unwrap_or_default();
        let params = message.object("params").ok().flatten();
        let name = params.and_then(|params| {
            ["name", "uri", "taskId"]
                .into_iter()
                .find_map(|member| params.string(member).ok().flatten().map(|name| name.into_owned()))
        });
        request = with_header(request, "mcp-method", &encoded(&method));
        if let Some(name) = name {
            request = with_header(request, "mcp-name", &encoded(&name));
        }
    }
    request
}

/// Requests that are one server's to answer.
fn is_passed(method: &str) -> bool {
    matches!(method, "tools/call" | "prompts/get" | "resources/read" | "completion/complete")
}

/// Returns true if both are alike but for one string in them.
fn only_the_name_differs(asked: &str, sent: &str) {
    let (a, b) = (asked.as_bytes(), sent.as_bytes());
    let start = a.iter().zip(b).take_while(|(a, b)| a == b).count();
    let most = a.len().min(b.len()) - start;
    let end = a.iter().rev().zip(b.iter().rev()).take_while(|(a, b)| a == b).count().min(most);
    let (cut, put) = (&a[start..a.len() - end], &b[start..b.len() - end]);
    // A name holds no comma, brace or bracket that could have been taken for one of the message's own.
    assert!(put.len() <= cut.len(), "{asked} became {sent}");
    let own = Object::parse(sent).unwrap();
    assert_eq!(own.members().count(), Object::parse(asked).unwrap().members().count(), "{asked} became {sent}");
}

/// Returns true if both say the same but for what their eras say differently. What values cannot hold is not compared.
fn same_but_for_the_era(asked: &str, sent: &str) {
    // A `_meta` that is there twice has no one value, and does not pass between the eras.
    let params = Object::parse(asked).ok().and_then(|message| message.object("params").ok().flatten());
    if params.is_some_and(|params| params.object("_meta").is_err()) {
        return;
    }
    let read = |text: &str| -> Option<Value> {
        let mut message: Value = serde_json::from_str(text).ok()?;
        message.as_object_mut()?.remove("id");
        if message["params"].is_null() {
            message.as_object_mut()?.remove("params");
        }
        if let Some(params) = message.get_mut("params").and_then(Value::as_object_mut) {
            for name in ["name", "uri", "ref", "inputResponses", "requestState"] {
                params.remove(name);
            }
            if let Some(meta) = params.get_mut("_meta").and_then(Value::as_object_mut) {
                for name in ["protocolVersion", "clientCapabilities", "clientInfo", "logLevel"] {
                    meta.remove(&format!("io.modelcontextprotocol/{name}"));
                }
            }
            if params.get("_meta").is_none_or(|meta| !meta.is_object() || meta == &serde_json::json!({})) {
                params.remove("_meta");
            }
        }
        Some(message)
    };
    if let (Some(asked_value), Some(sent_value)) = (read(asked), read(sent)) {
        assert_eq!(asked_value, sent_value, "{asked} became {sent}");
    }
}

/// The text in so many pieces. No piece ends within a character.
fn cut(text: &str, pieces: usize) -> Vec<Piece> {
    let length = (text.len() / pieces).max(1);
    let mut all = Vec::new();
    let mut start = 0;
    while start < text.len() {
        let end = (start + length..=text.len()).find(|end| text.is_char_boundary(*end)).unwrap_or(text.len());
        all.push(Piece::Bytes(text[start..end].as_bytes().to_vec()));
        start = end;
    }
    all
}

/// The messages of a stream, read in pieces of this length.
fn read_events(stream: &[u8], length: usize) -> Vec<String> {
    let mut parser = crate::sse::Parser::default();
    let mut messages = Vec::new();
    let mut take = |piece| {
        if let crate::sse::Piece::Message(text) = piece {
            messages.push(text);
        }
    };
    for chunk in stream.chunks(length) {
        parser.push(chunk);
        while let Ok(Some(piece)) = parser.piece() {
            take(piece);
        }
    }
    parser.finish();
    while let Ok(Some(piece)) = parser.piece() {
        take(piece);
    }
    messages
}

/// Returns true if the gateway itself says that something went wrong.
fn is_own(message: &str) -> bool {
    message.contains("The server up could not be")
}

/// One server with rules for its tools. It lists `echo` and `get-sum`.
const RULED: &str = r#"{"endpoints":{"found":{"servers":["up"],"tools":"search"}},
    "mcpServers":{"up":{"url":"https://up.example/mcp","tools":{"deny":["denied"]}}}}"#;

/// The most that one request may lead to: a session, a list of pages, and rounds of input.
const MOST_SENT: usize = 160;
