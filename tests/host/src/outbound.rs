//! Sends the outgoing requests of components.
//!
//! To a component of the same app (`http://<id>.spin.internal`, in this process), to the app itself (relative, or
//! `self.alt`), or to the network through one pool of connections. First `allowed_outbound_hosts` decides. As in Spin,
//! redirects are not followed, TCP_NODELAY is not set, and the operator's blocked networks are compared with the
//! addresses that the name resolved to.

use crate::allowed_hosts::chaining_target;
use crate::app::App;
use crate::component::Component;
use crate::connect::{CONNECT_OPTIONS, ConnectOptions, Failure, Http, Https};
use crate::routes::{CHAINED_CLIENT, Match};
use crate::runtime_config::ClientTls;
use anyhow::{Context, Result, ensure};
use bytes::Bytes;
use http::header::HOST;
use http::uri::{Authority, Scheme};
use http::{Request, Response, Uri};
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt;
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use std::collections::HashMap;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::time::Duration;
use tokio::time::{Sleep, sleep, timeout};
use wasmtime_wasi_http::{Error, RequestOptions, WasiBody, WasiHttpHooks};

/// The outgoing side of one instance.
pub struct Outbound {
    app: App,
    component: Arc<Component>,
}

impl Outbound {
    pub fn new(app: &App, component: &Arc<Component>) -> Self {
        Self { app: app.clone(), component: component.clone() }
    }

    /// Whether the authority names a component that may be called but cannot be.
    pub fn check_chaining(&self, scheme: &str, authority: &str) -> Result<(), wasmtime::Error> {
        match chaining_target(authority) {
            Some(target)
                if self.component.allowed.allows(&format!("{scheme}://{authority}/"))
                    && !self.app.router().is_reachable(target) =>
            {
                Err(wasmtime::format_err!("unknown routing destination {target:?}"))
            }
            _ => Ok(()),
        }
    }

    async fn send(
        app: App,
        component: Arc<Component>,
        mut request: Request<WasiBody>,
        options: RequestOptions,
    ) -> Result<Response<WasiBody>, Error> {
        let authority = request.uri().authority().cloned().ok_or(Error::HttpRequestUriInvalid)?;
        let to_self = authority.host() == "self.alt";
        let allowed = match to_self {
            true => component.allowed.allows_self(),
            false => component.allowed.allows(&request.uri().to_string()),
        };
        if !allowed {
            app.log().line(format_args!(
                "{}: a request to {authority} was denied: allowed_outbound_hosts does not have it",
                component.id
            ));
            return Err(Error::HttpRequestDenied);
        }
        if to_self {
            let address = app.address().ok_or(Error::HttpRequestUriInvalid)?;
            *request.uri_mut() = at(address, request.uri()).ok_or(Error::HttpRequestUriInvalid)?;
        }
        // The client writes it from the URI; a chained component sees none.
        request.headers_mut().remove(HOST);

        let response = match chaining_target(authority.as_str()) {
            Some(target) => {
                let matched = Match::chained(target, request.uri().path());
                app.respond(request, matched, CHAINED_CLIENT)
                    .await
                    .map_err(|error| Error::InternalError(Some(error.to_string())))?
            }
            None => Self::over_the_network(&app, &component, request, &options).await?,
        };
        let limit = options.between_bytes_timeout.unwrap_or(DEFAULT_TIMEOUT);
        Ok(response.map(|body| BetweenBytes { body: Some(body), limit, sleep: None }.boxed_unsync()))
    }

    async fn over_the_network(
        app: &App,
        component: &Component,
        request: Request<WasiBody>,
        options: &RequestOptions,
    ) -> Result<Response<WasiBody>, Error> {
        let uses_tls = request.uri().scheme() == Some(&Scheme::HTTPS);
        let connecting = ConnectOptions {
            networking: app.networking().clone(),
            timeout: options.connect_timeout.unwrap_or(DEFAULT_TIMEOUT),
            tls: uses_tls.then(|| component.tls.for_host(request.uri().host().unwrap_or_default())),
        };
        let clients = app.clients();
        let response = CONNECT_OPTIONS.scope(connecting, async {
            if uses_tls { clients.https.request(request).await } else { clients.http.request(request).await }
        });
        let response = timeout(options.first_byte_timeout.unwrap_or(DEFAULT_TIMEOUT), response)
            .await
            .map_err(|_| Error::ConnectionReadTimeout)?
            .map_err(|error| Failure::of_request(&error))?;
        Ok(response.map(|body| body.map_err(Error::from).boxed_unsync()))
    }
}

type Sent = (Response<WasiBody>, Box<dyn Future<Output = Result<(), Error>> + Send>);

