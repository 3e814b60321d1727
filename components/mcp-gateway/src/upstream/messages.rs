//! Reads the messages of an upstream's event stream, and resumes the stream of an answer that has ended too soon.
//!
//! A legacy server may end the stream of an answer before the answer is there, if it has sent an event with an id: its
//! client waits for as long as `retry` says, and asks for the rest by GET with `Last-Event-ID`
//! (S/2025-11-25/basic/transports, "Sending Messages to the Server" and "Resumability and Redelivery"). A connection that
//! broke is resumed in the same way. A stream without an id has broken off. A request is never sent again.

use std::pin::Pin;
use std::pin::pin;
use std::time::Duration;

use http::{HeaderValue, Request, StatusCode};

use super::{Failure, Link, Peer, legacy, text};
use crate::host::{Host, SendError, Source, within};
use crate::sse::{Parser, Piece};

/// The header that says after which event a stream is resumed.
pub const LAST_EVENT_ID: &str = "last-event-id";
/// How long to wait before a stream is resumed whose server does not say it, and the limits of what it may say.
const PAUSE: Duration = Duration::from_secs(1);
const SHORTEST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(60);
/// How often in a row a stream is resumed without result, and how often at all.
const MOST_IN_VAIN: u32 = 16;
const MOST: u32 = 1000;

/// The messages of an event stream.
pub struct Messages<'h, H: Host> {
    host: &'h H,
    body: H::Body,
    parser: Parser,
    /// Why its connection ended, if that was no end of a stream.
    broken: Option<SendError>,
    ended: bool,
    resumption: Option<Box<Resumption>>,
    reopening: Option<Reopening<'h, H>>,
}

type Reopening<'h, H> = Pin<Box<dyn Future<Output = Reopened<<H as Host>::Body>> + 'h>>;

enum Reopened<B> {
    Open(B),
    /// Not now.
    Not,
    Never,
}

/// What a stream says next.
pub enum Heard {
    Message(String),
    /// Nothing, but it can be resumed from here ([`Messages::new_id`]).
    Mark,
}

/// How a stream can be resumed, and how often that has been tried.
struct Resumption {
    /// Without `Last-Event-ID`.
    get: Request<Vec<u8>>,
    patience: Duration,
    /// When the last message came.
    since: u64,
    in_vain: u32,
    tries: u32,
    /// From which event on it was last resumed.
    from: String,
}

impl<'h, H: Host> Messages<'h, H> {
    /// A stream that is not resumed.
    pub fn new(host: &'h H, body: H::Body) -> Self {
        Self { host, body, parser: Parser::default(), broken: None, ended: false, resumption: None, reopening: None }
    }

    /// The stream of an answer of `peer`.
    pub fn of_answer(host: &'h H, link: Link<'_>, peer: &Peer, body: H::Body) -> Self {
        Self { resumption: Resumption::new(host, link, peer), ..Self::new(host, body) }
    }

    /// A stream that resumes another one after the event `id`.
    pub fn resumed(host: &'h H, link: Link<'_>, peer: &Peer, body: H::Body, id: &str) -> Self {
        let parser = Parser::resumed(id, None);
        let mut resumption = Resumption::new(host, link, peer);
        if let Some(resumption) = &mut resumption {
            resumption.tries = 1;
        }
        Self { parser, resumption, ..Self::new(host, body) }
    }

