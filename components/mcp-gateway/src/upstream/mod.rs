//! Sends requests to an upstream server in an era that it speaks, also if that has changed since the last time.
//!
//! An upstream is of one era towards one subject ([`Peer`]). It is found out once, kept sealed (`memory`), and believed
//! until the upstream itself contradicts:
//!
//! 1. For a modern client, `server/discover`. It has no side effects, so it may be tried on anything; a call may not. An
//!    answer that lists 2026-07-28 makes the upstream modern. After a -32022 that names 2026-07-28 it is asked once more.
//! 2. For a legacy client, `initialize`, for the newest legacy version, declaring what the client can be asked for; then
//!    `notifications/initialized`. If the server refuses the version, once more with one that it names, or with the next
//!    older ones.
//! 3. If the server does not know the client's era, or does not answer within [`FIRST_TRY`], the other of the two. If that
//!    fails too, what is told is the failure that says more; a server that was only slow is asked again with all the time
//!    that it may take.
//!
//! So a server of both eras speaks the client's: what it does in that era, such as asking in the middle of a call, works as
//! if the client were connected directly. Only pairs that share no era are bridged. A warm call is one request to the
//! upstream and a cold one two (modern) or three (legacy).
//!
//! A legacy client has a session of its own at each legacy upstream ([`Profile`]), so that state, subscriptions, levels and
//! roots never meet another client's. Modern clients of one person share one for each profile, because their era has none.
//! Two requests that find no session at once each make one; the one that was remembered last stays, and both go by it. When
//! the upstream no longer knows its session, or the era no longer fits, the same is done once more, unnoticed by the
//! client; a request is sent twice only if its first answer shows that it was not taken up.

pub mod bridge;
pub mod legacy;
pub mod messages;
pub mod modern;
pub mod params;

use std::borrow::Cow;
use std::pin::pin;
use std::time::Duration;

use http::request::Builder;
use http::response::Parts;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_auth::{HOP, challenge, coding};
use thiserror::Error;

use crate::config::Server;
use crate::eras::media_type;
use crate::eras::modern::META_SERVER;
use crate::fit::text_of;
use crate::health;
use crate::host::{AccessToken, Caller, Host, SendError, Source, within};
use crate::memory::Facts;
use crate::names;
use crate::session::Profile;
use crate::{decisive, memory};
use json::Object;

pub use messages::{Heard, Messages};

/// The most of an answer that is held at once.
pub const ANSWER_LIMIT: usize = 16 * 1024 * 1024;
/// The longest address that a redirect is quoted with.
const LONGEST_PLACE: usize = 512;
/// An error's body is read this far.
const ERROR_LIMIT: usize = 64 * 1024;
/// How long the first question to a server may take before it is asked in the other era.
const FIRST_TRY: Duration = Duration::from_secs(10);
/// The time within which an upstream has to answer a notification.
pub const NOTICE: Duration = Duration::from_secs(2);
/// How long after a session was remembered no other request remembers one that it has opened at the same time.
const SETTLED: Duration = Duration::from_millis(25);
/// How long an upstream may take to end an answer that is complete, before its connection is given up.
const DRAIN: Duration = Duration::from_millis(500);

/// One upstream, as one caller reaches it.
#[derive(Clone, Copy)]
pub struct Link<'a> {
    pub server: &'a Server<'a>,
    pub token: Option<&'a AccessToken>,
    pub caller: &'a Caller,
    /// What the upstream is told that the client can be asked for.
    pub profile: Profile,
}

/// How an upstream speaks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    Modern(Modern),
    Legacy(Session),
}

/// What is remembered of a modern upstream.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Modern {
    /// The log level that legacy clients have set; theirs is not in their requests.
    pub level: Option<String>,
    /// Which parameters it wants to see in headers, as learnt from its tools ([`params::headers_of`]).
    pub headers: Option<String>,
}

/// A session at a legacy upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// `None` if the upstream keeps none.
    pub id: Option<String>,
    pub version: String,
    /// The log level that clients have set.
    pub level: Option<String>,
    /// The upstream answers GET by 405, or opens no further session in which it could be listened to.
    pub has_no_stream: bool,
}

