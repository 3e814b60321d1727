//! Makes one line of the log out of text that may come from outside.
//!
//! Names of methods, tools, servers, settings and resources stand in lines of the log. A control character in them would
//! start a line that looks like another component's, or move the cursor of the terminal that shows the log.

/// The longest line, in bytes: longer than every line of the audit.
pub const LONGEST_LINE: usize = 16 * 1024;
/// The end of a line that was cut.
const CUT: &str = " [cut]";

/// `text` as one line of at most [`LONGEST_LINE`] bytes. What could end a line, steer a terminal or turn the direction of
/// writing is escaped as in JSON, so that a line of JSON stays one that says the same.
pub fn line(text: &str) -> String {
    let mut line = String::with_capacity(text.len().min(LONGEST_LINE));
    for letter in text.chars() {
        let length = line.len();
        if is_harmful(letter) {
            // All of them are below U+10000.
            line.push_str("\\u");
            for shift in [12, 8, 4, 0] {
                let digit = (u32::from(letter) >> shift) & 15;
                line.push(char::from_digit(digit, 16).unwrap_or_default());
            }
        } else {
            line.push(letter);
        }
        if line.len() > LONGEST_LINE - CUT.len() {
            line.truncate(length);
            line.push_str(CUT);
            break;
        }
    }
    line
}

/// C0, DEL and C1; the separators of lines and paragraphs; and what turns the direction of writing.
fn is_harmful(letter: char) -> bool {
    letter.is_control()
        || matches!(letter, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A04: both components' logs print what this makes of a line.
    #[test]
    fn no_text_from_outside_starts_a_line_or_steers_a_terminal() {
        let forged =
            "x\r\noauth-broker: audit {}\n\u{1b}[31m\u{7f}\u{85}\u{9b}2J\u{2028}\u{2029}\u{202e}\u{2066}\u{61c}\t\0";
        let told = line(forged);
        assert!(told.chars().all(|letter| !is_harmful(letter)), "{told:?}");
        assert_eq!(
            told,
            "x\\u000d\\u000aoauth-broker: audit {}\\u000a\\u001b[31m\\u007f\\u0085\\u009b2J\\u2028\\u2029\\u202e\\u2066\
             \\u061c\\u0009\\u0000"
        );
        for letter in ('\0'..=char::MAX).filter(|letter| !is_harmful(*letter)) {
            assert!(!matches!(u32::from(letter), ..0x20 | 0x7f..0xa0 | 0x2028..0x202f | 0x2066..0x206a), "{letter:?}");
        }
        assert_eq!(line("grüße, 日本, \"a\\b\""), "grüße, 日本, \"a\\b\"");
    }

    /// A04: what is escaped is cut at a whole letter, and says that it was cut.
    #[test]
    fn a_long_line_is_cut_at_a_letter() {
        for letter in ["x", "ü", "日", "𝄞", "\u{202e}"] {
            for more in 0..4 {
                let told = line(&("x".repeat(more) + &letter.repeat(LONGEST_LINE)));
                assert!(told.len() <= LONGEST_LINE && told.len() > LONGEST_LINE - CUT.len() - 7, "{}", told.len());
                let whole = told.strip_suffix(CUT).unwrap();
                assert!(letter != "\u{202e}" || whole.ends_with("\\u202e"), "{letter:?}");
            }
        }
        let fits = "x".repeat(LONGEST_LINE - CUT.len());
        assert_eq!(line(&fits), fits);
    }
}
