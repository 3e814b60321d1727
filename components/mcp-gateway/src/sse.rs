//! What does a stream of server-sent events say, whatever pieces it arrives in?
//!
//! The event stream format of HTML (section 9.2.6), as far as MCP uses it: events of type `message`, whose data is one
//! JSON-RPC message. `id` and `retry` are read over: they offer to resume a stream by GET, which this gateway does not.

use std::ops::Range;

use thiserror::Error;

/// The longest event. Longer ones are an upstream's fault, and would have to be held whole.
const LONGEST: usize = 16 * 1024 * 1024;

/// What a stream holds, beside fields that do not matter here.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece {
    /// The data of an event of type `message`.
    Message(String),
    /// A comment: a sign of life.
    Comment,
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
}

impl Parser {
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

    /// What the stream's end completes. HTML would drop an event without its empty line; MCP servers exist that leave
    /// it out, and half a message would not parse anyway.
    pub fn end(&mut self) -> Result<Option<Piece>, SseError> {
        self.push(b"\n\n");
        self.piece()
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
            _ => {}
        }
        Ok(None)
    }

    fn dispatch(&mut self) -> Result<Option<Piece>, SseError> {
        let data = std::mem::take(&mut self.data);
        let wanted = self.has_data && !self.other_type && !data.is_empty();
        self.has_data = false;
        self.other_type = false;
        if !wanted {
            return Ok(None);
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
        pieces.extend(parser.end().unwrap());
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
            [Piece::Comment, message("{\"a\":\"é\"}"), message("[1,\n2]"), message("{}"), message("last")]
        );
        let single: Vec<&[u8]> = stream.chunks(1).collect();
        assert_eq!(pieces(&single), whole);
        for first in 0..stream.len() {
            for second in first..stream.len() {
                assert_eq!(pieces(&[&stream[..first], &stream[first..second], &stream[second..]]), whole);
            }
        }
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
