//! What is measured: an app, run by the host's binary in a process of its own so that its CPU time is its own.

use std::env;
use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use gatehouse_fixtures::Provider;
use serde_json::json;
use tempfile::TempDir;

const WASM: &str = "target/wasm32-wasip2/release";
/// The owner's.
pub const API_KEY: &str = "gak_bench";
/// SHA-256 of [`API_KEY`].
const API_KEYS: &str = "owner:5fc95d2cafd0444c7cf9b29d18ce75276f1dd5119aacdbbae83e94899831cbac";
const SERVICE_KEY: &str = "gsk_bench";
/// SHA-256 of [`SERVICE_KEY`].
const SERVICE_KEYS: &str = "gateway:c3b7fd156ef6b31d55b02656b30a5f4f28d958597b4aada2b127323a9407e740";
const ENCRYPTION_KEYS: &str = "k1:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

/// The instances that Spin has room for, where nobody says another number.
pub const POOL: u32 = 1_000;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Composition {
    Chained,
    TwoApps,
    Consolidated,
}

impl Composition {
    pub const ALL: [Self; 3] = [Self::Chained, Self::TwoApps, Self::Consolidated];
}

impl fmt::Display for Composition {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        out.write_str(match self {
            Self::Chained => "spin.toml",
            Self::TwoApps => "broker.toml + gateway.toml",
            Self::Consolidated => "consolidated.toml",
        })
    }
}

/// A running app; it stops when it is dropped.
pub struct App {
    /// Origin of the gateway.
    pub gateway: String,
    /// Origin of the broker's pages.
    pub broker: String,
    processes: Vec<Process>,
    _files: TempDir,
}

/// A process and those that it starts, which make a group of their own.
struct Process(Child);

impl Process {
    /// What it says of errors goes to ours, indented.
    fn spawn(command: &mut Command) -> Result<Self> {
        let program = command.get_program().to_owned();
        let command = command.process_group(0).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().with_context(|| program.display().to_string())?;
        let errors = child.stderr.take().context("piped")?;
        thread::spawn(move || {
            BufReader::new(errors).lines().map_while(Result::ok).for_each(|line| eprintln!("  {line}"))
        });
        Ok(Self(child))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = Command::new("kill").args(["-KILL", "--", &format!("-{}", self.0.id())]).status();
        let _ = self.0.wait();
    }
}

/// Builds what is measured: the host's binary, the components and the skeletons.
pub fn build() -> Result<()> {
    let cargo = |arguments: &str| -> Result<()> {
        let status = Command::new("cargo").args(arguments.split(' ')).current_dir(root()).status()?;
        anyhow::ensure!(status.success(), "cargo {arguments} failed");
        Ok(())
    };
    // Not by its package: cargo would settle on other features then, and build wasmtime twice.
    cargo("build --bin gatehouse")?;
    let components = "-p oauth-broker -p broker-client -p mcp-gateway";
    cargo(&format!("build --target wasm32-wasip2 --target-dir target --release {components}"))?;
    cargo("build --target wasm32-wasip2 --target-dir target --release -p gatehouse-skeleton --examples")
}

