//! A server on the Rust SDK with all that the conformance suite calls for. It speaks both eras, as the SDK does by default.
//!
//! `interop-rmcp-server PORT` serves /mcp. A modern client is asked by a result that wants input, and a legacy one by
//! requests on its stream.
#![allow(deprecated)] // What the newer era has no more is a part of the older one.

use std::collections::BTreeMap;
use std::error::Error;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rmcp::model::*;
use rmcp::service::{NotificationContext, Peer, RequestContext, SubscriptionContext, SubscriptionSink};
use rmcp::transport::StreamableHttpService;
use rmcp::transport::streamable_http_server::session::local::LocalSessionManager;
use rmcp::{ErrorData, RoleServer, ServerHandler};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};

/// What is offered, the same as by the servers on the other SDKs.
const OFFER: &str = include_str!("../../offer.json");
/// For one run on this machine, of nothing that is secret.
const STATE_KEY: &[u8] = b"the state of one run of a test server";

type Answers = BTreeMap<String, Value>;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let port: u16 = std::env::args().nth(1).ok_or("PORT")?.parse()?;
    let server = Offering::new(serde_json::from_str(OFFER)?)?;
    let service: StreamableHttpService<Offering, LocalSessionManager> =
        StreamableHttpService::new(move || Ok(server.clone()), Default::default(), Default::default());
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", port)).await?;
    Ok(axum::serve(listener, axum::Router::new().nest_service("/mcp", service)).await?)
}

#[derive(Clone)]
struct Offering {
    offer: Arc<Value>,
    states: RequestStateCodec,
    listeners: Arc<Mutex<Listeners>>,
}

/// The clients that are told of changes.
#[derive(Default)]
struct Listeners {
    modern: BTreeMap<u64, SubscriptionSink>,
    legacy: Vec<Peer<RoleServer>>,
    next: u64,
}

/// What a request needs from the client before it is answered.
enum Asked {
    Answers(Answers),
    Questions(InputRequiredResult),
    /// The older era has no error for a client that cannot be asked.
    Impossible,
}

impl Offering {
    fn new(offer: Value) -> Result<Self, Box<dyn Error>> {
        let states = RequestStateCodec::try_new(STATE_KEY)?;
        Ok(Self { offer: Arc::new(offer), states, listeners: Arc::default() })
    }

    fn all(&self, kind: &str) -> &[Value] {
        self.offer[kind].as_array().map_or(&[], Vec::as_slice)
    }

    fn find(&self, kind: &str, name: &str) -> Result<&Value, ErrorData> {
        let found = self.all(kind).iter().find(|entry| entry["name"] == name);
        found.ok_or_else(|| ErrorData::invalid_params(format!("There is no {name}"), None))
    }

    /// `part` with each `{name}` in its texts replaced: by the offer's values, the arguments and the answers.
    fn filled(&self, part: &Value, given: &JsonObject, answers: &Answers) -> Value {
        let mut values = self.offer["values"].as_object().cloned().unwrap_or_default();
        values.extend(given.clone());
        values.insert("answers".into(), json!(answers).to_string().into());
        filled(part, &values)
    }

