//! What is around a request: a scripted host with a clock that moves only when everything waits, and clients of both eras.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::future::poll_fn;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response, StatusCode};
use serde_json::Value;

use crate::host::{
    AccessToken, Caller, Gone, Host, Origins, Outcome, Outlet, Resolution, ResolveError, ResolveRequest, Secret,
    SendError, Source,
};
use crate::memory::Met;
use crate::routes;
use shell::{Pieces, ReadError, Unread};

pub const GATEWAY: &str = "https://mcp.example.com";
pub const BROKER: &str = "https://auth.example.com";
pub const BEARER: &str = "client-bearer";
/// The URL of the upstream that answers where no other does.
pub const ANYWHERE: &str = "*";

/// What an upstream does with a request.
pub type Upstream = Box<dyn Fn(&Sent) -> Reply>;

pub enum Reply {
    Answer(u16, Vec<(&'static str, String)>, Vec<Piece>),
    Fails(SendError),
    NeverAnswers,
    /// Its head comes after so long.
    Slow(Duration, Box<Reply>),
}

pub enum Piece {
    Bytes(Vec<u8>),
    Wait(Duration),
    /// Comes as soon as there is one.
    When(Box<dyn Fn() -> Option<Vec<u8>>>),
    Breaks,
}

/// One of several requests that are served at once: until it is over, or killed by being dropped.
#[derive(Default)]
pub struct Serving<'w> {
    future: Option<Pin<Box<dyn Future<Output = ()> + 'w>>>,
    heard: Rc<RefCell<Heard>>,
}

impl Serving<'_> {
    /// What the client got, if its answer is whole.
    pub fn got(&self) -> Option<Got> {
        let is_whole = self.heard.borrow().finished;
        is_whole.then(|| self.heard.take().into_got())
    }

    pub fn is_over(&self) -> bool {
        self.future.is_none()
    }

    /// What the client has got by now.
    pub fn text(&self) -> String {
        self.heard.borrow().pieces.concat()
    }
}

#[derive(Debug, Clone)]
pub struct Sent {
    pub url: String,
    pub headers: BTreeMap<String, String>,
    pub body: String,
}

impl Sent {
    /// What was sent; null if it has no body.
    pub fn json(&self) -> Value {
        if self.body.is_empty() { Value::Null } else { serde_json::from_str(&self.body).unwrap() }
    }

    /// Empty: it is a GET, a DELETE or an answer.
    pub fn method(&self) -> String {
        self.json()["method"].as_str().unwrap_or_default().to_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(String::as_str)
    }
}

pub struct World {
    pub servers: RefCell<String>,
    pub gateway: String,
    pub upstreams: BTreeMap<&'static str, Upstream>,
    pub sent: RefCell<Vec<Sent>>,
    pub asked: RefCell<Vec<ResolveRequest>>,
    pub outcomes: RefCell<BTreeMap<&'static str, VecDeque<Outcome>>>,
    pub resolve_error: RefCell<Option<ResolveError>>,
    pub sealing_key: Cell<u8>,
    pub subject: Cell<&'static str>,
    pub store: RefCell<BTreeMap<String, Vec<u8>>>,
    pub loads: Cell<usize>,
    /// How often `servers.json` was read.
    pub reads: Cell<usize>,
    /// The longest row that the store takes.
    pub most: Cell<usize>,
    /// Bytes that were loaded.
    pub loaded: Cell<usize>,
    pub logged: RefCell<Vec<String>>,
    randoms: Cell<u64>,
    /// All that was asked of the random source, oldest first.
    pub drawn: RefCell<Vec<Vec<u8>>>,
    /// By how many seconds the clock on the wall is wrong.
    pub ahead: Cell<u64>,
    clock: Rc<Clock>,
}

#[derive(Default)]
pub struct Clock {
    now: Cell<Duration>,
    alarms: RefCell<Vec<Duration>>,
}

