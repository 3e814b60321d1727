//! Names the server in what a person reads, if many servers share one endpoint.
//!
//! A client of the aggregate sees one server: the gateway. So what a server behind it asks or says would look like the
//! gateway's own word, or another server's. Requests to the person begin with `[server]`, log messages name it as their
//! logger, titles in lists begin with it, and ids that only the server gives a meaning (of links, of tasks) say whose they
//! are, so that no server speaks of another's. So do URIs in the answer to a request that named one in that form. At a
//! server's own route nothing of this is done.

use json::{Ambiguous, Edits, Object, quoted};

use crate::{names, skills};

/// Text that is read by a person as the word of the server that `prefix` stands for.
pub fn named(prefix: &str, text: &str) -> String {
    ["[", prefix, "] ", &plain(text)].concat()
}

/// `text` without characters that a terminal or a page obeys instead of showing them: with those, the server's name
/// could be overwritten or moved. Line breaks and tabs stay.
pub fn plain(text: &str) -> String {
    text.chars().filter(|c| !is_obeyed(*c)).collect()
}

/// Control characters but line feed and tab, and marks that change the direction of text.
pub fn is_obeyed(c: char) -> bool {
    let is_mark = matches!(c, '\u{61c}' | '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    is_mark || c.is_control() && !matches!(c, '\n' | '\t')
}

/// Names the server in the request `method` with `params`, which are a part of the text that `edits` is about.
pub fn name_request(edits: &mut Edits<'_>, prefix: &str, method: &str, params: &Object<'_>) -> Result<(), Ambiguous> {
    match method {
        "elicitation/create" => {
            name_text(edits, prefix, params, "message")?;
            bind(edits, prefix, params, "elicitationId").map(drop)
        }
        // A person may look through what their model is asked.
        "sampling/createMessage" => name_text(edits, prefix, params, "systemPrompt"),
        _ => Ok(()),
    }
}

/// Names the server in the text under `member`, which is made if there is none.
fn name_text(edits: &mut Edits<'_>, prefix: &str, of: &Object<'_>, member: &'static str) -> Result<(), Ambiguous> {
    let value = of.get(member)?;
    match value.and_then(json::string) {
        Some(text) => edits.replace(value.unwrap_or_default(), quoted(&named(prefix, &text))),
        None => {
            let name = format!("{}:{}", quoted(member), quoted(named(prefix, "").trim_end()));
            edits.rework(of, &[member], &name);
        }
    }
    Ok(())
}

/// Names the server in the text under `member`, if there is one.
pub fn name_title(edits: &mut Edits<'_>, prefix: &str, of: &Object<'_>, member: &'static str) -> Result<(), Ambiguous> {
    if let Some(value) = of.get(member)?
        && let Some(text) = json::string(value)
    {
        edits.replace(value, quoted(&named(prefix, &text)));
    }
    Ok(())
}

/// Has the id under `member` say whose it is. Returns false if there is none.
pub fn bind(edits: &mut Edits<'_>, prefix: &str, of: &Object<'_>, member: &'static str) -> Result<bool, Ambiguous> {
    let Some(value) = of.get(member)? else { return Ok(false) };
    let Some(id) = json::string(value) else { return Ok(false) };
    edits.replace(value, quoted(&names::join_task(prefix, &id)));
    Ok(true)
}

/// Has the URI of `of` say whose it is.
pub fn name_uri(edits: &mut Edits<'_>, prefix: &str, of: &Object<'_>) -> Result<(), Ambiguous> {
    if let Some(value) = of.get("uri")?
        && let Some(uri) = json::string(value)
    {
        edits.replace(value, quoted(&names::join_uri(prefix, &uri)));
    }
    Ok(())
}

/// The same for each object in the list under `member`.
pub fn name_uris(edits: &mut Edits<'_>, prefix: &str, of: &Object<'_>, member: &'static str) -> Result<(), Ambiguous> {
    for item in of.get(member)?.and_then(json::array).into_iter().flatten() {
        if let Ok(item) = Object::parse(item) {
            name_uri(edits, prefix, &item)?;
        }
    }
    Ok(())
}

/// Has the URIs in the result of `method` say whose they are, where the request named one by such a URI.
pub fn name_uris_in(edits: &mut Edits<'_>, prefix: &str, method: &str, result: &Object<'_>) -> Result<(), Ambiguous> {
    match method {
        "resources/read" => name_uris(edits, prefix, result, "contents"),
        skills::READ_DIRECTORY => name_uris(edits, prefix, result, "resources"),
        skills::GET => match result.object("skill")? {
            Some(skill) => skills::name_entry(edits, prefix, &skill),
            None => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Names the server as the logger of a log message.
pub fn name_logger(edits: &mut Edits<'_>, prefix: &str, params: &Object<'_>) -> Result<(), Ambiguous> {
    match params.get("logger")?.map(|value| (value, json::string(value))) {
        Some((value, Some(logger))) => edits.replace(value, quoted(&[prefix, "/", &plain(&logger)].concat())),
        _ => edits.rework(params, &["logger"], &["\"logger\":", &quoted(prefix)].concat()),
    }
    Ok(())
}

/// What a server tells a model, as one part of a text that holds what several tell: each line is quoted, so that a heading
/// in it is none of ours.
pub fn quote(text: &str) -> String {
    let text = text.replace("\r\n", "\n").replace(['\r', '\u{b}', '\u{c}', '\u{85}', '\u{2028}', '\u{2029}'], "\n");
    let lines: Vec<String> = plain(&text).lines().map(|line| ["> ", line].concat()).collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A09: neither line breaks of any kind nor what a terminal obeys leads out of the quotation.
    #[test]
    fn a_quoted_text_has_no_line_of_its_own() {
        let text = "# good\r\n# a\r# b\u{2028}# c\u{2029}# d\u{85}# e\u{b}# f\u{c}# g\n\n\u{1b}[2K\u{202e}# h\t.";
        let quoted = quote(text);
        assert!(quoted.lines().all(|line| line.starts_with("> ")), "{quoted}");
        assert!(quoted.chars().all(|c| c == '\n' || c == '\t' || !c.is_control() && c != '\u{202e}'), "{quoted:?}");
        assert_eq!(quoted.lines().count(), 10);
        assert_eq!(named("up", "\u{8}\r\u{1b}[2Khello"), "[up] [2Khello");
    }
}
