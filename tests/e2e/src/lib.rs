//! End-to-end tests of Gatehouse as it is deployed: what its pages promise.
//!
//! The built wasm files run in `gatehouse_host` by the repository's own manifests, in each of the three compositions;
//! around them the fixtures: a provider, an MCP server, people's browsers and MCP clients. A [`World`] is one such
//! installation with everything around it, and ends with the test that made it.
//!
//! A test that is to hold in every composition is written once, inside [`in_every_composition!`].

mod house;
mod keys;

pub use house::{Composition, House, Row, Setup, root, target_dir};
pub use keys::{Key, Keys};

use gatehouse_fixtures::mcp_server::{self, Eras};
use gatehouse_fixtures::provider::{self, Client, Consent, Person};
use gatehouse_fixtures::{Browser, McpClient, McpServer, Page, Provider};
use serde_json::{Value, json};

/// An installation with one service and one MCP server, both called `demo`.
pub struct World {
    pub house: House,
    pub provider: Provider,
    pub server: McpServer,
}

/// How a world differs from the plain one, which is local, dual-era and has a service that works.
#[derive(Default)]
pub struct Wish {
    /// Reached at a public address, where callers need API keys and people sign in. Else it is in local mode.
    pub public: bool,
    pub eras: Option<Eras>,
    /// Members that are added to the service's entry in `oauth_clients`, or replace those there.
    pub service: Value,
    /// Members that are added to `oauth_clients`.
    pub services: Value,
    /// Members that are added to the server's entry in `mcpServers`, or replace those there.
    pub server: Value,
    /// Members that are added to `mcpServers`, after `demo`.
    pub servers: Value,
    /// Members that are added to `servers.json` itself.
    pub file: Value,
    /// Variables of the manifests that are set to something else.
    pub variables: Vec<(&'static str, String)>,
}

impl World {
    pub fn local(composition: Composition) -> Self {
        Self::new(composition, Wish::default())
    }

    pub fn public(composition: Composition) -> Self {
        Self::new(composition, Wish { public: true, ..Wish::default() })
    }

    pub fn new(composition: Composition, wish: Wish) -> Self {
        let keys = Keys::fresh();
        let provider =
            Provider::start(provider::Options { consent: Consent::Approve(Person::Alice), ..Default::default() })
                .expect("the provider starts");
        let server = McpServer::start(mcp_server::Options {
            bearers: Some(provider.bearers()),
            eras: wish.eras.unwrap_or(Eras::Dual),
            ..Default::default()
        })
        .expect("the MCP server starts");

        let url = provider.url();
        let mut service = json!({
            "client_id": CLIENT_ID,
            "client_secret": keys.client_secret,
            "authorize_url": format!("{url}/authorize"),
            "token_url": format!("{url}/token"),
            "issuer": url,
            "issuer_required": true,
            "scopes": ["profile"],
            "revoke": { "url": format!("{url}/revoke") },
            "whoami": { "url": format!("{url}/userinfo"), "account": ["preferred_username"] },
        });
        merge(&mut service, wish.service);
        let mut services = json!({ "demo": service });
        merge(&mut services, wish.services);
        let mut entry = json!({ "type": "http", "url": server.url(), "service": "demo" });
        merge(&mut entry, wish.server);
        let mut servers = json!({ "demo": entry });
        merge(&mut servers, wish.servers);
        let mut file = json!({ "mcpServers": servers });
        merge(&mut file, wish.file);
        let house = House::start(Setup {
            composition,
            public: wish.public,
            keys,
            oauth_clients: services,
            servers: file,
            variables: wish.variables,
        })
        .unwrap_or_else(|error| panic!("{composition:?} starts: {error:#}"));
        provider.add_client(Client {
            id: CLIENT_ID.to_owned(),
            secret: Some(house.keys().client_secret.clone()),
            redirect_uris: vec![format!("{}/callback/demo", house.broker())],
        });
        Self { house, provider, server }
    }

    /// A browser that nobody has used.
    pub fn browser(&self) -> Browser {
        Browser::new(self.house.wire())
    }

    /// A modern client of the aggregate.
    pub fn modern(&self) -> McpClient {
        McpClient::modern(self.house.wire(), format!("{}/mcp", self.house.gateway()))
    }

    /// A legacy client of the aggregate.
    pub fn legacy(&self) -> McpClient {
        McpClient::legacy(self.house.wire(), format!("{}/mcp", self.house.gateway()), "2025-11-25")
    }

    /// A modern client of the one server.
    pub fn direct(&self) -> McpClient {
        McpClient::modern(self.house.wire(), format!("{}/mcp/demo", self.house.gateway()))
    }

    /// Where a person connects the service.
    pub fn connect_page(&self) -> String {
        format!("{}/auth/demo", self.house.broker())
    }

    /// Connects whoever sits at this browser with that person's account at the provider.
    pub fn connect_as(&self, browser: &mut Browser, person: Person) -> Page {
        self.provider.set_consent(Consent::Approve(person));
        let page = browser.open_and_press(&self.connect_page(), "Connect").expect("the pages answer");
        assert!(
            page.status.is_success(),
            "{} ended at {}: {}\n{}",
            self.connect_page(),
            page.url,
            page.status,
            page.body
        );
        page
    }

    /// Connects the local owner as Alice.
    pub fn connect(&self) {
        self.connect_as(&mut self.browser(), Person::Alice);
    }

    /// Asks the MCP server who is calling: the name it knows, or what it said instead.
    pub fn whoami(&self, client: &mut McpClient) -> Result<String, String> {
        let tool = if client.url().ends_with("/mcp") { "demo__whoami" } else { "whoami" };
        let reply = client.call(tool, json!({})).expect("the gateway answers");
        let name = reply.result().and_then(|result| result["structuredContent"]["name"].as_str());
        match name {
            Some(name) if !reply.is_tool_error() => Ok(name.to_owned()),
            _ => Err(format!("{} {}", reply.status, reply.body)),
        }
    }
}

/// Writes a test once and runs it three times: `one_app`, `two_apps`, `consolidated`.
#[macro_export]
macro_rules! in_every_composition {
    ($($(#[doc = $doc:literal])* fn $name:ident($composition:ident: Composition) $body:block)*) => {
        $($(#[doc = $doc])* fn $name($composition: $crate::Composition) $body)*
        mod one_app { $(#[test] fn $name() { super::$name($crate::Composition::OneApp) })* }
        mod two_apps { $(#[test] fn $name() { super::$name($crate::Composition::TwoApps) })* }
        mod consolidated { $(#[test] fn $name() { super::$name($crate::Composition::Consolidated) })* }
    };
}

fn merge(into: &mut Value, from: Value) {
    if let (Some(into), Value::Object(from)) = (into.as_object_mut(), from) {
        into.extend(from);
    }
}

const CLIENT_ID: &str = "gatehouse-e2e";
