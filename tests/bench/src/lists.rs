//! Measures lists of many tools: all pages through `/mcp`, of twenty servers, first and again.

use std::fmt;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use gatehouse_fixtures::raw::{self, Asked, Kind, Step};
use gatehouse_fixtures::{McpClient, Provider, Raw, Wire};
use serde_json::json;

use crate::app::{self, App, Composition};

const SERVERS: usize = 20;
/// A page of a server's.
const PAGE: usize = 100;
const TIMES: u32 = 5;

/// One table: a row for each number of tools.
pub fn measure(provider: &Provider) -> Result<()> {
    println!("\n## Many tools\n");
    println!(
        "| tools | first: ms | CPU ms | memory MB | again: ms | CPU ms | memory MB |\n|---|---|---|---|---|---|---|"
    );
    for tools in [1_000, 2_500, 5_000, 10_000] {
        eprintln!("{tools} tools …");
        let upstream = Raw::start(move |asked| serve(asked, tools / SERVERS))?;
        let urls: Vec<_> =
            (0..SERVERS).map(|server| (format!("s{server}"), format!("{}/{server}", upstream.url()))).collect();
        let urls: Vec<_> = urls.iter().map(|(name, url)| (name.as_str(), url.as_str())).collect();
        let app = App::gatehouse(&app::root(), Composition::Chained, provider, &urls, app::POOL)?;
        crate::connect(provider, &app)?;
        // How each server speaks is found out once, and is not what is measured.
        McpClient::legacy(Wire::default(), format!("{}/mcp", app.gateway), "2025-11-25")
            .request("prompts/list", json!({}))?;
        let first = Cost::of(&app, 1, || list(&app, tools))?;
        let again = Cost::of(&app, TIMES, || list(&app, tools))?;
        println!("| {tools} | {first} | {again} |");
    }
    Ok(())
}

struct Cost {
    time: Duration,
    cpu: Duration,
    memory: u64,
}

impl Cost {
    fn of(app: &App, times: u32, act: impl Fn() -> Result<()>) -> Result<Self> {
        let (before, idle) = (app.cpu()?, app.forget_peak()?);
        let start = Instant::now();
        for _ in 0..times {
            act()?;
        }
        let time = start.elapsed() / times;
        Ok(Self { time, cpu: (app.cpu()? - before) / times, memory: app.peak()?.saturating_sub(idle) / 1024 })
    }
}

impl fmt::Display for Cost {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        write!(out, "{} | {} | {}", self.time.as_millis(), self.cpu.as_millis(), self.memory)
    }
}

/// All pages of the list.
fn list(app: &App, tools: usize) -> Result<()> {
    let mut client = McpClient::modern(Wire::default(), format!("{}/mcp", app.gateway));
    let (mut listed, mut params) = (0, json!({}));
    loop {
        let page = client.request("tools/list", params)?;
        let result = page.result().with_context(|| page.body.clone())?;
        listed += result["tools"].as_array().map_or(0, Vec::len);
        match result["nextCursor"].as_str() {
            Some(cursor) => params = json!({ "cursor": cursor }),
            None => break,
        }
    }
    ensure!(listed >= tools, "{listed} of {tools} tools were listed");
    Ok(())
}

fn serve(asked: &Asked, tools: usize) -> Vec<Step> {
    if asked.method() != "tools/list" {
        return Kind::Modern.answer(asked);
    }
    let cursor = asked.body.split_once(r#""cursor":""#).and_then(|(_, rest)| rest.split('"').next());
    let start: usize = cursor.and_then(|cursor| cursor.parse().ok()).unwrap_or(0);
    let end = tools.min(start + PAGE);
    let entries: Vec<String> = (start..end).map(entry).collect();
    let next = if end < tools { format!(r#","nextCursor":"{end}""#) } else { String::new() };
    let members = r#""resultType":"complete","ttlMs":600000,"cacheScope":"private""#;
    let entries = entries.join(",");
    raw::json(&format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{{members},"tools":[{entries}]{next}}}}}"#, asked.id()))
}

/// As long as those of well-known servers are.
fn entry(tool: usize) -> String {
    let description = "Finds what was asked for, and says where it stands. ".repeat(4);
    let property = |name: &str| format!(r#""{name}":{{"type":"string","description":"What it is about, in words"}}"#);
    let properties = ["query", "owner", "place"].map(property).join(",");
    format!(
        r#"{{"name":"find-{tool}","description":"{description}","inputSchema":{{"type":"object","properties":{{{properties}}},"required":["query"]}}}}"#
    )
}
