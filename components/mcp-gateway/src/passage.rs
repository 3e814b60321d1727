//! How does an answer reach the client?
//!
//! As it arrives, wherever it need not be changed: a JSON body of any size passes without being held, and a small one
//! leaves in one write. What has to change (another era, an id that was replaced) is held up to 16 MiB and cut in the
//! bytes ([`Fit`]). An event stream is read message by message: each passes as it is, but stream ids do not (they would
//! offer to resume by GET), nor does what this client must not hear.
//!
//! A [`Line`] is what a request's work sees of its client. It begins to stream only when there is something to say
//! before the answer and the answer is not there yet; else the answer is a plain JSON body. While the work waits, it
//! gives signs of life, asks the host whether the client has gone (modern: a disconnect MUST cancel), and looks for
//! a word that the client has cancelled (legacy: a disconnect does not).

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};

use crate::cors::{self, Readers};
use crate::fit::{Fit, Fitted, Question};
use crate::host::{Caller, Gone, Host, Source, within};
use crate::http_sse::Outbox;
use crate::seats::Seat;
use crate::upstream::{self, ANSWER_LIMIT, Content, Failure, Link, Messages, Peer};
use crate::{jsonrpc, letters, lists, seats, sse, subscriptions};

/// What is whole by then leaves in one write.
const SMALL: usize = 64 * 1024;
/// How long the head of an answer waits for the first event.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks for a cancellation.
const LOOK: Duration = Duration::from_secs(2);
/// How long what else is asked may follow what is asked.
pub const GATHERING: Duration = Duration::from_millis(50);
/// The most that a client is asked at once.
pub const MOST_ASKED: usize = 16;
/// Between two looks at whether the client of a stream has gone. One costs a few host calls and sends nothing.
const LOOK_FOR_CLIENT: Duration = Duration::from_secs(3);
/// Between signs of life.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The client, for as long as its request is worked on.
pub struct Line<'h, H: Host> {
    host: &'h H,
    to: To<'h, H>,
    takes_events: bool,
    began: bool,
    /// What is said and not yet written.
    pending: Vec<u8>,
    quiet: Duration,
    watch: Option<Watch>,
    seat: Option<Seat>,
}

/// Where to look for a word that the client has cancelled, and when that was last done.
struct Watch {
    caller: Caller,
    key: String,
    looked: u64,
}

enum To<'h, H: Host> {
    Client(cors::Client<H>),
    /// A stream on which others speak too.
    Outbox(&'h Outbox),
    /// One of many answers in one body.
    Batch(Vec<Vec<u8>>),
}

/// Why the work ends before there is an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    Gone,
    Cancelled,
}

/// Why an answer was not delivered.
#[derive(Debug)]
pub enum Halt {
    Failed(Failure),
    Stopped(Stopped),
}

/// What became of an upstream's answer.
pub enum Delivered<H: Host> {
    Done,
    /// It is not the answer yet: the upstream needs input that only a client of its own era can be sent as it is.
    Wants(String),
    /// There is none yet: the upstream asks on its stream, which goes on, and the client is asked by a result.
    Asks(Vec<Question>, Messages<H>),
}

impl<'h, H: Host> Line<'h, H> {
    pub fn new(host: &'h H, client: H::Outlet, takes_events: bool) -> Self {
        Self::to(host, To::Client(cors::Client::new(client)), takes_events)
    }

    /// From now on answers say who may read them, unless that was said before.
    pub fn open_to(&mut self, readers: impl FnOnce() -> Option<Readers>) {
        if let To::Client(client) = &mut self.to {
            client.open_to(readers);
        }
    }

    /// A line for requests that are answered in one body.
    pub fn batch(host: &'h H) -> Self {
        Self::to(host, To::Batch(Vec::new()), false)
    }

    /// A line for one of the requests whose answers come on one stream.
    pub fn beside(host: &'h H, outbox: &'h Outbox) -> Self {
        Self::to(host, To::Outbox(outbox), true)
    }

    fn to(host: &'h H, to: To<'h, H>, takes_events: bool) -> Self {
        Self {
            host,
            to,
            takes_events,
            began: false,
            pending: Vec::new(),
            quiet: Duration::ZERO,
            watch: None,
            seat: None,
        }
    }

    pub fn takes_events(&self) -> bool {
        self.takes_events
    }

    /// From now on the instance that takes the seat cancels. A stream on which others speak too has a seat of its own.
    /// Error: there is none.
    pub async fn sit(&mut self, caller: &Caller, seats: u8) -> Result<(), Response<Vec<u8>>> {
        if seats > 0 && !matches!(self.to, To::Outbox(_)) {
            self.seat = Some(Seat::take(self.host, caller, seats).await.ok_or_else(seats::refusal)?);
        }
        Ok(())
    }

    pub fn stand_up(&mut self) {
        if let Some(seat) = self.seat.take() {
            seat.leave(self.host);
        }
    }

    /// From now on a letter for `key` cancels.
    pub fn watch(&mut self, caller: &Caller, key: String) {
        self.watch = Some(Watch { caller: caller.clone(), key, looked: self.host.now() });
    }

