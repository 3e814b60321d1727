//! Changes the messages of an upstream into those that its client can read.
//!
//! If both are of one era and the upstream knows the request by the client's own id, nothing is changed, and nothing is
//! read. Else these change: the id, what one era writes and the other does not, and the requests of a legacy upstream. For
//! a legacy client their ids say where the answers belong (`asks`); for a modern one they become a result (`held`).

use http::{Response, StatusCode};

use crate::eras::Client;
use crate::eras::legacy::URL_ELICITATION_REQUIRED;
use crate::eras::modern::may_ask;
use crate::lists::Kind;
use crate::session::{Capabilities, Profile};
use crate::subscriptions::UPDATED;
use crate::upstream::{self, Failure};
use crate::{asks, attribution, decisive, jsonrpc, names};
use json::{Ambiguous, Edits, Object};

/// The longest request of a legacy server to a modern client, in bytes. It is held, with others, in the store too.
const LONGEST_QUESTION: usize = 1024 * 1024;

pub struct Fit<'a> {
    pub client: Client,
    /// The client's id, as it stands.
    pub id: &'a str,
    /// The id that the upstream knows the request by.
    pub asked: &'a str,
    pub method: &'a str,
    /// True if the upstream knows the request by another id.
    pub renamed: bool,
    /// True if both sides are of one era.
    pub same_era: bool,
    /// The upstream's name in ids.
    pub prefix: &'a str,
    /// What the upstream was told that the client can be asked for.
    pub profile: Profile,
    /// True if ids of tasks have to say whose they are.
    pub names_tasks: bool,
    /// True if URIs in the result have to say whose they are, because that of the request does.
    pub names_uris: bool,
    /// True if other servers share the endpoint, so that a person has to be told which one speaks (`attribution`).
    pub named: bool,
    /// The params of the client's request.
    pub params: Option<&'a Object<'a>>,
}

pub enum Fitted {
    Answer(Response<Vec<u8>>),
    /// A message before the answer, and the list that it says has changed.
    Said(String, Option<&'static Kind>),
    /// A message that says that a resource was updated, by the server's own name for it.
    Updated(String),
    /// What the upstream is to be told instead of the client.
    ForTheUpstream(Vec<u8>),
    /// A request of the upstream, to a client that can only be asked by a result.
    Asks(Question),
    /// A result that asks for input, to a client that has to be asked in another way.
    Wants(String),
    NotForThisClient,
}

/// What a legacy upstream asks of a modern client.
pub struct Question {
    /// The upstream's own id, as it stood.
    pub id: String,
    /// The request as one of `inputRequests`.
    pub request: String,
}

impl Fit<'_> {
    pub fn changes_nothing(&self) -> bool {
        self.same_era && !self.renamed && !self.names_tasks && !self.names_uris && !self.names_questions()
    }

    /// Returns true if an answer may ask the person something, so that it has to name the server.
    fn names_questions(&self) -> bool {
        let may_ask = !self.client.is_modern() || may_ask(self.method);
        self.named && may_ask && self.profile.can != Capabilities::NONE
    }

    /// Returns true if a notification is for this client. What no specification names passes where client and server share an
    /// era.
    fn is_heard(&self, method: &str, message: &Object<'_>) -> bool {
        let is_of_a_vendor = !method.starts_with("notifications/");
        self.same_era && is_of_a_vendor || self.client.dialect().hears(method, message)
    }

    /// A message of a stream, as the client gets it.
    pub fn message(&self, text: String) -> Result<Fitted, Failure> {
        let message = Object::parse(&text).map_err(|_| Failure::NotMcp)?;
        decisive::message(&message).map_err(|_| Failure::NotMcp)?;
        let Some(method) = message.find("method") else {
            if self.is_of_another(&message) {
                return Ok(Fitted::NotForThisClient);
            }
            drop(message);
            return self.answer(text);
        };
        let (method, params) = upstream::said(&message, method)?;
        match message.find("id") {
            Some(id) => Ok(self.asked(&text, params.as_ref(), &method, id)),
            None if method == "notifications/cancelled" => Ok(self.withdrawn(&text, params.as_ref())),
            None if self.named && self.is_heard(&method, &message) => Ok(self.said(&text, params.as_ref(), &method)),
            None if self.named => Ok(Fitted::NotForThisClient),
            // A stream that was asked for by the client is for all that the server has to say on it.
            None if self.method == "subscriptions/listen" || self.is_heard(&method, &message) => {
                let changed = Kind::changed_by(&method);
                drop((method, params, message));
                Ok(Fitted::Said(text, changed))
            }
            None => Ok(Fitted::NotForThisClient),
        }
    }

