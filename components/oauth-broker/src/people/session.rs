//! Keeps a browser signed in, by a sealed cookie.
//!
//! Inside the cookie is a mark of the credential that opened the session, so that the session ends when that
//! credential is taken out of the settings. The store holds only which sessions of a subject were ended before their time
//! (rows of kind `e`): a cookie that was copied is of no use after its browser has signed out. A request that carries a
//! session costs one read of that row; no other request does.
//!
//! A browser in which the owner has signed in gets a second sealed cookie, of the same form. It signs nobody in: it names
//! the counter of [`super::sign_in`] that counts this browser's guesses. It is for the owner alone, because the owner's
//! passphrase is all that can be guessed: nobody else can use up the counter of an owner's browser.

use base64ct::{Base64UrlUnpadded, Encoding};
use http::HeaderMap;
use sha2::{Digest, Sha256};

use super::cookies::{self, Cookie};
use super::keys::{self, HashedKeys};
use crate::host::{Host, StoreFault, random};
use crate::lease::Leases;
use crate::names::Subject;
use crate::settings::{Setting, SettingError, Settings};
use crate::vault::{RowError, RowId, RowKind, Vault};
use sealing::age::{SKEW, left};

/// In the cookie as text: these, with spaces between.
pub(super) struct Session {
    pub(super) subject: Subject,
    credential: String,
    expires: u64,
    pub(super) id: String,
}

/// The purpose of a sealed cookie.
pub(crate) struct Purpose {
    name: &'static str,
    row: RowId<'static>,
    /// Seconds.
    lifetime: u64,
}

/// Opens and ends sessions.
pub(crate) struct Sessions<'b, H> {
    pub host: &'b H,
    pub settings: &'b Settings<'b, H>,
    pub vault: Vault<'b, H>,
    pub leases: Leases<'b, H>,
}

impl<H: Host> Sessions<'_, H> {
    /// The person whose session the request carries.
    pub(super) fn subject(&self, headers: &HeaderMap) -> Result<Option<Subject>, RowError> {
        Ok(self.open_session(headers)?.map(|session| session.subject))
    }

    fn open_session(&self, headers: &HeaderMap) -> Result<Option<Session>, RowError> {
        let Some(session) = self.sealed_cookie(&SESSION, headers)? else { return Ok(None) };
        let ended = self.vault.used_ids(row_id(&[session.subject.as_str()]), SESSION.lifetime)?;
        Ok((!ended.has(session.began(), &session.id)).then_some(session))
    }

    /// Ends the session that the request carries, or all that its subject has. Returns the subject, or `None` if there is no
    /// session.
    ///
    /// Under a lease: two browsers that sign out at the same moment must not overwrite each other's entry.
    pub(super) async fn end(&self, headers: &HeaderMap, everywhere: bool) -> Result<Option<Subject>, RowError> {
        let Some(session) = self.open_session(headers)? else { return Ok(None) };
        let identity = [session.subject.as_str()];
        let row = row_id(&identity);
        let Some(lease) = self.leases.wait(row, PATIENCE).await? else { return Err(StoreFault.into()) };
        let written = self.vault.used_ids(row, SESSION.lifetime).and_then(|mut ended| {
            let now = self.host.now();
            ended.add(session.began(), session.id.clone(), SESSION.lifetime, now);
            if everywhere {
                ended.all_until(now);
            }
            self.vault.write_used_ids(row, &ended)
        });
        self.leases.release(row, &lease);
        written.map(|()| Some(session.subject))
    }

    /// The content of a sealed cookie of the request. `None` if it is not valid any more.
    pub(super) fn sealed_cookie(
        &self,
        purpose: &Purpose,
        headers: &HeaderMap,
    ) -> Result<Option<Session>, SettingError> {
        let name = purpose.name(self.settings.public_url()?.is_secure());
        let Some(cookie) = cookies::read(headers, name) else { return Ok(None) };
        let keyring = self.vault.keyring()?;
        let Ok(sealed) = Base64UrlUnpadded::decode_vec(cookie) else { return Ok(None) };
        let Ok(plain) = keyring.open(purpose.row, &sealed) else { return Ok(None) };
        let Some(session) = Session::parse(&plain) else { return Ok(None) };
        let is_open = left(session.expires, self.host.now(), purpose.lifetime + SKEW) > 0;
        let valid = is_open && self.marks(&session.subject)?.contains(&session.credential);
        Ok(valid.then_some(session))
    }

    /// A sealed cookie for `subject`, who has shown `credential`. `id` names it; `None` for a new one.
    pub(crate) fn new_sealed_cookie(
        &self,
        purpose: &Purpose,
        subject: &Subject,
        credential: &str,
        id: Option<String>,
    ) -> Result<Cookie, SettingError> {
        let id = id.unwrap_or_else(|| Base64UrlUnpadded::encode_string(&random::<12>(self.host)));
        let expires = self.host.now() + purpose.lifetime;
        let session = format!("{subject} {} {expires} {id}", mark(&keys::digest(credential)));
        let value = Base64UrlUnpadded::encode_string(&self.vault.seal_plain(purpose.row, session.as_bytes())?);
        let secure = self.settings.public_url()?.is_secure();
        let name = purpose.name(secure).to_owned();
        Ok(Cookie { name, value, lifetime: purpose.lifetime, secure, cross_site: false })
    }

    /// The marks of the credentials that `subject` may sign in with now.
    fn marks(&self, subject: &Subject) -> Result<Vec<String>, SettingError> {
        let keys = HashedKeys::of_setting(self.settings, Setting::ApiKeys)?;
        let mut marks: Vec<String> = keys.of(subject.as_str()).map(mark).collect();
        if *subject == Subject::owner() {
            let passphrase = self.settings.text(Setting::OwnerPassphrase);
            marks.extend(passphrase.map(|passphrase| mark(&keys::digest(passphrase))));
        }
        Ok(marks)
    }
}

