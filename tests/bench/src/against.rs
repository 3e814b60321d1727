//! Compares the CPU of a warm call with that of another checkout.
//!
//! Both builds, and a component that only forwards, run at the same time and are measured in turn, round after round. A
//! ratio is that of two rows of one round, so a machine that is slower for a while slows both.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use gatehouse_fixtures::mcp_server::{self, Eras};
use gatehouse_fixtures::provider::{self, Consent, Person, SecretKind};
use gatehouse_fixtures::{McpServer, Provider};

use crate::app::{self, App, Composition};
use crate::connect;
use crate::load::{self, Call};

const ROUNDS: usize = 9;
const CALLERS: [usize; 2] = [1, 16];

/// Prints a table of ratios for each composition. `checkout` has its components built for release.
pub fn compare(checkout: &Path, time: Duration) -> Result<()> {
    let checkout = checkout.canonicalize().context("the other checkout")?;
    println!(
        "| composition | call | callers | CPU now : before | CPU now : only forwards | CPU before : only forwards |"
    );
    println!("|---|---|---|---|---|---|");
    Composition::ALL.into_iter().try_for_each(|composition| of_composition(composition, &checkout, time))
}

fn of_composition(composition: Composition, checkout: &Path, time: Duration) -> Result<()> {
    let provider =
        Provider::start(provider::Options { consent: Consent::Approve(Person::Alice), ..Default::default() })?;
    let upstream =
        |eras| McpServer::start(mcp_server::Options { bearers: Some(provider.bearers()), eras, ..Default::default() });
    let (modern, legacy) = (upstream(Eras::ModernOnly)?, upstream(Eras::LegacyOnly)?);
    let (modern_url, legacy_url) = (modern.url(), legacy.url());
    let servers = [("modern", modern_url.as_str()), ("legacy", legacy_url.as_str())];
    let start = |root: &Path| -> Result<App> {
        let app = App::gatehouse(root, composition, &provider, &servers, app::POOL)?;
        connect(&provider, &app)?;
        Ok(app)
    };
    let (now, before, pass) = (start(&app::root())?, start(checkout)?, App::pass()?);
    let token = provider.secrets().into_iter().rev().find(|secret| secret.kind == SecretKind::AccessToken);
    let token = token.context("the provider has issued an access token")?.value;
    let forwarded = Arc::new(Call::modern(&pass.gateway, "echo", Some(&token)).forwarded_to(&modern_url));
    for era in ["modern", "legacy"] {
        let call = |app: &App| -> Result<Arc<Call>> {
            let url = format!("{}/mcp/{era}", app.gateway);
            let key = Some(app::API_KEY);
            Ok(Arc::new(match era {
                "modern" => Call::modern(&url, "echo", key),
                _ => Call::legacy(&url, "echo", key)?,
            }))
        };
        let rows = [(&now, call(&now)?), (&before, call(&before)?), (&pass, forwarded.clone())];
        for callers in CALLERS {
            let [mut change, mut to_pass, mut was_to_pass] = [const { Vec::new() }; 3];
            for round in 0..ROUNDS {
                // Each goes first as often as the others.
                let mut cpu = [0.0; 3];
                for turn in 0..rows.len() {
                    let row = (round + turn) % rows.len();
                    let (app, call) = &rows[row];
                    cpu[row] = load::run(call, Some(app), callers, time)?.cpu_seconds().context("an app")?;
                }
                change.push(cpu[0] / cpu[1]);
                to_pass.push(cpu[0] / cpu[2]);
                was_to_pass.push(cpu[1] / cpu[2]);
            }
            let [change, to_pass, was_to_pass] = [change, to_pass, was_to_pass].map(spread);
            println!("| {composition} | {era}, with an API key | {callers} | {change} | {to_pass} | {was_to_pass} |");
        }
    }
    Ok(())
}

/// The median, and the quartiles.
fn spread(mut ratios: Vec<f64>) -> String {
    ratios.sort_unstable_by(f64::total_cmp);
    let at = |quarter: usize| ratios.get(ratios.len() * quarter / 4).copied().unwrap_or(f64::NAN);
    format!("{:.2} ({:.2} to {:.2})", at(2), at(1), at(3))
}
