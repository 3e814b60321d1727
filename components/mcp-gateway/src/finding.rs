//! Lets a model search for the tool that it needs among a thousand.
//!
//! Where `servers.json` says `"tools": "search"` of an endpoint, its list has three tools of the gateway's own instead of
//! all that there are. [`FIND`] gives names, [`DESCRIBE`] definitions, and [`CALL`] is only another way to write a call:
//! the name and the arguments inside of it take the place of its own in the text of the request, and from there on nothing
//! tells the two apart. So progress, elicitation, cancellation, errors and the bytes of the result are those of a direct
//! call, and no list is read. Direct calls go on working.

use std::borrow::Cow;

use crate::config::Server;
use crate::eras::{By, Handle, Inner, Own, Relay, Site};
use crate::host::Host;
use crate::ranking::{self, Document};
use crate::relay::tool_error;
use crate::visitor::Visitor;
use crate::{decisive, lists, names};
use json::{Ambiguous, Object, quoted};

pub const FIND: &str = "gatehouse_find_tools";
pub const DESCRIBE: &str = "gatehouse_describe_tool";
pub const CALL: &str = "gatehouse_call_tool";
pub const DEFINITIONS: [&str; 3] = [
    concat!(
        r#"{"name":"gatehouse_find_tools","title":"Find tools","#,
        r#""description":"Finds tools of the servers behind this gateway by what they do, the best first: their names and a line about each.","#,
        r#""inputSchema":{"type":"object","properties":{"#,
        r#""query":{"type":"string","description":"What the tool should do, in a few words, such as: create issue"},"#,
        r#""server":{"type":"string","description":"Only tools of this server"},"#,
        r#""limit":{"type":"integer","minimum":1,"maximum":50,"default":10}},"required":["query"]},"#,
        r#""annotations":{"readOnlyHint":true,"openWorldHint":false}}"#
    ),
    concat!(
        r#"{"name":"gatehouse_describe_tool","title":"Describe a tool","#,
        r#""description":"Gives the whole definitions of tools that gatehouse_find_tools has named: what they do and which arguments they take.","#,
        r#""inputSchema":{"type":"object","properties":{"#,
        r#""names":{"type":"array","items":{"type":"string"},"minItems":1,"maxItems":10}},"required":["names"]},"#,
        r#""annotations":{"readOnlyHint":true,"openWorldHint":false}}"#
    ),
    concat!(
        r#"{"name":"gatehouse_call_tool","title":"Call a tool","#,
        r#""description":"Calls a tool that gatehouse_find_tools has named, with arguments as gatehouse_describe_tool shows them.","#,
        r#""inputSchema":{"type":"object","properties":{"#,
        r#""name":{"type":"string"},"arguments":{"type":"object"}},"required":["name"]}}"#
    ),
];
/// What a model is told of an endpoint that is searched.
pub const INSTRUCTIONS: &str = "The tools of this endpoint are not listed: look for what you need with `gatehouse_find_tools` \
     before you say that something cannot be done. Read how a tool is called with `gatehouse_describe_tool`, then call it with \
     `gatehouse_call_tool`.";

const USUAL: usize = 10;
const MOST: usize = 50;
const MOST_DESCRIBED: usize = 10;
/// So many are offered in the place of one that is unknown.
const NEAR: usize = 3;
/// A line about a tool.
const LINE: usize = 160;
/// So much of a description is looked through.
const SEARCHED: usize = 4096;

/// The call that is inside of a call of [`CALL`], in its place; `None` if there is no call in it.
///
/// Errors: the server could read another call in it.
pub fn inner<'a>(params: &Object<'a>, outer: &Handle<'a>) -> Result<Option<(Handle<'a>, Inner<'a>)>, Ambiguous> {
    let Some(place) = params.get("arguments")? else { return Ok(None) };
    let Ok(call) = Object::parse(place) else { return Ok(None) };
    decisive::call(&call)?;
    let arguments = call.find("arguments").filter(|text| *text != "null").unwrap_or("{}");
    let name = call.string("name")?.filter(|_| arguments.starts_with('{'));
    let handle = |value| Handle { by: By::Tool, value, text: outer.text };
    Ok(name.map(|name| (handle(name), Inner { place, arguments })))
}

