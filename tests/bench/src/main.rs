//! Measures what Gatehouse costs.
//!
//! One run, one machine, one upstream: a `tools/call` of a small tool, direct, through a component that only forwards,
//! through each composition of skeletons without logic, and through Gatehouse in the same compositions; the same with a
//! result of 1 MB ([`large`]), the lists of many tools ([`lists`]) and open streams ([`streams`]). Times of a shared
//! machine say little by themselves: the columns to read are the ratios within one run, and CPU per call, which is that of
//! the host's process alone.
//!
//! `cargo run --bin gatehouse-bench [seconds per row]` prints the tables of `docs/benchmarks.md`; with `lists` or `streams`
//! behind it that one alone, with `others` the one that compares ([`others`]), with `against <checkout>` the one that
//! compares with another checkout of this project ([`against`]).

mod against;
mod app;
mod lists;
mod load;
mod others;
mod streams;

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use gatehouse_fixtures::mcp_server::{self, Eras};
use gatehouse_fixtures::provider::{self, Client, Consent, Person, SecretKind};
use gatehouse_fixtures::{Browser, McpServer, Provider};

use app::{App, Composition};
use load::{Call, Measured};

fn main() -> Result<()> {
    let seconds = std::env::args().nth(1).map_or(Ok(3.0), |text| text.parse()).context("seconds per row")?;
    let time = Duration::from_secs_f64(seconds);
    app::build()?;
    if std::env::args().nth(2).as_deref() == Some("against") {
        let checkout = std::env::args().nth(3).context("the path of the other checkout")?;
        return against::compare(checkout.as_ref(), time);
    }
    let provider =
        Provider::start(provider::Options { consent: Consent::Approve(Person::Alice), ..Default::default() })?;
    match std::env::args().nth(2).as_deref() {
        Some("others") => return others::compare(time),
        Some("lists") => return lists::measure(&provider),
        Some("streams") => return streams::measure(&provider),
        _ => {}
    }
    let upstream =
        |eras| McpServer::start(mcp_server::Options { bearers: Some(provider.bearers()), eras, ..Default::default() });
    let modern = upstream(Eras::ModernOnly)?;
    let legacy = upstream(Eras::LegacyOnly)?;

    let (modern_url, legacy_url) = (modern.url(), legacy.url());
    let servers = [("modern", modern_url.as_str()), ("legacy", legacy_url.as_str())];
    let mut rows = Vec::new();
    let mut token = None;
    for composition in Composition::ALL {
        let ours = App::gatehouse(&app::root(), composition, &provider, &servers, app::POOL)?;
        connect(&provider, &ours)?;
        token = token
            .or_else(|| provider.secrets().into_iter().rev().find(|secret| secret.kind == SecretKind::AccessToken));
        let token = token.as_ref().context("the provider has issued an access token")?;
        if rows.is_empty() {
            rows.push(measure("direct", Call::modern(&modern.url(), "echo", Some(&token.value)), None, time)?);
            let pass = App::pass()?;
            let call = Call::modern(&pass.gateway, "echo", Some(&token.value)).forwarded_to(&modern.url());
            rows.push(measure("a component that only forwards", call, Some(&pass), time)?);
        }
        let skeleton = App::skeleton(composition)?;
        let call = Call::modern(&skeleton.gateway, "echo", Some(&token.value)).forwarded_to(&modern.url());
        rows.push(measure(&format!("{composition}: skeleton"), call, Some(&skeleton), time)?);
        drop(skeleton);
        let call = Call::modern(&format!("{}/mcp/modern", ours.gateway), "echo", None);
        rows.push(measure(&format!("{composition}: Gatehouse, modern"), call, Some(&ours), time)?);
        let call = Call::modern(&format!("{}/mcp/modern", ours.gateway), "echo", Some(app::API_KEY));
        rows.push(measure(&format!("{composition}: Gatehouse, modern, with an API key"), call, Some(&ours), time)?);
        let call = Call::modern(&format!("{}/mcp", ours.gateway), "modern__echo", None);
        rows.push(measure(&format!("{composition}: Gatehouse, modern, /mcp"), call, Some(&ours), time)?);
        let call = Call::legacy(&format!("{}/mcp/legacy", ours.gateway), "echo", None)?;
        rows.push(measure(&format!("{composition}: Gatehouse, legacy"), call, Some(&ours), time)?);
        if composition == Composition::Chained {
            let call = Call::modern(&format!("{}/mcp/legacy", ours.gateway), "echo", None);
            let name = format!("{composition}: Gatehouse, modern client, legacy server");
            rows.push(measure(&name, call, Some(&ours), time)?);
            let call = Call::legacy(&format!("{}/mcp/modern", ours.gateway), "echo", None)?;
            let name = format!("{composition}: Gatehouse, legacy client, modern server");
            rows.push(measure(&name, call, Some(&ours), time)?);
        }
    }
    println!("\n## Calls\n");
    print(&rows);
    let token = token.context("there is a composition")?;
    println!("\n## Large results\n");
    print(&large(&provider, &servers, &token.value, time)?);
    lists::measure(&provider)?;
    streams::measure(&provider)?;
    app::print_components()
}

/// A result of 1 MB, which passes as it is, or is held because its id has to change.
fn large(provider: &Provider, servers: &[(&str, &str)], token: &str, time: Duration) -> Result<Vec<Row>> {
    let (_, modern) = servers.first().context("a server")?;
    let mut rows = vec![measure("direct", Call::modern(modern, "big", Some(token)), None, time)?];
    let pass = App::pass()?;
    let call = Call::modern(&pass.gateway, "big", Some(token)).forwarded_to(modern);
    rows.push(measure("a component that only forwards", call, Some(&pass), time)?);
    let ours = App::gatehouse(&app::root(), Composition::Chained, provider, servers, app::POOL)?;
    connect(provider, &ours)?;
    let call = Call::modern(&format!("{}/mcp/modern", ours.gateway), "big", None);
    rows.push(measure("spin.toml: Gatehouse, modern", call, Some(&ours), time)?);
    let call = Call::legacy(&format!("{}/mcp/legacy", ours.gateway), "big", None)?;
    rows.push(measure("spin.toml: Gatehouse, legacy", call, Some(&ours), time)?);
    Ok(rows)
}

fn print(rows: &[Row]) {
    println!("| row | 1 caller: calls/s | p50 ms | p99 ms | CPU ms | 16 callers: calls/s | p50 ms | p99 ms | CPU ms |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, one, sixteen) in rows {
        println!("| {name} | {one} | {sixteen} |");
    }
}

type Row = (String, Measured, Measured);

fn measure(name: &str, call: Call, app: Option<&App>, time: Duration) -> Result<Row> {
    eprintln!("{name} …");
    let call = Arc::new(call);
    let run = |callers| load::run(&call, app, callers, time).with_context(|| name.to_owned());
    Ok((name.to_owned(), run(1)?, run(16)?))
}

/// Alice connects, as a person would.
pub fn connect(provider: &Provider, app: &App) -> Result<()> {
    provider.add_client(Client {
        id: "gatehouse".into(),
        secret: Some("bench-secret".into()),
        redirect_uris: vec![format!("{}/callback/demo", app.broker)],
    });
    let page = Browser::default().open_and_press(&format!("{}/auth/demo", app.broker), "Connect")?;
    anyhow::ensure!(page.status.is_success(), "connecting ended with {} {}", page.status, page.body);
    Ok(())
}