    async fn ask(
        &self,
        cx: &RequestContext<RoleServer>,
        entry: &Value,
        given: &JsonObject,
        (responses, state): (Option<InputResponses>, Option<String>),
    ) -> Result<Asked, ErrorData> {
        let rounds = entry["rounds"].as_array().map_or(&[][..], Vec::as_slice);
        let rounds: Vec<Value> = rounds.iter().map(|round| self.filled(round, given, &Answers::new())).collect();
        let declared = json!(cx.client_capabilities().unwrap_or_default());
        let can = |request: &Value| !declared[capability(request)].is_null();
        let requests = || rounds.iter().filter_map(Value::as_object).flatten();
        if entry["onlyDeclared"] != true
            && let Some((_, request)) = requests().find(|(_, request)| !can(request))
        {
            return match is_modern(cx) {
                true => Err(ErrorData::missing_required_client_capability(typed(json!({ capability(request): {} }))?)),
                false => Ok(Asked::Impossible),
            };
        }
        if !is_modern(cx) {
            let mut answers = Answers::new();
            for (key, request) in requests().filter(|(_, request)| can(request)) {
                answers.insert(key.clone(), ask_on_stream(cx, request).await?);
            }
            return Ok(Asked::Answers(answers));
        }
        let mut answers = responses.unwrap_or_default();
        answers.retain(|_, answer| answer.is_object());
        let has_state = entry["state"] == true;
        let asked = match state {
            _ if !has_state => 1,
            None => 0,
            Some(state) => {
                let opened = self.states.open(&state);
                let opened = opened.map_err(|_| ErrorData::invalid_params("The requestState was changed", None))?;
                String::from_utf8_lossy(&opened).parse().unwrap_or(0)
            }
        };
        let is_answered =
            |round: &Value| round.as_object().is_some_and(|all| all.keys().all(|key| answers.contains_key(key)));
        let is_done = asked > 0 && rounds.get(asked - 1).is_none_or(is_answered);
        let next = if is_done { asked } else { asked.saturating_sub(1) };
        let Some(round) = rounds.get(next) else { return Ok(Asked::Answers(answers)) };
        let mut round = round.clone();
        round.as_object_mut().into_iter().for_each(|all| all.retain(|_, request| can(request)));
        let state = has_state.then(|| self.states.seal((next + 1).to_string().as_bytes()));
        Ok(Asked::Questions(InputRequiredResult::new(Some(typed(round)?), state)))
    }

    async fn work(&self, cx: &RequestContext<RoleServer>, tool: &Value) {
        for step in tool["steps"].as_array().into_iter().flatten() {
            tokio::time::sleep(Duration::from_millis(step["sleep"].as_u64().unwrap_or(0))).await;
            if !step["log"].is_null() && (!is_modern(cx) || cx.meta.log_level().is_some()) {
                let message = LoggingMessageNotificationParam::new(LoggingLevel::Info, step["log"].clone());
                let _ = cx.peer.notify_logging_message(message).await;
            }
            if let (Some(progress), Some(token)) = (step["progress"].as_f64(), cx.meta.get_progress_token()) {
                let progress = ProgressNotificationParam::new(token, progress).with_total(100.0);
                let _ = cx.peer.notify_progress(progress).await;
            }
        }
        let (modern, legacy) = match self.listeners.lock() {
            Ok(listeners) => (listeners.modern.values().cloned().collect(), listeners.legacy.clone()),
            Err(_) => (Vec::new(), Vec::new()),
        };
        for sink in modern {
            let _ = match tool["publishes"].as_str() {
                Some("tools") => sink.notify_tool_list_changed().await,
                Some("prompts") => sink.notify_prompt_list_changed().await,
                _ => Ok(()),
            };
        }
        for peer in legacy {
            let _ = match tool["publishes"].as_str() {
                Some("tools") => peer.notify_tool_list_changed().await,
                Some("prompts") => peer.notify_prompt_list_changed().await,
                _ => Ok(()),
            };
        }
    }

    /// All of one kind as a list result.
    fn listed<T: DeserializeOwned>(
        &self,
        kind: &str,
        member: &str,
        shown: fn(&Value) -> Value,
    ) -> Result<T, ErrorData> {
        let entries: Vec<Value> = self.all(kind).iter().map(shown).collect();
        result(json!({ member: entries, "ttlMs": 0, "cacheScope": "private" }))
    }
}

impl ServerHandler for Offering {
    fn get_info(&self) -> ServerConfig {
        let capabilities = ServerCapabilities::builder()
            .enable_tools()
            .enable_tool_list_changed()
            .enable_prompts()
            .enable_prompts_list_changed()
            .enable_resources()
            .enable_resources_subscribe()
            .enable_logging()
            .enable_completions();
        ServerConfig::new(capabilities.build()).with_server_info(Implementation::new("conformance-rmcp", "1.0.0"))
    }

