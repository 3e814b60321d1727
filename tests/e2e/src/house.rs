//! Starts an installation of Gatehouse in a test, by the repository's own manifests.
//!
//! Each manifest is copied into a folder of the test's own with nothing changed but where files are: the wasm files'
//! absolute paths, and the test's `servers.json`. Ports are chosen before the apps start, because an app has to know its
//! public URL; whoever loses a port to another process chooses again.
//!
//! A public installation is `https://…` to the outside and plain HTTP inside, as behind a proxy that ends TLS. Where
//! gateway and broker are two apps, the one calls the other inside.

use std::collections::BTreeMap;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gatehouse_fixtures::Wire;
use gatehouse_host::{App, Capture, Folder, Options, Running, build_components};
use serde_json::Value;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::keys::Keys;

/// The ways in which the same wasm files are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Composition {
    /// `spin.toml`
    OneApp,
    /// `deploy/broker.toml` and `deploy/gateway.toml`
    TwoApps,
    /// `deploy/consolidated.toml`
    Consolidated,
}

/// What an installation is told.
pub struct Setup {
    pub composition: Composition,
    pub public: bool,
    pub keys: Keys,
    pub oauth_clients: Value,
    pub servers: Value,
    /// These come before what the rest says.
    pub variables: Vec<(&'static str, String)>,
}

/// A running installation.
pub struct House {
    setup: Setup,
    addresses: Vec<SocketAddr>,
    running: Vec<Running>,
    capture: Capture,
    dir: TempDir,
}

/// A row of a store: the database's app, the store's name, the key.
pub type Row = (usize, String, String);

impl Composition {
    pub const ALL: [Self; 3] = [Self::OneApp, Self::TwoApps, Self::Consolidated];

    /// The broker's app comes first.
    fn manifests(self) -> &'static [&'static str] {
        match self {
            Self::OneApp => &["spin.toml"],
            Self::TwoApps => &["deploy/broker.toml", "deploy/gateway.toml"],
            Self::Consolidated => &["deploy/consolidated.toml"],
        }
    }
}

impl House {
    pub fn start(setup: Setup) -> Result<Self> {
        let manifests = setup.composition.manifests();
        for manifest in manifests {
            build_components(&root().join(manifest))?;
        }
        let mut house = Self {
            setup,
            addresses: Vec::new(),
            running: Vec::new(),
            capture: Capture::default(),
            dir: tempfile::tempdir()?,
        };
        let mut tries = 0;
        loop {
            house.addresses = manifests.iter().map(|_| free_address()).collect::<Result<_>>()?;
            match house.run() {
                Err(_) if tries < PORT_TRIES => tries += 1,
                result => return result.map(|()| house),
            }
        }
    }

    /// Stops all apps and starts them again: what is not in a store is gone.
    pub fn restart(&mut self) -> Result<()> {
        for running in self.running.drain(..) {
            RUNTIME.block_on(running.shutdown(Duration::from_secs(5)));
        }
        self.run()
    }

    /// Lets the wall clock of all components be wrong by so many seconds.
    pub fn set_clock_ahead(&self, seconds: i64) -> Result<()> {
        Ok(fs::write(self.clock_offset(), seconds.to_string())?)
    }

    /// Sets a variable of the manifests to something else, from the next start on.
    pub fn set_variable(&mut self, name: &'static str, value: String) {
        self.setup.variables.push((name, value));
    }

    /// The gateway's origin, without a trailing slash.
    pub fn gateway(&self) -> String {
        self.origin(self.addresses.len() - 1, "mcp")
    }

    /// The broker's origin, without a trailing slash.
    pub fn broker(&self) -> String {
        self.origin(0, "auth")
    }

    pub fn keys(&self) -> &Keys {
        &self.setup.keys
    }

    /// Reaches this installation under its public names.
    pub fn wire(&self) -> Wire {
        self.pointed(Wire::default())
    }

    /// As [`House::wire`], with a time limit for each request.
    pub fn wire_with_timeout(&self, timeout: Duration) -> Wire {
        self.pointed(Wire::with_timeout(timeout))
    }

    /// The address of the gateway's app.
    pub fn gateway_address(&self) -> SocketAddr {
        self.addresses[self.addresses.len() - 1]
    }

    /// The address of the broker's app.
    pub fn broker_address(&self) -> SocketAddr {
        self.addresses[0]
    }

    /// Everything that the components and the host have written.
    pub fn output(&self) -> String {
        self.capture.text()
    }

    /// Every row of every store but those of the audit, which notes what the tests ask about, in rows drawn by chance.
    pub fn rows(&self) -> Result<BTreeMap<Row, Vec<u8>>> {
        let mut rows = BTreeMap::new();
        for app in 0..self.addresses.len() {
            let file = self.state_dir(app).join("sqlite_key_value.db");
            if !file.exists() {
                continue;
            }
            let database = rusqlite::Connection::open(&file)?;
            let mut statement =
                database.prepare("SELECT store, key, value FROM spin_key_value WHERE key NOT LIKE 'b.a.%'")?;
            let found = statement.query_map([], |row| Ok(((app, row.get(0)?, row.get(1)?), row.get(2)?)))?;
            for row in found {
                let (row, value) = row?;
                rows.insert(row, value);
            }
        }
        Ok(rows)
    }

