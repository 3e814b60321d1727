//! Answers whether this broker could do its work (`GET /health`).
//!
//! Anyone may ask, so it names settings and says of each that it is missing or wrong. What is wrong is told to an admin, and
//! in local mode to the owner's own tools. It writes nothing.

use http::{Request, Response, StatusCode};
use serde_json::{Map, Value, json};

use crate::broker::Broker;
use crate::connect::return_url::return_urls;
use crate::discovery::guard::internal_hosts;
use crate::host::Host;
use crate::people::keys::{HashedKeys, check_gateway_keys};
use crate::settings::{Setting, SettingError};
use crate::vault::RowError;
use crate::vault::{RowId, RowKind};

pub fn answer<H: Host>(broker: &Broker<'_, H>, request: &Request<Vec<u8>>) -> Response<Vec<u8>> {
    let settings = &broker.settings;
    let store = broker.host.get(&RowId { kind: RowKind::SignInLimit, identity: &[] }.key());
    let checks = Setting::ALL.map(|setting| (setting, problem(broker, setting)));
    let well = store.is_ok() && checks.iter().all(|(_, error)| error.is_none());
    let is_admin = broker.people().admin(request).is_ok();
    let mut problems = Map::new();
    for (setting, error) in checks.iter().filter(|(setting, _)| *setting != Setting::OwnerPassphrase) {
        let problem =
            error.as_ref().map_or("ok", |error| if is_admin { &error.problem } else { error.public_problem() });
        problems.insert(setting.name().to_owned(), Value::from(problem));
    }
    let problem = store.err().map_or_else(|| "ok".to_owned(), |fault| fault.to_string());
    problems.insert("store".to_owned(), Value::from(problem));
    let (status, word) = if well { (StatusCode::OK, "ok") } else { (StatusCode::SERVICE_UNAVAILABLE, "failing") };
    let local_mode = settings.is_local_mode().unwrap_or(false);
    super::json(status, &json!({ "status": word, "local_mode": local_mode, "checks": problems }))
}

/// What is wrong with a setting.
fn problem<H: Host>(broker: &Broker<'_, H>, setting: Setting) -> Option<SettingError> {
    let settings = &broker.settings;
    match setting {
        Setting::PublicUrl => settings.public_url().err(),
        Setting::GatewayUrl => settings.gateway_url().err(),
        Setting::LocalOwner => settings.is_local_mode().err(),
        Setting::EncryptionKeys => keys(broker),
        Setting::ServiceKeys | Setting::ApiKeys | Setting::AdminKeys => HashedKeys::of_setting(settings, setting).err(),
        Setting::GatewayKeys => check_gateway_keys(settings).err(),
        Setting::ReturnUrls => return_urls(settings).err(),
        Setting::InternalHosts => internal_hosts(settings).err(),
        Setting::HandoutPolicy => broker.policies().policy().err(),
        Setting::Audit => broker.audit().storage().err(),
        Setting::OauthClients => broker.services().all_offered().err(),
        // Any text is a passphrase.
        Setting::OwnerPassphrase => None,
    }
}

/// The keys, and whether one is missing that rows were sealed under.
fn keys<H: Host>(broker: &Broker<'_, H>) -> Option<SettingError> {
    match broker.vault().check_keys() {
        Err(RowError::Setting(error)) => Some(error),
        // That the store does not answer is told under its own name.
        _ => None,
    }
}
