//! Which addresses discovery refuses: private ones, other hosts, redirects.

use super::*;

/// Item 8: metadata that name an endpoint at another host are refused, since a code would go from one server to another.
#[test]
fn an_endpoint_at_another_host_is_refused_unless_the_operator_vouches_for_it() {
    for field in ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"] {
        let world = world();
        saying(&world, json!({ field: "https://other.example.org/x" }));
        refuses(
            &world,
            &format!(
                "https://login.example.net names other.example.org for its {field}. If the two belong together, list \
                 the host in `hosts` of this service"
            ),
        );
        assert!(!sent_to(&world, "other.example.org"));
        world.offer("notes", json!({ "mcp_server": SERVER, "hosts": ["example.org"] }));
        posted(&world, "https://other.example.org/x", 201, json!({ "client_id": "registered-1" }));
        start(&world);
    }
    let world = world();
    saying(
        &world,
        json!({
            "authorization_endpoint": "https://mcp.example.com/authorize",
            "token_endpoint": "https://api.login.example.net/token",
        }),
    );
    start(&world);
    saying(&world, json!({ "token_endpoint": "https://example.net/token" }));
    assert!(refused(&world).contains("example.net for its token_endpoint"));
}

/// Item 63: no address of a private network, wherever it is named, is gone to.
#[test]
fn no_private_address_is_requested() {
    let private = "https://10.0.0.7/latest";
    let why = "is not an address to go to: it is an address of this machine or of a private network";
    let refuses_before_going = |world: &World, what: &str| {
        refuses(world, what);
        assert!(!sent_to(world, "10.0.0.7"), "{what}");
    };
    let world = world();
    challenge(&world, &format!(r#"Bearer resource_metadata="{private}""#));
    refuses_before_going(&world, &format!("resource_metadata of {SERVER} {why}"));
    let world = self::world();
    at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": [private] }));
    refuses_before_going(&world, &format!("authorization_servers of {RESOURCE} {why}"));
    for field in ["authorization_endpoint", "token_endpoint", "registration_endpoint", "revocation_endpoint"] {
        let world = self::world();
        saying(&world, json!({ field: private }));
        refuses_before_going(&world, &format!("{field} of {ISSUER} {why}"));
    }
    for (bad, why) in [
        ("http://login.example.net", "it has to be https (http is for loopback addresses)"),
        (
            "http://127.0.0.1:3000",
            "it is an address of this machine or of a private network, and neither `hosts` nor `internal_hosts` names it",
        ),
        ("https://oauth-broker.spin.internal", "`*.spin.internal`, `self.alt` and link-local hosts are not outside"),
        ("https://self.alt/auth/evil", "`*.spin.internal`, `self.alt` and link-local hosts are not outside"),
        ("https://169.254.169.254/latest", "`*.spin.internal`, `self.alt` and link-local hosts are not outside"),
        ("/relative", "not a URL"),
        ("https://u:p@login.example.net", "a user name, a password or a fragment has no place in it"),
        ("https://login.example.net?x", "it has a query"),
        ("https://login.example.net/{client_id}", "it has braces"),
    ] {
        let world = self::world();
        at(&world, RESOURCE, json!({ "resource": SERVER, "authorization_servers": [bad] }));
        refuses(&world, &format!("authorization_servers of {RESOURCE} is not an address to go to: {why}"));
        assert_eq!(sent(&world).len(), 2, "{bad}");
    }
}

/// Item 63: a redirect is where a stranger leads, and is not followed.
#[test]
fn no_redirect_is_followed() {
    for place in [RESOURCE, METADATA] {
        let world = world();
        let moved = Response::builder().status(302).header("location", "https://moved.example/").body(Vec::new());
        put(&world, format!("GET {place}"), Ok(moved.unwrap()));
        refused(&world);
        assert!(!sent_to(&world, "moved.example"));
    }
}
