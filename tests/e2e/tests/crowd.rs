//! Many callers at the same moment cost no more than one.

use std::sync::Barrier;
use std::thread;
use std::time::Duration;

use gatehouse_e2e::{World, in_every_composition};
use gatehouse_fixtures::provider::GrantType;

in_every_composition! {
    /// Items 20 and 21: each request runs in an instance of its own, and the provider ends a grant whose refresh token
    /// comes twice.
    fn fifty_callers_at_expiry_cost_one_refresh(composition: Composition) {
        let world = World::local(composition);
        for round in 1..=rounds() {
            world.provider.set_access_token_lifetime(Duration::from_secs(1));
            world.connect();
            thread::sleep(Duration::from_millis(2100));
            world.provider.set_access_token_lifetime(Duration::from_secs(3600));
            let together = Barrier::new(CALLERS);
            let told: Vec<Result<String, String>> = thread::scope(|scope| {
                let call = || {
                    let mut client = world.modern();
                    together.wait();
                    world.whoami(&mut client)
                };
                let callers: Vec<_> = (0..CALLERS).map(|_| scope.spawn(call)).collect();
                callers.into_iter().map(|caller| caller.join().unwrap()).collect()
            });
            assert_eq!(told, vec![Ok("alice".to_owned()); CALLERS], "round {round}");
            assert_eq!(world.provider.token_requests(GrantType::RefreshToken), round);
        }
    }
}

/// A long run has more.
fn rounds() -> usize {
    std::env::var("GATEHOUSE_ROUNDS").ok().and_then(|rounds| rounds.parse().ok()).unwrap_or(2)
}

const CALLERS: usize = 50;
