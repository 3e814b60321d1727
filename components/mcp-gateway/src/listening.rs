//! How does a client hear of what happens outside of its requests?
//!
//! Modern: `subscriptions/listen`, with what it wants to hear of. Legacy: GET, on which the server says what it likes.
//! Towards the servers it is the same: one stream to each that can say something, `subscriptions/listen` with what was
//! asked for and is announced there, or GET (and `resources/subscribe` for each URI). What they say is merged as it
//! comes. What a server did not accept is not acknowledged; a legacy client whose servers have nothing to say gets 405,
//! which its era has for that. What a legacy client subscribes to at a modern server while it listens is listened for
//! anew (`subscriptions`), and said once to have been updated, because it may have been in between. The stream ends when
//! all of theirs have ended, and after half an hour at the latest: clients come again.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::future::poll_fn;
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use crate::concurrent::join_all;
use http::{Method, StatusCode};

use crate::config::Server;
use crate::eras::{By, Listen, Relay, Site, Target};
use crate::fit::{Fit, Fitted};
use crate::host::{Host, within};
use crate::owners::Owner;
use crate::passage::{Line, Stopped};
use crate::session::Profile;
use crate::subscriptions::{UPDATED, Watched};
use crate::upstream::{self, Link, Messages, Peer, legacy, modern};
use crate::visitor::{Standing, Visitor};
use crate::{decisive, jsonrpc, lists, owners, relay, routes, subscriptions};
use json::{Edits, Object, quoted};

const DEADLINE: Duration = Duration::from_secs(5);
const LONGEST: Duration = Duration::from_secs(30 * 60);
/// Between two looks for what a legacy client has subscribed to.
const LOOK: Duration = Duration::from_secs(2);
pub const SUBSCRIPTION: &str = "io.modelcontextprotocol/subscriptionId";

/// What is listened for, as flags of `notifications` and the notifications that they stand for.
const FLAGS: [(&str, &str, &str); 3] = [
    ("toolsListChanged", "tools", "notifications/tools/list_changed"),
    ("promptsListChanged", "prompts", "notifications/prompts/list_changed"),
    ("resourcesListChanged", "resources", "notifications/resources/list_changed"),
];

#[derive(Default, Clone)]
struct Filter {
    flags: [bool; 3],
    uris: Vec<Watched>,
}

/// One server's stream.
struct Stream<'a, H: Host> {
    link: Link<'a>,
    peer: Peer,
    /// Whether the session is this stream's own.
    has_own: bool,
    filter: Filter,
    /// None: there is nothing to listen for yet.
    messages: Option<Messages<H>>,
    /// Whether it can change what is listened for.
    may_change: bool,
}

