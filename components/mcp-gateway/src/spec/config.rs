//! `servers.json`: what loads, what is refused, and that a bad server costs itself alone.

use crate::config::{Config, Fault};

/// What becomes of one entry.
fn entry(text: &str) -> Result<(), Fault> {
    let file = format!(r#"{{"mcpServers":{{"x":{text}}}}}"#);
    let config = Config::read(&file).unwrap_or_else(|error| panic!("{error}: {text}"));
    config.entries()[0].server().map(drop)
}

fn misconfigured(text: &str) -> String {
    match entry(text) {
        Err(Fault::Misconfigured(said)) => said,
        other => panic!("{other:?}: {text}"),
    }
}

#[test]
fn entries_that_people_already_have_load_unchanged() {
    for text in [
        r#"{"url":"https://a.example/mcp"}"#,
        r#"{"type":"http","url":"https://a.example/mcp","headers":{"Authorization":"Bearer x"}}"#,
        r#"{"type":"streamable-http","url":"https://a.example/mcp?key=1","alwaysAllow":["x"],"disabled":false}"#,
        r#"{"type":"streamableHttp","url":"http://localhost:3000/mcp","timeout":60,"autoApprove":[]}"#,
        r#"{"url":"http://127.0.0.1:1/","service":"github","tools":{"allow":["a*"],"deny":[]},"description":"d","note":"n"}"#,
        r#"{"url":"http://[::1]:1/","gallery":true,"version":"1","dev":{}}"#,
    ] {
        assert_eq!(entry(text), Ok(()), "{text}");
    }
}

#[test]
fn what_gatehouse_cannot_run_is_listed_with_the_reason() {
    for (text, said) in [
        (r#"{"command":"npx","args":["-y","x"],"env":{"A":"${B}"},"cwd":"/"}"#, "local process"),
        (r#"{"type":"stdio","command":"x","envFile":".env"}"#, "local process"),
        (r#"{"type":"sse","url":"https://a.example/sse"}"#, "\"sse\""),
        (r#"{"url":"https://a.example","oauth":{"clientId":"x"}}"#, "\"service\""),
        (r#"{"url":"https://a.example","disabledTools":["x"]}"#, "\"deny\""),
        (r#"{"serverUrl":"https://a.example"}"#, "\"url\""),
    ] {
        match entry(text) {
            Err(Fault::Unsupported(reason)) => assert!(reason.contains(said), "{reason}"),
            other => panic!("{other:?}: {text}"),
        }
    }
    assert_eq!(entry(r#"{"url":"https://a.example","disabled":true}"#), Err(Fault::Disabled));
}

#[test]
fn an_unknown_key_is_an_error_that_names_it() {
    assert!(misconfigured(r#"{"url":"https://a.example","servise":"x"}"#).contains("\"servise\""));
    assert!(misconfigured(r#"{"url":"https://a.example","tools":{"alow":[]}}"#).contains("\"alow\""));
    assert!(misconfigured(r#"{"url":"https://a.example","url":"https://b.example"}"#).contains("\"url\""));
    let error = Config::read(r#"{"mcpServers":{},"servers":{}}"#).err().unwrap().to_string();
    assert!(error.contains("\"servers\""), "{error}");
}

#[test]
fn a_file_without_servers_is_an_error_of_the_whole() {
    for text in ["", "[]", "{}", r#"{"mcpServers":[]}"#, r#"{"mcpServers":{}"#] {
        assert!(Config::read(text).is_err(), "{text}");
    }
    assert!(Config::read(r#"{"$schema":"x","inputs":[],"mcpServers":{}}"#).is_ok());
}

#[test]
fn urls_that_could_reach_inside_are_refused() {
    for url in [
        "http://a.example/mcp",
        "http://localhost.a.example/mcp",
        "http://10.0.0.1/mcp",
        "https://oauth-broker.spin.internal/resolve",
        "http://oauth-broker.spin.internal/resolve",
        "https://OAUTH-BROKER.SPIN.INTERNAL./resolve",
        "https://spin.internal",
        "https://user:password@a.example",
        "https://user@a.example",
        "/mcp",
        "a.example/mcp",
        "https://",
        "https://a.example/#x",
        "https://${HOST}/mcp",
        "ftp://a.example",
        "file:///etc/passwd",
        "",
    ] {
        assert!(misconfigured(&format!(r#"{{"url":"{url}"}}"#)).contains("\"url\""), "{url}");
    }
}

#[test]
fn headers_that_are_not_the_files_to_set_are_refused() {
    for (headers, said) in [
        (r#"{"Mcp-Session-Id":"x"}"#, "Mcp-Session-Id"),
        (r#"{"Content-Length":"1"}"#, "Content-Length"),
        (r#"{"Host":"x"}"#, "Host"),
        (r#"{"X":"${TOKEN}"}"#, "placeholder"),
        (r#"{"X":1}"#, "string"),
        (r#"{"X Y":"1"}"#, "name"),
        (r#"{"X":"a\nb"}"#, "value"),
        ("[]", "object"),
    ] {
        let error = misconfigured(&format!(r#"{{"url":"https://a.example","headers":{headers}}}"#));
        assert!(error.contains(said), "{error}");
    }
    let both = r#"{"url":"https://a.example","service":"s","headers":{"authorization":"secret"}}"#;
    let error = misconfigured(both);
    assert!(error.contains("service") && !error.contains("secret"), "{error}");
}

#[test]
fn names_that_cannot_be_told_apart_or_hide_a_route_are_refused() {
    let file = r#"{"mcpServers":{"a b":{"url":"https://a.example"},"a-b":{"url":"https://b.example"},
        "servers":{"url":"https://c.example"},"sse":{"url":"https://d.example"},"e":{"url":"https://e.example"},"e":{"url":"https://f.example"}}}"#;
    let config = Config::read(file).unwrap();
    let states: Vec<bool> = config.entries().iter().map(|entry| entry.server().is_ok()).collect();
    assert_eq!(states, [true, false, false, false, true, false]);
    assert_eq!(config.find("a-b").unwrap().name, "a b");
}

#[test]
fn a_bad_server_does_not_take_the_others_down() {
    let file = r#"{"mcpServers":{"bad":7,"worse":{"url":1},"good":{"url":"https://good.example"}}}"#;
    let config = Config::read(file).unwrap();
    assert_eq!(config.servers().map(|server| server.name.into_owned()).collect::<Vec<_>>(), ["good"]);
}

#[test]
fn a_timeout_is_in_seconds_and_from_1000_on_in_milliseconds() {
    let patience = |timeout: &str| {
        let file = format!(r#"{{"mcpServers":{{"x":{{"url":"https://a.example"{timeout}}}}}}}"#);
        let config = Config::read(&file).unwrap();
        config.entries()[0].server().map(|server| server.patience.as_millis()).ok()
    };
    assert_eq!(patience(""), Some(60_000));
    assert_eq!(patience(r#","timeout":5"#), Some(5_000));
    assert_eq!(patience(r#","timeout":30000"#), Some(30_000));
    for wrong in ["0", "-1", "1.5", "\"5\"", "1e9"] {
        assert_eq!(patience(&format!(r#","timeout":{wrong}"#)), None, "{wrong}");
    }
}

#[test]
fn patterns_fit_whole_names() {
    let file =
        r#"{"mcpServers":{"x":{"url":"https://a.example","tools":{"allow":["get_*","*_read","a*b*c","exact"]}}}}"#;
    let config = Config::read(file).unwrap();
    let server = config.entries()[0].server().unwrap();
    for (tool, offered) in [
        ("get_", true),
        ("get_x", true),
        ("xget_x", false),
        ("x_read", true),
        ("_read", true),
        ("x_reads", false),
        ("abc", true),
        ("a1b2c", true),
        ("acb", false),
        ("exact", true),
        ("exactly", false),
        ("", false),
    ] {
        assert_eq!(server.offers(tool), offered, "{tool}");
    }
}
