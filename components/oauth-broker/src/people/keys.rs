//! Finds the owner of a key that a caller shows.
//!
//! Settings hold only SHA-256 hashes of keys. A plain hash is right for keys of 128 random bits or more, which is what
//! the tools here make; it would not be right for passwords.

use sha2::{Digest, Sha256};
use subtle::{Choice, ConstantTimeEq};

use crate::host::Host;
use crate::names::Subject;
use crate::settings::{Setting, SettingError, Settings, entries};

/// The form of `service_keys`, `api_keys` and `admin_keys`: `name:sha256` in hex, comma-separated. A name may have several keys.
pub struct HashedKeys(Vec<(String, [u8; 32])>);

impl HashedKeys {
    /// Errors: what is wrong, without the value.
    pub fn parse(list: &str) -> Result<Self, String> {
        let parse = |(position, entry): (usize, &str)| {
            let wrong = || format!("entry {position} is not name:sha256 with 64 hex digits");
            let (name, hash) = entry.rsplit_once(':').ok_or_else(wrong)?;
            Subject::parse(name).map_err(|_| wrong())?;
            Ok((name.to_owned(), unhex(hash).ok_or_else(wrong)?))
        };
        Ok(Self(entries(list).map(parse).collect::<Result<_, String>>()?))
    }

    /// The keys of a setting.
    pub fn of_setting<H: Host>(settings: &Settings<'_, H>, setting: Setting) -> Result<Self, SettingError> {
        Self::parse(settings.text(setting).unwrap_or_default()).map_err(|problem| SettingError::new(setting, problem))
    }

    /// The name whose key this is. Takes the same time for each entry, and if there is none.
    pub fn owner_of(&self, key: &str) -> Option<&str> {
        let hash = digest(key);
        let mut found = None;
        for (name, known) in &self.0 {
            if bool::from(known.ct_eq(&hash)) {
                found = Some(name.as_str());
            }
        }
        found
    }

    /// The names, each as often as it has keys.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// The hashes of the keys of `name`.
    pub fn of<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8; 32]> {
        self.0.iter().filter(move |(known, _)| known == name).map(|(_, hash)| hash)
    }
}

/// The subject whose API key this is.
pub fn holder_of_api_key<H: Host>(settings: &Settings<'_, H>, key: &str) -> Result<Option<Subject>, SettingError> {
    let keys = HashedKeys::of_setting(settings, Setting::ApiKeys)?;
    Ok(keys.owner_of(key).and_then(|name| Subject::parse(name).ok()))
}

/// Returns true if the service that `service_keys` calls `name` is a gateway, which seals what it keeps for people.
///
/// Errors: it is none, and another gateway's key is missing. Then it may be that gateway, by another name.
pub fn is_gateway<H: Host>(settings: &Settings<'_, H>, name: &str) -> Result<bool, SettingError> {
    let is_named = gateway_keys(settings).split(',').any(|listed| listed.trim() == name);
    if is_named { Ok(true) } else { check_gateway_keys(settings).map(|()| false) }
}

/// Returns an error if a name in `gateway_keys` has no key in `service_keys`.
pub fn check_gateway_keys<H: Host>(settings: &Settings<'_, H>) -> Result<(), SettingError> {
    let keys = HashedKeys::of_setting(settings, Setting::ServiceKeys)?;
    let mut names = entries(gateway_keys(settings));
    let Some((position, _)) = names.find(|(_, name)| keys.names().all(|known| known != *name)) else { return Ok(()) };
    Err(SettingError::new(
        Setting::GatewayKeys,
        format!(
            "`service_keys` has no key with the name in entry {position} of `gateway_keys` (`gateway` if not set): give the gateway's key \
             that name in `service_keys`, or put the name that it has there into `gateway_keys`. If no gateway asks by a key, \
             set `gateway_keys` to nothing"
        ),
    ))
}

/// A blank value stands for no gateway.
fn gateway_keys<'s, H: Host>(settings: &'s Settings<'_, H>) -> &'s str {
    settings.raw(Setting::GatewayKeys).unwrap_or("gateway")
}

/// Returns true if two secrets are the same, in a time that tells nothing about where they differ, nor how long they are.
pub fn same(one: &str, other: &str) -> Choice {
    digest(one).ct_eq(&digest(other))
}

pub fn digest(secret: &str) -> [u8; 32] {
    Sha256::digest(secret.as_bytes()).into()
}

fn unhex(text: &str) -> Option<[u8; 32]> {
    let digits: Vec<u8> = text
        .chars()
        .map(|digit| digit.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
        .collect::<Option<_>>()?;
    let mut bytes = [0; 32];
    if digits.len() != 64 {
        return None;
    }
    for (byte, pair) in bytes.iter_mut().zip(digits.chunks_exact(2)) {
        *byte = pair.iter().fold(0, |byte, digit| byte << 4 | digit);
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    // SHA-256 of "key" and of "other".
    const KEY: &str = "2c70e12b7a0646f92279f427c7b38e7334d8e5389cff167a1dc30e73f826b683";
    const OTHER: &str = "d9298a10d1b0735837dc4bd85dac641b0f3cef27a47e5d53a54f2f3f5b2fcffa";

    #[test]
    fn a_key_belongs_to_the_name_of_its_hash() {
        let keys = HashedKeys::parse(&format!("ann:{KEY}, bob:{OTHER},")).unwrap();
        assert_eq!(keys.owner_of("key"), Some("ann"));
        assert_eq!(keys.owner_of("other"), Some("bob"));
        assert_eq!(keys.owner_of("neither"), None);
        assert_eq!(keys.owner_of(KEY), None);
    }

    #[test]
    fn one_subject_may_have_several_keys() {
        let keys = HashedKeys::parse(&format!("ann:{KEY},ann:{OTHER}")).unwrap();
        assert_eq!((keys.owner_of("key"), keys.owner_of("other")), (Some("ann"), Some("ann")));
        assert_eq!(keys.of("ann").count(), 2);
    }

    #[test]
    fn a_malformed_hash_is_named_by_its_position_and_not_shown() {
        for bad in ["ann:secret", "secret", "ann:", &format!(":{KEY}"), &format!("ann:{KEY}0"), "ann:é"] {
            let problem = HashedKeys::parse(&format!("ann:{KEY},{bad}")).err().unwrap();
            assert!(problem.starts_with("entry 2 ") && !problem.contains("secret"), "{problem}");
        }
    }
}
