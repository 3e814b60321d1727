//! The host, the provider and the browser of the tests.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::pin::pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use http::{Request, Response, StatusCode, header};
use http_auth::Hops;
use serde_json::{Value, json};
use shell::{Pieces, ReadError, Unread};
use url::Url;

pub use crate::host::SendFault;
use crate::host::{Host, StoreFault};
use crate::names::{ConnectionId, ServiceId, Subject};
use crate::people::keys;

pub type Answer = Result<Response<Vec<u8>>, SendFault>;
type Change = Box<dyn Fn(&World)>;
type Provider = Box<dyn FnMut(&Request<Vec<u8>>, u64) -> Response<Vec<u8>>>;

/// A host in memory. What providers answer is scripted, and every request to them is kept.
pub struct World {
    pub settings: RefCell<BTreeMap<String, String>>,
    pub store: RefCell<BTreeMap<String, Vec<u8>>>,
    pub store_down: Cell<bool>,
    pub read_only: Cell<bool>,
    /// The store does not answer before this moment.
    pub down_until: Cell<Option<u64>>,
    /// Milliseconds since the Unix epoch.
    pub clock: Cell<u64>,
    pub answers: RefCell<VecDeque<Answer>>,
    /// What is at which address, by `METHOD url`, where nothing is scripted.
    pub sites: RefCell<BTreeMap<String, Answer>>,
    /// What happens elsewhere while the next answer is on its way.
    pub meanwhile: RefCell<Option<Change>>,
    /// Answers when nothing is scripted.
    pub provider: RefCell<Option<Provider>>,
    pub sent: RefCell<Vec<Request<Vec<u8>>>>,
    pub log: RefCell<Vec<String>>,
    pub hops: Cell<Hops>,
    pub reads: Cell<usize>,
    pub writes: Cell<usize>,
    /// All that was asked of the random source, oldest first.
    pub drawn: RefCell<Vec<Vec<u8>>>,
    dice: Cell<u64>,
}

pub const NOW: u64 = 1_800_000_000;
pub const KEYS: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
pub const SERVICE_KEY: &str = "canary-service-key";
pub const ANNS_KEY: &str = "canary-anns-api-key";
pub const BOBS_KEY: &str = "canary-bobs-api-key";
pub const ADMIN_KEY: &str = "canary-admin-key";
pub const PASSPHRASE: &str = "canary-owner-passphrase";
pub const LOCAL: &str = "http://127.0.0.1:3000";
pub const PUBLIC: &str = "https://auth.example.com";

impl World {
    /// Local mode, with a provider `forge` that is known by its URLs, and GitHub.
    pub fn local() -> Self {
        Self::at(LOCAL)
    }

    /// The same for several people: `ann` and `bob` by API keys, the owner by a passphrase.
    pub fn public() -> Self {
        Self::at(PUBLIC)
    }

    fn at(public_url: &str) -> Self {
        let clients = json!({
            "forge": {
                "client_id": "forge-id", "client_secret": "canary-client-secret", "scopes": ["read", "write"],
                "authorize_url": "https://forge.example/authorize", "token_url": "https://forge.example/token",
                "revoke": { "url": "https://forge.example/revoke" },
            },
            "github": { "client_id": "github-id", "client_secret": "canary-github-secret" },
        });
        let settings = [
            ("public_url", public_url.to_owned()),
            ("local_owner", (public_url == LOCAL).to_string()),
            ("encryption_keys", KEYS.to_owned()),
            ("service_keys", hashed("gateway", SERVICE_KEY)),
            ("api_keys", [hashed("ann", ANNS_KEY), hashed("bob", BOBS_KEY)].join(",")),
            ("admin_keys", hashed("root", ADMIN_KEY)),
            ("owner_passphrase", PASSPHRASE.to_owned()),
            ("return_urls", "https://app.example/".to_owned()),
            ("oauth_clients", clients.to_string()),
            // Most tests are about other rows: those of the audit clear this.
            ("audit", "log".to_owned()),
        ];
        Self {
            settings: RefCell::new(settings.map(|(name, value)| (name.to_owned(), value)).into()),
            store: RefCell::default(),
            store_down: Cell::new(false),
            read_only: Cell::new(false),
            down_until: Cell::new(None),
            clock: Cell::new(NOW * 1000),
            answers: RefCell::default(),
            sites: RefCell::default(),
            meanwhile: RefCell::default(),
            provider: RefCell::default(),
            sent: RefCell::default(),
            log: RefCell::default(),
            hops: Cell::default(),
            reads: Cell::new(0),
            writes: Cell::new(0),
            drawn: RefCell::default(),
            dice: Cell::new(1),
        }
    }

