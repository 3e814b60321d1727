//! Reads and writes streams of server-sent events.
//!
//! The event stream format of HTML (section 9.2.6), as far as MCP uses it: events of type `message`, whose data is one
//! JSON-RPC message, and `id` and `retry`, by which a stream is resumed (S/2025-11-25/basic/transports).

use std::ops::Range;
use std::time::Duration;

use thiserror::Error;

/// The longest event. Longer ones are an upstream's fault, and would have to be held whole.
const LONGEST: usize = 16 * 1024 * 1024;
/// The longest id of an event. From a longer one nothing is resumed.
const LONGEST_ID: usize = 512;

/// What a stream holds, beside fields that do not matter here.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// The data of an event of type `message`.
    Message(String),
    /// A comment: a sign of life.
    Comment,
    /// An event that has an id and says nothing else: the stream can be resumed from here.
    Mark,
}

#[derive(Debug, PartialEq, Eq, Error)]
pub enum SseError {
    #[error("an event is longer than 16 MiB")]
    TooLong,
}

/// Reads a stream in pieces of any size.
#[derive(Default)]
pub struct Parser {
    buffer: Vec<u8>,
    /// Where the line begins that is not yet read.
    line: usize,
    /// Up to where that line is known to have no end.
    searched: usize,
    /// The last line ended with a CR, so a LF right after it belongs to it.
    after_cr: bool,
    begun: bool,
    data: Vec<u8>,
    has_data: bool,
    other_type: bool,
    /// The id that the next event ends with, and whether it has that itself.
    next_id: Option<String>,
    has_id: bool,
    id: Option<String>,
    id_is_new: bool,
    retry: Option<Duration>,
}

impl Parser {
    /// Reads the stream that resumes another one after the event `id`.
    pub fn resumed(id: &str, retry: Option<Duration>) -> Self {
        Self { id: Some(id.to_owned()), next_id: Some(id.to_owned()), retry, ..Self::default() }
    }

    /// The id of the last event that had one.
    pub fn id(&self) -> Option<&str> {
        self.id.as_deref()
    }

    /// The same, if the last piece had it itself.
    pub fn new_id(&self) -> Option<&str> {
        self.id().filter(|_| self.id_is_new)
    }

    /// How long the server wants its client to wait before it resumes the stream.
    pub fn retry(&self) -> Option<Duration> {
        self.retry
    }

    /// Takes the next bytes of the stream; [`Parser::piece`] then has what they complete.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.line);
        self.searched -= self.line;
        self.line = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// The next piece that is complete.
    pub fn piece(&mut self) -> Result<Option<Piece>, SseError> {
        while let Some(line) = self.line() {
            // Lent out and put back, so that no line is copied before it is known to matter.
            let buffer = std::mem::take(&mut self.buffer);
            let read = self.read(buffer.get(line).unwrap_or_default());
            self.buffer = buffer;
            if let Some(piece) = read? {
                return Ok(Some(piece));
            }
        }
        if self.buffer.len() - self.line + self.data.len() > LONGEST {
            return Err(SseError::TooLong);
        }
        Ok(None)
    }

    /// Has [`Parser::piece`] give what the stream's end completes. HTML would drop an event without its empty line; MCP
    /// servers exist that leave it out, and half a message would not parse anyway.
    pub fn finish(&mut self) {
        self.push(b"\n\n");
    }

    /// Where the next complete line is, without its end.
    fn line(&mut self) -> Option<Range<usize>> {
        if self.after_cr && self.buffer.get(self.line) == Some(&b'\n') {
            self.line += 1;
            self.searched = self.line;
        }
        if self.line < self.buffer.len() {
            self.after_cr = false;
        }
        let rest = self.buffer.get(self.searched..)?;
        let Some(length) = rest.iter().position(|byte| matches!(byte, b'\n' | b'\r')) else {
            self.searched = self.buffer.len();
            return None;
        };
        let end = self.searched + length;
        self.after_cr = rest.get(length) == Some(&b'\r');
        let mut line = self.line..end;
        if !self.begun {
            self.begun = true;
            if self.buffer.get(line.clone()).is_some_and(|line| line.starts_with("\u{feff}".as_bytes())) {
                line.start += 3;
            }
        }
        self.line = end + 1;
        self.searched = self.line;
        Some(line)
    }

