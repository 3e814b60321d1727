//! Makes a call of a component from an HTTP request, and a response from its answer.
//!
//! Each request gets a fresh instance. As in Spin, no TCP_NODELAY is set (so an answer in two writes costs a client
//! 40 ms), there is no limit on time or size, and a component that traps answers 500 without a body.

use crate::app::App;
use crate::routes::{Answer, Match, WELL_KNOWN_PREFIX};
use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::header::{CONNECTION, HOST, HeaderName};
use http::uri::{Authority, Scheme};
use http::{HeaderValue, Request, Response, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use hyper_util::server::conn::auto::Builder;
use hyper_util::server::graceful::GracefulShutdown;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::net::{TcpListener, ToSocketAddrs};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use wasmtime_wasi_http::p2::bindings::http::types as wasi;
use wasmtime_wasi_http::{Error, WasiBody, WasiHttpView};

/// An app that answers. Dropping it closes the port and cuts every connection.
pub struct Running {
    address: SocketAddr,
    stop: Option<oneshot::Sender<Duration>>,
    accepting: JoinHandle<()>,
}

impl Running {
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// `http://127.0.0.1:3000`, without a trailing slash.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Takes no new connection, lets requests in flight finish for at most `grace`, then cuts what is left.
    pub async fn shutdown(mut self, grace: Duration) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(grace);
        }
        let _ = (&mut self.accepting).await;
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

impl App {
    /// Serves the app at `listen` (port 0 for a free one) until the result is shut down or dropped. Runs on the current
    /// Tokio runtime, which should have more than one thread. An app is served once.
    pub async fn serve(&self, listen: impl ToSocketAddrs) -> Result<Running> {
        self.serve_at(TcpListener::bind(listen).await?).await
    }

    /// The same for an address that is bound already, so that the app's settings can name it.
    pub async fn serve_bound(&self, listener: std::net::TcpListener) -> Result<Running> {
        listener.set_nonblocking(true)?;
        self.serve_at(TcpListener::from_std(listener)?).await
    }

    async fn serve_at(&self, listener: TcpListener) -> Result<Running> {
        let address = listener.local_addr()?;
        self.prepare(address).await?;
        let (stop, stopped) = oneshot::channel();
        let accepting = tokio::spawn(self.clone().accept(listener, stopped));
        Ok(Running { address, stop: Some(stop), accepting })
    }

    async fn accept(self, listener: TcpListener, mut stopped: oneshot::Receiver<Duration>) {
        let mut connections = JoinSet::new();
        let graceful = GracefulShutdown::new();
        let grace = loop {
            tokio::select! {
                accepted = listener.accept() => match accepted {
                    Ok((stream, client)) => {
                        let app = self.clone();
                        let service = service_fn(move |request| app.clone().answer(request, client));
                        let builder = Builder::new(TokioExecutor::new());
                        let connection = builder.serve_connection(TokioIo::new(stream), service).into_owned();
                        connections.spawn(graceful.watch(connection));
                    }
                    Err(error) => {
                        self.log().line(format_args!("cannot accept a connection: {error}"));
                        // Out of file descriptors, say: the next try would fail at once too.
                        tokio::time::sleep(Duration::from_millis(20)).await;
                    }
                },
                Some(_) = connections.join_next() => {}
                grace = &mut stopped => break grace.unwrap_or_default(),
            }
        };
        drop(listener);
        let _ = tokio::time::timeout(grace, graceful.shutdown()).await;
    }

    /// An error closes the connection without an answer.
    async fn answer(self, request: Request<Incoming>, client: SocketAddr) -> Result<Response<WasiBody>> {
        let mut request = request.map(|body| body.map_err(Error::from).boxed_unsync());
        strip_headers(&mut request);
        let path = request.uri().path();
        if let Some(well_known) = path.strip_prefix(WELL_KNOWN_PREFIX) {
            return match well_known {
                "health" => Ok(plain(StatusCode::OK, "OK")),
                _ => Ok(plain(StatusCode::NOT_FOUND, "")),
            };
        }
        match self.router().route(path) {
            Some(matched) => self.respond(request, matched, client).await,
            None => Ok(plain(StatusCode::NOT_FOUND, "")),
        }
    }

    /// Lets the matched component answer a request, which comes from outside or from another component.
    pub(crate) async fn respond(
        &self,
        mut request: Request<WasiBody>,
        matched: Match,
        client: SocketAddr,
    ) -> Result<Response<WasiBody>> {
        set_origin(&mut request)?;
        match &matched.answer {
            Answer::Component(id) => Ok(self.call(id, &matched, request, client).await.unwrap_or_else(|error| {
                self.log().line(format_args!("{id}: the request failed: {error:#}"));
                plain(StatusCode::INTERNAL_SERVER_ERROR, "")
            })),
            Answer::Static(fixed) => {
                let mut response = Response::builder().status(fixed.status_code.unwrap_or(200));
                for (name, value) in &fixed.headers {
                    response = response.header(name, value);
                }
                let body = fixed.body.clone().unwrap_or_default();
                Ok(response.body(full(body))?)
            }
        }
    }

    async fn call(
        &self,
        id: &str,
        matched: &Match,
        mut request: Request<WasiBody>,
        client: SocketAddr,
    ) -> Result<Response<WasiBody>> {
        append_headers(&mut request, matched, client)?;
        let component = self.component(id)?;
        let (mut store, proxy) = component.instantiate(self).await?;
        let incoming = store.data_mut().http().new_incoming_request(wasi::Scheme::Http, request)?;
        let (sender, receiver) = oneshot::channel();
        let outparam = store.data_mut().http().new_response_outparam(sender)?;
        // The component goes on after its response has begun, and after the client has gone.
        let handling = tokio::spawn(async move {
            proxy.wasi_http_incoming_handler().call_handle(&mut store, incoming, outparam).await
        });
        match receiver.await {
            Ok(response) => {
                let (app, id) = (self.clone(), id.to_owned());
                tokio::spawn(async move {
                    if let Ok(Err(error)) = handling.await {
                        app.log().line(format_args!("{id}: failed after its response started: {error:#}"));
                    }
                });
                response.context("the component answered with an error code")
            }
            Err(_) => {
                handling.await.context("the component's task panicked")??;
                bail!("the component returned without a response")
            }
        }
    }
}

/// What a client may not tell a component: that it is one of its own app, and the transport's own header.
fn strip_headers(request: &mut Request<WasiBody>) {
    let headers = request.headers_mut();
    let chains =
        |host: &HeaderValue| host.to_str().is_ok_and(|host| crate::allowed_hosts::chaining_target(host).is_some());
    if headers.get(HOST).is_some_and(chains) {
        headers.remove(HOST);
    }
    headers.remove(CONNECTION);
}

/// Makes the URI absolute. The `Host` header and the URI's own authority must agree, and one must be there.
fn set_origin(request: &mut Request<WasiBody>) -> Result<()> {
    let mut parts = request.uri().clone().into_parts();
    let host = match request.headers().get(HOST) {
        Some(host) => Some(host.to_str()?.parse::<Authority>().context("the Host header is not an authority")?),
        None => None,
    };
    parts.authority = match (host, parts.authority) {
        (Some(host), Some(authority)) if host != authority => bail!("the Host header is not the URI's authority"),
        (host, authority) => Some(host.or(authority).context("no Host header")?),
    };
    parts.scheme = Some(Scheme::HTTP);
    parts.path_and_query.get_or_insert(http::uri::PathAndQuery::from_static("/"));
    *request.uri_mut() = Uri::from_parts(parts)?;
    Ok(())
}

fn append_headers(request: &mut Request<WasiBody>, matched: &Match, client: SocketAddr) -> Result<()> {
    for value in request.headers().values() {
        std::str::from_utf8(value.as_bytes()).context("a header is not UTF-8")?;
    }
    let host = match request.headers().get(HOST) {
        Some(host) => host.to_str()?,
        None => "localhost",
    };
    let added = matched.headers(request.uri(), host, client);
    for (name, value) in added {
        // As in Spin, what is no header is left out.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), HeaderValue::from_bytes(value.as_bytes())) {
            request.headers_mut().append(name, value);
        }
    }
    Ok(())
}

fn plain(status: StatusCode, body: &'static str) -> Response<WasiBody> {
    let mut response = Response::new(full(body));
    *response.status_mut() = status;
    response
}

fn full(body: impl Into<Bytes>) -> WasiBody {
    Full::new(body.into()).map_err(Error::from).boxed_unsync()
}
