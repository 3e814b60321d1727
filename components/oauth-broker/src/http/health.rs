//! Answers whether this broker could do its work (`GET /health`).
//!
//! Anyone may ask, so it names settings and says of each that it is missing or wrong. What is wrong is told to an admin, and
//! in local mode to the owner's own tools. It writes nothing.

use http::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::Broker;
use crate::host::Host;
use crate::settings::SettingError;
use crate::vault::rows::RowError;
use crate::vault::{Kind, Place};

pub fn answer<H: Host>(broker: &Broker<'_, H>, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
    let settings = &broker.settings;
    let store = broker.host.get(&Place { kind: Kind::SignInLimit, identity: &[] }.key());
    let checks: [(&str, Option<SettingError>); 13] = [
        ("public_url", settings.public_url().err()),
        ("gateway_url", settings.gateway_url().err()),
        ("local_owner", settings.is_local_mode().err()),
        ("encryption_keys", keys(broker)),
        ("service_keys", settings.service_keys().err()),
        ("gateway_keys", settings.check_gateway_keys().err()),
        ("api_keys", settings.api_keys().err()),
        ("return_urls", settings.return_urls().err()),
        ("internal_hosts", settings.internal_hosts().err()),
        ("admin_keys", settings.admin_keys().err()),
        ("handout_policy", settings.handout_policy().err()),
        ("audit", settings.audit().err()),
        ("oauth_clients", broker.offers().err()),
    ];
    let well = store.is_ok() && checks.iter().all(|(_, error)| error.is_none());
    let is_admin = broker.admin(request).is_ok();
    let mut said = Map::new();
    for (name, error) in &checks {
        let problem = error.as_ref().map_or("ok", |error| if is_admin { &error.problem } else { error.word() });
        said.insert((*name).to_owned(), Value::from(problem));
    }
    let problem = store.err().map_or_else(|| "ok".to_owned(), |fault| fault.to_string());
    said.insert("store".to_owned(), Value::from(problem));
    let (status, word) = if well { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "failing") };
    let local_mode = settings.is_local_mode().unwrap_or(false);
    super::json(status, &json!({ "status": word, "local_mode": local_mode, "checks": said }))
}

/// The keys, and whether one is missing that rows were sealed under.
fn keys<H: Host>(broker: &Broker<'_, H>) -> Option<SettingError> {
    match broker.check_keys() {
        Err(RowError::Setting(error)) => Some(error),
        // That the store does not answer is told under its own name.
        _ => None,
    }
}
