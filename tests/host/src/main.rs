//! `gatehouse`: builds, sets up and serves the app of this repository. Flags mean what they mean in `spin up`.

mod gatehouse;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use gatehouse_host::{App, Folder, Options, build_components, variables_from_argument};
use std::convert::Infallible;
use std::io::{ErrorKind, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;
use tokio::signal::unix::{SignalKind, signal};

#[derive(Parser)]
#[command(
    name = "gatehouse",
    version,
    about = "Builds, sets up and serves Gatehouse",
    args_conflicts_with_subcommands = true
)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Action>,
    #[command(flatten)]
    up: Up,
}

#[derive(Subcommand)]
enum Action {
    /// Build, set up and serve: what happens without a command
    Up(Box<Up>),
    /// Create a .env with fresh secrets in the current folder, unless there is one
    Init,
    /// Print the SHA-256 of the key that is typed or piped in, as service_keys and api_keys take it
    Hash,
}

#[derive(clap::Args)]
struct Up {
    /// The manifest
    #[arg(short, long, value_name = "FILE", default_value = "spin.toml")]
    from: PathBuf,
    /// Where to listen
    #[arg(long, value_name = "ADDR:PORT", env = "SPIN_HTTP_LISTEN_ADDR", default_value = "127.0.0.1:3000",
        value_parser = address)]
    listen: SocketAddr,
    /// Take the next free port if that of --listen is in use
    #[arg(long)]
    find_free_port: bool,
    /// Backends of stores, sources of variables, blocked networks
    #[arg(long, value_name = "FILE", env = "RUNTIME_CONFIG_FILE")]
    runtime_config_file: Option<PathBuf>,
    /// Set a variable of the app; repeatable: k=v, k=@file, @file.json or @file.toml
    #[arg(long, value_name = "K=V")]
    variable: Vec<String>,
    /// Where stores are kept, "" for memory [default: .spin beside the manifest]
    #[arg(long, value_name = "DIR", value_parser = path_or_nothing)]
    state_dir: Option<PathBuf>,
    /// Where the components' output is kept, "" for nowhere [default: logs in the state folder]
    #[arg(long, value_name = "DIR", value_parser = path_or_nothing)]
    log_dir: Option<PathBuf>,
    /// Set a key of the default store before serving; repeatable
    #[arg(long, value_name = "K=V", value_parser = pair)]
    key_value: Vec<(String, String)>,
    /// Let the components' wall clock be wrong by the seconds in this file, which is read at each look at the clock
    #[arg(long, value_name = "FILE")]
    clock_offset: Option<PathBuf>,
    /// Set an environment variable of every component; repeatable
    #[arg(short, long, value_name = "K=V", value_parser = pair)]
    env: Vec<(String, String)>,
    /// Build first: the default here, so that a line for `spin up` works unchanged
    #[arg(long)]
    build: bool,
    /// Serve what has been built before
    #[arg(long, conflicts_with = "build")]
    no_build: bool,
    /// Keep the components' output off the console
    #[arg(short, long)]
    quiet: bool,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let done = match arguments.command {
        None => up(arguments.up),
        Some(Action::Up(arguments)) => up(*arguments),
        Some(Action::Init) => init(Path::new(DOTENV)),
        Some(Action::Hash) => hash(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn up(arguments: Up) -> Result<()> {
    let mut variables = Vec::new();
    for argument in &arguments.variable {
        variables.extend(variables_from_argument(argument)?);
    }
    if !arguments.no_build {
        gatehouse::ensure_wasm_target()?;
        build_components(&arguments.from)?;
    }
    if let Some(api_key) = gatehouse::create_env(Path::new(DOTENV))? {
        gatehouse::announce_env(Path::new(DOTENV), &api_key);
    }
    let mut options = Options {
        variables,
        runtime_config: arguments.runtime_config_file,
        state_dir: folder(arguments.state_dir),
        log_dir: folder(arguments.log_dir),
        environment: arguments.env,
        clock_offset: arguments.clock_offset,
        key_values: arguments.key_value,
        quiet: arguments.quiet,
        capture: None,
    };
    let listener = bind(arguments.listen, arguments.find_free_port)?;
    gatehouse::warn_of_unknown_names(&arguments.from, Path::new(DOTENV), &options)?;
    let reach = gatehouse::settle(&arguments.from, listener.local_addr()?, &mut options)?;
    let app = App::load(&arguments.from, options)?;
    tokio::runtime::Runtime::new()?.block_on(async {
        let running = app.serve_bound(listener).await?;
        gatehouse::announce(running.address(), &app.components().collect::<Vec<_>>(), &reach);
        stop_asked().await?;
        eprintln!("closing: requests in flight have {} s; once more to stop at once", GRACE.as_secs());
        tokio::select! {
            () = running.shutdown(GRACE) => Ok(()),
            again = stop_asked() => again,
        }
    })
}

/// Takes the port before the app is loaded, because local mode names it.
fn bind(mut address: SocketAddr, find_free_port: bool) -> Result<TcpListener> {
    for _ in 0..PORTS_TO_TRY {
        match TcpListener::bind(address) {
            Err(error) if error.kind() == ErrorKind::AddrInUse && find_free_port => {
                address.set_port(address.port().checked_add(1).context("there is no free port above")?);
            }
            Err(error) if error.kind() == ErrorKind::AddrInUse => {
                bail!(
                    "{address} is already in use, perhaps by another Gatehouse. \
                     To take another port, use --listen 127.0.0.1:3011 or --find-free-port"
                )
            }
            bound => return bound.with_context(|| format!("cannot listen on {address}")),
        }
    }
    bail!("no free port was found below {address}")
}

async fn stop_asked() -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        interrupted = tokio::signal::ctrl_c() => Ok(interrupted?),
        _ = terminate.recv() => Ok(()),
    }
}

fn init(path: &Path) -> Result<()> {
    match gatehouse::create_env(path)? {
        Some(api_key) => gatehouse::announce_env(path, &api_key),
        None => println!("{} is there already and stays as it is", path.display()),
    }
    Ok(())
}

fn hash() -> Result<()> {
    let mut key = String::new();
    std::io::stdin().read_to_string(&mut key)?;
    let key = key.trim_end_matches(['\r', '\n']);
    if key.is_empty() {
        bail!("there is no key on standard input");
    }
    println!("{}", gatehouse::hash(key));
    Ok(())
}

fn pair(argument: &str) -> Result<(String, String), String> {
    let (key, value) = argument.split_once('=').ok_or("must be in the form key=value")?;
    Ok((key.to_owned(), value.to_owned()))
}

fn address(argument: &str) -> Result<SocketAddr, String> {
    argument.parse().map_err(|_| "must be an IP address and a port, such as 127.0.0.1:3011".to_owned())
}

/// Clap's own reader of paths refuses "".
fn path_or_nothing(argument: &str) -> Result<PathBuf, Infallible> {
    Ok(PathBuf::from(argument))
}

fn folder(path: Option<PathBuf>) -> Folder {
    match path {
        None => Folder::Default,
        Some(path) if path.as_os_str().is_empty() => Folder::None,
        Some(path) => Folder::At(path),
    }
}

/// Read by the host and by `spin up`, in the folder that either is started in.
const DOTENV: &str = ".env";
const GRACE: Duration = Duration::from_secs(10);
const PORTS_TO_TRY: usize = 10;
