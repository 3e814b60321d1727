//! Ranks texts by how well they fit a few words.
//!
//! BM25F (Robertson and Zaragoza 2009): a word counts by how rare it is, a text by how often it has the word for its
//! length, and what stands in its heading counts four times. Words are split where names are (`create_issue`,
//! `createIssue`), and compared without the endings that English gives to plurals and verbs; a word that is the start of
//! another fits it by half. The same words find the same texts in the same order, wherever they are asked.

/// A longer question has no more words than this.
const MOST_WORDS: usize = 16;
const HEADING: f64 = 4.0;
/// How soon a word that is repeated counts no more, and how much a text's length weighs: the usual values.
const K1: f64 = 1.2;
const B: f64 = 0.75;
/// How much a word counts that only starts with the wanted one, and one that the wanted one starts with.
const LONGER: f64 = 0.5;
const SHORTER: f64 = 0.3;
/// Shorter ones are the start of too much.
const SHORTEST_START: usize = 3;

/// What is looked through.
pub struct Document {
    pub heading: String,
    pub text: String,
}

/// How often each wanted word stands in a field, and how long that is.
struct Field {
    hits: Vec<f64>,
    length: f64,
}

/// The places of those of `documents` that `question` fits best, the best first, of equals the first; and how many it
/// fits at all.
pub fn rank(question: &str, documents: &[Document], most: usize) -> (Vec<usize>, usize) {
    let mut wanted: Vec<String> = Vec::new();
    each_word(question, &mut |word| {
        if wanted.len() < MOST_WORDS && wanted.iter().all(|known| known != word) {
            wanted.push(word.to_owned());
        }
    });
    let fields: Vec<[Field; 2]> =
        documents.iter().map(|document| [count(&wanted, &document.heading), count(&wanted, &document.text)]).collect();
    let all = documents.len().max(1) as f64;
    let usual = [0, 1].map(|field| (fields.iter().map(|fields| fields[field].length).sum::<f64>() / all).max(1.0));
    let mut scores = vec![0.0; fields.len()];
    for word in 0..wanted.len() {
        let having = fields.iter().filter(|[heading, text]| heading.hits[word] + text.hits[word] > 0.0).count() as f64;
        let rarity = log2(1.0 + (all - having + 0.5) / (having + 0.5));
        for (score, [heading, text]) in scores.iter_mut().zip(&fields) {
            let often = |field: &Field, usual: f64| field.hits[word] / (1.0 - B + B * field.length / usual);
            let often = HEADING * often(heading, usual[0]) + often(text, usual[1]);
            *score += rarity * often / (K1 + often);
        }
    }
    let fitting = scores.iter().filter(|score| **score > 0.0).count();
    let mut ranked = Vec::new();
    while ranked.len() < most.min(fitting) {
        let mut best = 0;
        for (place, score) in scores.iter().enumerate() {
            if *score > scores[best] {
                best = place;
            }
        }
        scores[best] = 0.0;
        ranked.push(best);
    }
    (ranked, fitting)
}

/// Straight lines between the powers of two: near enough for a weight, and no table of logarithms.
fn log2(number: f64) -> f64 {
    number.to_bits() as f64 / (1_u64 << 52) as f64 - 1023.0
}

fn count(wanted: &[String], text: &str) -> Field {
    let mut field = Field { hits: vec![0.0; wanted.len()], length: 0.0 };
    each_word(text, &mut |word| {
        field.length += 1.0;
        for (hits, wanted) in field.hits.iter_mut().zip(wanted) {
            if word == wanted {
                *hits += 1.0;
            } else if wanted.len() >= SHORTEST_START && word.starts_with(wanted.as_str()) {
                *hits += LONGER;
            } else if word.len() > SHORTEST_START && wanted.starts_with(word) {
                *hits += SHORTER;
            }
        }
    });
    field
}

/// Calls `then` with each word of `text`, in lower case and without its ending. Case is ASCII's alone: the tables of all
/// others are longer than this component's budget for searching.
fn each_word(text: &str, then: &mut dyn FnMut(&str)) {
    let mut word = String::new();
    let mut before = ' ';
    let mut rest = text.chars().peekable();
    loop {
        let next = rest.next();
        let c = next.unwrap_or(' ');
        // `createIssue`, and `HTTPServer` before its S.
        let starts = c.is_ascii_uppercase()
            && (!before.is_ascii_uppercase() || rest.peek().is_some_and(char::is_ascii_lowercase));
        // Scripts that leave no room between words.
        let alone = |c: char| ('\u{3040}'..'\u{ac00}').contains(&c);
        let belongs = c.is_ascii_alphanumeric() || !(c.is_ascii() || ('\u{2000}'..'\u{3040}').contains(&c));
        if (!belongs || starts || alone(c) || alone(before)) && !word.is_empty() {
            then(stem(&mut word));
            word.clear();
        }
        if next.is_none() {
            return;
        }
        if belongs {
            word.push(c.to_ascii_lowercase());
        }
        before = c;
    }
}

/// `word` without an ending. What is left need not be a word, only the same for all its forms.
fn stem(word: &mut String) -> &str {
    let cut = |word: &mut String, ending: &str, least: usize| {
        let fits = word.ends_with(ending) && word.len() >= least + ending.len();
        if fits {
            word.truncate(word.len() - ending.len());
        }
        fits
    };
    if cut(word, "ies", 2) {
        word.push('y');
    } else if ["sses", "shes", "ches", "xes"].iter().any(|ending| word.ends_with(ending)) {
        cut(word, "es", 2);
    } else if !["ss", "us", "is"].iter().any(|ending| word.ends_with(ending)) {
        cut(word, "s", 3);
    }
    let _ = cut(word, "ing", 4) || cut(word, "ed", 4) || cut(word, "e", 4);
    word
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(text: &str) -> Vec<String> {
        let mut words = Vec::new();
        each_word(text, &mut |word| words.push(word.to_owned()));
        words
    }

    #[test]
    fn names_are_split_into_their_words() {
        assert_eq!(words("github__create_issue"), ["github", "creat", "issu"]);
        assert_eq!(words("createHTTPIssue get-sum2"), ["creat", "http", "issu", "get", "sum2"]);
        assert_eq!(words("创建 ärger – Über"), ["创", "建", "ärger", "Über"]);
    }

    #[test]
    fn forms_of_a_word_are_the_same_word() {
        for forms in [
            "issue issues",
            "create creates created creating",
            "branch branches",
            "query queries",
            "status statuses",
            "box boxes",
        ] {
            let words = words(forms);
            assert!(words.iter().all(|word| *word == words[0]), "{words:?}");
        }
        assert_eq!(words("string need is"), ["string", "need", "is"]);
    }
}
