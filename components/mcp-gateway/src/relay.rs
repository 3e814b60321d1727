//! Sends a request to the one server that it is for, and brings its answer back.
//!
//! The name tells the server, the person's token is added, and one request goes upstream. A failed call of a tool is a
//! result with `isError`, which the model sees and can pass on to the person. For any other request, and for an unknown
//! name, it is an error of the protocol.
//!
//! A modern upstream may answer that it needs input. A modern client gets that as it is. For a legacy client the gateway
//! asks: each wanted input is a request on the client's stream, its answers come by other instances (`asks`), and the
//! request is sent again with them. The other way round, what a legacy upstream asks on its stream becomes a result for a
//! modern client, and the call is held until it is made again (`held`).

use std::borrow::Cow;
use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use crate::config::Server;
use crate::conversation::Conversation;
use crate::eras::modern::{HEADER_MISMATCH, OWN_STATE};
use crate::eras::{By, Client, Own, Relay, Site, Target};
use crate::fit::Fit;
use crate::held::Interrupted;
use crate::host::{Caller, Host, within};
use crate::listed::Verdict;
use crate::owners::Owner;
use crate::passage::{Delivered, Halt, Line, MOST_ASKED, Stopped, deliver};
use crate::session::Session;
use crate::upstream::modern::Input;
use crate::upstream::{self, Answered, Content, Failure, Link, Outgoing, Peer};
use crate::visitor::{Standing, Visitor};
use crate::{
    askable_call, asks, connections, decisive, finding, health, held, jsonrpc, letters, listed, lists, memory, names,
    owners, pins, skills, subscriptions,
};
use json::{Edits, Object, quoted};

/// How often one request may be sent: each time but the first because the upstream wanted more.
pub const MOST_ROUNDS: usize = 16;
/// How long a person may take to answer.
pub const ASK_PATIENCE: Duration = Duration::from_secs(10 * 60);
pub const FIRST_LOOK: Duration = Duration::from_millis(50);
pub const LAST_LOOK: Duration = Duration::from_secs(1);
/// How often it is looked for a word that a legacy client which has gone has cancelled.
const LAST_WORDS: usize = 5;
/// Before an upstream that wants nothing but to be asked again is asked again.
const PAUSE: Duration = Duration::from_secs(1);

