//! What a request's work sees of its client.
//!
//! A [`Line`] begins to stream only when there is something to say before the answer and the answer is not there yet; else
//! the answer is a plain JSON body. While the work waits, and however much the server says meanwhile, it gives signs of
//! life, asks the host whether the client has gone (modern: a disconnect MUST cancel), and looks for a word that the client
//! has cancelled (legacy: a disconnect does not).

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::Poll;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};

use crate::cors::{self, Readers};
use crate::host::{Caller, Gone, Host, within};
use crate::http_sse::Outbox;
use crate::seats::Seat;
use crate::{jsonrpc, letters, seats, sse};

/// How long the head of an answer waits for the first event.
const GRACE: Duration = Duration::from_secs(2);
/// Between two looks for a cancellation.
const LOOK: Duration = Duration::from_secs(2);
/// How long a line leaves its own word for the line that it is for, which looks for it every [`LOOK`].
const LEFT_SECONDS: u64 = 5;
/// Between two looks at whether the client of a stream has gone. One costs a few host calls and sends nothing.
const LOOK_FOR_CLIENT: Duration = Duration::from_secs(1);
/// The same for a stream that only listens.
const LOOK_FOR_LISTENER: Duration = Duration::from_secs(3);
/// After the last byte to the client: a sign of life.
const KEEP_ALIVE: Duration = Duration::from_secs(5);
/// The same for a stream that only listens.
const KEEP_LISTENER_ALIVE: Duration = Duration::from_secs(15);
/// How long a call goes on whose client has gone without cancelling it.
const ALONE_SECONDS: u64 = 10 * 60;

/// The client, for as long as its request is worked on.
pub struct Line<'h, H: Host> {
    host: &'h H,
    to: To<'h, H>,
    takes_events: bool,
    began: bool,
    /// What is said and not yet written.
    pending: Vec<u8>,
    /// The id of the next event, and whether the client takes an event that has nothing else.
    mark: Option<String>,
    is_primed: bool,
    /// How long the work has waited since something was written. That does not count the time in which something came.
    quiet: Duration,
    /// When something was last written, and the client last looked for.
    wrote: u64,
    looked: u64,
    only_listens: bool,
    outlives: Rc<Cell<bool>>,
    watch: Option<Watch>,
    seat: Option<Seat>,
}

/// Where to look for a word that the client has cancelled, and when that was last done.
struct Watch {
    caller: Caller,
    key: String,
    since: u64,
    looked: u64,
    /// The word that this line has left there for another one, and when.
    own: Option<(String, u64)>,
}

enum To<'h, H: Host> {
    Client(cors::Client<H>),
    /// A stream on which others speak too.
    Outbox(&'h Outbox),
    /// One of many answers in one body.
    Batch(Vec<Vec<u8>>),
    /// The client has gone at this time, and the work goes on without it.
    Departed(u64),
}