    /// Adds a calling service.
    pub fn employ(&self, name: &str, key: &str) {
        let keys = format!("{},{}", self.settings.borrow()["service_keys"], hashed(name, key));
        self.set("service_keys", &keys);
    }

    pub fn set(&self, setting: &str, value: &str) {
        self.settings.borrow_mut().insert(setting.to_owned(), value.to_owned());
    }

    /// Adds or replaces a service in `oauth_clients`.
    pub fn offer(&self, id: &str, service: Value) {
        let mut clients: Value = serde_json::from_str(&self.settings.borrow()["oauth_clients"]).unwrap();
        clients[id] = service;
        self.set("oauth_clients", &clients.to_string());
    }

    pub fn pass(&self, seconds: u64) {
        self.clock.set(self.clock.get() + seconds * 1000);
    }

    /// What the provider says next.
    pub fn answer(&self, status: u16, body: Value) {
        let response = Response::builder().status(status).header("content-type", "application/json");
        self.answers.borrow_mut().push_back(Ok(response.body(body.to_string().into_bytes()).unwrap()));
    }

    pub fn fault(&self, fault: SendFault) {
        self.answers.borrow_mut().push_back(Err(fault));
    }

    pub fn handle(&self, mut request: Request<Vec<u8>>) -> Response<Vec<u8>> {
        // As Spin does.
        if !request.headers().contains_key("spin-client-addr") {
            request.headers_mut().insert("spin-client-addr", "127.0.0.1:50000".parse().unwrap());
        }
        run(serve(self, request))
    }

    /// The forms that were sent to `url`.
    pub fn forms_sent_to(&self, url: &str) -> Vec<BTreeMap<String, String>> {
        let sent = self.sent.borrow();
        let there = sent.iter().filter(|request| request.uri() == url);
        there.map(|request| url::form_urlencoded::parse(request.body()).into_owned().collect()).collect()
    }

    pub fn get(&self, path: &str) -> Response<Vec<u8>> {
        self.handle(self.request("GET", path).body(Vec::new()).unwrap())
    }

    /// A request that reaches this world under its own name.
    pub fn request(&self, method: &str, path: &str) -> http::request::Builder {
        Request::builder().method(method).uri(format!("{}{path}", self.settings.borrow()["public_url"]))
    }

    /// `POST /token/{service}` by who holds `bearer`.
    pub fn token(&self, service: &str, bearer: Option<&str>) -> Response<Vec<u8>> {
        let mut request = self.request("POST", &format!("/token/{service}"));
        if let Some(bearer) = bearer {
            request = request.header("authorization", format!("Bearer {bearer}"));
        }
        self.handle(request.body(Vec::new()).unwrap())
    }

    /// `POST /resolve` by the gateway, for one service.
    pub fn resolve(&self, subject_token: Option<&str>, service: Value) -> Value {
        let body = json!({
            "subject_token": subject_token,
            "resource": format!("{}/mcp", self.settings.borrow()["public_url"]),
            "services": [service],
        });
        let response = self.ask(SERVICE_KEY, &body);
        assert_eq!(response.status(), StatusCode::OK, "{}", text(&response));
        read(&response)["services"][0].clone()
    }

    pub fn ask(&self, service_key: &str, body: &Value) -> Response<Vec<u8>> {
        let request = Request::post("http://oauth-broker.spin.internal/resolve")
            .header("authorization", format!("Bearer {service_key}"));
        self.handle(request.body(body.to_string().into_bytes()).unwrap())
    }

