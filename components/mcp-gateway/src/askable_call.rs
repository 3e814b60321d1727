//! Makes a call during which a legacy server may ask a modern client, also outside of the call's stream.
//!
//! Servers of the older era may ask on the stream of GET (`server.server.elicitInput` of the TypeScript SDK 1), and a modern
//! client has no such stream. So the gateway has it open while the call is made, in a session that the call has alone
//! (`call_sessions`), and takes the requests of the server there for the call's. A server that answers GET by 405 is not asked again for
//! a day. One that keeps no sessions is not asked, because its questions could belong to any call.

use std::pin::pin;
use std::time::Duration;

use http::{Response, StatusCode};

use crate::call_sessions::{SLOTS, Slot};
use crate::conversation::{Conversation, Listening, Said, Sending, Stream};
use crate::eras::{Relay, modern};
use crate::fit::{Fit, Fitted, Question};
use crate::held::Interrupted;
use crate::host::{Host, SendError, within};
use crate::passage::{Halt, Line, next_after, pass_on};
use crate::session::Profile;
use crate::upstream::modern::Input;
use crate::upstream::{self, Failure, Link, Peer, Session, legacy};
use crate::{memory, relay};

/// The longest wait for the head of a GET stream before the call is sent. Some servers send it with the first event.
const HEAD: Duration = Duration::from_secs(1);
/// A server may see late that a stream was closed. The pauses between the tries to open the next one.
const CONFLICTS: [Duration; 4] =
    [Duration::from_millis(20), Duration::from_millis(50), Duration::from_millis(150), Duration::from_millis(400)];

/// The session in which a call is made, and its GET stream.
pub struct Place<'c, H: Host> {
    /// The server as the session of the call reaches it.
    link: Link<'c>,
    peer: Peer,
    stream: Stream<'c, H>,
    slot: Option<Slot>,
}

/// Returns true if the server may ask in the middle of the request.
pub fn may_be(relay: &Relay<'_>, profile: Profile) -> bool {
    relay.client.is_modern() && profile.can.can_be_asked() && modern::may_ask(&relay.request.method)
}

/// Finds a session with a GET stream for a call. `None` if the server has none, and the call is made as any other.
pub async fn find<'c, H: Host>(
    host: &'c H,
    link: Link<'c>,
    line: &mut Line<'_, H>,
) -> Result<Option<Place<'c, H>>, Halt> {
    let Peer::Legacy(shared) = line.wait(pin!(upstream::peer(host, link))).await?? else { return Ok(None) };
    if shared.id.is_none() || shared.has_no_stream {
        return Ok(None);
    }
    for _ in 0..SLOTS {
        let Some(slot) = Slot::take(host, link) else { break };
        let attempted = match line.wait(Box::pin(attempt(host, link, &slot, &shared))).await {
            Ok(attempted) => attempted,
            Err(stopped) => {
                slot.abandon(host, link).await;
                return Err(stopped.into());
            }
        };
        match attempted {
            Ok(Some((session, stream))) if slot.is_kept(host, link) => {
                let (link, peer) = (slot.link(link), Peer::Legacy(session));
                return Ok(Some(Place { link, peer, stream, slot: Some(slot) }));
            }
            // Another call has taken it at the same time.
            Ok(Some(_)) => {}
            Ok(None) => {
                slot.abandon(host, link).await;
                return Ok(None);
            }
            Err(failure) => {
                slot.abandon(host, link).await;
                return match failure {
                    // Another token may help.
                    Failure::Refused | Failure::NeedsScopes(_) => Err(failure.into()),
                    // A server with one session at a time, say: its calls are made as before.
                    Failure::Status(..500) | Failure::NotMcp | Failure::Versions(_) => {
                        note_none(host, link, &shared);
                        Ok(None)
                    }
                    // It may open one for the next call.
                    _ => Ok(None),
                };
            }
        }
    }
    // All are in use. The shared session is used, and requests of the server on its GET stream are refused.
    let (stream, status) = line.wait(pin!(open(host, link, &shared))).await?;
    if has_none(host, link, &shared, status) {
        return Ok(None);
    }
    let stream = stream.unwrap_or(Stream::Closed);
    Ok(Some(Place { link, peer: Peer::Legacy(shared), stream, slot: None }))
}

/// The session of `slot`, with its stream. `None` if the server has no such streams.
async fn attempt<'c, H: Host>(
    host: &'c H,
    link: Link<'c>,
    slot: &Slot,
    shared: &Session,
) -> Result<Option<(Session, Stream<'c, H>)>, Failure> {
    slot.prepare(host, link).await;
    let own = slot.link(link);
    let mut conflicts = CONFLICTS.iter();
    let mut session = match memory::recall(host, own) {
        Some(Peer::Legacy(session)) => Some(session),
        Some(Peer::Modern(_)) => return Ok(None),
        None => {
            // No session is opened at a server that has no streams.
            let (_, status) = open(host, link, shared).await;
            if has_none(host, link, shared, status) {
                return Ok(None);
            }
            None
        }
    };
    let mut is_new = false;
    loop {
        let now = match session.take() {
            Some(session) => session,
            None => {
                is_new = true;
                let (session, _) = legacy::initialize(host, own, None, link.server.patience).await?;
                memory::keep(host, own, &Peer::Legacy(session.clone()));
                session
            }
        };
        match open(host, own, &now).await {
            (Some(stream), _) => return Ok(Some((now, stream))),
            (None, status) if has_none(host, link, shared, status) => return Ok(None),
            (None, Some(StatusCode::CONFLICT)) if !slot.is_kept(host, link) => return Ok(Some((now, Stream::Closed))),
            (None, Some(StatusCode::CONFLICT)) if conflicts.len() > 0 => {
                host.sleep(conflicts.next().copied().unwrap_or_default()).await;
                session = Some(now);
            }
            // The session is lost, or somebody has its stream for good.
            (None, Some(StatusCode::CONFLICT | StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST)) if !is_new => {
                session = match memory::recall_anew(host, own) {
                    Some(Peer::Legacy(newer)) if newer != now => Some(newer),
                    _ => {
                        memory::forget(host, own);
                        within(host, upstream::NOTICE, pin!(legacy::end(host, own, &now))).await;
                        None
                    }
                };
            }
            _ => return Ok(Some((now, Stream::Closed))),
        }
    }
}

