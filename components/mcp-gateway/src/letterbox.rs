//! Brings a POSTed message to the instance that holds its client's stream.
//!
//! A client of 2024-11-05 hears everything on one stream and says everything by POST, which comes to another instance. So
//! each such stream has a box in the store, with room for one letter. The instance with a message waits until the box is
//! empty, puts the message in, and reads the box until the stream's instance has noted there that it took it. If it finds
//! another letter instead, it waits. If it finds neither its letter nor the note, its letter was overwritten, and it puts
//! it in again; a letter that was put in twice is known by its name. So, on a store that can only get and set, no message
//! is lost and none is heard twice. A client is told 202 only for what the stream has taken. If a message is not taken,
//! there is no stream.
//!
//! The box is a row like every other, so another subject finds none. It belongs to the stream's seat, so what killed
//! instances leave does not add up. It is not believed unless it names the stream.

use std::collections::VecDeque;
use std::time::Duration;

use base64ct::{Base64UrlUnpadded, Encoding};
use serde::{Deserialize, Serialize};

use crate::host::{Caller, Host, Secret};
use crate::memory::Place;
use crate::seats::Seat;

/// How long a message waits to be taken.
const PATIENCE: Duration = Duration::from_secs(10);
const FIRST_LOOK: Duration = Duration::from_millis(15);
const LAST_LOOK: Duration = Duration::from_millis(120);
/// So many letters are known again. Between two looks of one that waits, far fewer are taken.
const KNOWN: usize = 32;

#[derive(Serialize, Deserialize)]
struct Row {
    stream: String,
    taken: VecDeque<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    letter: Option<Letter>,
}

#[derive(Serialize, Deserialize)]
struct Letter {
    name: String,
    bearer: Option<String>,
    message: String,
}

/// The box of one stream.
pub struct Letterbox<'a> {
    caller: &'a Caller,
    place: Place,
    stream: String,
    taken: VecDeque<String>,
}

impl<'a> Letterbox<'a> {
    /// The box of a new stream.
    pub fn open<H: Host>(host: &H, caller: &'a Caller, seat: &Seat) -> Self {
        let (number, stream) = seat.name();
        let new = Self::at(caller, number, stream);
        new.write(host, None);
        new
    }

    /// The box of the stream that `id` names.
    pub fn find(caller: &'a Caller, id: &str) -> Option<Self> {
        let (number, stream) = id.split_once('.')?;
        Some(Self::at(caller, number.parse().ok()?, stream))
    }

    /// What [`Letterbox::find`] finds it by.
    pub fn id(seat: &Seat) -> String {
        let (number, stream) = seat.name();
        format!("{number}.{stream}")
    }

    fn at(caller: &'a Caller, number: u8, stream: &str) -> Self {
        let place = Place::new("b", &[&caller.subject, &number.to_string()]);
        Self { caller, place, stream: stream.to_owned(), taken: VecDeque::new() }
    }

    /// Leaves a message. Returns false if it was not taken in time.
    pub async fn post<H: Host>(&self, host: &H, bearer: Option<&Secret>, message: &str) -> bool {
        let mut random = [0; 12];
        host.random(&mut random);
        let name = Base64UrlUnpadded::encode_string(&random);
        let bearer = bearer.map(|bearer| bearer.reveal().to_owned());
        let (mut waited, mut pause) = (Duration::ZERO, FIRST_LOOK);
        loop {
            let Some(row) = self.read(host) else { return false };
            let is_own = row.letter.as_ref().is_some_and(|letter| letter.name == name);
            if row.taken.contains(&name) {
                return true;
            }
            if waited >= PATIENCE {
                if is_own {
                    self.close(host);
                }
                return false;
            }
            if row.letter.is_none() {
                let letter = Letter { name: name.clone(), bearer: bearer.clone(), message: message.to_owned() };
                let row = Row { letter: Some(letter), ..row };
                self.place.write(host, self.caller, &serde_json::to_vec(&row).unwrap_or_default());
            }
            host.sleep(pause).await;
            waited += pause;
            pause = (pause * 3 / 2).min(LAST_LOOK);
        }
    }

    /// Takes the next letter out: the bearer that it came with, and the message.
    pub fn take<H: Host>(&mut self, host: &H) -> Option<(Option<Secret>, String)> {
        let row = self.read(host);
        // Somebody's late letter to the stream before, or nothing at all, if the store has lost it.
        let Some(row) = row else {
            self.write(host, None);
            return None;
        };
        let Letter { name, bearer, message } = row.letter?;
        let is_new = !self.taken.contains(&name);
        if is_new {
            if self.taken.len() == KNOWN {
                self.taken.pop_front();
            }
            self.taken.push_back(name);
        }
        self.write(host, None);
        is_new.then(|| (bearer.map(Secret::from), message))
    }

    pub fn close<H: Host>(&self, host: &H) {
        if self.read(host).is_some() {
            self.place.forget(host, self.caller);
        }
    }

    fn read<H: Host>(&self, host: &H) -> Option<Row> {
        let row: Row = serde_json::from_slice(&self.place.read(host, self.caller)?).ok()?;
        (row.stream == self.stream).then_some(row)
    }

    fn write<H: Host>(&self, host: &H, letter: Option<Letter>) {
        let row = Row { stream: self.stream.clone(), taken: self.taken.clone(), letter };
        self.place.write(host, self.caller, &serde_json::to_vec(&row).unwrap_or_default());
    }
}