/// A request, written for a peer.
pub struct Outgoing<'a> {
    pub method: &'a str,
    /// What `Mcp-Name` repeats.
    pub name: Option<&'a str>,
    pub headers: Vec<(HeaderName, HeaderValue)>,
    pub body: Vec<u8>,
}

/// What an upstream answered.
pub struct Answered<B> {
    pub peer: Peer,
    pub content: Content<B>,
}

pub enum Content<B> {
    /// With its length, where the upstream says it.
    Json(B, Option<HeaderValue>),
    Events(B),
    /// Not a success; its body is read.
    Error(StatusCode, Vec<u8>),
}

/// Why there is no answer that could be passed on. The text is for the person who called.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum Failure {
    #[error("it does not accept the token")]
    Refused,
    #[error("it does not allow this (403)")]
    Forbidden,
    #[error("it wants more rights: {}", .0.join(" "))]
    NeedsScopes(Vec<String>),
    #[error("{0}")]
    Unreachable(#[from] SendError),
    #[error("it answered with status {0}")]
    Status(u16),
    #[error("it is too busy (status {status}){}", .seconds.map(|seconds| format!(": call it again in {seconds} seconds")).unwrap_or_default())]
    Busy { status: u16, seconds: Option<u32> },
    #[error("it redirects to {}, and redirects are not followed: if that is right, write it as its \"url\" in servers.json", .0.as_deref().unwrap_or("another place"))]
    Moved(Option<String>),
    #[error("it speaks only the protocol versions {0}")]
    Versions(String),
    #[error("it speaks {} alone, which this client does not, and \"bridge\" is false for it in servers.json", if *is_modern { "MCP 2026-07-28" } else { "MCP up to 2025-11-25" })]
    NotBridged {
        /// True if the server is of the newer era.
        is_modern: bool,
    },
    #[error("its \"url\" leads back to here, or over too many gateways (508)")]
    Loop,
    #[error("what it answered is not MCP")]
    NotMcp,
    #[error("the id that it gave its session is longer than 4 KiB")]
    SessionId,
    #[error("its answer is {0}-coded, although it was asked for without a coding")]
    Coded(&'static str),
    #[error("its answer broke off")]
    BrokeOff,
    #[error("the connection to the client ended, and the server cannot say again what came after that")]
    NotResumed,
    #[error("it asks for input that this client has not offered to give")]
    AsksTooMuch,
    #[error("it asked for input, and no answer came in time")]
    NoAnswer,
    #[error("64 calls of this person wait for answers already")]
    Crowded,
    #[error("it asks for input, and the store keeps nothing that the answer could find it by")]
    NotKept,
    #[error("the call was lost while it waited, and the answer has not reached the server: it can be made again")]
    Lost,
    #[error("the call was lost after it had been answered: whether it was carried out is not known")]
    LostLater,
    #[error("the call that was answered is over: its result was given before, or it was cancelled")]
    Over,
    /// What the instance says that held the call.
    #[error("{0}")]
    Reported(String),
    #[error("only tools that it lists may be called, and its list could not be had: {0}")]
    NoList(String),
    #[error("its answer is longer than 16 MiB")]
    TooLong,
    #[error("it took too long to answer")]
    Late,
    #[error("it took too long to answer {0} seconds ago; it is asked again soon")]
    Rests(u64),
}

impl Failure {
    /// Returns true if somebody has waited for nothing.
    pub fn is_slow(&self) -> bool {
        matches!(self, Self::Late | Self::Unreachable(SendError::Timeout))
    }

    /// Returns true if the same may work a little later.
    pub fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable(error) => !matches!(error, SendError::Denied | SendError::Head),
            Self::Busy { .. } | Self::Status(_) | Self::Late | Self::Rests(_) | Self::BrokeOff => true,
            _ => false,
        }
    }

    /// Returns true if the server has answered, and so does not work on the request.
    pub fn is_an_answer(&self) -> bool {
        match self {
            // A proxy may say that of a server that is at work.
            Self::Status(502 | 504) => false,
            Self::Refused
            | Self::Forbidden
            | Self::NeedsScopes(_)
            | Self::Status(_)
            | Self::Busy { .. }
            | Self::Moved(_)
            | Self::Loop => true,
            _ => false,
        }
    }

    /// Returns true if the server may still work on the request although its answer would not be read.
    pub fn leaves_it_at_work(&self) -> bool {
        self.is_slow() || matches!(self, Self::BrokeOff | Self::TooLong | Self::Status(504))
    }
}

