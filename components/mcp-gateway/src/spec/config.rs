//! `servers.json`: what loads, what is refused, and that a bad server costs itself alone.

use http_auth::Origin;

use crate::config::{Config, Fault, Own, plain};

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
        (r#"{"type":"local","command":["npx","x"],"environment":{"A":"b"},"enabled":true}"#, "local process"),
        (r#"{"url":"https://a.example","auth":{"CLIENT_ID":"x"}}"#, "\"service\""),
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
    assert!(error.contains("\"servers\"") && error.contains("\"mcpServers\""), "{error}");
}

/// R13: a list is the allow list; so are other programs' words for it.
#[test]
fn tools_may_be_a_list() {
    let offers = |keys: &str, tool: &str| {
        let file = format!(r#"{{"mcpServers":{{"x":{{"url":"https://a.example",{keys}}}}}}}"#);
        let config = Config::read(&file).unwrap();
        config.entries()[0].server().unwrap_or_else(|fault| panic!("{keys}: {fault}")).offers(tool)
    };
    for keys in [r#""tools":["echo"]"#, r#""includeTools":["echo"]"#, r#""enabledTools":["echo"]"#] {
        assert!(offers(keys, "echo") && !offers(keys, "other"), "{keys}");
    }
    assert!(offers(r#""tools":["*"]"#, "anything"));
    assert!(!offers(r#""tools":[]"#, "anything"));
    for keys in [r#""excludeTools":["echo"]"#, r#""disabledTools":["echo"]"#] {
        assert!(!offers(keys, "echo") && offers(keys, "other"), "{keys}");
    }
    let both = misconfigured(r#"{"url":"https://a.example","tools":["a"],"disabledTools":["b"]}"#);
    assert!(both.contains("\"tools\""), "{both}");
    assert!(misconfigured(r#"{"url":"https://a.example","includeTools":"a"}"#).contains("\"includeTools\""));
}

/// R14: what changes nothing is read over, and `enabled` is honoured.
#[test]
fn keys_of_other_programs_are_read_over_or_honoured() {
    for text in [
        r#"{"url":"https://a.example","enabled":true,"env":{"A":"b"},"_comment":"x","type":"HTTP"}"#,
        r#"{"url":"https://a.example","oauth":false,"$note":1,"x-note":2,"//":"y"}"#,
        r#"{"url":"https://a.example","type":"Streamable-HTTP","args":[],"cwd":"/"}"#,
    ] {
        assert_eq!(entry(text), Ok(()), "{text}");
    }
    for text in [
        r#"{"url":"https://a.example","enabled":false}"#,
        r#"{"url":"https://a.example","disabled":true,"enabled":true}"#,
        r#"{"url":"https://a.example","isActive":false}"#,
    ] {
        assert_eq!(entry(text), Err(Fault::Disabled), "{text}");
    }
    assert!(matches!(entry(r#"{"url":"https://a.example","command":"npx"}"#), Err(Fault::Unsupported(_))));
}

/// R15: an unfilled placeholder is an error and never sent.
#[test]
fn placeholders_are_errors_that_name_the_header() {
    for value in ["Bearer {env:TOKEN}", "Bearer $TOKEN", "Bearer ${input:token}", "Bearer <token>", "{{TOKEN}}"] {
        let error = misconfigured(&format!(r#"{{"url":"https://a.example","headers":{{"Authorization":"{value}"}}}}"#));
        assert!(error.contains("\"Authorization\" holds a placeholder"), "{error}");
        assert!(misconfigured(&format!(r#"{{"url":"https://a.example/{value}"}}"#)).contains("\"url\""), "{value}");
    }
}

/// R16, R12: comments, a comma at the end, a byte order mark, VS Code's form, and foreign keys at the top.
#[test]
fn files_of_other_programs_load() {
    for (program, text) in [
        (
            "Claude Desktop",
            r#"{"mcpServers":{"x":{"type":"http","url":"https://a.example/mcp"}},"globalShortcut":"","preferences":{}}"#,
        ),
        (
            "Claude Code",
            r#"{"mcpServers":{"x":{"type":"http","url":"https://a.example/mcp","headers":{"X-Key":"k"},"env":{}}}}"#,
        ),
        (
            "VS Code",
            "\u{feff}{\n  // servers\n  \"inputs\": [],\n  \"servers\": {\"x\": {\"type\": \"http\", \"url\": \"https://a.example/mcp\",},},\n}",
        ),
        (
            "VS Code settings",
            r#"{"mcp":{"inputs":[],"servers":{"x":{"url":"https://a.example/mcp"}}},"editor.tabSize":2}"#,
        ),
        ("Cursor", r#"{"mcpServers":{"x":{"url":"https://a.example/mcp","headers":{}}}}"#),
        (
            "Windsurf",
            r#"{"mcpServers":{"x":{"serverUrl":"https://a.example/mcp","disabled":false,"disabledTools":[]}}}"#,
        ),
        (
            "Gemini CLI",
            r#"{"theme":"x","mcpServers":{"x":{"httpUrl":"https://a.example/mcp","timeout":5000,"trust":false,"includeTools":["a"]}}}"#,
        ),
        (
            "Copilot CLI",
            r#"{"mcpServers":{"x":{"type":"http","url":"https://a.example/mcp","headers":{},"tools":["*"]}}}"#,
        ),
        (
            "Roo Code",
            r#"{"mcpServers":{"x":{"type":"streamable-http","url":"https://a.example/mcp","alwaysAllow":[],"disabled":false,"timeout":60}}}"#,
        ),
        (
            "Cline",
            r#"{"mcpServers":{"x":{"type":"streamableHttp","url":"https://a.example/mcp","autoApprove":[],"disabled":false}}}"#,
        ),
        (
            "Zed",
            r#"{"context_servers":{"x":{"source":"custom","enabled":true,"url":"https://a.example/mcp","headers":{}}},"ui_font_size":16}"#,
        ),
        (
            "opencode",
            r#"{"$schema":"https://opencode.ai/config.json","mcp":{"x":{"type":"remote","url":"https://a.example/mcp","enabled":true,"oauth":{},"timeout":5000}}}"#,
        ),
        (
            "LibreChat",
            r#"{"version":"1.2.1","mcpServers":{"x":{"type":"streamable-http","url":"https://a.example/mcp","timeout":30000,"initTimeout":10000,"serverInstructions":true,"chatMenu":false,"requiresOAuth":false,"title":"X","iconPath":"x.png"}}}"#,
        ),
        (
            "LM Studio",
            r#"{"mcpServers":{"x":{"url":"https://a.example/mcp","headers":{"Authorization":"Bearer abc"}}}}"#,
        ),
    ] {
        let text = plain(text);
        let config = Config::read(&text).unwrap_or_else(|error| panic!("{program}: {error}"));
        let server = config.entries()[0].server().unwrap_or_else(|fault| panic!("{program}: {fault}"));
        assert_eq!((&*server.name, server.url.to_string().as_str()), ("x", "https://a.example/mcp"), "{program}");
    }
    let config = Config::read(r#"{"mcpServers":{},"theme":1,"resolutionSecond":0,"streams":1}"#).unwrap();
    assert_eq!(config.foreign, ["theme", "resolutionSecond"]);
}

/// R30: names in other scripts.
#[test]
fn servers_with_names_in_other_scripts_are_usable() {
    let file = r#"{"mcpServers":{"天气":{"url":"https://a.example"},"地图":{"url":"https://b.example"}}}"#;
    let config = Config::read(file).unwrap();
    let prefixes: Vec<String> = config.servers().map(|server| server.prefix.to_owned()).collect();
    assert!(prefixes.len() == 2 && prefixes[0] != prefixes[1], "{prefixes:?}");
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

/// R11, A05: a host of a private network is reached if the entry says so, as it says, and at no other port: the URL is the
/// only address that requests go to.
#[test]
fn a_private_server_is_one_that_the_entry_allows() {
    for (url, key) in [
        ("http://mcp.tools.svc.cluster.local:8080/mcp", "allowHttp"),
        ("http://jenkins:8080/mcp", "allowHttp"),
        ("http://10.0.0.1/mcp", "allowHttp"),
        ("http://a.example/mcp", "allowHttp"),
        ("https://jenkins/mcp", "allowPrivate"),
        ("https://10.0.0.1:8443/mcp", "allowPrivate"),
        ("https://mcp.corp/mcp", "allowPrivate"),
        ("https://[fd12::1]/mcp", "allowPrivate"),
    ] {
        let other = if key == "allowHttp" { "allowPrivate" } else { "allowHttp" };
        for denied in [
            format!(r#"{{"url":"{url}"}}"#),
            format!(r#"{{"url":"{url}","{key}":false}}"#),
            format!(r#"{{"url":"{url}","{other}":true}}"#),
        ] {
            let said = misconfigured(&denied);
            assert!(said.contains(&format!("needs \"{key}\"")) && said.contains("allowed_outbound_hosts"), "{said}");
        }
        assert_eq!(entry(&format!(r#"{{"url":"{url}","{key}":true}}"#)), Ok(()), "{url}");
        let said = misconfigured(&format!(r#"{{"url":"{url}","{key}":"yes"}}"#));
        assert_eq!(said, format!("\"{key}\" has to be true or false"));
    }
}

/// A05: no key lets these be servers.
#[test]
fn the_app_itself_and_link_local_hosts_are_never_servers() {
    for host in [
        "self.alt",
        "SELF.ALT.",
        "x.self.alt",
        "oauth-broker.spin.internal",
        "169.254.169.254",
        "[fe80::1]",
        "metadata.google.internal",
        "127.1",
        "0x7f.1",
    ] {
        for scheme in ["http", "https"] {
            let said =
                misconfigured(&format!(r#"{{"url":"{scheme}://{host}/mcp","allowHttp":true,"allowPrivate":true}}"#));
            assert!(said.contains("must not be") || said.contains("has no host"), "{host}: {said}");
        }
    }
}

/// A16: a server's URL that leads back is the fault of its entry.
#[test]
fn this_gatehouse_is_no_server_behind_itself() {
    let fault = |own: &str, url: &str| {
        let (gateway, broker) = (Origin::parse(own), Origin::parse("https://auth.example.com"));
        let text = format!(r#"{{"mcpServers":{{"x":{{"url":"{url}","allowHttp":true,"allowPrivate":true}}}}}}"#);
        let own = Own { gateway: gateway.as_ref(), broker: broker.as_ref() };
        let config = Config::read(&text).unwrap().reached_at(own);
        config.entries()[0].server().map(drop)
    };
    for (own, url) in [
        ("https://mcp.example.com", "https://mcp.example.com/mcp"),
        ("https://mcp.example.com", "https://MCP.example.com:443/mcp/x"),
        ("https://mcp.example.com", "http://mcp.example.com/mcp"),
        ("https://mcp.example.com", "https://auth.example.com/mcp"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3000/mcp"),
        ("http://127.0.0.1:3000", "http://localhost:3000/mcp/sse"),
        ("http://127.0.0.1:3000", "http://[::1]:3000/mcp"),
    ] {
        match fault(own, url) {
            Err(Fault::Misconfigured(said)) => assert!(said.contains("this Gatehouse's own address"), "{said}"),
            other => panic!("{other:?}: {url}"),
        }
    }
    for (own, url) in [
        ("https://mcp.example.com", "https://mcp.example.com:8443/mcp"),
        ("https://mcp.example.com", "https://mcp.example.com.evil/mcp"),
        ("http://127.0.0.1:3000", "http://127.0.0.1:3001/mcp"),
    ] {
        assert_eq!(fault(own, url), Ok(()), "{url}");
    }
}

#[test]
fn headers_that_are_not_the_files_to_set_are_refused() {
    for (headers, said) in [
        (r#"{"Mcp-Session-Id":"x"}"#, "Mcp-Session-Id"),
        (r#"{"Content-Length":"1"}"#, "Content-Length"),
        (r#"{"Host":"x"}"#, "Host"),
        (r#"{"Gatehouse-Hop":"1"}"#, "Gatehouse-Hop"),
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
    assert_eq!(states, [true, false, false, false, false, false]);
    assert_eq!(config.find("a-b").unwrap().name, "a b");
}

/// A01: two programs that read the file could follow different rules.
#[test]
fn a_name_that_stands_twice_in_an_entry_is_an_error_that_names_it() {
    for (keys, said) in [
        (r#""tools":{"deny":["x"]},"tools":{}"#, "tools"),
        (r#""URL":"https://b.example""#, "URL"),
        (r#""tools":{"deny":["x"],"d\u0065ny":[]}"#, "deny"),
        (r#""tools":{"deny":["x"],"Deny":[]}"#, "Deny"),
        (r#""tools":{"rename":{"a":"b","a":"c"}}"#, "\"a\""),
        (r#""tools":{"describe":{"a":"b","a":"c"}}"#, "\"a\""),
        (r#""headers":{"X-Key":"a","x-key":"b"}"#, "x-key"),
    ] {
        let error = misconfigured(&format!(r#"{{"url":"https://a.example",{keys}}}"#));
        assert!(error.contains(said), "{error}");
    }
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
