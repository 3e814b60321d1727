//! An endpoint whose tools are found by searching: what is listed, found, described, and that a call through it is the
//! direct call.

use super::asking::{CAN, curious, messages, post_message, session};
use super::upstreams::{echo, event, events_reply, legacy, legacy_stateless, modern};
use super::*;
use crate::config::Config;

const BOTH: [Era; 2] = [Era::Legacy, Era::Modern];
const OWN: [&str; 3] = ["gatehouse_find_tools", "gatehouse_describe_tool", "gatehouse_call_tool"];
/// Forms of numbers, escapes, a key that is there twice, whitespace.
const ODD: &str = r#"{ "a" :1.0,"c":123456789012345678901234567890,"e":"\u0041\ud83d\ude00\/","f":-0,"a":{"a":[ ]} }"#;
const ISSUE: &str = r#"{ "name":"create_issue","title":"Open an issue","x-odd":1.0,"description":"Creates an issue.\nIn a repository.","inputSchema":{"type":"object","properties":{"titleText":{"type":"string"}}},"outputSchema":{"type":"object"},"annotations":{"title":"\u0041"}}"#;

/// `/mcp`, `/mcp/up` and `/mcp/work` are searched, `/mcp/plain` is not.
const FILE: &str = r#"{"endpoints":{"*":{"tools":"search"},"up":{"tools":"search"},"work":{"servers":["up"],"tools":"search"},"plain":["up"]},
    "mcpServers":{"up":{"url":"https://up.example/mcp"}}}"#;

fn searched(upstream: Upstream) -> World {
    World::new(FILE, vec![("https://up.example/mcp", upstream)])
}

fn tracker(method: &str, params: &Value) -> String {
    match method {
        "tools/list" => format!(
            r#"{{"tools":[{{"name":"list_issues","description":"Lists issues."}},{ISSUE},{{"name":"echo","description":"Says it again."}}]}}"#
        ),
        _ => echo(method, params),
    }
}