/// Sends what `write` makes for the peer that the upstream turns out to be.
pub async fn exchange<'w, H: Host>(
    host: &H,
    link: Link<'_>,
    write: &dyn Fn(&Peer) -> Outgoing<'w>,
) -> Result<Answered<H::Body>, Failure> {
    let (mut peer, mut learnt) = match memory::recall(host, link) {
        Some(peer) => (peer, Learnt::Before),
        None => (meet(host, link, None).await?.0, Learnt::Now),
    };
    loop {
        bridge::check(link, &peer)?;
        let content = match send(host, link, &peer, write(&peer)).await {
            Err(Failure::Moved(place)) if follows(link, place.as_deref()) => {
                let content = send(host, link, &peer, write(&peer)).await?;
                memory::keep(host, link, &peer);
                content
            }
            // A server that has lost its sessions may take an unknown one for a missing right. Only a new session tells.
            Err(failure @ (Failure::Refused | Failure::Forbidden)) if peer.shares_ids() && learnt != Learnt::Now => {
                (peer, learnt) = match memory::recall_anew(host, link) {
                    Some(newer) if learnt == Learnt::Before && newer != peer => (newer, Learnt::Meanwhile),
                    _ => match open_again(host, link, &peer).await {
                        Some(newer) => (newer, Learnt::Now),
                        None => {
                            memory::forget(host, link);
                            return Err(failure);
                        }
                    },
                };
                continue;
            }
            content => content?,
        };
        let denied = matches!(&content, Content::Error(status, body) if peer.is_denied_by(*status, body));
        if !denied || learnt == Learnt::Now {
            return Ok(Answered { peer, content });
        }
        (peer, learnt) = match memory::recall_anew(host, link) {
            Some(newer) if learnt == Learnt::Before && newer != peer => (newer, Learnt::Meanwhile),
            _ => (meet_again(host, link, &peer).await?, Learnt::Now),
        };
    }
}

/// Returns true if a redirect to `place` only adds or takes away a slash, and was not followed before: from now on this
/// request's links go there.
fn follows(link: Link<'_>, place: Option<&str>) -> bool {
    let shown = link.server.shown_url();
    let is_slash =
        place.is_some_and(|place| place.strip_suffix('/') == Some(&shown) || shown.strip_suffix('/') == Some(place));
    is_slash && link.caller.met.note_slash(link)
}

/// The URL of the upstream, as far as it is known to have moved.
fn url(link: Link<'_>) -> http::Uri {
    let url = &link.server.url;
    if !link.caller.met.has_slash(link) {
        return url.clone();
    }
    let path = url.path();
    let path = path.strip_suffix('/').map_or_else(|| [path, "/"].concat(), str::to_owned);
    let query = url.query().map(|query| ["?", query].concat()).unwrap_or_default();
    let mut parts = url.clone().into_parts();
    parts.path_and_query = [path, query].concat().parse().ok();
    http::Uri::from_parts(parts).unwrap_or_else(|_| url.clone())
}

/// When it was found out how an upstream speaks.
#[derive(PartialEq, Eq)]
enum Learnt {
    Before,
    /// By another request, after what this one had remembered.
    Meanwhile,
    Now,
}

impl Peer {
    /// Returns true if requests of several clients meet in one session, where each id may be in flight only once.
    pub fn shares_ids(&self) -> bool {
        self.session_id().is_some()
    }