impl World {
    /// The servers `name -> (url, extra keys)`, each with what answers at its URL. The broker is asked each time.
    pub fn new(servers: &str, upstreams: Vec<(&'static str, Upstream)>) -> Self {
        Self {
            servers: RefCell::new(servers.replacen('{', r#"{"resolutionSeconds":0,"#, 1)),
            gateway: GATEWAY.to_owned(),
            upstreams: upstreams.into_iter().collect(),
            sent: RefCell::default(),
            asked: RefCell::default(),
            outcomes: RefCell::default(),
            resolve_error: RefCell::default(),
            sealing_key: Cell::new(7),
            subject: Cell::new("alice"),
            store: RefCell::default(),
            loads: Cell::default(),
            reads: Cell::default(),
            loaded: Cell::default(),
            most: Cell::new(usize::MAX),
            logged: RefCell::default(),
            randoms: Cell::default(),
            drawn: RefCell::default(),
            ahead: Cell::new(0),
            clock: Rc::default(),
        }
    }

    /// One server `up` without a service.
    pub fn with(upstream: Upstream) -> Self {
        Self::new(
            r#"{"mcpServers":{"up":{"url":"https://up.example/mcp"}}}"#,
            vec![("https://up.example/mcp", upstream)],
        )
    }

    /// One server `up` of the service `s`, and what the broker says of it, one after the other.
    pub fn with_service(upstream: Upstream, outcomes: impl IntoIterator<Item = Outcome>) -> Self {
        let file = r#"{"mcpServers":{"up":{"url":"https://up.example/mcp","service":"s"}}}"#;
        let world = Self::new(file, vec![("https://up.example/mcp", upstream)]);
        world.outcomes.borrow_mut().insert("s", outcomes.into_iter().collect());
        world
    }

    /// `request` as Spin passes it on: with the peer's address, and under our name if it names no host.
    pub fn arrived(&self, mut request: Request<Vec<u8>>) -> Request<Vec<u8>> {
        let host = self.gateway.split_once("://").map_or("", |(_, host)| host);
        let names_host = request.uri().authority().is_some() || request.headers().contains_key("host");
        let headers = request.headers_mut();
        if !names_host {
            headers.insert("host", host.parse().unwrap());
        }
        if !headers.contains_key("spin-client-addr") {
            headers.insert("spin-client-addr", "127.0.0.1:50000".parse().unwrap());
        }
        request
    }

    pub fn serve(&self, request: Request<Vec<u8>>) -> Got {
        let heard = Rc::new(RefCell::new(Heard::default()));
        self.run(serve(self, self.arrived(request), Client { heard: heard.clone(), leaves_after: usize::MAX }));
        heard.take().into_got()
    }

    /// The client closes its connection after so many writes.
    pub fn serve_until(&self, request: Request<Vec<u8>>, writes: usize) -> Got {
        let heard = Rc::new(RefCell::new(Heard::default()));
        self.run(serve(self, self.arrived(request), Client { heard: heard.clone(), leaves_after: writes }));
        heard.take().into_got()
    }

    /// Serves `request`, and lets `act` do something after each write, with all that was written by then.
    pub fn converse(&self, request: Request<Vec<u8>>, mut act: impl FnMut(&[String])) -> Got {
        let heard = Rc::new(RefCell::new(Heard::default()));
        let mut writes = 0;
        let mut served =
            Box::pin(serve(self, self.arrived(request), Client { heard: heard.clone(), leaves_after: usize::MAX }));
        self.run(poll_fn(|context| {
            let done = served.as_mut().poll(context);
            let pieces = heard.borrow().pieces.clone();
            if pieces.len() > writes && done.is_pending() {
                writes = pieces.len();
                act(&pieces);
            }
            done
        }));
        heard.take().into_got()
    }

    pub fn begin(&self, request: Request<Vec<u8>>) -> Serving<'_> {
        self.begin_until(request, usize::MAX)
    }

    /// The client closes its connection after so many writes.
    pub fn begin_until(&self, request: Request<Vec<u8>>, writes: usize) -> Serving<'_> {
        let heard = Rc::new(RefCell::new(Heard::default()));
        let client = Client { heard: heard.clone(), leaves_after: writes };
        Serving { future: Some(Box::pin(serve(self, self.arrived(request), client))), heard }
    }

    /// Lets all of them go on until `done`, or until nothing is left to do.
    pub fn go_on(&self, all: &mut [Serving<'_>], mut done: impl FnMut(&[Serving<'_>]) -> bool) {
        self.run(poll_fn(|context| {
            for one in all.iter_mut() {
                if one.future.as_mut().is_some_and(|future| future.as_mut().poll(context).is_ready()) {
                    one.future = None;
                }
            }
            if done(all) || all.iter().all(Serving::is_over) { Poll::Ready(()) } else { Poll::Pending }
        }));
    }

