//! A connection, from the first consent to the last call, as a person and their client see it.

use std::thread::sleep;
use std::time::Duration;

use gatehouse_e2e::{World, in_every_composition};
use gatehouse_fixtures::provider::{GrantType, Person};
use gatehouse_fixtures::{McpClient, fingerprint};
use http::StatusCode;
use serde_json::json;

in_every_composition! {
    fn every_client_reaches_the_server_with_the_persons_token(composition: Composition) {
        let world = World::local(composition);
        world.connect();
        let direct_legacy =
            McpClient::legacy(world.house.wire(), format!("{}/mcp/demo", world.house.gateway()), "2025-06-18");
        for mut client in [world.modern(), world.legacy(), world.direct(), direct_legacy] {
            assert_eq!(world.whoami(&mut client).as_deref(), Ok("alice"));
        }
        let issued: Vec<_> = world.provider.secrets().iter().map(|secret| fingerprint(&secret.value)).collect();
        let seen = world.server.bearers_seen();
        assert!(seen.len() == 1 && issued.contains(&seen[0]), "{seen:?}");
        assert_eq!(world.provider.token_requests(GrantType::RefreshToken), 0);
    }

    fn without_a_connection_a_call_gives_a_link_that_connects(composition: Composition) {
        let world = World::local(composition);
        for mut client in [world.modern(), world.legacy(), world.direct()] {
            let tool = if client.url().ends_with("/mcp") { "demo__whoami" } else { "whoami" };
            let reply = client.call(tool, json!({})).unwrap();
            assert_eq!((reply.status, reply.is_tool_error()), (StatusCode::OK, true), "{}", reply.body);
            let link = reply.result().unwrap()["structuredContent"]["connect_url"].as_str().unwrap().to_owned();
            assert!(link.starts_with(&format!("{}/auth/demo?ticket=", world.house.broker())), "{link}");
            assert!(reply.text().unwrap().contains(&link));
            assert!(world.server.bearers_seen().is_empty());

            let mut browser = world.browser();
            let page = browser.open_and_press(&link, "Connect").unwrap();
            assert_eq!(page.status, StatusCode::OK, "{}", page.body);
            assert_eq!(world.whoami(&mut client).as_deref(), Ok("alice"));

            browser.press(&page, "Disconnect", &[]).unwrap();
            world.server.forget_bearers();
        }
    }

    fn an_expired_token_is_refreshed_once_and_the_connection_stays(composition: Composition) {
        let world = World::local(composition);
        world.provider.set_access_token_lifetime(SHORT);
        world.connect();
        let mut client = world.modern();
        assert_eq!(world.whoami(&mut client).as_deref(), Ok("alice"));
        // On a busy machine half of that short life may be over by now, and the token renewed once.
        let refreshes = world.provider.token_requests(GrantType::RefreshToken);
        let bearers = world.server.bearers_seen().len();
        let keys: Vec<_> = world.house.rows().unwrap().into_keys().collect();

        sleep(SHORT + TICK);
        world.provider.set_access_token_lifetime(LONG);
        for _ in 0..3 {
            assert_eq!(world.whoami(&mut client).as_deref(), Ok("alice"));
        }
        assert_eq!(world.provider.token_requests(GrantType::RefreshToken), refreshes + 1);
        assert_eq!(world.provider.token_requests(GrantType::AuthorizationCode), 1);
        assert_eq!(world.server.bearers_seen().len(), bearers + 1);
        assert_eq!(world.house.rows().unwrap().into_keys().collect::<Vec<_>>(), keys);
    }

    fn a_token_that_the_server_refuses_is_refreshed_and_the_call_repeated_once(composition: Composition) {
        let world = World::local(composition);
        world.connect();
        for (turn, mut client) in [world.modern(), world.direct()].into_iter().enumerate() {
            assert_eq!(world.whoami(&mut client).as_deref(), Ok("alice"));
            let calls = world.server.requests("tools/call");
            world.provider.revoke_access_tokens(Person::Alice);
            if turn == 0 {
                assert_eq!(world.whoami(&mut client).as_deref(), Ok("alice"));
                assert_eq!(world.server.requests("tools/call"), calls + 2);
            } else {
                // A server that refuses token after token is not believed: else every call would cost a refresh.
                assert!(world.whoami(&mut client).is_err());
                assert!(world.server.requests("tools/call") <= calls + 2);
            }
            assert_eq!(world.provider.token_requests(GrantType::RefreshToken), 1);
        }
    }

    /// R39: the host copies the file when the app starts, so the docs promise a change for the next start and no sooner.
    fn servers_json_is_read_as_it_was_when_the_app_started(composition: Composition) {
        let mut world = World::local(composition);
        let listed = |world: &World| {
            let url = format!("{}/mcp/servers", world.house.gateway());
            let listed = world.house.wire().send(http::Request::get(url).body("").unwrap()).unwrap();
            (listed.body().contains("\"later\""), listed.body().contains("\"demo\""))
        };
        assert_eq!(listed(&world), (false, true));
        let url = world.server.url();
        world.house.edit_servers(json!({ "mcpServers": { "later": { "url": url } } })).unwrap();
        assert_eq!(listed(&world), (false, true));
        world.house.restart().unwrap();
        assert_eq!(listed(&world), (true, false));
    }

    fn a_restart_loses_nothing(composition: Composition) {
        let mut world = World::local(composition);
        world.connect();
        let mut legacy = world.legacy();
        assert_eq!(world.whoami(&mut legacy).as_deref(), Ok("alice"));
        let session = legacy.session_id().map(str::to_owned);

        world.house.restart().unwrap();
        assert_eq!(world.whoami(&mut legacy).as_deref(), Ok("alice"));
        assert_eq!(legacy.session_id().map(str::to_owned), session);
        assert_eq!(world.whoami(&mut world.modern()).as_deref(), Ok("alice"));
        assert_eq!(world.provider.token_requests(GrantType::AuthorizationCode), 1);
        assert_eq!(world.provider.token_requests(GrantType::RefreshToken), 0);
    }

    fn whoever_disconnects_is_forgotten_and_revoked(composition: Composition) {
        let world = World::local(composition);
        let mut browser = world.browser();
        let page = world.connect_as(&mut browser, Person::Alice);
        assert!(page.body.contains("alice"), "{}", page.body);
        let page = browser.press(&page, "Disconnect", &[]).unwrap();
        assert_eq!(page.status, StatusCode::OK);
        assert_eq!(world.provider.revocations(), 1);
        assert!(world.whoami(&mut world.modern()).unwrap_err().contains("connect_url"));
        world.connect_as(&mut browser, Person::Bob);
        assert_eq!(world.whoami(&mut world.modern()).as_deref(), Ok("bob"));
    }

    fn an_upstream_that_forgot_its_sessions_is_begun_anew(composition: Composition) {
        let world = World::new(composition, gatehouse_e2e::Wish {
            eras: Some(gatehouse_fixtures::mcp_server::Eras::LegacyOnly),
            ..Default::default()
        });
        world.connect();
        for mut client in [world.modern(), world.legacy()] {
            assert_eq!(world.whoami(&mut client).as_deref(), Ok("alice"));
            world.server.forget_sessions();
            assert_eq!(world.whoami(&mut client).as_deref(), Ok("alice"));
        }
    }
}

/// Long enough to be handed out once, short enough to wait for.
const SHORT: Duration = Duration::from_secs(2);
const LONG: Duration = Duration::from_secs(3600);
/// Clocks here count whole seconds.
const TICK: Duration = Duration::from_millis(1100);
