//! A provider with the habits of one in `behaviour.json`, and no patience: it refuses all that the real one refuses.
//!
//! The facts were written from what is known of the providers, not from `catalogue.json`, so that a row that is wrong has
//! something to fail against.

use std::collections::BTreeMap;

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use hmac::{Hmac, KeyInit, Mac};
use http::{HeaderMap, Request, Response, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use sha1::Sha1;
use sha2::{Digest, Sha256};
use url::Url;

pub const ID: &str = "the-id";
pub const SECRET: &str = "the-secret";

/// What is known of one provider.
#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
pub struct Facts {
    /// What the operator has to set beside the client.
    pub variables: BTreeMap<String, String>,
    authorize: String,
    token: String,
    refresh_url: Option<String>,
    /// OAuth 1.0a: the request-token endpoint.
    request: Option<String>,
    oauth1: bool,

    // The authorize request.
    authorize_needs: BTreeMap<String, String>,
    authorize_refuses: Vec<String>,
    /// An install page, which looks at no parameter but `state`. (Sentry's own gives not even that back: docs/providers.md.)
    bare_authorize: bool,
    client_id_name: Option<String>,
    scope_name: Option<String>,
    /// Between scopes; `none`: it has no such parameter.
    sep: Option<String>,
    scopes_needed: Vec<String>,
    scope_among: Vec<String>,
    scope_required: bool,
    state_length: usize,
    /// `required`, `yes`, `no`, `reject`, `unknown`.
    pkce: String,
    pkce_method: Option<String>,
    pkce_form: Option<String>,

    // The way back.
    pub callback: BTreeMap<String, String>,
    pub posts_callback: bool,
    signs_callback: bool,
    /// What the redirect ends with.
    fragment: String,

    // The token requests.
    auth: Vec<String>,
    secret_or_verifier: bool,
    body: Option<String>,
    redirect_uri: Option<String>,
    token_needs: BTreeMap<String, String>,
    refresh_needs: BTreeMap<String, String>,
    answer: Option<Value>,
    refresh_answer: Option<Value>,
    id_token: Option<Value>,
    second: Option<Step>,
    renew: Option<Step>,
    /// `rotate`, `roll`, `fixed`, `none`; `renews`: the access token renews itself.
    pub rt: String,
    pub at_ttl: Option<u64>,
    pub rt_ttl: Option<u64>,
    dead: Option<Refusal>,

    // After it.
    pub shared: bool,
    pub revoke: Option<Revocation>,
    whoami: Option<Whoami>,
    pub account: Option<String>,
    pub extra: BTreeMap<String, String>,
    pub granted: Option<Vec<String>>,
    pub token_type: Option<String>,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Step {
    method: String,
    url: String,
    needs: BTreeMap<String, String>,
    answer: Value,
}

#[derive(Deserialize, Clone)]
#[serde(deny_unknown_fields)]
struct Refusal {
    status: u16,
    body: Value,
}

#[derive(Deserialize, Clone)]
#[serde(untagged)]
pub enum Revocation {
    /// RFC 7009.
    Standard(String),
    Own(Box<OwnRevocation>),
}

#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
pub struct OwnRevocation {
    method: Option<String>,
    url: String,
    /// `client`, `basic`, `bearer`, `none`, or the very header.
    auth: String,
    send: Option<String>,
    token_in: Option<String>,
    in_path: bool,
    needs: BTreeMap<String, String>,
    spare: Vec<String>,
    headers: BTreeMap<String, String>,
    /// The access token is enough: its end is the grant's.
    access_kills: bool,
    answer: Option<Value>,
}

#[derive(Deserialize, Default, Clone)]
#[serde(deny_unknown_fields, default)]
struct Whoami {
    method: Option<String>,
    url: String,
    query: Option<String>,
    auth: Option<String>,
    headers: BTreeMap<String, String>,
    body: Option<String>,
    form: BTreeMap<String, String>,
    answer: Value,
}

/// The provider as it runs.
pub struct Mock {
    facts: Facts,
    /// What it refused, and why.
    pub complaints: Vec<String>,
    code: Option<Code>,
    generation: u64,
    nonce: Option<String>,
    grants: u64,
    refresh: String,
    spent: Vec<String>,
    scopes: Vec<String>,
    pub dead: bool,
    pub revoked: bool,
    pub calls: usize,
}

struct Code {
    code: String,
    challenge: Option<String>,
    redirect_uri: String,
}

/// Where the browser goes from the provider.
pub struct Back {
    pub path: String,
    pub form: Option<String>,
}

type Params = BTreeMap<String, String>;
type Outcome = Result<(StatusCode, Value), String>;

impl Mock {
    pub fn new(facts: Facts) -> Self {
        Self {
            facts,
            complaints: Vec::new(),
            code: None,
            generation: 0,
            nonce: None,
            grants: 0,
            refresh: String::new(),
            spent: Vec::new(),
            scopes: Vec::new(),
            dead: false,
            revoked: false,
            calls: 0,
        }
    }

    pub fn access(&self) -> String {
        format!("access-{}-{}", self.grants, self.generation)
    }

    /// What the person there meets, who agrees to all of it.
    pub fn authorize(&mut self, url: &Url) -> Result<Back, String> {
        let facts = self.facts.clone();
        let params = unique(url.query_pairs().into_owned())?;
        let mut at = url.clone();
        at.set_query(None);
        expect("authorize URL", at.as_str(), &facts.authorize)?;
        for (name, value) in &facts.authorize_needs {
            needs("the authorize URL", &params, name, value)?;
        }
        for name in &facts.authorize_refuses {
            absent("the authorize URL", &params, name)?;
        }
        self.scopes = self.scopes_of(&params)?;
        self.grants += 1;
        (self.generation, self.dead, self.revoked) = (1, false, false);
        if facts.oauth1 {
            needs("the authorize URL", &params, "oauth_token", "request-token")?;
            let back = self.code.as_ref().ok_or("no request token was asked for")?.redirect_uri.clone();
            let verifier = format!("verifier-{}", self.grants);
            self.code.as_mut().ok_or("no request token")?.code.clone_from(&verifier);
            return back_to(&back, &[("oauth_token", "request-token"), ("oauth_verifier", &verifier)], &facts);
        }
        let redirect_uri = params.get("redirect_uri").cloned();
        let state = params.get("state").ok_or("the authorize URL has no state")?;
        if state.len() < facts.state_length {
            return Err("the state is too short".into());
        }
        let redirect_uri = if facts.bare_authorize {
            "https://auth.example.com/callback/sentry_integration".to_owned()
        } else {
            if !facts.authorize_refuses.iter().any(|name| name == "response_type") {
                needs("the authorize URL", &params, "response_type", "code")?;
            }
            needs("the authorize URL", &params, facts.client_id_name.as_deref().unwrap_or("client_id"), ID)?;
            redirect_uri.ok_or("the authorize URL has no redirect_uri")?
        };
        self.nonce = params.get("nonce").cloned();
        let code = format!("code-{}", self.grants);
        let challenge = self.challenge_of(&params)?;
        self.code = Some(Code { code: code.clone(), challenge, redirect_uri: redirect_uri.clone() });
        back_to(&redirect_uri, &[("code", &code), ("state", state)], &facts)
    }

    fn scopes_of(&self, params: &Params) -> Result<Vec<String>, String> {
        let facts = &self.facts;
        let name = facts.scope_name.as_deref().unwrap_or("scope");
        let separator = facts.sep.as_deref().unwrap_or(" ");
        if separator == "none" {
            absent("the authorize URL", params, "scope")?;
            return Ok(Vec::new());
        }
        let asked: Vec<String> = match params.get(name) {
            Some(scopes) => scopes.split(separator).map(str::to_owned).collect(),
            None if facts.scope_required => return Err("no scope is asked for".into()),
            None => Vec::new(),
        };
        let known = |scope: &String| facts.scope_among.is_empty() || facts.scope_among.contains(scope);
        if let Some(odd) = asked.iter().find(|scope| scope.contains([' ', ',']) || scope.is_empty() || !known(scope)) {
            return Err(format!("`{odd}` is no scope here"));
        }
        match facts.scopes_needed.iter().find(|scope| !asked.contains(scope)) {
            Some(missing) => Err(format!("without the scope {missing} there is no lasting grant")),
            None => Ok(asked),
        }
    }

    fn challenge_of(&self, params: &Params) -> Result<Option<String>, String> {
        let challenge = params.get("code_challenge").cloned();
        match self.facts.pkce.as_str() {
            "yes" | "required" if challenge.is_none() => Err("PKCE is taken here, and none is sent".into()),
            "no" | "reject" if challenge.is_some() => Err("PKCE is not taken here, and is sent".into()),
            _ => {
                if challenge.is_some() {
                    let method = self.facts.pkce_method.as_deref().unwrap_or("S256");
                    needs("the authorize URL", params, "code_challenge_method", method)?;
                }
                Ok(challenge)
            }
        }
    }

    pub fn answer(&mut self, request: &Request<Vec<u8>>, now: u64) -> Response<Vec<u8>> {
        self.calls += 1;
        let (status, body) = match self.served(request, now) {
            Ok(served) => served,
            Err(complaint) => {
                self.complaints.push(format!("{} {}: {complaint}", request.method(), request.uri().path()));
                (StatusCode::BAD_REQUEST, json!({ "error": "test_refused", "message": complaint }))
            }
        };
        let mut response = Response::new(match &body {
            Value::String(form) => form.clone().into_bytes(),
            body => body.to_string().into_bytes(),
        });
        *response.status_mut() = status;
        let kind =
            if body.is_string() { "application/x-www-form-urlencoded" } else { "application/json;charset=UTF-8" };
        response.headers_mut().insert("content-type", kind.parse().unwrap());
        response
    }

    fn served(&mut self, request: &Request<Vec<u8>>, now: u64) -> Outcome {
        let facts = self.facts.clone();
        let url = Url::parse(&request.uri().to_string()).map_err(|error| error.to_string())?;
        let mut at = url.clone();
        at.set_query(None);
        let at = format!("{} {at}", request.method());
        let post = |url: &str| format!("POST {url}");
        if !request.headers().contains_key("user-agent") {
            return Err("no User-Agent".into());
        }
        if url.query_pairs().any(|(name, _)| name == "client_secret") && facts.second.is_none() {
            return Err("the secret is in the URL".into());
        }
        for step in [&facts.second, &facts.renew].into_iter().flatten() {
            if at == format!("{} {}", step.method, step.url) {
                let params =
                    if step.method == "GET" { unique(url.query_pairs().into_owned())? } else { form(request)? };
                if params.get("grant_type") == step.needs.get("grant_type") {
                    return self.step(step, &params, now);
                }
            }
        }
        if facts.request.as_deref().is_some_and(|request| at == post(request)) {
            return self.request_token(request, &url);
        }
        if at == post(&facts.token) && facts.oauth1 {
            return self.oauth1_token(request, &url);
        }
        if at == post(&facts.token) || facts.refresh_url.as_deref().is_some_and(|refresh| at == post(refresh)) {
            return self.token(request, &at, now);
        }
        if let Some(whoami) = &facts.whoami
            && at == format!("{} {}", whoami.method.as_deref().unwrap_or("GET"), whoami.url)
        {
            return self.whoami(whoami, request, &url);
        }
        match &facts.revoke {
            Some(Revocation::Standard(url)) if at == post(url) => {
                let send = if facts.body.as_deref() == Some("json") { "json" } else { "form" };
                let standard = OwnRevocation {
                    auth: "client".into(),
                    send: Some(send.into()),
                    token_in: Some("token".into()),
                    ..OwnRevocation::default()
                };
                self.revocation(&standard, request)
            }
            Some(Revocation::Own(own))
                if at == format!("{} {}", own.method.as_deref().unwrap_or("POST"), self.filled(&own.url)) =>
            {
                self.revocation(own, request)
            }
            _ => Err("there is nothing at this URL".into()),
        }
    }

    fn token(&mut self, request: &Request<Vec<u8>>, at: &str, now: u64) -> Outcome {
        let facts = self.facts.clone();
        let params = match facts.body.as_deref() {
            Some("json") => from_json(request)?,
            _ => form(request)?,
        };
        self.client(request.headers(), &params)?;
        let refreshes = params.get("grant_type").is_some_and(|kind| kind == "refresh_token");
        let url = if refreshes { facts.refresh_url.as_ref().unwrap_or(&facts.token) } else { &facts.token };
        expect("URL", at, &format!("POST {url}"))?;
        if refreshes {
            for (name, value) in &facts.refresh_needs {
                needs("the refresh", &params, name, value)?;
            }
            let token = params.get("refresh_token").ok_or("no refresh_token")?;
            if facts.rt == "rotate" && self.spent.contains(token) {
                self.dead = true;
                return Err("a refresh token was used twice: the grant is dead".into());
            }
            if self.dead || self.revoked || *token != self.refresh {
                return Ok(self.refusal());
            }
            self.generation += 1;
            return Ok((StatusCode::OK, self.granted(true, now)));
        }
        needs("the token request", &params, "grant_type", "authorization_code")?;
        let code = self.code.take().ok_or("the code is spent")?;
        needs("the token request", &params, "code", &code.code)?;
        if facts.redirect_uri.as_deref() != Some("any") {
            needs("the token request", &params, "redirect_uri", &code.redirect_uri)?;
        }
        for (name, value) in &facts.token_needs {
            needs("the token request", &params, name, value)?;
        }
        match (&code.challenge, params.get("code_verifier")) {
            (Some(challenge), Some(verifier)) => {
                let digest = Sha256::digest(verifier.as_bytes());
                let expected = match facts.pkce_form.as_deref() {
                    Some("hex") => digest.iter().map(|byte| format!("{byte:02x}")).collect(),
                    _ => Base64UrlUnpadded::encode_string(&digest),
                };
                expect("code_challenge", challenge, &expected)?;
                if facts.secret_or_verifier && params.contains_key("client_secret") {
                    return Err("a secret beside a verifier".into());
                }
            }
            (Some(_), None) => return Err("a challenge, and no verifier".into()),
            (None, Some(_)) => return Err("a verifier, and no challenge".into()),
            (None, None) => {}
        }
        Ok((StatusCode::OK, self.granted(false, now)))
    }

    /// Exactly one way to authenticate, and one that the provider has.
    fn client(&self, headers: &HeaderMap, params: &Params) -> Result<(), String> {
        let facts = &self.facts;
        let mut ways = Vec::new();
        if let Some(header) = headers.get("authorization") {
            let basic = header.to_str().ok().and_then(|header| header.strip_prefix("Basic "));
            let basic = basic.and_then(|basic| Base64::decode_vec(basic).ok()).ok_or("not Basic")?;
            match String::from_utf8(basic).map_err(|_| "not text")?.as_str() {
                "the-id:the-secret" => ways.push("basic"),
                "the-secret:" => ways.push("secret_as_user"),
                _ => return Err("a wrong client in the header".into()),
            }
        }
        if params.contains_key("client_secret") {
            needs("the body", params, facts.client_id_name.as_deref().unwrap_or("client_id"), ID)?;
            needs("the body", params, "client_secret", SECRET)?;
            ways.push("post");
        }
        match ways[..] {
            [way] if facts.auth.iter().any(|known| known == way) => Ok(()),
            _ => Err(format!("the client authenticates by {ways:?}, and {:?} is taken", facts.auth)),
        }
    }

    fn granted(&mut self, refreshed: bool, now: u64) -> Value {
        let facts = self.facts.clone();
        if !refreshed || ["rotate", "roll"].contains(&facts.rt.as_str()) {
            self.spent
                .push(std::mem::replace(&mut self.refresh, format!("refresh-{}-{}", self.grants, self.generation)));
        }
        let usual = json!({
            "access_token": "$access", "token_type": "Bearer", "expires_in": "$ttl", "refresh_token": "$refresh",
            "scope": "$scope",
        });
        let answer = facts.answer.unwrap_or(usual);
        let template = if refreshed { facts.refresh_answer.unwrap_or(answer) } else { answer };
        self.said(&template, now)
    }

    fn step(&mut self, step: &Step, params: &Params, now: u64) -> Outcome {
        for (name, value) in &step.needs {
            let value = value.replace("$current", &self.access());
            if (self.dead || self.revoked) && name == "access_token" {
                return Ok(self.refusal());
            }
            needs("the call", params, name, &value)?;
        }
        if params.len() != step.needs.len() {
            return Err(format!("it has more parameters than it needs: {:?}", params.keys()));
        }
        if step.needs.values().any(|value| value == "$current") {
            self.generation += 1;
        }
        Ok((StatusCode::OK, self.said(&step.answer, now)))
    }

    fn refusal(&self) -> (StatusCode, Value) {
        match &self.facts.dead {
            Some(dead) => (StatusCode::from_u16(dead.status).unwrap(), dead.body.clone()),
            None => {
                (StatusCode::BAD_REQUEST, json!({ "error": "invalid_grant", "error_description": "Token is dead" }))
            }
        }
    }

    fn whoami(&self, whoami: &Whoami, request: &Request<Vec<u8>>, url: &Url) -> Outcome {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let body = String::from_utf8_lossy(request.body()).into_owned();
        let auth = whoami.auth.as_deref().unwrap_or("Bearer $access");
        match auth {
            "client" => {
                let params = form(request)?;
                self.client(request.headers(), &params)?;
                for (name, value) in &whoami.form {
                    needs("the body", &params, name, &self.filled(value))?;
                }
            }
            "none" => expect("authorization", header("authorization"), "")?,
            auth => expect("authorization", header("authorization"), &self.filled(auth))?,
        }
        for (name, value) in &whoami.headers {
            if header(name).is_empty() || value != "*" && header(name) != self.filled(value) {
                return Err(format!("the header {name} is not right"));
            }
        }
        match &whoami.body {
            Some(empty) if empty.is_empty() => expect("body", &body, "")?,
            Some(part) if !body.contains(part) => return Err(format!("the body has no `{part}`")),
            Some(_) => expect("content-type", header("content-type"), "application/json")?,
            None => {}
        }
        expect("query", url.query().unwrap_or_default(), whoami.query.as_deref().unwrap_or_default())?;
        Ok((StatusCode::OK, whoami.answer.clone()))
    }

    fn revocation(&mut self, own: &OwnRevocation, request: &Request<Vec<u8>>) -> Outcome {
        let header = |name: &str| request.headers().get(name).and_then(|value| value.to_str().ok()).unwrap_or_default();
        let params = match own.send.as_deref().unwrap_or("form") {
            "none" if request.body().is_empty() => Params::new(),
            "none" => return Err("a body where there is none".into()),
            "json" => from_json(request)?,
            _ => form(request)?,
        };
        match own.auth.as_str() {
            "client" => self.client(request.headers(), &params)?,
            "basic" => expect("authorization", header("authorization"), "Basic dGhlLWlkOnRoZS1zZWNyZXQ=")?,
            "bearer" => expect("authorization", header("authorization"), &format!("Bearer {}", self.access()))?,
            "none" => expect("authorization", header("authorization"), "")?,
            very => expect("authorization", header("authorization"), very)?,
        }
        for (name, value) in &own.needs {
            needs("the revocation", &params, name, value)?;
        }
        for (name, value) in &own.headers {
            expect(name, header(name), &self.filled(value))?;
        }
        let lasting = !self.refresh.is_empty() && !["none", "renews"].contains(&self.facts.rt.as_str());
        if let Some(name) = &own.token_in {
            let token = params.get(name).ok_or(format!("no {name}"))?;
            let ends = if lasting && !own.access_kills { &self.refresh } else { &self.access() };
            expect(name, token, ends)?;
        }
        self.revoked = true;
        Ok((StatusCode::OK, own.answer.clone().unwrap_or(json!({}))))
    }

    fn request_token(&mut self, request: &Request<Vec<u8>>, url: &Url) -> Outcome {
        let signed = signed(request, url, "")?;
        let redirect_uri = signed.get("oauth_callback").ok_or("no oauth_callback")?.clone();
        self.code = Some(Code { code: String::new(), challenge: None, redirect_uri });
        let answer = "oauth_token=request-token&oauth_token_secret=request-secret&oauth_callback_confirmed=true";
        Ok((StatusCode::OK, answer.into()))
    }

    fn oauth1_token(&mut self, request: &Request<Vec<u8>>, url: &Url) -> Outcome {
        let signed = signed(request, url, "request-secret")?;
        needs("the header", &signed, "oauth_token", "request-token")?;
        let code = self.code.take().ok_or("the verifier is spent")?;
        needs("the header", &signed, "oauth_verifier", &code.code)?;
        Ok((StatusCode::OK, format!("oauth_token={}&oauth_token_secret=access-secret", self.access()).into()))
    }

    fn filled(&self, text: &str) -> String {
        text.replace("$access", &self.access()).replace("$refresh", &self.refresh)
    }

    /// A template with this moment's values.
    fn said(&self, template: &Value, now: u64) -> Value {
        let ttl = self.facts.at_ttl.unwrap_or_default();
        let scopes = || self.scopes.join(" ");
        match template {
            Value::String(text) => match text.as_str() {
                "$ttl" => ttl.into(),
                "$epoch" => (now + ttl).into(),
                "$now" => now.into(),
                "$iso" => iso(now + ttl).into(),
                "$scope" => scopes().into(),
                "$scope_commas" => self.scopes.join(",").into(),
                "$scope_list" => json!(self.scopes),
                "$id_token" => {
                    let mut claims = self.facts.id_token.clone().unwrap_or_default();
                    claims["exp"] = (now + 600).into();
                    claims["nonce"] = self.nonce.clone().into();
                    let part = |value: &Value| Base64UrlUnpadded::encode_string(value.to_string().as_bytes());
                    format!("{}.{}.c2ln", part(&json!({ "alg": "RS256" })), part(&claims)).into()
                }
                text => self.filled(text).into(),
            },
            Value::Object(object) => object.iter().map(|(name, value)| (name.clone(), self.said(value, now))).collect(),
            Value::Array(list) => list.iter().map(|value| self.said(value, now)).collect(),
            other => other.clone(),
        }
    }
}

fn back_to(redirect_uri: &str, params: &[(&str, &str)], facts: &Facts) -> Result<Back, String> {
    let mut to = Url::parse(redirect_uri).map_err(|error| error.to_string())?;
    let mut all: Vec<(String, String)> = to.query_pairs().into_owned().collect();
    all.extend(params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())));
    all.extend(facts.callback.clone());
    if facts.signs_callback {
        all.sort();
        let text = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&all).finish();
        let mut mac = Hmac::<Sha256>::new_from_slice(SECRET.as_bytes()).unwrap();
        mac.update(text.as_bytes());
        let hex = mac.finalize().into_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        all.push(("hmac".into(), hex));
    }
    let query = url::form_urlencoded::Serializer::new(String::new()).extend_pairs(&all).finish();
    to.set_query(None);
    if facts.posts_callback {
        return Ok(Back { path: to.path().to_owned(), form: Some(query) });
    }
    to.set_query(Some(&query));
    to.set_fragment(Some(&facts.fragment).filter(|fragment| !fragment.is_empty()).map(String::as_str));
    // A browser keeps the fragment to itself.
    Ok(Back { path: to[url::Position::BeforePath..url::Position::AfterQuery].to_owned(), form: None })
}

