//! How does a browser stay signed in?
//!
//! By a sealed cookie; the store holds nothing of it. Inside is a mark of the credential that opened the session, so
//! that it ends when that credential is taken out of the settings.

use base64ct::{Base64UrlUnpadded, Encoding};
use http::HeaderMap;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::cookies::{self, Cookie};
use super::keys;
use crate::Broker;
use crate::doors::Refusal;
use crate::host::Host;
use crate::names::Subject;
use crate::settings::SettingError;
use crate::vault::rows::RowError;
use crate::vault::{Kind, Place};
use sealing::age::{SKEW, left};

#[derive(Serialize, Deserialize)]
struct Session {
    subject: Subject,
    credential: String,
    expires: u64,
}

impl<H: Host> Broker<'_, H> {
    /// The person whose session the request carries.
    pub(super) fn session(&self, headers: &HeaderMap) -> Result<Option<Subject>, Refusal> {
        let name = name(self.settings.public_url()?.is_secure());
        let Some(cookie) = cookies::read(headers, name) else { return Ok(None) };
        let vault = self.settings.vault()?;
        let Ok(sealed) = Base64UrlUnpadded::decode_vec(cookie) else { return Ok(None) };
        let Ok(plain) = vault.open(SESSION, &sealed) else { return Ok(None) };
        let Ok(session) = serde_json::from_slice::<Session>(&plain) else { return Ok(None) };
        let is_open = left(session.expires, self.host.now(), LIFETIME + SKEW) > 0;
        let valid = is_open && self.marks(&session.subject)?.contains(&session.credential);
        Ok(valid.then_some(session.subject))
    }

    /// The cookie of a new session for `subject`, who has shown `credential`.
    pub(super) fn new_session(&self, subject: Subject, credential: &str) -> Result<Cookie, RowError> {
        let session =
            Session { subject, credential: mark(&keys::digest(credential)), expires: self.host.now() + LIFETIME };
        let value = Base64UrlUnpadded::encode_string(&self.seal(SESSION, &session)?);
        let secure = self.settings.public_url()?.is_secure();
        Ok(Cookie { name: name(secure).to_owned(), value, lifetime: LIFETIME, secure, cross_site: false })
    }

    /// The marks of the credentials that `subject` may sign in with now.
    fn marks(&self, subject: &Subject) -> Result<Vec<String>, SettingError> {
        let mut marks: Vec<String> = self.settings.api_keys()?.of(subject.as_str()).map(mark).collect();
        if *subject == Subject::owner() {
            marks.extend(self.settings.owner_passphrase().map(|passphrase| mark(&keys::digest(passphrase.reveal()))));
        }
        Ok(marks)
    }
}

pub(super) fn over(secure: bool) -> Cookie {
    Cookie::over(name(secure).to_owned(), secure)
}

fn mark(credential: &[u8; 32]) -> String {
    let digest = Sha256::new().chain_update("gatehouse.session.v1").chain_update(credential).finalize();
    Base64UrlUnpadded::encode_string(&digest[..12])
}

/// On http, which is loopback, it has to do without the prefix that browsers enforce.
fn name(secure: bool) -> &'static str {
    if secure { "__Host-gatehouse-session" } else { "gatehouse-session" }
}

const SESSION: Place = Place { kind: Kind::Session, identity: &[] };
/// Seconds: 12 hours.
const LIFETIME: u64 = 43_200;
