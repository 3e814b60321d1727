//! Goes on with a held call for the client that makes it again.

use std::pin::pin;
use std::time::Duration;

use super::state::{State, required};
use super::{BEAT, PATIENCE_SECONDS};
use crate::config::Server;
use crate::eras::Relay;
use crate::fit::{Fit, Fitted};
use crate::host::{Caller, Host};
use crate::passage::{Halt, Line};
use crate::relay::{FIRST_LOOK, LAST_LOOK, nonce};
use crate::shelf::{Report, Says, Shelf, Stage};
use crate::upstream::Failure;
use json::{Edits, Object};
use sealing::age::is_recent;

/// After how long without a sign of life a holder is taken for killed.
const MISSED: Duration = Duration::from_secs(30);

/// Goes on with a held call: leaves the client's answers, and waits for the holder's report.
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
    // What the holder is told, again and again until it has heard it.
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
        let next = line.wait(pin!(news(host, &shelf, &report, &again))).await;
        report = match next {
            Ok(Some(report)) => report,
            Ok(None) => return Err(if is_open { Failure::Lost } else { Failure::LostLater }.into()),
            Err(stopped) => {
                say(Says::Cancels, "");
                return Err(stopped.into());
            }
        };
    }
}

/// What the holder reports after `known`. `None` if it has given no sign of life for too long. What counts is that something
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

/// The client's answers, if all that it is asked is answered.
fn answers<'a>(relay: &Relay<'a>, requests: &str) -> Option<&'a str> {
    let answers = relay.params.as_ref()?.object("inputResponses").ok()??;
    let requests = Object::parse(requests).ok()?;
    let is_answered = |key: &str| answers.find(key).is_some_and(|answer| Object::parse(answer).is_ok());
    requests.members().all(|(key, _)| is_answered(key)).then(|| answers.text())
}

/// A notification of the server as one of the repeated call, with the token of its own progress.
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
