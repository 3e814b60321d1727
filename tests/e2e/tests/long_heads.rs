//! Nothing that comes from outside makes a head so long that the host ends the instance.
//!
//! Hosts limit the heads that a component makes, and end its instance at a longer one: its client gets 500 and no reason. Only a
//! real host does that.

use gatehouse_e2e::{Wish, World, in_every_composition};
use gatehouse_fixtures::raw::{self, Kind};
use gatehouse_fixtures::{McpClient, Raw};
use serde_json::json;

/// More than a host lets a component send.
const LONG: usize = 300_000;

in_every_composition! {
    /// A27: one server of many names its session by a long id. The others are listed and called as before.
    fn a_server_whose_session_has_a_long_id_costs_its_own_tools(composition: Composition) {
        let server = Raw::start(|asked| match &*asked.method() {
            "initialize" => {
                let result = r#"{"protocolVersion":"2025-11-25","serverInfo":{"name":"raw","version":"1"},"capabilities":{"tools":{}}}"#;
                let body = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{result}}}"#, asked.id());
                let fields = format!("content-type: application/json\r\nmcp-session-id: {}\r\n", "s".repeat(LONG));
                raw::answer("200 OK", &fields, body.as_bytes())
            }
            _ => Kind::Sessions.answer(asked),
        })
        .unwrap();
        let wish = Wish { servers: json!({ "raw": { "url": server.url() } }), ..Wish::default() };
        let world = World::new(composition, wish);
        world.connect();
        for mut client in [world.modern(), world.legacy()] {
            let listed = client.list_tools().unwrap();
            assert!(listed.body.contains("demo__echo") && !listed.body.contains("raw__"), "{}", listed.body);
            let called = client.call("demo__echo", json!({ "message": "here" })).unwrap();
            assert_eq!(called.text(), Some("here"), "{}", called.body);
        }
        let url = format!("{}/mcp/raw", world.house.gateway());
        let mut own = McpClient::modern(world.house.wire(), url);
        let called = own.call("echo", json!({})).unwrap();
        assert!(called.body.contains("the id that it gave its session is longer than 4 KiB"), "{}", called.body);
    }

    /// A27: the name of a tool is repeated in a header, and a legacy client can write one of any length.
    fn a_name_that_fits_in_no_header_is_an_error(composition: Composition) {
        let server = Raw::mcp(Kind::Modern, |_| raw::json("{}")).unwrap();
        let wish = Wish { servers: json!({ "raw": { "url": server.url() } }), ..Wish::default() };
        let world = World::new(composition, wish);
        let url = format!("{}/mcp/raw", world.house.gateway());
        let mut client = McpClient::legacy(world.house.wire(), url, "2025-11-25");
        let called = client.call(&"x".repeat(LONG), json!({})).unwrap();
        assert!(called.body.contains("the headers that it needs are longer than 64 KiB"), "{} {}", called.status, called.body);
    }
}
