//! What is not ours to change passes byte for byte.
//!
//! The corpus is `tests/fixtures/src/odd.rs`; `tests/e2e/tests/faithful.rs` sends the same through the built components.

use proptest::prelude::*;
use proptest::test_runner::Config;

use super::odd::{self, Call};
use super::upstreams::{echo, events_reply, json_reply, legacy, legacy_stateless, modern};
use super::*;
use crate::eras::IMPLEMENTATION;
use crate::eras::modern::encoded;
use crate::names;
use json::Object;

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

/// A call between one kind of client and one kind of server.
#[derive(Debug, Clone)]
struct Case {
    era: Era,
    kind: Kind,
    form: Form,
    /// `/mcp/up`, where names are as they are.
    single: bool,
    call: Call,
}

impl Case {
    fn new(era: Era, kind: Kind, form: Form, single: bool, id: &str, odd: &str) -> Self {
        let own = r#""e\u0063ho\/ü""#;
        let names = if single { [own, own] } else { [r#""up\u005f_echo\/ü""#, r#""echo/ü""#] };
        let call = Call {
            odd: odd.to_owned(),
            id: id.to_owned(),
            names: names.map(str::to_owned),
            modern_client: era == Era::Modern,
            modern_server: kind == Kind::Modern,
            has_meta: true,
            is_error: false,
            in_events: form != Form::Json,
        };
        Self { era, kind, form, single, call }
    }

    fn passes(&self) {
        let server = self.clone();
        let world = World::with(Box::new(move |sent| server.serve(sent)));
        let (path, name) = if self.single { ("/mcp/up", "echo/ü") } else { ("/mcp", "up__echo/ü") };
        let request = with_body(self.era.call(path, "x"), &self.call.request());
        let got = world.serve(match self.era {
            Era::Modern => with_header(request, "mcp-name", &encoded(name)),
            Era::Legacy => request,
        });

        let sent = world.sent().pop().unwrap();
        let id = Object::parse(&sent.body).unwrap().find("id").unwrap();
        assert_eq!(*id == self.call.id, self.kind != Kind::Sessions, "{id}");
        let own_meta = format!(
            r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{{}},"io.modelcontextprotocol/clientInfo":{IMPLEMENTATION},"io.modelcontextprotocol/logLevel":"info""#
        );
        assert_eq!(sent.body, self.call.passed_request(id, &own_meta), "{self:?}");
        if self.kind == Kind::Modern {
            assert_eq!(sent.header("mcp-name"), Some(&*encoded("echo/ü")));
        }
        let answer = self.call.passed_answer();
        match self.form {
            Form::Json | Form::Event => assert_eq!(got.text(), answer, "{self:?}"),
            // Without a token there is no progress that could be this call's.
            Form::Stream if !self.single && !self.call.modern_client && !self.call.has_meta => {
                assert_eq!(got.text(), answer, "{self:?}");
            }
            Form::Stream => assert_eq!(odd::data(&got.text()), [self.call.progress(), answer], "{self:?}"),
        }
    }

    /// The server's side.
    fn serve(&self, sent: &Sent) -> Reply {
        if method_of(sent) != "tools/call" {
            return self.kind.handshake(sent);
        }
        let message = Object::parse(&sent.body).unwrap();
        let answer = self.call.answer(message.find("id").unwrap());
        match self.form {
            Form::Json => json_reply(200, answer),
            Form::Event => events_reply(vec![as_event(&answer)]),
            Form::Stream => {
                let progress = as_event(&self.call.progress());
                events_reply(vec![progress, Piece::Wait(Duration::from_secs(1)), as_event(&answer)])
            }
        }
    }
}

impl Kind {
    fn handshake(self, sent: &Sent) -> Reply {
        match self {
            Self::Modern => modern(echo)(sent),
            Self::Sessions => legacy(echo)(sent),
            Self::Stateless => legacy_stateless(echo)(sent),
        }
    }
}

/// The message's own method; none of these messages can be read into values.
fn method_of(sent: &Sent) -> String {
    Object::parse(&sent.body).unwrap().string("method").unwrap().unwrap_or_default().into_owned()
}

fn as_event(message: &str) -> Piece {
    Piece::Bytes(odd::event(message).into_bytes())
}

/// Every pairing, with something odd and an odd id.
fn every(check: impl Fn(Case)) {
    for ((_, odd), id) in odd::values().into_iter().zip(odd::IDS.into_iter().cycle()) {
        every_pairing(|era, kind, form| {
            for single in [true, false] {
                check(Case::new(era, kind, form, single, id, &odd));
            }
        });
    }
}

fn every_pairing(check: impl Fn(Era, Kind, Form)) {
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
    every(|mut case| {
        case.call.is_error = true;
        case.passes();
    });
}

#[test]
fn requests_without_meta_do_too() {
    every(|mut case| {
        if (case.era, case.form) == (Era::Legacy, Form::Json) {
            case.call.has_meta = false;
            case.passes();
        }
    });
}

#[test]
fn every_id_comes_back_as_it_stood() {
    for id in odd::IDS {
        every_pairing(|era, kind, form| Case::new(era, kind, form, false, id, "1.0").passes());
    }
}

#[test]
fn a_method_that_no_header_can_carry_is_told_in_the_form_that_it_can() {
    let world = World::with(modern(|_, _| r#"{"x":1}"#.into()));
    let got = world.serve(Era::Legacy.request("/mcp/up", "de\\u006do/ü", ""));
    assert_eq!(got.json()["result"]["x"], 1);
    assert_eq!(world.sent().pop().unwrap().header("mcp-method"), Some(&*encoded("demo/ü")));
}

/// Everything that is odd, without CR, which an event cannot hold.
fn all_odd() -> String {
    odd::all().replace("\r\n", "\n").replace('\r', "\n")
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
    let entry = move |name: &str| {
        format!(r#"{{ "x":{odd}, "na\u006de" :{name} ,"x":1,"\ud800":-0,"inputSchema":{{"type" : "object"}}}}"#)
    };
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
                _ => kind.handshake(sent),
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
fn what_a_server_asks_and_what_it_is_told_change_in_their_ids_and_its_name_alone() {
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
        let named = asked(&here).replace(r#""params":{"":"#, r#""params":{"systemPrompt":"[up]","":"#);
        assert_eq!(odd::data(&got.text())[0], named);
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
            let length = ("content-length", kept.len().to_string());
            Reply::Answer(200, vec![("content-type", "application/json".into()), length], pieces)
        }
        _ => inner(sent),
    }));
    let got = world.serve(Era::Modern.call("/mcp/up", "echo"));
    assert_eq!((got.whole, got.pieces.len()), (false, 6), "100 kB first, then as it comes");
    assert_eq!(got.header("content-length"), Some(&*large.len().to_string()), "so that its end is no chunk of its own");
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
        (Era::Modern, 404, -32601, (OK, -32602)),
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
        let mut case = Case::new(era, kind, form, single, &id, &odd);
        (case.call.is_error, case.call.has_meta) = (is_error, has_meta);
        case.passes();
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
