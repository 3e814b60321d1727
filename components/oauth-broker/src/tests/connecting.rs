//! The way from `GET /auth/{service}` to a connection, and everything that may not lead there.

use super::*;
use http::StatusCode;
use serde_json::json;

#[test]
fn a_person_connects_and_the_token_is_handed_out() {
    let world = World::local();
    let mut browser = Browser::default();
    let to = browser.start(&world, "/auth/forge");
    assert_eq!(to["client_id"], "forge-id");
    assert_eq!(to["redirect_uri"], "http://127.0.0.1:3000/callback/forge");
    assert_eq!(to["scope"], "read write");
    assert_eq!((to["response_type"].as_str(), to["code_challenge_method"].as_str()), ("code", "S256"));

    world.answer(200, grant("access-1", 3600, "refresh-1"));
    let done = browser.get(&world, &format!("/callback/forge?code=canary-code&state={}", to["state"]));
    assert_eq!((done.status(), head(&done, "location").as_str()), (StatusCode::SEE_OTHER, "/?connected=forge"));

    let token = world.token("forge", None);
    assert_eq!(token.status(), StatusCode::OK);
    assert_eq!(read(&token)["access_token"], "access-1");
    let resolved = world.resolve(None, json!({ "service": "forge" }));
    assert_eq!((resolved["status"].as_str(), resolved["access_token"].as_str()), (Some("token"), Some("access-1")));
}
