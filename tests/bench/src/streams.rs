//! Measures what an open stream costs.

use std::io::{self, Read};
use std::net::SocketAddr;
use std::thread::sleep;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use gatehouse_fixtures::raw::Kind;
use gatehouse_fixtures::streams::{self, in_parallel, listen_as_legacy, listen_as_modern, opened};
use gatehouse_fixtures::{Provider, Raw};

use crate::app::{self, App, Composition};

const IDLE: usize = 1_000;
const ACTIVE: usize = 200;
const FILES: u64 = 8_000;
/// The instances that the host has room for: a stream has two memories.
const POOL: u32 = 3_000;
/// For how long nothing happens.
const SECONDS: u32 = 20;

/// One table: a row for each kind of stream.
pub fn measure(provider: &Provider) -> Result<()> {
    println!("\n## Streams\n");
    println!("| streams | memory of each, KB | CPU of each in a second, µs |\n|---|---|---|");
    streams::allow_files(FILES)?;
    for (name, kind, request) in [
        ("modern client, modern server", Kind::Modern, listen_as_modern as fn(SocketAddr) -> String),
        ("modern client, legacy server", Kind::Sessions, listen_as_modern),
        ("legacy client, modern server", Kind::Modern, listen_as_legacy),
        ("legacy client, legacy server", Kind::Sessions, listen_as_legacy),
    ] {
        eprintln!("{name} …");
        let server = streams::server(kind)?;
        let (app, address) = start(provider, &server)?;
        drop(opened(address, &request(address))?);
        let before = app.memory_kb()?;
        let idle = all(in_parallel(IDLE, |_| opened(address, &request(address))))?;
        sleep(Duration::from_secs(2));
        let (memory, cpu) = (app.memory_kb()?, app.cpu()?);
        sleep(Duration::from_secs(SECONDS.into()));
        let cpu = (app.cpu()? - cpu) / SECONDS;
        ensure!(server.hanging() >= IDLE, "{} streams are still open", server.hanging());
        row(&format!("{IDLE} idle: {name}"), memory.saturating_sub(before), cpu, IDLE);
        drop(idle);
    }
    for (name, kind, modern) in
        [("modern client, modern server", Kind::Modern, true), ("legacy client, legacy server", Kind::Sessions, false)]
    {
        eprintln!("{name}, active …");
        let server = streams::server(kind)?;
        let (app, address) = start(provider, &server)?;
        let call = || streams::call(address, "server__echo", modern);
        drop(opened(address, &call())?);
        let (idle, cpu) = (app.forget_peak()?, app.cpu()?);
        let ended = all(in_parallel(ACTIVE, |_| {
            let mut text = String::new();
            opened(address, &call())?.read_to_string(&mut text)?;
            Ok(text)
        }))?;
        ensure!(ended.iter().all(|text| text.contains("\"content\"")), "a stream without its answer");
        // Each says something ten times in a second, and is over then.
        row(&format!("{ACTIVE} active: {name}"), app.peak()?.saturating_sub(idle), app.cpu()? - cpu, ACTIVE);
    }
    Ok(())
}

fn row(name: &str, kb: u64, cpu: Duration, streams: usize) {
    let streams = streams as u128;
    println!("| {name} | {} | {} |", u128::from(kb) / streams, cpu.as_micros() / streams);
}

fn start(provider: &Provider, server: &Raw) -> Result<(App, SocketAddr)> {
    let app = App::gatehouse(&app::root(), Composition::Chained, provider, &[("server", &server.url())], POOL)?;
    crate::connect(provider, &app)?;
    let address = app.gateway.strip_prefix("http://").context("an origin")?.parse()?;
    Ok((app, address))
}

fn all<T>(done: Vec<io::Result<T>>) -> Result<Vec<T>> {
    Ok(done.into_iter().collect::<io::Result<_>>()?)
}
