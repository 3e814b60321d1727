//! How is a row measured: callers that each send their next call when the last one is answered.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use gatehouse_fixtures::{McpClient, Wire};
use http::{HeaderName, HeaderValue, Request, Uri};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpStream;

use crate::app::App;

/// One HTTP request, sent again and again, each time with another id: calls that are under way together are of one client.
pub struct Call {
    url: Uri,
    headers: Vec<(HeaderName, HeaderValue)>,
    body: String,
    sent: AtomicU64,
}

/// What came of a row.
pub struct Measured {
    rate: f64,
    p50: Duration,
    p99: Duration,
    /// CPU of the app's processes for each call; none where there is no app between.
    cpu: Option<Duration>,
}

impl Call {
    /// `tools/call` of 2026-07-28.
    pub fn modern(url: &str, tool: &str, bearer: Option<&str>) -> Self {
        let mut call = Self::new(
            url,
            &json!({ "jsonrpc": "2.0", "id": 0, "method": "tools/call", "params": {
                "name": tool,
                "arguments": arguments(tool),
                "_meta": {
                    "io.modelcontextprotocol/protocolVersion": "2026-07-28",
                    "io.modelcontextprotocol/clientCapabilities": {},
                    "io.modelcontextprotocol/clientInfo": { "name": "bench", "version": "1" },
                },
            }}),
        );
        call.header("mcp-protocol-version", "2026-07-28");
        call.header("mcp-method", "tools/call");
        call.header("mcp-name", tool);
        if let Some(bearer) = bearer {
            call.header("authorization", &format!("Bearer {bearer}"));
        }
        call
    }

    /// `tools/call` of 2025-11-25, in a session that is opened for it.
    pub fn legacy(url: &str, tool: &str, bearer: Option<&str>) -> Result<Self> {
        let mut client = McpClient::legacy(Wire::default(), url, "2025-11-25");
        if let Some(bearer) = bearer {
            client = client.with_bearer(bearer);
        }
        client.list_tools()?;
        let mut call = Self::new(
            url,
            &json!({ "jsonrpc": "2.0", "id": 0, "method": "tools/call",
                     "params": { "name": tool, "arguments": arguments(tool) } }),
        );
        call.header("mcp-protocol-version", "2025-11-25");
        if let Some(bearer) = bearer {
            call.header("authorization", &format!("Bearer {bearer}"));
        }
        if let Some(session) = client.session_id() {
            call.header("mcp-session-id", session);
        }
        Ok(call)
    }

    /// For the skeletons, which learn from a header where to forward.
    pub fn forwarded_to(mut self, url: &str) -> Self {
        self.header("x-upstream", url);
        self
    }

    fn new(url: &str, body: &serde_json::Value) -> Self {
        let mut call = Self {
            url: url.parse().expect("a URL"),
            headers: Vec::new(),
            body: body.to_string(),
            sent: AtomicU64::new(1),
        };
        call.header("content-type", "application/json");
        call.header("accept", "application/json, text/event-stream");
        let host = call.url.authority().expect("absolute").to_string();
        call.header("host", &host);
        call
    }

    fn header(&mut self, name: &'static str, value: &str) {
        self.headers.push((HeaderName::from_static(name), value.parse().expect("a header value")));
    }

    fn request(&self) -> Request<Full<Bytes>> {
        let id = format!("\"id\":{}", self.sent.fetch_add(1, Ordering::Relaxed));
        let body = self.body.replacen("\"id\":0", &id, 1);
        let mut request = Request::post(self.url.path()).body(Full::new(body.into())).expect("valid");
        request.headers_mut().extend(self.headers.iter().cloned());
        request
    }
}

/// A word for `echo`; for `big`, how many bytes it is to answer with.
fn arguments(tool: &str) -> serde_json::Value {
    if tool.ends_with("big") { json!({ "bytes": LARGE }) } else { json!({ "message": "hello" }) }
}

/// Warms up, then measures for `time`. A call that is not answered with the tool's result fails the whole row.
pub fn run(call: &Arc<Call>, app: Option<&App>, callers: usize, time: Duration) -> Result<Measured> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        callers_for(call, callers, time / 4).await?;
        let cpu = app.map(App::cpu).transpose()?;
        let start = Instant::now();
        let mut latencies = callers_for(call, callers, time).await?;
        let elapsed = start.elapsed();
        let calls = latencies.len();
        ensure!(calls > 0, "not one call was answered in time");
        latencies.sort_unstable();
        let cpu = match (app, cpu) {
            (Some(app), Some(before)) => Some((app.cpu()? - before) / u32::try_from(calls)?),
            _ => None,
        };
        Ok(Measured {
            rate: calls as f64 / elapsed.as_secs_f64(),
            p50: latencies[calls / 2],
            p99: latencies[calls * 99 / 100],
            cpu,
        })
    })
}

async fn callers_for(call: &Arc<Call>, callers: usize, time: Duration) -> Result<Vec<Duration>> {
    let end = Instant::now() + time;
    let callers: Vec<_> = (0..callers).map(|_| tokio::spawn(caller(call.clone(), end))).collect();
    let mut latencies = Vec::new();
    for caller in callers {
        latencies.extend(caller.await??);
    }
    Ok(latencies)
}

async fn caller(call: Arc<Call>, end: Instant) -> Result<Vec<Duration>> {
    let stream = TcpStream::connect(call.url.authority().context("absolute")?.as_str()).await?;
    stream.set_nodelay(true)?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let start = Instant::now();
        let response = sender.send_request(call.request()).await?;
        let status = response.status();
        let body = response.into_body().collect().await?.to_bytes();
        latencies.push(start.elapsed());
        let text = String::from_utf8_lossy(&body);
        ensure!(
            status.is_success() && text.contains("\"content\"") && !text.contains("\"isError\":true"),
            "{status} {text}"
        );
    }
    Ok(latencies)
}

impl Measured {
    /// CPU of the app's processes for each call.
    pub fn cpu_seconds(&self) -> Option<f64> {
        self.cpu.map(|cpu| cpu.as_secs_f64())
    }
}

impl fmt::Display for Measured {
    fn fmt(&self, out: &mut fmt::Formatter) -> fmt::Result {
        let ms = |duration: Duration| duration.as_secs_f64() * 1000.0;
        write!(out, "{:.0} | {:.2} | {:.2} | ", self.rate, ms(self.p50), ms(self.p99))?;
        match self.cpu {
            Some(cpu) => write!(out, "{:.3}", ms(cpu)),
            None => out.write_str("–"),
        }
    }
}

const LARGE: usize = 1_000_000;
