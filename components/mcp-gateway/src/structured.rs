//! Writes tools and their structured results as clients of the older era take them.
//!
//! In 2026-07-28 a tool's `outputSchema` may be any JSON Schema, and `structuredContent` any JSON (SEP-2106). Before, both
//! are objects, and a client refuses a whole list for one other schema. The SDKs put such a schema, and its value, under
//! `result` for those clients. So does the gateway:
//!
//! | root of `outputSchema` | schema in the older era | `structuredContent` in the older era |
//! |---|---|---|
//! | `"type": "object"` | unchanged | unchanged |
//! | a type that is never an object | an object with `result` | `{"result": …}` |
//! | several types with `object`, or no type | either of these two | an object unchanged, other values as `{"result": …}` |
//!
//! The third line differs from the SDKs, which put an object under `result` there too: an SDK has the schema when it makes
//! the result. The gateway has the result alone, and a lookup of the schema would cost each call a read of the store. So the
//! schema that it shows allows both forms, and each value fits it.

use json::{Edits, Object, quoted};

/// The deepest part of a schema whose references are moved. Each level is read again on the way down.
const DEEPEST: usize = 32;
/// Keywords whose values are data.
const DATA: [&str; 4] = ["const", "enum", "default", "examples"];
/// Keywords whose members have names that are not keywords.
const NAMED: [&str; 6] =
    ["properties", "patternProperties", "$defs", "definitions", "dependentSchemas", "dependencies"];

/// A tool's definition for a client of the older era.
pub fn tool(entry: String) -> String {
    let mut edits = Edits::new(&entry);
    match Object::parse(&entry) {
        Ok(tool) if fit_tool(&tool, &mut edits) => String::from_utf8(edits.apply()).unwrap_or_default(),
        _ => entry,
    }
}

/// Makes the tools in the result of `tools/list` valid in the older era.
pub fn fit_list(result: &Object<'_>, edits: &mut Edits<'_>) {
    for tool in result.find("tools").and_then(json::array).unwrap_or_default() {
        if let Ok(tool) = Object::parse(tool) {
            fit_tool(&tool, edits);
        }
    }
}

