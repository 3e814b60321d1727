//! What does Gatehouse cost?
//!
//! One run, one machine, one upstream: a `tools/call` of a small tool, direct, through a component that only forwards,
//! through each composition of skeletons without logic, and through Gatehouse in the same compositions. Times of a shared
//! machine say little by themselves: the columns to read are the ratios within one run, and CPU per call, which is that of
//! the host's process alone.
//!
//! `cargo run --bin gatehouse-bench [seconds per row]` prints the tables of `docs/benchmarks.md`; with `others` behind it
//! the one that compares ([`others`]).

mod app;
mod load;
mod others;

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
    if std::env::args().nth(2).as_deref() == Some("others") {
        return others::compare(time);
    }

    let provider =
        Provider::start(provider::Options { consent: Consent::Approve(Person::Alice), ..Default::default() })?;
    let upstream =
        |eras| McpServer::start(mcp_server::Options { bearers: Some(provider.bearers()), eras, ..Default::default() });
    let modern = upstream(Eras::ModernOnly)?;
    let legacy = upstream(Eras::LegacyOnly)?;

    let mut rows = Vec::new();
    let mut token = None;
    for composition in Composition::ALL {
        let ours = App::gatehouse(composition, &provider, &[("modern", &modern.url()), ("legacy", &legacy.url())])?;
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
    }

    println!("| row | 1 caller: calls/s | p50 ms | p99 ms | CPU ms | 16 callers: calls/s | p50 ms | p99 ms | CPU ms |");
    println!("|---|---|---|---|---|---|---|---|---|");
    for (name, one, sixteen) in &rows {
        println!("| {name} | {one} | {sixteen} |");
    }
    app::print_components()
}

type Row = (String, Measured, Measured);

fn measure(name: &str, call: Call, app: Option<&App>, time: Duration) -> Result<Row> {
    eprintln!("{name} …");
    let call = Arc::new(call);
    let run = |callers| load::run(&call, app, callers, time).with_context(|| name.to_owned());
    Ok((name.to_owned(), run(1)?, run(16)?))
}

/// Alice connects, as a person would.
fn connect(provider: &Provider, app: &App) -> Result<()> {
    provider.add_client(Client {
        id: "gatehouse".into(),
        secret: Some("bench-secret".into()),
        redirect_uris: vec![format!("{}/callback/demo", app.broker)],
    });
    let page = Browser::default().open_and_press(&format!("{}/auth/demo", app.broker), "Connect")?;
    anyhow::ensure!(page.status.is_success(), "connecting ended with {} {}", page.status, page.body);
    Ok(())
}
