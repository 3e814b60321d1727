//! How does a call go on whose server asks in the middle of it, when the client can only answer with a new call?
//!
//! A legacy server asks on the stream of the call, and waits there. A modern client is asked by a result, with which its
//! call is over, and makes the call again with the answers (S/2026-07-28/basic/patterns/mrtr). So the instance that has
//! the server's stream gives that result and goes on: it *holds* the call. Whatever instance the call comes to again
//! finds in its `requestState` where the holder is, leaves the answers there (`shelf`), and waits for what the holder
//! reports: the server's answer, what it asks next, or why there is none.
//!
//! * The holder alone speaks with the server, so it answers once, however often the call is made again; and it reports
//!   what came of it until half a minute after that was fetched.
//! * `requestState` is sealed for the subject, the server and the request (method, name, arguments). Anything else is
//!   refused with -32602.
//! * A client that leaves while it waits has cancelled. One that never comes back costs an instance for ten minutes;
//!   then the server is told that the call is cancelled.
//! * A holder that was killed is missed after half a minute. What it last reported tells whether the server has the
//!   answers, and so whether the call may be made again.
//!
//! All of this rests on a host that lets an instance go on when its answer has ended, as Spin does.

use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use http::{Response, StatusCode};

use crate::config::Server;
use crate::conversation::{Conversation, Said};
use crate::eras::Relay;
use crate::eras::modern::{HELD_STATE, input_required};
use crate::fit::{Fit, Fitted, Question};
use crate::host::{Caller, Host, within};
use crate::memory::{self, Place};
use crate::passage::{Halt, Line, MOST_ASKED};
use crate::relay::{ASK_PATIENCE, FIRST_LOOK, LAST_LOOK, MOST_ROUNDS, nonce};
use crate::shelf::{Report, Says, Shelf, Stage};
use crate::upstream::{self, Failure, Link, Peer};
use crate::visitor::{Standing, Visitor};
use crate::{jsonrpc, lists};
use json::{Edits, Object, quoted};
use sealing::age::is_recent;

const PATIENCE_SECONDS: u64 = ASK_PATIENCE.as_secs();
/// Between two signs of life of a holder, and when it is missed.
const BEAT: Duration = Duration::from_secs(10);
const MISSED: Duration = Duration::from_secs(30);
/// How long what was fetched can be fetched again.
const LINGER_SECONDS: u64 = 30;
/// How long a server may take to say that it has heard. A holder that waits longer would be missed.
const HEARD: Duration = Duration::from_secs(15);
/// What is said while nobody listens is kept so far.
const MOST_SAID: usize = 32;
const SAID_BYTES: usize = 64 * 1024;

/// A call whose server has asked something.
pub struct Interrupted<'c, H: Host> {
    /// As the server knows the call.
    pub id: String,
    pub questions: Vec<Question>,
    pub talk: Conversation<'c, H>,
}

/// What `requestState` says.
pub struct State {
    /// Since when the client is asked.
    since: u64,
    shelf: u8,
    name: String,
    round: usize,
    /// How much of what the server said the client has heard.
    heard: usize,
}

impl State {
    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let since = words.next()?.parse().ok()?;
        let mut number = || words.next()?.parse().ok();
        let (shelf, round, heard) = (u8::try_from(number()?).ok()?, number()?, number()?);
        Some(Self { since, shelf, name: words.next()?.to_owned(), round, heard })
    }
}

struct Holder<'h, H: Host> {
    host: &'h H,
    server: &'h Server<'h>,
    visitor: &'h mut Visitor,
    fit: &'h Fit<'h>,
    shelf: &'h Shelf<'h>,
    report: Report,
    peer: Peer,
    /// What the client is asked, and what it will be asked next.
    open: Vec<Question>,
    next: Vec<Question>,
}