    /// A notification of one of many servers: it speaks of this server's own things alone, and says whose they are.
    fn said(&self, text: &str, params: Option<&Object<'_>>, method: &str) -> Fitted {
        let mut edits = Edits::new(text);
        let done = match (method, params) {
            (UPDATED, _) => return Fitted::Updated(text.to_owned()),
            ("notifications/progress", Some(params)) => Ok(self.is_of_this_call(params)),
            ("notifications/message", Some(params)) => {
                attribution::name_logger(&mut edits, self.prefix, params).map(|()| true)
            }
            ("notifications/elicitation/complete", Some(params)) => {
                attribution::bind(&mut edits, self.prefix, params, "elicitationId")
            }
            (method, Some(params)) if method.starts_with("notifications/tasks") => {
                attribution::bind(&mut edits, self.prefix, params, "taskId")
            }
            ("notifications/progress" | "notifications/message" | "notifications/elicitation/complete", None) => {
                Ok(false)
            }
            _ => Ok(true),
        };
        match (done, String::from_utf8(edits.apply())) {
            (Ok(true), Ok(text)) => Fitted::Said(text, Kind::changed_by(method)),
            _ => Fitted::NotForThisClient,
        }
    }

    /// Returns true if progress is that of the client's request.
    pub fn is_of_this_call(&self, progress: &Object<'_>) -> bool {
        let meta = self.params.and_then(|params| params.object("_meta").ok().flatten());
        let own = meta.and_then(|meta| meta.get("progressToken").ok().flatten());
        match (own, progress.get("progressToken")) {
            (Some(own), Ok(Some(token))) => own == token || plain(own).is_some_and(|own| plain(token) == Some(own)),
            _ => false,
        }
    }

    /// A request of the upstream: passed on if the client said that it can be asked this, and else answered here, so
    /// that the upstream does not wait for it.
    fn asked(&self, text: &str, params: Option<&Object<'_>>, method: &str, id: &str) -> Fitted {
        if method == "ping" {
            return Fitted::ForTheUpstream(jsonrpc::result(id, "{}"));
        }
        let may_ask = !self.client.is_modern() || may_ask(self.method);
        if !may_ask || !self.profile.can.allow(method, params) {
            return Fitted::ForTheUpstream(jsonrpc::error(
                Some(id),
                jsonrpc::METHOD_NOT_FOUND,
                "Method not found",
                None,
            ));
        }
        let named = self.named.then_some(self.prefix);
        if self.client.is_modern() && text.len() > LONGEST_QUESTION {
            let message = "Invalid params: longer than 1 MiB";
            return Fitted::ForTheUpstream(jsonrpc::error(Some(id), jsonrpc::INVALID_PARAMS, message, None));
        }
        let asked = match self.client.is_modern() {
            true => Question::read(method, params, id, named).map(Fitted::Asks),
            false => {
                let mut edits = Edits::new(text);
                edits.replace(id, asks::outward(self.prefix, id));
                let done = match (named, params) {
                    (Some(prefix), Some(params)) => attribution::name_request(&mut edits, prefix, method, params),
                    _ => Ok(()),
                };
                done.map(|()| spoken(edits))
            }
        };
        asked.unwrap_or_else(|ambiguous| {
            let message = format!("Invalid params: {ambiguous}");
            Fitted::ForTheUpstream(jsonrpc::error(Some(id), jsonrpc::INVALID_PARAMS, &message, None))
        })
    }