    /// Runs to the end; when everything waits, the clock goes on to the next alarm.
    pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
        let mut future = pin!(future);
        loop {
            if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
                return value;
            }
            let now = self.clock.now.get();
            self.clock.alarms.borrow_mut().retain(|alarm| *alarm > now);
            let next = self.clock.alarms.borrow().iter().copied().min();
            self.clock.now.set(next.expect("everything waits and nothing would wake it"));
        }
    }

    /// What was sent upstream since this was last asked.
    pub fn sent(&self) -> Vec<Sent> {
        std::mem::take(&mut self.sent.borrow_mut())
    }

    /// The same, as methods.
    pub fn methods(&self) -> Vec<String> {
        self.sent().iter().map(Sent::method).collect()
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.now.set(self.clock.now.get() + Duration::from_secs(seconds));
    }

    /// A body of these pieces.
    pub fn script(&self, pieces: Vec<Piece>) -> Script {
        Script { pieces: pieces.into(), until: None, clock: self.clock.clone() }
    }

    pub fn elapsed(&self) -> Duration {
        self.clock.now.get()
    }
}

/// Tells an upstream the time, which is made before its world.
#[derive(Default, Clone)]
pub struct Timer(Rc<RefCell<Option<Rc<Clock>>>>);

impl Timer {
    pub fn start(&self, world: &World) {
        self.0.replace(Some(world.clock.clone()));
    }

    pub fn now(&self) -> Duration {
        self.0.borrow().as_ref().map_or(Duration::ZERO, |clock| clock.now.get())
    }
}

/// Serves a request whose body is there.
pub async fn serve<H>(host: &H, request: Request<Vec<u8>>, client: Client)
where
    H: Host<Body = Script, Outlet = Client>,
{
    let (head, body) = request.into_parts();
    let announced = Some(body.len() as u64);
    let body = Script { pieces: [Piece::Bytes(body)].into(), until: None, clock: Rc::default() };
    let body = Unread::new(Arriving { body, asked: Rc::default() }, announced);
    routes::serve(host, Request::from_parts(head, body), client).await;
}

/// A request's body on its way.
pub struct Arriving {
    pub body: Script,
    /// How often it was asked for.
    pub asked: Rc<Cell<usize>>,
}

impl Pieces for Arriving {
    async fn piece(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        self.asked.set(self.asked.get() + 1);
        self.body.chunk().await.map_err(|_| ReadError::Broken)
    }
}

/// A client, and what it heard.
pub struct Client {
    pub heard: Rc<RefCell<Heard>>,
    pub leaves_after: usize,
}

#[derive(Default)]
pub struct Heard {
    head: Option<Response<()>>,
    pub pieces: Vec<String>,
    whole: bool,
    finished: bool,
}

impl Heard {
    pub fn into_got(self) -> Got {
        let head = self.head.expect("nothing was answered").into_parts().0;
        let Self { pieces, whole, finished, .. } = self;
        Got { status: head.status.as_u16(), headers: head.headers, pieces, whole, finished }
    }
}