/// What a model is told whose [`CALL`] has no call in it.
pub fn no_call() -> String {
    tool_error("\"name\" has to be the name of a tool, as gatehouse_find_tools gives it, and \"arguments\" an object.")
}

/// What a model is told that calls one which its server has not listed.
pub fn no_such(name: &str) -> String {
    let name = names::cut(name, LINE);
    tool_error(&format!("Unknown tool: {name}. {FIND} gives the names that there are."))
}

/// What is wanted of the tools that there are.
enum Question<'a> {
    Find {
        query: Cow<'a, str>,
        limit: usize,
    },
    Describe(Vec<Cow<'a, str>>),
    /// What is near a name that nobody has.
    Near(&'a str),
}

/// Members of the result of [`FIND`], of [`DESCRIBE`], or of a [`CALL`] of a tool that nobody has.
pub async fn answer<H: Host>(
    host: &H,
    relay: &Relay<'_>,
    own: Own,
    site: &Site<'_>,
    servers: &[Server<'_>],
    visitor: &mut Visitor,
) -> String {
    let mut asked: Vec<&Server<'_>> = servers.iter().collect();
    let question = match question(relay, own, &mut asked) {
        Ok(question) => question,
        Err(problem) => return tool_error(&problem),
    };
    let listed = lists::tools(host, site, &asked, visitor, relay.client.profile()).await;
    let tools: Vec<Tool<'_>> = listed.entries.iter().filter_map(|entry| Tool::read(entry)).collect();
    let missing =
        |(server, why): &(String, String)| format!("The tools of {server} could not be looked through: {why}.");
    let missing: Vec<String> = listed.missing.iter().map(missing).collect();
    match question {
        Question::Find { query, limit } => found(&query, limit, &tools, &missing),
        Question::Describe(names) => described(&names, &tools, &missing),
        Question::Near(name) => tool_error(&unknown(name, &tools, &missing)),
    }
}

/// Reads it, and takes out of `asked` who cannot have what is wanted.
fn question<'a>(relay: &'a Relay<'_>, own: Own, asked: &mut Vec<&Server<'_>>) -> Result<Question<'a>, String> {
    if own == Own::Near {
        return Ok(Question::Near(relay.handle.as_ref().map_or("", |handle| &handle.value)));
    }
    let arguments = relay.arguments();
    let text = |name| arguments.as_ref()?.get(name).ok().flatten();
    if own == Own::Describe {
        // Models write a single one in either way.
        let names = text("names").map(|names| json::array(names).unwrap_or_else(|| vec![names]));
        let names: Option<Vec<_>> = names.and_then(|names| names.into_iter().map(json::string).collect());
        let names = names
            .filter(|names| (1..=MOST_DESCRIBED).contains(&names.len()))
            .ok_or_else(|| format!("\"names\" has to be a list of 1 to {MOST_DESCRIBED} names of tools."))?;
        let has_one = |server: &Server<'_>| {
            names.iter().any(|name| names::split(name).is_some_and(|(prefix, _)| prefix == server.prefix))
        };
        if asked.iter().any(|server| has_one(server)) {
            asked.retain(|server| has_one(server));
        }
        return Ok(Question::Describe(names));
    }
    let query = text("query").and_then(json::string).ok_or("\"query\" has to be a text.")?;
    let limit = text("limit").and_then(|limit| limit.parse().ok()).unwrap_or(USUAL).clamp(1, MOST);
    if let Some(server) = text("server").and_then(json::string) {
        let known: Vec<&str> = asked.iter().map(|known| known.prefix).collect();
        asked.retain(|known| known.prefix == server || known.name == server);
        if asked.is_empty() {
            return Err(format!("There is no such server here. There are: {}.", known.join(", ")));
        }
    }
    Ok(Question::Find { query, limit })
}