    fn read(&mut self, line: &[u8]) -> Result<Option<Piece>, SseError> {
        if line.is_empty() {
            return self.dispatch();
        }
        let (field, value) = match line.iter().position(|byte| *byte == b':') {
            Some(0) => return Ok(Some(Piece::Comment)),
            Some(colon) => (&line[..colon], &line[colon + 1..]),
            None => (line, &line[line.len()..]),
        };
        let value = value.strip_prefix(b" ").unwrap_or(value);
        match field {
            b"data" => {
                if self.data.len() + value.len() > LONGEST {
                    return Err(SseError::TooLong);
                }
                if self.has_data {
                    self.data.push(b'\n');
                }
                self.has_data = true;
                self.data.extend_from_slice(value);
            }
            b"event" => self.other_type = !matches!(value, b"" | b"message"),
            b"id" if !value.contains(&0) => {
                let id = std::str::from_utf8(value).ok().filter(|id| !id.is_empty() && id.len() <= LONGEST_ID);
                self.has_id = id.is_some();
                self.next_id = id.map(str::to_owned);
            }
            b"retry" if value.iter().all(u8::is_ascii_digit) => {
                let milliseconds = std::str::from_utf8(value).ok().and_then(|value| value.parse().ok());
                self.retry = milliseconds.map(Duration::from_millis).or(self.retry);
            }
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Result<Option<Piece>, SseError> {
        let data = std::mem::take(&mut self.data);
        let wanted = self.has_data && !self.other_type && !data.is_empty();
        self.has_data = false;
        self.other_type = false;
        // An event counts with its id, whether it has data or not.
        self.id_is_new = std::mem::take(&mut self.has_id);
        self.id.clone_from(&self.next_id);
        if !wanted {
            return Ok(self.id_is_new.then_some(Piece::Mark));
        }
        // An event stream is decoded with U+FFFD for what is not UTF-8 (HTML section 9.2.6, Encoding's "UTF-8 decode").
        let text =
            String::from_utf8(data).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(Some(Piece::Message(text)))
    }
}

/// Writes `message` as an event. Line breaks in it (outside of JSON strings, where they cannot be) become lines of data.
pub fn write_event(out: &mut Vec<u8>, message: &[u8]) {
    out.extend_from_slice(b"event: message\n");
    for line in message.split(|byte| matches!(byte, b'\n' | b'\r')) {
        out.extend_from_slice(b"data: ");
        out.extend_from_slice(line);
        out.push(b'\n');
    }
    out.push(b'\n');
}

/// Writes the id that the next event has.
pub fn write_id(out: &mut Vec<u8>, id: &str) {
    out.extend_from_slice(b"id: ");
    out.extend_from_slice(id.as_bytes());
    out.push(b'\n');
}

/// Ends an event that has no data.
pub const NO_DATA: &[u8] = b"data:\n\n";

/// A comment: keeps the connection alive, and finds out whether it still is.
pub const COMMENT: &[u8] = b":\n\n";

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(chunks: &[&[u8]]) -> Vec<Piece> {
        let mut parser = Parser::default();
        let mut pieces = Vec::new();
        for chunk in chunks {
            parser.push(chunk);
            while let Some(piece) = parser.piece().unwrap() {
                pieces.push(piece);
            }
        }
        parser.finish();
        pieces.extend(parser.piece().unwrap());
        pieces
    }

    #[test]
    fn it_does_not_matter_where_the_chunks_end() {
        let stream = "\u{feff}: hi\r\nid: 1\r\ndata:\r\n\r\nevent: message\r\ndata: {\"a\":\"é\"}\r\n\r\ndata: [1,\rdata: 2]\r\r\
                      event: ping\ndata: x\n\nretry: 5\nno-colon\ndata:{}\nid: 9\n\ndata: last"
            .as_bytes();
        let whole = pieces(&[stream]);
        let message = |text: &str| Piece::Message(text.to_owned());
        assert_eq!(
            whole,
            [Piece::Comment, Piece::Mark, message("{\"a\":\"é\"}"), message("[1,\n2]"), message("{}"), message("last")]
        );
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(pieces(&single), whole);
        for first in 0..stream.len() {
            for second in first..stream.len() {
                assert_eq!(pieces(&[&stream[..first], &stream[first..second], &stream[second..]]), whole);
            }
        }
    }

    /// R22: what a stream says of how it can be resumed.
    #[test]
    fn the_last_id_and_the_pause_are_those_of_events_that_have_ended() {
        let after = |stream: &str| {
            let mut parser = Parser::default();
            parser.push(stream.as_bytes());
            while parser.piece().unwrap().is_some() {}
            (
                parser.id().map(str::to_owned),
                parser.new_id().map(str::to_owned),
                parser.retry().map(|retry| retry.as_millis()),
            )
        };
        let some = |id: &str| Some(id.to_owned());
        assert_eq!(after("id: e1\nretry: 200\ndata:\n\n"), (some("e1"), some("e1"), Some(200)));
        assert_eq!(after("id: e1\n\ndata: {}\n\n"), (some("e1"), None, None), "the next event has none of its own");
        assert_eq!(after("id: e1\n\nid: e2\ndata: {}\n"), (some("e1"), some("e1"), None), "it has not ended");
        assert_eq!(after("id: e1\n\nid\ndata: {}\n\n").0, None, "an empty one takes it back");
        assert_eq!(after("id: e1\n\nid: a\0b\ndata: {}\n\n").0, some("e1"), "one with a NUL is none");
        assert_eq!(after(&format!("id: e1\n\nid: {}\n\n", "x".repeat(513))).0, None, "a long one is not kept");
        for retry in ["-1", "1.5", "x", "99999999999999999999", ""] {
            assert_eq!(after(&format!("retry: 7\nretry: {retry}\n\n")).2, Some(7), "{retry}");
        }
        let mut resumed = Parser::resumed("e1", None);
        resumed.push(b"data: {}\n\n");
        assert_eq!(resumed.piece(), Ok(Some(Piece::Message("{}".into()))));
        assert_eq!((resumed.id(), resumed.new_id()), (Some("e1"), None));
    }

    #[test]
    fn what_is_written_is_what_is_read() {
        for text in ["{}", "{\n  \"a\": 1\n}", "\"é\""] {
            let mut out = Vec::new();
            write_event(&mut out, text.as_bytes());
            assert_eq!(pieces(&[&out]), [Piece::Message(text.to_owned())]);
        }
    }

    #[test]
    fn an_event_without_end_is_given_up() {
        let mut parser = Parser::default();
        parser.push(b"data: ");
        for _ in 0..17 {
            parser.push(&vec![b'x'; 1024 * 1024]);
        }
        assert_eq!(parser.piece(), Err(SseError::TooLong));
        let mut parser = Parser::default();
        let line = [b"data: ".as_slice(), &vec![b'x'; 1024 * 1024], b"\n"].concat();
        let end = (0..18).find_map(|_| {
            parser.push(&line);
            parser.piece().err()
        });
        assert_eq!(end, Some(SseError::TooLong));
    }
}
