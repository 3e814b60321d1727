//! Skills of several servers behind one endpoint (R36): two that have some, one of the same era that has none, and one of
//! the older era.

use serde_json::json;

use super::upstreams::{echo, legacy_that_can, modern_that_can};
use super::*;

const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef";
const REFUNDS: &str = "skill://refunds/SKILL.md";
const READS: &str =
    r#"{"tools":{},"resources":{},"extensions":{"io.modelcontextprotocol/skills":{"directoryRead":true}}}"#;
const PLAIN: &str = r#"{"tools":{},"resources":{},"extensions":{"io.modelcontextprotocol/skills":{}}}"#;
const NONE: &str = r#"{"tools":{},"resources":{}}"#;

fn file(uri: &str) -> Value {
    json!({"uri": uri, "digest": DIGEST, "size": 7})
}

fn skill(name: &str, about: &str) -> Value {
    let uri = format!("skill://{name}/SKILL.md");
    let files = [file(&uri), file(&format!("skill://{name}/a/b.md"))];
    json!({"uri": uri, "frontmatter": {"name": name, "description": about}, "resources": files})
}

/// A server that has the skill `refunds` and one of its own.
fn answers(method: &str, params: &Value, own: &str) -> String {
    let uri = params["uri"].as_str().unwrap_or_default();
    let is_own = |name: &str| uri.starts_with(&format!("skill://{name}"));
    match method {
        "skills/list" => {
            json!({"skills": [skill("refunds", own), skill(own, own), {"uri": "skill://broken/SKILL.md"}]})
        }
        "skills/get" if is_own("refunds") => json!({"skill": skill("refunds", own)}),
        "skills/get" if is_own(own) => json!({"skill": skill(own, own)}),
        "resources/list" => json!({"resources": []}),
        "resources/templates/list" => json!({"resourceTemplates": []}),
        "resources/read" => json!({"contents": [{"uri": uri, "text": own}]}),
        "resources/directory/read" => {
            let child = |name: &str| json!({"uri": format!("{uri}/{name}"), "name": name, "mimeType": "text/markdown"});
            json!({"resources": [child("b.md"), child("c.md")], "nextCursor": "more"})
        }
        _ => return echo(method, params),
    }
    .to_string()
}

