//! What is not ours to change passes byte for byte.
//!
//! The corpus is `tests/fixtures/src/odd.rs`; `tests/e2e/tests/faithful.rs` sends the same through the built components.

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::odd;
use super::upstreams::{echo, events_reply, json_reply, legacy, legacy_stateless, modern};
use super::*;
use crate::eras::IMPLEMENTATION;
use crate::eras::modern::encoded;
use crate::json::Object;
use crate::names;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Modern,
    /// Legacy, with sessions, where ids are replaced.
    Sessions,
    /// Legacy, without.
    Stateless,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Form {
    Json,
    /// One event.
    Event,
    /// Notifications before it.
    Stream,
}

const KINDS: [Kind; 3] = [Kind::Modern, Kind::Sessions, Kind::Stateless];
const ERAS: [Era; 2] = [Era::Legacy, Era::Modern];
const FORMS: [Form; 3] = [Form::Json, Form::Event, Form::Stream];

/// A call of a tool, and what came of it.
#[derive(Debug, Clone)]
struct Case {
    era: Era,
    kind: Kind,
    form: Form,
    /// `/mcp/up`, where names are as they are.
    single: bool,
    is_error: bool,
    has_meta: bool,
    id: Rc<str>,
    odd: Rc<str>,
}

impl Case {
    /// A request with something odd wherever something may stand.
    fn request(&self, id: &str, name: &str, first: &str, meta: &str) -> String {
        let odd = &self.odd;
        format!(
            " {{\r\n\"x\\ud800\" : {odd} ,\"params\":{{{first}\"\":{odd},\"\\udfff\":0,\"arguments\":{odd}, \"na\\u006de\" :\t{name}{meta},\"\\u0078\":{odd} }},\
             \"method\":\"tools\\/call\",\"id\" : {id},\"jsonrpc\":\"2.0\" ,\"x\":{odd},\"x\":{odd} }}\n"
        )
    }

    /// An answer like it.
    fn answer(&self, id: &str, first: &str, last: &str) -> String {
        let odd = &self.odd;
        let said = match self.is_error {
            true => format!(
                "\"error\" :{{\"\\ud801\":{odd}, \"message\":\"\\u0000\u{2028}\",\"code\":-32603,\"data\":{odd} }}"
            ),
            false => format!(
                "\"result\" :{{{first}\"content\":[],\"structuredContent\":{odd},\"_meta\":{{\"\":{odd}}},\"\\ude00\":1e2, \"isError\":false{last} }}"
            ),
        };
        self.as_sent(&format!(" {{ \"x\\udbff\":{odd},{said},\r\n\"id\": {id} ,\"jsonrpc\":\"2.0\"}}\n"))
    }

    fn progress(&self) -> String {
        let odd = &self.odd;
        self.as_sent(&format!(
            "{{\"method\":\"notifications/progress\", \"params\":{{\"progressToken\":{odd},\"progress\":1.0,\"x\" :{odd}}},\"jsonrpc\":\"2.0\"}}"
        ))
    }

    /// An event's data has no line ends but LF.
    fn as_sent(&self, text: &str) -> String {
        match self.form {
            Form::Json => text.to_owned(),
            Form::Event | Form::Stream => text.replace("\r\n", "\n").replace('\r', "\n").trim_end().to_owned(),
        }
    }