    fn session_id(&self) -> Option<&str> {
        match self {
            Self::Legacy(session) => session.id.as_deref(),
            Self::Modern(_) => None,
        }
    }

    /// Returns true if an answer says that this is not, or no longer, how the upstream speaks, and that nothing was done.
    /// Legacy: 404 for a lost session (MUST), but many servers say 400. The codes are those that servers use there.
    fn is_denied_by(&self, status: StatusCode, body: &[u8]) -> bool {
        if status == StatusCode::NOT_FOUND && self.shares_ids() {
            return true;
        }
        let code = std::str::from_utf8(body).ok().and_then(|body| error_code(&Object::parse(body).ok()?));
        match (status.as_u16(), code) {
            (400 | 404 | 405, None | Some(-32000 | -32001 | -32600 | -32022)) => true,
            // A modern server misses what every modern request has.
            (400, Some(-32020 | -32602)) => matches!(self, Self::Legacy(_)),
            _ => false,
        }
    }
}

/// Finds out how the upstream speaks, if it is known not to be as `before`, and keeps it.
async fn meet<H: Host>(host: &H, link: Link<'_>, before: Option<&Peer>) -> Result<(Peer, Facts), Failure> {
    let (mut peer, facts) = introduce(host, link).await?;
    if let (Err(_), Peer::Legacy(session)) = (bridge::check(link, &peer), &mut peer) {
        // It is not used: only the era is remembered.
        within(host, NOTICE, pin!(legacy::end(host, link, session))).await;
        session.id = None;
    }
    let peer = settle(host, link, peer, before).await;
    memory::keep_facts(host, link, &facts);
    health::succeeded(host, link, None);
    Ok((peer, facts))
}

/// Asks in the client's era first: where client and server share an era, that era is spoken.
async fn introduce<H: Host>(host: &H, link: Link<'_>) -> Result<(Peer, Facts), Failure> {
    let patience = link.server.patience;
    let first = patience.min(FIRST_TRY);
    let by_initialize = async |patience| {
        let (session, facts) = legacy::initialize(host, link, None, patience).await?;
        Ok::<_, Failure>((Peer::Legacy(session), facts))
    };
    let by_discover = async |patience| match modern::discover(host, link, patience).await? {
        Discovered::Modern(facts) => Ok::<_, Failure>(Ok((Peer::Modern(Modern::default()), facts))),
        Discovered::Other(why) => Ok(Err(why)),
    };
    if link.profile.is_modern() {
        let silence = match by_discover(first).await? {
            Ok(known) => return Ok(known),
            Err(why) => why,
        };
        return match by_initialize(patience).await {
            // It may only be slow: a server that has just been started, say.
            Err(failure) if matches!(silence, Some(Failure::Late)) && !failure.is_slow() => {
                by_discover(patience).await?.map_err(|why| why.unwrap_or(failure))
            }
            Err(Failure::NotMcp | Failure::Status(_)) if silence.is_some() => Err(silence.unwrap_or(Failure::NotMcp)),
            known => known,
        };
    }
    let failure = match by_initialize(first).await {
        // `server/discover` would fare no better.
        Err(failure @ (Failure::Refused | Failure::Unreachable(SendError::Denied | SendError::Connection))) => {
            return Err(failure);
        }
        Err(failure) => failure,
        known => return known,
    };
    match by_discover(first).await? {
        Ok(known) => Ok(known),
        Err(why) if failure.is_slow() && !why.as_ref().is_some_and(Failure::is_slow) => by_initialize(patience).await,
        Err(Some(why @ Failure::Versions(_))) => Err(why),
        Err(_) => Err(failure),
    }
}