/// RFC 5849 section 3.4, from the other side.
fn signed(request: &Request<Vec<u8>>, url: &Url, token_secret: &str) -> Result<Params, String> {
    let header = request.headers().get("authorization").and_then(|header| header.to_str().ok()).unwrap_or_default();
    let header = header.strip_prefix("OAuth ").ok_or("not signed")?;
    let mut params = Params::new();
    for part in header.split(',') {
        let (name, value) = part.trim().split_once('=').ok_or("no parameter")?;
        // As a form, but for the plus.
        let value = value.trim_matches('"').replace('+', "%2B");
        let value = url::form_urlencoded::parse(format!("v={value}").as_bytes()).next().unwrap().1.into_owned();
        params.insert(name.to_owned(), value);
    }
    needs("the header", &params, "oauth_consumer_key", ID)?;
    needs("the header", &params, "oauth_signature_method", "HMAC-SHA1")?;
    let signature = params.remove("oauth_signature").ok_or("no signature")?;
    let quoted =
        |text: &str| url::form_urlencoded::byte_serialize(text.as_bytes()).collect::<String>().replace('+', "%20");
    let all: Vec<String> = params.iter().map(|(name, value)| format!("{}={}", quoted(name), quoted(value))).collect();
    let text = format!("POST&{}&{}", quoted(url.as_str()), quoted(&all.join("&")));
    let mut mac = Hmac::<Sha1>::new_from_slice(format!("{SECRET}&{token_secret}").as_bytes()).unwrap();
    mac.update(text.as_bytes());
    expect("signature", &signature, &Base64::encode_string(&mac.finalize().into_bytes()))?;
    Ok(params)
}

