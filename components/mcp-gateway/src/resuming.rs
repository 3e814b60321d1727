//! Gives the events of our streams ids, and resumes a stream after one of them (S/2025-11-25/basic/transports, "Resumability
//! and Redelivery").
//!
//! An upstream that sends ids can resume its streams, so a legacy client of its own route gets ids too. An id of ours is
//! sealed for the person, the client's session and the upstream, and has inside what it takes to go on: the upstream's id,
//! its session, and the request that the stream answers. Nothing is stored, so any instance can resume a stream, also after
//! the host was restarted. It asks the upstream for what comes after that event, and passes it on as if nothing had
//! happened.
//!
//! If the upstream cannot resume the answer of a request, the request is answered with an error, on the stream, so that
//! nobody waits for it. An id of the stream of GET that cannot be resumed is no error: what is said from now on arrives.

use base64ct::{Base64UrlUnpadded, Encoding};
use http::{Response, StatusCode};
use sha2::{Digest, Sha256};
use std::pin::pin;

use crate::config::Server;
use crate::eras::{Client, Listen, Site};
use crate::fit::Fit;
use crate::host::Host;
use crate::jsonrpc;
use crate::memory::{self, Place};
use crate::passage::{Delivered, Halt, Line, deliver_events};
use crate::relay::{self, LAST_LOOK, stop, tool_error};
use crate::upstream::legacy::{self, Opened};
use crate::upstream::{Failure, Link, Messages, Peer, Session};
use crate::visitor::{Standing, Visitor};

/// The start of an id: of a stream that answers a request, and of the stream of GET.
const OF_ANSWER: &str = "gha.";
const OF_STREAM: &str = "ghs.";
/// The most times that the upstream is asked for the rest of a stream, once in a second, and after how many of them the
/// instance that still has the stream is told to end.
const MOST_TRIES: usize = 15;
const TRIES_ALONE: usize = 4;
/// The most bytes that are sealed in an id.
const LONGEST: usize = 1024;

/// The event after which a client resumes a stream.
pub struct Point {
    /// A digest of the upstream's session.
    session: String,
    method: String,
    /// The client's id of the request, and the one that the upstream knows it by. Empty: the stream of GET.
    id: String,
    asked: String,
    /// The upstream's id of the event.
    pub event: String,
}

/// Gives the next event of `line` an id, if that event of the upstream has the id `event` and the client can use it.
pub fn mark<H: Host>(line: &mut Line<'_, H>, link: Link<'_>, peer: &Peer, fit: &Fit<'_>, event: Option<&str>) {
    let (Some(event), Peer::Legacy(session), Client::Legacy(client)) = (event, peer, fit.client) else { return };
    if fit.named || !line.takes_marks() {
        return;
    }
    let (kind, id, asked) = if fit.method.is_empty() { (OF_STREAM, "", "") } else { (OF_ANSWER, fit.id, fit.asked) };
    let text = [&digest(session), fit.method, id, asked, event].join("\n");
    // What would be read differently, or is too long, gets no id.
    if text.len() > LONGEST || text.split('\n').count() != 5 {
        return;
    }
    let sealed = place(link).seal(line.host(), link.caller, text.as_bytes()).unwrap_or_default();
    // Clients of earlier versions take an event without data for a broken message.
    line.mark([kind, &Base64UrlUnpadded::encode_string(&sealed)].concat(), client.takes_empty_events());
}

/// The event after which `listen` wants to go on. `None` if there is none, or it can no longer be known.
///
/// Errors: the id is of an answer, and was not given to this client.
fn point(listen: &Listen<'_>, link: Link<'_>) -> Result<Option<Point>, Response<Vec<u8>>> {
    let Some(id) = listen.resumes else { return Ok(None) };
    let sealed = id.strip_prefix(OF_ANSWER).or_else(|| id.strip_prefix(OF_STREAM));
    let sealed =
        sealed.filter(|_| id.len() <= 2 * LONGEST).and_then(|sealed| Base64UrlUnpadded::decode_vec(sealed).ok());
    let opened = sealed.and_then(|sealed| String::from_utf8(place(link).open(link.caller, &sealed)?).ok());
    let read = |text: String| {
        let mut fields = text.split('\n').map(str::to_owned);
        let mut next = || fields.next();
        Some(Point { session: next()?, method: next()?, id: next()?, asked: next()?, event: next()? })
    };
    match opened.and_then(read) {
        None if !id.starts_with(OF_STREAM) => Err(unknown()),
        point => Ok(point),
    }
}