/// Of requests that open a session at the same time all go by one of them: the upstream keeps things in it, and what it
/// asks there is answered in the session that is remembered (`words`). The store cannot compare and set, so each looks a
/// moment later which one has stayed.
async fn settle<H: Host>(host: &H, link: Link<'_>, peer: Peer, before: Option<&Peer>) -> Peer {
    let is_lost = |other: &Peer| before.is_some_and(|before| other.session_id() == before.session_id());
    let other = || memory::recall_anew(host, link).filter(|other| other.session_id().is_some() && !is_lost(other));
    let mut known = other();
    if known.is_none() {
        memory::keep(host, link, &peer);
        if peer.session_id().is_some() {
            host.sleep(SETTLED).await;
            known = other();
        }
    }
    let Some(known) = known else { return peer };
    if let Peer::Legacy(session) = &peer
        && known.session_id() != peer.session_id()
    {
        within(host, NOTICE, pin!(legacy::end(host, link, session))).await;
    }
    known
}

/// How the upstream speaks: as remembered, or else as found out now.
pub async fn peer<H: Host>(host: &H, link: Link<'_>) -> Result<Peer, Failure> {
    let peer = match memory::recall(host, link) {
        Some(peer) => peer,
        None => meet(host, link, None).await?.0,
    };
    bridge::check(link, &peer).map(|()| peer)
}

/// What the upstream says of itself: as remembered, or else as found out now.
pub async fn facts<H: Host>(host: &H, link: Link<'_>) -> Result<Facts, Failure> {
    let known = match memory::facts(host, link) {
        Some(facts) => facts,
        None => ask_facts(host, link).await?,
    };
    bridge::of_era(link, known.modern).map(|()| known)
}

async fn ask_facts<H: Host>(host: &H, link: Link<'_>) -> Result<Facts, Failure> {
    if let Some(failure) = health::recall(host, link).and_then(|health| health.rests(host.now())) {
        return Err(failure);
    }
    if let Some(Peer::Modern(_)) = memory::recall(host, link)
        && let Discovered::Modern(facts) = modern::discover(host, link, link.server.patience).await?
    {
        memory::keep_facts(host, link, &facts);
        health::succeeded(host, link, None);
        return Ok(facts);
    }
    meet(host, link, None).await.map(|(_, facts)| facts)
}

/// The same for an upstream that was `before`: most often it has only lost its session.
async fn meet_again<H: Host>(host: &H, link: Link<'_>, before: &Peer) -> Result<Peer, Failure> {
    match open_again(host, link, before).await {
        Some(peer) => Ok(peer),
        None => Ok(meet(host, link, Some(before)).await?.0),
    }
}

/// A new session in the place of the one that was `before`. `None` if the upstream gives none.
async fn open_again<H: Host>(host: &H, link: Link<'_>, before: &Peer) -> Option<Peer> {
    let Peer::Legacy(session) = before else { return None };
    renew(host, link, session.clone()).await.ok().map(Peer::Legacy)
}

/// The same for a session that the upstream has lost.
pub async fn renew<H: Host>(host: &H, link: Link<'_>, lost: Session) -> Result<Session, Failure> {
    let (session, facts) = legacy::initialize(host, link, lost.level.as_deref(), link.server.patience).await?;
    memory::keep_facts(host, link, &facts);
    match settle(host, link, Peer::Legacy(session.clone()), Some(&Peer::Legacy(lost))).await {
        Peer::Legacy(settled) => Ok(settled),
        Peer::Modern(_) => Ok(session),
    }
}

/// Returns true if the upstream does not know `session` any more.
pub async fn has_lost<H: Host>(host: &H, link: Link<'_>, session: &Session) -> bool {
    let peer = Peer::Legacy(session.clone());
    let ping = Outgoing { method: "ping", name: None, headers: Vec::new(), body: legacy::write_own(3, "ping", "") };
    match send(host, link, &peer, ping).await {
        Ok(Content::Error(status, body)) => peer.is_denied_by(status, &body),
        Err(failure) => matches!(failure, Failure::Refused | Failure::Forbidden),
        Ok(_) => false,
    }
}

async fn send<H: Host>(
    host: &H,
    link: Link<'_>,
    peer: &Peer,
    outgoing: Outgoing<'_>,
) -> Result<Content<H::Body>, Failure> {
    let is_call = matches!(outgoing.method, "tools/call" | "prompts/get" | "resources/read" | "tasks/result");
    let request = match peer {
        Peer::Modern(_) => modern::request(link, outgoing),
        Peer::Legacy(session) => legacy::request(link, session, outgoing.body),
    };
    let patience = if is_call { link.server.call_patience } else { link.server.patience };
    receive(host, link, host.send(request.ok_or(Failure::NotMcp)?, patience).await?).await
}

