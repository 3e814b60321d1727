//! Could this broker do its work? (`GET /health`)
//!
//! For anyone to ask, so it names settings and never shows them. It writes nothing.

use http::{Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::Broker;
use crate::host::Host;
use crate::settings::SettingError;
use crate::vault::rows::RowError;
use crate::vault::{Kind, Place};

pub fn answer<H: Host>(broker: &Broker<'_, H>) -> Response<Vec<u8>> {
    let settings = &broker.settings;
    let store = broker.host.get(&Place { kind: Kind::SignInLimit, identity: &[] }.key());
    let checks: [(&str, Option<String>); 14] = [
        ("public_url", problem(settings.public_url())),
        ("gateway_url", problem(settings.gateway_url())),
        ("local_owner", problem(settings.is_local_mode())),
        ("encryption_keys", keys(broker)),
        ("service_keys", problem(settings.service_keys())),
        ("gateway_keys", problem(settings.check_gateway_keys())),
        ("api_keys", problem(settings.api_keys())),
        ("return_urls", problem(settings.return_urls())),
        ("internal_hosts", problem(settings.internal_hosts())),
        ("admin_keys", problem(settings.admin_keys())),
        ("handout_policy", problem(settings.handout_policy())),
        ("audit", problem(settings.audit())),
        ("oauth_clients", problem(broker.offers())),
        ("store", store.err().map(|fault| fault.to_string())),
    ];
    let well = checks.iter().all(|(_, problem)| problem.is_none());
    let mut said = Map::new();
    for (name, problem) in checks {
        said.insert(name.to_owned(), Value::from(problem.unwrap_or_else(|| "ok".to_owned())));
    }
    let (status, word) = if well { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "failing") };
    let local_mode = settings.is_local_mode().unwrap_or(false);
    super::json(status, &json!({ "status": word, "local_mode": local_mode, "checks": said }))
}

/// The keys, and whether one is missing that rows were sealed under.
fn keys<H: Host>(broker: &Broker<'_, H>) -> Option<String> {
    match broker.check_keys() {
        Err(RowError::Setting(error)) => Some(error.problem),
        // That the store does not answer is told under its own name.
        _ => None,
    }
}

fn problem<T>(setting: Result<T, SettingError>) -> Option<String> {
    setting.err().map(|error| error.problem)
}
