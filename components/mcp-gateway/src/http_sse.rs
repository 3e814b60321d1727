//! Serves clients of HTTP+SSE (2024-11-05), which hear everything on one stream.
//!
//! S/2024-11-05/basic/transports, "HTTP with SSE". GET opens the stream, whose first event says where messages are POSTed
//! to; each is answered with 202, and all that the client is told comes on the stream. The stream is one instance and each
//! POST another, so the message is brought to the stream (`letterbox`), and worked on there as what it is: a legacy
//! request, with its own bearer, of the session that `initialize` gave, to any version that the client asks for. That way
//! round, because a message to a server is one and small, and what is said to a client is many and large: no answer and no
//! progress passes through the store, and a call that is worked on lives and ends with the stream that waits for it.
//!
//! All messages of a stream are worked on at the same time, so that no call holds up a ping, a cancellation, or an answer
//! that it waits for itself. What servers say outside of any request comes on the stream too, from the first message
//! after `initialize` on.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::iter;
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_auth::HOP;

use crate::eras::{Decision, Site, accepted, legacy};
use crate::host::{Host, Secret, within};
use crate::jsonrpc::{self, Incoming};
use crate::letterbox::Letterbox;
use crate::passage::Line;
use crate::seats::{LONGEST, SEATS, Seat};
use crate::visitor::{Stranger, Visitor};
use crate::{eras, routes, seats};
use json::{Edits, Object};

/// The most requests of one client that are worked on at once.
const MOST_REQUESTS: usize = 32;
/// With these all that is said without being answered: beyond that, no letter is taken before something is done.
const MOST_WORKS: usize = 64;
/// Between two looks into the letterbox: while messages come, and when none has come for a while.
const FIRST_LOOK: Duration = Duration::from_millis(15);
const LAST_LOOK: Duration = Duration::from_millis(250);
/// What may wait for a client that does not read.
const MOST_WAITING: usize = 256 * 1024;
/// How long servers are told that their answers are no longer needed.
const FAREWELL: Duration = Duration::from_secs(5);

/// Returns true if a GET on an SSE URL is this transport's. A client of a later one has the session that `initialize` gave
/// it.
pub fn is_opened_by(head: &Parts) -> bool {
    head.method == http::Method::GET && !head.headers.contains_key(legacy::SESSION_ID)
}

/// The stream that a POST is for, if it is for one.
pub fn named_in(uri: &Uri) -> Option<&str> {
    uri.query()?.split('&').find_map(|pair| pair.strip_prefix("sessionId="))
}

/// Takes one message.
pub async fn receive<H: Host>(
    host: &H,
    head: &Parts,
    body: &[u8],
    stream: &str,
    stranger: Stranger,
    keep_seconds: u64,
) -> Result<Response<Vec<u8>>, Response<Vec<u8>>> {
    let message = eras::text(body)?;
    Incoming::read(message).map_err(|malformed| legacy::malformed_answer(&malformed))?;
    legacy::check(&head.headers)?;
    let visitor = stranger.meet(host, iter::empty(), keep_seconds)?;
    let taken = match Letterbox::find(&visitor.caller, stream) {
        Some(letterbox) => letterbox.post(host, visitor.bearer(), message).await,
        None => false,
    };
    if taken { Ok(accepted()) } else { Err(jsonrpc::refuse(StatusCode::NOT_FOUND, Some("null"), "Session not found")) }
}

/// Holds a stream, and does what comes in beside it, until one side ends it.
pub async fn hold<H: Host>(
    host: &H,
    head: &Parts,
    site: &Site<'_>,
    stranger: Stranger,
    resource: &str,
    line: &mut Line<'_, H>,
) -> Result<(), Response<Vec<u8>>> {
    if let Decision::Refuse(refusal) = legacy::decide_stream(head) {
        return Err(refusal);
    }
    let Visitor { caller, .. } = stranger.meet(host, iter::empty(), site.config.resolution_seconds)?;
    routes::exists(site)?;
    // Each has a letterbox beside it, so there is a number anyway.
    let most = if site.config.streams == 0 { SEATS } else { site.config.streams };
    let mut seat = Seat::take(host, &caller, most).await.ok_or_else(seats::refusal)?;
    let mut letterbox = Letterbox::open(host, &caller, &seat);
    // Without an origin: the client takes the one by which it has reached the gateway.
    let endpoint = format!("event: endpoint\ndata: {}?sessionId={}\n\n", head.uri.path(), Letterbox::id(&seat));
    line.pass(endpoint.as_bytes());

    line.only_listens();

    let outbox = Outbox::default();
    let works: RefCell<Vec<Work<'_>>> = RefCell::default();
    {
        let begin = |work| works.borrow_mut().push(work);
        let mut end = host.now() + LONGEST.as_secs();
        let mut coming_in = pin!(async {
            let mut pause = FIRST_LOOK;
            let mut listens = false;
            while host.now() < end && !seat.is_lost(host) {
                host.sleep(pause).await;
                // A clock that is set back makes no stream longer.
                end = end.min(host.now() + LONGEST.as_secs());
                if works.borrow().len() >= MOST_WORKS {
                    continue;
                }
                let Some((bearer, text)) = letterbox.take(host) else {
                    pause = (pause * 3 / 2).min(LAST_LOOK);
                    continue;
                };
                pause = FIRST_LOOK;
                let head = outbox.head(head, bearer.as_ref());
                if !is_initialize(&text) && !std::mem::replace(&mut listens, true) {
                    begin(Box::pin(listen(host, site, resource, &outbox, head.clone())));
                }
                begin(Box::pin(answer(host, site, resource, &outbox, head, text)));
            }
        });
        let mut going_out = pin!(async {
            while let Ok(bytes) = line.wait(pin!(outbox.next())).await {
                line.pass(&bytes);
            }
        });
        poll_fn(|context| {
            loop {
                let ended = coming_in.as_mut().poll(context).is_ready();
                works.borrow_mut().retain_mut(|work| work.as_mut().poll(context).is_pending());
                if going_out.as_mut().poll(context).is_ready() || ended {
                    return Poll::Ready(());
                }
                // Who waited for room has some now.
                if !outbox.emptied.take() {
                    return Poll::Pending;
                }
            }
        })
        .await;
    }
    letterbox.close(host);
    seat.leave(host);
    outbox.closed.set(true);
    let mut works = works.into_inner();
    let farewell = poll_fn(|context| {
        works.retain_mut(|work| work.as_mut().poll(context).is_pending());
        if works.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    });
    within(host, FAREWELL, pin!(farewell)).await;
    line.end().await;
    Ok(())
}

