//! Keeps the stream of one server open on which it says what happens outside of any request.
//!
//! A stream that ends is opened again, after a pause that grows for as long as none lasts, and from the last event on if the
//! server gave it an id. What says for good that there is no such stream (405 to GET, an unknown method) ends it. If the
//! server has lost its session, the session is renewed for all requests that share it, so that nothing is said in one
//! session while the client listens in another.
//!
//! A legacy server has one such stream in a session. If a legacy client comes again whose old stream is still open, the new
//! one waits until that is closed; if it is not closed in time, the old one is told to end (`letters`). Modern clients
//! share a session, so the second one listens in a session of its own, as does each that watches resources.

use std::pin::pin;
use std::time::Duration;

use super::{Filter, LONGEST, LOOK};
use crate::host::{Host, within};
use crate::memory::{self, Facts};
use crate::relay::nonce;
use crate::session::ClientEra;
use crate::subscriptions::{self, UPDATED, Watched};
use crate::upstream::legacy::{self, Opened};
use crate::upstream::{self, Content, Failure, Heard, Link, Messages, Peer, Session, messages, modern};
use crate::{letters, sessions};
use http::StatusCode;
use json::quoted;

/// For the first answer of one server.
pub const DEADLINE: Duration = Duration::from_secs(5);
/// Between two looks at whether a legacy client's stream is still the one of its session.
const LOOK_FOR_SESSION: Duration = Duration::from_secs(5);
/// A stream that was open for so long has lasted.
const LASTS_SECONDS: u64 = 60;
/// The same while another stream of the session is open; how often that is tried, and when the other one is told to end.
const TAKEN_PAUSE: Duration = Duration::from_millis(500);
const MOST_TAKEN: u32 = 40;
const TELL_TAKEN: u32 = 10;

/// One server's stream.
pub struct Stream<'a, H: Host> {
    host: &'a H,
    pub link: Link<'a>,
    /// The id by which a modern server names what it says.
    id: &'a str,
    pub peer: Peer,
    /// True if the session is this stream's own.
    has_own: bool,
    pub filter: Filter,
    /// `None` while it is not open, or if there is nothing to listen for yet.
    messages: Option<Messages<'a, H>>,
    /// True if the client can change what is listened for.
    may_change: bool,
    /// What the client subscribes to then. The server may accept less of it, which is in `filter`.
    noted: Vec<Watched>,
    /// The event after which it goes on.
    last: Option<String>,
    /// The pause that its server wants.
    retry: Option<Duration>,
    opened: u64,
    /// How often in a row it did not last or was not opened, and how often another stream was in its place.
    ended: u32,
    taken: u32,
    /// Its name in letters.
    name: String,
}

/// The next message of a server, and the id of its event.
pub struct Said {
    pub message: Option<String>,
    pub id: Option<String>,
}

impl<'a, H: Host> Stream<'a, H> {
    /// Opens the stream of one server, for what it says that it announces. `None` if that is nothing. `id`: of the request
    /// of a modern client. `last`: the event after which it goes on.
    pub async fn open(
        host: &'a H,
        link: Link<'a>,
        id: Option<&'a str>,
        mut filter: Filter,
        last: Option<String>,
    ) -> Option<Self> {
        let (facts, peer) = within(host, DEADLINE, pin!(meet(host, link))).await.flatten()?;
        filter.keep_announced(&facts);
        let subscribes = facts.says("resources", "subscribe");
        let may_change = id.is_none() && facts.modern && subscribes;
        let noted = if may_change { subscriptions::noted(host, link) } else { Vec::new() };
        if may_change {
            filter.uris.clone_from(&noted);
        }
        if (id.is_some() || facts.modern) && filter.is_empty() && !may_change {
            return None;
        }
        let mut stream = Self {
            host,
            link,
            id: id.unwrap_or("0"),
            peer,
            has_own: false,
            filter,
            messages: None,
            may_change,
            noted,
            last,
            retry: None,
            opened: host.now(),
            ended: 0,
            taken: 0,
            name: nonce(host),
        };
        stream.begin().await.then_some(stream)
    }

    /// Returns false if there is no such stream.
    async fn begin(&mut self) -> bool {
        if self.may_change && self.filter.is_empty() {
            return true;
        }
        let host = self.host;
        let is_shared = !self.is_of_client() && self.peer.shares_ids();
        if is_shared && !self.filter.uris.is_empty() {
            return within(host, DEADLINE, pin!(self.open_own())).await.unwrap_or(false);
        }
        let opened = within(host, DEADLINE, pin!(self.try_open())).await;
        match opened {
            Some(Opened::Open(messages)) => self.take(messages),
            Some(Opened::Never) => return false,
            Some(Opened::Taken) if is_shared => {
                return within(host, DEADLINE, pin!(self.open_own())).await.unwrap_or(false);
            }
            Some(Opened::Taken) => self.taken = 1,
            Some(Opened::Later) | None => {}
        }
        true
    }