/// Asks the client, and goes on with the call without it.
pub async fn hold<H: Host>(
    host: &H,
    relay: &Relay<'_>,
    server: &Server<'_>,
    visitor: &mut Visitor,
    call: Interrupted<'_, H>,
    fit: &Fit<'_>,
    line: &mut Line<'_, H>,
) -> Result<(), Failure> {
    let caller = visitor.caller.clone();
    let Interrupted { id, questions, mut talk } = call;
    let peer = talk.peer.clone();
    let fit = &Fit { asked: &id, ..*fit };
    let shelf = Shelf::take(host, &caller, nonce(host)).await;
    let cancelled = format!(r#"{{"jsonrpc":"2.0","method":"notifications/cancelled","params":{{"requestId":{id}}}}}"#);
    let shelf = match &shelf {
        Ok(shelf) => shelf,
        Err(failure) => {
            if let Some(link) = link(server, visitor, fit) {
                upstream::tell(host, link, &peer, cancelled.into_bytes()).await;
            }
            talk.finish(false).await;
            return Err(failure.clone());
        }
    };
    let report = Report::default();
    let mut holder = Holder { host, server, visitor, fit, shelf, report, peer, open: Vec::new(), next: Vec::new() };
    let requests = holder.ask(questions);
    line.answer(required(host, relay, server, shelf, (holder.report.round, 0), &requests)).await;

    let end = holder.work(&mut talk).await;
    let has_answered = matches!(end, Some((Stage::Answers, _)));
    if has_answered {
        // The client's next call may come as soon as it has the answer.
        talk.finish(true).await;
    }
    let is_wanted = end.is_some();
    if let Some((stage, text)) = end {
        holder.report.stage = stage;
        shelf.report_text(host, &mut holder.report, &text);
    }
    if !has_answered {
        holder.tell(cancelled.into_bytes()).await;
        talk.finish(false).await;
    }
    talk.drain().await;
    if is_wanted {
        holder.linger().await;
    }
    shelf.clear(host, &holder.report);
    Ok(())
}

impl<H: Host> Holder<'_, H> {
    /// Reports what the client is asked in the next round; gives it as the text of `inputRequests`.
    fn ask(&mut self, asked: Vec<Question>) -> String {
        let member = |question: &Question| [&quoted(&question.id), ":", &question.request].concat();
        let requests = ["{", &asked.iter().map(member).collect::<Vec<_>>().join(","), "}"].concat();
        self.open = asked;
        self.report.round += 1;
        self.report.stage = Stage::Asks;
        self.shelf.report_text(self.host, &mut self.report, &requests);
        requests
    }

    /// Goes on until there is an answer, or why there is none; none at all when nobody wants it any more.
    async fn work(&mut self, talk: &mut Conversation<'_, H>) -> Option<(Stage, String)> {
        let Self { host, shelf, .. } = *self;
        let failed = |failure: Failure| Some((Stage::Fails, failure.to_string()));
        let mut until = host.now() + PATIENCE_SECONDS;
        let mut looked = host.now();
        let mut pause = FIRST_LOOK;
        let (mut heard, mut waiter) = (String::new(), String::new());
        let mut told = 0;
        loop {
            match within(host, pause, talk.next()).await {
                None => pause = (pause * 2).min(LAST_LOOK),
                Some(next) => {
                    match self.sort(next, talk).await {
                        Ok(None) => {}
                        Ok(Some(answer)) => return Some((Stage::Answers, answer)),
                        Err(failure) => return failed(failure),
                    }
                    pause = FIRST_LOOK;
                    // A stream may never pause.
                    if host.now() == looked {
                        continue;
                    }
                }
            }
            looked = host.now();
            // A clock that is set back does not lengthen a wait.
            until = until.min(looked + PATIENCE_SECONDS);
            let word = shelf.word(host).filter(|word| word.mark != heard);
            if let Some(word) = word {
                heard.clone_from(&word.mark);
                until = looked + PATIENCE_SECONDS;
                match word.says {
                    Says::Cancels if word.by == waiter => return None,
                    Says::Comes(round) => {
                        waiter.clone_from(&word.by);
                        let answers = shelf.word_text(host, &word);
                        if let (Stage::Asks, Some(answers)) = (self.report.stage, answers)
                            && round == self.report.round
                        {
                            if let Err(failure) = self.answer(&answers).await {
                                return failed(failure);
                            }
                            pause = FIRST_LOOK;
                        }
                    }
                    Says::Cancels | Says::Waits | Says::Thanks => {}
                }
            }
            if looked >= until {
                return None;
            }
            let said = self.report.first + self.report.said.len();
            if self.report.stage == Stage::Works && !self.next.is_empty() {
                if self.report.round == MOST_ROUNDS {
                    return failed(Failure::AsksTooMuch);
                }
                let asked = std::mem::take(&mut self.next);
                self.ask(asked);
            } else if said > told || looked.abs_diff(self.report.at) >= BEAT.as_secs() {
                shelf.keep(host, &mut self.report);
            }
            told = said;
        }
    }

    /// What is to be done about the next message; gives the answer when it is that.
    async fn sort(
        &mut self,
        next: Result<Said, Failure>,
        talk: &Conversation<'_, H>,
    ) -> Result<Option<String>, Failure> {
        let fitted = match next? {
            Said::Call(text) => {
                let message = Object::parse(&text).map_err(|_| Failure::NotMcp)?;
                if message.find("method").is_none() {
                    let is_ours = !self.fit.is_of_another(&message);
                    return Ok(is_ours.then_some(text));
                }
                self.fit.message(text)?
            }
            Said::Outside(text) => talk.outside(text, self.fit),
            Said::Error(status, body) => {
                let text = upstream::text(body).ok();
                let is_error =
                    |text: &String| Object::parse(text).is_ok_and(|message| upstream::error_code(&message).is_some());
                return text.filter(is_error).map(Some).ok_or(Failure::Status(status.as_u16()));
            }
            Said::End => return Err(Failure::BrokeOff),
        };
        match fitted {
            Fitted::Asks(_) if self.next.len() == MOST_ASKED => return Err(Failure::AsksTooMuch),
            Fitted::Asks(question) => self.next.push(question),
            Fitted::Said(text, changed) => {
                if let (Some(kind), Some(link)) = (changed, link(self.server, self.visitor, self.fit)) {
                    lists::forget(self.host, link, kind);
                }
                let said = &mut self.report.said;
                said.push(text);
                while said.len() > MOST_SAID || said.iter().map(String::len).sum::<usize>() > SAID_BYTES {
                    said.remove(0);
                    self.report.first += 1;
                }
            }
            Fitted::ForTheUpstream(reply) => self.tell(reply).await,
            Fitted::Answer(_) | Fitted::Wants(_) | Fitted::Updated(_) | Fitted::NotForThisClient => {}
        }
        Ok(None)
    }

    /// Gives the server what the client has answered.
    async fn answer(&mut self, answers: &str) -> Result<(), Failure> {
        // Said first: a caller that finds this instance killed must not believe that the server has no answer.
        self.report.stage = Stage::Works;
        self.shelf.keep(self.host, &mut self.report);
        let answers = Object::parse(answers).map_err(|_| Failure::NoAnswer)?;
        for question in std::mem::take(&mut self.open) {
            let answer = answers.find(&question.id).ok_or(Failure::NoAnswer)?;
            let message = jsonrpc::result(&question.id, answer);
            match self.hand(message.clone()).await {
                // A person takes longer to answer than some tokens live.
                Err(Failure::Refused) if self.server.service.is_some() => {
                    self.visitor.renew(self.host, std::iter::once(self.server));
                    self.hand(message).await?;
                }
                handed => handed?,
            }
        }
        Ok(())
    }

    /// What the server does not say that it has heard, it may have heard all the same.
    async fn hand(&mut self, message: Vec<u8>) -> Result<(), Failure> {
        let link = link(self.server, self.visitor, self.fit).ok_or(Failure::Refused)?;
        let handed = within(self.host, HEARD, upstream::hand(self.host, link, &self.peer, message)).await;
        self.shelf.keep(self.host, &mut self.report);
        handed.unwrap_or(Ok(()))
    }

    async fn tell(&mut self, message: Vec<u8>) {
        if let Err(failure) = self.hand(message).await {
            self.host.log(&format!("gateway: {} could not be told something: {failure}", self.server.prefix));
        }
    }

    /// Reports how it ended, until that was fetched and a little longer.
    async fn linger(&mut self) {
        let Self { host, shelf, .. } = *self;
        let mut until = host.now() + PATIENCE_SECONDS;
        while host.now() < until {
            host.sleep(LAST_LOOK).await;
            until = until.min(host.now() + PATIENCE_SECONDS);
            if shelf.word(host).is_some_and(|word| matches!(word.says, Says::Thanks | Says::Cancels)) {
                until = until.min(host.now() + LINGER_SECONDS);
            }
            if host.now().abs_diff(self.report.at) >= BEAT.as_secs() {
                shelf.keep(host, &mut self.report);
            }
        }
    }
}