/// Sorts an answer by its status and its media type.
async fn receive<H: Host>(
    host: &H,
    link: Link<'_>,
    response: http::Response<H::Body>,
) -> Result<Content<H::Body>, Failure> {
    let (head, body) = response.into_parts();
    let coding = coding::of(&head.headers);
    match head.status.as_u16() {
        200..300 if coding.is_some() => Err(Failure::Coded(coding.unwrap_or_default())),
        200..300 => match content_type_of(&head).as_str() {
            "application/json" => Ok(Content::Json(body, head.headers.get(header::CONTENT_LENGTH).cloned())),
            "text/event-stream" => Ok(Content::Events(body)),
            _ => Err(Failure::NotMcp),
        },
        300..=399 => Err(Failure::Moved(new_place(&head, link))),
        401 => Err(Failure::Refused),
        403 => Err(match challenge::missing_scopes(&head.headers) {
            Some(scopes) => Failure::NeedsScopes(scopes),
            None => Failure::Forbidden,
        }),
        508 => Err(Failure::Loop),
        status @ (429 | 503) => Err(Failure::Busy { status, seconds: seconds_in(&head) }),
        status @ (502 | 504) => Err(Failure::Status(status)),
        _ => {
            let body = within(host, link.server.patience, pin!(collect(body, ERROR_LIMIT))).await;
            let mut body = body.and_then(Result::ok).unwrap_or_default();
            take_mark(&mut body);
            if coding.is_some() {
                body.clear();
            }
            Ok(Content::Error(head.status, body))
        }
    }
}

/// Sends a small request of the gateway's own, and once more if the upstream leads to its URL with another slash.
async fn dispatch<H: Host>(
    host: &H,
    link: Link<'_>,
    request: Request<Vec<u8>>,
    patience: Duration,
) -> Result<http::Response<H::Body>, SendError> {
    let mut again = request.clone();
    let response = host.send(request, patience).await?;
    if !matches!(response.status().as_u16(), 307 | 308) {
        return Ok(response);
    }
    let (head, body) = response.into_parts();
    if !follows(link, new_place(&head, link).as_deref()) {
        return Ok(http::Response::from_parts(head, body));
    }
    drain(host, body).await;
    *again.uri_mut() = url(link);
    host.send(again, patience).await
}

/// The answer to a request of the gateway's own: the message, whole, and the head that it came with.
async fn ask<H: Host>(
    host: &H,
    link: Link<'_>,
    request: Request<Vec<u8>>,
    patience: Duration,
) -> Result<(Parts, Asked), Failure> {
    let response = dispatch(host, link, request, patience).await?;
    let (head, body) = response.into_parts();
    let kept = Parts::clone(&head);
    let asked = match receive(host, link, http::Response::from_parts(head, body)).await? {
        Content::Error(_, body) => Asked::Refused(body),
        content => Asked::Message(message(host, link, None, content, patience).await?),
    };
    Ok((kept, asked))
}

enum Asked {
    Message(String),
    /// A status that is no success, with the body, which may be a message.
    Refused(Vec<u8>),
}

/// The answer to the question whether an upstream speaks the modern era.
pub enum Discovered {
    Modern(Facts),
    /// It does not seem to, and this is the failure that says so, if it is one.
    Other(Option<Failure>),
}

/// The answer that `content` brings, whole, or the code of the error that it is.
pub async fn answer<H: Host>(
    host: &H,
    link: Link<'_>,
    answered: Answered<H::Body>,
) -> Result<Result<String, i64>, Failure> {
    let code_of = |text: &str| Object::parse(text).map(|message| error_code(&message));
    let Answered { peer, content } = answered;
    match content {
        Content::Error(status, body) => {
            let code = std::str::from_utf8(&body).ok().and_then(|text| code_of(text).ok()?);
            code.map(Err).ok_or(Failure::Status(status.as_u16()))
        }
        content => {
            let text = message(host, link, Some(&peer), content, link.server.patience).await?;
            let code = code_of(&text).map_err(|_| Failure::NotMcp)?;
            Ok(code.map_or(Ok(text), Err))
        }
    }
}

