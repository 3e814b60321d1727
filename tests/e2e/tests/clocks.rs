//! An installation whose clock was wrong for a while believes no time for longer than its kind lasts.

use gatehouse_e2e::{Key, World, in_every_composition};
use gatehouse_fixtures::Browser;
use gatehouse_fixtures::provider::Person;
use serde_json::json;

in_every_composition! {
    /// A26: a call while the clock is an hour ahead, the clock set back, the key removed.
    fn a_key_that_is_removed_is_refused_when_the_clock_was_ahead(composition: Composition) {
        let mut world = World::public(composition);
        let keys = world.house.keys().clone();
        world.connect_as(&mut signed_in(&world, &keys.ann), Person::Alice);

        world.house.set_clock_ahead(3600).unwrap();
        let mut ann = world.modern().with_bearer(&keys.ann.value);
        for _ in 0..2 {
            assert_eq!(world.whoami(&mut ann).as_deref(), Ok("alice"));
        }
        world.house.set_clock_ahead(0).unwrap();
        world.house.set_variable("api_keys", keys.ben.entry());
        world.house.restart().unwrap();

        let before = world.server.seen().len();
        let told = match world.modern().with_bearer(&keys.ann.value).call("demo__whoami", json!({})) {
            Ok(reply) => format!("{} {}", reply.status, reply.body),
            Err(error) => format!("{error:#}"),
        };
        assert!(told.contains("401"), "{told}");
        assert_eq!(world.server.seen().len(), before, "nothing was called with her token");
    }

    /// A26: set right, the clock costs nobody a connection or a call.
    fn a_clock_that_is_set_right_costs_nobody_anything(composition: Composition) {
        let mut world = World::public(composition);
        let keys = world.house.keys().clone();
        for offset in [-86_400, 0, 86_400, 0] {
            world.house.set_clock_ahead(offset).unwrap();
            let mut browser = signed_in(&world, &keys.ann);
            if offset < 0 {
                world.connect_as(&mut browser, Person::Alice);
            }
            for client in [world.modern(), world.legacy()] {
                assert_eq!(world.whoami(&mut client.with_bearer(&keys.ann.value)).as_deref(), Ok("alice"), "{offset}");
            }
            world.house.restart().unwrap();
        }
    }
}

fn signed_in(world: &World, key: &Key) -> Browser {
    let mut browser = world.browser();
    let page = browser.open(&world.house.broker()).unwrap();
    let page = browser.press(&page, "Sign in", &[("credential", &key.value)]).unwrap();
    assert!(page.body.contains(&format!("Signed in as {}", key.subject)), "{}", page.body);
    browser
}
