//! Brings the answer of an upstream to the client.
//!
//! As it arrives, wherever it need not be changed: a JSON body of any size passes without being held, and a small one
//! leaves in one write. What has to change (another era, an id that was replaced) is held up to 16 MiB and cut in the
//! bytes ([`Fit`]). An event stream is read message by message: each passes as it is, but for what this client must not
//! hear, and for ids of events, which are sealed (`resuming`).

use std::pin::pin;
use std::time::Duration;

use http::{HeaderValue, StatusCode, header};

use crate::fit::{Fit, Fitted, Question};
use crate::host::{Host, Source, within};
use crate::upstream::{self, ANSWER_LIMIT, Content, Failure, Heard, Link, Messages, Peer};
use crate::{jsonrpc, lists, resuming, subscriptions};

pub use crate::line::{Line, Stopped};

/// A body that is whole by then leaves in one write.
const SMALL: usize = 64 * 1024;
/// The time after a question of a server in which another one is asked with it.
const GATHERING: Duration = Duration::from_millis(50);
/// The most that a client is asked at once.
pub const MOST_ASKED: usize = 16;

/// Why an answer was not delivered.
#[derive(Debug)]
pub enum Halt {
    Failed(Failure),
    Stopped(Stopped),
}

/// How far an upstream's answer was delivered.
pub enum Delivered<'h, H: Host> {
    Done,
    /// It is not the answer yet: the upstream needs input that only a client of its own era can be sent as it is.
    Wants(String),
    /// There is none yet: the upstream asks on its stream, which goes on, and the client is asked by a result.
    Asks(Vec<Question>, Messages<'h, H>),
}

/// Brings what `peer` answered to the client.
pub async fn deliver<'h, H: Host>(
    line: &mut Line<'h, H>,
    link: Link<'_>,
    peer: &Peer,
    content: Content<H::Body>,
    fit: &Fit<'_>,
) -> Result<Delivered<'h, H>, Halt> {
    match content {
        Content::Error(status, body) => {
            let response = fit.refused(status, &body)?;
            line.answer(response).await;
            Ok(Delivered::Done)
        }
        Content::Json(body, length) => deliver_json(line, body, length, fit).await,
        Content::Events(body) => {
            deliver_events(line, link, peer, Messages::of_answer(line.host(), link, peer, body), fit).await
        }
    }
}

async fn deliver_json<'h, H: Host>(
    line: &mut Line<'h, H>,
    mut body: H::Body,
    length: Option<HeaderValue>,
    fit: &Fit<'_>,
) -> Result<Delivered<'h, H>, Halt> {
    let as_it_is = fit.changes_nothing();
    let mut held = Vec::new();
    loop {
        let chunk = line.wait(pin!(body.chunk())).await?.map_err(Failure::from)?;
        let Some(chunk) = chunk else { break };
        if held.is_empty() {
            held = chunk;
        } else {
            held.extend_from_slice(&chunk);
        }
        let can_pass = as_it_is && held.len() > SMALL && !line.has_begun();
        let is_marked = can_pass && upstream::take_mark(&mut held);
        if can_pass && line.can_pipe() {
            if !held.trim_ascii_start().starts_with(b"{") {
                return Err(Failure::NotMcp.into());
            }
            let mut head = jsonrpc::respond(StatusCode::OK, Vec::new()).map(drop);
            // Else it would end with a small chunk of its own, which waits for the client's delayed acknowledgement.
            if let Some(length) = length.filter(|_| !is_marked) {
                head.headers_mut().insert(header::CONTENT_LENGTH, length);
            }
            line.pipe(head, &held, &mut body).await?;
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

/// Brings what comes on an event stream to the client, up to the answer.
pub async fn deliver_events<'h, H: Host>(
    line: &mut Line<'h, H>,
    link: Link<'_>,
    peer: &Peer,
    mut messages: Messages<'h, H>,
    fit: &Fit<'_>,
) -> Result<Delivered<'h, H>, Halt> {
    let mut asked = Vec::new();
    loop {
        let next = next_after(line, asked.len(), pin!(messages.hear())).await?;
        let Some(next) = next else { return Ok(Delivered::Asks(asked, messages)) };
        let Heard::Message(text) = next?.ok_or(Failure::BrokeOff)? else {
            resuming::mark(line, link, peer, fit, messages.new_id());
            continue;
        };
        let fitted = fit.message(text)?;
        if !matches!(fitted, Fitted::Answer(_)) {
            resuming::mark(line, link, peer, fit, messages.new_id());
        }
        match fitted {
            Fitted::Asks(question) => {
                asked.push(question);
                continue;
            }
            Fitted::Wants(text) => {
                upstream::drain(line.host(), messages.into_body()).await;
                return Ok(Delivered::Wants(text));
            }
            Fitted::Answer(response) => {
                line.answer(response).await;
                upstream::drain(line.host(), messages.into_body()).await;
                return Ok(Delivered::Done);
            }
            said => pass_on(said, link, peer, line).await?,
        }
        // A server that says something else has nothing more to ask at once.
        if !asked.is_empty() {
            return Ok(Delivered::Asks(asked, messages));
        }
    }
}

/// Tells the client what an upstream says that is no answer, or the upstream what it needs to hear.
pub async fn pass_on<H: Host>(
    fitted: Fitted,
    link: Link<'_>,
    peer: &Peer,
    line: &mut Line<'_, H>,
) -> Result<(), Stopped> {
    match fitted {
        Fitted::Said(text, changed) => {
            if let Some(kind) = changed {
                lists::forget(line.host(), link, kind);
            }
            line.say(text.as_bytes());
        }
        Fitted::Updated(text) => {
            if let Some(text) = subscriptions::renamed(line.host(), link, text) {
                line.say(text.as_bytes());
            }
        }
        Fitted::ForTheUpstream(reply) => line.wait(pin!(upstream::tell(line.host(), link, peer, reply))).await?,
        Fitted::Answer(_) | Fitted::Asks(_) | Fitted::Wants(_) | Fitted::NotForThisClient => {}
    }
    Ok(())
}

/// Waits for the next message of a server that has asked `asked` questions. `None` if it is time to ask the client.
pub async fn next_after<T, H: Host>(
    line: &mut Line<'_, H>,
    asked: usize,
    next: impl Future<Output = T> + Unpin,
) -> Result<Option<T>, Stopped> {
    match asked {
        0 => line.wait(next).await.map(Some),
        1..MOST_ASKED => line.wait(pin!(within(line.host(), GATHERING, next))).await,
        _ => Ok(None),
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
