//! Each service of the catalogue can be connected with nothing but a client.
//!
//! Each row goes through connect, whoami, refresh, a dead grant and revocation against a provider that behaves as that
//! one is known to (`behaviour.json`, written apart from `catalogue.json`).

mod isolation;
mod mock;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use http::StatusCode;
use serde_json::{Value, json};

use super::*;
use crate::names::ServiceId;
use mock::{Back, Facts, Mock};

const BEHAVIOUR: &str = include_str!("behaviour.json");

fn facts() -> BTreeMap<String, Facts> {
    serde_json::from_str(BEHAVIOUR).unwrap()
}

fn rows() -> BTreeMap<String, Value> {
    serde_json::from_str(include_str!("../../../catalogue.json")).unwrap()
}

#[test]
fn every_row_has_a_provider_to_try_it_on() {
    let known: Vec<String> = facts().into_keys().collect();
    let rows: Vec<String> = rows().into_keys().collect();
    assert_eq!((rows.len(), rows), (63, known));
}

/// `docs/providers.md` says of each row what the row says.
#[test]
fn the_page_of_the_services_is_that_of_the_catalogue() {
    let page = include_str!("../../../../../docs/providers.md");
    let lines: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    let rows = rows();
    assert_eq!(lines.len(), rows.len());
    for (line, (id, row)) in lines.into_iter().zip(rows) {
        let days = |name: &str| row["refresh_lifetime"][name].as_u64().map(|seconds| seconds / 86_400);
        let mut refresh = match row["rotation"].as_str() {
            Some("fixed") => "stays",
            Some(word) => word,
            None => "?",
        }
        .to_owned();
        refresh += &days("idle").map(|days| format!(", {days} days idle")).unwrap_or_default();
        refresh += &days("absolute").map(|days| format!(", {days} days in all")).unwrap_or_default();
        let revoked = if row.get("revoke").is_some() { "yes" } else { "no" };
        let start =
            format!("| `{id}` | {} | {} | {refresh} | {revoked} | ", row["name"].as_str().unwrap(), variables(&row));
        assert!(line.starts_with(&start), "{line}\n{start}");
    }
}

/// The variables of a row's URLs that an operator may set, or has to.
fn variables(row: &Value) -> String {
    let urls = ["authorize_url", "token_url", "refresh_url"].map(|name| &row[name]);
    let urls = urls.into_iter().chain([&row["revoke"]["url"], &row["whoami"]["url"]]).filter_map(Value::as_str);
    let names = urls.flat_map(|url| url.split('{').skip(1)).map(|part| part.split('}').next().unwrap());
    let of_the_grant = |name: &&str| row["extra"].get(name).is_some() || ["client_id", "refresh_token"].contains(name);
    let names: std::collections::BTreeSet<&str> = names.filter(|name| !of_the_grant(name)).collect();
    let usual = |name: &str| row["variables"].get(name).is_some();
    let names = names.into_iter().map(|name| format!("`{name}`{}", if usual(name) { "" } else { " (needed)" }));
    names.collect::<Vec<_>>().join(", ")
}

#[test]
fn every_service_is_connected_refreshed_and_revoked_with_a_client_alone() {
    let failed: Vec<String> = facts()
        .into_iter()
        .filter_map(|(id, facts)| Some(format!("{id}: {}", tried(&id, &facts, json!({})).err()?)))
        .collect();
    assert!(failed.is_empty(), "{} rows fail:\n{}", failed.len(), failed.join("\n"));
}

/// Through everything that a connection meets in its life. `settings` are beside the client's.
fn tried(id: &str, facts: &Facts, settings: Value) -> Result<(), String> {
    let mut trial = Trial::new(id, facts, settings);
    trial.connect()?;
    trial.is_told()?;
    for _ in 0..2 {
        trial.is_renewed()?;
    }
    trial.dies()?;
    trial.connect()?;
    trial.is_told()?;
    trial.ends()?;
    trial.no_complaints()
}

struct Trial<'f> {
    id: &'f str,
    facts: &'f Facts,
    world: World,
    browser: Browser,
    mock: Rc<RefCell<Mock>>,
}

impl<'f> Trial<'f> {
    fn new(id: &'f str, facts: &'f Facts, settings: Value) -> Self {
        let world = World::public();
        let mut client = json!({ "client_id": mock::ID, "client_secret": mock::SECRET });
        if !facts.variables.is_empty() {
            client["variables"] = json!(facts.variables);
        }
        client.as_object_mut().unwrap().extend(settings.as_object().unwrap().clone());
        world.offer(id, client);
        let mock = Rc::new(RefCell::new(Mock::new(facts.clone())));
        let answers = mock.clone();
        *world.provider.borrow_mut() = Some(Box::new(move |request, now| answers.borrow_mut().answer(request, now)));
        Self { id, facts, world, browser: Browser::default(), mock }
    }