/// The event after which `listen` goes on at the one server of `site`, if that is known.
///
/// Errors: the id was not given to this client.
pub fn resumed<H: Host>(
    host: &H,
    listen: &Listen<'_>,
    site: &Site<'_>,
    servers: &[Server<'_>],
    visitor: &Visitor,
) -> Result<Option<Point>, Response<Vec<u8>>> {
    match servers {
        [server] if site.is_single() => {
            let link = Link { server, token: None, caller: &visitor.caller, profile: listen.client.profile() };
            let point = point(listen, link)?;
            // The events of a session that is over are not those of the next one.
            Ok(point.filter(|point| point.is_of_answer() || point.session(host, link).is_some()))
        }
        // There, no event has an id.
        _ if listen.resumes.is_some() => Err(unknown()),
        _ => Ok(None),
    }
}

/// Goes on with the answer to a request.
pub async fn resume<H: Host>(
    host: &H,
    point: &Point,
    listen: &Listen<'_>,
    server: &Server<'_>,
    visitor: &Visitor,
    line: &mut Line<'_, H>,
) {
    let client = listen.client;
    if let Some(session) = client.session() {
        line.watch(&visitor.caller, relay::cancellation(session, &point.id));
    }
    let Standing::Open(token) = visitor.standing(server) else {
        return line.answer(point.failed(&client, server, &Failure::Refused)).await;
    };
    let link = Link { server, token, caller: &visitor.caller, profile: client.profile() };
    let gone_on = match line.begin().await {
        Ok(()) => go_on(host, point, &client, link, line).await,
        Err(stopped) => Err(stopped.into()),
    };
    match gone_on {
        Ok(()) => {}
        Err(Halt::Stopped(stopped)) => {
            if let Some(session) = point.session(host, link) {
                let peer = Peer::Legacy(session);
                relay::withdraw(host, client, &point.id, link, (&peer, &point.asked), stopped).await;
            }
            stop(line, stopped).await;
        }
        Err(Halt::Failed(failure)) => {
            host.log(
                &["gateway: ", &point.method, " at ", server.prefix, " is not resumed: ", &failure.to_string()]
                    .concat(),
            );
            line.answer(point.failed(&client, server, &failure)).await;
        }
    }
}

async fn go_on<H: Host>(
    host: &H,
    point: &Point,
    client: &Client,
    link: Link<'_>,
    line: &mut Line<'_, H>,
) -> Result<(), Halt> {
    let session = point.session(host, link).ok_or(Failure::NotResumed)?;
    let body = open(host, point, link, &session, line).await?;
    let peer = Peer::Legacy(session);
    let messages = Messages::resumed(line.host(), link, &peer, body, &point.event);
    let fit = Fit {
        client: *client,
        id: &point.id,
        asked: &point.asked,
        method: &point.method,
        renamed: point.id != point.asked,
        same_era: true,
        prefix: link.server.prefix,
        profile: link.profile,
        names_tasks: false,
        names_uris: false,
        named: false,
        params: None,
    };
    match deliver_events(line, link, &peer, messages, &fit).await? {
        Delivered::Done => Ok(()),
        // Only what is bridged asks by a result.
        Delivered::Wants(_) | Delivered::Asks(..) => Err(Failure::NotMcp.into()),
    }
}

/// The rest of the stream. For some seconds the connection that the client has lost may still be open at the server.
async fn open<H: Host>(
    host: &H,
    point: &Point,
    link: Link<'_>,
    session: &Session,
    line: &mut Line<'_, H>,
) -> Result<H::Body, Halt> {
    for tries in 0..MOST_TRIES {
        if tries > 0 {
            line.wait(pin!(host.sleep(LAST_LOOK))).await?;
        }
        let opened = line.wait(pin!(legacy::open(host, link, session, Some(&point.event)))).await?;
        match legacy::sorted(opened) {
            Opened::Open(body) => {
                // If the client's old stream is still there, it must not resume the upstream's in turn.
                line.take_over(relay::nonce(host));
                return Ok(body);
            }
            Opened::Taken if tries == TRIES_ALONE => line.take_over(relay::nonce(host)),
            Opened::Taken | Opened::Later => {}
            Opened::Never => break,
        }
    }
    Err(Failure::NotResumed.into())
}

impl Point {
    pub fn is_of_answer(&self) -> bool {
        !self.id.is_empty()
    }

    /// The upstream's session that the event is of, if that is still the one that is remembered.
    fn session<H: Host>(&self, host: &H, link: Link<'_>) -> Option<Session> {
        match memory::recall_anew(host, link) {
            Some(Peer::Legacy(session)) if digest(&session) == self.session => Some(session),
            _ => None,
        }
    }

    /// The answer to the request, when its own is not to be had.
    fn failed(&self, client: &Client, server: &Server<'_>, failure: &Failure) -> Response<Vec<u8>> {
        let message = ["The answer of the server ", &server.name, " was lost: ", &failure.to_string(), "."].concat();
        match &*self.method {
            "tools/call" => client.result(&self.id, &tool_error(&message)),
            _ => client.error(&self.id, jsonrpc::INTERNAL_ERROR, &message),
        }
    }
}

fn unknown() -> Response<Vec<u8>> {
    let message = "Bad Request: no event of this session has this Last-Event-ID";
    jsonrpc::refuse(StatusCode::BAD_REQUEST, Some("null"), message)
}

fn digest(session: &Session) -> String {
    let digest = Sha256::digest(session.id.as_deref().unwrap_or_default());
    Base64UrlUnpadded::encode_string(digest.first_chunk::<9>().unwrap_or(&[0; 9]))
}

fn place(link: Link<'_>) -> Place {
    Place::of("v", link, &link.profile.name())
}
