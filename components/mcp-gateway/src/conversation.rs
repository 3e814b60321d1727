//! Reads what a server says during one call: in answer to it, and on the GET stream of the call's session.

use std::future::pending;
use std::pin::{Pin, pin};
use std::time::Duration;

use futures_util::future::{Either, select};
use http::{Request, Response, StatusCode};

use crate::call_sessions::{RENEWED, Slot};
use crate::fit::{Fit, Fitted};
use crate::host::{Host, SendError, Source, within};
use crate::jsonrpc;
use crate::lists::{self, Kind};
use crate::upstream::legacy::{self, Opened};
use crate::upstream::messages::pause;
use crate::upstream::{self, ANSWER_LIMIT, Answered, Content, Failure, Link, Messages, Peer};
use json::Object;

/// The most times that the GET stream of one call is opened again.
const MOST_REOPENED: usize = 16;

/// A request on its way.
pub type Sending<'c, H> = Pin<Box<dyn Future<Output = Result<Response<<H as Host>::Body>, SendError>> + 'c>>;

/// A call that is made.
pub type Calling<'c, H> = Pin<Box<dyn Future<Output = Result<Answered<<H as Host>::Body>, Failure>> + 'c>>;

pub struct Conversation<'c, H: Host> {
    host: &'c H,
    link: Link<'c>,
    pub peer: Peer,
    answer: Answer<'c, H>,
    stream: Stream<'c, H>,
    slot: Option<Slot>,
}

/// The next message of the server.
pub enum Said {
    /// In answer to the call.
    Call(String),
    /// Outside of it.
    Outside(String),
    /// The answer is an HTTP error.
    Error(StatusCode, Vec<u8>),
    /// The answer has ended.
    End,
}

