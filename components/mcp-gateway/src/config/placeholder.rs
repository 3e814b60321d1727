//! Recognises what other programs fill in before they use a file, and nothing fills in here.

/// The placeholder that `text` holds, in the form of some program: `${TOKEN}` and `${env:TOKEN}` (VS Code, Claude Code),
/// `{env:TOKEN}` (opencode), `{{TOKEN}}` (LibreChat), `$TOKEN` (Gemini CLI), `%TOKEN%`, `<your token>` (documentation).
/// `None` if it holds none.
pub fn placeholder(text: &str) -> Option<&str> {
    text.bytes().enumerate().find_map(|(start, byte)| {
        if !matches!(byte, b'$' | b'{' | b'%' | b'<') {
            return None;
        }
        let rest = text.get(start..)?;
        let end = match byte {
            b'$' => after_dollar(rest),
            b'{' => after_brace(rest),
            b'%' => delimited(rest, '%', |name| name.len() > 2 && is_variable(name)),
            _ => delimited(rest, '>', |name| name.starts_with(|c: char| c.is_ascii_alphabetic())),
        }?;
        rest.get(..end)
    })
}

fn after_dollar(rest: &str) -> Option<usize> {
    if rest.starts_with("${") || rest.starts_with("$(") {
        return Some(rest.find(['}', ')']).map_or(rest.len(), |end| end + 1));
    }
    let name: &str = rest.get(1..)?;
    let length = name.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap_or(name.len());
    // `$filter` of a query is none, and `$5` is none.
    is_variable(name.get(..length)?).then_some(length + 1)
}

fn after_brace(rest: &str) -> Option<usize> {
    let is_double = rest.starts_with("{{");
    let inner = rest.trim_start_matches('{');
    let word = inner.find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(inner.len());
    let is_named = word > 0 && inner.get(word..)?.starts_with(':');
    (is_double || is_named).then(|| rest.find('}').map_or(rest.len(), |end| end + 1))
}

/// The end of what stands between two marks, if `fits` says that it is a name.
fn delimited(rest: &str, close: char, fits: impl Fn(&str) -> bool) -> Option<usize> {
    let inner = rest.get(1..)?;
    let end = inner.find(close)?;
    fits(inner.get(..end)?).then_some(end + 2)
}

/// Returns true for the name of an environment variable as people write them: capitals, digits and `_`, two at least.
fn is_variable(name: &str) -> bool {
    name.len() > 1
        && name.starts_with(|c: char| c.is_ascii_uppercase())
        && name.bytes().all(|byte| byte.is_ascii_uppercase() || byte.is_ascii_digit() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// R15: an unfilled placeholder of any program's form.
    #[test]
    fn placeholders_of_every_program_are_seen() {
        for (text, found) in [
            ("Bearer ${TOKEN}", "${TOKEN}"),
            ("Bearer ${env:TOKEN}", "${env:TOKEN}"),
            ("Bearer ${input:token}", "${input:token}"),
            ("Bearer ${TOKEN:-x}", "${TOKEN:-x}"),
            ("Bearer {env:TOKEN}", "{env:TOKEN}"),
            ("{file:~/.token}", "{file:~/.token}"),
            ("Bearer {{TOKEN}}", "{{TOKEN}"),
            ("Bearer $TOKEN", "$TOKEN"),
            ("Bearer $MY_TOKEN_2", "$MY_TOKEN_2"),
            ("Bearer $(cat x)", "$(cat x)"),
            ("Bearer %TOKEN%", "%TOKEN%"),
            ("Bearer <your token>", "<your token>"),
            ("https://$HOST/mcp", "$HOST"),
            ("${", "${"),
        ] {
            assert_eq!(placeholder(text), Some(found), "{text}");
        }
    }

    #[test]
    fn a_value_that_only_looks_like_one_passes() {
        for text in [
            "Bearer abc",
            "https://a.example/?$filter=x",
            "pa$$w0rd$5",
            "a$b",
            "$",
            "{",
            "{\"a\":1}",
            "50%",
            "%20%41",
            "a < b > c",
            "<>",
            "$Ab",
            "é$é",
        ] {
            assert_eq!(placeholder(text), None, "{text}");
        }
    }
}
