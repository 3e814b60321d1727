//! Every client with every upstream.

use std::rc::Rc;

use super::upstreams::{echo, legacy, legacy_stateless, legacy_with, modern};
use super::*;

const BOTH: [Era; 2] = [Era::Legacy, Era::Modern];

fn kinds() -> [(&'static str, Upstream); 3] {
    [("modern", modern(echo)), ("legacy", legacy(echo)), ("stateless", legacy_stateless(echo))]
}

#[test]
fn every_client_calls_and_lists_the_tools_of_every_upstream() {
    for era in BOTH {
        for (kind, upstream) in kinds() {
            let world = World::with(upstream);
            for (path, tool) in [("/mcp/up", "echo"), ("/mcp", "up__echo"), ("/mcp/sse", "up__echo")] {
                let got = world.serve(era.call(path, tool));
                assert_eq!(got.status, OK, "{era:?} {kind}");
                assert!(got.whole, "a small answer leaves in one write: {era:?} {kind}");
                let json = got.json();
                assert_eq!(json["id"], 1);
                assert_eq!(json["result"]["content"][0]["text"], "hi of echo", "{era:?} {kind}: {json}");
                let complete = json["result"]["resultType"] == "complete";
                assert_eq!(complete, era == Era::Modern, "resultType is the modern client's alone: {kind}: {json}");

                let got = world.serve(era.list(path));
                let names = if path == "/mcp/up" { ["echo", "get-sum"] } else { ["up__echo", "up__get-sum"] };
                assert_eq!(got.tool_names(), names, "{era:?} {kind}");
                assert!(got.text().contains(r#""x-odd":1.0"#), "what is not known passes as it is");
                let result = &got.json()["result"];
                let modern = ["resultType", "ttlMs", "cacheScope"].map(|member| !result[member].is_null());
                assert_eq!(modern, [era == Era::Modern; 3], "{kind}");
            }
        }
    }
}

#[test]
fn where_nothing_is_kept_a_warm_call_is_one_request_two_loads_and_one_resolve() {
    for era in BOTH {
        for (kind, upstream) in kinds() {
            let world = World::with(upstream);
            world.serve(era.call("/mcp", "up__echo"));
            let cold = world.methods();
            match kind {
                "modern" if era == Era::Modern => assert_eq!(cold, ["server/discover", "tools/call"]),
                "modern" => assert_eq!(cold, ["initialize", "server/discover", "tools/call"]),
                _ if era == Era::Legacy => {
                    assert_eq!(cold, ["initialize", "notifications/initialized", "tools/call"]);
                }
                _ => assert_eq!(cold, ["server/discover", "initialize", "notifications/initialized", "tools/call"]),
            }
            let (loads, asked) = (world.loads.get(), world.asked.borrow().len());
            world.serve(era.call("/mcp", "up__echo"));
            assert_eq!(world.methods(), ["tools/call"], "{era:?} {kind}");
            assert_eq!((world.loads.get() - loads, world.asked.borrow().len() - asked), (2, 1));
        }
    }
}

/// R40: what is remembered of a server is remembered for each era of client.
#[test]
fn clients_of_each_era_have_what_is_known_of_an_upstream_for_themselves() {
    let world = World::with(legacy(echo));
    world.serve(Era::Legacy.call("/mcp", "up__echo"));
    world.sent();
    world.serve(Era::Modern.call("/mcp/up", "echo"));
    assert_eq!(world.methods(), ["server/discover", "initialize", "notifications/initialized", "tools/call"]);
    for era in BOTH {
        world.serve(era.call("/mcp", "up__echo"));
        assert_eq!(world.methods().last().unwrap(), "tools/call", "{era:?}");
    }
    assert_eq!(world.store.borrow().len(), 5, "how it speaks and what it can, for each era, and how it fares");
}

#[test]
fn in_a_shared_session_no_two_requests_have_one_id() {
    let world = World::with(legacy(echo));
    let session = |world: &World| {
        let opened = world.serve(Era::Legacy.request("/mcp", "initialize", r#""protocolVersion":"2025-11-25""#));
        opened.header("mcp-session-id").unwrap().to_owned()
    };
    let first = session(&world);
    let ids: Vec<Value> = [&first, &first]
        .map(|session| {
            world.serve(with_header(Era::Legacy.call("/mcp/up", "echo"), "mcp-session-id", session));
            world.sent().last().unwrap().json()["id"].clone()
        })
        .to_vec();
    assert_eq!(ids[0], ids[1], "the same client's is found again, for its cancellation");
    world.serve(Era::Modern.call("/mcp/up", "echo"));
    world.sent();
    world.serve(Era::Modern.call("/mcp/up", "echo"));
    world.serve(Era::Modern.call("/mcp/up", "echo"));
    let sent = world.sent();
    assert_ne!(sent[0].json()["id"], sent[1].json()["id"]);
}

#[test]
fn a_session_that_died_is_made_anew_once_and_the_client_does_not_notice() {
    for dead in [404, 400] {
        let sessions = Rc::new(Cell::new(0));
        let world = World::with(legacy_with(echo, sessions.clone(), dead));
        world.serve(Era::Legacy.call("/mcp", "up__echo"));
        world.sent();
        sessions.set(sessions.get() + 1);
        let got = world.serve(Era::Legacy.call("/mcp", "up__echo"));
        assert_eq!(got.json()["result"]["content"][0]["text"], "hi of echo");
        assert_eq!(world.methods(), ["tools/call", "initialize", "notifications/initialized", "tools/call"]);
        world.serve(Era::Legacy.call("/mcp", "up__echo"));
        assert_eq!(world.methods(), ["tools/call"], "the new one is remembered");
    }
}

#[test]
fn requests_that_open_a_session_at_the_same_time_all_use_the_first_ones() {
    let opened = Cell::new(0);
    let inner = legacy_stateless(echo);
    let answer = move |sent: &Sent| match (sent.method().as_str(), inner(sent)) {
        ("initialize", Reply::Answer(status, mut headers, mut pieces)) => {
            opened.set(opened.get() + 1);
            headers.push(("mcp-session-id", format!("session-{}", opened.get())));
            // The first is the first to be answered.
            pieces.insert(0, Piece::Wait(Duration::from_millis(100 * opened.get())));
            Reply::Answer(status, headers, pieces)
        }
        (_, reply) => reply,
    };
    let world = World::with(Box::new(move |sent| match sent.body.is_empty() {
        true => Reply::Answer(204, vec![], vec![]),
        false => answer(sent),
    }));
    let mut calls = [0; 3].map(|_| world.begin(Era::Modern.call("/mcp/up", "echo")));
    world.go_on(&mut calls, |_| false);
    world.serve(Era::Modern.call("/mcp/up", "echo"));
    let (ended, sent): (Vec<_>, Vec<_>) = world.sent().into_iter().partition(|sent| sent.body.is_empty());
    assert_eq!(sent.iter().filter(|sent| sent.method() == "initialize").count(), 3);
    let ended: Vec<_> = ended.iter().map(|sent| sent.header("mcp-session-id")).collect();
    assert_eq!(ended, [Some("session-2"), Some("session-3")], "what nobody uses is ended");
    let used: Vec<_> = sent.iter().filter(|sent| sent.method() == "tools/call").collect();
    assert_eq!(used.len(), 4);
    assert!(used.iter().all(|sent| sent.header("mcp-session-id") == Some("session-1")), "{used:?}");
}

/// R41: two instances remember a session each, and neither sees the other's before it writes its own. Then the stream of
/// GET and the first call of a client would be in two sessions, and the answer to a question would come to neither.
#[test]
fn of_two_sessions_that_are_remembered_at_the_same_moment_the_later_one_is_used() {
    let world = World::with(super::upstreams::legacy_sharing(echo, Rc::default()));
    let rows = |kind: &'static str| {
        let rows = world.store.borrow();
        rows.iter().filter(move |(key, _)| key.starts_with(kind)).map(|(key, row)| (key.clone(), row.clone())).next()
    };
    let forget = || world.store.borrow_mut().retain(|key, _| !key.starts_with("g.u.") && !key.starts_with("g.k."));
    world.serve(Era::Legacy.call("/mcp", "up__echo"));
    let others = rows("g.u.").unwrap();
    forget();
    let mut call = [world.begin(Era::Legacy.call("/mcp", "up__echo"))];
    world.go_on(&mut call, |_| rows("g.u.").is_some());
    world.store.borrow_mut().insert(others.0, others.1);
    world.go_on(&mut call, |_| false);
    let used = |sent: &Sent| (sent.body.is_empty(), sent.header("mcp-session-id").map(str::to_owned));
    let sent = world.sent();
    assert_eq!(used(sent.last().unwrap()), (false, Some("session-1".to_owned())));
    assert!(sent.iter().any(|sent| used(sent) == (true, Some("session-2".to_owned()))), "its own one is ended");
}

/// A level that is set meanwhile stands in the same row, and is no other session.
#[test]
fn a_session_whose_level_is_set_while_it_is_opened_is_kept() {
    let can = r#"{"tools":{},"logging":{}}"#;
    let logs = |method: &str, params: &Value| match method {
        "logging/setLevel" => "{}".to_owned(),
        _ => echo(method, params),
    };
    let world = World::with(super::upstreams::legacy_that_can(can, logs, Rc::default(), 404));
    let id = asking::session(&world, "{}");
    let request = |request| with_header(request, "mcp-session-id", &id);
    let is_known = || world.store.borrow().keys().any(|key| key.starts_with("g.u."));
    world.store.borrow_mut().retain(|key, _| !key.starts_with("g.u.") && !key.starts_with("g.k."));
    world.sent();
    let mut call = [world.begin(request(Era::Legacy.call("/mcp", "up__echo")))];
    world.go_on(&mut call, |_| is_known());
    let set = request(Era::Legacy.request("/mcp", "logging/setLevel", r#""level":"debug""#));
    assert_eq!(world.serve(set).status, OK);
    world.go_on(&mut call, |_| false);
    assert_eq!(call[0].got().unwrap().status, OK);
    assert!(world.sent().iter().all(|sent| !sent.body.is_empty()), "nothing is ended");
}

#[test]
fn an_upstream_that_refuses_every_session_is_not_asked_without_end() {
    let sessions = Rc::new(Cell::new(0));
    let inner = legacy_with(echo, sessions.clone(), 404);
    let counter = sessions.clone();
    let world = World::with(Box::new(move |sent| {
        if sent.method() == "tools/call" {
            counter.set(counter.get() + 1);
        }
        inner(sent)
    }));
    world.serve(Era::Legacy.call("/mcp", "up__echo"));
    world.sent();
    let got = world.serve(Era::Legacy.call("/mcp", "up__echo"));
    assert_eq!(world.methods().iter().filter(|method| *method == "tools/call").count(), 2);
    assert_eq!(got.json()["error"]["code"], -32001, "{}", got.text());
}

#[test]
fn a_session_that_another_request_has_made_anew_is_taken_over() {
    let sessions = Rc::new(Cell::new(0));
    let world = Rc::new(World::with(legacy_with(echo, sessions.clone(), 404)));
    world.serve(Era::Legacy.call("/mcp", "up__echo"));
    let old = world.store.borrow().clone();
    sessions.set(1);
    *world.store.borrow_mut() = BTreeMap::new();
    world.serve(Era::Legacy.call("/mcp", "up__echo"));
    let new = world.store.borrow().clone();
    world.sent();
    // This request has read the old row; by the time its call is refused, the new one is there.
    let stale = Stale { world: &world, first: RefCell::new(Some(old)), then: new };
    let heard = Rc::new(RefCell::new(Heard::default()));
    let client = Client { heard: heard.clone(), leaves_after: usize::MAX };
    world.run(world::serve(&stale, Era::Legacy.call("/mcp", "up__echo"), client));
    assert!(heard.take().into_got().text().contains("hi of echo"));
    assert_eq!(world.methods(), ["tools/call", "tools/call"]);
}

#[test]
fn an_upstream_that_changes_its_era_is_met_again() {
    let now_modern = Rc::new(Cell::new(false));
    let (old, new, flag) = (legacy(echo), modern(echo), now_modern.clone());
    let world = World::with(Box::new(move |sent| if flag.get() { new(sent) } else { old(sent) }));
    world.serve(Era::Modern.call("/mcp", "up__echo"));
    now_modern.set(true);
    world.sent();
    // The new server misses `_meta`, and says so with 400 and -32602.
    let got = world.serve(Era::Modern.call("/mcp", "up__echo"));
    assert_eq!(got.json()["result"]["content"][0]["text"], "hi of echo");
    assert_eq!(world.methods(), ["tools/call", "initialize", "server/discover", "tools/call"]);
    now_modern.set(false);
    let got = world.serve(Era::Legacy.call("/mcp", "up__echo"));
    assert_eq!(got.json()["result"]["content"][0]["text"], "hi of echo", "and back");
}

/// A world whose store shows an old row at first.
struct Stale<'w> {
    world: &'w World,
    first: RefCell<Option<BTreeMap<String, Vec<u8>>>>,
    then: BTreeMap<String, Vec<u8>>,
}

impl Host for Stale<'_> {
    type Body = Script;
    type Outlet = Client;
    fn servers(&self) -> Result<Vec<u8>, String> {
        self.world.servers()
    }
    fn public_urls(&self) -> Result<Origins, ResolveError> {
        self.world.public_urls()
    }
    fn resolve(&self, request: &ResolveRequest) -> Result<Resolution, ResolveError> {
        self.world.resolve(request)
    }
    fn load(&self, key: &str) -> Option<Vec<u8>> {
        let first = key.starts_with("g.u.").then(|| self.first.borrow_mut().take()).flatten();
        first.as_ref().unwrap_or(&self.then).get(key).cloned()
    }
    fn save(&self, key: &str, value: &[u8]) {
        self.world.save(key, value);
    }
    fn forget(&self, key: &str) {
        self.world.forget(key);
    }
    async fn send(&self, request: Request<Vec<u8>>, patience: Duration) -> Result<Response<Script>, SendError> {
        self.world.send(request, patience).await
    }
    fn now(&self) -> u64 {
        self.world.now()
    }
    fn random(&self, bytes: &mut [u8]) {
        self.world.random(bytes);
    }
    async fn sleep(&self, duration: Duration) {
        self.world.sleep(duration).await;
    }
    fn log(&self, line: &str) {
        self.world.log(line);
    }
}
