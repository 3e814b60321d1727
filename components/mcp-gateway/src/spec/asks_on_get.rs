//! A legacy server that asks on its GET stream, for the tests of what it asks there.

use std::rc::Weak;

use serde_json::json;

use super::upstreams::{echo, event, events_reply, json_reply, legacy_stateless};
use super::*;

/// A legacy server as one of the TypeScript SDK: each session has one GET stream at most, on which it asks.
#[derive(Default)]
pub struct Server {
    pub opened: Cell<u32>,
    pub alive: RefCell<Vec<String>>,
    pub streams: RefCell<BTreeMap<String, Weak<()>>>,
    /// The sessions and ids of the calls that are worked on.
    pub calls: RefCell<Vec<(String, Value)>>,
    /// What a stream says when a call is there; its id is put in for `ID`.
    pub says: RefCell<Vec<String>>,
    pub answers: RefCell<Vec<Value>>,
    pub form: Cell<Form>,
    /// How many times a stream that has ended is taken for an open one.
    pub blind: Cell<u32>,
    /// It never answers a call.
    pub is_silent: Cell<bool>,
    /// After how long a stream ends.
    pub ends: Cell<Option<Duration>>,
}

#[derive(Clone, Copy, Default)]
pub enum Form {
    #[default]
    Events,
    Json,
    /// JSON whose head comes with it.
    Late,
}

pub const ASKS: &str = r#"{"jsonrpc":"2.0","id":7,"method":"elicitation/create","params":{"message":"Who?"}}"#;

impl Server {
    pub fn that_says(says: &[&str]) -> Rc<Self> {
        let server = Self::default();
        *server.says.borrow_mut() = says.iter().map(|text| (*text).to_owned()).collect();
        Rc::new(server)
    }

    pub fn world(self: &Rc<Self>) -> World {
        let server = self.clone();
        World::with(Box::new(move |sent| server.serve(sent)))
    }

    pub fn serve(self: &Rc<Self>, sent: &Sent) -> Reply {
        let session = sent.header("mcp-session-id").map(str::to_owned);
        let is_alive = session.as_ref().is_some_and(|id| self.alive.borrow().contains(id));
        match (sent.method().as_str(), session) {
            ("initialize", None) => {
                self.opened.set(self.opened.get() + 1);
                let id = format!("session-{}", self.opened.get());
                self.alive.borrow_mut().push(id.clone());
                let Reply::Answer(status, mut headers, pieces) = legacy_stateless(echo)(sent) else { unreachable!() };
                headers.push(("mcp-session-id", id));
                Reply::Answer(status, headers, pieces)
            }
            (_, Some(_)) if !is_alive => json_reply(404, r#"{"jsonrpc":"2.0","error":{"code":-32001,"message":"x"}}"#),
            ("", Some(session)) if sent.body.is_empty() => match sent.header("accept") {
                Some("text/event-stream") => self.stream(session),
                _ => {
                    self.alive.borrow_mut().retain(|id| *id != session);
                    Reply::Answer(204, vec![], vec![])
                }
            },
            ("", Some(_)) => {
                self.answers.borrow_mut().push(sent.json());
                Reply::Answer(202, vec![], vec![])
            }
            ("tools/call", Some(session)) => self.call(session, sent.json()["id"].clone()),
            _ => legacy_stateless(echo)(sent),
        }
    }

    /// Says what it has to say when a call of the session is there, and nothing after that.
    fn stream(self: &Rc<Self>, session: String) -> Reply {
        let is_open = self.streams.borrow().get(&session).is_some_and(|stream| stream.strong_count() > 0);
        let is_seen = self.streams.borrow().contains_key(&session) && self.blind.get() > 0;
        if is_open || is_seen {
            self.blind.set(self.blind.get().saturating_sub(1));
            return json_reply(409, r#"{"jsonrpc":"2.0","error":{"code":-32000,"message":"Conflict"}}"#);
        }
        let open = Rc::new(());
        self.streams.borrow_mut().insert(session.clone(), Rc::downgrade(&open));
        let (server, of) = (self.clone(), session.clone());
        let when = move || {
            let _open = &open;
            let is_there = server.calls.borrow().iter().any(|(session, _)| *session == of);
            let says = server.says.borrow();
            (is_there && !says.is_empty()).then(|| {
                let events = says.iter().flat_map(|text| match event(text) {
                    Piece::Bytes(bytes) => bytes,
                    _ => unreachable!(),
                });
                events.collect()
            })
        };
        let mut pieces = vec![Piece::When(Box::new(when)), Piece::Wait(Duration::from_secs(9999))];
        if let Some(ends) = self.ends.take() {
            pieces = vec![Piece::Wait(ends)];
        }
        events_reply(pieces)
    }

    /// Answers when it has as many answers as it has asked for.
    fn call(self: &Rc<Self>, session: String, id: Value) -> Reply {
        self.calls.borrow_mut().push((session.clone(), id.clone()));
        let server = self.clone();
        let wanted = self.says.borrow().iter().filter(|text| text.contains(r#""id":"#)).count();
        let before = self.answers.borrow().len();
        let text = move || {
            let got: Vec<Value> = server.answers.borrow().iter().skip(before).cloned().collect();
            let result = json!({"content": [], "structuredContent": {"got": got}});
            (got.len() >= wanted && !server.is_silent.get()).then(|| {
                server.calls.borrow_mut().retain(|call| *call != (session.clone(), id.clone()));
                json!({"jsonrpc": "2.0", "id": id, "result": result}).to_string()
            })
        };
        let whole = |text: Box<dyn Fn() -> Option<Vec<u8>>>| {
            Reply::Answer(200, vec![("content-type", "application/json".into())], vec![Piece::When(text)])
        };
        let json = |text: &dyn Fn() -> Option<String>| text().map(String::into_bytes);
        match self.form.get() {
            Form::Events => {
                let when = move || text().map(|text| format!("data: {text}\n\n").into_bytes());
                events_reply(vec![Piece::When(Box::new(when))])
            }
            Form::Json => whole(Box::new(move || json(&text))),
            Form::Late => {
                let reply = whole(Box::new(move || json(&text)));
                Reply::Slow(Duration::from_secs(30), Box::new(reply))
            }
        }
    }

    pub fn is_ended(&self, session: &str) -> bool {
        !self.alive.borrow().iter().any(|id| id == session)
    }
}