impl Outlet<Script> for Client {
    async fn respond(&mut self, response: Response<Vec<u8>>) {
        let (head, body) = response.into_parts();
        let mut heard = self.heard.borrow_mut();
        assert!(heard.head.is_none(), "answered twice");
        *heard = Heard {
            head: Some(Response::from_parts(head, ())),
            pieces: vec![String::from_utf8_lossy(&body).into_owned()],
            whole: true,
            finished: true,
        };
    }

    async fn start(&mut self, head: Response<()>, first: &[u8]) -> Result<(), Gone> {
        assert!(self.heard.borrow().head.is_none(), "answered twice");
        self.heard.borrow_mut().head = Some(head);
        self.write(first).await
    }

    async fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        let mut heard = self.heard.borrow_mut();
        if heard.pieces.len() >= self.leaves_after {
            return Err(Gone);
        }
        assert!(!heard.finished, "something was said after the end");
        heard.pieces.push(String::from_utf8_lossy(bytes).into_owned());
        Ok(())
    }

    async fn pipe(&mut self, source: &mut Script) -> Result<bool, Gone> {
        loop {
            match source.chunk().await {
                Ok(Some(chunk)) => self.write(&chunk).await?,
                Ok(None) => return Ok(true),
                Err(_) => return Ok(false),
            }
        }
    }

    fn finish(&mut self) {
        self.heard.borrow_mut().finished = true;
    }

    fn is_gone(&self) -> bool {
        self.heard.borrow().pieces.len() >= self.leaves_after
    }
}

impl Clock {
    async fn sleep(self: Rc<Self>, duration: Duration) {
        let alarm = self.now.get() + duration;
        poll_fn(|_| {
            if self.now.get() >= alarm {
                return Poll::Ready(());
            }
            self.alarms.borrow_mut().push(alarm);
            Poll::Pending
        })
        .await;
    }
}

impl Host for World {
    type Body = Script;
    type Outlet = Client;

    fn servers(&self) -> Result<Vec<u8>, String> {
        self.reads.set(self.reads.get() + 1);
        Ok(self.servers.borrow().clone().into_bytes())
    }

    fn public_urls(&self) -> Result<Origins, ResolveError> {
        Ok(Origins { gateway: self.gateway.clone(), broker: BROKER.into() })
    }

    fn resolve(&self, request: &ResolveRequest) -> Result<Resolution, ResolveError> {
        self.asked.borrow_mut().push(ResolveRequest {
            bearer: request.bearer.clone(),
            resource: request.resource.clone(),
            services: request.services.clone(),
        });
        if let Some(error) = self.resolve_error.borrow().clone() {
            return Err(error);
        }
        let mut known = self.outcomes.borrow_mut();
        let outcome = |service: &str| match known.get_mut(service) {
            Some(outcomes) if outcomes.len() > 1 => outcomes.pop_front().unwrap(),
            Some(outcomes) => outcomes[0].clone(),
            None => Outcome::UnknownService,
        };
        Ok(Resolution {
            outcomes: request.services.iter().map(|wanted| wanted.service.as_str()).map(outcome).collect(),
            caller: Caller {
                subject: self.subject.get().into(),
                expires_at: None,
                sealing_key: vec![self.sealing_key.get(); 32],
                hops: Default::default(),
                met: Met::default(),
            },
        })
    }

    fn load(&self, key: &str) -> Option<Vec<u8>> {
        self.loads.set(self.loads.get() + 1);
        let row = self.store.borrow().get(key).cloned();
        self.loaded.set(self.loaded.get() + row.as_ref().map_or(0, Vec::len));
        row
    }

    fn save(&self, key: &str, value: &[u8]) {
        if value.len() <= self.most.get() {
            self.store.borrow_mut().insert(key.to_owned(), value.to_vec());
        }
    }

    fn forget(&self, key: &str) {
        self.store.borrow_mut().remove(key);
    }