pub async fn relay<H: Host>(
    host: &H,
    relay: &Relay<'_>,
    site: &Site<'_>,
    servers: &[Server<'_>],
    visitor: &mut Visitor,
    line: &mut Line<'_, H>,
) {
    if let Some(session) = relay.client.session() {
        line.watch(&visitor.caller, cancellation(session, relay.request.id));
    }
    let (server, own) = match &relay.target {
        Target::Server { server, own } => (&**server, Cow::Borrowed(own.as_str())),
        Target::Own(own) => {
            let members = match own {
                Own::Approve => {
                    return match pins::approve(host, relay, servers, visitor, line).await {
                        Ok(answer) => line.answer(answer).await,
                        Err(Halt::Stopped(stopped)) => stop(line, stopped).await,
                        Err(Halt::Failed(failure)) => {
                            let members = tool_error(&format!("The person could not be asked: {failure}."));
                            line.answer(relay.client.result(relay.request.id, &members)).await;
                        }
                    };
                }
                Own::Connections => Ok(connections::tool_result(host, site, visitor)),
                own => line.wait(pin!(finding::answer(host, relay, *own, site, servers, visitor))).await,
            };
            return match members {
                Ok(members) => line.answer(relay.client.result(relay.request.id, &members)).await,
                Err(stopped) => stop(line, stopped).await,
            };
        }
        Target::SomeServers => {
            let uri = relay.handle.as_ref().map_or("", |handle| &handle.value);
            let gathered = owners::gather(host, servers, visitor, relay.client.profile(), None);
            let owner = match line.wait(pin!(gathered)).await {
                Ok(claims) => claims.owner(uri),
                Err(stopped) => return stop(line, stopped).await,
            };
            match owner {
                Owner::One(at) => match servers.get(at) {
                    Some(server) => (server, Cow::Borrowed(uri)),
                    None => return unknown(relay, line).await,
                },
                Owner::Several(all) => {
                    let names: Vec<&str> = all.iter().filter_map(|at| Some(servers.get(*at)?.prefix)).collect();
                    let message = format!(
                        "Invalid params: several servers claim this URI: {}. Put gatehouse:// and the name of the server that you \
                         mean before it: gatehouse://server/…",
                        names.join(", ")
                    );
                    return line.answer(relay.client.error(relay.request.id, jsonrpc::INVALID_PARAMS, &message)).await;
                }
                Owner::Nobody => return unknown(relay, line).await,
            }
        }
        Target::Unknown => return unknown(relay, line).await,
    };
    let fit = Fit {
        client: relay.client,
        id: relay.request.id,
        asked: "null",
        method: &relay.request.method,
        renamed: true,
        same_era: false,
        prefix: server.prefix,
        profile: relay.client.profile(),
        names_tasks: !site.is_single() && relay.client.may_get_tasks(&relay.request.method),
        names_uris: !site.is_single() && names_server(relay),
        named: !site.is_single(),
        params: relay.params.as_ref(),
    };
    match held::state(host, relay, server, &visitor.caller) {
        Ok(Some(state)) => {
            let resumed = Box::pin(held::resume(host, relay, server, &visitor.caller, &state, &fit, line));
            return match resumed.await {
                Ok(()) => {}
                Err(Halt::Stopped(stopped)) => stop(line, stopped).await,
                Err(Halt::Failed(failure)) => failed(host, relay, server, &visitor.caller, &failure, line).await,
            };
        }
        Ok(None) => {}
        Err(message) => {
            return line.answer(relay.client.error(relay.request.id, jsonrpc::INVALID_PARAMS, message)).await;
        }
    }
    let mut renewed = false;
    loop {
        let halt = match attempt(host, relay, server, visitor, &own, &fit, line).await {
            Ok(()) => return,
            Err(Halt::Stopped(stopped)) => return stop(line, stopped).await,
            Err(Halt::Failed(failure)) => failure,
        };
        if !renewed && server.service.is_some() {
            renewed = true;
            match &halt {
                Failure::Refused => {
                    visitor.renew(host, std::iter::once(server));
                    continue;
                }
                Failure::NeedsScopes(scopes) if visitor.widen(host, server, scopes) => continue,
                _ => {}
            }
        }
        return failed(host, relay, server, &visitor.caller, &halt, line).await;
    }
}

/// The request with the token that there is now.
async fn attempt<H: Host>(
    host: &H,
    relay: &Relay<'_>,
    server: &Server<'_>,
    visitor: &mut Visitor,
    own: &str,
    fit: &Fit<'_>,
    line: &mut Line<'_, H>,
) -> Result<(), Halt> {
    let token = match visitor.standing(server) {
        Standing::Open(token) => token.cloned(),
        Standing::Closed(outcome) => {
            line.answer(connections::closed(relay, server, outcome)).await;
            return Ok(());
        }
    };
    // A call that is held goes on with these while the visitor gets another token.
    let met = std::mem::take(&mut visitor.caller.met);
    let caller = Caller { met, ..visitor.caller.clone() };
    let link = Link { server, token: token.as_ref(), caller: &caller, profile: relay.client.profile() };
    let done = match exchange(host, relay, link, own, fit, line).await {
        Ok(None) => Ok(()),
        Ok(Some(call)) => Box::pin(held::hold(host, relay, server, visitor, call, fit, line)).await.map_err(Halt::from),
        Err(halt) => Err(halt),
    };
    visitor.caller.met = caller.met;
    done
}

/// The request upstream and its answer back, as often as the upstream wants more input. Returns a call that is not
/// over, if its client has to be asked by a result.
async fn exchange<'c, 'h: 'c, H: Host>(
    host: &'c H,
    relay: &'c Relay<'c>,
    link: Link<'c>,
    own: &str,
    fit: &Fit<'_>,
    line: &mut Line<'h, H>,
) -> Result<Option<Interrupted<'c, H>>, Halt> {
    let method = &*relay.request.method;
    if let "resources/subscribe" | "resources/unsubscribe" = method {
        let is_modern = matches!(line.wait(pin!(upstream::peer(host, link))).await??, Peer::Modern(_));
        let can = !is_modern || line.wait(pin!(upstream::facts(host, link))).await??.says("resources", "subscribe");
        // A legacy server keeps it itself; here it is needed for the name by which the client watches.
        if can && (is_modern || fit.named) {
            let name = relay.handle.as_ref().map_or(own, |handle| &handle.value);
            subscriptions::note(host, link, own, name, method == "resources/subscribe");
        }
        if is_modern {
            let answer = match can {
                true => relay.client.result(relay.request.id, ""),
                false => relay.client.error(relay.request.id, jsonrpc::METHOD_NOT_FOUND, "Method not found"),
            };
            line.answer(answer).await;
            return Ok(None);
        }
    }
    // To a server without the extension these are unknown methods, and here they are known ones.
    if fit.named && skills::is_method(method) && !line.wait(pin!(skills::are_at(host, link, method))).await?? {
        unknown(relay, line).await;
        return Ok(None);
    }
    let long = match &relay.handle {
        Some(handle) if matches!(handle.by, By::Tool | By::Prompt) && names::is_short(&handle.value) => {
            line.wait(pin!(lists::long_name(host, link, handle.by, &handle.value))).await?
        }
        _ => None,
    };
    let own = long.as_deref().unwrap_or(own);
    if method == "tools/call" && link.server.limits_tools() {
        match line.wait(Box::pin(listed::verdict(host, link, own))).await?? {
            Verdict::Allowed => {}
            Verdict::Held => {
                line.answer(relay.client.result(relay.request.id, &pins::refusal(own, link.server))).await;
                return Ok(None);
            }
            Verdict::Unknown => {
                unknown(relay, line).await;
                return Ok(None);
            }
        }
    }
    let key = relay.client.session().map_or_else(|| nonce(host), |session| request_key(session, relay.request.id));
    let key = quoted(&key);
    if askable_call::may_be(relay, link.profile)
        && let Some(place) = Box::pin(askable_call::find(host, link, line)).await?
    {
        return Box::pin(askable_call::make(host, relay, link, place, (own, key), fit, line)).await;
    }
    let mut input = Input::default();
    let mut listed = false;
    // A call that is made again with answers is another request, with an id of its own (2026-07-28).
    let mut again = None;
    let outlives = line.outlives();
    for _ in 0..MOST_ROUNDS {
        let met = RefCell::new(None);
        let id = |peer: &Peer| match &again {
            Some(id) => String::clone(id),
            None if peer.shares_ids() => key.clone(),
            None => relay.request.id.to_owned(),
        };
        let write = |peer: &Peer| {
            met.replace(Some(peer.clone()));
            // A legacy client's disconnect cancels nothing, and that of a modern server's client does.
            outlives.set(!relay.client.is_modern() && matches!(peer, Peer::Modern(_)));
            write(relay, link, own, &id(peer), &input, peer)
        };
        let sent = line.wait(pin!(upstream::exchange(host, link, &write))).await;
        let Answered { peer, content } = match sent {
            Ok(Ok(answered)) => answered,
            Ok(Err(failure)) => {
                if let Some(peer) = met.take() {
                    give_up(host, link, &peer, &id(&peer), &failure).await;
                }
                return Err(failure.into());
            }
            Err(stopped) => {
                if let Some(peer) = met.take() {
                    withdraw(host, relay.client, relay.request.id, link, (&peer, &id(&peer)), stopped).await;
                }
                return Err(stopped.into());
            }
        };
        if let (Peer::Modern(modern), Content::Error(_, body), false) =
            (&peer, &content, listed || repeats_arguments(relay))
            && says_mismatch(body)
        {
            listed = true;
            let headers = line.wait(pin!(lists::header_parameters(host, link))).await??;
            let learnt = upstream::Modern { headers: Some(headers), ..modern.clone() };
            memory::keep(host, link, &Peer::Modern(learnt));
            continue;
        }
        let asked = id(&peer);
        let same_era = relay.client.is_modern() == matches!(peer, Peer::Modern(_));
        let fit = Fit { asked: &asked, renamed: asked != relay.request.id, same_era, ..*fit };
        match deliver(line, link, &peer, content, &fit).await {
            Ok(Delivered::Done) => return Ok(None),
            Ok(Delivered::Asks(questions, messages)) => {
                let talk = Conversation::of(host, link, peer, messages);
                return Ok(Some(Interrupted { id: asked, questions, talk }));
            }
            Ok(Delivered::Wants(result)) => {
                input = ask(host, line, link, &result).await?;
                again = Some(quoted(&nonce(host)));
            }
            Err(Halt::Stopped(stopped)) => {
                withdraw(host, relay.client, relay.request.id, link, (&peer, &asked), stopped).await;
                return Err(stopped.into());
            }
            Err(Halt::Failed(failure)) => {
                give_up(host, link, &peer, &asked, &failure).await;
                return Err(failure.into());
            }
        }
    }
    Err(Failure::AsksTooMuch.into())
}