enum Answer<'c, H: Host> {
    Awaited(Calling<'c, H>),
    Json(H::Body, Vec<u8>),
    Events(Messages<'c, H>),
    Over,
}

/// The GET stream of a session.
pub enum Stream<'c, H: Host> {
    Opening(Listening, Sending<'c, H>),
    Open(Listening, Messages<'c, H>),
    Closed,
}

/// The request for a GET stream, and how often it was sent again.
pub struct Listening {
    /// Without `Last-Event-ID`.
    pub request: Request<Vec<u8>>,
    pub patience: Duration,
    pub reopened: usize,
    /// The event after which it goes on.
    pub last: Option<String>,
}

impl<'c, H: Host> Conversation<'c, H> {
    /// A call whose session has no GET stream, which the server answers with `messages`.
    pub fn of(host: &'c H, link: Link<'c>, peer: Peer, messages: Messages<'c, H>) -> Self {
        Self { host, link, peer, answer: Answer::Events(messages), stream: Stream::Closed, slot: None }
    }

    /// A call that is being made to `peer`. `link` is the person's. A request on `stream` belongs to the call if it has `slot`
    /// alone.
    pub fn begin(
        host: &'c H,
        link: Link<'c>,
        peer: Peer,
        call: Calling<'c, H>,
        stream: Stream<'c, H>,
        slot: Option<Slot>,
    ) -> Self {
        Self { host, link, peer, answer: Answer::Awaited(call), stream, slot }
    }

    /// The next message. Keeps the slot for as long as that takes. May be dropped while it waits.
    pub async fn next(&mut self) -> Result<Said, Failure> {
        let Self { host, link, peer, answer, stream, slot } = self;
        let (mut answer, mut outside) = (pin!(answer.next(*host, *link, peer)), pin!(stream.next(*host)));
        loop {
            if let Some(slot) = slot {
                slot.renew(*host, *link);
            }
            match within(*host, RENEWED, select(answer.as_mut(), outside.as_mut())).await {
                Some(Either::Left((said, _))) => return said,
                Some(Either::Right((text, _))) => return Ok(Said::Outside(text)),
                None => {}
            }
        }
    }

    /// A message that came outside of the answer, as it concerns the call.
    pub fn outside(&self, text: String, fit: &Fit<'_>) -> Fitted {
        let Ok(message) = Object::parse(&text) else { return Fitted::NotForThisClient };
        let Ok(Some(method)) = message.string("method") else { return Fitted::NotForThisClient };
        if let Some(kind) = Kind::changed_by(&method) {
            lists::forget(self.host, self.link, kind);
            return Fitted::NotForThisClient;
        }
        let id = message.find("id").map(str::to_owned);
        let params = message.object("params").ok().flatten();
        let concerns_this_call = match &*method {
            "notifications/message" => true,
            "notifications/progress" => params.is_some_and(|params| fit.is_of_this_call(&params)),
            _ => id.is_some(),
        };
        drop((method, message));
        if !concerns_this_call {
            return Fitted::NotForThisClient;
        }
        let fitted = fit.message(text).unwrap_or(Fitted::NotForThisClient);
        let is_alone = || self.slot.as_ref().is_some_and(|slot| slot.is_kept(self.host, self.link));
        match (fitted, id) {
            (Fitted::Asks(_), Some(id)) if !is_alone() => {
                let message = "Several calls are made in this session: whose question this is cannot be told";
                Fitted::ForTheUpstream(jsonrpc::error(Some(&id), jsonrpc::INTERNAL_ERROR, message, None))
            }
            (fitted, _) => fitted,
        }
    }

    /// Closes the GET stream and gives the slot back. `is_over`: the server does not work on the call any more.
    pub async fn finish(&mut self, is_over: bool) {
        self.stream = Stream::Closed;
        match self.slot.take() {
            Some(slot) if is_over => slot.release(self.host, self.link),
            Some(slot) => slot.abandon(self.host, self.link).await,
            None => {}
        }
    }

    /// Reads what is left of the answer, so that its connection can serve the next request.
    pub async fn drain(self) {
        if let Answer::Events(messages) = self.answer {
            upstream::drain(self.host, messages.into_body()).await;
        }
    }
}

impl<'c, H: Host> Answer<'c, H> {
    async fn next(&mut self, host: &'c H, link: Link<'_>, peer: &mut Peer) -> Result<Said, Failure> {
        loop {
            match self {
                Self::Awaited(call) => {
                    let answered = call.await;
                    *self = Self::Over;
                    let Answered { peer: now, content } = answered?;
                    *peer = now;
                    *self = match content {
                        Content::Json(body, _) => Self::Json(body, Vec::new()),
                        Content::Events(body) => Self::Events(Messages::of_answer(host, link, peer, body)),
                        Content::Error(status, body) => return Ok(Said::Error(status, body)),
                    };
                }
                Self::Json(body, held) => match body.chunk().await? {
                    Some(chunk) if held.len() + chunk.len() > ANSWER_LIMIT => return Err(Failure::TooLong),
                    Some(chunk) => held.extend_from_slice(&chunk),
                    None => {
                        let text = upstream::text(std::mem::take(held))?;
                        *self = Self::Over;
                        return Ok(Said::Call(text));
                    }
                },
                Self::Events(messages) => return Ok(messages.next().await?.map_or(Said::End, Said::Call)),
                Self::Over => return Ok(Said::End),
            }
        }
    }
}

impl<'c, H: Host> Stream<'c, H> {
    /// The next message. Never returns if none can come.
    async fn next(&mut self, host: &'c H) -> String {
        loop {
            match self {
                Self::Opening(_, sending) => {
                    let response = sending.await;
                    self.opened(host, response);
                }
                Self::Open(_, messages) => match messages.next().await {
                    Ok(Some(text)) => return text,
                    _ => {
                        let (last, pause) = (messages.id().map(str::to_owned), pause(messages.retry(), 0));
                        if let Self::Open(mut listening, _) = std::mem::replace(self, Self::Closed) {
                            listening.last = last.or(listening.last);
                            self.open_again(host, listening, pause);
                        }
                    }
                },
                Self::Closed => return pending().await,
            }
        }
    }

    /// Takes what the server has answered to GET.
    pub fn opened(&mut self, host: &'c H, response: Result<Response<H::Body>, SendError>) {
        let Self::Opening(mut listening, _) = std::mem::replace(self, Self::Closed) else { return };
        match legacy::opened(response) {
            Opened::Open(body) => *self = Self::Open(listening, Messages::new(host, body)),
            // Whether there is such a stream is found out before the call is sent.
            _ if listening.reopened == 0 => {}
            Opened::Taken | Opened::Later => self.open_again(host, listening, pause(None, 0)),
            // The server may know the session, and not the event.
            Opened::Never if listening.last.take().is_some() => self.open_again(host, listening, pause(None, 0)),
            Opened::Never => {}
        }
    }

    fn open_again(&mut self, host: &'c H, mut listening: Listening, pause: Duration) {
        let again = legacy::after(listening.request.clone(), listening.last.as_deref());
        let Some(again) = again.filter(|_| listening.reopened < MOST_REOPENED) else { return };
        listening.reopened += 1;
        let patience = listening.patience;
        let sending = async move {
            host.sleep(pause).await;
            host.send(again, patience).await
        };
        *self = Self::Opening(listening, Box::pin(sending));
    }
}