/// The state of a held call that the request goes on with, if it does; or what is wrong with it.
pub fn state<H: Host>(
    host: &H,
    relay: &Relay<'_>,
    server: &Server<'_>,
    caller: &Caller,
) -> Result<Option<State>, &'static str> {
    let Some(params) = relay.params.as_ref().filter(|_| relay.client.is_modern()) else { return Ok(None) };
    let state = params.string("requestState").map_err(|_| "Invalid params: \"requestState\" is there twice")?;
    let Some(sealed) = state.as_ref().and_then(|state| state.strip_prefix(HELD_STATE)) else { return Ok(None) };
    let sealed = Base64UrlUnpadded::decode_vec(sealed).ok();
    let opened = sealed.and_then(|sealed| place(relay, server, caller).open(caller, &sealed));
    let link = Link { server, token: None, caller, profile: relay.client.profile() };
    match opened.and_then(|state| State::read(std::str::from_utf8(&state).ok()?)) {
        Some(state) => Ok(Some(state)),
        // A modern server that is a Gatehouse itself has given its own.
        None if matches!(memory::recall(host, link), Some(Peer::Modern(_))) => Ok(None),
        None => Err("Invalid params: requestState is not of this call"),
    }
}

/// Goes on with a held call: leaves the client's answers, and waits for what comes of them.
pub async fn resume<H: Host>(
    host: &H,
    relay: &Relay<'_>,
    server: &Server<'_>,
    caller: &Caller,
    state: &State,
    fit: &Fit<'_>,
    line: &mut Line<'_, H>,
) -> Result<(), Halt> {
    if !is_recent(state.since, host.now(), PATIENCE_SECONDS) {
        return Err(Failure::NoAnswer.into());
    }
    let shelf = Shelf::named(caller, state.shelf, state.name.clone());
    let by = nonce(host);
    let say = |says, text: &str| shelf.say(host, &by, nonce(host), says, text);
    let mut heard = state.heard;
    // What the holder is told, and again until it has heard it.
    let mut told: Option<(Says, &str)> = None;
    let mut report = shelf.report(host).ok_or(Failure::Over)?;
    loop {
        for text in report.said.iter().skip(heard.saturating_sub(report.first)) {
            if let Some(text) = retold(relay, fit, text) {
                line.say(text.as_bytes());
            }
        }
        heard = heard.max(report.first + report.said.len());

        let is_open = report.stage == Stage::Asks && report.round <= state.round;
        let text = match report.stage {
            Stage::Works => None,
            Stage::Asks if is_open && told.is_some() => None,
            // One that is not there is being written, and there will be another report.
            _ => shelf.text(host, &report),
        };
        match (report.stage, text) {
            (Stage::Works, _) => {
                if told.replace((Says::Waits, "")).is_none() {
                    say(Says::Comes(state.round), "");
                }
            }
            (_, None) => {}
            (Stage::Asks, Some(requests)) => match answers(relay, &requests).filter(|_| is_open) {
                Some(answers) => {
                    say(Says::Comes(state.round), answers);
                    told = Some((Says::Comes(state.round), answers));
                }
                None => {
                    line.answer(required(host, relay, server, &shelf, (report.round, heard), &requests)).await;
                    return Ok(());
                }
            },
            (Stage::Answers, Some(text)) => {
                say(Says::Thanks, "");
                let Fitted::Answer(response) = fit.answer(text)? else { return Err(Failure::NotMcp.into()) };
                line.answer(response).await;
                return Ok(());
            }
            (Stage::Fails, Some(why)) => {
                say(Says::Thanks, "");
                return Err(Failure::Reported(why).into());
            }
        }
        let again = || told.map(|(says, text)| say(says, text));
        report = match line.wait(news(host, &shelf, &report, &again)).await {
            Ok(Some(report)) => report,
            Ok(None) => return Err(if is_open { Failure::Lost } else { Failure::LostLater }.into()),
            Err(stopped) => {
                say(Says::Cancels, "");
                return Err(stopped.into());
            }
        };
    }
}

