//! How does an upstream's answer reach the client?
//!
//! As it arrives, wherever it need not be changed: a JSON body of any size passes without being held, and a small one
//! leaves in one write. What has to change (another era, an id that was replaced) is held up to 16 MiB and cut in the
//! bytes. An event stream is read event by event: each message passes as it is, but stream ids do not (they would offer
//! to resume by GET), nor does what this client must not hear. A stream that is over at once, with nothing before the
//! answer, becomes a plain JSON body; one that makes the client wait is given signs of life, and so finds out when
//! the client has gone (modern: a disconnect MUST cancel).

use std::collections::VecDeque;
use std::time::Duration;

use http::{HeaderValue, Response, StatusCode, header};

use crate::eras::Client;
use crate::host::{Host, SendError, Source, within};
use crate::json::{Edits, Object};
use crate::jsonrpc;
use crate::sse::{self, Parser, Piece};
use crate::upstream::{self, ANSWER_LIMIT, Content, Failure};

/// What is whole by then leaves in one write.
const SMALL: usize = 64 * 1024;
/// How long the head of an answer waits for the first event.
const GRACE: Duration = Duration::from_secs(2);
/// Between signs of life.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// An answer on its way to the client.
pub enum Answer<'h, H: Host> {
    /// Known as a whole. What is left of the upstream's body is read to its end afterwards.
    Whole(Response<Vec<u8>>, Option<H::Body>),
    /// The head, the first bytes, and a body whose bytes follow as they are.
    Pass(Response<()>, Vec<u8>, H::Body),
    /// The head, the first events, and those that follow.
    Events(Response<()>, Vec<u8>, Box<Events<'h, H>>),
}

/// What has to change in the messages of one exchange.
pub struct Fit {
    pub client: Client,
    /// The client's id, as it stands.
    pub id: String,
    /// Whether the upstream knows the request by another id.
    pub renamed: bool,
    /// Whether both sides are of one era.
    pub same_era: bool,
}

enum Fitted {
    Answer(Vec<u8>),
    Notification(String),
    NotForThisClient,
}

/// Brings `content` to the client.
pub async fn deliver<'h, H: Host>(
    host: &'h H,
    content: Content<H::Body>,
    fit: Fit,
    takes_events: bool,
) -> Result<Answer<'h, H>, Failure> {
    match content {
        Content::Error(status, body) => fit.refused(status, &body).map(whole),
        Content::Json(body) => deliver_json(body, &fit).await,
        Content::Events(body) if takes_events => deliver_events(host, body, fit).await,
        Content::Events(_) => {
            let message = upstream::message(host, content).await?;
            fit.answer(message).map(|body| whole(jsonrpc::respond(StatusCode::OK, body)))
        }
    }
}

impl<H: Host> Answer<'_, H> {
    /// The answer as one JSON message, for a client that wants many in one body.
    pub async fn message(self) -> Option<Vec<u8>> {
        match self {
            Self::Whole(response, _) => Some(response.into_body()),
            Self::Pass(_, mut all, mut body) => {
                while let Ok(Some(chunk)) = body.chunk().await {
                    all.extend_from_slice(&chunk);
                    if all.len() > ANSWER_LIMIT {
                        return None;
                    }
                }
                Some(all)
            }
            Self::Events(..) => None,
        }
    }
}

async fn deliver_json<'h, H: Host + 'h>(mut body: H::Body, fit: &Fit) -> Result<Answer<'h, H>, Failure> {
    let as_it_is = fit.same_era && !fit.renamed;
    let mut held = Vec::new();
    loop {
        match body.chunk().await? {
            None if as_it_is => return Ok(whole(jsonrpc::respond(StatusCode::OK, held))),
            None => {
                let text = String::from_utf8(held).map_err(|_| Failure::NotMcp)?;
                return fit.answer(text).map(|body| whole(jsonrpc::respond(StatusCode::OK, body)));
            }
            Some(chunk) if held.is_empty() => held = chunk,
            Some(chunk) => held.extend_from_slice(&chunk),
        }
        if as_it_is && held.len() > SMALL {
            let head = jsonrpc::respond(StatusCode::OK, Vec::new()).map(drop);
            return Ok(Answer::Pass(head, held, body));
        }
        if held.len() > ANSWER_LIMIT {
            return Err(Failure::TooLong);
        }
    }
}

async fn deliver_events<'h, H: Host>(host: &'h H, body: H::Body, fit: Fit) -> Result<Answer<'h, H>, Failure> {
    let mut events =
        Box::new(Events { host, body, parser: Parser::default(), fit, ready: VecDeque::new(), over: false });
    within(host, GRACE, events.read()).await.unwrap_or(Ok(()))?;
    if events.over {
        let response = match (events.ready.pop_back(), events.ready.is_empty()) {
            (Some(Event::Answer(answer)), true) => jsonrpc::respond(StatusCode::OK, answer),
            (last, _) => {
                events.ready.extend(last);
                event_stream(events.take_ready())
            }
        };
        return Ok(Answer::Whole(response, Some(events.body)));
    }
    if events.ready.is_empty() {
        events.ready.push_back(Event::Comment);
    }
    let first = events.take_ready();
    Ok(Answer::Events(event_stream(Vec::new()).map(drop), first, events))
}

/// An upstream's stream, as this client gets it.
pub struct Events<'h, H: Host> {
    host: &'h H,
    body: H::Body,
    parser: Parser,
    fit: Fit,
    ready: VecDeque<Event>,
    over: bool,
}

enum Event {
    Notification(String),
    Answer(Vec<u8>),
    Comment,
}

