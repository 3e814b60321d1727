//! Tells a client what happens outside of its requests.
//!
//! Modern: `subscriptions/listen`, with what it wants to hear of. Legacy: GET, on which the server says what it likes.
//! Towards the servers it is the same: one stream to each that can say something, `subscriptions/listen` with what was
//! asked for and is announced there, or GET (and `resources/subscribe` for each URI). What they say is merged as it
//! comes. What a server did not accept is not acknowledged; a legacy client whose servers have nothing to say gets 405,
//! which its era has for that. What a legacy client subscribes to at a modern server while it listens is listened for
//! again (`subscriptions`), and said once to have been updated, because it may have been in between.
//!
//! A server's stream that ends is opened again (`stream`). That of the client ends when no server has one any more, and
//! after half an hour at the latest: clients come again.

mod stream;

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
use crate::memory::Facts;
use crate::owners::Owner;
use crate::passage::{Line, Stopped, pass_on};
use crate::resuming::Point;
use crate::session::Profile;
use crate::subscriptions::{UPDATED, Watched};
use crate::upstream::{self, Link, Peer};
use crate::visitor::{Standing, Visitor};
use crate::{decisive, jsonrpc, lists, owners, relay, resuming, routes, subscriptions};
use json::{Edits, Object, quoted};
use stream::{DEADLINE, Said, Stream};

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
pub struct Filter {
    flags: [bool; 3],
    uris: Vec<Watched>,
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
    let point = match resuming::resumed(host, &listen, site, servers, visitor) {
        Ok(point) => point,
        Err(refusal) => return line.answer(refusal).await,
    };
    if let (Some(point), [server]) = (&point, servers)
        && point.is_of_answer()
    {
        return resuming::resume(host, point, &listen, server, visitor, line).await;
    }
    listen_at(host, &listen, point, site, servers, visitor, line).await;
}

/// Listens at `servers` until all of their streams have ended, or the client's has.
async fn listen_at<H: Host>(
    host: &H,
    listen: &Listen<'_>,
    point: Option<Point>,
    site: &Site<'_>,
    servers: &[Server<'_>],
    visitor: &mut Visitor,
    line: &mut Line<'_, H>,
) {
    let profile = listen.client.profile();
    let wanted = match &listen.filter {
        Some(filter) => by_server(host, filter, site, servers, visitor, profile).await,
        None => vec![Filter { flags: [true; 3], uris: Vec::new() }; servers.len()],
    };
    let visitor = &*visitor;
    let opened = servers.iter().zip(wanted).map(async |(server, filter)| {
        let Standing::Open(token) = visitor.standing(server) else { return None };
        let link = Link { server, token, caller: &visitor.caller, profile };
        let last = point.as_ref().map(|point| point.event.clone());
        Stream::open(host, link, listen.request.as_ref().map(|request| request.id), filter, last).await
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
        gone = merge(host, listen, &mut streams, line, !site.is_single()).await;
        line.stand_up();
    }
    for stream in &streams {
        within(host, DEADLINE, pin!(stream.close())).await;
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

/// Returns the request as it passes to the only server, if that is of the client's own era: it does all of this itself.
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
    let peer = within(host, DEADLINE, pin!(upstream::peer(host, link))).await;
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

impl Filter {
    /// Takes out what the server does not announce.
    fn keep_announced(&mut self, facts: &Facts) {
        for (set, (_, capability, _)) in self.flags.iter_mut().zip(FLAGS) {
            *set &= facts.says(capability, "listChanged");
        }
        if !facts.says("resources", "subscribe") {
            self.uris.clear();
        }
    }

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

    /// Keeps what `message` acknowledges. `None` if it is something else.
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

    /// Returns true if a notification was asked for.
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
/// things alone. Returns true if the client has gone, and false if its stream has to end, also because another one has its
/// seat.
async fn merge<H: Host>(
    host: &H,
    listen: &Listen<'_>,
    streams: &mut [Stream<'_, H>],
    line: &mut Line<'_, H>,
    named: bool,
) -> bool {
    let said = RefCell::new(VecDeque::new());
    let mut all = pin!(join_all(streams.iter_mut().map(async |stream| {
        while let Some(next) = stream.next().await {
            said.borrow_mut().push_back((stream.link, stream.peer.clone(), stream.filter.clone(), next));
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
        let (link, peer, filter, Said { message, id }) = match line.wait(pin!(within(host, left, pin!(next)))).await {
            Ok(Some(Some(next))) => next,
            Ok(_) => return false,
            Err(stopped) => return stopped == Stopped::Gone,
        };
        resuming::mark(line, link, &peer, &fit(listen, link, named), id.as_deref());
        let Some(message) = message else { continue };
        let fitted = match &listen.request {
            Some(request) => heard(request.id, &peer, &filter, message, named),
            None => fit(listen, link, named).message(message).unwrap_or(Fitted::NotForThisClient),
        };
        if let Err(stopped) = pass_on(fitted, link, &peer, line).await {
            return stopped == Stopped::Gone;
        }
    }
}

/// Between a legacy client's stream and what a server of any era says.
fn fit<'a>(listen: &Listen<'_>, link: Link<'a>, named: bool) -> Fit<'a> {
    let Link { server, profile, .. } = link;
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