/// What the holder reports after `known`; none when it has not been heard of for too long. What counts is that something
/// changes: clocks of two hosts may differ, but not by a minute.
async fn news<H: Host>(host: &H, shelf: &Shelf<'_>, known: &Report, again: &dyn Fn() -> Option<()>) -> Option<Report> {
    let (mut silent, mut waited) = (Duration::ZERO, Duration::ZERO);
    let mut at = known.at;
    let mut pause = FIRST_LOOK;
    while silent < MISSED && !(at == known.at && known.is_left(host)) {
        host.sleep(pause).await;
        silent += pause;
        waited += pause;
        pause = (pause * 2).min(LAST_LOOK);
        let Some(report) = shelf.report(host) else { continue };
        if report.is_after(known) {
            return Some(report);
        }
        if report.at != at {
            at = report.at;
            silent = Duration::ZERO;
        }
        if waited >= BEAT {
            waited = Duration::ZERO;
            again();
        }
    }
    None
}

/// The result that asks the client for `requests`, and has it come again to this holder.
fn required<H: Host>(
    host: &H,
    relay: &Relay<'_>,
    server: &Server<'_>,
    shelf: &Shelf<'_>,
    (round, heard): (usize, usize),
    requests: &str,
) -> Response<Vec<u8>> {
    let state = format!("{} {} {round} {heard} {}", host.now(), shelf.number, shelf.name);
    let sealed = place(relay, server, shelf.caller).seal(host, shelf.caller, state.as_bytes()).unwrap_or_default();
    let state = [HELD_STATE, &Base64UrlUnpadded::encode_string(&sealed)].concat();
    jsonrpc::respond(StatusCode::OK, jsonrpc::result(relay.request.id, &input_required(requests, &state)))
}

