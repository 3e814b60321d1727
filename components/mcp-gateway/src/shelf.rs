//! Lets two instances exchange messages through the store while both work on one call.
//!
//! One instance holds the call and reports on it, and others bring it messages (`held`). They meet on a *shelf*. Each side
//! has a note there, which is small and is written again at each change, and a text of any length beside it, in parts,
//! because a row of a store has a limit. A note names its text, so no reader takes one text for another that is being
//! written.
//!
//! A subject has 64 shelves. A holder takes one by writing a random name on it, and reads it again a moment later: if two
//! take it at once, the later one keeps it. The holder reports every ten seconds. If it was silent for a minute, another
//! one may take the shelf, and deletes its texts. So what killed instances leave does not add up.

use std::time::Duration;

use crate::host::{Caller, Host};

use crate::memory::Place;
use crate::upstream::Failure;
use sealing::age::is_recent;

const SHELVES: u8 = 64;
/// Some stores take no more than 400 KB.
const PART: usize = 256 * 1024;
const LEFT_SECONDS: u64 = 60;
/// Longer than a write takes.
const SETTLING: Duration = Duration::from_millis(50);

pub struct Shelf<'a> {
    pub caller: &'a Caller,
    pub number: u8,
    pub name: String,
}

/// What the holder says of its call.
#[derive(Default)]
pub struct Report {
    name: String,
    /// When this was written.
    pub at: u64,
    /// How often the client was asked.
    pub round: usize,
    pub stage: Stage,
    /// How many parts the text has.
    parts: usize,
    /// What the upstream has said on the way, and the number of the first of it.
    pub said: Vec<String>,
    pub first: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub enum Stage {
    /// The text is what the client is asked.
    #[default]
    Asks,
    /// The upstream has the answers.
    Works,
    /// The text is the upstream's answer.
    Answers,
    /// The text says why there is none.
    Fails,
}

/// What an instance that has the repeated call says to the holder.
pub struct Word {
    name: String,
    /// Random: the same word is heard once.
    pub mark: String,
    pub by: String,
    pub says: Says,
    parts: usize,
}

#[derive(Clone, Copy)]
pub enum Says {
    /// A repeated call has come. The text, if there is one, has the client's answers of this round.
    Comes(usize),
    Waits,
    /// The client has what the holder had to report.
    Thanks,
    Cancels,
}

/// A note on a shelf, as text.
trait Note: Sized {
    const BOARD: &str;
    fn write(&self) -> String;
    fn read(text: &str) -> Option<Self>;
}

impl Note for Report {
    const BOARD: &str = "report";

    fn write(&self) -> String {
        let Self { name, at, round, stage, parts, said, first } = self;
        format!("{name} {at} {round} {} {parts} {first} [{}]", *stage as u8, said.join(","))
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.splitn(7, ' ');
        let name = words.next()?.to_owned();
        let at = words.next()?.parse().ok()?;
        let mut number = || words.next()?.parse().ok();
        let (round, stage, parts, first) = (number()?, number()?, number()?, number()?);
        let stage = *[Stage::Asks, Stage::Works, Stage::Answers, Stage::Fails].get(stage)?;
        let said = json::array(words.next()?)?.into_iter().map(str::to_owned).collect();
        Some(Self { name, at, round, stage, parts, said, first })
    }
}

impl Note for Word {
    const BOARD: &str = "word";

    fn write(&self) -> String {
        let (says, round) = match self.says {
            Says::Comes(round) => (0, round),
            Says::Waits => (1, 0),
            Says::Thanks => (2, 0),
            Says::Cancels => (3, 0),
        };
        format!("{} {} {} {says} {round} {}", self.name, self.mark, self.by, self.parts)
    }

    fn read(text: &str) -> Option<Self> {
        let mut words = text.split(' ');
        let mut word = || words.next().map(str::to_owned);
        let (name, mark, by) = (word()?, word()?, word()?);
        let mut number = || words.next()?.parse().ok();
        let says = match (number()?, number()?) {
            (0, round) => Says::Comes(round),
            (1, _) => Says::Waits,
            (2, _) => Says::Thanks,
            _ => Says::Cancels,
        };
        Some(Self { name, mark, by, says, parts: number()? })
    }
}

impl Report {
    /// Returns true if its holder has not been heard of for so long that another may take its shelf.
    pub fn is_left(&self, host: &impl Host) -> bool {
        !is_recent(self.at, host.now(), LEFT_SECONDS - 1)
    }

