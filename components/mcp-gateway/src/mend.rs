//! Makes entries of a server's list valid, or says why one cannot be shown.
//!
//! A client that validates a merged list refuses all of it for one bad entry. So what is safe to mend is mended: a
//! member that is null is absent, a tool without a schema takes any object, a resource without a name is called by its
//! URI. Nothing is guessed: an entry with a member of a wrong type is left out, with the reason.

use std::borrow::Cow;

use json::{Edits, Object, quoted};

use crate::lists::Kind;
use crate::skills;

/// A valid form of `entry`, borrowed if it is valid as it is. The error says what is wrong with it.
pub fn mend<'e>(kind: &Kind, entry: &'e str) -> Result<Cow<'e, str>, String> {
    let object = Object::parse(entry).map_err(|_| "it is no object".to_owned())?;
    let mut mended = Mended { edits: Edits::new(entry), changed: false };
    let mut add = String::new();
    match kind.member {
        "tools" => tool(&object, &mut mended, &mut add)?,
        "prompts" => prompt(&object, &mut mended)?,
        // Nothing of it can be mended: clients compare it with the files.
        "skills" => return skills::check(&object).map(|()| Cow::Borrowed(entry)).map_err(str::to_owned),
        _ => resource(kind, &object, &mut add)?,
    }
    for name in ["title", "description", "mimeType"] {
        is(&object, name, "a string", |text| text.starts_with('"'))?;
    }
    is(&object, "annotations", "an object", is_object)?;
    is(&object, "icons", "a list of objects", |text| is_list(text, is_object))?;
    is(&object, "_meta", "an object", is_object)?;
    mended.without_nulls(&object, &OPTIONAL, &add);
    if !mended.changed {
        return Ok(Cow::Borrowed(entry));
    }
    String::from_utf8(mended.edits.apply()).map(Cow::Owned).map_err(|_| "it is not UTF-8".to_owned())
}

/// The members that may be absent.
const OPTIONAL: [&str; 13] = [
    "title",
    "description",
    "mimeType",
    "annotations",
    "icons",
    "_meta",
    "outputSchema",
    "inputSchema",
    "execution",
    "arguments",
    "size",
    "name",
    "extensions",
];

struct Mended<'e> {
    edits: Edits<'e>,
    changed: bool,
}

impl Mended<'_> {
    /// Takes the members of `names` out of `object` that are null, and puts `add` in, which is the text of members.
    fn without_nulls(&mut self, object: &Object<'_>, names: &[&'static str], add: &str) {
        let nulls: Vec<&str> = names.iter().copied().filter(|name| object.find(name) == Some("null")).collect();
        if !nulls.is_empty() || !add.is_empty() {
            self.edits.rework(object, &nulls, add);
            self.changed = true;
        }
    }
}

fn tool(tool: &Object<'_>, mended: &mut Mended<'_>, add: &mut String) -> Result<(), String> {
    let name = named(tool, "name")?;
    if name.is_empty() {
        return Err("its name is empty".to_owned());
    }
    is(tool, "execution", "an object", is_object)?;
    match tool.present("inputSchema") {
        // A tool without arguments.
        None => add.push_str(r#""inputSchema":{"type":"object"}"#),
        Some(text) => {
            let schema = Object::parse(text).map_err(|_| "its inputSchema is no object".to_owned())?;
            let mut more = "";
            match schema.present("type") {
                Some("\"object\"") => {}
                None => more = r#""type":"object""#,
                Some(_) => return Err("its inputSchema is of another type than object".to_owned()),
            }
            is(&schema, "required", "a list of strings in inputSchema", |text| {
                is_list(text, |item| item.starts_with('"'))
            })?;
            if let Some(text) = schema.present("properties") {
                let properties =
                    Object::parse(text).map_err(|_| "its inputSchema's properties are no object".to_owned())?;
                if properties
                    .members()
                    .any(|(_, property)| !is_object(property) && !matches!(property, "true" | "false"))
                {
                    return Err("a property in its inputSchema is no schema".to_owned());
                }
            }
            mended.without_nulls(&schema, &["type", "required", "properties", "$schema", "description", "title"], more);
        }
    }
    is(tool, "outputSchema", "a schema", is_object)
}

fn prompt(prompt: &Object<'_>, mended: &mut Mended<'_>) -> Result<(), String> {
    if named(prompt, "name")?.is_empty() {
        return Err("its name is empty".to_owned());
    }
    let Some(arguments) = prompt.present("arguments") else { return Ok(()) };
    for argument in json::array(arguments).ok_or("its arguments are no list")? {
        let argument = Object::parse(argument).map_err(|_| "one of its arguments is no object".to_owned())?;
        named(&argument, "name").map_err(|_| "one of its arguments has no name".to_owned())?;
        is(&argument, "description", "a string in each argument", |text| text.starts_with('"'))?;
        is(&argument, "title", "a string in each argument", |text| text.starts_with('"'))?;
        is(&argument, "required", "true or false in each argument", |text| matches!(text, "true" | "false"))?;
        mended.without_nulls(&argument, &["description", "title", "required"], "");
    }
    Ok(())
}

/// A resource or a template.
fn resource(kind: &Kind, resource: &Object<'_>, add: &mut String) -> Result<(), String> {
    let uri = named(resource, kind.key)?;
    if uri.is_empty() {
        return Err(format!("its {} is empty", kind.key));
    }
    is(resource, "name", "a string", |text| text.starts_with('"'))?;
    is(resource, "size", "a number", |text| text.starts_with(|c: char| c.is_ascii_digit()))?;
    if resource.present("name").is_none() {
        let title = resource.present("title").filter(|title| title.starts_with('"')).map(Cow::Borrowed);
        add.push_str("\"name\":");
        add.push_str(&title.unwrap_or_else(|| quoted(&uri).into()));
    }
    Ok(())
}

/// The string under `name`, which has to be there.
fn named<'e>(object: &Object<'e>, name: &str) -> Result<Cow<'e, str>, String> {
    let text = object.present(name).ok_or_else(|| format!("it has no {name}"))?;
    json::string(text).ok_or_else(|| format!("its {name} is no string"))
}