fn world(one: &'static str, two: &'static str) -> World {
    let server = |name: &str| format!(r#""{name}":{{"url":"https://{name}.example/mcp"}}"#);
    let file = format!(r#"{{"mcpServers":{{{}}}}}"#, ["one", "two", "none", "older"].map(server).join(","));
    // A server of the older era that declares the extension has it for clients of that era alone.
    let older = |method: &str, params: &Value| answers(method, params, "older");
    let upstreams = vec![
        ("https://one.example/mcp", modern_that_can(one, |method, params| answers(method, params, "one"))),
        ("https://two.example/mcp", modern_that_can(two, |method, params| answers(method, params, "two"))),
        ("https://none.example/mcp", modern_that_can(NONE, |method, params| answers(method, params, "none"))),
        ("https://older.example/mcp", legacy_that_can(READS, older, Default::default(), 404)),
    ];
    World::new(&file, upstreams)
}

fn ask(world: &World, method: &str, members: &str) -> Got {
    world.serve(Era::Modern.request("/mcp", method, members))
}

/// Which servers were sent `method`, and with which URI.
fn asked(world: &World, method: &str) -> Vec<(String, String)> {
    let of_method = |sent: &Sent| !sent.body.is_empty() && sent.method() == method;
    let named = |sent: &Sent| {
        let host = sent.url.trim_start_matches("https://").split('.').next().unwrap().to_owned();
        (host, sent.json()["params"]["uri"].as_str().unwrap_or_default().to_owned())
    };
    world.sent().iter().filter(|sent| of_method(sent)).map(named).collect()
}

fn pair(server: &str, uri: &str) -> (String, String) {
    (server.to_owned(), uri.to_owned())
}

/// R36: the aggregate declares what its servers of the newer era declare, to clients of that era.
#[test]
fn the_extension_is_declared_where_a_server_has_it() {
    for (one, two, expected) in [
        (READS, PLAIN, json!({"directoryRead": true})),
        (PLAIN, READS, json!({"directoryRead": true})),
        (PLAIN, NONE, json!({})),
        (NONE, NONE, Value::Null),
    ] {
        let world = world(one, two);
        let said = ask(&world, "server/discover", "").json()["result"]["capabilities"].clone();
        assert_eq!(said["extensions"]["io.modelcontextprotocol/skills"], expected, "{said}");
        assert!(said["resources"].is_object());
        let begin = r#""protocolVersion":"2025-11-25","capabilities":{}"#;
        let said = world.serve(Era::Legacy.request("/mcp", "initialize", begin)).json();
        assert!(said["result"]["capabilities"].get("extensions").is_none(), "{said}");
    }
}

/// R36: each skill and each of its files is named with its server, and keeps all else.
#[test]
fn skills_of_all_servers_are_one_list() {
    let world = world(READS, PLAIN);
    let got = ask(&world, "skills/list", "").json()["result"].clone();
    let listed: Vec<Value> = [("one", "refunds"), ("one", "one"), ("two", "refunds"), ("two", "two")]
        .map(|(server, name)| {
            let text = skill(name, server).to_string().replace("skill://", &format!("gatehouse://{server}/skill://"));
            serde_json::from_str(&text).unwrap()
        })
        .into();
    assert_eq!(got["skills"], json!(listed));
    assert_eq!(
        (&got["resultType"], &got["ttlMs"], &got["cacheScope"]),
        (&json!("complete"), &json!(5000), &json!("public"))
    );
    assert_eq!(asked(&world, "skills/list"), [pair("one", ""), pair("two", "")]);
    let servers = world.serve(post("/mcp/servers").method("GET").body(Vec::new()).unwrap()).text();
    assert!(servers.contains("skills/list skill://broken/SKILL.md: its frontmatter is not one object"), "{servers}");
    // It is kept for as long as the servers say.
    ask(&world, "skills/list", "");
    assert_eq!(asked(&world, "skills/list"), []);

    let world = self::world(NONE, NONE);
    assert_eq!(ask(&world, "skills/list", "").error(), (404, -32601));
    assert_eq!(asked(&world, "skills/list"), []);
}

/// R36: the merged list comes in pages, each with its cursor.
#[test]
fn a_list_of_thousands_of_skills_comes_in_pages() {
    fn many(method: &str, params: &Value) -> String {
        match method {
            "skills/list" => {
                let skills: Vec<Value> = (0..1500).map(|number| skill(&format!("s{number}"), "d")).collect();
                json!({"skills": skills}).to_string()
            }
            _ => echo(method, params),
        }
    }
    let world = World::with(modern_that_can(PLAIN, many));
    let first = ask(&world, "skills/list", "").json()["result"].clone();
    let cursor = first["nextCursor"].as_str().unwrap();
    let second = ask(&world, "skills/list", &format!(r#""cursor":"{cursor}""#)).json()["result"].clone();
    let uris = |page: &Value| -> Vec<String> {
        page["skills"].as_array().unwrap().iter().map(|skill| skill["uri"].as_str().unwrap().to_owned()).collect()
    };
    let all = [uris(&first), uris(&second)].concat();
    let expected: Vec<String> = (0..1500).map(|number| format!("gatehouse://up/skill://s{number}/SKILL.md")).collect();
    assert_eq!((all, second.get("nextCursor")), (expected, None));
    assert_eq!(ask(&world, "skills/list", r#""cursor":"nobody:1""#).error(), (OK, -32602));
}

/// R36: what the client reads next goes to the skill's own server, and its answer names that server again.
#[test]
fn a_skill_and_its_files_are_read_from_their_own_server() {
    let world = world(READS, PLAIN);
    let named = "gatehouse://one/skill://refunds";
    let got = ask(&world, "skills/get", &format!(r#""uri":"{named}/SKILL.md""#)).json()["result"].clone();
    assert_eq!(got["skill"]["uri"], format!("{named}/SKILL.md"));
    assert_eq!(got["skill"]["resources"][1]["uri"], format!("{named}/a/b.md"));
    assert_eq!((&got["skill"]["frontmatter"]["description"], &got["ttlMs"]), (&json!("one"), &json!(5000)));
    assert_eq!(asked(&world, "skills/get"), [pair("one", REFUNDS)]);

    let got = ask(&world, "resources/read", &format!(r#""uri":"{named}/a/b.md""#)).json()["result"].clone();
    assert_eq!(got["contents"], json!([{"uri": format!("{named}/a/b.md"), "text": "one"}]));
    assert_eq!(asked(&world, "resources/read"), [pair("one", "skill://refunds/a/b.md")]);

    let members = format!(r#""uri":"{named}/a","cursor":"x""#);
    let got = ask(&world, "resources/directory/read", &members).json()["result"].clone();
    assert_eq!(got["resources"][1]["uri"], format!("{named}/a/c.md"));
    assert_eq!((&got["resources"][1]["name"], &got["nextCursor"]), (&json!("c.md"), &json!("more")));
    let sent = world.sent();
    let directory = sent.iter().find(|sent| sent.method() == "resources/directory/read").unwrap();
    assert_eq!((directory.json()["params"]["cursor"].as_str(), directory.header("mcp-name")), (Some("x"), None));

    // A URI as a server's own texts have it, which only one server lists.
    let got = ask(&world, "skills/get", r#""uri":"skill://two/SKILL.md""#).json()["result"].clone();
    assert_eq!(got["skill"], skill("two", "two"));
    assert_eq!(asked(&world, "skills/get"), [pair("two", "skill://two/SKILL.md")]);
    let got = ask(&world, "resources/read", r#""uri":"skill://two/a/b.md""#).json()["result"].clone();
    assert_eq!(got["contents"][0], json!({"uri": "skill://two/a/b.md", "text": "two"}));
}

/// R36: no server is sent a URI that may be another's, nor a method that it has not declared.
#[test]
fn what_cannot_be_served_is_an_error_that_says_why() {
    let world = world(READS, PLAIN);
    let contested = format!(r#""uri":"{REFUNDS}""#);
    for (method, members, said) in [
        ("skills/get", contested.as_str(), "one, two"),
        ("resources/read", &contested, "one, two"),
        ("skills/get", r#""uri":"gatehouse://nobody/skill://a/SKILL.md""#, "Skill not found"),
        ("skills/get", r#""uri":"gatehouse://none/skill://a/SKILL.md""#, "Skill not found"),
        ("skills/get", r#""uri":"gatehouse://older/skill://a/SKILL.md""#, "Skill not found"),
        ("skills/get", r#""uri":"x:y""#, "Skill not found"),
        ("resources/directory/read", r#""uri":"gatehouse://two/skill://refunds/a""#, "Resource not found"),
        ("resources/directory/read", r#""uri":"gatehouse://older/skill://refunds/a""#, "Resource not found"),
        ("skills/get", "", "\"uri\" has to be one string"),
        ("resources/directory/read", r#""uri":7"#, "\"uri\" has to be one string"),
    ] {
        let got = ask(&world, method, members);
        assert_eq!(got.error(), (OK, -32602), "{method} {members}: {}", got.text());
        let message = got.json()["error"]["message"].as_str().unwrap().to_owned();
        assert!(message.contains(said), "{method} {members}: {message}");
        for method in ["skills/get", "resources/directory/read", "resources/read"] {
            assert_eq!(asked(&world, method), [], "{method} {members}");
        }
    }
    for twice in [r#""uri":"a:b","uri":"a:c""#, r#""uri":"a:b","URI":"a:c""#] {
        assert_eq!(ask(&world, "skills/get", twice).error(), (400, -32600), "{twice}");
    }
}

/// R36: at a server's own route its answers pass as they are, and the older era has no part in the aggregate's skills.
#[test]
fn a_single_server_passes_and_older_clients_see_nothing() {
    let world = world(READS, PLAIN);
    for (method, members) in [
        ("skills/list", String::new()),
        ("skills/get", format!(r#""uri":"{REFUNDS}""#)),
        ("resources/directory/read", r#""uri":"skill://refunds/a""#.to_owned()),
    ] {
        let got = world.serve(Era::Modern.request("/mcp/one", method, &members)).json()["result"].clone();
        let params: Value = serde_json::from_str(&format!("{{{members}}}")).unwrap();
        let expected: Value = serde_json::from_str(&answers(method, &params, "one")).unwrap();
        for (name, value) in expected.as_object().unwrap() {
            assert_eq!(got[name], *value, "{method}");
        }
        let got = world.serve(Era::Legacy.request("/mcp", method, &members));
        assert_eq!(got.error(), (OK, -32601), "{method}: {}", got.text());
        let got = world.serve(Era::Legacy.request("/mcp/one", method, &members)).json()["result"].clone();
        assert!(got.is_object() && got.get("resultType").is_none(), "{method} {got}");
        assert!(got.get("ttlMs").is_none(), "{method}");
    }
}