/// Sizes and instantiation times, as tables.
pub fn print_components() -> Result<()> {
    println!("\n## Sizes and instantiation\n\n| file | bytes |\n|---|---|");
    for name in ["oauth_broker", "mcp_gateway", "broker_client", "examples/pass"] {
        let file = root().join(WASM).join(format!("{name}.wasm"));
        println!("| {name}.wasm | {} |", fs::metadata(&file)?.len());
    }
    println!("\n| component | instantiation, p50 µs |\n|---|---|");
    let files = tempfile::tempdir()?;
    let pass = manifest(&files, "pass", &[("pass", "/...", "examples/pass.wasm", "")])?;
    for (name, manifest, component) in [
        ("a component that only forwards", pass, "pass"),
        ("oauth-broker", root().join("spin.toml"), "oauth-broker"),
        ("mcp-gateway with broker-client in it", root().join("spin.toml"), "mcp-gateway"),
        ("mcp-gateway with oauth-broker in it", root().join("deploy/consolidated.toml"), "mcp-gateway"),
    ] {
        let variables = ["public_url", "encryption_keys", "service_keys", "gateway_service_key"];
        let options = gatehouse_host::Options {
            variables: variables.map(|name| (name.to_owned(), "unused".to_owned())).into(),
            state_dir: gatehouse_host::Folder::None,
            quiet: true,
            ..Default::default()
        };
        let variables = if component == "pass" { vec![] } else { options.variables.clone() };
        let app = gatehouse_host::App::load(&manifest, gatehouse_host::Options { variables, ..options })?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let mut times = runtime.block_on(app.time_instantiations(component, 500))?;
        times.sort_unstable();
        println!("| {name} | {:.0} |", times[times.len() / 2].as_secs_f64() * 1e6);
    }
    Ok(())
}

impl App {
    /// The component that reads one key and forwards.
    pub fn pass() -> Result<Self> {
        let files = tempfile::tempdir()?;
        let manifest = manifest(&files, "pass", &[("pass", "/...", "examples/pass.wasm", "")])?;
        Self::start(files, &[(manifest, free_port()?, vec![])], POOL)
    }