impl WasiHttpHooks for Outbound {
    fn send_request(
        &mut self,
        request: Request<WasiBody>,
        options: Option<RequestOptions>,
        _: Box<dyn Future<Output = Result<(), Error>> + Send>,
    ) -> Box<dyn Future<Output = Result<Sent, Error>> + Send> {
        let (app, component) = (self.app.clone(), self.component.clone());
        Box::new(async move {
            let response = Self::send(app, component, request, options.unwrap_or_default()).await?;
            Ok((response, Box::new(async { Ok(()) }) as _))
        })
    }
}

/// The pools, shared by all instances of an app.
pub struct Clients {
    http: Client<Http, WasiBody>,
    https: Client<Https, WasiBody>,
}

impl Clients {
    pub fn new(pooling: bool) -> Self {
        let builder = || {
            let mut builder = Client::builder(TokioExecutor::new());
            if !pooling {
                builder.pool_max_idle_per_host(0);
            }
            builder
        };
        Self { http: builder().build(Http), https: builder().build(Https) }
    }
}

/// The roots of trust of one component: the platform's and Mozilla's, except for hosts that the operator configured.
pub struct TlsConfigs(HashMap<String, Arc<rustls::ClientConfig>>);

impl TlsConfigs {
    pub fn new(tables: &[ClientTls], component: &str) -> Result<Self> {
        let mut configs = HashMap::new();
        for table in tables.iter().filter(|table| table.component_ids.iter().any(|id| id == component)) {
            let roots = match &table.ca_roots_file {
                Some(path) => CertificateDer::pem_file_iter(path)
                    .and_then(Iterator::collect)
                    .with_context(|| format!("failed to load certificates from {path:?}"))?,
                None => Vec::new(),
            };
            let (platform, webpki) = match (table.ca_use_platform_roots, table.ca_use_webpki_roots) {
                (None, None) => (table.ca_roots_file.is_none(), false),
                (platform, webpki) => (platform.unwrap_or(false), webpki.unwrap_or(false)),
            };
            let config = tls_config(platform, webpki, roots)?;
            for host in &table.hosts {
                configs.entry(host.clone()).or_insert_with(|| config.clone());
            }
        }
        Ok(Self(configs))
    }

    fn for_host(&self, host: &str) -> Arc<rustls::ClientConfig> {
        self.0.get(host).unwrap_or(&DEFAULT_TLS).clone()
    }
}

static DEFAULT_TLS: LazyLock<Arc<rustls::ClientConfig>> =
    LazyLock::new(|| tls_config(true, true, Vec::new()).expect("the built-in roots are enough"));

fn tls_config(
    platform: bool,
    webpki: bool,
    mut roots: Vec<CertificateDer<'static>>,
) -> Result<Arc<rustls::ClientConfig>> {
    ensure!(platform || webpki || !roots.is_empty(), "client_tls needs roots of trust");
    if webpki {
        roots.extend(webpki_root_certs::TLS_SERVER_ROOT_CERTS.iter().cloned());
    }
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder =
        rustls::ClientConfig::builder_with_provider(provider.clone()).with_safe_default_protocol_versions()?;
    let builder = if platform {
        let verifier = rustls_platform_verifier::Verifier::new_with_extra_roots(roots, provider)?;
        builder.dangerous().with_custom_certificate_verifier(Arc::new(verifier))
    } else {
        let mut store = rustls::RootCertStore::empty();
        for root in roots {
            store.add(root)?;
        }
        builder.with_root_certificates(store)
    };
    let mut config = builder.with_no_client_auth();
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Arc::new(config))
}

/// The URI with another origin.
fn at(address: SocketAddr, uri: &Uri) -> Option<Uri> {
    let mut parts = uri.clone().into_parts();
    parts.scheme = Some(Scheme::HTTP);
    parts.authority = Some(Authority::try_from(address.to_string()).ok()?);
    Uri::from_parts(parts).ok()
}

/// A body that fails when nothing comes for too long, and lets go of its connection then.
struct BetweenBytes {
    body: Option<WasiBody>,
    limit: Duration,
    sleep: Option<Pin<Box<Sleep>>>,
}

impl Body for BetweenBytes {
    type Data = Bytes;
    type Error = Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut std::task::Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Error>>> {
        let this = &mut *self;
        let Some(body) = &mut this.body else { return Poll::Ready(None) };
        if let Poll::Ready(frame) = Pin::new(body).poll_frame(context) {
            this.sleep = None;
            return Poll::Ready(frame);
        }
        let sleep = this.sleep.get_or_insert_with(|| Box::pin(sleep(this.limit)));
        std::task::ready!(sleep.as_mut().poll(context));
        this.body = None;
        Poll::Ready(Some(Err(Error::ConnectionReadTimeout)))
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(Body::is_end_stream)
    }

    fn size_hint(&self) -> SizeHint {
        self.body.as_ref().map(Body::size_hint).unwrap_or_default()
    }
}

const DEFAULT_TIMEOUT: Duration = Duration::from_secs(600);