    fn passes(&self) {
        let modern_client = self.era == Era::Modern;
        let modern_server = self.kind == Kind::Modern;
        let odd = &self.odd;
        let name = r#""e\u0063ho\/ü""#;
        let shown = if self.single { name.to_owned() } else { r#""up\u005f_echo\/ü""#.to_owned() };
        let asked = match (modern_client, self.has_meta) {
            (true, _) => format!(", \"_meta\":{{\"\\udc00\":{odd} ,{}}}", Era::META),
            (false, true) => format!(", \"_meta\":{{\"x\":{odd} }}"),
            (false, false) => String::new(),
        };
        let body = self.request(&self.id, &shown, "", &asked);

        let server = self.clone();
        let world = World::with(Box::new(move |sent| server.serve(sent)));
        let path = if self.single { "/mcp/up" } else { "/mcp" };
        let header = if self.single { "echo/ü" } else { "up__echo/ü" };
        let mut request = with_body(self.era.call(path, "x"), &body);
        if modern_client {
            request.headers_mut().insert("mcp-name", encoded(header).parse().unwrap());
        }
        let got = world.serve(request);

        let sent = world.sent().pop().unwrap();
        let id = Object::parse(&sent.body).unwrap().get("id").unwrap().unwrap().to_owned();
        let own_meta = format!(
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/clientInfo":{IMPLEMENTATION},"io.modelcontextprotocol/logLevel":"info""#
        );
        let (first, meta) = match (modern_client, modern_server) {
            (true, true) | (false, false) => (String::new(), asked),
            (true, false) => (String::new(), format!(", \"_meta\":{{\"\\udc00\":{}}}", odd.trim_end())),
            (false, true) if self.has_meta => (String::new(), format!(", \"_meta\":{{{own_meta},\"x\":{odd} }}")),
            (false, true) => (format!("\"_meta\":{{{own_meta}}},"), String::new()),
        };
        let name = if self.single { name } else { r#""echo/ü""# };
        assert_eq!(*id == *self.id, self.kind != Kind::Sessions, "{id}");
        assert_eq!(sent.body, self.request(&id, name, &first, &meta), "{self:?}");
        if modern_server {
            assert_eq!(sent.header("mcp-name"), Some(&*encoded("echo/ü")));
        }

        let (first, last) = match (modern_client, modern_server) {
            (true, true) => ("", COMPLETE),
            (true, false) => (r#""resultType":"complete","#, ""),
            (false, _) => ("", ""),
        };
        let answer = self.answer(&self.id, first, last);
        match self.form {
            Form::Json | Form::Event => assert_eq!(got.text(), answer, "{self:?}"),
            Form::Stream => assert_eq!(data(&got), [self.progress(), answer], "{self:?}"),
        }
    }

    /// The server's side.
    fn serve(&self, sent: &Sent) -> Reply {
        if method_of(sent) != "tools/call" {
            return match self.kind {
                Kind::Modern => modern(echo)(sent),
                Kind::Sessions => legacy(echo)(sent),
                Kind::Stateless => legacy_stateless(echo)(sent),
            };
        }
        let message = Object::parse(&sent.body).unwrap();
        let answer =
            self.answer(message.find("id").unwrap(), "", if self.kind == Kind::Modern { COMPLETE } else { "" });
        match self.form {
            Form::Json => json_reply(200, answer),
            Form::Event => events_reply(vec![as_event(&answer)]),
            Form::Stream => {
                events_reply(vec![as_event(&self.progress()), Piece::Wait(Duration::from_secs(1)), as_event(&answer)])
            }
        }
    }
}

fn method_of(sent: &Sent) -> String {
    Object::parse(&sent.body).unwrap().string("method").unwrap().unwrap_or_default().into_owned()
}

const COMPLETE: &str = r#", "resultType" :"complete""#;

fn as_event(message: &str) -> Piece {
    let lines: String = message.split('\n').map(|line| format!("data: {line}\n")).collect();
    Piece::Bytes(format!("{lines}\n").into_bytes())
}

/// The data of the events of a stream, as it stands.
fn data(got: &Got) -> Vec<String> {
    assert_eq!(got.header("content-type"), Some("text/event-stream"));
    let text = got.text();
    let events = text.split("\n\n").map(|event| event.lines().filter_map(|line| line.strip_prefix("data: ")));
    events.map(|lines| lines.collect::<Vec<_>>().join("\n")).filter(|data| !data.is_empty()).collect()
}

/// Every pairing, with something odd and an odd id.
fn every(mut check: impl FnMut(Case)) {
    let ids = odd::IDS.into_iter().cycle();
    for ((_, odd), id) in odd::values().into_iter().zip(ids) {
        let (id, odd): (Rc<str>, Rc<str>) = (id.into(), odd.into());
        every_pairing(|era, kind, form| {
            for single in [true, false] {
                let (id, odd) = (id.clone(), odd.clone());
                check(Case { era, kind, form, single, is_error: false, has_meta: true, id, odd });
            }
        });
    }
}

fn every_pairing(mut check: impl FnMut(Era, Kind, Form)) {
    for era in ERAS {
        for kind in KINDS {
            for form in FORMS {
                check(era, kind, form);
            }
        }
    }
}

#[test]
fn whatever_is_odd_comes_out_of_every_pairing_as_it_went_in() {
    every(|case| case.passes());
}

#[test]
fn errors_do_too() {
    every(|case| Case { is_error: true, ..case }.passes());
}

#[test]
fn requests_without_meta_do_too() {
    every(|case| {
        if (case.era, case.form) == (Era::Legacy, Form::Json) {
            Case { has_meta: false, ..case }.passes();
        }
    });
}

#[test]
fn every_id_comes_back_as_it_stood() {
    for id in odd::IDS {
        every_pairing(|era, kind, form| {
            let (id, odd) = (id.into(), "1.0".into());
            Case { era, kind, form, single: false, is_error: false, has_meta: true, id, odd }.passes();
        });
    }
}

/// Everything that is odd, as one value without CR, which an event cannot hold.
fn all_odd() -> String {
    let all: Vec<String> = odd::values().into_iter().map(|(_, text)| text).collect();
    format!("[{}]", all.join(",")).replace("\r\n", "\n").replace('\r', "\n")
}

#[test]
fn whatever_a_request_names_only_the_name_changes() {
    let odd = all_odd();
    for (method, here, there) in [
        ("prompts/get", r#""x":ODD,"name" : "up__a","arguments":ODD"#, r#""x":ODD,"name" : "a","arguments":ODD"#),
        ("resources/read", r#""uri":"gatehouse:\/\/up/a://b","x":ODD"#, r#""uri":"a://b","x":ODD"#),
        (
            "completion/complete",
            r#""argument":ODD,"ref":{"name":"up__a","x":ODD, "type":"ref\/prompt"},"x":ODD"#,
            r#""argument":ODD,"ref":{"name":"a","x":ODD, "type":"ref\/prompt"},"x":ODD"#,
        ),
    ] {
        let (here, there) = (here.replace("ODD", &odd), there.replace("ODD", &odd));
        let inner = legacy_stateless(echo);
        let world = World::with(Box::new(move |sent| match &*method_of(sent) {
            "server/discover" | "initialize" | "notifications/initialized" => inner(sent),
            _ => json_reply(200, r#"{"jsonrpc":"2.0","id":1,"result":{}}"#),
        }));
        let body = |params: &str| format!(r#"{{"jsonrpc":"2.0","id":1,"method":"{method}","params":{{{params}}}}}"#);
        let got = world.serve(with_body(Era::Legacy.request("/mcp", method, ""), &body(&here)));
        assert_eq!(got.text(), r#"{"jsonrpc":"2.0","id":1,"result":{}}"#);
        assert_eq!(world.sent().pop().unwrap().body, body(&there));
    }
}

#[test]
fn of_what_is_listed_only_names_change() {
    let odd = all_odd();
    let entry = move |name: &str| format!(r#"{{ "x":{odd}, "na\u006de" :{name} ,"x":1,"\ud800":-0}}"#);
    let listed = format!("[{} ,\n{}]", entry(r#""a\u005f""#), entry(r#""é""#));
    for kind in KINDS {
        let listed = listed.clone();
        let world = World::with(Box::new(move |sent| {
            let id = Object::parse(&sent.body).unwrap().find("id").unwrap_or_default().to_owned();
            match (&*method_of(sent), kind) {
                ("tools/list", _) => {
                    let answer = format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"tools" : {listed} }}}}"#);
                    if kind == Kind::Sessions { events_reply(vec![as_event(&answer)]) } else { json_reply(200, answer) }
                }
                (_, Kind::Modern) => modern(echo)(sent),
                (_, Kind::Sessions) => legacy(echo)(sent),
                (_, Kind::Stateless) => legacy_stateless(echo)(sent),
            }
        }));
        for _ in ["asked for", "as it was kept"] {
            let got = world.serve(Era::Modern.list("/mcp"));
            let short = names::join("up", "é");
            let expected = [entry(r#""up__a_""#), entry(&format!("\"{short}\""))].join(",");
            assert!(got.text().contains(&format!("[{expected}]")), "{kind:?}");
        }
    }
}

#[test]
fn what_a_server_asks_and_what_it_is_told_change_their_ids_alone() {
    let odd = all_odd();
    for id in odd::IDS {
        let asked = {
            let odd = odd.clone();
            move |id: &str| {
                format!(
                    r#"{{"x":{odd},"id" : {id}, "method":"sampling/createMessage","params":{{"":{odd} }},"jsonrpc":"2.0"}}"#
                )
            }
        };
        let told = |id: &str| format!(r#"{{"id" : {id},"\ud800":{odd},"result":{{"":{odd} }}, "jsonrpc":"2.0"}}"#);
        let (asks, inner) = (asked.clone(), legacy(echo));
        let world = World::with(Box::new(move |sent| match &*method_of(sent) {
            "tools/call" => {
                let key = Object::parse(&sent.body).unwrap().find("id").unwrap().to_owned();
                let answer = format!(r#"{{"jsonrpc":"2.0","id":{key},"result":{{}}}}"#);
                events_reply(vec![as_event(&asks(id)), Piece::Wait(Duration::from_secs(1)), as_event(&answer)])
            }
            "" => Reply::Answer(202, vec![], vec![]),
            _ => inner(sent),
        }));
        let can = r#""protocolVersion":"2025-11-25","capabilities":{"sampling":{}}"#;
        let opened = world.serve(Era::Legacy.request("/mcp", "initialize", can));
        let session = opened.header("mcp-session-id").unwrap().to_owned();
        let in_session = |request| with_header(request, "mcp-session-id", &session);
        let got = world.serve(in_session(Era::Legacy.call("/mcp", "up__echo")));
        let here = crate::asks::outward("up", id);
        assert_eq!(data(&got)[0], asked(&here));
        world.sent();
        world.serve(in_session(with_body(Era::Legacy.list("/mcp"), &told(&here))));
        assert_eq!(world.sent().pop().unwrap().body, told(id));
    }
}

#[test]
fn a_large_answer_that_need_not_change_is_not_held() {
    let large = format!(r#"{{"jsonrpc":"2.0","id":1,"result":{{"x":"{}"}}}}"#, "x".repeat(300_000));
    let (kept, inner) = (large.clone(), modern(echo));
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
    let inner = modern(echo);
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
    const ODD: &str = r#"{ "a" :1.0,"b":1,"e":"\u0041\/","f":-0,"a":{"a":[ ]} }"#;
    let cases = [
        (Era::Modern, 200, -32002, (OK, -32602)),
        (Era::Modern, 200, -32042, (OK, -32603)),
        (Era::Modern, 404, -32601, (404, -32601)),
        (Era::Legacy, 200, -32002, (OK, -32002)),
        (Era::Legacy, 404, -32601, (OK, -32601)),
        (Era::Legacy, 500, -32603, (OK, -32603)),
    ];
    for (era, status, code, expected) in cases {
        let inner = legacy_stateless(echo);
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

proptest! {
    #![proptest_config(Config { failure_persistence: None, ..Config::with_cases(400) })]

    #[test]
    fn any_json_comes_out_of_every_pairing_as_it_went_in(
        odd in json(),
        id in prop_oneof![number(), string()],
        pairing in (0..2_usize, 0..3_usize, 0..3_usize),
        [single, is_error, has_meta] in any::<[bool; 3]>(),
    ) {
        let (era, kind, form) = (ERAS[pairing.0], KINDS[pairing.1], FORMS[pairing.2]);
        Case { era, kind, form, single, is_error, has_meta, id: id.into(), odd: odd.into() }.passes();
    }
}

/// Any JSON text (RFC 8259), by its grammar.
fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![Just("null".to_owned()), Just("true".to_owned()), number(), string()];
    let padded = |inner: BoxedStrategy<String>| (space(), inner, space()).prop_map(|(a, b, c)| a + &b + &c);
    padded(
        leaf.prop_recursive(6, 60, 6, move |inner| {
            let inner = padded(inner);
            let member = (space(), string(), space(), inner.clone())
                .prop_map(|(a, name, b, value)| a + &name + &b + ":" + &value);
            prop_oneof![
                prop::collection::vec(inner, 1..6).prop_map(|all| format!("[{}]", all.join(","))),
                prop::collection::vec(member, 1..6).prop_map(|all| format!("{{{}}}", all.join(","))),
                space().prop_map(|space| format!("[{space}]")),
                space().prop_map(|space| format!("{{{space}}}")),
            ]
        })
        .boxed(),
    )
}

fn space() -> impl Strategy<Value = String> + Clone {
    prop::collection::vec(prop::sample::select(vec![" ", "\t", "\n", "\r", "\r\n"]), 0..3).prop_map(|all| all.concat())
}

fn number() -> impl Strategy<Value = String> {
    let digits = |from| {
        prop::collection::vec(0..10_u8, from..30).prop_map(|all| all.iter().map(u8::to_string).collect::<String>())
    };
    let whole = digits(1).prop_map(|digits| match digits.trim_start_matches('0') {
        "" => "0".to_owned(),
        digits => digits.to_owned(),
    });
    let exponent =
        (prop::sample::select(vec!["e", "E", "e+", "E-"]), digits(1)).prop_map(|(e, digits)| e.to_owned() + &digits);
    (any::<bool>(), whole, prop::option::of(digits(1)), prop::option::of(exponent)).prop_map(
        |(minus, whole, part, exponent)| {
            let part = part.map(|part| ".".to_owned() + &part).unwrap_or_default();
            [if minus { "-" } else { "" }, &whole, &part, &exponent.unwrap_or_default()].concat()
        },
    )
}

fn string() -> impl Strategy<Value = String> {
    let raw = any::<char>().prop_filter("what has to be escaped", |c| !matches!(c, '\0'..='\u{1f}' | '"' | '\\'));
    let escaped = prop::sample::select(vec!["\\\"", "\\\\", "\\/", "\\b", "\\f", "\\n", "\\r", "\\t"]);
    let piece = prop_oneof![
        4 => raw.prop_map(String::from),
        1 => escaped.prop_map(str::to_owned),
        1 => any::<u16>().prop_map(|unit| format!("\\u{unit:04x}")),
        1 => (0xd800..0xe000_u16).prop_map(|unit| format!("\\u{unit:04X}")),
    ];
    prop::collection::vec(piece, 0..8).prop_map(|all| format!("\"{}\"", all.concat()))
}