fn form(request: &Request<Vec<u8>>) -> Result<Params, String> {
    kind(request, "application/x-www-form-urlencoded")?;
    unique(url::form_urlencoded::parse(request.body()).into_owned())
}

fn from_json(request: &Request<Vec<u8>>) -> Result<Params, String> {
    kind(request, "application/json")?;
    serde_json::from_slice(request.body()).map_err(|error| error.to_string())
}

fn kind(request: &Request<Vec<u8>>, kind: &str) -> Result<(), String> {
    let said = request.headers().get("content-type").and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    expect("content-type", said, kind)
}

fn unique(pairs: impl Iterator<Item = (String, String)>) -> Result<Params, String> {
    let mut params = Params::new();
    for (name, value) in pairs {
        if params.insert(name.clone(), value).is_some() {
            return Err(format!("{name} is there twice"));
        }
    }
    Ok(params)
}

fn expect(what: &str, said: &str, expected: &str) -> Result<(), String> {
    if said == expected { Ok(()) } else { Err(format!("{what} is `{said}`, not `{expected}`")) }
}

fn needs(where_: &str, params: &Params, name: &str, value: &str) -> Result<(), String> {
    match params.get(name) {
        Some(said) if value == "*" && !said.is_empty() || said == value => Ok(()),
        Some(said) => Err(format!("{where_} has {name}=`{said}`, not `{value}`")),
        None => Err(format!("{where_} has no {name}")),
    }
}

fn absent(where_: &str, params: &Params, name: &str) -> Result<(), String> {
    if params.contains_key(name) { Err(format!("{where_} has {name}")) } else { Ok(()) }
}

/// RFC 3339, for the days of these tests.
fn iso(moment: u64) -> String {
    let (mut days, seconds) = (moment / 86_400, moment % 86_400);
    let leap = |year: u64| year.is_multiple_of(4);
    let mut year = 1970;
    while days >= 365 + u64::from(leap(year)) {
        days -= 365 + u64::from(leap(year));
        year += 1;
    }
    let lengths = [31, 28 + u64::from(leap(year)), 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
    let mut month = 0;
    while days >= lengths[month] {
        days -= lengths[month];
        month += 1;
    }
    let (hour, minute, second) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    format!("{year}-{:02}-{:02}T{hour:02}:{minute:02}:{second:02}.123Z", month + 1, days + 1)
}
