//! A connection, from the first consent to the last call, as a person and their client see it.

use std::thread;
use std::time::{Duration, Instant};

use gatehouse_e2e::{World, in_every_composition};
use gatehouse_fixtures::provider::{Consent, GrantType, Person};
use gatehouse_fixtures::{McpClient, fingerprint};
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
        let secrets = world.provider.secrets();
        let issued: Vec<_> = secrets.iter().map(|secret| fingerprint(&secret.value)).collect();
        let seen = world.server.bearers_seen();
        assert!(seen.len() == 1 && issued.contains(&seen[0]), "{seen:?}");
        assert_eq!(world.provider.token_requests(GrantType::RefreshToken), 0);
    }
}