/// The client's message as `peer` is to get it: the server's own name for what is meant, and what the peer's era writes
/// differently.
pub fn write<'w>(
    relay: &'w Relay<'_>,
    link: Link<'_>,
    own: &'w str,
    id: &str,
    input: &Input,
    peer: &Peer,
) -> Outgoing<'w> {
    let mut edits = Edits::new(relay.request.text);
    if let Some(handle) = &relay.handle
        && (handle.value != own || relay.inner.is_some())
    {
        edits.replace(handle.text, quoted(own));
    }
    if let Some(inner) = &relay.inner {
        edits.replace(inner.place, inner.arguments);
    }
    if id != relay.request.id {
        edits.replace(relay.request.id, id.to_owned());
    }
    let method = &*relay.request.method;
    let mut headers = relay.param_headers.clone();
    // `"params": null` says that there are none, and not every server reads it so.
    if relay.params.is_none()
        && let Ok(message) = Object::parse(relay.request.text)
        && matches!(peer, Peer::Legacy(_))
    {
        edits.rework(&message, &["params"], "");
    }
    match peer {
        Peer::Legacy(_) => upstream::legacy::write(relay, &mut edits),
        Peer::Modern(modern) => {
            upstream::modern::write(relay, modern, link.profile, input, &mut edits);
            let params = relay.params.as_ref();
            if let (Some(known), false, "tools/call") = (&modern.headers, repeats_arguments(relay), method) {
                headers = upstream::params::repeated(known, own, relay.arguments().as_ref());
            }
            // What answers a request of the gateway's own is not for the upstream.
            if let Some(params) = params
                && matches!(params.string("requestState"), Ok(Some(state)) if state == OWN_STATE)
            {
                edits.rework(params, &["inputResponses", "requestState"], "");
            }
        }
    }
    let is_named = matches!(method, "tools/call" | "prompts/get" | "resources/read") || method.starts_with("tasks/");
    Outgoing { method, name: (is_named && relay.handle.is_some()).then_some(own), headers, body: edits.apply() }
}

