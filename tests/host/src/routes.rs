//! Finds the component that answers a path, and writes Spin's `spin-*` headers about the match.
//!
//! The matching itself is `routefinder`, the library that Spin uses: exact before `:param`, before the longest
//! `/...` prefix, which also matches the bare prefix. Private routes are in no table; only chaining reaches them.

use crate::manifest::{HttpTrigger, Route, StaticResponse};
use anyhow::{Result, anyhow};
use http::Uri;
use std::collections::{HashMap, HashSet};
use std::net::SocketAddr;

/// The prefix that Spin keeps for itself.
pub const WELL_KNOWN_PREFIX: &str = "/.well-known/spin/";

/// What the components of a chaining call are told instead of a client's address.
pub const CHAINED_CLIENT: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::UNSPECIFIED), 0);

pub struct Router {
    router: routefinder::Router<Entry>,
    /// Components with a trigger, public or private: those that chaining can reach.
    reachable: HashSet<String>,
}

#[derive(Clone)]
struct Entry {
    answer: Answer,
    /// As the manifest writes it, and the same without a trailing slash.
    raw: String,
    based: String,
}

#[derive(Clone)]
pub enum Answer {
    Component(String),
    Static(StaticResponse),
}

impl Router {
    pub fn new(triggers: &[HttpTrigger]) -> Result<Self> {
        // Of two triggers with the same pattern the last one counts, as in Spin.
        let mut entries: HashMap<&str, Entry> = HashMap::new();
        let mut reachable = HashSet::new();
        for trigger in triggers {
            reachable.extend(trigger.component.iter().map(|id| id.0.clone()));
            let Route::Pattern(raw) = &trigger.route else { continue };
            let answer = match (&trigger.component, &trigger.static_response) {
                (Some(id), _) => Answer::Component(id.0.clone()),
                (None, Some(response)) => Answer::Static(response.clone()),
                (None, None) => continue,
            };
            let absolute = if raw.starts_with('/') { raw.clone() } else { format!("/{raw}") };
            let based = absolute.strip_suffix('/').unwrap_or(&absolute).to_owned();
            entries.insert(raw, Entry { answer, raw: raw.clone(), based });
        }
        let mut router = routefinder::Router::new();
        for entry in entries.into_values() {
            let pattern = match entry.based.strip_suffix("/...") {
                Some(prefix) => format!("{prefix}/*"),
                None => entry.based.clone(),
            };
            let raw = entry.raw.clone();
            router.add(pattern, entry).map_err(|error| anyhow!("invalid route {raw:?}: {error}"))?;
        }
        Ok(Self { router, reachable })
    }

    pub fn route(&self, path: &str) -> Option<Match> {
        let matched = self.router.best_match(path)?;
        let captures = matched.captures();
        let path_info = match captures.wildcard() {
            // Spin keeps the trailing slash, which the library drops.
            Some("") if path.ends_with('/') => "/".to_owned(),
            Some("") | None => String::new(),
            Some(rest) if path.ends_with('/') => format!("/{rest}/"),
            Some(rest) => format!("/{rest}"),
        };
        let Entry { answer, raw, based } = matched.handler().clone();
        let params = captures.iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        Some(Match { answer, raw, based, path_info, params })
    }

    /// Whether chaining finds the component.
    pub fn is_reachable(&self, component: &str) -> bool {
        self.reachable.contains(component)
    }
}

pub struct Match {
    pub answer: Answer,
    raw: String,
    based: String,
    path_info: String,
    params: Vec<(String, String)>,
}

impl Match {
    /// The match of a chaining call: as if the component's route were `/...`.
    pub fn chained(component: &str, path: &str) -> Self {
        Self {
            answer: Answer::Component(component.to_owned()),
            raw: "/...".to_owned(),
            based: "/...".to_owned(),
            path_info: path.to_owned(),
            params: Vec::new(),
        }
    }