/// The client's answers, if all that it is asked is answered.
fn answers<'a>(relay: &Relay<'a>, requests: &str) -> Option<&'a str> {
    let answers = relay.params.as_ref()?.object("inputResponses").ok()??;
    let requests = Object::parse(requests).ok()?;
    let is_answered = |key: &str| answers.find(key).is_some_and(|answer| Object::parse(answer).is_ok());
    requests.members().all(|(key, _)| is_answered(key)).then(|| answers.text())
}

/// What the server said on the way, as it belongs to the call that was made again: by the token of its own progress.
fn retold(relay: &Relay<'_>, fit: &Fit<'_>, text: &str) -> Option<String> {
    // It says already whose it is.
    let fit = Fit { named: false, ..*fit };
    let Ok(Fitted::Said(text, _)) = fit.message(text.to_owned()) else { return None };
    let message = Object::parse(&text).ok()?;
    let params = message.object("params").ok().flatten();
    let Some(known) = params.and_then(|params| params.get("progressToken").ok().flatten()) else { return Some(text) };
    let meta = relay.params.as_ref()?.object("_meta").ok()??;
    let mut edits = Edits::new(&text);
    edits.replace(known, meta.get("progressToken").ok()??.to_owned());
    String::from_utf8(edits.apply()).ok()
}

/// A server as this visitor reaches it now.
fn link<'a>(server: &'a Server<'a>, visitor: &'a Visitor, fit: &Fit<'_>) -> Option<Link<'a>> {
    let Standing::Open(token) = visitor.standing(server) else { return None };
    Some(Link { server, token, caller: &visitor.caller, profile: fit.profile })
}

/// Where a `requestState` belongs: to one request at one server.
fn place(relay: &Relay<'_>, server: &Server<'_>, caller: &Caller) -> Place {
    let name = relay.handle.as_ref().map_or("", |handle| &handle.value);
    let arguments = relay.params.as_ref().and_then(|params| params.find("arguments")).unwrap_or_default();
    Place::new("q", &[&caller.subject, &server.name, &server.url.to_string(), &relay.request.method, name, arguments])
}
