//! The secrets of an installation.

use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

/// Made anew for each installation, so that finding one anywhere is no accident.
#[derive(Debug, Clone)]
pub struct Keys {
    pub encryption_key: String,
    pub service_key: String,
    pub client_secret: String,
    pub owner_passphrase: String,
    pub ann: Key,
    pub ben: Key,
}

/// A person's API key.
#[derive(Debug, Clone)]
pub struct Key {
    pub subject: &'static str,
    pub value: String,
}

impl Keys {
    pub fn fresh() -> Self {
        Self {
            encryption_key: Base64::encode_string(&random()),
            service_key: random_text(),
            client_secret: random_text(),
            owner_passphrase: random_text(),
            ann: Key { subject: "ann", value: random_text() },
            ben: Key { subject: "ben", value: random_text() },
        }
    }

    /// The variables of the manifests that are secret.
    pub fn variables(&self) -> [(&'static str, String); 5] {
        [
            ("encryption_keys", format!("k1:{}", self.encryption_key)),
            ("service_keys", format!("gateway:{}", hash(&self.service_key))),
            ("gateway_service_key", self.service_key.clone()),
            ("api_keys", [&self.ann, &self.ben].map(Key::entry).join(",")),
            ("owner_passphrase", self.owner_passphrase.clone()),
        ]
    }

    /// All of them, by their names.
    pub fn all(&self) -> [(&'static str, &str); 6] {
        [
            ("encryption key", &self.encryption_key),
            ("service key", &self.service_key),
            ("client secret", &self.client_secret),
            ("owner passphrase", &self.owner_passphrase),
            ("Ann's API key", &self.ann.value),
            ("Ben's API key", &self.ben.value),
        ]
    }
}

impl Key {
    /// The key as `api_keys` takes it.
    pub fn entry(&self) -> String {
        format!("{}:{}", self.subject, hash(&self.value))
    }
}

fn hash(key: &str) -> String {
    Sha256::digest(key).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn random_text() -> String {
    Base64UrlUnpadded::encode_string(&random())
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    getrandom::fill(&mut bytes).expect("the operating system gives randomness");
    bytes
}