type Work<'w> = Pin<Box<dyn Future<Output = ()> + 'w>>;

/// Does what one message says.
async fn answer<H: Host>(host: &H, site: &Site<'_>, resource: &str, outbox: &Outbox, head: Parts, text: String) {
    let mut line = Line::beside(host, outbox);
    let message = Incoming::read(&text);
    let id = match &message {
        Ok(Incoming::Request(request)) => Some(request.id),
        _ => None,
    };
    let under_way = outbox.requests.get();
    if id.is_some() && under_way == MOST_REQUESTS {
        let body = jsonrpc::error(id, jsonrpc::INTERNAL_ERROR, "Too many requests at once", None);
        return line.answer(jsonrpc::respond(StatusCode::OK, body)).await;
    }
    outbox.requests.set(under_way + usize::from(id.is_some()));
    let decision = legacy::decide(&head, message, site);
    let done = match Stranger::of(host, &head.headers, resource.to_owned()) {
        Ok(stranger) => routes::work(host, decision, site, stranger, &head.headers, &mut line).await,
        Err(refusal) => Err(refusal),
    };
    if let (Err(refusal), Some(id)) = (done, id) {
        line.answer(with_id(&refusal, id)).await;
    }
    outbox.requests.set(outbox.requests.get() - usize::from(id.is_some()));
}

/// Says what servers say outside of any request, as far as they do.
async fn listen<H: Host>(host: &H, site: &Site<'_>, resource: &str, outbox: &Outbox, head: Parts) {
    let mut line = Line::beside(host, outbox);
    let decision = legacy::decide_stream(&head);
    let Ok(stranger) = Stranger::of(host, &head.headers, resource.to_owned()) else { return };
    // Where they do not, nothing was asked that could be refused.
    let _ = routes::work(host, decision, site, stranger, &head.headers, &mut line).await;
}

fn is_initialize(text: &str) -> bool {
    matches!(Incoming::read(text), Ok(Incoming::Request(request)) if request.method == "initialize")
}

/// What an HTTP answer refuses, as the answer to the request `id`.
fn with_id(refusal: &Response<Vec<u8>>, id: &str) -> Response<Vec<u8>> {
    let text = std::str::from_utf8(refusal.body()).unwrap_or_default();
    let body = match Object::parse(text) {
        Ok(message) => {
            let mut edits = Edits::new(text);
            edits.rework(&message, &["id"], &["\"id\":", id].concat());
            edits.apply()
        }
        Err(_) => jsonrpc::error(Some(id), jsonrpc::INTERNAL_ERROR, "Internal error", None),
    };
    jsonrpc::respond(StatusCode::OK, body)
}

/// Where all that is worked on at once says what the client is to hear.
#[derive(Default)]
pub struct Outbox {
    waiting: RefCell<Vec<u8>>,
    /// Something was taken out.
    emptied: Cell<bool>,
    /// The client has gone.
    closed: Cell<bool>,
    session: RefCell<Option<HeaderValue>>,
    requests: Cell<usize>,
}

impl Outbox {
    /// Puts `bytes` in, as soon as there is room.
    pub async fn put(&self, bytes: &[u8]) {
        poll_fn(|_| {
            let has_room = self.waiting.borrow().len() < MOST_WAITING || self.closed.get();
            if has_room { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        self.waiting.borrow_mut().extend_from_slice(bytes);
    }

    /// What is to be sent next.
    async fn next(&self) -> Vec<u8> {
        poll_fn(|_| {
            let bytes = std::mem::take(&mut *self.waiting.borrow_mut());
            if bytes.is_empty() {
                return Poll::Pending;
            }
            self.emptied.set(true);
            Poll::Ready(bytes)
        })
        .await
    }

    pub fn is_closed(&self) -> bool {
        self.closed.get()
    }

    /// Remembers the session that an answer gives.
    pub fn learn(&self, answer: &HeaderMap) {
        if let Some(session) = answer.get(legacy::SESSION_ID) {
            self.session.replace(Some(session.clone()));
        }
    }

    /// The head of a message, as a client of a later version would send it. Messages of the stream that `opened` has
    /// opened have passed as many Gatehouses as that.
    fn head(&self, opened: &Parts, bearer: Option<&Secret>) -> Parts {
        let mut head = Request::new(()).into_parts().0;
        if let Some(passed) = opened.headers.get(HOP) {
            head.headers.insert(HOP, passed.clone());
        }
        head.headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
        if let Some(session) = &*self.session.borrow() {
            head.headers.insert(legacy::SESSION_ID, session.clone());
        }
        let bearer = bearer.and_then(|bearer| HeaderValue::try_from(["Bearer ", bearer.reveal()].concat()).ok());
        if let Some(mut bearer) = bearer {
            bearer.set_sensitive(true);
            head.headers.insert(header::AUTHORIZATION, bearer);
        }
        head
    }
}
