//! How is an upstream server spoken to, and what happens when it has changed since the last time?
//!
//! An upstream is of one era towards one subject ([`Peer`]). It is found out once, kept sealed (`memory`), and believed
//! until the upstream itself contradicts:
//!
//! 1. `server/discover` in modern form. It has no side effects, so it may be tried on anything; a call may not. An
//!    answer that lists 2026-07-28 makes the upstream modern.
//! 2. Any other answer that is the server's own (not 401, 403, 429 or an outage): `initialize`, for the newest legacy
//!    version, declaring what the client behind the request can be asked for; then `notifications/initialized`.
//!
//! So a warm call is one request to the upstream and a cold one two (modern) or four (legacy). A dual-era upstream is
//! modern here: there is no session to lose.
//!
//! The upstream's session belongs to the subject and to a profile (what can be asked of the client), whichever client
//! calls: a program that starts anew for every call does not leave a session behind each time, and no client is asked
//! for what only another one can give. Two requests that find no session at once each make one; the later row
//! stays, and both sessions work. When the upstream no longer knows its session, or the era no longer fits, the same
//! is done once more, unnoticed by the client; a request is sent twice only if its first answer shows that it was
//! not taken up.

pub mod legacy;
pub mod modern;

use std::borrow::Cow;
use std::time::Duration;

use http::request::Builder;
use http::response::Parts;
use http::{HeaderName, HeaderValue, Request, StatusCode, header};
use http_auth::challenge;
use thiserror::Error;

use crate::config::Server;
use crate::eras::media_type;
use crate::fit::text_of;
use crate::host::{AccessToken, Caller, Host, SendError, Source, within};
use crate::memory::Facts;
use crate::session::Capabilities;
use crate::sse::{Parser, Piece};
use crate::{decisive, memory};
use json::Object;

/// The most of an answer that is held at once.
pub const ANSWER_LIMIT: usize = 16 * 1024 * 1024;
/// An error's body is read this far.
const ERROR_LIMIT: usize = 64 * 1024;
/// More scopes than that are no one's rights.
/// How long an upstream may take to end an answer that is complete, before its connection is given up.
const DRAIN: Duration = Duration::from_millis(500);

/// One upstream, as one caller reaches it.
#[derive(Clone, Copy)]
pub struct Link<'a> {
    pub server: &'a Server<'a>,
    pub token: Option<&'a AccessToken>,
    pub caller: &'a Caller,
    /// What the upstream is told that the client can be asked for.
    pub profile: Capabilities,
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
    /// Which parameters it wants to see in headers, as learnt from its tools ([`modern::headers_of`]).
    pub headers: Option<String>,
}

/// A session at a legacy upstream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Session {
    /// None: the upstream keeps none.
    pub id: Option<String>,
    pub version: String,
    /// The log level that clients have set.
    pub level: Option<String>,
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
    #[error("it has moved, and redirects are not followed: its \"url\" in servers.json has to change")]
    Moved,
    #[error("what it answered is not MCP")]
    NotMcp,
    #[error("its answer broke off")]
    BrokeOff,
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
    #[error("its answer is longer than 16 MiB")]
    TooLong,
    #[error("it took too long to answer")]
    Late,
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
        let content = send(host, link, &peer, write(&peer)).await?;
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

/// When it was found out how an upstream speaks.
#[derive(PartialEq, Eq)]
enum Learnt {
    Before,
    /// By another request, after what this one had remembered.
    Meanwhile,
    Now,
}

impl Peer {
    /// Whether requests of several clients meet in one session, where each id may be in flight only once.
    pub fn shares_ids(&self) -> bool {
        matches!(self, Self::Legacy(Session { id: Some(_), .. }))
    }