    fn get_tool(&self, name: &str) -> Option<Tool> {
        typed(tool(self.find("tools", name).ok()?)).ok()
    }

    async fn on_initialized(&self, context: NotificationContext<RoleServer>) {
        if let Ok(mut listeners) = self.listeners.lock() {
            listeners.legacy.push(context.peer);
        }
    }

    fn accepted_subscription_filter(&self, requested: &SubscriptionFilter) -> Option<SubscriptionFilter> {
        Some(requested.supported_by(&self.get_info().capabilities))
    }

    async fn listen(&self, context: SubscriptionContext) -> Result<(), ErrorData> {
        let Ok(key) = self.listeners.lock().map(|mut listeners| {
            listeners.next += 1;
            let key = listeners.next;
            listeners.modern.insert(key, context.sink().clone());
            key
        }) else {
            return Ok(());
        };
        context.cancelled().await;
        let _ = self.listeners.lock().map(|mut listeners| listeners.modern.remove(&key));
        Ok(())
    }

    async fn list_tools(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListToolsResult, ErrorData> {
        self.listed("tools", "tools", tool)
    }

    async fn call_tool(
        &self,
        request: CallToolRequestParams,
        cx: RequestContext<RoleServer>,
    ) -> Result<CallToolResponse, ErrorData> {
        let tool = self.find("tools", &request.name)?;
        let given = request.arguments.unwrap_or_default();
        let answers = match self.ask(&cx, tool, &given, (request.input_responses, request.request_state)).await? {
            Asked::Answers(answers) => answers,
            Asked::Questions(questions) => return Ok(questions.into()),
            Asked::Impossible => {
                return Ok(CallToolResult::error(vec![ContentBlock::text("The client cannot be asked")]).into());
            }
        };
        self.work(&cx, tool).await;
        let made = json!({ "content": tool["content"], "isError": tool["isError"] == true });
        Ok(result::<CallToolResult>(self.filled(&made, &given, &answers))?.into())
    }

    async fn list_prompts(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListPromptsResult, ErrorData> {
        self.listed("prompts", "prompts", |prompt| {
            let names = prompt["arguments"].as_array().into_iter().flatten();
            let arguments: Vec<Value> = names.map(|name| json!({ "name": name, "required": true })).collect();
            json!({ "name": prompt["name"], "description": prompt["description"], "arguments": arguments })
        })
    }

    async fn get_prompt(
        &self,
        request: GetPromptRequestParams,
        cx: RequestContext<RoleServer>,
    ) -> Result<GetPromptResponse, ErrorData> {
        let prompt = self.find("prompts", &request.name)?;
        let given = request.arguments.unwrap_or_default();
        match self.ask(&cx, prompt, &given, (request.input_responses, request.request_state)).await? {
            Asked::Answers(answers) => {
                let made = self.filled(&json!({ "messages": prompt["messages"] }), &given, &answers);
                Ok(result::<GetPromptResult>(made)?.into())
            }
            Asked::Questions(questions) => Ok(questions.into()),
            Asked::Impossible => Err(ErrorData::invalid_params("The client cannot be asked", None)),
        }
    }

    async fn list_resources(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourcesResult, ErrorData> {
        self.listed("resources", "resources", without_content)
    }

    async fn list_resource_templates(
        &self,
        _: Option<PaginatedRequestParams>,
        _: RequestContext<RoleServer>,
    ) -> Result<ListResourceTemplatesResult, ErrorData> {
        self.listed("templates", "resourceTemplates", without_content)
    }

    async fn read_resource(
        &self,
        request: ReadResourceRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<ReadResourceResponse, ErrorData> {
        let uri = &request.uri;
        let resource = self.all("resources").iter().find(|resource| resource["uri"] == uri.as_str());
        let template = || {
            self.all("templates").iter().find_map(|template| {
                let (start, end) = template["uriTemplate"].as_str()?.split_once("{id}")?;
                Some((template, uri.strip_prefix(start)?.strip_suffix(end)?))
            })
        };
        let (found, id) = match resource {
            Some(resource) => (resource, ""),
            None => template().ok_or_else(|| {
                ErrorData::resource_not_found("There is no such resource", Some(json!({ "uri": uri })))
            })?,
        };
        let given = JsonObject::from_iter([("id".to_owned(), json!(id))]);
        let mut content = json!({ "uri": uri, "mimeType": found["mimeType"] });
        for member in ["text", "blob"] {
            if !found[member].is_null() {
                content[member] = self.filled(&found[member], &given, &Answers::new());
            }
        }
        let made = json!({ "contents": [content], "ttlMs": 0, "cacheScope": "private" });
        Ok(result::<ReadResourceResult>(made)?.into())
    }

    async fn complete(
        &self,
        _: CompleteRequestParams,
        _: RequestContext<RoleServer>,
    ) -> Result<CompleteResult, ErrorData> {
        result(json!({ "completion": { "values": ["test one", "test two"] } }))
    }

    async fn set_level(&self, _: SetLevelRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn subscribe(&self, _: SubscribeRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Ok(())
    }

    async fn unsubscribe(&self, _: UnsubscribeRequestParams, _: RequestContext<RoleServer>) -> Result<(), ErrorData> {
        Ok(())
    }
}

async fn ask_on_stream(cx: &RequestContext<RoleServer>, request: &Value) -> Result<Value, ErrorData> {
    let params = request["params"].clone();
    let answer = match request["method"].as_str() {
        Some("elicitation/create") => cx.peer.create_elicitation(typed(params)?).await.map(|answer| json!(answer)),
        Some("sampling/createMessage") => cx.peer.create_message(typed(params)?).await.map(|answer| json!(answer)),
        _ => cx.peer.list_roots().await.map(|answer| json!(answer)),
    };
    answer.map_err(|error| ErrorData::internal_error(error.to_string(), None))
}

/// The capability of a client that can be asked `request`.
fn capability(request: &Value) -> &str {
    request["method"].as_str().and_then(|method| method.split('/').next()).unwrap_or_default()
}

fn is_modern(cx: &RequestContext<RoleServer>) -> bool {
    cx.protocol_version().is_some_and(|version| version >= ProtocolVersion::V_2026_07_28)
}

fn tool(tool: &Value) -> Value {
    let schema = tool.get("inputSchema").cloned().unwrap_or_else(|| json!({ "type": "object", "properties": {} }));
    json!({ "name": tool["name"], "description": tool["description"], "inputSchema": schema })
}

fn without_content(resource: &Value) -> Value {
    let mut shown = resource.clone();
    if let Some(members) = shown.as_object_mut() {
        members.retain(|name, _| name != "text" && name != "blob");
    }
    shown
}

fn filled(part: &Value, values: &JsonObject) -> Value {
    match part {
        Value::String(text) => {
            let mut text = text.clone();
            for (name, value) in values {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                text = text.replace(&["{", name, "}"].concat(), &value);
            }
            text.into()
        }
        Value::Array(items) => items.iter().map(|item| filled(item, values)).collect(),
        Value::Object(members) => {
            members.iter().map(|(name, member)| (name.clone(), filled(member, values))).collect::<JsonObject>().into()
        }
        other => other.clone(),
    }
}

/// A result that is no question. The SDK takes what only one era has out for the other one.
fn result<T: DeserializeOwned>(mut members: Value) -> Result<T, ErrorData> {
    members["resultType"] = "complete".into();
    typed(members)
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, ErrorData> {
    serde_json::from_value(value).map_err(|error| ErrorData::internal_error(error.to_string(), None))
}