    /// The bytes of every file that the apps keep, as a thief of the disk finds them.
    pub fn disk(&self) -> Result<Vec<u8>> {
        let mut bytes = Vec::new();
        for app in 0..self.addresses.len() {
            read_all(&self.state_dir(app), &mut bytes)?;
        }
        Ok(bytes)
    }

    /// Writes another `servers.json`, as an operator does while the apps run.
    pub fn edit_servers(&mut self, servers: Value) -> Result<()> {
        self.setup.servers = servers;
        self.write_servers()
    }

    fn write_servers(&self) -> Result<()> {
        Ok(fs::write(self.dir.path().join("servers.json"), self.setup.servers.to_string())?)
    }

    fn run(&mut self) -> Result<()> {
        self.write_servers()?;
        self.running.clear();
        for (app, manifest) in self.setup.composition.manifests().iter().enumerate() {
            let manifest = self.derive(manifest)?;
            let options = Options {
                variables: self.variables(),
                state_dir: Folder::At(self.state_dir(app)),
                log_dir: Folder::None,
                quiet: true,
                clock_offset: Some(self.clock_offset()),
                capture: Some(self.capture.clone()),
                ..Options::default()
            };
            let app_to_serve = App::load(&manifest, options)?;
            self.running.push(RUNTIME.block_on(app_to_serve.serve(self.addresses[app]))?);
        }
        Ok(())
    }

    /// The real manifest, with the files where they are for this test.
    fn derive(&self, manifest: &str) -> Result<PathBuf> {
        let text = fs::read_to_string(root().join(manifest)).with_context(|| format!("cannot read {manifest}"))?;
        let target = target_dir();
        let wasm = format!("\"{}/wasm32-wasip2", target.display());
        let mut derived = text
            .replace("\"../target/wasm32-wasip2", &wasm)
            .replace("\"target/wasm32-wasip2", &wasm)
            .replace("\"../config/servers.json\"", "\"servers.json\"")
            .replace("\"config/servers.json\"", "\"servers.json\"");
        ensure!(derived.contains(&wasm), "{manifest} names no wasm file under target/");
        if self.setup.public && self.setup.composition == Composition::TwoApps {
            let inside = format!("broker_url = \"http://{}\"", self.broker_address());
            derived = derived.replace("broker_url = \"{{ broker_url }}\"", &inside);
        }
        let path = self.dir.path().join(manifest.replace('/', "-"));
        fs::write(&path, derived)?;
        Ok(path)
    }

    fn variables(&self) -> Vec<(String, String)> {
        let mut variables = BTreeMap::from([
            ("public_url".to_owned(), self.broker()),
            ("local_owner".to_owned(), (!self.setup.public).to_string()),
            ("broker_url".to_owned(), self.broker()),
            ("gateway_url".to_owned(), self.gateway()),
            ("oauth_clients".to_owned(), self.setup.oauth_clients.to_string()),
        ]);
        let secret = self.setup.keys.variables().into_iter();
        for (name, value) in secret.chain(self.setup.variables.clone()) {
            variables.insert(name.to_owned(), value);
        }
        variables.into_iter().collect()
    }

    fn origin(&self, app: usize, public_name: &str) -> String {
        match (self.setup.public, self.setup.composition) {
            (false, _) => format!("http://{}", self.addresses[app]),
            (true, Composition::TwoApps) => format!("https://{public_name}.gatehouse.test"),
            (true, _) => "https://gatehouse.test".to_owned(),
        }
    }

    fn pointed(&self, wire: Wire) -> Wire {
        if !self.setup.public {
            return wire;
        }
        wire.pointing(&self.broker(), self.broker_address()).pointing(&self.gateway(), self.gateway_address())
    }

    fn clock_offset(&self) -> PathBuf {
        self.dir.path().join("clock-offset")
    }

    fn state_dir(&self, app: usize) -> PathBuf {
        self.dir.path().join(format!("state-{app}"))
    }
}

/// The repository.
pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().expect("this package is in the repository")
}

/// Where the manifests' build commands leave the wasm files, even if cargo's target directory is another one.
pub fn target_dir() -> PathBuf {
    root().join("target")
}

/// Below the ports from which outgoing connections take theirs, so that it is still free after a restart.
fn free_address() -> Result<SocketAddr> {
    loop {
        let mut random = [0; 2];
        getrandom::fill(&mut random)?;
        let address = SocketAddr::from(([127, 0, 0, 1], 10_000 + u16::from_le_bytes(random) % 20_000));
        if TcpListener::bind(address).is_ok() {
            return Ok(address);
        }
    }
}

fn read_all(path: &Path, bytes: &mut Vec<u8>) -> Result<()> {
    if path.is_file() {
        bytes.extend(fs::read(path)?);
    } else if path.is_dir() {
        for entry in fs::read_dir(path)? {
            read_all(&entry?.path(), bytes)?;
        }
    }
    Ok(())
}

/// One for all installations of a test process.
static RUNTIME: LazyLock<Runtime> = LazyLock::new(|| Runtime::new().expect("a runtime starts"));

const PORT_TRIES: usize = 5;