fn found(query: &str, limit: usize, tools: &[Tool<'_>], missing: &[String]) -> String {
    let (best, fitting) = best(query, tools, limit);
    let mut lines = Vec::new();
    let mut items = Vec::new();
    for tool in &best {
        let about = one_line(&tool.description);
        lines.push([&tool.name, ": ", &about].concat());
        items.push([r#"{"name":"#, &quoted(&tool.name), r#","description":"#, &quoted(&about), "}"].concat());
    }
    lines.push(format!("({} of {fitting} that fit, of {} tools.)", best.len(), tools.len()));
    lines.extend_from_slice(missing);
    let missing: Vec<String> = missing.iter().map(|line| quoted(line)).collect();
    format!(
        r#""content":[{}],"structuredContent":{{"tools":[{}],"fitting":{fitting},"missing":[{}]}}"#,
        text_block(&lines.join("\n")),
        items.join(","),
        missing.join(",")
    )
}

/// The definitions as a list would have them, byte for byte.
fn described(names: &[Cow<'_, str>], tools: &[Tool<'_>], missing: &[String]) -> String {
    let mut entries = Vec::new();
    let mut unknowns = Vec::new();
    for name in names {
        match tools.iter().find(|tool| tool.name == *name) {
            Some(tool) => entries.push(tool.entry),
            None => unknowns.push(unknown(name, tools, missing)),
        }
    }
    if entries.is_empty() {
        return tool_error(&unknowns.join("\n"));
    }
    let known = [r#"{"tools":["#, &entries.join(","), "]}"].concat();
    let texts: Vec<String> = std::iter::once(&known).chain(&unknowns).map(|text| text_block(text)).collect();
    format!(r#""content":[{}],"structuredContent":{known}"#, texts.join(","))
}

fn unknown(name: &str, tools: &[Tool<'_>], missing: &[String]) -> String {
    let near: Vec<&str> = best(name, tools, NEAR).0.iter().map(|tool| &*tool.name).collect();
    let near = if near.is_empty() { "nothing".to_owned() } else { near.join(", ") };
    format!("Unknown tool: {}. Near it: {near}. {}", names::cut(name, LINE), missing.join(" "))
}

fn text_block(text: &str) -> String {
    [r#"{"type":"text","text":"#, &quoted(text), "}"].concat()
}

/// What of a tool is looked through and shown.
struct Tool<'a> {
    entry: &'a str,
    name: String,
    title: String,
    description: String,
    /// The names of its arguments.
    arguments: String,
}

impl<'a> Tool<'a> {
    fn read(entry: &'a str) -> Option<Self> {
        let members = Object::parse(entry).ok()?;
        let string = |name| members.string(name).ok().flatten().map(|text| text.into_owned());
        let schema = members.object("inputSchema").ok().flatten();
        let properties = schema.and_then(|schema| schema.object("properties").ok().flatten());
        let arguments: Vec<&str> = properties.iter().flat_map(|all| all.members()).map(|(name, _)| &**name).collect();
        Some(Self {
            entry,
            name: string("name")?,
            title: string("title").unwrap_or_default(),
            description: string("description").unwrap_or_default(),
            arguments: arguments.join(" "),
        })
    }
}

/// Those that `question` fits best, the best first, and how many it fits.
fn best<'t, 'a>(question: &str, tools: &'t [Tool<'a>], most: usize) -> (Vec<&'t Tool<'a>>, usize) {
    let document = |tool: &Tool<'_>| Document {
        heading: [&tool.name, " ", &tool.title].concat(),
        text: [names::cut(&tool.description, SEARCHED), " ", &tool.arguments].concat(),
    };
    let documents: Vec<Document> = tools.iter().map(document).collect();
    let (places, fitting) = ranking::rank(question, &documents, most);
    (places.into_iter().filter_map(|place| tools.get(place)).collect(), fitting)
}

/// The start of a description, in one line.
fn one_line(description: &str) -> String {
    let line = description.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    match names::cut(line, LINE) {
        whole if whole.len() == line.len() => whole.to_owned(),
        start => [start, "…"].concat(),
    }
}
