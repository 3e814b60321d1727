//! Makes connections, and tells the component why one cannot be made.

use crate::runtime_config::OutboundNetworking;
use http::Uri;
use hyper_util::client::legacy::connect::{Connected, Connection};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use std::error::Error as StdError;
use std::io::{ErrorKind, IoSlice};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;
use tower_service::Service;
use wasmtime_wasi_http::Error;

tokio::task_local! {
    /// What the request that opens a connection asks of it: `hyper-util` passes a connector nothing but the URI.
    pub static CONNECT_OPTIONS: ConnectOptions;
}

#[derive(Clone)]
pub struct ConnectOptions {
    pub networking: Arc<OutboundNetworking>,
    pub timeout: Duration,
    pub tls: Option<Arc<rustls::ClientConfig>>,
}

impl ConnectOptions {
    async fn tcp(&self, uri: &Uri, default_port: u16) -> Result<TcpStream, Failure> {
        let authority = uri.authority().ok_or(Failure::Uri)?;
        let resolved = match authority.port() {
            Some(_) => lookup_host(authority.as_str().to_owned()).await,
            None => lookup_host(format!("{authority}:{default_port}")).await,
        };
        let resolved: Vec<_> = resolved.map_err(|_| Failure::Dns)?.collect();
        let open: Vec<_> = resolved.iter().copied().filter(|address| !self.networking.blocks(address.ip())).collect();
        if open.is_empty() && !resolved.is_empty() {
            return Err(Failure::Prohibited);
        }
        match timeout(self.timeout, TcpStream::connect(&*open)).await {
            Err(_) => Err(Failure::Timeout),
            Ok(Err(error)) if error.kind() == ErrorKind::AddrNotAvailable => Err(Failure::Dns),
            Ok(Err(_)) => Err(Failure::Refused),
            Ok(Ok(stream)) => Ok(stream),
        }
    }

    async fn tls(&self, uri: &Uri) -> Result<TlsStream<TcpStream>, Failure> {
        let config = self.tls.clone().ok_or(Failure::Tls)?;
        let host = uri.host().unwrap_or_default().trim_matches(['[', ']']);
        let name = ServerName::try_from(host.to_owned()).map_err(|_| Failure::Dns)?;
        let stream = self.tcp(uri, 443).await?;
        tokio_rustls::TlsConnector::from(config).connect(name, stream).await.map_err(|_| Failure::Tls)
    }
}

/// Why there is no connection.
#[derive(Debug, Clone, Copy)]
pub enum Failure {
    Uri,
    Dns,
    Prohibited,
    Refused,
    Timeout,
    Tls,
}

impl Failure {
    /// The error code for a request that failed, found among its causes.
    pub fn of_request(error: &(dyn StdError + 'static)) -> Error {
        let mut cause = Some(error);
        while let Some(error) = cause {
            if let Some(failure) = error.downcast_ref::<Self>() {
                return failure.code();
            }
            cause = error.source();
        }
        Error::HttpProtocolError
    }

    fn code(self) -> Error {
        match self {
            Self::Uri => Error::HttpRequestUriInvalid,
            Self::Dns => Error::DnsError { rcode: Some("address not available".to_owned()), info_code: Some(0) },
            Self::Prohibited => Error::DestinationIpProhibited,
            Self::Refused => Error::ConnectionRefused,
            Self::Timeout => Error::ConnectionTimeout,
            Self::Tls => Error::TlsProtocolError,
        }
    }
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl StdError for Failure {}

type Connecting<T> = Pin<Box<dyn Future<Output = Result<TokioIo<T>, Failure>> + Send>>;

#[derive(Clone)]
pub struct Http;

impl Service<Uri> for Http {
    type Response = TokioIo<TcpStream>;
    type Error = Failure;
    type Future = Connecting<TcpStream>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let options = CONNECT_OPTIONS.get();
        Box::pin(async move { options.tcp(&uri, 80).await.map(TokioIo::new) })
    }
}

#[derive(Clone)]
pub struct Https;

impl Service<Uri> for Https {
    type Response = TokioIo<Tls>;
    type Error = Failure;
    type Future = Connecting<Tls>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Failure>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, uri: Uri) -> Self::Future {
        let options = CONNECT_OPTIONS.get();
        Box::pin(async move { options.tls(&uri).await.map(Tls).map(TokioIo::new) })
    }
}

/// A TLS stream that tells the pool which protocol was agreed on.
pub struct Tls(TlsStream<TcpStream>);

impl Connection for Tls {
    fn connected(&self) -> Connected {
        let (stream, session) = self.0.get_ref();
        match session.alpn_protocol() {
            Some(b"h2") => stream.connected().negotiated_h2(),
            _ => stream.connected(),
        }
    }
}

impl AsyncRead for Tls {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_read(context, buffer)
    }
}

impl AsyncWrite for Tls {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(context, bytes)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        Pin::new(&mut self.0).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.0.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(context)
    }
}