    fn no_complaints(&self) -> Result<(), String> {
        match self.mock.borrow().complaints.first() {
            Some(complaint) => Err(format!("the provider refused {complaint}")),
            None => Ok(()),
        }
    }

    /// What is not as it should be, and what the provider says about it.
    fn check(&self, right: bool, wrong: impl FnOnce() -> String) -> Result<(), String> {
        if right {
            return Ok(());
        }
        let complaint = self.mock.borrow().complaints.first().map(|said| format!(" (the provider refused {said})"));
        Err(wrong() + &complaint.unwrap_or_default())
    }

    fn connect(&mut self) -> Result<(), String> {
        self.browser.sign_in(&self.world, ANNS_KEY);
        let page = self.browser.get(&self.world, &format!("/auth/{}", self.id));
        self.check(page.status() == StatusCode::OK, || format!("no page to connect: {}", text(&page)))?;
        let left = self.browser.agree(&self.world, &page);
        self.check(left.status() == StatusCode::OK, || format!("the flow does not start: {}", text(&left)))?;
        let to = leads_to(&left);
        let Back { path, form } = self.mock.borrow_mut().authorize(&to).map_err(|why| format!("authorize: {why}"))?;
        let back = match form {
            None => self.browser.get(&self.world, &path),
            Some(form) => self.posted(&path, form)?,
        };
        let done = back.status() == StatusCode::SEE_OTHER && !head(&back, "location").contains("error");
        self.check(done, || format!("callback: {} {}", back.status(), self.world.log.borrow().join("; ")))
    }

    /// A post from another site, with which browsers send no cookie that is `SameSite=Lax`.
    fn posted(&mut self, path: &str, form: String) -> Result<http::Response<Vec<u8>>, String> {
        let lax = |name: &String| !name.contains("gatehouse-flow");
        let kept: BTreeMap<_, _> = self.browser.cookies.extract_if(.., |name, _| lax(name)).collect();
        let request = self.world.request("POST", path).header("content-type", "application/x-www-form-urlencoded");
        let answer = self.browser.send(&self.world, request.header("origin", "null"), form.into_bytes());
        self.browser.cookies.extend(kept);
        let to = head(&answer, "location");
        self.check(answer.status() == StatusCode::SEE_OTHER, || format!("posted: {}", text(&answer)))?;
        self.check(!to.contains("code"), || format!("a code is in a URL of ours: {to}"))?;
        Ok(self.browser.get(&self.world, &to))
    }

    fn resolved(&self) -> Value {
        self.world.resolve(Some(ANNS_KEY), json!({ "service": self.id }))
    }

    fn is_told(&self) -> Result<(), String> {
        let (facts, token) = (self.facts, self.resolved());
        let access = self.mock.borrow().access();
        self.check(token["access_token"] == access, || format!("no token, but {token}"))?;
        let kind = facts.token_type.as_deref().unwrap_or("Bearer");
        self.check(token["token_type"] == kind, || format!("token type {}", token["token_type"]))?;
        let end = facts.at_ttl.map(|lifetime| self.world.clock.get() / 1000 + lifetime);
        let (said, early) = (token["expires_at"].as_u64(), end.map(|end| end - 1));
        self.check(said == end || said == early && end.is_some(), || format!("expiry {said:?}, not {end:?}"))?;
        for (name, value) in &facts.extra {
            self.check(token["extra"][name] == *value, || format!("extra {name}: {}", token["extra"]))?;
        }
        let request = self.world.request("GET", "/connections").header("authorization", format!("Bearer {ANNS_KEY}"));
        let listed = read(&self.world.handle(request.body(Vec::new()).unwrap()));
        let services = listed["services"].as_array().unwrap();
        let ours = services.iter().find(|one| one["service"] == self.id).unwrap();
        self.check(ours["label"] == json!(facts.account), || format!("account {}", ours["label"]))?;
        match &facts.granted {
            Some(granted) => self.check(ours["scopes"] == json!(granted), || format!("scopes {}", ours["scopes"])),
            None => self.check(ours["missing_scopes"] == json!([]), || format!("missing {}", ours["missing_scopes"])),
        }
    }

    /// Makes the broker fetch a new token, by the clock or by the upstream's refusal.
    fn due(&self) -> Value {
        match self.facts.at_ttl {
            Some(lifetime) => {
                self.world.pass(lifetime + 60);
                self.resolved()
            }
            None => {
                self.world.pass(60);
                let refused = self.resolved()["fingerprint"].clone();
                self.world.resolve(Some(ANNS_KEY), json!({ "service": self.id, "refused": refused }))
            }
        }
    }