    async fn send(&self, request: Request<Vec<u8>>, patience: Duration) -> Result<Response<Script>, SendError> {
        let (head, body) = request.into_parts();
        let header = |(name, value): (&http::HeaderName, &http::HeaderValue)| {
            (name.as_str().to_owned(), value.to_str().unwrap().to_owned())
        };
        let sent = Sent {
            url: head.uri.to_string(),
            headers: head.headers.iter().map(header).collect(),
            body: String::from_utf8(body).unwrap(),
        };
        self.sent.borrow_mut().push(sent.clone());
        let anywhere = || self.upstreams.get(ANYWHERE).unwrap_or_else(|| panic!("nothing at {}", sent.url));
        let mut reply = self.upstreams.get(sent.url.as_str()).unwrap_or_else(anywhere)(&sent);
        if let Reply::Slow(time, then) = reply {
            self.sleep(time.min(patience)).await;
            reply = if time < patience { *then } else { Reply::Fails(SendError::Timeout) };
        }
        match reply {
            Reply::Slow(..) => unreachable!("slow twice"),
            Reply::NeverAnswers => {
                self.sleep(patience).await;
                Err(SendError::Timeout)
            }
            Reply::Fails(error) => Err(error),
            Reply::Answer(status, headers, pieces) => {
                let mut response = Response::builder().status(status);
                for (name, value) in headers {
                    response = response.header(name, value);
                }
                Ok(response.body(self.script(pieces)).unwrap())
            }
        }
    }

    fn now(&self) -> u64 {
        (1_800_000_000 + self.clock.now.get().as_secs()).wrapping_add(self.ahead.get())
    }

    fn random(&self, bytes: &mut [u8]) {
        self.randoms.set(self.randoms.get() + 1);
        let seed = self.randoms.get().to_be_bytes();
        bytes.iter_mut().zip(seed.iter().rev().cycle()).for_each(|(byte, seed)| *byte = *seed);
        self.drawn.borrow_mut().push(bytes.to_vec());
    }

    async fn sleep(&self, duration: Duration) {
        self.clock.clone().sleep(duration).await;
    }

    fn log(&self, line: &str) {
        self.logged.borrow_mut().push(line.to_owned());
    }
}

/// A body that arrives as it was written down.
pub struct Script {
    pieces: VecDeque<Piece>,
    until: Option<Duration>,
    clock: Rc<Clock>,
}

impl Source for Script {
    async fn chunk(&mut self) -> Result<Option<Vec<u8>>, SendError> {
        loop {
            match self.pieces.front() {
                None => return Ok(None),
                Some(Piece::Breaks) => return Err(SendError::Connection),
                Some(Piece::When(there)) => {
                    let bytes = poll_fn(|_| there().map_or(Poll::Pending, Poll::Ready)).await;
                    self.pieces.pop_front();
                    return Ok(Some(bytes));
                }
                Some(Piece::Wait(duration)) => {
                    // From when it is first looked at, however often the reader gives up waiting.
                    let until = *self.until.get_or_insert(self.clock.now.get() + *duration);
                    self.clock.clone().sleep(until.saturating_sub(self.clock.now.get())).await;
                    self.until = None;
                    self.pieces.pop_front();
                }
                Some(Piece::Bytes(_)) => {
                    let Some(Piece::Bytes(bytes)) = self.pieces.pop_front() else { unreachable!() };
                    return Ok(Some(bytes));
                }
            }
        }
    }
}

/// What a client got.
pub struct Got {
    pub status: u16,
    pub headers: http::HeaderMap,
    pub pieces: Vec<String>,
    /// It left in one write.
    pub whole: bool,
    /// It was not cut off.
    pub finished: bool,
}

impl Got {
    pub fn text(&self) -> String {
        self.pieces.concat()
    }

    pub fn json(&self) -> Value {
        let text = self.text();
        serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name).map(|value| value.to_str().unwrap())
    }

    /// Status and JSON-RPC error code.
    pub fn error(&self) -> (u16, i64) {
        (self.status, self.json()["error"]["code"].as_i64().unwrap_or_else(|| panic!("no error: {}", self.text())))
    }

    pub fn tool_names(&self) -> Vec<String> {
        let json = self.json();
        let tools = json["result"]["tools"].as_array().unwrap_or_else(|| panic!("no tools: {json}"));
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The data of the events of a stream.
    pub fn events(&self) -> Vec<Value> {
        assert_eq!(self.header("content-type"), Some("text/event-stream"));
        let text = self.text();
        text.lines()
            .filter_map(|line| line.strip_prefix("data: "))
            .map(|data| serde_json::from_str(data).unwrap())
            .collect()
    }
}

