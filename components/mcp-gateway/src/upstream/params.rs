//! Parameters of tools that are repeated in headers (2026-07-28, `x-mcp-header` in a tool's `inputSchema`).
//!
//! A client of that era does this itself. For another one the gateway does, with what it has learnt from the server's list.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};

use crate::eras::modern::encoded;
use crate::names;
use json::{Object, quoted};

const KEYWORD: &str = "x-mcp-header";
/// More than servers take.
const MOST_HEADERS: usize = 64;
const DEEPEST: usize = 16;

/// Why no client may offer `tool`: one of its headers is not valid.
pub fn fault(tool: &Object<'_>) -> Option<String> {
    marked(tool).err().map(|why| format!("its {KEYWORD} {why}"))
}

/// The parameters of tools that have to be repeated in headers, from the tools' definitions: an object from tools to objects
/// from headers to the path of the parameter. At most 64 of one tool, and of as many tools as a row of the store holds.
pub fn headers_of(tools: &[String]) -> String {
    const LONGEST: usize = 64 * 1024;
    let mut length = 0;
    let of_tool = |tool: &String| {
        let tool = Object::parse(tool).ok()?;
        let (name, found) = (tool.get("name").ok()??, marked(&tool).ok()?);
        let headers: Vec<_> = found.iter().map(|(header, path)| [&quoted(header), ":[", path, "]"].concat()).collect();
        (!headers.is_empty()).then(|| format!("{name}:{{{}}}", headers.join(",")))
    };
    let has_room = |text: &String| {
        length += text.len();
        length <= LONGEST
    };
    ["{", &tools.iter().filter_map(of_tool).take_while(has_room).collect::<Vec<_>>().join(","), "}"].concat()
}

/// Headers, and the text of the paths of the parameters that they repeat.
type Found = Vec<(String, String)>;

fn marked(tool: &Object<'_>) -> Result<Found, String> {
    let mut found = Vec::new();
    let schema = tool.find("inputSchema").filter(|text| text.contains(KEYWORD));
    if let Some(schema) = schema.and_then(|text| Object::parse(text).ok()) {
        walk(&schema, &mut Vec::new(), true, 0, &mut found)?;
    }
    Ok(found)
}

/// Collects the headers of `schema`, whose value is at `path` if `has_path`. Under another keyword than `properties` it is
/// not known which value a schema is about.
fn walk(
    schema: &Object<'_>,
    path: &mut Vec<String>,
    has_path: bool,
    depth: usize,
    found: &mut Found,
) -> Result<(), String> {
    if depth == DEEPEST {
        return Ok(());
    }
    for (keyword, text) in schema.members() {
        match &**keyword {
            KEYWORD if !has_path || path.is_empty() => return Err("is at a place that no argument has".to_owned()),
            KEYWORD => {
                let header = header(schema, text, found)?;
                if found.len() < MOST_HEADERS {
                    found.push((header, path.join(",")));
                }
            }
            "const" | "default" | "enum" | "examples" => {}
            "properties" => {
                let properties = Object::parse(text).ok();
                for (name, property) in properties.iter().flat_map(Object::members) {
                    let Ok(property) = Object::parse(property) else { continue };
                    path.push(quoted(name));
                    walk(&property, path, has_path, depth + 1, found)?;
                    path.pop();
                }
            }
            _ => {
                let inner = json::array(text).unwrap_or_else(|| vec![text]);
                for schema in inner.into_iter().filter_map(|text| Object::parse(text).ok()) {
                    walk(&schema, path, false, depth + 1, found)?;
                }
            }
        }
    }
    Ok(())
}

/// The header that `text` names for the values of `schema`.
fn header(schema: &Object<'_>, text: &str, found: &Found) -> Result<String, String> {
    const LONGEST_SHOWN: usize = 64;
    let name = json::string(text).filter(|name| !name.is_empty() && field(name).is_some());
    let name = name.ok_or_else(|| ["is no name of a header: ", names::cut(text, LONGEST_SHOWN)].concat())?;
    if !matches!(schema.find("type"), Some(r#""string""# | r#""integer""# | r#""boolean""#)) {
        return Err("is on something else than a string, an integer or a boolean".to_owned());
    }
    if found.iter().any(|(other, _)| other.eq_ignore_ascii_case(&name)) {
        return Err(["is there twice: ", names::cut(text, LONGEST_SHOWN)].concat());
    }
    Ok(name.into_owned())
}

fn field(name: &str) -> Option<HeaderName> {
    HeaderName::try_from(["mcp-param-", name].concat()).ok()
}

/// The headers that repeat the `arguments` of a call of `tool`, by what [`headers_of`] gave.
pub fn repeated(known: &str, tool: &str, arguments: Option<&Object<'_>>) -> Vec<(HeaderName, HeaderValue)> {
    let of_tool =
        Object::parse(known).ok().and_then(|tools| tools.find(tool).and_then(|text| Object::parse(text).ok()));
    let (Some(headers), Some(arguments)) = (of_tool, arguments) else { return Vec::new() };
    let header = |(name, path): (&Cow<'_, str>, &str)| {
        let name = field(name)?;
        let mut path = json::array(path)?.into_iter().map(json::string);
        let mut value = arguments.find(&path.next()??)?;
        for step in path {
            value = Object::parse(value).ok()?.find(&step?)?;
        }
        let text = match value.as_bytes().first()? {
            b'"' => json::string(value)?,
            b't' | b'f' | b'-' | b'0'..=b'9' => value.into(),
            // Absent, null, or nothing that a header can repeat.
            _ => return None,
        };
        Some((name, HeaderValue::try_from(&*encoded(&text)).ok()?))
    };
    headers.members().filter_map(header).collect()
}