    fn is_renewed(&self) -> Result<(), String> {
        if self.facts.rt == "none" {
            return Ok(());
        }
        let before = self.mock.borrow().access();
        let token = self.due();
        let access = self.mock.borrow().access();
        let renewed = before != access && token["access_token"] == access;
        self.check(renewed, || format!("refresh: {token}; {}", self.world.log.borrow().join("; ")))
    }

    fn dies(&self) -> Result<(), String> {
        self.mock.borrow_mut().dead = true;
        let status = self.due()["status"].clone();
        self.check(status == "needs_reconnect", || format!("a dead grant is {status}"))?;
        let calls = self.mock.borrow().calls;
        let again = self.due();
        let asked = self.mock.borrow().calls - calls;
        self.check(asked == 0 || again["status"] == "needs_reconnect", || "a dead grant is asked for again".into())
    }

    fn ends(&self) -> Result<(), String> {
        let request = self.world.request("DELETE", &format!("/token/{}", self.id));
        let request = request.header("authorization", format!("Bearer {ANNS_KEY}"));
        let calls = self.mock.borrow().calls;
        let answer = self.world.handle(request.body(Vec::new()).unwrap());
        let revoked = self.mock.borrow().revoked;
        if self.facts.revoke.is_none() {
            let asked = self.mock.borrow().calls - calls;
            let right = answer.status() == StatusCode::OK && asked == 0;
            return self.check(right, || format!("disconnect: {} after {asked} calls", answer.status()));
        }
        let service = ServiceId::parse(self.id).map_err(|error| error.to_string())?;
        let service = run(crate::broker::Broker::new(&self.world).services().service(&service, None)).unwrap().unwrap();
        self.check(service.shared_grant == self.facts.shared, || "what a revocation ends".into())?;
        let right = answer.status() == StatusCode::NO_CONTENT && revoked;
        self.check(right, || format!("disconnect: {}, revoked: {revoked}", answer.status()))
    }
}

/// Every field is there because its provider asks for it: without it the trial fails.
#[test]
fn a_row_from_which_a_field_is_taken_fails_its_trial() {
    let without: [(&str, Value); 23] = [
        ("client_auth", json!({ "client_auth": "none" })),
        ("token_body", json!({ "token_body": "form" })),
        ("pkce", json!({ "pkce": "s256" })),
        ("rename", json!({ "rename": {} })),
        ("scope_separator", json!({ "scope_separator": " ", "scopes": ["one", "two"] })),
        ("granted_separator", json!({ "granted_separator": " ", "scopes": ["one", "two"] })),
        ("scope_aliases", json!({ "scope_aliases": {} })),
        ("ungranted_scopes", json!({ "ungranted_scopes": [] })),
        ("authorize_params", json!({ "authorize_params": {} })),
        ("token_params", json!({ "token_params": {} })),
        ("refresh_params", json!({ "refresh_params": {} })),
        ("code_parameter", json!({ "code_parameter": "code" })),
        ("exchange_again", json!({ "exchange_again": null })),
        ("renew", json!({ "renew": null })),
        ("token_at", json!({ "token_at": "" })),
        ("answer", json!({ "answer": {} })),
        ("token_type", json!({ "token_type": null })),
        ("default_lifetime", json!({ "default_lifetime": null })),
        ("extra", json!({ "extra": {} })),
        ("terminal_errors", json!({ "terminal_errors": [] })),
        ("revoke", json!({ "revoke": null })),
        ("shared_grant", json!({ "shared_grant": false })),
        ("whoami", json!({ "whoami": null })),
    ];
    let facts = facts();
    let mut unmissed = Vec::new();
    for (id, row) in rows() {
        for (field, settings) in &without {
            let there = row.get(field).is_some_and(|there| *there != settings[field]);
            if there && tried(&id, &facts[&id], settings.clone()).is_ok() {
                unmissed.push(format!("{id}.{field}"));
            }
        }
    }
    let known = [
        // Another word for the same request.
        "airtable.pkce",
        // Nobody knows whether these take PKCE: what they do not take they ignore.
        "box.pkce",
        // Only a first token can meet it: there is no refresh.
        "facebook.terminal_errors",
        "github.terminal_errors",
        "notion.pkce",
        "paypal.pkce",
        // OAuth 1.0a has none.
        "trello.pkce",
        "x.pkce",
        "zoho.pkce",
    ];
    assert_eq!(unmissed, known);
}