    /// The upstream no longer needs the answer to a request of its own.
    fn withdrawn(&self, text: &str, params: Option<&Object<'_>>) -> Fitted {
        match params.and_then(|params| params.find("requestId")) {
            Some(id) if !self.client.is_modern() => {
                let mut edits = Edits::new(text);
                edits.replace(id, asks::outward(self.prefix, id));
                spoken(edits)
            }
            _ => Fitted::NotForThisClient,
        }
    }

    /// Returns true if an answer says that it is one to another request. Servers write an id again in a form of their own
    /// (1 for 1.0, or as a string), and name none in an error where they could not read it.
    pub fn is_of_another(&self, answer: &Object<'_>) -> bool {
        let named = answer.find("id").and_then(plain);
        named.is_some_and(|named| plain(self.asked).is_some_and(|asked| asked != named))
    }

    /// The answer itself, as the client gets it.
    pub fn answer(&self, text: String) -> Result<Fitted, Failure> {
        let text = if self.names_questions() { self.with_names(text)? } else { text };
        let message = Object::parse(&text).map_err(|_| Failure::NotMcp)?;
        decisive::message(&message).map_err(|_| Failure::NotMcp)?;
        if message.find("method").is_some() || self.is_of_another(&message) {
            return Err(Failure::NotMcp);
        }
        // Some servers write both, and null means absent.
        let (nulls, said): (Vec<&str>, Vec<&str>) = ["result", "error"]
            .into_iter()
            .filter(|name| message.find(name).is_some())
            .partition(|name| message.find(name) == Some("null"));
        // Of an answer that is both, readers would take either.
        if said.len() != 1 {
            return Err(Failure::NotMcp);
        }
        if self.changes_nothing() && nulls.is_empty() {
            drop((message, nulls, said));
            return Ok(Fitted::Answer(jsonrpc::respond(StatusCode::OK, text.into_bytes())));
        }
        let text = text.as_str();
        let dialect = self.client.dialect();
        let mut status = StatusCode::OK;
        let mut edits = Edits::new(text);
        match message.find("id") {
            Some(id) => {
                if id != self.id {
                    edits.replace(id, self.id.to_owned());
                }
                edits.rework(&message, &nulls, "");
            }
            None => edits.rework(&message, &nulls, &["\"id\":", self.id].concat()),
        }
        if let Some(result) = message.present("result") {
            if self.fit_result(result, &mut edits)? {
                return Ok(Fitted::Wants(result.to_owned()));
            }
        } else if let Some(error) = message.present("error") {
            let members = Object::parse(error).map_err(|_| Failure::NotMcp)?;
            let code = members.get("code").ok().flatten().ok_or(Failure::NotMcp)?;
            let known: i64 = code.parse().unwrap_or(jsonrpc::INTERNAL_ERROR);
            if !self.same_era {
                if let Some(result) = dialect.bridge_error(self.method, known, &members) {
                    return Ok(Fitted::Answer(jsonrpc::respond(StatusCode::OK, jsonrpc::result(self.id, &result))));
                }
                let fitted = dialect.fit_code(self.method, known);
                if fitted.to_string() != code {
                    edits.replace(code, fitted.to_string());
                }
                status = dialect.status(fitted);
            }
        } else {
            return Err(Failure::NotMcp);
        }
        Ok(Fitted::Answer(jsonrpc::respond(status, edits.apply())))
    }

    /// Makes a result one that the client can read. Returns true if it asks the client for input, which has to be done in
    /// another way.
    fn fit_result(&self, result: &str, edits: &mut Edits<'_>) -> Result<bool, Failure> {
        // Within an era it is between the client and the server alone.
        if self.same_era && !self.names_tasks && !self.names_uris {
            return Ok(false);
        }
        let members = Object::parse(result).map_err(|_| Failure::NotMcp)?;
        decisive::result(&members).map_err(|_| Failure::NotMcp)?;
        if self.names_tasks
            && let Some(text) = members.find("taskId")
            && let Some(task) = json::string(text)
        {
            edits.replace(text, json::quoted(&names::join_task(self.prefix, &task)));
        }
        if self.names_uris {
            let named = attribution::name_uris_in(edits, self.prefix, self.method, &members);
            named.map_err(|_| Failure::NotMcp)?;
        }
        if self.same_era {
            return Ok(false);
        }
        if matches!(members.string("resultType"), Ok(Some(kind)) if kind == "input_required") {
            return Ok(true);
        }
        self.client.dialect().fit_result(self.method, &members, edits);
        Ok(false)
    }