/// Returns true if `status` says that the server has no GET streams, and remembers that.
fn has_none<H: Host>(host: &H, link: Link<'_>, shared: &Session, status: Option<StatusCode>) -> bool {
    let has_none = status == Some(StatusCode::METHOD_NOT_ALLOWED);
    if has_none {
        note_none(host, link, shared);
    }
    has_none
}

/// Remembers for a day that the server has no session with a GET stream for a call.
fn note_none<H: Host>(host: &H, link: Link<'_>, shared: &Session) {
    memory::keep(host, link, &Peer::Legacy(Session { has_no_stream: true, ..shared.clone() }));
}

/// Opens the GET stream of `session`. If there is none, the status that the server has answered with.
async fn open<'c, H: Host>(
    host: &'c H,
    link: Link<'c>,
    session: &Session,
) -> (Option<Stream<'c, H>>, Option<StatusCode>) {
    let Some(request) = legacy::get(link, session, None) else { return (None, None) };
    let patience = link.server.call_patience;
    let mut sending: Sending<'c, H> = Box::pin(host.send(request.clone(), patience));
    let answered: Option<Result<Response<H::Body>, SendError>> = within(host, HEAD, &mut sending).await;
    let status = answered.as_ref().and_then(|answered| Some(answered.as_ref().ok()?.status()));
    let mut stream = Stream::Opening(Listening { request, patience, reopened: 0, last: None }, sending);
    if let Some(answered) = answered {
        stream.opened(host, answered);
    }
    ((!matches!(stream, Stream::Closed)).then_some(stream), status)
}

/// Makes the call. Returns it if its client has to be asked.
pub async fn make<'c, H: Host>(
    host: &'c H,
    relay: &'c Relay<'c>,
    person: Link<'c>,
    place: Place<'c, H>,
    (own, key): (&str, String),
    fit: &Fit<'_>,
    line: &mut Line<'_, H>,
) -> Result<Option<Interrupted<'c, H>>, Halt> {
    let Place { link, peer, stream, slot } = place;
    let (own, written) = (own.to_owned(), key.clone());
    let call = Box::pin(async move {
        let input = Input::default();
        let write = |peer: &Peer| relay::write(relay, link, &own, &written, &input, peer);
        upstream::exchange(host, link, &write).await
    });
    let mut talk = Conversation::begin(host, person, peer, call, stream, slot);
    let end = deliver(&mut talk, relay, link, &key, fit, line).await;
    match end {
        Ok(End::Answer(response)) => {
            talk.finish(true).await;
            line.answer(response).await;
            talk.drain().await;
            Ok(None)
        }
        Ok(End::Asks(questions)) => Ok(Some(Interrupted { id: id(&talk.peer, relay, &key), questions, talk })),
        Err(Halt::Stopped(stopped)) => {
            let asked = id(&talk.peer, relay, &key);
            relay::withdraw(host, relay.client, relay.request.id, link, (&talk.peer, &asked), stopped).await;
            talk.finish(false).await;
            Err(stopped.into())
        }
        Err(Halt::Failed(failure)) => {
            talk.finish(failure.is_an_answer()).await;
            Err(failure.into())
        }
    }
}

enum End {
    Answer(Response<Vec<u8>>),
    Asks(Vec<Question>),
}

/// As the server knows the call.
fn id(peer: &Peer, relay: &Relay<'_>, key: &str) -> String {
    if peer.shares_ids() { key.to_owned() } else { relay.request.id.to_owned() }
}

/// Passes on what the server says, until there is an answer or a question.
async fn deliver<H: Host>(
    talk: &mut Conversation<'_, H>,
    relay: &Relay<'_>,
    link: Link<'_>,
    key: &str,
    fit: &Fit<'_>,
    line: &mut Line<'_, H>,
) -> Result<End, Halt> {
    let mut asked = Vec::new();
    loop {
        let next = next_after(line, asked.len(), pin!(talk.next())).await?;
        let Some(next) = next else { return Ok(End::Asks(asked)) };
        let id = id(&talk.peer, relay, key);
        let (renamed, same_era) = (talk.peer.shares_ids(), matches!(talk.peer, Peer::Modern(_)));
        let fit = Fit { asked: &id, renamed, same_era, ..*fit };
        let fitted = match next? {
            Said::Call(text) => fit.message(text)?,
            Said::Outside(text) => talk.outside(text, &fit),
            Said::Error(status, body) => return Ok(End::Answer(fit.refused(status, &body)?)),
            Said::End => return Err(Failure::BrokeOff.into()),
        };
        match fitted {
            Fitted::Asks(question) => {
                asked.push(question);
                continue;
            }
            Fitted::Answer(response) => return Ok(End::Answer(response)),
            Fitted::Wants(_) => return Err(Failure::NotMcp.into()),
            said => pass_on(said, link, &talk.peer, line).await?,
        }
        // A server that says something else has nothing more to ask at once.
        if !asked.is_empty() {
            return Ok(End::Asks(asked));
        }
    }
}
