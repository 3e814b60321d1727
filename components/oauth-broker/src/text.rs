//! Makes texts from outside fit to be shown to people.

/// A text of at most `longest` characters, without those that cannot be seen and change how others look.
pub fn plain(text: &str, longest: usize) -> String {
    text.chars().filter(|letter| is_visible(*letter)).take(longest).collect()
}

/// Returns false for control and format characters (general categories Cc, Cf, Zl and Zp of Unicode: marks of direction,
/// spaces without width, tags) and for letters that are drawn as nothing.
pub fn is_visible(letter: char) -> bool {
    !letter.is_control()
        && !matches!(
            letter,
            '\u{ad}'
                | '\u{34f}'
                | '\u{600}'..='\u{605}'
                | '\u{61c}'
                | '\u{6dd}'
                | '\u{70f}'
                | '\u{890}'..='\u{891}'
                | '\u{8e2}'
                | '\u{115f}'..='\u{1160}'
                | '\u{180e}'
                | '\u{200b}'..='\u{200f}'
                | '\u{2028}'..='\u{202e}'
                | '\u{2060}'..='\u{206f}'
                | '\u{3164}'
                | '\u{feff}'
                | '\u{ffa0}'
                | '\u{fff9}'..='\u{fffb}'
                | '\u{110bd}'
                | '\u{110cd}'
                | '\u{13430}'..='\u{1343f}'
                | '\u{1bca0}'..='\u{1bca3}'
                | '\u{1d173}'..='\u{1d17a}'
                | '\u{e0000}'..='\u{e0fff}'
        )
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A19: none of these is left to change the look of what is around it.
    #[test]
    fn nothing_invisible_is_left_and_everything_else_stays() {
        let marks =
            "\u{202e}\u{202a}\u{202c}\u{2066}\u{2069}\u{200e}\u{200f}\u{61c}\u{200b}\u{200d}\u{2060}\u{feff}\u{ad}";
        let others = "\u{2028}\u{2029}\u{e0001}\u{e0041}\u{e007f}\u{180e}\u{3164}\n\r\t\0\u{1b}\u{7f}\u{85}\u{9b}";
        assert_eq!(plain(&format!("a{marks}b{others}c"), 100), "abc");
        for text in ["ann@example.com", "Anne-Sophie d'Été", "アン", "أنا", "😀", "<b>&\"", "a b"] {
            assert_eq!(plain(text, 100), text);
        }
        assert_eq!(plain(&"\u{200b}é".repeat(500), 100), "é".repeat(100));
    }
}