    /// Returns true if the session is that of one legacy client.
    fn is_of_client(&self) -> bool {
        matches!(self.link.profile.client, ClientEra::Legacy(Some(_)))
    }

    /// The next that is said. `None` at the end of the stream.
    pub async fn next(&mut self) -> Option<Said> {
        loop {
            let Some(messages) = &mut self.messages else {
                if !self.may_change || !self.filter.is_empty() {
                    self.open_again().await?;
                    continue;
                }
                self.host.sleep(LOOK).await;
                if let Some(said) = self.look_for_subscriptions().await {
                    return Some(said);
                }
                continue;
            };
            let look = match self.peer.shares_ids() && !self.has_own {
                _ if self.may_change => LOOK,
                true => LOOK_FOR_SESSION,
                false => LONGEST,
            };
            let heard = within(self.host, look, pin!(messages.hear())).await;
            match heard {
                Some(Ok(Some(heard))) => {
                    let id = messages.new_id().map(str::to_owned);
                    let message = if let Heard::Message(message) = heard { Some(message) } else { None };
                    return Some(Said { message, id });
                }
                Some(_) => {
                    self.last = messages.id().map(str::to_owned).or(self.last.take());
                    self.retry = messages.retry();
                    self.drop_messages();
                }
                None if self.may_change => {
                    if let Some(said) = self.look_for_subscriptions().await {
                        return Some(said);
                    }
                }
                None => self.look_for_session()?,
            }
        }
    }

    /// Opens it again, as often as that takes. `None` if there is no such stream any more.
    async fn open_again(&mut self) -> Option<()> {
        loop {
            let pause = self.pause();
            self.host.sleep(pause).await;
            if !sessions::is_alive(self.host, self.link) {
                return None;
            }
            match self.try_open().await {
                Opened::Open(messages) => {
                    self.take(messages);
                    return Some(());
                }
                Opened::Never => return None,
                Opened::Later => self.taken = 0,
                Opened::Taken => {
                    self.taken += 1;
                    if self.taken == TELL_TAKEN && self.is_of_client() {
                        letters::post(self.host, self.link.caller, &self.letter(), &self.name);
                    }
                }
            }
        }
    }

    fn take(&mut self, messages: Messages<'a, H>) {
        self.messages = Some(messages);
        self.opened = self.host.now();
        self.taken = 0;
    }

    /// The stream is not open any more.
    fn drop_messages(&mut self) {
        self.messages = None;
        if self.host.now().abs_diff(self.opened) >= LASTS_SECONDS {
            self.ended = 0;
        }
    }

    /// The pause before it is opened again: as long as the server says, or longer, and not at the same moment as
    /// other clients.
    fn pause(&mut self) -> Duration {
        if (1..MOST_TAKEN).contains(&self.taken) {
            return TAKEN_PAUSE;
        }
        let pause = messages::pause(self.retry, self.ended);
        self.ended += 1;
        let mut random = [0];
        self.host.random(&mut random);
        pause * (512 + u32::from(random[0])) / 512
    }