/// Why the work ends before there is an answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stopped {
    Gone,
    Cancelled,
    /// The client has come again by another stream, which goes on with the request.
    Replaced,
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
            mark: None,
            is_primed: false,
            quiet: Duration::ZERO,
            wrote: host.now(),
            looked: 0,
            only_listens: false,
            outlives: Rc::default(),
            watch: None,
            seat: None,
        }
    }

    pub fn host(&self) -> &'h H {
        self.host
    }

    pub fn takes_events(&self) -> bool {
        self.takes_events
    }

    /// From now on the instance that takes the seat cancels. A stream on which others speak too has a seat of its own.
    /// Error: there is none.
    pub async fn sit(&mut self, caller: &Caller, seats: u8) -> Result<(), Response<Vec<u8>>> {
        self.only_listens();
        if seats > 0 && !matches!(self.to, To::Outbox(_)) {
            self.seat = Some(Seat::take(self.host, caller, seats).await.ok_or_else(seats::refusal)?);
        }
        Ok(())
    }

    /// The stream has no end of its own, and is silent most of the time.
    pub fn only_listens(&mut self) {
        self.only_listens = true;
    }

    pub fn stand_up(&mut self) {
        if let Some(seat) = self.seat.take() {
            seat.leave(self.host);
        }
    }

    /// From now on a letter for `key` cancels.
    pub fn watch(&mut self, caller: &Caller, key: String) {
        let now = self.host.now();
        self.watch = Some(Watch { caller: caller.clone(), key, since: now, looked: now, own: None });
    }

    /// Has another line that watches the same end, once: its client has come again by this one. The request is not cancelled.
    pub fn take_over(&mut self, name: String) {
        let now = self.host.now();
        if let Some(watch) = self.watch.as_mut().filter(|watch| watch.own.is_none()) {
            let word = [&now.to_string(), " ", &name].concat();
            letters::post(self.host, &watch.caller, &watch.key, &word);
            watch.own = Some((word, now));
        }
    }

    /// If this is set when the client goes, the work goes on without it.
    pub fn outlives(&self) -> Rc<Cell<bool>> {
        self.outlives.clone()
    }

    /// Returns true if the client can resume the stream.
    pub fn takes_marks(&self) -> bool {
        self.takes_events && matches!(self.to, To::Client(_))
    }

    /// The next event has this id. `alone`: the client takes it without a message too.
    pub fn mark(&mut self, id: String, alone: bool) {
        self.mark = Some(id);
        self.is_primed = alone;
    }

    /// Returns true if something was said before the answer, so that its HTTP status is gone.
    pub fn has_begun(&self) -> bool {
        self.began || !self.pending.is_empty()
    }

    /// A message before the answer. It leaves when there is something to wait for.
    pub fn say(&mut self, message: &[u8]) {
        if self.takes_events {
            if let Some(id) = self.mark.take() {
                sse::write_id(&mut self.pending, &id);
            }
            sse::write_event(&mut self.pending, message);
        }
    }

    /// What keeps the connection alive.
    fn say_nothing(&mut self) {
        match self.mark.take() {
            Some(id) if self.is_primed => {
                sse::write_id(&mut self.pending, &id);
                self.pending.extend_from_slice(sse::NO_DATA);
            }
            mark => {
                self.mark = mark;
                self.pending.extend_from_slice(sse::COMMENT);
            }
        }
    }

    /// What is sent as it is.
    pub fn pass(&mut self, bytes: &[u8]) {
        self.pending.extend_from_slice(bytes);
    }

    /// Returns true if a body can be piped to the client.
    pub fn can_pipe(&self) -> bool {
        matches!(self.to, To::Client(_))
    }

    /// Starts an answer with `first`, and passes `rest` as it comes. It is cut off where `rest` is cut off.
    pub async fn pipe(&mut self, head: Response<()>, first: &[u8], rest: &mut H::Body) -> Result<(), Stopped> {
        let To::Client(client) = &mut self.to else { return Err(Stopped::Gone) };
        client.start(head, first).await.map_err(|Gone| Stopped::Gone)?;
        if client.pipe(rest).await.map_err(|Gone| Stopped::Gone)? {
            client.finish();
        }
        Ok(())
    }

    /// Waits for `future`, as long as the client does. The caller pins it, because a future that is passed by value lies in
    /// this one twice more.
    pub async fn wait<T>(&mut self, future: impl Future<Output = T> + Unpin) -> Result<T, Stopped> {
        let mut value = None;
        self.wait_for(pin!(async { value = Some(future.await) })).await?;
        value.ok_or(Stopped::Gone)
    }

    /// The same for every kind of future, so that it is there once.
    async fn wait_for(&mut self, mut future: Pin<&mut dyn Future<Output = ()>>) -> Result<(), Stopped> {
        // However often something comes: between two pieces of a stream there may never be a pause.
        self.attend().await?;
        let outbox = match self.to {
            To::Outbox(outbox) => Some(outbox),
            _ => None,
        };
        let mut future = pin!(poll_fn(|context| match outbox {
            // Its session is over, so the result could not be delivered.
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
                (None, To::Client(_)) if self.began && self.only_listens => LOOK_FOR_LISTENER,
                (None, To::Client(_)) if self.began => LOOK_FOR_CLIENT,
                (None, _) => KEEP_LISTENER_ALIVE,
            };
            if let Some(done) = within(self.host, step, future.as_mut()).await {
                return done;
            }
            self.quiet += step;
            self.attend().await?;
        }
    }

    /// Finds out whether the client has cancelled or gone, and gives it a sign of life when it is time for one. Looks at the
    /// client at most once in a second.
    async fn attend(&mut self) -> Result<(), Stopped> {
        if let Some(stopped) = self.is_stopped() {
            return Err(stopped);
        }
        let now = self.host.now();
        match &self.to {
            To::Client(client) => {
                if std::mem::replace(&mut self.looked, now) != now && client.is_gone() {
                    return self.lose(now);
                }
            }
            To::Departed(since) if now.abs_diff(*since) >= ALONE_SECONDS => return Err(Stopped::Gone),
            // A stream beside which this is said gives its own signs.
            To::Departed(_) | To::Outbox(_) | To::Batch(_) => return Ok(()),
        }
        let pause = match (self.began, self.only_listens) {
            (false, _) => GRACE,
            (true, true) => KEEP_LISTENER_ALIVE,
            (true, false) => KEEP_ALIVE,
        };
        // The clock tells seconds: only a difference that is longer is as long for certain.
        let is_due = self.quiet >= pause || now.abs_diff(self.wrote) > pause.as_secs();
        if self.takes_events && is_due {
            if self.pending.is_empty() {
                self.say_nothing();
            }
            self.flush().await?;
        }
        Ok(())
    }

    /// The client has gone.
    fn lose(&mut self, now: u64) -> Result<(), Stopped> {
        if !self.outlives.get() {
            return Err(Stopped::Gone);
        }
        self.to = To::Departed(now);
        self.pending.clear();
        Ok(())
    }

    fn is_stopped(&mut self) -> Option<Stopped> {
        if self.seat.as_mut().is_some_and(|seat| seat.is_lost(self.host)) {
            return Some(Stopped::Cancelled);
        }
        let Watch { caller, key, since, looked, own } = self.watch.as_mut()?;
        let now = self.host.now();
        let is_left = own.as_ref().is_some_and(|(_, at)| now.abs_diff(*at) < LEFT_SECONDS);
        if is_left || now.abs_diff(*looked) < LOOK.as_secs() {
            return None;
        }
        *looked = now;
        match letters::fetch(self.host, caller, key)? {
            word if word.is_empty() => Some(Stopped::Cancelled),
            word => {
                // An older word was for a stream that ended before it could read it.
                let is_for_this =
                    word.split_once(' ').and_then(|(at, _)| at.parse().ok()).is_some_and(|at: u64| at >= *since);
                (is_for_this && own.as_ref().is_none_or(|(own, _)| *own != word)).then_some(Stopped::Replaced)
            }
        }
    }

    /// Begins to stream, before anything is said.
    pub async fn begin(&mut self) -> Result<(), Stopped> {
        if !self.began && !matches!(self.to, To::Outbox(_)) {
            self.say_nothing();
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
            // A batch takes no events, so that nothing is pending.
            To::Batch(_) | To::Departed(_) => Ok(()),
        };
        self.quiet = Duration::ZERO;
        self.wrote = self.host.now();
        written.or_else(|Gone| self.lose(self.wrote))
    }

    /// The answer, after which nothing follows.
    pub async fn answer(&mut self, response: Response<Vec<u8>>) {
        match &mut self.to {
            To::Departed(_) => {}
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
            To::Batch(_) | To::Departed(_) => {}
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

fn event_stream<T>(body: T) -> Response<T> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