    /// An answer with the server's name in what it asks the person, by a result or by an error (-32042).
    fn with_names(&self, text: String) -> Result<String, Failure> {
        let name = |edits: &mut Edits<'_>| -> Option<bool> {
            let message = Object::parse(&text).ok()?;
            if let Some(result) = message.object("result").ok()? {
                let Some(requests) = result.object("inputRequests").ok()? else { return Some(false) };
                for (_, request) in requests.members() {
                    let Ok(request) = Object::parse(request) else { continue };
                    let method = request.string("method").ok()?.unwrap_or_default();
                    if let Some(params) = request.object("params").ok()? {
                        attribution::name_request(edits, self.prefix, &method, &params).ok()?;
                    }
                }
                return Some(true);
            }
            let Some(error) = message.object("error").ok()? else { return Some(false) };
            if upstream::error_code(&message) != Some(URL_ELICITATION_REQUIRED) {
                return Some(false);
            }
            let wanted = error.object("data").ok()?.and_then(|data| json::array(data.get("elicitations").ok()??));
            for params in wanted.into_iter().flatten().filter_map(|text| Object::parse(text).ok()) {
                attribution::name_request(edits, self.prefix, "elicitation/create", &params).ok()?;
            }
            Some(true)
        };
        let mut edits = Edits::new(&text);
        if !name(&mut edits).ok_or(Failure::NotMcp)? {
            return Ok(text);
        }
        String::from_utf8(edits.apply()).map_err(|_| Failure::NotMcp)
    }

    /// A JSON-RPC error that came with an HTTP status of its own; any other error is not for the client to read.
    pub fn refused(&self, status: StatusCode, body: &[u8]) -> Result<Response<Vec<u8>>, Failure> {
        let failed = || Failure::Status(status.as_u16());
        let text = std::str::from_utf8(body).map_err(|_| failed())?;
        let code = Object::parse(text).ok().and_then(|message| upstream::error_code(&message)).ok_or_else(failed)?;
        let always = Fit { renamed: true, ..*self };
        let Ok(Fitted::Answer(response)) = always.answer(text.to_owned()) else { return Err(failed()) };
        let dialect = self.client.dialect();
        let status = dialect.status(if self.same_era { code } else { dialect.fit_code(self.method, code) });
        Ok(jsonrpc::respond(status, response.into_body()))
    }
}

impl Question {
    /// `named` is the server's name if the person has to be told it.
    fn read(method: &str, params: Option<&Object<'_>>, id: &str, named: Option<&str>) -> Result<Self, Ambiguous> {
        let mut request = ["{\"method\":", &json::quoted(method)].concat();
        if let Some(params) = params {
            let mut edits = Edits::new(params.text());
            if let Some(prefix) = named {
                attribution::name_request(&mut edits, prefix, method, params)?;
            }
            let named = String::from_utf8_lossy(&edits.apply()).into_owned();
            let mut edits = Edits::new(&named);
            // A link has no name in the newer era.
            if let Ok(params) = Object::parse(&named) {
                edits.rework(&params, &["elicitationId"], "");
            }
            request += &[",\"params\":", &String::from_utf8_lossy(&edits.apply())].concat();
        }
        Ok(Self { id: id.to_owned(), request: request + "}" })
    }
}

/// An id or a token in one form: servers write 1 as 1.0, or as a string.
fn plain(id: &str) -> Option<String> {
    match json::string(id) {
        Some(text) => Some(text.into_owned()),
        None => id.parse::<i64>().ok().map(|number| number.to_string()),
    }
}

fn spoken(edits: Edits<'_>) -> Fitted {
    match String::from_utf8(edits.apply()) {
        Ok(text) => Fitted::Said(text, None),
        Err(_) => Fitted::NotForThisClient,
    }
}

/// The text of `value` where it is a string.
pub fn text_of(value: Option<&str>) -> Option<String> {
    value.and_then(json::string).map(std::borrow::Cow::into_owned)
}