/// Makes the result of `tools/call` valid in the older era. Returns a member that has to be taken out, and the text of one
/// that has to be put in.
pub fn fit_call(result: &Object<'_>, edits: &mut Edits<'_>) -> (Option<&'static str>, String) {
    const NOTHING: (Option<&str>, String) = (None, String::new());
    let Some(value) = result.find("structuredContent").filter(|value| !value.starts_with('{')) else { return NOTHING };
    // A failed call has no value, and some servers write that as null.
    if value == "null" && result.find("isError") == Some("true") {
        return (Some("structuredContent"), String::new());
    }
    edits.replace(value, ["{\"result\":", value, "}"].concat());
    let text = [r#"{"type":"text","text":"#, &quoted(value), "}"].concat();
    let Some(content) = result.present("content") else {
        return (Some("content"), ["\"content\":[", &text, "]"].concat());
    };
    let Some(blocks) = json::array(content) else { return NOTHING };
    let is_text = |block: &&str| Object::parse(block).is_ok_and(|block| block.find("type") == Some("\"text\""));
    if !blocks.iter().any(is_text) {
        let comma = if blocks.is_empty() { "" } else { "," };
        edits.replace(content, ["[", &blocks.join(","), comma, &text, "]"].concat());
    }
    NOTHING
}

/// Returns true if something was changed.
fn fit_tool(tool: &Object<'_>, edits: &mut Edits<'_>) -> bool {
    let mut changed = false;
    for name in ["inputSchema", "outputSchema"] {
        let Some(schema) = tool.find(name).and_then(|text| Object::parse(text).ok()) else { continue };
        let root = if name == "outputSchema" { Root::of(&schema) } else { Root::Object };
        match root {
            Root::Object => changed |= fit_properties(&schema, edits),
            root => {
                edits.replace(schema.text(), root.wrapped(&schema));
                changed = true;
            }
        }
    }
    changed
}

/// In the older era a property's schema is an object. Returns true if something was changed.
fn fit_properties(schema: &Object<'_>, edits: &mut Edits<'_>) -> bool {
    let mut changed = false;
    let properties = schema.find("properties").and_then(|text| Object::parse(text).ok());
    for (_, property) in properties.iter().flat_map(Object::members) {
        let object = match property {
            "true" => "{}",
            "false" => r#"{"not":{}}"#,
            _ => continue,
        };
        edits.replace(property, object);
        changed = true;
    }
    changed
}

/// What the values of a schema are.
#[derive(Clone, Copy)]
enum Root {
    Object,
    Never,
    Perhaps,
}

impl Root {
    fn of(schema: &Object<'_>) -> Self {
        const OBJECT: &str = "\"object\"";
        match schema.present("type") {
            None => Self::Perhaps,
            Some(OBJECT) => Self::Object,
            Some(text) => match json::array(text) {
                Some(types) if types.contains(&OBJECT) => Self::Perhaps,
                _ => Self::Never,
            },
        }
    }

    /// `schema` inside of one for objects.
    fn wrapped(self, schema: &Object<'_>) -> String {
        let dialect = schema.find("$schema").filter(|text| text.starts_with('"'));
        let dialect = dialect.map(|dialect| ["\"$schema\":", dialect, ","].concat()).unwrap_or_default();
        let place = if matches!(self, Self::Perhaps) { "#/anyOf/0" } else { "#/properties/result" };
        let mut edits = Edits::new(schema.text());
        move_references(schema.text(), false, place, 0, &mut edits);
        let inner = String::from_utf8(edits.apply()).unwrap_or_default();
        let (before, after) = match self {
            Self::Perhaps => {
                (r#""anyOf":["#, r##",{"properties":{"result":{"$ref":"#/anyOf/0"}},"required":["result"]}]"##)
            }
            _ => (r#""properties":{"result":"#, r#"},"required":["result"]"#),
        };
        ["{", &dialect, r#""type":"object","#, before, &inner, after, "}"].concat()
    }
}

/// Has the references in `text` that begin at the root of its document begin at `root`. `names`: the members of `text` are
/// no keywords.
fn move_references(text: &str, names: bool, root: &str, depth: usize, edits: &mut Edits<'_>) {
    if depth == DEEPEST {
        return;
    }
    if text.starts_with('[') {
        for item in json::array(text).unwrap_or_default() {
            move_references(item, false, root, depth + 1, edits);
        }
    }
    let Some(schema) = text.starts_with('{').then(|| Object::parse(text).ok()).flatten() else { return };
    // References inside of it begin at the schema that has the id. "#name" is only the name of a place.
    if !names && schema.find("$id").is_some_and(|id| !id.starts_with("\"#")) {
        return;
    }
    for (name, value) in schema.members() {
        match &**name {
            "$ref" | "$dynamicRef" if !names => {
                let Some(reference) = json::string(value) else { continue };
                if let Some(rest) = reference.strip_prefix('#').filter(|rest| rest.is_empty() || rest.starts_with('/'))
                {
                    edits.replace(value, quoted(&[root, rest].concat()));
                }
            }
            name if !names && DATA.contains(&name) => {}
            name => move_references(value, !names && NAMED.contains(&name), root, depth + 1, edits),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(schema: &str) -> String {
        tool(format!(r#"{{"name":"t", "outputSchema":{schema}}}"#))
            .strip_prefix(r#"{"name":"t", "outputSchema":"#)
            .and_then(|rest| rest.strip_suffix('}'))
            .unwrap()
            .to_owned()
    }

    fn result(text: &str) -> String {
        let result = Object::parse(text).unwrap();
        let mut edits = Edits::new(text);
        let (gone, more) = fit_call(&result, &mut edits);
        edits.rework(&result, gone.as_slice(), &more);
        String::from_utf8(edits.apply()).unwrap()
    }

    /// R45: the form that the SDKs give a schema.
    #[test]
    fn a_schema_that_is_never_an_object_is_put_under_result() {
        for schema in [r#"{"type":"array","items":{"type":"string"}}"#, r#"{"type":["array","null"]}"#] {
            let wrapped = format!(r#"{{"type":"object","properties":{{"result":{schema}}},"required":["result"]}}"#);
            assert_eq!(shown(schema), wrapped);
        }
        assert_eq!(
            shown(r#"{"$schema":"x","type":"number"}"#),
            r#"{"$schema":"x","type":"object","properties":{"result":{"$schema":"x","type":"number"}},"required":["result"]}"#
        );
    }

    /// R45: a schema of no fixed type fits an object as it is, and any other value under `result`.
    #[test]
    fn a_schema_that_may_be_an_object_allows_both_forms() {
        for schema in [r#"{}"#, r#"{"type":["object","null"]}"#, r#"{"anyOf":[{"type":"object"},{"type":"string"}]}"#] {
            assert_eq!(
                shown(schema),
                [
                    r#"{"type":"object","anyOf":["#,
                    schema,
                    r##",{"properties":{"result":{"$ref":"#/anyOf/0"}},"required":["result"]}]}"##
                ]
                .concat()
            );
        }
        let object = r##"{ "type" : "object","properties":{"a":{"$ref":"#/$defs/a"}}}"##;
        assert_eq!(shown(object), object);
    }

    #[test]
    fn references_begin_at_the_new_place() {
        let moved = |schema: &str| {
            let text = shown(schema);
            let inner = text.split_once(r#""result":"#).unwrap().1;
            inner.strip_suffix(r#"},"required":["result"]}"#).unwrap().to_owned()
        };
        assert_eq!(
            moved(
                r##"{"type":"array","items":{"anyOf":[{"$ref":"#"},{"$ref":"#/$defs/a"},{"$ref":"#a"},{"$ref":"x#/b"}]}}"##
            ),
            r##"{"type":"array","items":{"anyOf":[{"$ref":"#/properties/result"},{"$ref":"#/properties/result/$defs/a"},{"$ref":"#a"},{"$ref":"x#/b"}]}}"##
        );
        for unmoved in [
            r##"{"type":"array","const":{"$ref":"#"},"enum":[{"$ref":"#"}]}"##,
            r##"{"type":"array","$id":"https://a.example/","items":{"$ref":"#"}}"##,
            r##"{"type":"array","items":{"$id":"b","items":{"$ref":"#"}}}"##,
            r##"{"type":"array","items":{"properties":{"$ref":{"type":"string"}}}}"##,
        ] {
            assert_eq!(moved(unmoved), unmoved);
        }
        assert_eq!(
            moved(r##"{"type":"array","$defs":{"const":{"$id":"#c","not":{"$ref":"#/a"}}}}"##),
            r##"{"type":"array","$defs":{"const":{"$id":"#c","not":{"$ref":"#/properties/result/a"}}}}"##
        );
        let deep = ["{\"type\":\"array\",\"not\":", &"{\"not\":".repeat(5000), "{}", &"}".repeat(5001)].concat();
        assert_eq!(moved(&deep), deep);
    }

    /// R45: a property whose schema is true or false is another thing that only the newer era allows.
    #[test]
    fn a_property_that_takes_anything_or_nothing_has_an_object_as_its_schema() {
        assert_eq!(
            tool(r#"{"name":"t","inputSchema":{"type":"object","properties":{"a":true,"b":false,"c":{}}}}"#.to_owned()),
            r#"{"name":"t","inputSchema":{"type":"object","properties":{"a":{},"b":{"not":{}},"c":{}}}}"#
        );
    }

    /// R45: a value that is no object is put under `result`, and is told as text if nothing else tells it.
    #[test]
    fn a_value_that_is_no_object_is_put_under_result() {
        assert_eq!(
            result(r#"{"content":[{"type":"text","text":"two"}],"structuredContent":[1.0, 2]}"#),
            r#"{"content":[{"type":"text","text":"two"}],"structuredContent":{"result":[1.0, 2]}}"#
        );
        assert_eq!(
            result(r#"{"content":[],"structuredContent":"a"}"#),
            r#"{"content":[{"type":"text","text":"\"a\""}],"structuredContent":{"result":"a"}}"#
        );
        assert_eq!(
            result(r#"{"content":[{"type":"image"}],"structuredContent":7}"#),
            r#"{"content":[{"type":"image"},{"type":"text","text":"7"}],"structuredContent":{"result":7}}"#
        );
        assert_eq!(
            result(r#"{"structuredContent":null}"#),
            r#"{"content":[{"type":"text","text":"null"}],"structuredContent":{"result":null}}"#
        );
        assert_eq!(
            result(r#"{"content":[],"structuredContent":null,"isError":true}"#),
            r#"{"content":[],"isError":true}"#
        );
        for unchanged in
            [r#"{"content":[],"structuredContent":{"a":1.0}}"#, r#"{"content":[]}"#, r#"{"content":7,"x":1}"#]
        {
            assert_eq!(result(unchanged), unchanged);
        }
    }
}
