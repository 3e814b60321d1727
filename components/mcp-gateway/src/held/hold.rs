//! Goes on with a call while its client is asked.

use std::pin::pin;
use std::time::Duration;

use super::state::required;
use super::{BEAT, PATIENCE_SECONDS};
use crate::config::Server;
use crate::conversation::{Conversation, Said};
use crate::eras::Relay;
use crate::fit::{Fit, Fitted, Question};
use crate::host::{Host, within};
use crate::passage::{Line, MOST_ASKED};
use crate::relay::{FIRST_LOOK, LAST_LOOK, MOST_ROUNDS, nonce};
use crate::shelf::{Report, Says, Shelf, Stage, Word};
use crate::upstream::{self, Failure, Link, Peer};
use crate::visitor::{Standing, Visitor};
use crate::{jsonrpc, lists};
use json::{Object, quoted};

/// Seconds in which a result that was fetched can be fetched again.
const LINGER_SECONDS: u64 = 30;
/// The time within which a server has to accept an answer. A holder that waits longer would be taken for killed.
const HEARD: Duration = Duration::from_secs(15);
/// The most notifications that are kept while no client listens, and their most bytes.
const MOST_SAID: usize = 32;
const SAID_BYTES: usize = 64 * 1024;

/// A call whose server has asked something.
pub struct Interrupted<'c, H: Host> {
    /// As the server knows the call.
    pub id: String,
    pub questions: Vec<Question>,
    pub talk: Conversation<'c, H>,
}

struct Holder<'h, H: Host> {
    host: &'h H,
    server: &'h Server<'h>,
    visitor: &'h mut Visitor,
    fit: &'h Fit<'h>,
    shelf: &'h Shelf<'h>,
    report: Report,
    peer: Peer,
    /// The questions that the client is asked now, and the next ones.
    open: Vec<Question>,
    next: Vec<Question>,
}

/// The last word that a holder has heard, and the instance that waits for its report.
#[derive(Default)]
struct Words {
    heard: String,
    waiter: String,
}

/// The effect of a word.
enum Heard {
    Cancels,
    Answers,
    Nothing,
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
    let cancelled = jsonrpc::cancelled(&id);
    let shelf = match &shelf {
        Ok(shelf) => shelf,
        Err(failure) => {
            if let Some(link) = link(server, visitor, fit) {
                upstream::tell(host, link, &peer, cancelled).await;
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
        holder.tell(cancelled).await;
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
    /// Reports what the client is asked in the next round. Returns it as the text of `inputRequests`.
    fn ask(&mut self, asked: Vec<Question>) -> String {
        let member = |question: &Question| [&quoted(&question.id), ":", &question.request].concat();
        let requests = ["{", &asked.iter().map(member).collect::<Vec<_>>().join(","), "}"].concat();
        self.open = asked;
        self.report.round += 1;
        self.report.stage = Stage::Asks;
        self.shelf.report_text(self.host, &mut self.report, &requests);
        requests
    }

    /// Continues until there is an answer or an error. `None` if the client has cancelled or does not return.
    async fn work(&mut self, talk: &mut Conversation<'_, H>) -> Option<(Stage, String)> {
        let Self { host, shelf, .. } = *self;
        let failed = |failure: Failure| Some((Stage::Fails, failure.to_string()));
        let mut until = host.now() + PATIENCE_SECONDS;
        let mut looked = host.now();
        let mut pause = FIRST_LOOK;
        let mut words = Words::default();
        let mut told = 0;
        loop {
            let next = within(host, pause, pin!(talk.next())).await;
            match next {
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
            if let Some(word) = shelf.word(host).filter(|word| word.mark != words.heard) {
                until = looked + PATIENCE_SECONDS;
                match self.hear(word, &mut words).await {
                    Ok(Heard::Cancels) => return None,
                    Ok(Heard::Answers) => pause = FIRST_LOOK,
                    Ok(Heard::Nothing) => {}
                    Err(failure) => return failed(failure),
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

    /// Deals with a word of an instance that has the repeated call. Answers the server, if the word has the answers.
    async fn hear(&mut self, word: Word, words: &mut Words) -> Result<Heard, Failure> {
        words.heard.clone_from(&word.mark);
        match word.says {
            Says::Cancels if word.by == words.waiter => Ok(Heard::Cancels),
            Says::Comes(round) => {
                words.waiter.clone_from(&word.by);
                let answers = self.shelf.word_text(self.host, &word);
                match answers.filter(|_| self.report.stage == Stage::Asks && round == self.report.round) {
                    Some(answers) => self.answer(&answers).await.map(|()| Heard::Answers),
                    None => Ok(Heard::Nothing),
                }
            }
            Says::Cancels | Says::Waits | Says::Thanks => Ok(Heard::Nothing),
        }
    }

    /// Deals with the next message. Returns the answer, if it is that.
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

    /// Sends the server the client's answers.
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

    /// Sends the server a message. If it does not answer in time, it may have heard it all the same, and that is no error.
    async fn hand(&mut self, message: Vec<u8>) -> Result<(), Failure> {
        let link = link(self.server, self.visitor, self.fit).ok_or(Failure::Refused)?;
        let handed = within(self.host, HEARD, pin!(upstream::hand(self.host, link, &self.peer, message))).await;
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

/// A server as this visitor reaches it now.
fn link<'a>(server: &'a Server<'a>, visitor: &'a Visitor, fit: &Fit<'_>) -> Option<Link<'a>> {
    let Standing::Open(token) = visitor.standing(server) else { return None };
    Some(Link { server, token, caller: &visitor.caller, profile: fit.profile })
}