impl<H: Host> Events<'_, H> {
    /// The next bytes for the client; `None` after the answer, which always comes: when the upstream breaks off, it is
    /// an error that says so.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        if self.over {
            return None;
        }
        match within(self.host, KEEP_ALIVE, self.read()).await {
            Some(Ok(())) => {}
            Some(Err(failure)) => {
                let message = format!("The server's answer broke off: {failure}.");
                let error = jsonrpc::error(Some(&self.fit.id), jsonrpc::INTERNAL_ERROR, &message, None);
                self.ready.push_back(Event::Answer(error));
                self.over = true;
            }
            None => self.ready.push_back(Event::Comment),
        }
        Some(self.take_ready())
    }

    fn take_ready(&mut self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.ready.drain(..).for_each(|event| event.write(&mut bytes));
        bytes
    }

    /// What is left of the upstream's body, once all is said.
    pub fn into_body(self) -> H::Body {
        self.body
    }

    /// Reads until there is something for the client.
    async fn read(&mut self) -> Result<(), Failure> {
        while self.ready.is_empty() && !self.over {
            let chunk = self.body.chunk().await?;
            let mut next = match &chunk {
                Some(chunk) => {
                    self.parser.push(chunk);
                    self.parser.piece()
                }
                None => self.parser.end(),
            };
            while let Some(piece) = next.map_err(|_| Failure::TooLong)? {
                match piece {
                    Piece::Comment => self.ready.push_back(Event::Comment),
                    Piece::Message(text) => match self.fit.message(text)? {
                        Fitted::NotForThisClient => {}
                        Fitted::Notification(text) => self.ready.push_back(Event::Notification(text)),
                        Fitted::Answer(answer) => {
                            self.ready.retain(|event| !matches!(event, Event::Comment));
                            self.ready.push_back(Event::Answer(answer));
                            self.over = true;
                            return Ok(());
                        }
                    },
                }
                next = self.parser.piece();
            }
            if chunk.is_none() {
                return Err(Failure::Unreachable(SendError::Connection));
            }
        }
        Ok(())
    }
}

impl Event {
    fn write(&self, out: &mut Vec<u8>) {
        match self {
            Self::Notification(text) => sse::write_event(out, text.as_bytes()),
            Self::Answer(text) => sse::write_event(out, text),
            Self::Comment => out.extend_from_slice(sse::COMMENT),
        }
    }
}

impl Fit {
    /// A message of a stream, as the client gets it.
    fn message(&self, text: String) -> Result<Fitted, Failure> {
        let message = Object::parse(&text).map_err(|_| Failure::NotMcp)?;
        match message.string("method") {
            Ok(None) => {
                drop(message);
                self.answer(text).map(Fitted::Answer)
            }
            // A request to the client: nothing was declared that would allow one, and its answer had no way back.
            Ok(Some(_)) if message.get("id") != Ok(None) => Ok(Fitted::NotForThisClient),
            Ok(Some(method)) if self.client.dialect().hears(&method) => {
                drop(message);
                Ok(Fitted::Notification(text))
            }
            _ => Ok(Fitted::NotForThisClient),
        }
    }

    /// The answer itself, as the client gets it.
    fn answer(&self, text: String) -> Result<Vec<u8>, Failure> {
        if self.same_era && !self.renamed {
            return Ok(text.into_bytes());
        }
        let text = text.as_str();
        let message = Object::parse(text).map_err(|_| Failure::NotMcp)?;
        let get = |name| message.get(name).map_err(|_| Failure::NotMcp);
        let mut edits = Edits::new(text);
        match get("id")? {
            Some(id) if id != self.id => edits.replace(id, self.id.clone()),
            Some(_) => {}
            None => edits.rework(&message, &[], &["\"id\":", &self.id].concat()),
        }
        if !self.same_era {
            let dialect = self.client.dialect();
            if let Some(result) = get("result")? {
                let members = Object::parse(result).map_err(|_| Failure::NotMcp)?;
                dialect.fit_result(result, &members, &mut edits);
            } else if let Some(error) = get("error")? {
                let members = Object::parse(error).map_err(|_| Failure::NotMcp)?;
                let code = members.get("code").ok().flatten().ok_or(Failure::NotMcp)?;
                let fitted = code.parse().map_or(jsonrpc::INTERNAL_ERROR, |code| dialect.fit_code(code));
                if fitted.to_string() != code {
                    edits.replace(code, fitted.to_string());
                }
            } else {
                return Err(Failure::NotMcp);
            }
        }
        Ok(edits.apply())
    }

    /// A JSON-RPC error that came with an HTTP status of its own; any other error is not for the client to read.
    fn refused(&self, status: StatusCode, body: &[u8]) -> Result<Response<Vec<u8>>, Failure> {
        let failed = || Failure::Status(status.as_u16());
        let text = std::str::from_utf8(body).map_err(|_| failed())?;
        let code = Object::parse(text).ok().and_then(|message| upstream::error_code(&message)).ok_or_else(failed)?;
        let answer =
            Self { id: self.id.clone(), renamed: true, ..*self }.answer(text.to_owned()).map_err(|_| failed())?;
        let dialect = self.client.dialect();
        Ok(jsonrpc::respond(dialect.status(dialect.fit_code(code)), answer))
    }
}

fn whole<'h, H: Host>(response: Response<Vec<u8>>) -> Answer<'h, H> {
    Answer::Whole(response, None)
}

fn event_stream(body: Vec<u8>) -> Response<Vec<u8>> {
    let mut response = Response::new(body);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}