/// The answer that `content` brings, whole; what comes before it in a stream is skipped. All of it has to be there
/// within `patience`, however often the upstream says something.
async fn message<H: Host>(
    host: &H,
    link: Link<'_>,
    peer: Option<&Peer>,
    content: Content<H::Body>,
    patience: Duration,
) -> Result<String, Failure> {
    let read = async {
        match content {
            Content::Error(status, _) => Err(Failure::Status(status.as_u16())),
            Content::Json(body, _) => text(collect(body, ANSWER_LIMIT).await?),
            Content::Events(body) => {
                let mut messages = match peer {
                    Some(peer) => Messages::of_answer(host, link, peer, body),
                    None => Messages::new(host, body),
                };
                while let Some(text) = messages.next().await? {
                    if Object::parse(&text).is_ok_and(|message| message.get("method") == Ok(None)) {
                        drain(host, messages.into_body()).await;
                        return Ok(text);
                    }
                }
                Err(Failure::NotMcp)
            }
        }
    };
    within(host, patience, pin!(read)).await.unwrap_or(Err(Failure::Late))
}

/// The text of a body.
pub fn text(mut body: Vec<u8>) -> Result<String, Failure> {
    take_mark(&mut body);
    String::from_utf8(body).map_err(|_| Failure::NotMcp)
}

/// Takes the byte order mark away, if `body` has one, so that all who read it after this read the same.
pub fn take_mark(body: &mut Vec<u8>) -> bool {
    let mark = body.len() - json::without_bom(body).len();
    body.drain(..mark);
    mark > 0
}

/// Tells a legacy upstream something that it does not answer: a notification, or the answer to a request of its own.
pub async fn tell<H: Host>(host: &H, link: Link<'_>, peer: &Peer, message: Vec<u8>) {
    if let Err(failure) = hand(host, link, peer, message).await {
        host.log(&format!("gateway: {} could not be told something: {failure}", link.server.prefix));
    }
}

/// The same where it matters whether the upstream has taken it.
pub async fn hand<H: Host>(host: &H, link: Link<'_>, peer: &Peer, message: Vec<u8>) -> Result<(), Failure> {
    let Peer::Legacy(session) = peer else { return Ok(()) };
    let request = legacy::request(link, session, message).ok_or(Failure::NotMcp)?;
    let answer = dispatch(host, link, request, link.server.patience).await?;
    let status = answer.status();
    drain(host, answer.into_body()).await;
    match status.as_u16() {
        200..300 => Ok(()),
        401 => Err(Failure::Refused),
        status => Err(Failure::Status(status)),
    }
}

/// The whole of a body, of at most `limit` bytes.
async fn collect(mut body: impl Source, limit: usize) -> Result<Vec<u8>, Failure> {
    let mut all = Vec::new();
    while let Some(chunk) = body.chunk().await? {
        if all.len() + chunk.len() > limit {
            return Err(Failure::TooLong);
        }
        if all.is_empty() {
            all = chunk;
        } else {
            all.extend_from_slice(&chunk);
        }
    }
    Ok(all)
}

/// Reads a body whose message is complete to its end, so that its connection can serve the next request.
pub async fn drain<H: Host>(host: &H, mut body: H::Body) {
    within(host, DRAIN, pin!(async { while let Ok(Some(_)) = body.chunk().await {} })).await;
}

/// What both eras send to a server: its own headers, and the token of the service, never the client's.
fn post(link: Link<'_>) -> Option<Builder> {
    builder(link, Request::post(url(link)))
}