    /// The next message. `None` at the end of the stream.
    pub async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            match self.hear().await? {
                Some(Heard::Message(message)) => return Ok(Some(message)),
                Some(Heard::Mark) => {}
                None => return Ok(None),
            }
        }
    }

    /// The next message or mark. `None` at the end of the stream. May be dropped while it waits.
    pub async fn hear(&mut self) -> Result<Option<Heard>, Failure> {
        loop {
            match self.parser.piece().map_err(|_| Failure::TooLong)? {
                Some(Piece::Message(message)) => {
                    if let Some(resumption) = &mut self.resumption {
                        (resumption.since, resumption.in_vain) = (self.host.now(), 0);
                    }
                    return Ok(Some(Heard::Message(text(message.into_bytes())?)));
                }
                Some(Piece::Mark) => return Ok(Some(Heard::Mark)),
                Some(Piece::Comment) => continue,
                None if self.ended => return Ok(None),
                None => {}
            }
            match self.chunk().await? {
                Ok(Some(chunk)) => {
                    self.parser.push(&chunk);
                    continue;
                }
                Ok(None) => {}
                Err(error) => self.broken = Some(error),
            }
            if self.resume().await? {
                continue;
            }
            if let Some(error) = self.broken {
                return Err(error.into());
            }
            self.ended = true;
            self.parser.finish();
        }
    }

    /// The next piece of the body. A stream that was resumed has so long for its next message as the call had.
    async fn chunk(&mut self) -> Result<Result<Option<Vec<u8>>, SendError>, Failure> {
        if self.reopening.is_some() {
            return Ok(Ok(None));
        }
        match &self.resumption {
            Some(resumption) if resumption.tries > 0 => {
                let left = resumption.left(self.host);
                within(self.host, left, pin!(self.body.chunk())).await.ok_or(Failure::Late)
            }
            _ => Ok(self.body.chunk().await),
        }
    }

    /// Returns true if the stream goes on.
    async fn resume(&mut self) -> Result<bool, Failure> {
        loop {
            let reopening = match &mut self.reopening {
                Some(reopening) => reopening,
                none => {
                    let Some(resumption) = &mut self.resumption else { return Ok(false) };
                    let Some(request) = resumption.next(self.host, &self.parser)? else { return Ok(false) };
                    none.insert(Box::pin(reopen(
                        self.host,
                        request,
                        resumption.pause(&self.parser),
                        resumption.patience,
                    )))
                }
            };
            let reopened = reopening.as_mut().await;
            self.reopening = None;
            match reopened {
                Reopened::Open(body) => {
                    self.parser = Parser::resumed(self.parser.id().unwrap_or_default(), self.parser.retry());
                    (self.body, self.broken) = (body, None);
                    return Ok(true);
                }
                Reopened::Not => {}
                Reopened::Never => return Ok(false),
            }
        }
    }

    /// The id of the last event that had one, for a stream that is opened again later.
    pub fn id(&self) -> Option<&str> {
        self.parser.id()
    }

    /// How long the server wants its client to wait before that.
    pub fn retry(&self) -> Option<Duration> {
        self.parser.retry()
    }

    /// The id of what was heard last, if it had one itself.
    pub fn new_id(&self) -> Option<&str> {
        self.parser.new_id()
    }

    pub fn into_body(self) -> H::Body {
        self.body
    }
}

impl Resumption {
    /// Modern servers resume no streams.
    fn new<H: Host>(host: &H, link: Link<'_>, peer: &Peer) -> Option<Box<Self>> {
        let Peer::Legacy(session) = peer else { return None };
        let get = legacy::get(link, session, None)?;
        let patience = link.server.call_patience;
        Some(Box::new(Self { get, patience, since: host.now(), in_vain: 0, tries: 0, from: String::new() }))
    }

    /// The request that asks for what comes after the last event. `None` if it cannot be asked for, or was so too often.
    fn next<H: Host>(&mut self, host: &H, parser: &Parser) -> Result<Option<Request<Vec<u8>>>, Failure> {
        let Some(id) = parser.id() else { return Ok(None) };
        if self.from != id {
            self.in_vain = 0;
            id.clone_into(&mut self.from);
        }
        if self.in_vain == MOST_IN_VAIN || self.tries == MOST {
            return Ok(None);
        }
        if self.left(host).is_zero() {
            return Err(Failure::Late);
        }
        self.in_vain += 1;
        self.tries += 1;
        let mut request = self.get.clone();
        let Ok(id) = HeaderValue::from_bytes(id.as_bytes()) else { return Ok(None) };
        request.headers_mut().insert(LAST_EVENT_ID, id);
        Ok(Some(request))
    }

    fn pause(&self, parser: &Parser) -> Duration {
        let pause = parser.retry().unwrap_or(PAUSE).clamp(SHORTEST_PAUSE, LONGEST_PAUSE);
        let doubled = 1 << self.in_vain.saturating_sub(1).min(10);
        pause.saturating_mul(doubled).min(LONGEST_PAUSE)
    }

    /// How long the next message may still take.
    fn left<H: Host>(&self, host: &H) -> Duration {
        self.patience.saturating_sub(Duration::from_secs(host.now().abs_diff(self.since)))
    }
}

async fn reopen<H: Host>(
    host: &H,
    request: Request<Vec<u8>>,
    pause: Duration,
    patience: Duration,
) -> Reopened<H::Body> {
    host.sleep(pause).await;
    let response = match host.send(request, patience).await {
        Ok(response) => response,
        Err(SendError::Denied | SendError::Head) => return Reopened::Never,
        Err(_) => return Reopened::Not,
    };
    let status = response.status();
    match legacy::stream_in(response) {
        Some(body) => Reopened::Open(body),
        // The connection that broke may still count as open there.
        None if matches!(status, StatusCode::CONFLICT | StatusCode::TOO_MANY_REQUESTS) || status.is_server_error() => {
            Reopened::Not
        }
        None => Reopened::Never,
    }
}