pub async fn listen<H: Host>(
    host: &H,
    listen: Listen<'_>,
    site: &Site<'_>,
    servers: &[Server<'_>],
    visitor: &mut Visitor,
    line: &mut Line<'_, H>,
) {
    let listen = match passed_on(host, listen, site, visitor).await {
        Ok(relay) => {
            if let Err(refusal) = line.sit(&visitor.caller, site.config.streams).await {
                return line.answer(refusal).await;
            }
            relay::relay(host, &relay, site, servers, visitor, line).await;
            return line.stand_up();
        }
        Err(listen) => listen,
    };
    let profile = listen.client.profile();
    let wanted = match &listen.filter {
        Some(filter) => by_server(host, filter, site, servers, visitor, profile).await,
        None => vec![Filter { flags: [true; 3], uris: Vec::new() }; servers.len()],
    };
    let visitor = &*visitor;
    let opened = servers.iter().zip(wanted).map(async |(server, filter)| {
        let Standing::Open(token) = visitor.standing(server) else { return None };
        let link = Link { server, token, caller: &visitor.caller, profile };
        within(host, DEADLINE, open(host, link, &listen, filter)).await?
    });
    let mut streams: Vec<Stream<'_, H>> = join_all(opened).await.into_iter().flatten().collect();

    if listen.request.is_none() && streams.is_empty() {
        return line.answer(routes::not_allowed(&[Method::POST])).await;
    }
    let seated = line.sit(&visitor.caller, site.config.streams).await;
    let mut gone = false;
    if seated.is_ok() {
        if let Some(request) = &listen.request {
            line.say(&acknowledged(request.id, &streams));
        }
        gone = merge(host, &listen, &mut streams, line, !site.is_single()).await;
        line.stand_up();
    }
    for stream in &streams {
        within(host, DEADLINE, stream.close(host)).await;
    }
    if gone {
        return;
    }
    if let Err(refusal) = seated {
        return line.answer(refusal).await;
    }
    match &listen.request {
        Some(request) => {
            let result = format!(r#"{{"resultType":"complete","_meta":{{"{SUBSCRIPTION}":{}}}}}"#, request.id);
            line.answer(jsonrpc::respond(StatusCode::OK, jsonrpc::result(request.id, &result))).await;
        }
        None => line.end().await,
    }
}

/// Where there is only one server and it is of the client's own era, it does all of this itself.
async fn passed_on<'a, H: Host>(
    host: &H,
    listen: Listen<'a>,
    site: &Site<'a>,
    visitor: &Visitor,
) -> Result<Relay<'a>, Listen<'a>> {
    let server = match site.servers().pop() {
        Some(server) if site.is_single() && listen.client.is_modern() => server,
        _ => return Err(listen),
    };
    let Standing::Open(token) = visitor.standing(&server) else { return Err(listen) };
    let link = Link { server: &server, token, caller: &visitor.caller, profile: listen.client.profile() };
    let peer = within(host, DEADLINE, upstream::peer(host, link)).await;
    if !matches!(peer, Some(Ok(Peer::Modern(_)))) {
        return Err(listen);
    }
    let Listen { client, request: Some(mut request), .. } = listen else { return Err(listen) };
    let target = Target::Server { server: Box::new(server), own: String::new() };
    let params = request.params.take();
    Ok(Relay { client, request, params, handle: None, inner: None, target, param_headers: Vec::new() })
}

/// What a modern client wants to hear of, by the server that would say it.
async fn by_server<H: Host>(
    host: &H,
    filter: &Object<'_>,
    site: &Site<'_>,
    servers: &[Server<'_>],
    visitor: &mut Visitor,
    profile: Profile,
) -> Vec<Filter> {
    let flags = FLAGS.map(|(flag, ..)| filter.find(flag) == Some("true"));
    let mut wanted = vec![Filter { flags, uris: Vec::new() }; servers.len()];
    let uris = filter.find("resourceSubscriptions").and_then(json::array).unwrap_or_default();
    let mut claims = None;
    for uri in uris.into_iter().filter_map(json::string).take(subscriptions::MOST_URIS) {
        let (at, own) = match site.target(By::Uri, &uri) {
            Target::Server { server, own } => (servers.iter().position(|other| other.prefix == server.prefix), own),
            Target::SomeServers => {
                let claims = match &mut claims {
                    Some(claims) => claims,
                    none => none.insert(owners::gather(host, servers, visitor, profile, None).await),
                };
                // What several servers claim is not listened for, and so not acknowledged.
                let Owner::One(at) = claims.owner(&uri) else { continue };
                (Some(at), uri.to_string())
            }
            Target::Own(_) | Target::Unknown => continue,
        };
        if let Some(filter) = at.and_then(|at| wanted.get_mut(at)) {
            filter.uris.push((own, uri.into_owned()));
        }
    }
    wanted
}

/// Opens the stream of one server, for what it says that it announces; none where that is nothing.
async fn open<'a, H: Host>(host: &H, link: Link<'a>, listen: &Listen<'_>, mut filter: Filter) -> Option<Stream<'a, H>> {
    let facts = upstream::facts(host, link).await.ok()?;
    for (set, (_, capability, _)) in filter.flags.iter_mut().zip(FLAGS) {
        *set &= facts.says(capability, "listChanged");
    }
    let subscribes = facts.says("resources", "subscribe");
    if !subscribes {
        filter.uris.clear();
    }
    let is_asked = listen.request.is_some();
    let may_change = !is_asked && facts.modern && subscribes;
    if may_change {
        filter.uris = subscriptions::noted(host, link);
    }
    if (is_asked || facts.modern) && filter.is_empty() && !may_change {
        return None;
    }
    let peer = upstream::peer(host, link).await.ok()?;
    match &peer {
        Peer::Legacy(session) => {
            let (messages, own) = legacy::listen(host, link, session).await.ok()??;
            for (uri, _) in &filter.uris {
                let session = own.as_ref().unwrap_or(session);
                within(host, DEADLINE, legacy::subscribe(host, link, session, "resources/subscribe", uri)).await;
            }
            let has_own = own.is_some();
            let peer = own.map_or(peer, Peer::Legacy);
            Some(Stream { link, peer, has_own, filter, messages: Some(messages), may_change: false })
        }
        Peer::Modern(_) => {
            // Its messages are named by the id, so the client's own makes them what the client gets.
            let id = listen.request.as_ref().map_or("0", |request| request.id);
            let messages = open_modern(host, link, id, &mut filter).await;
            let is_open = may_change || messages.is_some();
            is_open.then_some(Stream { link, peer, has_own: false, filter, messages, may_change })
        }
    }
}

async fn open_modern<H: Host>(host: &H, link: Link<'_>, id: &str, filter: &mut Filter) -> Option<Messages<H>> {
    if filter.is_empty() {
        return None;
    }
    let mut messages = modern::listen(host, link, id, &filter.write(|(own, _)| own)).await.ok()??;
    let accepted = messages.next().await.ok()??;
    filter.keep_accepted(&accepted)?;
    Some(messages)
}

impl<H: Host> Stream<'_, H> {
    /// The next message; none at the end of the stream.
    async fn next(&mut self, host: &H) -> Option<String> {
        loop {
            let Some(messages) = &mut self.messages else {
                host.sleep(LOOK).await;
                if let Some(said) = self.look(host).await {
                    return Some(said);
                }
                continue;
            };
            if !self.may_change {
                return messages.next().await.ok()?;
            }
            match within(host, LOOK, messages.next()).await {
                Some(next) => return next.ok()?,
                None => {
                    if let Some(said) = self.look(host).await {
                        return Some(said);
                    }
                }
            }
        }
    }

    /// What a legacy server is told at the end; a modern one sees its stream closed.
    async fn close(&self, host: &H) {
        match &self.peer {
            Peer::Legacy(session) if self.has_own => legacy::end(host, self.link, session).await,
            Peer::Legacy(session) => {
                for (uri, _) in &self.filter.uris {
                    legacy::subscribe(host, self.link, session, "resources/unsubscribe", uri).await;
                }
            }
            Peer::Modern(_) => {}
        }
    }

    /// Listens anew when something else is subscribed to; gives what is then to be said.
    async fn look(&mut self, host: &H) -> Option<String> {
        let noted = subscriptions::noted(host, self.link);
        if noted == self.filter.uris {
            return None;
        }
        let added = noted.iter().find(|uri| !self.filter.uris.contains(uri)).cloned();
        let mut filter = Filter { flags: self.filter.flags, uris: Vec::new() };
        filter.uris = noted;
        self.messages = within(host, DEADLINE, open_modern(host, self.link, "0", &mut filter)).await.flatten();
        self.filter = filter;
        let uri = quoted(&added?.0);
        Some(format!(r#"{{"jsonrpc":"2.0","method":"{UPDATED}","params":{{"uri":{uri}}}}}"#))
    }
}

impl Filter {
    fn is_empty(&self) -> bool {
        self.flags == [false; 3] && self.uris.is_empty()
    }

    /// As the members of `notifications`.
    fn write(&self, name: impl Fn(&Watched) -> &String) -> String {
        let mut members: Vec<String> = FLAGS
            .iter()
            .zip(self.flags)
            .filter(|(_, set)| *set)
            .map(|((flag, ..), _)| format!("\"{flag}\":true"))
            .collect();
        if !self.uris.is_empty() {
            let uris: Vec<String> = self.uris.iter().map(|uri| quoted(name(uri))).collect();
            members.push(format!("\"resourceSubscriptions\":[{}]", uris.join(",")));
        }
        members.join(",")
    }

    /// Keeps what `message` acknowledges; none when it is something else.
    fn keep_accepted(&mut self, message: &str) -> Option<()> {
        let message = Object::parse(message).ok()?;
        decisive::message(&message).ok()?;
        let (method, params) = upstream::said(&message, message.find("method")?).ok()?;
        if method != "notifications/subscriptions/acknowledged" {
            return None;
        }
        let accepted = params?.object("notifications").ok()??;
        for (set, (flag, ..)) in self.flags.iter_mut().zip(FLAGS) {
            *set &= accepted.find(flag) == Some("true");
        }
        let uris = accepted.find("resourceSubscriptions").and_then(json::array).unwrap_or_default();
        let uris: Vec<_> = uris.into_iter().filter_map(json::string).collect();
        self.uris.retain(|(own, _)| uris.iter().any(|uri| uri == own));
        Some(())
    }

    /// Whether a notification was asked for.
    fn lets_through(&self, method: &str) -> bool {
        FLAGS.iter().zip(self.flags).any(|((.., said), set)| set && *said == method)
            || (method == UPDATED && !self.uris.is_empty())
    }
}

fn acknowledged<H: Host>(id: &str, streams: &[Stream<'_, H>]) -> Vec<u8> {
    let mut all = Filter::default();
    for Stream { filter, .. } in streams {
        for (set, more) in all.flags.iter_mut().zip(filter.flags) {
            *set |= more;
        }
        all.uris.extend_from_slice(&filter.uris);
    }
    format!(
        r#"{{"jsonrpc":"2.0","method":"notifications/subscriptions/acknowledged","params":{{"notifications":{{{}}},"_meta":{{"{SUBSCRIPTION}":{id}}}}}}}"#,
        all.write(|(_, client)| client)
    )
    .into_bytes()
}

/// Passes on what the servers say until all have ended. `named`: there may be several, so that each speaks of its own
/// things alone. True: the client has gone.
async fn merge<H: Host>(
    host: &H,
    listen: &Listen<'_>,
    streams: &mut [Stream<'_, H>],
    line: &mut Line<'_, H>,
    named: bool,
) -> bool {
    let said = RefCell::new(VecDeque::new());
    let about: Vec<(Link<'_>, Peer, Filter)> =
        streams.iter().map(|stream| (stream.link, stream.peer.clone(), stream.filter.clone())).collect();
    let mut all = pin!(join_all(streams.iter_mut().enumerate().map(async |(at, stream)| {
        while let Some(message) = stream.next(host).await {
            said.borrow_mut().push_back((at, message));
            // One from each before the next: the client decides how fast it goes.
            let mut lent = false;
            poll_fn(|_| if std::mem::replace(&mut lent, true) { Poll::Ready(()) } else { Poll::Pending }).await;
        }
    })));
    let mut over = false;
    let end = host.now() + LONGEST.as_secs();
    if line.begin().await.is_err() {
        return true;
    }
    loop {
        let next = poll_fn(|context| {
            over = over || all.as_mut().poll(context).is_ready();
            match said.borrow_mut().pop_front() {
                None if !over => Poll::Pending,
                next => Poll::Ready(next),
            }
        });
        // A clock that is set back makes no wait longer.
        let left = Duration::from_secs(end.saturating_sub(host.now())).min(LONGEST);
        let (at, message) = match line.wait(within(host, left, next)).await {
            Ok(Some(Some(next))) => next,
            // Another stream has its seat.
            Ok(_) | Err(Stopped::Cancelled) => return false,
            Err(Stopped::Gone) => return true,
        };
        let Some((link, peer, filter)) = about.get(at) else { continue };
        let fitted = match &listen.request {
            Some(request) => heard(request.id, peer, filter, message, named),
            None => fit(listen, link, named).message(message).unwrap_or(Fitted::NotForThisClient),
        };
        match fitted {
            Fitted::Updated(text) => {
                if let Some(text) = subscriptions::renamed(host, *link, text) {
                    line.say(text.as_bytes());
                }
            }
            Fitted::Said(text, changed) => {
                if let Some(kind) = changed {
                    lists::forget(host, *link, kind);
                }
                line.say(text.as_bytes());
            }
            Fitted::ForTheUpstream(reply) => {
                if line.wait(upstream::tell(host, *link, peer, reply)).await.is_err() {
                    return true;
                }
            }
            Fitted::Answer(_) | Fitted::Asks(_) | Fitted::Wants(_) | Fitted::NotForThisClient => {}
        }
    }
}

/// Between a legacy client's stream and what a server of any era says.
fn fit<'a>(listen: &Listen<'_>, link: &Link<'a>, named: bool) -> Fit<'a> {
    let Link { server, profile, .. } = *link;
    Fit {
        client: listen.client,
        id: "null",
        asked: "null",
        method: "",
        renamed: true,
        same_era: true,
        prefix: server.prefix,
        profile,
        names_tasks: false,
        names_uris: false,
        named,
        params: None,
    }
}

/// A message as a modern client gets it that listens as `id`.
fn heard(id: &str, peer: &Peer, filter: &Filter, text: String, named: bool) -> Fitted {
    let Ok(message) = Object::parse(&text) else { return Fitted::NotForThisClient };
    let Some(method) = message.find("method").filter(|_| decisive::message(&message).is_ok()) else {
        return Fitted::NotForThisClient;
    };
    let Ok((method, params)) = upstream::said(&message, method) else { return Fitted::NotForThisClient };
    if let Some(asked) = message.find("id") {
        return Fitted::ForTheUpstream(match &*method {
            "ping" => jsonrpc::result(asked, "{}"),
            _ => jsonrpc::error(Some(asked), jsonrpc::METHOD_NOT_FOUND, "Method not found", None),
        });
    }
    if !filter.lets_through(&method) {
        return Fitted::NotForThisClient;
    }
    let changed = lists::Kind::changed_by(&method);
    let mut edits = Edits::new(&text);
    let uri = params.as_ref().and_then(|params| params.find("uri"));
    if let Some(uri) = uri.filter(|_| named && method == UPDATED) {
        let name = json::string(uri).and_then(|own| Some((subscriptions::name_of(&filter.uris, &own)?, own)));
        match name {
            Some((name, own)) if name == own => {}
            Some((name, _)) => edits.replace(uri, quoted(&name)),
            // It is not the server's to say.
            None => return Fitted::NotForThisClient,
        }
    }
    if matches!(peer, Peer::Legacy(_)) {
        let named = format!(r#""{SUBSCRIPTION}":{id}"#);
        match (&params, params.as_ref().map(|params| params.object("_meta"))) {
            (_, Some(Ok(Some(meta)))) => edits.rework(&meta, &[SUBSCRIPTION], &named),
            (Some(params), _) => edits.rework(params, &["_meta"], &format!(r#""_meta":{{{named}}}"#)),
            (None, _) => edits.rework(&message, &["params"], &format!(r#""params":{{"_meta":{{{named}}}}}"#)),
        }
    }
    match String::from_utf8(edits.apply()) {
        Ok(made) => Fitted::Said(made, changed),
        Err(_) => Fitted::NotForThisClient,
    }
}