    /// The composition without logic.
    pub fn skeleton(composition: Composition) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let broker = ("broker", "/...", "examples/broker.wasm", "");
        let dependency = |wasm: &str| {
            format!(
                "[component.gateway.dependencies]\n\
                 \"gatehouse:broker/tokens@0.1.0\" = {{ path = {:?}, inherit_configuration = true }}\n",
                root().join(WASM).join(wasm)
            )
        };
        let (port, broker_port) = (free_port()?, free_port()?);
        let broker_url = match composition {
            Composition::TwoApps => format!("http://127.0.0.1:{broker_port}"),
            _ => "http://broker.spin.internal".to_owned(),
        };
        let client = format!(
            "[component.gateway.variables]\nbroker_url = {broker_url:?}\n{}",
            dependency("examples/client.wasm")
        );
        fn gateway(tail: &str) -> (&str, &str, &str, &str) {
            ("gateway", "/mcp/...", "examples/gateway.wasm", tail)
        }
        let mut apps = Vec::new();
        match composition {
            Composition::Chained => apps.push((manifest(&files, "app", &[broker, gateway(&client)])?, port, vec![])),
            Composition::TwoApps => {
                apps.push((manifest(&files, "gateway", &[gateway(&client)])?, port, vec![]));
                apps.push((manifest(&files, "broker", &[broker])?, broker_port, vec![]));
            }
            Composition::Consolidated => {
                let tail = dependency("examples/broker.wasm");
                apps.push((manifest(&files, "app", &[broker, gateway(&tail)])?, port, vec![]));
            }
        }
        let mut app = Self::start(files, &apps, POOL)?;
        app.gateway += "/mcp";
        Ok(app)
    }

    /// Gatehouse as it is built in `checkout`, with one service and these servers, on this project's host, which gets room
    /// for so many instances.
    pub fn gatehouse(
        checkout: &Path,
        composition: Composition,
        provider: &Provider,
        servers: &[(&str, &str)],
        pool: u32,
    ) -> Result<Self> {
        let files = tempfile::tempdir()?;
        let servers: serde_json::Map<_, _> = servers
            .iter()
            .map(|(name, url)| ((*name).to_owned(), json!({ "type": "http", "url": url, "service": "demo" })))
            .collect();
        fs::write(files.path().join("servers.json"), json!({ "mcpServers": servers, "streams": 0 }).to_string())?;
        let clients = json!({ "demo": {
            "client_id": "gatehouse",
            "client_secret": "bench-secret",
            "authorize_url": format!("{}/authorize", provider.url()),
            "token_url": format!("{}/token", provider.url()),
        }});
        let (port, broker_port) = (free_port()?, free_port()?);
        let at = |port: u16| format!("http://127.0.0.1:{port}");
        let secrets = |public_url: String, gateway_url: String, broker_url: String| {
            vec![
                ("public_url", public_url),
                ("local_owner", "true".to_owned()),
                ("gateway_url", gateway_url),
                ("broker_url", broker_url),
                ("encryption_keys", ENCRYPTION_KEYS.to_owned()),
                ("service_keys", SERVICE_KEYS.to_owned()),
                ("api_keys", API_KEYS.to_owned()),
                ("gateway_service_key", SERVICE_KEY.to_owned()),
                ("oauth_clients", clients.to_string()),
            ]
        };
        let apps = match composition {
            Composition::TwoApps => {
                let variables = secrets(at(broker_port), at(port), at(broker_port));
                vec![
                    (derived(checkout, &files, "deploy/gateway.toml")?, port, variables.clone()),
                    (derived(checkout, &files, "deploy/broker.toml")?, broker_port, variables),
                ]
            }
            Composition::Chained => {
                vec![(derived(checkout, &files, "spin.toml")?, port, secrets(at(port), at(port), at(port)))]
            }
            Composition::Consolidated => {
                vec![(
                    derived(checkout, &files, "deploy/consolidated.toml")?,
                    port,
                    secrets(at(port), at(port), at(port)),
                )]
            }
        };
        Self::start(files, &apps, pool)
    }

    /// CPU time that its processes have used.
    pub fn cpu(&self) -> Result<Duration> {
        self.processes.iter().map(|process| cpu(process.0.id())).sum()
    }

    /// MiB of memory that its processes have in use now.
    pub fn memory(&self) -> Result<u64> {
        Ok(self.memory_kb()? / 1024)
    }

    pub fn memory_kb(&self) -> Result<u64> {
        self.processes.iter().map(|process| memory(process.0.id())).sum()
    }

    /// The most that they have had in use since [`App::forget_peak`].
    pub fn peak(&self) -> Result<u64> {
        self.processes.iter().map(|process| peak(process.0.id())).sum()
    }

    /// Begins to look for the most anew; gives what is in use now.
    pub fn forget_peak(&self) -> Result<u64> {
        for process in &self.processes {
            fs::write(format!("/proc/{}/clear_refs", process.0.id()), "5")?;
        }
        self.memory_kb()
    }

    /// Something else that serves MCP at `path` of this port, by one command.
    pub fn other(files: TempDir, command: &mut Command, port: u16, path: &str) -> Result<Self> {
        let processes = vec![Process::spawn(command.current_dir(files.path()))?];
        ready(port)?;
        let url = format!("http://127.0.0.1:{port}{path}");
        Ok(Self { gateway: url.clone(), broker: url, processes, _files: files })
    }

    /// The first app is the gateway's, the last the broker's.
    fn start(files: TempDir, apps: &[Served], pool: u32) -> Result<Self> {
        let mut processes = Vec::new();
        for (manifest, port, variables) in apps {
            let state = files.path().join(format!("state-{port}"));
            fs::create_dir(&state)?;
            let mut command = Command::new(binary()?);
            command
                .args(["up", "--quiet", "--no-build", "-f"])
                .arg(manifest)
                .args(["--listen", &format!("127.0.0.1:{port}"), "--state-dir"])
                .arg(&state)
                .env("SPIN_MAX_INSTANCE_COUNT", pool.to_string())
                .current_dir(&state);
            for (name, value) in variables {
                command.env(format!("SPIN_VARIABLE_{}", name.to_uppercase()), value);
            }
            processes.push(Process::spawn(&mut command)?);
            ready(*port)?;
        }
        let origin = |app: &Served| format!("http://127.0.0.1:{}", app.1);
        let gateway = apps.first().map(origin).context("an app")?;
        let broker = apps.last().map(origin).context("an app")?;
        Ok(Self { gateway, broker, processes, _files: files })
    }
}