/// An error if there is a member called `name`, and it is not `what`.
fn is(object: &Object<'_>, name: &str, what: &str, fits: impl Fn(&str) -> bool) -> Result<(), String> {
    match object.present(name) {
        Some(text) if !fits(text) => Err(format!("its {name} is not {what}")),
        _ => Ok(()),
    }
}

fn is_object(text: &str) -> bool {
    text.starts_with('{')
}

fn is_list(text: &str, fits: impl Fn(&str) -> bool) -> bool {
    json::array(text).is_some_and(|items| items.into_iter().all(fits))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::lists::{PROMPTS, RESOURCES, TEMPLATES, TOOLS};

    /// R06: what is safe to mend is mended.
    #[test]
    fn entries_are_mended_where_that_is_safe() {
        for (kind, entry, mended) in [
            (&TOOLS, r#"{"name":"a"}"#, r#"{"inputSchema":{"type":"object"},"name":"a"}"#),
            (&TOOLS, r#"{"name":"a","inputSchema":null}"#, r#"{"inputSchema":{"type":"object"},"name":"a"}"#),
            (&TOOLS, r#"{"name":"a","inputSchema":{}}"#, r#"{"name":"a","inputSchema":{"type":"object"}}"#),
            (
                &TOOLS,
                r#"{"name":"a","description":null,"inputSchema":{"type":"object","required":null,"properties":null}}"#,
                r#"{"name":"a","inputSchema":{"type":"object"}}"#,
            ),
            (
                &TOOLS,
                r#"{"name":"a","outputSchema":null,"annotations":null,"icons":null,"inputSchema":{"type":"object"}}"#,
                r#"{"name":"a","inputSchema":{"type":"object"}}"#,
            ),
            (
                &PROMPTS,
                r#"{"name":"a","arguments":[{"name":"b","description":null,"required":null}],"title":null}"#,
                r#"{"name":"a","arguments":[{"name":"b"}]}"#,
            ),
            (&PROMPTS, r#"{"name":"a","arguments":null}"#, r#"{"name":"a"}"#),
            (&RESOURCES, r#"{"uri":"a:b","mimeType":null,"size":null}"#, r#"{"name":"a:b","uri":"a:b"}"#),
            (&RESOURCES, r#"{"uri":"a:b","title":"T"}"#, r#"{"name":"T","uri":"a:b","title":"T"}"#),
            (&TEMPLATES, r#"{"uriTemplate":"a:{b}","name":null}"#, r#"{"name":"a:{b}","uriTemplate":"a:{b}"}"#),
        ] {
            assert_eq!(mend(kind, entry).as_deref(), Ok(mended), "{entry}");
            assert!(matches!(mend(kind, mended), Ok(Cow::Borrowed(_))), "{mended}");
        }
    }

    #[test]
    fn a_valid_entry_stays_byte_for_byte() {
        for (kind, entry) in [
            (
                &TOOLS,
                r#"{ "name" : "a", "x":null, "inputSchema":{"type":"object","properties":{"p":true,"q":{}},"required":["p"]}}"#,
            ),
            (&PROMPTS, r#"{"name":"a","arguments":[{"name":"b","required":true}]}"#),
            (&RESOURCES, r#"{"uri":"a:b","name":"","size":1.0}"#),
        ] {
            assert!(matches!(mend(kind, entry), Ok(Cow::Borrowed(same)) if same == entry), "{entry}");
        }
    }

    /// R06: what cannot be mended is left out, with the reason.
    #[test]
    fn what_cannot_be_mended_is_named() {
        for (kind, entry, why) in [
            (&TOOLS, r#"7"#, "no object"),
            (&TOOLS, r#"{"inputSchema":{"type":"object"}}"#, "no name"),
            (&TOOLS, r#"{"name":7}"#, "name is no string"),
            (&TOOLS, r#"{"name":""}"#, "name is empty"),
            (&TOOLS, r#"{"name":"a","inputSchema":[]}"#, "inputSchema is no object"),
            (&TOOLS, r#"{"name":"a","inputSchema":{"type":"string"}}"#, "another type"),
            (&TOOLS, r#"{"name":"a","inputSchema":{"type":"object","required":"x"}}"#, "required"),
            (&TOOLS, r#"{"name":"a","inputSchema":{"type":"object","required":[1]}}"#, "required"),
            (&TOOLS, r#"{"name":"a","inputSchema":{"type":"object","properties":{"p":null}}}"#, "property"),
            (&TOOLS, r#"{"name":"a","description":7}"#, "description"),
            (&TOOLS, r#"{"name":"a","annotations":[]}"#, "annotations"),
            (&TOOLS, r#"{"name":"a","icons":{}}"#, "icons"),
            (&TOOLS, r#"{"name":"a","outputSchema":"x"}"#, "outputSchema"),
            (&PROMPTS, r#"{"name":"a","arguments":{}}"#, "arguments are no list"),
            (&PROMPTS, r#"{"name":"a","arguments":[{"x":1}]}"#, "no name"),
            (&RESOURCES, r#"{"name":"a"}"#, "no uri"),
            (&TEMPLATES, r#"{"uri":"a"}"#, "no uriTemplate"),
        ] {
            let said = mend(kind, entry).unwrap_err();
            assert!(said.contains(why), "{entry}: {said}");
        }
    }
}