    /// Connects `service` in `browser`; the provider gives `grant` and then does not say who that is.
    pub fn connect(&self, browser: &mut Browser, service: &str, grant: Value) -> Response<Vec<u8>> {
        let to = browser.start(self, &format!("/auth/{service}"));
        self.answer(200, grant);
        let response = browser.get(self, &format!("/callback/{service}?code=canary-code&state={}", to["state"]));
        self.answers.borrow_mut().clear();
        response
    }

    fn is_down(&self) -> bool {
        self.store_down.get() || self.down_until.get().is_some_and(|end| self.clock.get() < end)
    }

    pub fn dump(&self) -> BTreeMap<String, Vec<u8>> {
        self.store.borrow().clone()
    }
}

/// Answers a request whose body is there.
pub async fn serve<H: Host>(host: &H, request: Request<Vec<u8>>) -> Response<Vec<u8>> {
    let (head, body) = request.into_parts();
    let announced = Some(body.len() as u64);
    crate::http::handle(host, Request::from_parts(head, Unread::new(Whole(Some(body)), announced))).await
}

/// A body that is there.
struct Whole(Option<Vec<u8>>);

impl Pieces for Whole {
    async fn piece(&mut self) -> Result<Option<Vec<u8>>, ReadError> {
        Ok(self.0.take())
    }
}

/// An entry of `service_keys`, `api_keys` and `admin_keys`.
pub fn hashed(name: &str, key: &str) -> String {
    let hex: String = keys::digest(key).iter().map(|byte| format!("{byte:02x}")).collect();
    format!("{name}:{hex}")
}

/// The token answer of the tests.
pub fn grant(token: &str, lifetime: u64, refresh_token: &str) -> Value {
    json!({
        "access_token": token, "token_type": "Bearer", "expires_in": lifetime, "refresh_token": refresh_token,
        "scope": "read write",
    })
}

impl Host for World {
    fn setting(&self, name: &str) -> Option<String> {
        self.settings.borrow().get(name).cloned()
    }

    fn get(&self, key: &str) -> Result<Option<Vec<u8>>, StoreFault> {
        self.reads.set(self.reads.get() + 1);
        if self.is_down() { Err(StoreFault) } else { Ok(self.store.borrow().get(key).cloned()) }
    }

    fn set(&self, key: &str, value: &[u8]) -> Result<(), StoreFault> {
        self.writes.set(self.writes.get() + 1);
        if self.is_down() || self.read_only.get() {
            return Err(StoreFault);
        }
        self.store.borrow_mut().insert(key.to_owned(), value.to_vec());
        Ok(())
    }

    fn delete(&self, key: &str) -> Result<(), StoreFault> {
        if self.is_down() {
            return Err(StoreFault);
        }
        self.store.borrow_mut().remove(key);
        Ok(())
    }

    async fn send(&self, request: Request<Vec<u8>>) -> Answer {
        let address = format!("{} {}", request.method(), request.uri());
        self.sent.borrow_mut().push(request);
        let change = self.meanwhile.borrow_mut().take();
        if let Some(change) = change {
            change(self);
        }
        if let Some(scripted) = self.answers.borrow_mut().pop_front() {
            return scripted;
        }
        match (&mut *self.provider.borrow_mut(), self.sent.borrow().last()) {
            (Some(provider), Some(request)) => Ok(provider(request, self.now())),
            _ => self.sites.borrow().get(&address).cloned().unwrap_or(Err(SendFault::Connection)),
        }
    }

    fn hops(&self) -> &Cell<Hops> {
        &self.hops
    }

    fn now(&self) -> u64 {
        self.clock.get() / 1000
    }

    fn ticks(&self) -> u64 {
        self.clock.get()
    }

    async fn sleep(&self, duration: Duration) {
        self.clock.set(self.clock.get() + duration.as_millis() as u64);
    }

    /// No randomness, but never the same twice.
    fn random(&self, bytes: &mut [u8]) {
        for byte in &mut *bytes {
            let next = self.dice.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            self.dice.set(next);
            *byte = (next >> 56) as u8;
        }
        self.drawn.borrow_mut().push(bytes.to_vec());
    }