    /// Whether something was said before the answer, so that its HTTP status is gone.
    pub fn has_begun(&self) -> bool {
        self.began || !self.pending.is_empty()
    }

    /// A message before the answer. It leaves when there is something to wait for.
    pub fn say(&mut self, message: &[u8]) {
        if self.takes_events {
            sse::write_event(&mut self.pending, message);
        }
    }

    /// What is sent as it is.
    pub fn pass(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Waits for `future`, as long as the client does.
    pub async fn wait<T>(&mut self, future: impl Future<Output = T>) -> Result<T, Stopped> {
        let mut value = None;
        self.wait_for(pin!(async { value = Some(future.await) })).await?;
        value.ok_or(Stopped::Gone)
    }

    /// The same for every kind of future, so that it is there once.
    async fn wait_for(&mut self, mut future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), Stopped> {
        // However often something comes: between two pieces of a stream there may never be a pause.
        if self.began && self.is_cancelled() {
            return Err(Stopped::Cancelled);
        }
        let outbox = match self.to {
            To::Outbox(outbox) => Some(outbox),
            _ => None,
        };
        let mut future = pin!(poll_fn(|context| match outbox {
            // Its session is over: nobody could be told any more.
            Some(outbox) if outbox.is_closed() => Poll::Ready(Err(Stopped::Cancelled)),
            _ => future.as_mut().poll(context).map(Ok),
        }));
        let first = poll_fn(|context| Poll::Ready(future.as_mut().poll(context))).await;
        if let Poll::Ready(done) = first {
            return done;
        }
        self.flush().await?;
        loop {
            let step = match (&self.watch, &self.to) {
                _ if self.takes_events && !self.began => GRACE,
                (Some(_), _) => LOOK,
                (None, To::Client(_)) if self.began => LOOK_FOR_CLIENT,
                (None, _) => KEEP_ALIVE,
            };
            if let Some(done) = within(self.host, step, future.as_mut()).await {
                return done;
            }
            self.quiet += step;
            if self.is_cancelled() {
                return Err(Stopped::Cancelled);
            }
            if matches!(&self.to, To::Client(client) if client.is_gone()) {
                return Err(Stopped::Gone);
            }
            // The stream beside which this is said gives its own.
            if outbox.is_none() && self.takes_events && (!self.began || self.quiet >= KEEP_ALIVE) {
                self.pending.extend_from_slice(sse::COMMENT);
                self.flush().await?;
            }
        }
    }

    fn is_cancelled(&mut self) -> bool {
        if self.seat.as_mut().is_some_and(|seat| seat.is_lost(self.host)) {
            return true;
        }
        let Some(Watch { caller, key, looked }) = &mut self.watch else { return false };
        let now = self.host.now();
        if now.abs_diff(*looked) < LOOK.as_secs() {
            return false;
        }
        *looked = now;
        letters::fetch(self.host, caller, key).is_some()
    }

    /// Begins to stream, before anything is said.
    pub async fn begin(&mut self) -> Result<(), Stopped> {
        if !self.began && !matches!(self.to, To::Outbox(_)) {
            self.pending.extend_from_slice(sse::COMMENT);
        }
        self.flush().await
    }

    async fn flush(&mut self) -> Result<(), Stopped> {
        if self.pending.is_empty() {
            return Ok(());
        }
        let bytes = std::mem::take(&mut self.pending);
        let began = std::mem::replace(&mut self.began, true);
        let written = match &mut self.to {
            To::Client(client) if began => client.write(&bytes).await,
            To::Client(client) => client.start(event_stream(()), &bytes).await,
            To::Outbox(outbox) => {
                outbox.put(&bytes).await;
                Ok(())
            }
            // It takes no events, so that nothing is pending.
            To::Batch(_) => Ok(()),
        };
        self.quiet = Duration::ZERO;
        written.map_err(|Gone| Stopped::Gone)
    }

    /// The answer, after which nothing follows.
    pub async fn answer(&mut self, response: Response<Vec<u8>>) {
        match &mut self.to {
            To::Batch(answers) => answers.push(response.into_body()),
            To::Outbox(outbox) => {
                outbox.learn(response.headers());
                // What has another status is no answer to a message.
                if response.status() == StatusCode::OK {
                    sse::write_event(&mut self.pending, response.body());
                }
                self.end().await;
            }
            To::Client(client) if !self.began && self.pending.is_empty() => client.respond(response).await,
            To::Client(_) => {
                sse::write_event(&mut self.pending, response.body());
                self.end().await;
            }
        }
    }

    /// Ends the stream without an answer.
    pub async fn end(&mut self) {
        let bytes = std::mem::take(&mut self.pending);
        match &mut self.to {
            To::Client(client) if !self.began => client.respond(event_stream(bytes)).await,
            To::Client(client) => {
                if bytes.is_empty() || client.write(&bytes).await.is_ok() {
                    client.finish();
                }
            }
            To::Outbox(outbox) => outbox.put(&bytes).await,
            To::Batch(_) => {}
        }
    }

    /// The answers of a batch, in one body.
    pub fn collected(self) -> Response<Vec<u8>> {
        let To::Batch(mut answers) = self.to else { return Response::new(Vec::new()) };
        answers.retain(|answer| !answer.is_empty());
        if answers.is_empty() {
            let mut response = Response::new(Vec::new());
            *response.status_mut() = StatusCode::ACCEPTED;
            return response;
        }
        jsonrpc::respond(StatusCode::OK, [b"[".as_slice(), &answers.join(b",".as_slice()), b"]"].concat())
    }
}

/// Brings what `peer` answered to the client.
pub async fn deliver<H: Host>(
    line: &mut Line<'_, H>,
    link: Link<'_>,
    peer: &Peer,
    content: Content<H::Body>,
    fit: &Fit<'_>,
) -> Result<Delivered<H>, Halt> {
    match content {
        Content::Error(status, body) => {
            let response = fit.refused(status, &body)?;
            line.answer(response).await;
            Ok(Delivered::Done)
        }
        Content::Json(body, length) => deliver_json(line, body, length, fit).await,
        Content::Events(body) => deliver_events(line, link, peer, body, fit).await,
    }
}

async fn deliver_json<H: Host>(
    line: &mut Line<'_, H>,
    mut body: H::Body,
    length: Option<HeaderValue>,
    fit: &Fit<'_>,
) -> Result<Delivered<H>, Halt> {
    let as_it_is = fit.changes_nothing();
    let mut held = Vec::new();
    while let Some(chunk) = line.wait(body.chunk()).await?.map_err(Failure::from)? {
        if held.is_empty() {
            held = chunk;
        } else {
            held.extend_from_slice(&chunk);
        }
        let can_pass = as_it_is && held.len() > SMALL && !line.has_begun();
        let is_marked = can_pass && upstream::take_mark(&mut held);
        if let (true, To::Client(client)) = (can_pass, &mut line.to) {
            if !held.trim_ascii_start().starts_with(b"{") {
                return Err(Failure::NotMcp.into());
            }
            let mut head = jsonrpc::respond(StatusCode::OK, Vec::new()).map(drop);
            // Else it would end with a small chunk of its own, which waits for the client's delayed acknowledgement.
            if let Some(length) = length.filter(|_| !is_marked) {
                head.headers_mut().insert(header::CONTENT_LENGTH, length);
            }
            client.start(head, &held).await.map_err(|Gone| Stopped::Gone)?;
            // Cut off where the upstream cut it off.
            if client.pipe(&mut body).await.map_err(|Gone| Stopped::Gone)? {
                client.finish();
            }
            return Ok(Delivered::Done);
        }
        if held.len() > ANSWER_LIMIT {
            return Err(Failure::TooLong.into());
        }
    }
    Ok(match fit.answer(upstream::text(held)?)? {
        Fitted::Wants(text) => Delivered::Wants(text),
        Fitted::Answer(response) => {
            line.answer(response).await;
            Delivered::Done
        }
        _ => return Err(Failure::NotMcp.into()),
    })
}

async fn deliver_events<H: Host>(
    line: &mut Line<'_, H>,
    link: Link<'_>,
    peer: &Peer,
    body: H::Body,
    fit: &Fit<'_>,
) -> Result<Delivered<H>, Halt> {
    let mut messages = Messages::<H>::new(body);
    let mut asked = Vec::new();
    loop {
        let next = match asked.len() {
            0 => line.wait(messages.next()).await?,
            1..MOST_ASKED => match line.wait(within(line.host, GATHERING, messages.next())).await? {
                Some(next) => next,
                None => return Ok(Delivered::Asks(asked, messages)),
            },
            _ => return Ok(Delivered::Asks(asked, messages)),
        };
        let Some(text) = next? else {
            return Err(Failure::BrokeOff.into());
        };
        match fit.message(text)? {
            Fitted::NotForThisClient => {}
            Fitted::Asks(question) => {
                asked.push(question);
                continue;
            }
            Fitted::Said(text, changed) => {
                if let Some(kind) = changed {
                    lists::forget(line.host, link, kind);
                }
                line.say(text.as_bytes());
            }
            Fitted::Updated(text) => {
                if let Some(text) = subscriptions::renamed(line.host, link, text) {
                    line.say(text.as_bytes());
                }
            }
            Fitted::ForTheUpstream(reply) => line.wait(upstream::tell(line.host, link, peer, reply)).await?,
            Fitted::Wants(text) => {
                upstream::drain(line.host, messages.into_body()).await;
                return Ok(Delivered::Wants(text));
            }
            Fitted::Answer(response) => {
                line.answer(response).await;
                upstream::drain(line.host, messages.into_body()).await;
                return Ok(Delivered::Done);
            }
        }
        // Whoever talks on has nothing more to ask at once.
        if !asked.is_empty() {
            return Ok(Delivered::Asks(asked, messages));
        }
    }
}

impl From<Stopped> for Halt {
    fn from(stopped: Stopped) -> Self {
        Self::Stopped(stopped)
    }
}

impl From<Failure> for Halt {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
    }
}

fn event_stream<T>(body: T) -> Response<T> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
