//! Addresses that lead back to where the request came from, and Gatehouses behind each other.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use gatehouse_e2e::{Wish, World, in_every_composition};
use gatehouse_fixtures::{McpClient, Raw, raw};
use serde_json::json;

/// More than any of these may take.
const SOON: Duration = Duration::from_secs(5);

in_every_composition! {
    /// A05: Spin takes `self.alt` for the app itself, where the request would come from this machine and be the owner's.
    fn nobody_leads_the_broker_to_the_app_itself(composition: Composition) {
        let evil = Raw::start(|_| {
            let challenge = "www-authenticate: Bearer resource_metadata=\"https://self.alt/auth/evil\"\r\n";
            raw::answer("401 Unauthorized", challenge, b"")
        });
        let evil = evil.unwrap();
        let wish = Wish { services: json!({ "evil": { "mcp_server": evil.url() } }), ..Wish::default() };
        let world = World::new(composition, wish);
        let began = Instant::now();
        let page = world.browser().open(&format!("{}/auth/evil", world.house.broker())).unwrap();
        assert!(page.body.contains("are not outside"), "{} {}", page.status, page.body);
        assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
        assert_eq!(evil.asked().len(), 1);
    }

    /// A05: `self.alt` and our own address are the fault of an entry, and no other server suffers.
    fn the_app_itself_is_no_server(composition: Composition) {
        let entry = |url: &str| json!({ "url": url, "allowHttp": true, "allowPrivate": true });
        let servers = json!({ "alt": entry("https://self.alt/mcp"), "inside": entry("http://oauth-broker.spin.internal/") });
        let world = World::new(composition, Wish { servers, ..Wish::default() });
        world.connect();
        let wire = world.house.wire();
        let listed = wire.send(http::Request::get(format!("{}/mcp/servers", world.house.gateway())).body("").unwrap());
        let listed = listed.unwrap().into_body();
        assert_eq!(listed.matches("must not be the app itself").count(), 2, "{listed}");
        assert_eq!(world.whoami(&mut world.modern()).as_deref(), Ok("alice"));
    }

    /// A16: one Gatehouse behind another is a chain, and works.
    fn a_gatehouse_may_stand_behind_another(composition: Composition) {
        let last = World::local(composition);
        last.connect();
        let behind = |world: &World| Wish {
            servers: json!({ "next": { "url": format!("{}/mcp", world.house.gateway()) } }),
            ..Wish::default()
        };
        let middle = World::new(composition, behind(&last));
        let first = World::new(composition, behind(&middle));
        for (world, tool) in [(&middle, "next__demo__whoami"), (&first, "next__next__demo__whoami")] {
            for mut client in [world.modern(), world.legacy()] {
                let reply = client.call(tool, json!({})).unwrap();
                let name = reply.result().map(|result| result["structuredContent"]["name"].clone());
                assert_eq!(name, Some(json!("alice")), "{tool} {} {}", reply.status, reply.body);
            }
        }
    }

    /// A16: a server that leads back to its own gateway, by a name that is not known to be one, ends soon and costs
    /// nobody else anything.
    fn a_circle_ends(composition: Composition) {
        let relay = Relay::start().unwrap();
        let wish = Wish { servers: json!({ "circle": { "url": relay.url() } }), ..Wish::default() };
        let world = World::new(composition, wish);
        relay.leads_to(world.house.gateway_address());
        world.connect();
        let mut direct = McpClient::modern(world.house.wire(), format!("{}/mcp/circle", world.house.gateway()));
        for _ in 0..3 {
            let (began, before) = (Instant::now(), relay.passed());
            let reply = direct.call("circle__circle__circle__circle__demo__whoami", json!({})).unwrap();
            assert!(reply.body.contains("leads back to here"), "{} {}", reply.status, reply.body);
            assert!(began.elapsed() < SOON, "{:?}", began.elapsed());
            assert!(relay.passed() - before < 40, "{}", relay.passed() - before);
        }
        assert_eq!(world.whoami(&mut world.modern()).as_deref(), Ok("alice"));
    }
}

/// Passes requests on to an address, which takes them for its own. It changes nothing but the host.
struct Relay {
    address: SocketAddr,
    target: Arc<OnceLock<SocketAddr>>,
    passed: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Relay {
    fn start() -> io::Result<Self> {
        let listener = TcpListener::bind(("127.0.0.1", 0))?;
        let address = listener.local_addr()?;
        let target: Arc<OnceLock<SocketAddr>> = Arc::default();
        let (passed, is_over): (Arc<AtomicUsize>, Arc<AtomicBool>) = Default::default();
        let (to, count, over) = (target.clone(), passed.clone(), is_over.clone());
        let thread = thread::spawn(move || {
            for client in listener.incoming().flatten() {
                if over.load(Ordering::SeqCst) {
                    return;
                }
                let Some(target) = to.get().copied() else { continue };
                count.fetch_add(1, Ordering::SeqCst);
                thread::spawn(move || pass(client, target));
            }
        });
        Ok(Self { address, target, passed, is_over, thread: Some(thread) })
    }

    fn url(&self) -> String {
        format!("http://{}/mcp", self.address)
    }

    fn leads_to(&self, target: SocketAddr) {
        self.target.set(target).unwrap();
    }

    fn passed(&self) -> usize {
        self.passed.load(Ordering::SeqCst)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::SeqCst);
        // It looks again when somebody comes.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// One request, on a connection of its own.
fn pass(mut client: TcpStream, target: SocketAddr) -> io::Result<()> {
    let mut request = Vec::new();
    let mut piece = [0; 4096];
    let (head, body) = loop {
        let read = client.read(&mut piece)?;
        request.extend_from_slice(&piece[..read]);
        let end = request.windows(4).position(|end| end == b"\r\n\r\n");
        if let Some(end) = end {
            break (String::from_utf8_lossy(&request[..end]).into_owned(), request.split_off(end + 4));
        }
        if read == 0 {
            return Ok(());
        }
    };
    let is_field = |line: &str, name: &str| line.to_ascii_lowercase().starts_with(name);
    let length = head.lines().find(|line| is_field(line, "content-length:"));
    let length: usize = length.and_then(|line| line.split_once(':')?.1.trim().parse().ok()).unwrap_or(0);
    let mut body = body;
    while body.len() < length {
        let read = client.read(&mut piece)?;
        if read == 0 {
            return Ok(());
        }
        body.extend_from_slice(&piece[..read]);
    }
    let kept = head.lines().filter(|line| !is_field(line, "host:") && !is_field(line, "connection:"));
    let head = kept.collect::<Vec<_>>().join("\r\n");
    let mut server = TcpStream::connect(target)?;
    server.write_all(format!("{head}\r\nhost: {target}\r\nconnection: close\r\n\r\n").as_bytes())?;
    server.write_all(&body)?;
    io::copy(&mut server, &mut client)?;
    Ok(())
}
