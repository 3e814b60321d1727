//! Lets pages of other origins call MCP endpoints: the CORS protocol of the Fetch standard.
//!
//! A browser asks before it sends what a page wants to send to another origin (a *preflight*), and shows the page only
//! answers that name its origin. Both are granted to exactly the origins that the guard of [`crate::routes`] lets in, and on
//! MCP endpoints only. Errors are granted too, because a client that cannot read a 401 cannot sign in.
//!
//! `Access-Control-Allow-Credentials` is never granted: a client proves itself by a header that it writes, and no browser
//! adds cookies of the broker's pages to what another page sends.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ACCESS_CONTROL_REQUEST_HEADERS,
    ACCESS_CONTROL_REQUEST_METHOD, ORIGIN, VARY,
};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response, StatusCode};

use crate::host::{Gone, Host, Outlet};

const METHODS: &str = "GET, POST, DELETE";
/// The header fields that clients send. `*` would not include `Authorization`.
const SENT: &str = "authorization, content-type, last-event-id, mcp-method, mcp-name, mcp-protocol-version, \
                    mcp-session-id, traceparent, tracestate, baggage";
/// Names that begin so are allowed too, as the preflight writes them: `Mcp-Param-*`, and what later versions add.
const SENT_PREFIX: &str = "mcp-";
/// The most such names, and the most letters of one.
const MOST_SENT: usize = 64;
const LONGEST_SENT: usize = 128;
/// The header fields that clients read beside those that a browser shows anyway.
const EXPOSED: &str = "mcp-session-id, mcp-protocol-version, www-authenticate, retry-after, allow, accept-encoding";
/// The time for which a browser may remember the answer to a preflight, in seconds. The guard looks at each request all the same.
const MAX_AGE: &str = "7200";

/// Who may read the answers of one endpoint.
pub struct Readers {
    /// The origin of the page that sent the request, if the guard has let it in.
    page: Option<HeaderValue>,
}

impl Readers {
    /// The page that sent `headers`, which the guard has let in.
    pub fn let_in(headers: &HeaderMap) -> Self {
        Self { page: headers.get(ORIGIN).cloned() }
    }

    /// Writes who may read an answer into its head. A cache must not give one page's answer to another page.
    fn mark(&self, headers: &mut HeaderMap) {
        headers.append(VARY, HeaderValue::from_static("Origin"));
        if let Some(page) = &self.page {
            headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, page.clone());
            headers.insert(ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static(EXPOSED));
        }
    }
}

/// Returns true if a browser asks whether a page may send a request.
pub fn is_preflight(head: &Parts) -> bool {
    head.method == Method::OPTIONS
        && head.headers.contains_key(ORIGIN)
        && head.headers.contains_key(ACCESS_CONTROL_REQUEST_METHOD)
}

/// The answer to a preflight of a page that the guard has let in.
pub fn preflight(headers: &HeaderMap) -> Response<Vec<u8>> {
    let mut response = Response::new(Vec::new());
    *response.status_mut() = StatusCode::NO_CONTENT;
    let wanted = headers.get_all(ACCESS_CONTROL_REQUEST_HEADERS).iter().filter_map(|value| value.to_str().ok());
    let wanted = wanted.flat_map(|value| value.split(',')).map(str::trim);
    let more = wanted.filter(|name| is_sent(name)).take(MOST_SENT);
    let sent: Vec<&str> = std::iter::once(SENT).chain(more).collect();
    let granted = response.headers_mut();
    granted.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static(METHODS));
    granted.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    if let Ok(sent) = HeaderValue::try_from(sent.join(", ")) {
        granted.insert(ACCESS_CONTROL_ALLOW_HEADERS, sent);
    }
    granted.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    response
}

fn is_sent(name: &str) -> bool {
    let is_token = name.bytes().all(|letter| letter.is_ascii_alphanumeric() || matches!(letter, b'-' | b'_' | b'.'));
    is_token
        && name.len() <= LONGEST_SENT
        && name.get(..SENT_PREFIX.len()).is_some_and(|start| start.eq_ignore_ascii_case(SENT_PREFIX))
}

/// The client of a request. Each answer that it gets says which page may read it.
pub struct Client<H: Host> {
    outlet: H::Outlet,
    /// `None` until the endpoint is known.
    readers: Option<Readers>,
}

impl<H: Host> Client<H> {
    pub fn new(outlet: H::Outlet) -> Self {
        Self { outlet, readers: None }
    }

    /// From now on answers say who may read them, unless that was said before.
    pub fn open_to(&mut self, readers: impl FnOnce() -> Option<Readers>) {
        if self.readers.is_none() {
            self.readers = readers();
        }
    }

    pub async fn respond(&mut self, mut response: Response<Vec<u8>>) {
        if let Some(readers) = &self.readers {
            readers.mark(response.headers_mut());
        }
        self.outlet.respond(response).await;
    }

    pub async fn start(&mut self, mut head: Response<()>, first: &[u8]) -> Result<(), Gone> {
        if let Some(readers) = &self.readers {
            readers.mark(head.headers_mut());
        }
        self.outlet.start(head, first).await
    }

    pub async fn write(&mut self, bytes: &[u8]) -> Result<(), Gone> {
        self.outlet.write(bytes).await
    }

    pub async fn pipe(&mut self, source: &mut H::Body) -> Result<bool, Gone> {
        self.outlet.pipe(source).await
    }

    pub fn finish(&mut self) {
        self.outlet.finish();
    }

    pub fn is_gone(&self) -> bool {
        self.outlet.is_gone()
    }
}