/// Returns true if the request is about a URI that says whose it is.
fn names_server(relay: &Relay<'_>) -> bool {
    let handle = relay.handle.as_ref().filter(|handle| matches!(handle.by, By::Uri | By::Skill));
    handle.is_some_and(|handle| names::split_uri(&handle.value).is_some())
}

/// Returns true if the client knows itself which arguments have to be repeated in headers: it does of a tool that it was
/// shown.
fn repeats_arguments(relay: &Relay<'_>) -> bool {
    relay.client.is_modern() && relay.inner.is_none()
}

/// Asks a legacy client for what the result of a modern upstream wants, and waits for its answers.
pub async fn ask<H: Host>(host: &H, line: &mut Line<'_, H>, link: Link<'_>, result: &str) -> Result<Input, Halt> {
    let wanted = Object::parse(result).map_err(|_| Failure::NotMcp)?;
    let state = wanted.find("requestState").map(str::to_owned);
    let requests = wanted.object("inputRequests").map_err(|_| Failure::NotMcp)?;
    let mut open = Vec::new();
    for (key, text) in requests.iter().flat_map(Object::members) {
        let request = Object::parse(text).map_err(|_| Failure::NotMcp)?;
        decisive::message(&request).map_err(|_| Failure::NotMcp)?;
        let method = request.find("method").ok_or(Failure::NotMcp)?;
        let (method, params) = upstream::said(&request, method)?;
        if !line.takes_events() || open.len() == MOST_ASKED || !link.profile.can.allow(&method, params.as_ref()) {
            return Err(Failure::AsksTooMuch.into());
        }
        let name = asks::own(&nonce(host));
        line.say(&question(&name, &method, params.as_ref()));
        open.push((key, name));
    }
    if open.is_empty() {
        line.wait(pin!(host.sleep(PAUSE))).await?;
        return Ok(Input { responses: None, state });
    }
    let mut responses = Vec::with_capacity(open.len());
    for (key, name) in open {
        let answer = line.wait(pin!(fetched(host, link.caller, &name))).await?.ok_or(Failure::NoAnswer)?;
        let answer = Object::parse(&answer).map_err(|_| Failure::NoAnswer)?;
        let result = answer.get("result").ok().flatten().ok_or(Failure::NoAnswer)?;
        responses.push([&quoted(key), ":", result].concat());
    }
    Ok(Input { responses: Some(["{", &responses.join(","), "}"].concat()), state })
}