    /// A modern server is asked again for all that it announces; a legacy one for the stream of the session.
    async fn try_open(&mut self) -> Opened<Messages<'a, H>> {
        match &self.peer {
            Peer::Modern(_) => sort(open_modern(self.host, self.link, self.id, &mut self.filter).await),
            Peer::Legacy(session) => {
                let mut session = session.clone();
                if let (false, Some(Peer::Legacy(known))) = (self.has_own, memory::recall_anew(self.host, self.link))
                    && known.id != session.id
                {
                    session = known;
                    self.last = None;
                }
                self.get(session).await
            }
        }
    }

    /// The stream of `session`, or of the one that takes its place if it is lost.
    async fn get(&mut self, mut session: Session) -> Opened<Messages<'a, H>> {
        let Self { host, link, .. } = *self;
        let mut content = legacy::open(host, link, &session, self.last.as_deref()).await;
        if self.last.is_some() && matches!(&content, Ok(Content::Error(status, _)) if !is_final(*status)) {
            // The server may know the session, and not the event.
            self.last = None;
            content = legacy::open(host, link, &session, None).await;
        }
        let may_be_lost = match &content {
            Ok(Content::Error(status, _)) => matches!(*status, StatusCode::NOT_FOUND | StatusCode::BAD_REQUEST),
            Err(failure) => matches!(failure, Failure::Refused | Failure::Forbidden),
            _ => false,
        };
        // Some servers answer so because they have no GET at all.
        if may_be_lost && session.id.is_some() && upstream::has_lost(host, link, &session).await {
            session = match self.renewed(session).await {
                Ok(session) => session,
                Err(failure) => return sort(Err(failure)),
            };
            self.last = None;
            content = legacy::open(host, link, &session, None).await;
        }
        let opened = legacy::sorted(content);
        self.peer = Peer::Legacy(session);
        match opened {
            Opened::Open(body) => Opened::Open(Messages::new(host, body)),
            Opened::Taken => Opened::Taken,
            Opened::Later => Opened::Later,
            Opened::Never => Opened::Never,
        }
    }

    /// A session in the place of one that is lost, in which the same is watched.
    async fn renewed(&self, lost: Session) -> Result<Session, Failure> {
        let session = match self.has_own {
            true => legacy::initialize(self.host, self.link, None, self.link.server.patience).await?.0,
            false => upstream::renew(self.host, self.link, lost).await?,
        };
        self.watch(&session).await;
        Ok(session)
    }

    /// A stream in a session of its own. Returns false if there is none.
    async fn open_own(&mut self) -> bool {
        let patience = self.link.server.patience;
        let Ok((own, _)) = legacy::initialize(self.host, self.link, None, patience).await else { return false };
        if let Ok(Content::Events(body)) = legacy::open(self.host, self.link, &own, None).await {
            self.watch(&own).await;
            self.has_own = own.id.is_some();
            self.peer = Peer::Legacy(own);
            self.take(Messages::new(self.host, body));
            return true;
        }
        legacy::end(self.host, self.link, &own).await;
        false
    }

    async fn watch(&self, session: &Session) {
        for (uri, _) in &self.filter.uris {
            let said = legacy::subscribe(self.host, self.link, session, "resources/subscribe", uri);
            within(self.host, DEADLINE, pin!(said)).await;
        }
    }

    /// Tells a legacy server that the stream is over. A modern one sees it closed.
    pub async fn close(&self) {
        match &self.peer {
            Peer::Legacy(session) if self.has_own => legacy::end(self.host, self.link, session).await,
            Peer::Legacy(session) => {
                for (uri, _) in &self.filter.uris {
                    legacy::subscribe(self.host, self.link, session, "resources/unsubscribe", uri).await;
                }
            }
            Peer::Modern(_) => {}
        }
    }

    /// Listens again if something else is subscribed to. Returns what the client is then told.
    async fn look_for_subscriptions(&mut self) -> Option<Said> {
        let noted = subscriptions::noted(self.host, self.link);
        if noted == self.noted {
            return None;
        }
        let added = noted.iter().find(|uri| !self.noted.contains(uri)).cloned();
        self.filter.uris.clone_from(&noted);
        self.noted = noted;
        let opened = open_modern(self.host, self.link, self.id, &mut self.filter);
        self.messages = within(self.host, DEADLINE, pin!(opened)).await.and_then(Result::ok).flatten();
        let uri = quoted(&added?.0);
        let message = format!(r#"{{"jsonrpc":"2.0","method":"{UPDATED}","params":{{"uri":{uri}}}}}"#);
        Some(Said { message: Some(message), id: None })
    }

    /// Looks whether this is still the stream of its session. `None` if another one takes its place.
    fn look_for_session(&mut self) -> Option<()> {
        if self.is_of_client() {
            let word = letters::fetch(self.host, self.link.caller, &self.letter());
            if word.is_some_and(|name| name != self.name) {
                return None;
            }
        }
        match (&self.peer, memory::recall_anew(self.host, self.link)) {
            (Peer::Legacy(own), Some(Peer::Legacy(known))) if known.id != own.id => {
                self.last = None;
                self.drop_messages();
            }
            (_, None) if !sessions::is_alive(self.host, self.link) => return None,
            _ => {}
        }
        Some(())
    }

    fn letter(&self) -> String {
        ["listen.", self.link.server.prefix, ".", &self.link.profile.name()].concat()
    }
}

/// The server's description of itself, and how it speaks. If it cannot be asked now, as it last did.
async fn meet<H: Host>(host: &H, link: Link<'_>) -> Option<(Facts, Peer)> {
    let facts = match upstream::facts(host, link).await {
        Ok(facts) => facts,
        Err(failure) if failure.may_pass() => memory::last_facts(host, link)?,
        Err(_) => return None,
    };
    Some((facts, upstream::peer(host, link).await.ok()?))
}

/// Error: it could not be asked. `None`: it does not do it.
async fn open_modern<'a, H: Host>(
    host: &'a H,
    link: Link<'_>,
    id: &str,
    filter: &mut Filter,
) -> Result<Option<Messages<'a, H>>, Failure> {
    if filter.is_empty() {
        return Ok(None);
    }
    let Some(mut messages) = modern::listen(host, link, id, &filter.write(|(own, _)| own)).await? else {
        return Ok(None);
    };
    let accepted = messages.next().await?;
    Ok(accepted.and_then(|accepted| filter.keep_accepted(&accepted)).map(|()| messages))
}

fn sort<M>(opened: Result<Option<M>, Failure>) -> Opened<M> {
    match opened {
        Ok(Some(messages)) => Opened::Open(messages),
        Err(failure) if failure.may_pass() => Opened::Later,
        Ok(None) | Err(_) => Opened::Never,
    }
}

fn is_final(status: StatusCode) -> bool {
    matches!(status, StatusCode::METHOD_NOT_ALLOWED | StatusCode::CONFLICT) || status.is_server_error()
}
