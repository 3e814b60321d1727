//! A person loses nothing if the provider does not answer, or answers badly.

use std::thread::sleep;
use std::time::Duration;

use gatehouse_e2e::{Composition, World, in_every_composition};
use gatehouse_fixtures::Fault;
use gatehouse_fixtures::provider::{GrantType, Person, SecretKind};
use http::StatusCode;
use serde_json::json;

in_every_composition! {
    /// Item 22: only `invalid_grant` ends a grant.
    fn a_refresh_that_fails_is_told_as_temporary_and_loses_nothing(composition: Composition) {
        let world = expired(composition);
        let before = connections(&world);
        for fault in [
            Fault::oauth_error(StatusCode::INTERNAL_SERVER_ERROR, "server_error"),
            Fault::oauth_error(StatusCode::SERVICE_UNAVAILABLE, "temporarily_unavailable"),
            Fault::html(StatusCode::BAD_GATEWAY),
            Fault::html(StatusCode::OK),
            Fault::Reset,
        ] {
            world.provider.fail_next_token_requests(1, fault.clone());
            let told = world.whoami(&mut world.modern()).unwrap_err();
            assert!(told.contains("the connection is kept") && !told.contains("connect_url"), "{fault:?}: {told}");
        }
        assert_eq!(connections(&world), before);
        assert_eq!(world.whoami(&mut world.modern()).as_deref(), Ok("alice"));
        assert_eq!(world.provider.token_requests(GrantType::AuthorizationCode), 1);
    }

    fn a_provider_that_asks_for_patience_gets_it(composition: Composition) {
        let world = expired(composition);
        world.provider.fail_next_token_requests(1, Fault::too_many_requests(Duration::from_secs(2)));
        for _ in 0..3 {
            assert!(world.whoami(&mut world.modern()).unwrap_err().contains("the connection is kept"));
        }
        assert_eq!(world.provider.token_requests(GrantType::RefreshToken), 1);
        sleep(Duration::from_millis(3100));
        assert_eq!(world.whoami(&mut world.modern()).as_deref(), Ok("alice"));
        assert_eq!(world.provider.token_requests(GrantType::RefreshToken), 2);
    }

    fn a_provider_that_is_down_is_waited_for(composition: Composition) {
        let world = expired(composition);
        world.provider.go_down();
        assert!(world.whoami(&mut world.direct()).unwrap_err().contains("the connection is kept"));
        world.provider.come_back().unwrap();
        assert_eq!(world.whoami(&mut world.direct()).as_deref(), Ok("alice"));
    }

    /// Item 23: the end is told with the way out, and costs no further calls of the provider.
    fn a_grant_that_the_provider_ended_is_told_with_a_link_that_reconnects(composition: Composition) {
        let world = expired(composition);
        world.provider.revoke_grants(Person::Alice);
        let mut client = world.modern();
        for _ in 0..2 {
            assert!(world.whoami(&mut client).unwrap_err().contains("the connection has ended"));
        }
        assert_eq!(world.provider.token_requests(GrantType::RefreshToken), 1);
        let reply = client.call("demo__whoami", json!({})).unwrap();
        let link = reply.result().unwrap()["structuredContent"]["connect_url"].as_str().unwrap().to_owned();
        assert_eq!(world.browser().open_and_press(&link, "Connect").unwrap().status, StatusCode::OK);
        assert_eq!(world.whoami(&mut client).as_deref(), Ok("alice"));
    }

    /// Item 25, as far as it can be seen from outside: a rotation whose answer was lost ends in a link, not in a loop.
    fn a_lost_rotation_ends_in_a_link_and_in_no_loop(composition: Composition) {
        let world = expired(composition);
        world.provider.fail_next_token_requests(1, Fault::LoseAnswer);
        let mut client = world.modern();
        assert!(world.whoami(&mut client).is_err());
        for _ in 0..3 {
            assert!(world.whoami(&mut client).unwrap_err().contains("connect_url"));
        }
        assert_eq!(world.provider.token_requests(GrantType::RefreshToken), 2);
        world.connect();
        assert_eq!(world.whoami(&mut client).as_deref(), Ok("alice"));
    }

    /// One server down costs its own entries and nothing else.
    fn a_server_that_is_down_is_named_and_hides_no_other(composition: Composition) {
        let world = World::local(composition);
        world.connect();
        world.server.go_down();
        let mut client = world.modern();
        let tools = client.list_tools().unwrap();
        assert_eq!(tools.status, StatusCode::OK);
        assert!(tools.body.contains("gatehouse_connections") && !tools.body.contains("demo__echo"), "{}", tools.body);
        assert!(world.whoami(&mut client).unwrap_err().contains("demo"));
        world.server.come_back().unwrap();
        assert_eq!(world.whoami(&mut client).as_deref(), Ok("alice"));
    }
}

/// One composition is enough: what is waited for here is the broker's own patience, which is the same in all.
#[test]
fn a_provider_that_hangs_is_given_up_on_in_time() {
    let world = expired(Composition::OneApp);
    world.provider.fail_next_token_requests(1, Fault::Hang);
    let started = std::time::Instant::now();
    assert!(world.whoami(&mut world.modern()).unwrap_err().contains("the connection is kept"));
    assert!(started.elapsed() < Duration::from_secs(45), "{:?}", started.elapsed());
    assert_eq!(world.whoami(&mut world.modern()).as_deref(), Ok("alice"));
}

/// What is stored, but for the mark that a refresh may have been cut off.
fn connections(world: &World) -> Vec<(String, Vec<u8>)> {
    let rows = world.house.rows().unwrap().into_iter().map(|((_, _, key), row)| (key, row));
    rows.filter(|(key, _)| !key.starts_with("b.r.")).collect()
}

/// A world whose owner's access token has just ended; the refresh token is good.
fn expired(composition: Composition) -> World {
    let world = World::local(composition);
    world.provider.set_access_token_lifetime(Duration::from_secs(1));
    world.connect();
    sleep(Duration::from_millis(2100));
    world.provider.set_access_token_lifetime(Duration::from_secs(3600));
    assert!(world.provider.secrets().iter().any(|secret| secret.kind == SecretKind::RefreshToken));
    world
}