    /// Returns true if there is something new in it.
    pub fn is_after(&self, other: &Self) -> bool {
        let of = |report: &Self| (report.round, report.stage as u8, report.first + report.said.len());
        of(self) != of(other)
    }
}

impl<'a> Shelf<'a> {
    /// Takes a shelf that nobody holds, and calls it `name`.
    pub async fn take<H: Host>(host: &H, caller: &'a Caller, name: String) -> Result<Self, Failure> {
        let mut first = [0];
        host.random(&mut first);
        for step in 0..SHELVES {
            let shelf = Self { caller, number: first[0].wrapping_add(step) % SHELVES, name: name.clone() };
            let left: Option<Report> = shelf.note(host);
            if left.as_ref().is_some_and(|left| !left.is_left(host)) {
                continue;
            }
            let word: Option<Word> = shelf.note(host);
            shelf.forget_text(host, Report::BOARD, left.map_or(0, |left| left.parts));
            shelf.forget_text(host, Word::BOARD, word.map_or(0, |word| word.parts));
            shelf.write(host, &Report { name: name.clone(), at: host.now(), ..Report::default() });
            host.sleep(SETTLING).await;
            match shelf.note::<H, Report>(host) {
                Some(report) if report.name == shelf.name => return Ok(shelf),
                Some(_) => {}
                None => return Err(Failure::NotKept),
            }
        }
        Err(Failure::Crowded)
    }

    pub fn named(caller: &'a Caller, number: u8, name: String) -> Self {
        Self { caller, number, name }
    }

    /// What the holder of this name last said.
    pub fn report<H: Host>(&self, host: &H) -> Option<Report> {
        self.note(host).filter(|report: &Report| report.name == self.name)
    }

    /// The text of the report. `None` while another text is being written.
    pub fn text<H: Host>(&self, host: &H, report: &Report) -> Option<String> {
        self.read_text(host, Report::BOARD, &self.of(report), report.parts)
    }

    /// Reports, with a new text.
    pub fn report_text<H: Host>(&self, host: &H, report: &mut Report, text: &str) {
        let before = report.parts;
        report.parts = self.write_text(host, Report::BOARD, &self.of(report), text);
        self.keep(host, report);
        for number in report.parts..before {
            self.part(Report::BOARD, number).forget(host, self.caller);
        }
    }

    /// Reports, with the text as it is.
    pub fn keep<H: Host>(&self, host: &H, report: &mut Report) {
        report.name.clone_from(&self.name);
        report.at = host.now();
        self.write(host, report);
    }

    /// What was last said to the holder.
    pub fn word<H: Host>(&self, host: &H) -> Option<Word> {
        self.note(host).filter(|word: &Word| word.name == self.name)
    }

    /// Takes what the word speaks of.
    pub fn word_text<H: Host>(&self, host: &H, word: &Word) -> Option<String> {
        let text = self.read_text(host, Word::BOARD, &word.mark, word.parts);
        self.forget_text(host, Word::BOARD, word.parts);
        text
    }

    /// Says something to the holder, with a text where there is one.
    pub fn say<H: Host>(&self, host: &H, by: &str, mark: String, says: Says, text: &str) {
        let parts = if text.is_empty() { 0 } else { self.write_text(host, Word::BOARD, &mark, text) };
        self.write(host, &Word { name: self.name.clone(), mark, by: by.to_owned(), says, parts });
    }

    /// Takes everything off the shelf.
    pub fn clear<H: Host>(&self, host: &H, report: &Report) {
        let word = self.word(host).map_or(0, |word| word.parts);
        self.forget_text(host, Word::BOARD, word);
        self.forget_text(host, Report::BOARD, report.parts);
        self.board(Word::BOARD).forget(host, self.caller);
        self.board(Report::BOARD).forget(host, self.caller);
    }

    /// What tells the text of one report from that of another.
    fn of(&self, report: &Report) -> String {
        format!("{}.{}.{}", self.name, report.round, report.stage as u8)
    }

    fn note<H: Host, N: Note>(&self, host: &H) -> Option<N> {
        let row = self.board(N::BOARD).read(host, self.caller)?;
        N::read(std::str::from_utf8(&row).ok()?)
    }

    fn write<H: Host, N: Note>(&self, host: &H, note: &N) {
        self.board(N::BOARD).write(host, self.caller, note.write().as_bytes());
    }

    fn write_text<H: Host>(&self, host: &H, board: &str, mark: &str, text: &str) -> usize {
        let parts = text.as_bytes().chunks(PART);
        let count = parts.len();
        for (number, part) in parts.enumerate() {
            let row = [mark.as_bytes(), b"\n", part].concat();
            self.part(board, number).write(host, self.caller, &row);
        }
        count
    }

    fn read_text<H: Host>(&self, host: &H, board: &str, mark: &str, parts: usize) -> Option<String> {
        let mut text = Vec::new();
        for number in 0..parts {
            let row = self.part(board, number).read(host, self.caller)?;
            text.extend_from_slice(row.strip_prefix(mark.as_bytes())?.strip_prefix(b"\n")?);
        }
        String::from_utf8(text).ok()
    }

    fn forget_text<H: Host>(&self, host: &H, board: &str, parts: usize) {
        for number in 0..parts {
            self.part(board, number).forget(host, self.caller);
        }
    }

    fn board(&self, board: &str) -> Place {
        Place::new("h", &[&self.caller.subject, &self.number.to_string(), board])
    }

    fn part(&self, board: &str, number: usize) -> Place {
        Place::new("h", &[&self.caller.subject, &self.number.to_string(), board, &number.to_string()])
    }
}