fn use_tool(era: Era, path: &str, tool: &str, arguments: &str) -> Request<Vec<u8>> {
    era.request(path, "tools/call", &format!(r#""name":"{tool}","arguments":{arguments}"#))
}

fn find(world: &World, era: Era, path: &str, arguments: &str) -> Value {
    world.serve(use_tool(era, path, OWN[0], arguments)).json()["result"].clone()
}

fn names(found: &Value) -> Vec<String> {
    let tools = found["structuredContent"]["tools"].as_array().unwrap_or_else(|| panic!("nothing found: {found}"));
    tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
}

/// A direct call of `up__echo`, and the same inside of a call of the gateway's own tool.
fn both_ways(era: Era, arguments: &str) -> [Request<Vec<u8>>; 2] {
    let inside = format!(r#"{{"arguments" : {arguments}, "name":"up__\u0065cho"}}"#);
    [use_tool(era, "/mcp", "up__echo", arguments), use_tool(era, "/mcp", OWN[2], &inside)]
}

#[test]
fn a_searched_endpoint_lists_the_three_tools_that_search_and_asks_no_server() {
    for era in BOTH {
        let world = searched(modern(tracker));
        for path in ["/mcp", "/mcp/work", "/mcp/up", "/mcp/sse"] {
            let got = world.serve(era.list(path));
            assert_eq!(got.tool_names(), OWN, "{path}");
            let tools = &got.json()["result"]["tools"];
            let only_reads = |place: usize| tools[place]["annotations"]["readOnlyHint"] == true;
            assert_eq!([only_reads(0), only_reads(1), only_reads(2)], [true, true, false]);
        }
        assert_eq!(world.sent().len(), 0);
        assert_eq!(
            world.serve(era.list("/mcp/plain")).tool_names(),
            ["up__list_issues", "up__create_issue", "up__echo"]
        );
        for tool in OWN {
            assert_eq!(world.serve(era.call("/mcp/plain", tool)).error(), (OK, -32602), "{tool} is none elsewhere");
        }
    }
}

#[test]
fn a_searched_endpoint_of_services_shows_their_connections_too() {
    let file = r#"{"endpoints":{"*":{"tools":"search"}},"mcpServers":{"up":{"url":"https://up.example/mcp","service":"s"},"b":{"url":"https://b.example/mcp"}}}"#;
    let world =
        World::new(file, vec![("https://up.example/mcp", modern(tracker)), ("https://b.example/mcp", modern(tracker))]);
    world.outcomes.borrow_mut().insert("s", [Outcome::NotConnected("https://auth.example.com/c".into())].into());
    assert_eq!(world.serve(Era::Legacy.list("/mcp")).tool_names(), [&OWN[..], &["gatehouse_connections"]].concat());
    let found = find(&world, Era::Legacy, "/mcp", r#"{"query":"issue"}"#);
    assert_eq!(
        found["structuredContent"]["missing"].as_array().unwrap().len(),
        1,
        "what could not be looked through is named"
    );
    assert!(found["content"][0]["text"].as_str().unwrap().contains("gatehouse_connections"));
    assert_eq!(names(&found), ["b__list_issues", "b__create_issue"]);
    let got = world.serve(use_tool(Era::Legacy, "/mcp", OWN[2], r#"{"name":"up__echo"}"#)).json();
    assert_eq!(got["result"]["structuredContent"]["connect_url"], "https://auth.example.com/c", "as by a direct call");
}

#[test]
fn tools_are_found_by_what_they_do_under_the_names_that_they_have_there() {
    for era in BOTH {
        let world = searched(modern(tracker));
        for (path, first) in
            [("/mcp", "up__create_issue"), ("/mcp/work", "up__create_issue"), ("/mcp/up", "create_issue")]
        {
            let found = find(&world, era, path, r#"{"query":"Creating issues"}"#);
            assert_eq!(names(&found)[0], first);
            let text = found["content"][0]["text"].as_str().unwrap();
            assert_eq!(text.lines().next(), Some(&*format!("{first}: Creates an issue.")));
        }
        assert_eq!(
            names(&find(&world, era, "/mcp", r#"{"query":"title text"}"#)),
            ["up__create_issue"],
            "by an argument"
        );
        let found = find(&world, era, "/mcp", r#"{"query":"issue","limit":1,"server":"up"}"#);
        assert_eq!((names(&found).len(), &found["structuredContent"]["fitting"]), (1, &2.into()));
        assert_eq!(names(&find(&world, era, "/mcp", r#"{"query":"weather"}"#)), [""; 0]);
    }
}

#[test]
fn what_is_asked_wrongly_is_told_to_the_model() {
    let world = searched(modern(tracker));
    for (tool, arguments, said) in [
        (OWN[0], "{}", "query"),
        (OWN[0], r#"{"query":"issue","server":"nobody"}"#, "There are: up."),
        (OWN[1], r#"{"names":[]}"#, "names"),
        (OWN[1], r#"{"names":["up__nothing_of_issues"]}"#, "up__list_issues"),
        (OWN[1], r#"{"names":["create_issue"]}"#, "up__create_issue"),
        (OWN[2], "{}", "name"),
        (OWN[2], r#"{"name":"up__echo","arguments":"{}"}"#, "object"),
        (OWN[2], r#"{"name":"create_issue"}"#, "up__create_issue"),
        (OWN[2], r#"{"name":"gatehouse_call_tool","arguments":{"name":"up__echo"}}"#, "Unknown tool"),
    ] {
        for era in BOTH {
            let result = world.serve(use_tool(era, "/mcp", tool, arguments)).json()["result"].clone();
            assert_eq!(result["isError"], true, "{tool} {arguments}: {result}");
            assert!(result["content"][0]["text"].as_str().unwrap().contains(said), "{result}");
        }
    }
    assert!(world.methods().iter().all(|method| method != "tools/call"));
}

#[test]
fn definitions_are_given_as_the_server_wrote_them_but_for_names_and_titles() {
    for era in BOTH {
        let world = searched(modern(tracker));
        let got = world.serve(use_tool(era, "/mcp", OWN[1], r#"{"names":["up__create_issue","up__creat_issue"]}"#));
        let named = ISSUE.replace("create_issue", "up__create_issue");
        let named = named.replace("Open an issue", "[up] Open an issue").replace("\\u0041", "[up] A");
        assert!(got.text().contains(&named), "{}", got.text());
        let result = &got.json()["result"];
        assert!(result["isError"].is_null());
        let text: Value = serde_json::from_str(result["content"][0]["text"].as_str().unwrap()).unwrap();
        assert_eq!(text, result["structuredContent"], "the same as text");
        assert!(result["content"][1]["text"].as_str().unwrap().contains("Near it: up__create_issue"));
        let got = world.serve(use_tool(era, "/mcp/up", OWN[1], r#"{"names":"create_issue"}"#));
        assert!(got.text().contains(ISSUE), "{}", got.text());
    }
}

#[test]
fn only_the_servers_whose_tools_are_named_are_asked_to_describe_them() {
    let file = r#"{"endpoints":{"*":{"tools":"search"}},"mcpServers":{"up":{"url":"https://up.example/mcp"},"b":{"url":"https://b.example/mcp"}}}"#;
    let world = World::new(file, vec![("https://up.example/mcp", modern(tracker))]);
    let got = world.serve(use_tool(Era::Modern, "/mcp", OWN[1], r#"{"names":["up__echo"]}"#));
    assert_eq!(got.json()["result"]["structuredContent"]["tools"][0]["name"], "up__echo");
}

#[test]
fn a_call_inside_of_a_call_is_the_direct_call_byte_for_byte_in_every_pairing() {
    fn odd(method: &str, _: &Value) -> String {
        if method == "tools/list" {
            r#"{"tools":[]}"#.into()
        } else {
            format!(r#"{{"content" : [],"isError":true,  "structuredContent":{ODD}}}"#)
        }
    }
    for era in BOTH {
        for upstream in [modern(odd), legacy(odd), legacy_stateless(odd)] {
            let world = searched(upstream);
            let [direct, inside] = both_ways(era, ODD).map(|request| {
                let got = world.serve(request).text();
                let sent = world.sent().pop().unwrap();
                // Where ids are shared, each client has ids of its own.
                (got, sent.body.replacen(&format!(r#""id":{}"#, sent.json()["id"]), "", 1), sent.headers)
            });
            assert_eq!(direct, inside, "{era:?}");
            assert!(inside.0.contains(ODD) && inside.1.contains(&format!(r#""name":"echo","arguments":{ODD}"#)));
        }
    }
}

#[test]
fn a_warm_call_inside_of_a_call_reads_what_a_direct_one_reads_and_is_one_request() {
    for era in BOTH {
        let world = searched(modern(echo));
        let [direct, inside] = [0, 1].map(|way| {
            world.serve(both_ways(era, "{}")[way].clone());
            world.sent();
            let loads = world.loads.get();
            world.serve(both_ways(era, "{}")[way].clone());
            assert_eq!(world.methods(), ["tools/call"]);
            world.loads.get() - loads
        });
        assert_eq!((direct, inside), (2, 2));
    }
}

#[test]
fn a_client_that_knows_a_tool_calls_it_directly() {
    let world = searched(modern(echo));
    for (path, name) in [("/mcp", "up__echo"), ("/mcp/up", "echo"), ("/mcp/work", "up__echo")] {
        let got = world.serve(Era::Modern.call(path, name));
        assert_eq!(got.json()["result"]["content"][0]["text"], "hi of echo");
        let inside = format!(r#"{{"name":"{name}","arguments":{{"message":"hi"}}}}"#);
        let got = world.serve(use_tool(Era::Legacy, path, OWN[2], &inside));
        assert_eq!(got.json()["result"]["content"][0]["text"], "hi of echo");
    }
}

#[test]
fn headers_for_arguments_are_of_the_tool_inside_and_learnt_for_clients_of_both_eras() {
    fn regional(method: &str, params: &Value) -> String {
        match method {
            "tools/list" => {
                r#"{"tools":[{"name":"echo","inputSchema":{"properties":{"region":{"type":"string","x-mcp-header":"Region"}}}}]}"#.into()
            }
            _ => echo(method, params),
        }
    }
    for era in BOTH {
        let inner = modern(regional);
        let world = searched(Box::new(move |sent| match sent.method().as_str() {
            "tools/call" if sent.header("mcp-param-region") != Some("eu") => {
                super::upstreams::error(400, &sent.json()["id"], -32020)
            }
            _ => inner(sent),
        }));
        let [_, inside] = both_ways(era, r#"{"region":"eu","message":"m"}"#);
        let inside = with_header(inside, "mcp-param-region", "not for the upstream");
        let first = ["initialize", "server/discover", "tools/call", "tools/list", "tools/call"];
        let first = if era == Era::Legacy { &first[..] } else { &first[1..] };
        for methods in [first, &["tools/call"]] {
            assert_eq!(world.serve(inside.clone()).json()["result"]["content"][0]["text"], "m of echo");
            let sent = world.sent();
            assert_eq!(sent.iter().map(Sent::method).collect::<Vec<_>>(), methods);
            assert!(sent.iter().all(|sent| sent.header("mcp-param-region").is_none_or(|value| value == "eu")));
        }
    }
}

#[test]
fn progress_comes_through_and_input_is_asked_for_as_by_a_direct_call() {
    let inner = modern(echo);
    let world = searched(Box::new(move |sent| match sent.method().as_str() {
        "tools/call" => {
            let message = sent.json();
            let token = &message["params"]["_meta"]["progressToken"];
            events_reply(vec![
                event(format!(
                    r#"{{"jsonrpc":"2.0","method":"notifications/progress","params":{{"progressToken":{token},"progress":1.0}}}}"#
                )),
                event(format!(
                    r#"{{"jsonrpc":"2.0","id":{},"result":{{"resultType":"complete","content":[]}}}}"#,
                    message["id"]
                )),
            ])
        }
        _ => inner(sent),
    }));
    for era in BOTH {
        let [_, inside] = both_ways(era, "{}");
        let body = String::from_utf8(inside.body().clone()).unwrap();
        let body = match era {
            Era::Legacy => body.replace(r#""params":{"#, r#""params":{"_meta":{"progressToken":"p"},"#),
            Era::Modern => body.replace(r#""_meta":{"#, r#""_meta":{"progressToken":"p","#),
        };
        assert_eq!(world.serve(with_body(inside, &body)).events()[0]["params"]["progressToken"], "p");
    }

    let world = searched(curious());
    let session = session(&world, CAN);
    let mut answered = 0;
    let [_, inside] = both_ways(Era::Legacy, "{}");
    let got = world.converse(with_header(inside, "mcp-session-id", &session), |pieces| {
        for asked in messages(pieces).iter().filter(|message| message["method"].is_string()).skip(answered) {
            answered += 1;
            let answer = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{{"action":"accept"}}}}"#, asked["id"]);
            world.serve(post_message(&session, &answer));
        }
    });
    assert_eq!((answered, &got.events()[3]["result"]["structuredContent"]["l"]["action"]), (3, &"accept".into()));

    let [_, inside] = both_ways(Era::Modern, "{}");
    assert_eq!(world.serve(inside.clone()).json()["result"]["requestState"], "first");
    let body = String::from_utf8(inside.body().clone()).unwrap();
    let again = body.replace(r#""params":{"#, r#""params":{"inputResponses":{"f":{}},"requestState":"second","#);
    assert_eq!(
        world.serve(with_body(inside, &again)).json()["result"]["structuredContent"],
        serde_json::json!({"f": {}})
    );
}

#[test]
fn a_model_is_told_how_to_find_what_is_not_listed() {
    for (path, era, method) in [("/mcp", Era::Legacy, "initialize"), ("/mcp/up", Era::Modern, "server/discover")] {
        let world = searched(modern(echo));
        let got = world.serve(era.request(path, method, r#""protocolVersion":"2025-11-25""#)).json();
        let said = got["result"]["instructions"].as_str().unwrap();
        assert!(said.contains("gatehouse_find_tools") && said.contains("Be kind."), "{said}");
        assert!(got["result"]["capabilities"]["tools"].is_object());
    }
}

#[test]
fn the_file_says_which_endpoints_are_searched_and_what_is_wrong_with_it() {
    let servers = r#""mcpServers":{"a b":{"url":"https://a.example"},"c":{"url":"https://c.example"}}"#;
    for good in [r#""x":["c"]"#, r#""x":{"servers":["c","a b"]}"#, r#""a-b":{"tools":"search"}"#, r#""*":{}"#] {
        let file = format!(r#"{{"endpoints":{{{good}}},{servers}}}"#);
        assert!(Config::read(&file).is_ok(), "{good}");
    }
    for (wrong, said) in [
        (r#""x":{"tools":"search"}"#, "\"x\" has to be a list of servers"),
        (r#""c":["a b"]"#, "\"c\" has servers of its own"),
        (r#""*":{"servers":["c"]}"#, "\"*\" has servers of its own"),
        (r#""x":{"servers":["c"],"tools":"all"}"#, "\"tools\""),
        (r#""x":{"servers":["c"],"tool":"search"}"#, "\"tool\""),
        (r#""x":["d"]"#, "\"d\""),
        (r#""x":["c"],"x":["c"]"#, "twice"),
        (r#""sse":["c"]"#, "\"sse\""),
    ] {
        let file = format!(r#"{{"endpoints":{{{wrong}}},{servers}}}"#);
        let error = Config::read(&file).err().unwrap_or_else(|| panic!("{wrong} was read")).to_string();
        assert!(error.contains(said), "{error}");
    }
}

/// A thousand and twenty tools of twelve servers, as servers of these kinds call and describe theirs.
fn crowd() -> Vec<(&'static str, String)> {
    const SERVERS: [(&str, &str); 12] = [
        ("github", "issue,pull_request,repository,branch,release,workflow_run,gist,label,code_scanning_alert"),
        ("gitlab", "issue,merge_request,project,branch,pipeline,runner,snippet,label,milestone"),
        ("linear", "issue,project,cycle,team,comment,label,document,initiative"),
        ("jira", "issue,sprint,board,epic,worklog,version,component,filter"),
        ("slack", "message,channel,thread,reaction,user_group,reminder,file,bookmark"),
        ("notion", "page,database,block,comment,user,workspace,template,view"),
        ("drive", "file,folder,permission,comment,revision,shared_drive,shortcut,label"),
        ("calendar", "event,calendar,attendee,reminder,free_busy_slot,room,working_hour,invitation"),
        ("stripe", "customer,invoice,payment_intent,subscription,refund,product,price,dispute,coupon"),
        ("sentry", "issue,event,release,project,alert_rule,replay,team,monitor"),
        ("postgres", "table,row,index,schema,query_plan,role,extension,view"),
        ("mail", "message,draft,thread,label,attachment,filter,signature,contact,delegate"),
    ];
    const VERBS: [(&str, &str); 10] = [
        (
            "create",
            "Creates a new {} in {server}. Use this tool when the user wants to add one, and give its properties.",
        ),
        ("get", "Gets the details of one {} by its identifier, with all fields that {server} has for it."),
        ("list", "Lists all {}s that you have access to, page by page, in the order in which they were created."),
        ("search", "Searches {server} for {}s by keywords, author, date or state and returns what matches."),
        ("update", "Updates an existing {}: only the fields that are given are changed, the others stay."),
        ("delete", "Deletes a {} for good. This cannot be undone, so ask the user before you create a mess."),
        ("archive", "Archives a {} so that it is no longer listed; it can be restored later."),
        ("export", "Exports a {} from {server} as JSON or CSV for use in another tool."),
        ("share", "Shares a {} with other people, teams or everyone who has the link."),
        ("watch", "Subscribes you to changes of a {}, so that {server} notifies you of new comments and issues."),
    ];
    let mut tools = Vec::new();
    for (server, things) in SERVERS {
        for thing in things.split(',') {
            for (verb, about) in VERBS {
                let plural = if matches!(verb, "list" | "search") { "s" } else { "" };
                let about = about.replace("{}", &thing.replace('_', " ")).replace("{server}", server);
                let schema = format!(
                    r#"{{"type":"object","properties":{{"{thing}_id":{{"type":"string"}},"fields":{{"type":"array"}}}}}}"#
                );
                tools.push((
                    server,
                    format!(r#"{{"name":"{verb}_{thing}{plural}","description":"{about}","inputSchema":{schema}}}"#),
                ));
            }
        }
    }
    for (server, name, about) in [
        ("github", "merge_pull_request", "Merges a pull request into its base branch."),
        ("github", "add_issue_comment", "Adds a comment to an existing issue."),
        ("github", "get_file_contents", "Gets the contents of a file or directory from a repository."),
        ("slack", "postMessage", "Sends a message to a channel or a person."),
        ("calendar", "suggest_time", "Proposes times at which all attendees of a meeting are free."),
        ("postgres", "run_sql", "Runs a read-only SQL statement and returns the rows."),
        ("stripe", "cancel_subscription", "Cancels a subscription now or at the end of its period."),
    ] {
        tools.push((
            server,
            format!(r#"{{"name":"{name}","description":"{about}","inputSchema":{{"type":"object"}}}}"#),
        ));
    }
    tools
}

#[test]
fn among_a_thousand_tools_the_one_that_is_meant_comes_first() {
    let tools = crowd();
    assert!(tools.len() > 1000, "{}", tools.len());
    let mut servers: Vec<&'static str> = tools.iter().map(|(server, _)| *server).collect();
    servers.dedup();
    servers.truncate(12);
    let file: Vec<String> =
        servers.iter().map(|server| format!(r#""{server}":{{"url":"https://{server}.example/mcp"}}"#)).collect();
    let file = format!(r#"{{"endpoints":{{"*":{{"tools":"search"}}}},"mcpServers":{{{}}}}}"#, file.join(","));
    let upstreams = servers.iter().map(|server| {
        let own: Vec<&str> = tools.iter().filter(|(of, _)| of == server).map(|(_, tool)| &**tool).collect();
        let listed = format!(r#"{{"tools":[{}]}}"#, own.join(","));
        let upstream: Upstream = Box::new(move |sent| {
            let id = &sent.json()["id"];
            match sent.method().as_str() {
                "server/discover" => modern(echo)(sent),
                _ => super::upstreams::json_reply(200, format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{listed}}}"#)),
            }
        });
        (&*String::leak(format!("https://{server}.example/mcp")), upstream)
    });
    let world = World::new(&file, upstreams.collect());
    for (query, first) in [
        ("create issue", "github__create_issue"),
        ("create an issue in linear", "linear__create_issue"),
        ("merge a pull request", "github__merge_pull_request"),
        ("comment on an issue", "github__add_issue_comment"),
        ("send a slack message", "slack__postMessage"),
        ("run sql query", "postgres__run_sql"),
        ("list refunds", "stripe__list_refunds"),
        ("cancel subscription", "stripe__cancel_subscription"),
        ("find a free time for a meeting", "calendar__suggest_time"),
        ("read a file from a repository", "github__get_file_contents"),
        ("delete calendar events", "calendar__delete_event"),
        ("searchIssues", "github__search_issues"),
        ("github__list_branchs", "github__list_branchs"),
    ] {
        let arguments = format!(r#"{{"query":"{query}"}}"#);
        let found = find(&world, Era::Legacy, "/mcp", &arguments);
        let names = names(&found);
        assert_eq!((names[0].as_str(), names.len()), (first, 10), "{query}: {names:?}");
        let text = found["content"][0]["text"].as_str().unwrap();
        assert!(text.len() < 3000, "{query}: {} bytes instead of all definitions", text.len());
    }
}