fn builder(link: Link<'_>, mut builder: Builder) -> Option<Builder> {
    let headers = builder.headers_mut()?;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(header::ACCEPT_ENCODING, coding::NONE);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("gatehouse/", env!("CARGO_PKG_VERSION"))));
    headers.insert(HOP, link.caller.hops.next());
    for (name, value) in &link.server.headers {
        headers.append(name.clone(), value.clone());
    }
    if let Some(token) = link.token {
        let mut value = HeaderValue::try_from([&token.token_type, " ", token.value.reveal()].concat()).ok()?;
        value.set_sensitive(true);
        headers.insert(header::AUTHORIZATION, value);
    }
    Some(builder)
}

/// Where a redirect leads, if that is a place that can be shown.
fn new_place(head: &Parts, link: Link<'_>) -> Option<String> {
    let place = head.headers.get(header::LOCATION)?.to_str().ok()?;
    let is_absolute = place.starts_with("https://") || place.starts_with("http://");
    let place = match (is_absolute, place.strip_prefix('/')) {
        (true, _) => place.to_owned(),
        (false, Some(path)) => [&origin_of(&link.server.url)?, "/", path].concat(),
        (false, None) => return None,
    };
    // A query may hold a key.
    let shown = place.split(['?', '#']).next().unwrap_or_default();
    (shown.len() <= LONGEST_PLACE).then(|| shown.to_owned())
}

fn origin_of(url: &http::Uri) -> Option<String> {
    Some([url.scheme_str()?, "://", url.authority()?.as_str()].concat())
}

/// `Retry-After` in seconds (RFC 9110 section 10.2.3); a date is not read. A day at most.
fn seconds_in(head: &Parts) -> Option<u32> {
    let seconds: u32 = head.headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()?;
    Some(seconds.min(86_400))
}

fn content_type_of(head: &Parts) -> String {
    head.headers.get(header::CONTENT_TYPE).map(media_type).unwrap_or_default()
}

/// What a server asks or says in `message`, whose `method` is this text: the method, and the params.
pub fn said<'a>(message: &Object<'a>, method: &'a str) -> Result<(Cow<'a, str>, Option<Object<'a>>), Failure> {
    if message.find("result").is_some() || message.find("error").is_some() {
        return Err(Failure::NotMcp);
    }
    let method = json::string(method).ok_or(Failure::NotMcp)?;
    let params = message.object("params").map_err(|_| Failure::NotMcp)?;
    if let Some(params) = &params {
        decisive::params(&method, params).map_err(|_| Failure::NotMcp)?;
    }
    Ok((method, params))
}

pub fn error_code(message: &Object<'_>) -> Option<i64> {
    message.object("error").ok()??.get("code").ok()??.parse().ok()
}

/// The result in an answer to a question of the gateway's own, if it is one.
pub fn result_of(message: &str) -> Option<Object<'_>> {
    let message = Object::parse(message).ok()?;
    decisive::message(&message).ok()?;
    let result = message.object("result").ok()??;
    decisive::own_result(&result).ok()?;
    Some(result)
}

/// The `Implementation` in `result`, which a modern server puts into `_meta`.
fn info_of<'r>(result: &Object<'r>) -> Option<&'r str> {
    const LONGEST: usize = 16 * 1024;
    let info = match result.find("serverInfo") {
        Some(info) => info,
        None => Object::parse(result.find("_meta")?).ok()?.find(META_SERVER)?,
    };
    let named = Object::parse(info).ok()?.find("name").is_some_and(|name| name.starts_with('"'));
    (named && info.len() <= LONGEST).then_some(info)
}

/// What a server of one era said of itself in `result`.
fn facts_of(result: &Object<'_>, modern: bool) -> Facts {
    /// A row of the store has to hold it.
    const LONGEST: usize = 32 * 1024;
    let capabilities = result.find("capabilities").filter(|text| text.len() <= LONGEST && Object::parse(text).is_ok());
    let instructions = text_of(result.find("instructions"));
    Facts {
        capabilities: capabilities.unwrap_or("{}").to_owned(),
        instructions: instructions.map(|text| names::cut(&text, LONGEST).to_owned()),
        info: info_of(result).map(str::to_owned),
        modern,
    }
}