    fn log(&self, line: &str) {
        self.log.borrow_mut().push(line.to_owned());
    }
}

/// A browser: it keeps cookies and asks for pages.
#[derive(Default)]
pub struct Browser {
    pub cookies: BTreeMap<String, String>,
}

impl Browser {
    /// Goes to the page at `path`, agrees, and gives the parameters of the provider's URL that this leads to.
    pub fn start(&mut self, world: &World, path: &str) -> BTreeMap<String, String> {
        let page = self.get(world, path);
        assert_eq!(page.status(), StatusCode::OK, "{}", text(&page));
        let left = self.agree(world, &page);
        assert_eq!(left.status(), StatusCode::OK, "{}", text(&left));
        leads_to(&left).query_pairs().into_owned().collect()
    }

    /// Presses the button of a page that asks whether to connect.
    pub fn agree(&mut self, world: &World, page: &Response<Vec<u8>>) -> Response<Vec<u8>> {
        let page = text(page);
        let form = format!("ticket={}", between(&page, "name=\"ticket\" value=\"", "\""));
        self.post(world, &between(&page, "method=\"post\" action=\"", "\""), &form)
    }

    pub fn get(&mut self, world: &World, path: &str) -> Response<Vec<u8>> {
        self.send(world, world.request("GET", path), Vec::new())
    }

    pub fn post(&mut self, world: &World, path: &str, form: &str) -> Response<Vec<u8>> {
        let request = world.request("POST", path).header("content-type", "application/x-www-form-urlencoded");
        let request = request.header("origin", &world.settings.borrow()["public_url"]);
        self.send(world, request, form.as_bytes().to_vec())
    }

    pub fn sign_in(&mut self, world: &World, credential: &str) -> Response<Vec<u8>> {
        self.post(world, "/sign-in", &format!("credential={credential}"))
    }

    pub fn send(&mut self, world: &World, request: http::request::Builder, body: Vec<u8>) -> Response<Vec<u8>> {
        let cookies: Vec<String> = self.cookies.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let mut request = request.header("accept", "text/html,*/*");
        if !cookies.is_empty() {
            request = request.header("cookie", cookies.join("; "));
        }
        let response = world.handle(request.body(body).unwrap());
        for cookie in response.headers().get_all(header::SET_COOKIE) {
            let (name, rest) = cookie.to_str().unwrap().split_once('=').unwrap();
            let value = rest.split(';').next().unwrap();
            if value.is_empty() {
                self.cookies.remove(name);
            } else {
                self.cookies.insert(name.to_owned(), value.to_owned());
            }
        }
        response
    }
}

/// The owner's connection to a service, by the account without a name.
pub fn owners(service: &str) -> ConnectionId {
    ConnectionId::new(Subject::owner(), ServiceId::parse(service).unwrap())
}

/// Runs what never has to wait, as nothing in this world does.
pub fn run<T>(future: impl Future<Output = T>) -> T {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(value) => value,
        Poll::Pending => panic!("something waits"),
    }
}

pub fn text(response: &Response<Vec<u8>>) -> String {
    String::from_utf8(response.body().clone()).unwrap()
}

pub fn read(response: &Response<Vec<u8>>) -> Value {
    serde_json::from_slice(response.body()).unwrap_or_else(|_| panic!("not JSON: {}", text(response)))
}

/// The address to which a page refreshes.
pub fn leads_to(response: &Response<Vec<u8>>) -> Url {
    let to = between(&text(response), "http-equiv=\"refresh\" content=\"0;url=", "\"");
    Url::parse(&to.replace("&amp;", "&")).unwrap()
}

/// What is there between the first `before` and the next `after`.
pub fn between(text: &str, before: &str, after: &str) -> String {
    let (_, rest) = text.split_once(before).unwrap_or_else(|| panic!("no {before} in {text}"));
    rest.split_once(after).unwrap().0.to_owned()
}

pub fn head(response: &Response<Vec<u8>>, name: &str) -> String {
    response.headers().get(name).map(|value| value.to_str().unwrap().to_owned()).unwrap_or_default()
}