    /// The headers that Spin appends. One that the client sent itself stays, before these.
    pub fn headers(&self, uri: &Uri, host: &str, client: SocketAddr) -> Vec<(String, String)> {
        let scheme = uri.scheme_str().unwrap_or("http");
        let path_and_query = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut headers = vec![
            ("spin-path-info".to_owned(), self.path_info.clone()),
            ("spin-full-url".to_owned(), format!("{scheme}://{host}{path_and_query}")),
            ("spin-matched-route".to_owned(), self.based.clone()),
            ("spin-base-path".to_owned(), "/".to_owned()),
            ("spin-raw-component-route".to_owned(), self.raw.clone()),
            ("spin-component-route".to_owned(), self.raw.strip_suffix("/...").unwrap_or(&self.raw).to_owned()),
            ("spin-client-addr".to_owned(), client.to_string()),
        ];
        for (name, value) in &self.params {
            headers.push((format!("spin-path-match-{}", name.to_ascii_lowercase().replace('_', "-")), value.clone()));
        }
        headers
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn router(routes: &[(&str, &str)]) -> Router {
        let triggers: Vec<_> = routes
            .iter()
            .map(|(route, component)| {
                let route = if *route == "private" { "{ private = true }".to_owned() } else { format!("{route:?}") };
                toml::from_str::<HttpTrigger>(&format!("route = {route}\ncomponent = {component:?}")).unwrap()
            })
            .collect();
        Router::new(&triggers).unwrap()
    }

    fn component(router: &Router, path: &str) -> Option<String> {
        router.route(path).map(|matched| match matched.answer {
            Answer::Component(id) => id,
            Answer::Static(_) => "static".to_owned(),
        })
    }

    #[test]
    fn exact_routes_come_before_wildcards_and_the_longest_prefix_wins() {
        let router = router(&[("/...", "all"), ("/mcp/...", "mcp"), ("/mcp/sse", "sse"), ("/:id/x", "param")]);
        for (path, expected) in [
            ("/", "all"),
            ("/other", "all"),
            ("/mcp", "mcp"),
            ("/mcp/", "mcp"),
            ("/mcp/a/b", "mcp"),
            ("/mcp/sse", "sse"),
            ("/mcpx", "all"),
            ("/seven/x", "param"),
        ] {
            assert_eq!(component(&router, path).as_deref(), Some(expected), "{path}");
        }
    }

    #[test]
    fn an_exact_route_ignores_a_trailing_slash_and_nothing_else() {
        let router = router(&[("/health", "health")]);
        assert_eq!(component(&router, "/health/").as_deref(), Some("health"));
        assert_eq!(component(&router, "/health/x"), None);
        assert_eq!(component(&router, "/"), None);
    }

    #[test]
    fn private_routes_match_no_path_but_are_reachable() {
        let router = router(&[("private", "inner"), ("/out", "outer")]);
        assert_eq!(component(&router, "/private"), None);
        assert_eq!(component(&router, "/"), None);
        assert!(router.is_reachable("inner") && router.is_reachable("outer"));
        assert!(!router.is_reachable("absent"));
    }

    #[test]
    fn the_headers_describe_the_match() {
        let router = router(&[("/api/:user/...", "api")]);
        let uri: Uri = "http://example.com/api/ann/a/b/?q=1".parse().unwrap();
        let headers = router.route(uri.path()).unwrap().headers(&uri, "example.com", CHAINED_CLIENT);
        let get = |name: &str| headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str());
        assert_eq!(get("spin-path-info"), Some("/a/b/"));
        assert_eq!(get("spin-full-url"), Some("http://example.com/api/ann/a/b/?q=1"));
        assert_eq!(get("spin-matched-route"), Some("/api/:user/..."));
        assert_eq!(get("spin-component-route"), Some("/api/:user"));
        assert_eq!(get("spin-raw-component-route"), Some("/api/:user/..."));
        assert_eq!(get("spin-base-path"), Some("/"));
        assert_eq!(get("spin-client-addr"), Some("0.0.0.0:0"));
        assert_eq!(get("spin-path-match-user"), Some("ann"));
    }

    #[test]
    fn a_chained_call_matches_as_if_its_route_were_everything() {
        let uri: Uri = "http://inner.spin.internal/t/x".parse().unwrap();
        let headers = Match::chained("inner", uri.path()).headers(&uri, "localhost", CHAINED_CLIENT);
        assert!(headers.contains(&("spin-matched-route".into(), "/...".into())));
        assert!(headers.contains(&("spin-path-info".into(), "/t/x".into())));
    }
}