    /// Whether an answer says that this is not, or no longer, how the upstream speaks, and that nothing was done.
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

/// Finds out how the upstream speaks, of which is known that it is not as `before`, and keeps it.
async fn meet<H: Host>(host: &H, link: Link<'_>, before: Option<&Peer>) -> Result<(Peer, Facts), Failure> {
    let (peer, facts) = match modern::discover(host, link).await? {
        Some(facts) => (Peer::Modern(Modern::default()), facts),
        None => {
            let (session, facts) = legacy::initialize(host, link, None).await?;
            (Peer::Legacy(session), facts)
        }
    };
    let peer = settle(host, link, peer, before);
    memory::keep_facts(host, link, &facts);
    Ok((peer, facts))
}

/// Of requests that open a session at the same time all go by the first one's: what an upstream asks in a session is
/// answered in the one that is remembered (`words`).
fn settle<H: Host>(host: &H, link: Link<'_>, peer: Peer, before: Option<&Peer>) -> Peer {
    match memory::recall_anew(host, link) {
        Some(other) if other.shares_ids() && before != Some(&other) => other,
        _ => {
            memory::keep(host, link, &peer);
            peer
        }
    }
}

/// How the upstream speaks: as remembered, or else as found out now.
pub async fn peer<H: Host>(host: &H, link: Link<'_>) -> Result<Peer, Failure> {
    match memory::recall(host, link) {
        Some(peer) => Ok(peer),
        None => Ok(meet(host, link, None).await?.0),
    }
}

/// What the upstream says of itself: as remembered, or else as found out now.
pub async fn facts<H: Host>(host: &H, link: Link<'_>) -> Result<Facts, Failure> {
    if let Some(facts) = memory::facts(host, link) {
        return Ok(facts);
    }
    if let Some(Peer::Modern(_)) = memory::recall(host, link)
        && let Some(facts) = modern::discover(host, link).await?
    {
        memory::keep_facts(host, link, &facts);
        return Ok(facts);
    }
    meet(host, link, None).await.map(|(_, facts)| facts)
}

/// The same for an upstream that was `before`: most often it has only lost its session.
async fn meet_again<H: Host>(host: &H, link: Link<'_>, before: &Peer) -> Result<Peer, Failure> {
    if let Peer::Legacy(before) = before
        && let Ok((session, facts)) = legacy::initialize(host, link, before.level.as_deref()).await
    {
        memory::keep_facts(host, link, &facts);
        return Ok(settle(host, link, Peer::Legacy(session), Some(&Peer::Legacy(before.clone()))));
    }
    Ok(meet(host, link, Some(before)).await?.0)
}

async fn send<H: Host>(
    host: &H,
    link: Link<'_>,
    peer: &Peer,
    outgoing: Outgoing<'_>,
) -> Result<Content<H::Body>, Failure> {
    let request = match peer {
        Peer::Modern(_) => modern::request(link, outgoing),
        Peer::Legacy(session) => legacy::request(link, session, outgoing.body),
    };
    receive(host, link, host.send(request.ok_or(Failure::NotMcp)?, link.server.patience).await?).await
}

/// Sorts an answer by its status and its media type.
async fn receive<H: Host>(
    host: &H,
    link: Link<'_>,
    response: http::Response<H::Body>,
) -> Result<Content<H::Body>, Failure> {
    let (head, body) = response.into_parts();
    match head.status.as_u16() {
        200..300 => match content_type(&head).as_str() {
            "application/json" => Ok(Content::Json(body, head.headers.get(header::CONTENT_LENGTH).cloned())),
            "text/event-stream" => Ok(Content::Events(body)),
            _ => Err(Failure::NotMcp),
        },
        300..=399 => Err(Failure::Moved),
        401 => Err(Failure::Refused),
        403 => Err(match challenge::missing_scopes(&head.headers) {
            Some(scopes) => Failure::NeedsScopes(scopes),
            None => Failure::Forbidden,
        }),
        status @ (429 | 502 | 503 | 504) => Err(Failure::Status(status)),
        _ => {
            let body = within(host, link.server.patience, collect(body, ERROR_LIMIT)).await;
            let mut body = body.and_then(Result::ok).unwrap_or_default();
            take_mark(&mut body);
            Ok(Content::Error(head.status, body))
        }
    }
}

/// The answer to a request of the gateway's own: the message, whole, and the head that it came with.
async fn ask<H: Host>(host: &H, link: Link<'_>, request: Request<Vec<u8>>) -> Result<(Parts, Asked), Failure> {
    let (head, body) = host.send(request, link.server.patience).await?.into_parts();
    let kept = Parts::clone(&head);
    let asked = match receive(host, link, http::Response::from_parts(head, body)).await? {
        Content::Error(..) => Asked::Refused,
        content => Asked::Message(message(host, link, content).await?),
    };
    Ok((kept, asked))
}

enum Asked {
    Message(String),
    Refused,
}

/// The answer that `content` brings, whole, or the code of the error that it is.
pub async fn answer<H: Host>(
    host: &H,
    link: Link<'_>,
    content: Content<H::Body>,
) -> Result<Result<String, i64>, Failure> {
    let code_of = |text: &str| Object::parse(text).map(|message| error_code(&message));
    match content {
        Content::Error(status, body) => {
            let code = std::str::from_utf8(&body).ok().and_then(|text| code_of(text).ok()?);
            code.map(Err).ok_or(Failure::Status(status.as_u16()))
        }
        content => {
            let text = message(host, link, content).await?;
            let code = code_of(&text).map_err(|_| Failure::NotMcp)?;
            Ok(code.map_or(Ok(text), Err))
        }
    }
}

/// The answer that `content` brings, whole; what comes before it in a stream is read over. All of it has to be there in the
/// upstream's own time, however often it says something.
async fn message<H: Host>(host: &H, link: Link<'_>, content: Content<H::Body>) -> Result<String, Failure> {
    let read = async {
        match content {
            Content::Error(status, _) => Err(Failure::Status(status.as_u16())),
            Content::Json(body, _) => text(collect(body, ANSWER_LIMIT).await?),
            Content::Events(body) => {
                let mut messages = Messages::<H>::new(body);
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
    within(host, link.server.patience, read).await.unwrap_or(Err(Failure::Late))
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

/// The messages of an event stream.
pub struct Messages<H: Host> {
    body: H::Body,
    parser: Parser,
    ended: bool,
}

impl<H: Host> Messages<H> {
    pub fn new(body: H::Body) -> Self {
        Self { body, parser: Parser::default(), ended: false }
    }

    /// The next one; none at the end of the stream.
    pub async fn next(&mut self) -> Result<Option<String>, Failure> {
        loop {
            let piece = if self.ended { self.parser.end() } else { self.parser.piece() };
            match piece.map_err(|_| Failure::TooLong)? {
                Some(Piece::Message(message)) => return text(message.into_bytes()).map(Some),
                Some(Piece::Comment) => {}
                None if self.ended => return Ok(None),
                None => match self.body.chunk().await? {
                    Some(chunk) => self.parser.push(&chunk),
                    None => self.ended = true,
                },
            }
        }
    }

    pub fn into_body(self) -> H::Body {
        self.body
    }
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
    let answer = host.send(request, link.server.patience).await?;
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
    within(host, DRAIN, async { while let Ok(Some(_)) = body.chunk().await {} }).await;
}

/// What both eras send to a server: its own headers, and the token of the service, never the client's.
fn post(link: Link<'_>) -> Option<Builder> {
    builder(link, Request::post(link.server.url.clone()))
}

fn builder(link: Link<'_>, mut builder: Builder) -> Option<Builder> {
    let headers = builder.headers_mut()?;
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/json"));
    headers.insert(header::ACCEPT, HeaderValue::from_static("application/json, text/event-stream"));
    headers.insert(header::USER_AGENT, HeaderValue::from_static(concat!("gatehouse/", env!("CARGO_PKG_VERSION"))));
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

fn content_type(head: &Parts) -> String {
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

/// What a server of one era said of itself in `result`.
fn facts_of(result: &Object<'_>, modern: bool) -> Facts {
    let capabilities = result.find("capabilities").filter(|text| Object::parse(text).is_ok());
    Facts {
        capabilities: capabilities.unwrap_or("{}").to_owned(),
        instructions: text_of(result.find("instructions")),
        modern,
    }
}