pub fn token(value: &str) -> Outcome {
    Outcome::Token(AccessToken {
        value: Secret::from(value.to_owned()),
        token_type: "Bearer".into(),
        expires_at: None,
        fingerprint: format!("fingerprint of {value}"),
    })
}

/// A request of either era, as a client of that era sends it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Era {
    Legacy,
    Modern,
}

pub fn post(path: &str) -> http::request::Builder {
    Request::post(format!("{GATEWAY}{path}"))
        .header("content-type", "application/json")
        .header("accept", "application/json, text/event-stream")
        .header("authorization", format!("Bearer {BEARER}"))
}

impl Era {
    pub const META: &str =
        r#""io.modelcontextprotocol/protocolVersion":"2026-07-28","io.modelcontextprotocol/clientCapabilities":{}"#;

    /// A request with `members` as its params.
    pub fn request(self, path: &str, method: &str, members: &str) -> Request<Vec<u8>> {
        self.request_with_id(path, "1", method, members)
    }

    pub fn request_with_id(self, path: &str, id: &str, method: &str, members: &str) -> Request<Vec<u8>> {
        match self {
            Self::Legacy => {
                let body = format!(r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{members}}}}}"#);
                post(path).header("mcp-protocol-version", "2025-11-25").body(body.into_bytes()).unwrap()
            }
            Self::Modern => {
                let comma = if members.is_empty() { "" } else { "," };
                let meta = Self::META;
                let body = format!(
                    r#"{{"jsonrpc":"2.0","id":{id},"method":"{method}","params":{{{members}{comma}"_meta":{{{meta}}}}}}}"#
                );
                let json: Value = serde_json::from_str(&body).unwrap();
                let mut builder = post(path).header("mcp-protocol-version", "2026-07-28").header("mcp-method", method);
                let named = ["name", "uri", "taskId"].into_iter().find_map(|member| json["params"][member].as_str());
                if let Some(name) = named.filter(|_| super::upstreams::is_named(method)) {
                    builder = builder.header("mcp-name", name);
                }
                builder.body(body.into_bytes()).unwrap()
            }
        }
    }

    pub fn call(self, path: &str, tool: &str) -> Request<Vec<u8>> {
        self.request(path, "tools/call", &format!(r#""name":"{tool}","arguments":{{"message":"hi"}}"#))
    }

    pub fn list(self, path: &str) -> Request<Vec<u8>> {
        self.request(path, "tools/list", "")
    }
}

/// `request` of a client that wants to hear of its progress, with the token 1.
pub fn with_progress(request: Request<Vec<u8>>) -> Request<Vec<u8>> {
    let body = String::from_utf8(request.body().clone()).unwrap();
    let told = match body.contains(r#""_meta":{"#) {
        true => body.replace(r#""_meta":{"#, r#""_meta":{"progressToken":1,"#),
        false => body.replace(r#""params":{"#, r#""params":{"_meta":{"progressToken":1},"#),
    };
    with_body(request, &told)
}

pub fn with_header(mut request: Request<Vec<u8>>, name: &'static str, value: &str) -> Request<Vec<u8>> {
    request.headers_mut().insert(name, value.parse().unwrap());
    request
}

pub fn without_header(mut request: Request<Vec<u8>>, name: &str) -> Request<Vec<u8>> {
    request.headers_mut().remove(name);
    request
}

pub fn with_body(mut request: Request<Vec<u8>>, body: &str) -> Request<Vec<u8>> {
    *request.body_mut() = body.as_bytes().to_vec();
    request
}

pub const OK: u16 = StatusCode::OK.as_u16();
