//! Measures other proxies beside Gatehouse.
//!
//! The same `tools/call` of a small tool of one legacy server (the era that all of them speak), through each as its own
//! documentation says to run it, in the versions that `install_others` names. None of the others looks up whose call it
//! is or brings a person's token: Gatehouse does both. The upstream counts the requests that a call makes it answer.

use std::fs;
use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use gatehouse_fixtures::mcp_server::{self, Eras};
use gatehouse_fixtures::provider::{self, Consent, Person};
use gatehouse_fixtures::{McpServer, Provider};
use tempfile::TempDir;

use crate::app::{self, App, Composition};
use crate::connect;
use crate::load::{self, Call};

const START: Duration = Duration::from_secs(60);

/// Installs the others, measures them and Gatehouse, and prints a table.
pub fn compare(time: Duration) -> Result<()> {
    let status = Command::new(app::root().join("tests/bench/install_others")).current_dir(app::root()).status()?;
    anyhow::ensure!(status.success(), "install_others failed");
    let upstream = McpServer::start(mcp_server::Options { eras: Eras::LegacyOnly, ..Default::default() })?;
    let provider =
        Provider::start(provider::Options { consent: Consent::Approve(Person::Alice), ..Default::default() })?;

    println!(
        "| through | 1 caller: calls/s | p50 ms | p99 ms | CPU ms | 16 callers: calls/s | p50 ms | p99 ms | CPU ms \
         | MiB | upstream requests a call |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|---|");
    measure("nothing (direct)", &upstream, Call::legacy(&upstream.url(), "echo", None)?, None, time)?;
    for composition in Composition::ALL {
        let ours = App::gatehouse(&app::root(), composition, &provider, &[("up", &upstream.url())], app::POOL)?;
        connect(&provider, &ours)?;
        let call = Call::legacy(&format!("{}/mcp", ours.gateway), "up__echo", Some(app::API_KEY))?;
        measure(&format!("Gatehouse, {composition}"), &upstream, call, Some(&ours), time)?;
    }
    for start in [worker, mcp_proxy_of_rust, supergateway, mcp_proxy_of_python, fastmcp] {
        let other = start(&upstream.url())?;
        let call = other.call()?;
        measure(other.name, &upstream, call, Some(&other.app), time)?;
    }
    Ok(())
}

fn measure(name: &str, upstream: &McpServer, call: Call, app: Option<&App>, time: Duration) -> Result<()> {
    eprintln!("{name} …");
    let call = Arc::new(call);
    let run = |callers| load::run(&call, app, callers, time).with_context(|| name.to_owned());
    let before = (upstream.all_requests(), upstream.requests("tools/call"));
    let (one, sixteen) = (run(1)?, run(16)?);
    let (all, calls) = (upstream.all_requests() - before.0, upstream.requests("tools/call") - before.1);
    let memory = app.map(App::memory).transpose()?.map_or("–".to_owned(), |memory| memory.to_string());
    println!("| {name} | {one} | {sixteen} | {memory} | {:.2} |", all as f64 / calls as f64);
    Ok(())
}

struct Other {
    name: &'static str,
    tool: &'static str,
    app: App,
}

impl Other {
    /// Some listen before they can answer.
    fn call(&self) -> Result<Call> {
        let end = Instant::now() + START;
        loop {
            match Call::legacy(&self.app.gateway, self.tool, None) {
                Err(_) if Instant::now() < end => std::thread::sleep(Duration::from_millis(100)),
                call => return call.context(self.name),
            }
        }
    }
}

/// What a Worker costs that does nothing but forward.
fn worker(upstream: &str) -> Result<Other> {
    let (files, port) = (tempfile::tempdir()?, app::free_port()?);
    let script = format!("export default {{ fetch: (request) => fetch(new Request({upstream:?}, request)) }};\n");
    fs::write(files.path().join("worker.js"), script)?;
    let config = format!(
        "using Workerd = import \"/workerd/workerd.capnp\";\n\
         const config :Workerd.Config = (\n\
         \x20 services = [\n\
         \x20   (name = \"main\", worker = (modules = [(name = \"worker.js\", esModule = embed \"worker.js\")],\n\
         \x20     compatibilityDate = \"2026-01-01\")),\n\
         \x20   (name = \"internet\", network = (allow = [\"public\", \"private\"])),\n\
         \x20 ],\n\
         \x20 sockets = [(name = \"http\", address = \"127.0.0.1:{port}\", http = (), service = \"main\")],\n\
         );\n"
    );
    fs::write(files.path().join("workerd.capnp"), config)?;
    let mut command = installed("node/node_modules/@cloudflare/workerd-linux-64/bin/workerd");
    command.args(["serve", "workerd.capnp"]);
    start("workerd, a Worker that only forwards", "echo", files, command, port, "/")
}

fn mcp_proxy_of_rust(upstream: &str) -> Result<Other> {
    let (files, port) = (tempfile::tempdir()?, app::free_port()?);
    let config = format!(
        "[proxy]\nname = \"bench\"\nseparator = \"__\"\n[proxy.listen]\nhost = \"127.0.0.1\"\nport = {port}\n\
         [[backends]]\nname = \"up\"\ntransport = \"http\"\nurl = {upstream:?}\n[observability]\nlog_level = \"error\"\n"
    );
    fs::write(files.path().join("proxy.toml"), config)?;
    let mut command = installed("cargo/bin/mcp-proxy");
    command.args(["--config", "proxy.toml"]);
    start("mcp-proxy (crate)", "up__echo", files, command, port, "/")
}

fn supergateway(upstream: &str) -> Result<Other> {
    let port = app::free_port()?;
    let script = app::root().join("target/others/node/node_modules/supergateway/dist/index.js");
    let inner = format!("node {} --streamableHttp {upstream} --logLevel none", script.display());
    let mut command = Command::new("node");
    command.arg(&script).args(["--stdio", &inner, "--outputTransport", "streamableHttp", "--stateful"]);
    command.args(["--logLevel", "none", "--port", &port.to_string()]);
    start("supergateway (npm)", "echo", tempfile::tempdir()?, command, port, "/mcp")
}

fn mcp_proxy_of_python(upstream: &str) -> Result<Other> {
    let port = app::free_port()?;
    let mut command = installed("mcp-proxy/bin/mcp-proxy");
    let program = command.get_program().to_owned();
    command.args(["--port", &port.to_string(), "--log-level", "ERROR", "--"]).arg(program);
    command.args(["--transport", "streamablehttp", "--log-level", "ERROR", upstream]);
    start("mcp-proxy (PyPI)", "echo", tempfile::tempdir()?, command, port, "/mcp/")
}

fn fastmcp(upstream: &str) -> Result<Other> {
    let port = app::free_port()?;
    let script = format!(
        "from fastmcp.server import create_proxy\n\
         create_proxy({upstream:?}).run(transport='http', host='127.0.0.1', port={port}, path='/mcp', \
         show_banner=False, log_level='error')\n"
    );
    let mut command = installed("fastmcp/bin/python");
    command.args(["-c", &script]);
    start("fastmcp proxy (PyPI)", "echo", tempfile::tempdir()?, command, port, "/mcp")
}

/// A program below the folder that `install_others` fills.
fn installed(program: &str) -> Command {
    Command::new(app::root().join("target/others").join(program))
}

fn start(
    name: &'static str,
    tool: &'static str,
    files: TempDir,
    mut command: Command,
    port: u16,
    path: &str,
) -> Result<Other> {
    Ok(Other { name, tool, app: App::other(files, &mut command, port, path).context(name)? })
}