/// A request of the gateway's own to a legacy client. A link needs a name in that era, and has none in the other.
fn question(name: &str, method: &str, params: Option<&Object<'_>>) -> Vec<u8> {
    let mut params_text = Cow::Borrowed(params.map_or("{}", Object::text));
    if let Some(params) = params.filter(|params| matches!(params.string("mode"), Ok(Some(mode)) if mode == "url")) {
        let mut edits = Edits::new(params.text());
        edits.rework(params, &["elicitationId"], &format!(r#""elicitationId":{}"#, quoted(name)));
        if let Ok(made) = String::from_utf8(edits.apply()) {
            params_text = Cow::Owned(made);
        }
    }
    let (id, method) = (quoted(name), quoted(method));
    format!(r#"{{"jsonrpc":"2.0","id":{id},"method":{method},"params":{params_text}}}"#).into_bytes()
}

/// The client's answer to the request called `name`. `None` if it takes too long.
async fn fetched<H: Host>(host: &H, caller: &Caller, name: &str) -> Option<String> {
    let mut waited = Duration::ZERO;
    let mut pause = FIRST_LOOK;
    while waited < ASK_PATIENCE {
        host.sleep(pause).await;
        if let Some(answer) = letters::fetch(host, caller, name) {
            return Some(answer);
        }
        waited += pause;
        pause = (pause * 2).min(LAST_LOOK);
    }
    None
}

/// Cancels the request `id` of `client` at a legacy upstream. A modern one sees
/// that by its connection. `asked`: the upstream, and the id that it knows the request by.
pub async fn withdraw<H: Host>(
    host: &H,
    client: Client,
    id: &str,
    link: Link<'_>,
    (peer, asked): (&Peer, &str),
    stopped: Stopped,
) {
    let is_cancelled = match stopped {
        Stopped::Cancelled => true,
        Stopped::Replaced => false,
        // Legacy: "a disconnect SHOULD NOT be interpreted as the client cancelling".
        Stopped::Gone => client.is_modern() || is_cancelled_later(host, &client, id, link).await,
    };
    if is_cancelled {
        cancel(host, link, peer, asked).await;
    }
}

/// Tells a legacy upstream that the gateway does not wait for its answer any more, if `failure` leaves it at work
/// (S/2025-11-25/basic/lifecycle, "Timeouts").
async fn give_up<H: Host>(host: &H, link: Link<'_>, peer: &Peer, id: &str, failure: &Failure) {
    if failure.leaves_it_at_work() {
        within(host, upstream::NOTICE, pin!(cancel(host, link, peer, id))).await;
    }
}

async fn cancel<H: Host>(host: &H, link: Link<'_>, peer: &Peer, id: &str) {
    upstream::tell(host, link, peer, jsonrpc::cancelled(id)).await;
}

/// Returns true if a legacy client that has gone says in the next seconds that it has cancelled: it does so by another
/// connection.
async fn is_cancelled_later<H: Host>(host: &H, client: &Client, id: &str, link: Link<'_>) -> bool {
    let Some(session) = client.session() else { return false };
    let name = cancellation(session, id);
    for _ in 0..LAST_WORDS {
        if let Some(word) = letters::fetch(host, link.caller, &name) {
            // Any other word is that of a stream which goes on with the request.
            return word.is_empty();
        }
        host.sleep(LAST_LOOK).await;
    }
    false
}

pub async fn stop<H: Host>(line: &mut Line<'_, H>, stopped: Stopped) {
    // "Receivers SHOULD NOT send a response for the cancelled request": the stream just ends.
    if stopped == Stopped::Cancelled {
        line.end().await;
    }
}

async fn unknown<H: Host>(relay: &Relay<'_>, line: &mut Line<'_, H>) {
    let name = relay.handle.as_ref().map_or("", |handle| &handle.value);
    if relay.inner.is_some() {
        // The model has written this call, so the model is told.
        return line.answer(relay.client.result(relay.request.id, &finding::no_such(name))).await;
    }
    let (code, message) = match relay.handle.as_ref().map(|handle| handle.by) {
        Some(By::Tool) => (jsonrpc::INVALID_PARAMS, format!("Unknown tool: {name}")),
        Some(By::Prompt) => (jsonrpc::INVALID_PARAMS, format!("Unknown prompt: {name}")),
        Some(By::Task) => (jsonrpc::INVALID_PARAMS, format!("Unknown task: {name}")),
        Some(By::Skill) => (jsonrpc::INVALID_PARAMS, format!("Skill not found: {name}")),
        Some(By::Uri) => {
            let code = relay.client.dialect().fit_code("resources/read", jsonrpc::INVALID_PARAMS);
            (code, format!("Resource not found: {name}"))
        }
        None => (jsonrpc::METHOD_NOT_FOUND, "Method not found".to_owned()),
    };
    line.answer(relay.client.error(relay.request.id, code, &message)).await;
}

async fn failed<H: Host>(
    host: &H,
    relay: &Relay<'_>,
    server: &Server<'_>,
    caller: &Caller,
    failure: &Failure,
    line: &mut Line<'_, H>,
) {
    host.log(&format!("gateway: {} at {}: {failure}", relay.request.method, server.prefix));
    let link = Link { server, token: None, caller, profile: relay.client.profile() };
    health::failed(host, link, failure);
    let message = format!("The server {} could not be called: {failure}.", server.name);
    let is_tool = relay.request.method == "tools/call";
    let answer = if is_tool {
        relay.client.result(relay.request.id, &tool_error(&message))
    } else {
        relay.client.error(relay.request.id, jsonrpc::INTERNAL_ERROR, &message)
    };
    line.answer(answer).await;
}

/// Members of a result that tells the model what went wrong.
pub fn tool_error(message: &str) -> String {
    format!(r#""content":[{{"type":"text","text":{}}}],"isError":true"#, quoted(message))
}

/// The id of a request in a session that several clients share, where their own ids could meet (a server of the
/// TypeScript SDK would then answer one client with another's result).
fn request_key(session: &Session, id: &str) -> String {
    let digest = Sha256::new().chain_update(session.nonce).chain_update(id).finalize();
    Base64UrlUnpadded::encode_string(digest.first_chunk::<12>().unwrap_or(&[0; 12]))
}

/// To whom a letter is that says that the client of `session` has cancelled its request `id`.
pub fn cancellation(session: &Session, id: &str) -> String {
    ["cancel.", &request_key(session, id)].concat()
}

pub fn nonce(host: &impl Host) -> String {
    let mut nonce = [0; 16];
    host.random(&mut nonce);
    Base64UrlUnpadded::encode_string(&nonce)
}

fn says_mismatch(body: &[u8]) -> bool {
    let message = std::str::from_utf8(body).ok().and_then(|body| Object::parse(body).ok());
    message.and_then(|message| upstream::error_code(&message)) == Some(HEADER_MISMATCH)
}
