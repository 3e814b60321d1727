//! A client on the Rust SDK, for the MCP server of a URL.
//!
//! `interop-rmcp URL legacy|auto CALLS`, where CALLS is a JSON list of `[tool, arguments]`. Prints as JSON the version
//! that was agreed on, the names of the tools, what came of each call, and all progress that was heard of.

use std::error::Error;
use std::sync::{Arc, Mutex};

use rmcp::model::{
    CallToolRequestParams, ClientConfig, ElicitRequestParams, ElicitResult, ElicitationAction, JsonObject,
    ProgressNotificationParam, ProtocolVersion,
};
use rmcp::service::{ClientLifecycleMode, ClientServiceExt, NotificationContext, RequestContext};
use rmcp::transport::StreamableHttpClientTransport;
use rmcp::{ClientHandler, ErrorData, RoleClient};
use serde_json::json;

#[tokio::main(flavor = "current_thread")]
async fn main() -> Result<(), Box<dyn Error>> {
    let [_, url, era, calls] = std::env::args().collect::<Vec<_>>().try_into().map_err(|_| "URL legacy|auto CALLS")?;
    let lifecycle = match era.as_str() {
        "auto" => {
            ClientLifecycleMode::Auto { preferred_versions: vec![ProtocolVersion::V_2026_07_28], legacy_version: None }
        }
        _ => ClientLifecycleMode::Initialize,
    };
    let person = Person::default();
    let progress = person.progress.clone();
    let client = person.serve_with_lifecycle(StreamableHttpClientTransport::from_uri(url), lifecycle).await?;
    let tools: Vec<_> = client.list_all_tools().await?.into_iter().map(|tool| tool.name).collect();
    let mut texts = Vec::new();
    for (tool, arguments) in serde_json::from_str::<Vec<(String, JsonObject)>>(&calls)? {
        let result = client.call_tool(CallToolRequestParams::new(tool).with_arguments(arguments)).await?;
        texts.push(serde_json::to_value(result)?["content"][0]["text"].clone());
    }
    let version = client.peer_info().map(|info| info.protocol_version.to_string());
    let progress = progress.lock().map_err(|_| "the progress is lost")?.clone();
    println!("{}", json!({"version": version, "tools": tools, "texts": texts, "progress": progress}));
    client.cancel().await?;
    Ok(())
}

/// Says what its name is, and remembers what it was told.
#[derive(Default)]
struct Person {
    progress: Arc<Mutex<Vec<f64>>>,
}

impl ClientHandler for Person {
    fn get_info(&self) -> ClientConfig {
        let mut info = ClientConfig::default();
        info.capabilities.elicitation = Some(Default::default());
        info
    }

    async fn create_elicitation(
        &self,
        _: ElicitRequestParams,
        _: RequestContext<RoleClient>,
    ) -> Result<ElicitResult, ErrorData> {
        Ok(ElicitResult::new(ElicitationAction::Accept).with_content(json!({"name": "Alice"})))
    }

    async fn on_progress(&self, told: ProgressNotificationParam, _: NotificationContext<RoleClient>) {
        if let Ok(mut progress) = self.progress.lock() {
            progress.push(told.progress);
        }
    }
}
