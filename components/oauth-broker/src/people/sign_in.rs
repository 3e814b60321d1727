//! Checks credentials at sign-in, and limits how often a passphrase can be guessed (rows of kind `l`).
//!
//! A person signs in with the owner's passphrase or an API key. An API key cannot be guessed: it is taken however many
//! guesses there were. A passphrase can be guessed, so at most [`MOST`] wrong ones are compared in [`WINDOW`] seconds. An
//! attempt is counted **before** it is compared, under the [lease](crate::lease) of its counter: parallel
//! guesses take their turns, and one whose turn does not come is refused without being compared. An attempt that was
//! right is taken out of the count again.
//!
//! All strangers share one counter, so strangers can use it up. A browser in which the owner has signed in before has
//! another one, named by its cookie ([`super::session`]): they do not keep the owner out there. There are 64 of those.

use http::HeaderMap;
use thiserror::Error;

use super::cookies::Cookie;
use super::session::{OWNERS_BROWSER, SESSION, Sessions};
use super::{browser, keys, session};
use crate::host::Host;
use crate::lease::Leases;
use crate::names::Subject;
use crate::settings::{Setting, SettingError, Settings};
use crate::vault::{RowError, RowId, RowKind, Vault};
use sealing::age::is_recent;

/// Why a sign-in is refused.
#[derive(Debug, Error)]
pub enum SignInError {
    #[error("this is neither the passphrase nor an API key")]
    Credential,
    /// For so many seconds.
    #[error("too many sign-ins were tried: try again in {0} seconds")]
    TooMany(u32),
    #[error(transparent)]
    Row(#[from] RowError),
}

impl From<SettingError> for SignInError {
    fn from(error: SettingError) -> Self {
        Self::Row(error.into())
    }
}

/// A person who has signed in.
pub struct SignedIn {
    pub subject: Subject,
    pub cookies: Vec<Cookie>,
}

/// Signs people in and out.
pub(crate) struct SignIn<'b, H> {
    pub host: &'b H,
    pub settings: &'b Settings<'b, H>,
    pub vault: Vault<'b, H>,
    pub leases: Leases<'b, H>,
    pub sessions: Sessions<'b, H>,
}

impl<H: Host> SignIn<'_, H> {
    /// Signs in the person who shows `credential`.
    pub async fn sign_in(&self, credential: &str, headers: &HeaderMap) -> Result<SignedIn, SignInError> {
        let browser = self.sessions.sealed_cookie(&OWNERS_BROWSER, headers)?.map(|browser| browser.id);
        let subject = self.subject_with(credential, browser.as_deref()).await?;
        let mut cookies = vec![self.sessions.new_sealed_cookie(&SESSION, &subject, credential, None)?];
        if subject == Subject::owner() {
            cookies.push(self.sessions.new_sealed_cookie(&OWNERS_BROWSER, &subject, credential, browser)?);
        }
        Ok(SignedIn { subject, cookies })
    }

    /// Ends the session of the browser, or with `everywhere` all sessions of its person. Returns the person, or `None` if
    /// there is no session.
    pub async fn sign_out(&self, headers: &HeaderMap, everywhere: bool) -> Result<Option<Subject>, RowError> {
        self.sessions.end(headers, everywhere).await
    }

    /// The cookies that make a browser forget its person.
    pub fn expired_cookies(&self) -> Result<[Cookie; 2], SettingError> {
        let secure = self.settings.public_url()?.is_secure();
        Ok([session::expired(secure), browser::expired(secure)])
    }

    /// The person whose credential it is. `browser` is the id of an owner's browser.
    async fn subject_with(&self, credential: &str, browser: Option<&str>) -> Result<Subject, SignInError> {
        if let Some(subject) = keys::holder_of_api_key(self.settings, credential)? {
            return Ok(subject);
        }
        let letter = browser.and_then(|id| id.get(..1));
        let row = RowId { kind: RowKind::SignInLimit, identity: letter.as_slice() };
        // Who has no attempt left need not wait to hear it.
        self.attempts(row)?;
        let lease = self.leases.wait(row, PATIENCE).await?.ok_or(SignInError::TooMany(1))?;
        let is_right = self.attempt(row, credential);
        self.leases.release(row, &lease);
        if is_right? { Ok(Subject::owner()) } else { Err(SignInError::Credential) }
    }

    /// Counts an attempt, and only then compares it.
    fn attempt(&self, row: RowId, credential: &str) -> Result<bool, SignInError> {
        let before: String = self.attempts(row)?.iter().map(|attempt| format!("{attempt} ")).collect();
        self.vault.write_plain(row, format!("{before}{}", self.host.now()).as_bytes())?;
        let passphrase = self.settings.text(Setting::OwnerPassphrase);
        let is_right = passphrase.is_some_and(|passphrase| bool::from(keys::same(passphrase, credential)));
        if is_right && let Err(error) = self.vault.write_plain(row, before.as_bytes()) {
            self.host.log(&format!("a sign-in stays counted as a guess: {error}"));
        }
        Ok(is_right)
    }

    /// The times of the attempts of the last minute. Errors if no further one may be compared.
    fn attempts(&self, row: RowId) -> Result<Vec<u64>, SignInError> {
        let now = self.host.now();
        let text = self.vault.read_text_if_it_opens(row)?;
        let attempts = text.split(' ').filter_map(|attempt| attempt.parse().ok());
        let attempts: Vec<u64> = attempts.filter(|attempt| is_recent(*attempt, now, WINDOW - 1)).collect();
        if attempts.len() < MOST {
            return Ok(attempts);
        }
        let next = attempts.iter().min().map_or(now, |first| first + WINDOW);
        Err(SignInError::TooMany(u32::try_from(next.saturating_sub(now)).unwrap_or(1).max(1)))
    }
}

/// Seconds.
const WINDOW: u64 = 60;
/// Wrong passphrases that are compared in a window, for each counter.
const MOST: usize = 10;
/// For how many milliseconds an attempt waits for its turn.
const PATIENCE: u64 = 2_000;