impl Purpose {
    /// On http, which is loopback, it has to do without the prefix that browsers enforce.
    fn name(&self, secure: bool) -> &'static str {
        if secure { self.name } else { self.name.trim_start_matches("__Host-") }
    }
}

impl Session {
    fn parse(plain: &[u8]) -> Option<Self> {
        let mut parts = std::str::from_utf8(plain).ok()?.split(' ');
        Some(Self {
            subject: Subject::parse(parts.next()?).ok()?,
            credential: parts.next()?.to_owned(),
            expires: parts.next()?.parse().ok()?,
            id: parts.next()?.to_owned(),
        })
    }

    fn began(&self) -> u64 {
        self.expires.saturating_sub(SESSION.lifetime)
    }
}

pub(crate) fn expired(secure: bool) -> Cookie {
    Cookie::expired(SESSION.name(secure).to_owned(), secure)
}

fn row_id<'a>(identity: &'a [&'a str]) -> RowId<'a> {
    RowId { kind: RowKind::EndedSessions, identity }
}

fn mark(credential: &[u8; 32]) -> String {
    let digest = Sha256::new().chain_update("gatehouse.session.v1").chain_update(credential).finalize();
    Base64UrlUnpadded::encode_string(&digest[..12])
}

/// 12 hours.
pub(crate) const SESSION: Purpose = Purpose {
    name: "__Host-gatehouse-session",
    row: RowId { kind: RowKind::Session, identity: &[] },
    lifetime: 43_200,
};
/// Half a year: a browser that the owner uses now and then keeps its counter.
pub(crate) const OWNERS_BROWSER: Purpose = Purpose {
    name: "__Host-gatehouse-owners-browser",
    row: RowId { kind: RowKind::OwnersBrowser, identity: &[] },
    lifetime: 15_552_000,
};
/// For how many milliseconds signing out waits for another sign-out of the same subject.
const PATIENCE: u64 = 5_000;