/// A manifest, the port to serve it at, and its variables.
type Served<'a> = (PathBuf, u16, Vec<(&'a str, String)>);

/// A manifest for skeletons: name, route, wasm file, and what follows the component's table.
fn manifest(files: &TempDir, app: &str, components: &[(&str, &str, &str, &str)]) -> Result<PathBuf> {
    let mut text = format!("spin_manifest_version = 2\n[application]\nname = {app:?}\n");
    for (name, route, wasm, tail) in components {
        let source = root().join(WASM).join(wasm);
        text += &format!(
            "[[trigger.http]]\nroute = {route:?}\ncomponent = {name:?}\n[component.{name}]\nsource = {source:?}\n\
             key_value_stores = [\"default\"]\nallowed_outbound_hosts = [\"http://*:*\"]\n{tail}"
        );
    }
    let path = files.path().join(format!("{app}.toml"));
    fs::write(&path, text)?;
    Ok(path)
}

/// The manifest of a checkout, with only its paths replaced.
fn derived(checkout: &Path, files: &TempDir, manifest: &str) -> Result<PathBuf> {
    let wasm = checkout.join(WASM);
    let wasm = wasm.to_str().context("a path in UTF-8")?;
    let text = fs::read_to_string(checkout.join(manifest))?
        .replace(&format!("\"../{WASM}"), &format!("\"{wasm}"))
        .replace(&format!("\"{WASM}"), &format!("\"{wasm}"))
        .replace("\"../config/servers.json\"", "\"servers.json\"")
        .replace("\"config/servers.json\"", "\"servers.json\"");
    let path = files.path().join(Path::new(manifest).file_name().context("a file name")?);
    fs::write(&path, text)?;
    Ok(path)
}

fn ready(port: u16) -> Result<()> {
    let end = Instant::now() + Duration::from_secs(120);
    while Instant::now() < end {
        if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
            return Ok(());
        }
        thread::sleep(Duration::from_millis(20));
    }
    bail!("nothing listens on port {port}")
}

pub fn free_port() -> Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// User and system time of a group of processes, and of those of it that have ended: fields 14 to 17 of `stat`, in ticks
/// of 10 ms.
fn cpu(group: u32) -> Result<Duration> {
    let ticks = of_group(group, |fields| fields[11..15].iter().map(|field| field.parse::<u64>().unwrap_or(0)).sum())?;
    Ok(Duration::from_millis(ticks * 10))
}

/// Resident memory of a group of processes, KiB: field 24 of `stat`, in pages of 4 KiB.
fn memory(group: u32) -> Result<u64> {
    Ok(of_group(group, |fields| fields[21].parse().unwrap_or(0))? * 4)
}

/// The most memory that a process has had, KiB.
fn peak(process: u32) -> Result<u64> {
    let status = fs::read_to_string(format!("/proc/{process}/status"))?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).context("VmHWM")?;
    Ok(line.trim().trim_end_matches(" kB").parse()?)
}

/// The sum of what `read` finds in the `stat` of each process of a group, whose first field here is the state.
fn of_group(group: u32, read: impl Fn(&[&str]) -> u64) -> Result<u64> {
    let mut sum = 0;
    for process in fs::read_dir("/proc")? {
        // One that has just ended has no `stat`.
        let Ok(stat) = fs::read_to_string(process?.path().join("stat")) else { continue };
        let (_, fields) = stat.rsplit_once(')').context("stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        if fields.get(2) == Some(&group.to_string().as_str()) && fields.len() > 21 {
            sum += read(&fields);
        }
    }
    Ok(sum)
}

/// The host that was built, or another one with the same flags.
fn binary() -> Result<PathBuf> {
    let binary = env::var_os("GATEHOUSE_BIN").map_or_else(|| root().join("target/debug/gatehouse"), PathBuf::from);
    Ok(std::path::absolute(binary)?)
}

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap_or_default()
}
