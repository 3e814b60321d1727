//! Computes when a connection ends if nobody does anything, and what would prevent that.
//!
//! An access token that can be renewed lasts as long as its refresh token. A refresh token may end at a fixed time after the
//! consent (*absolute*), or when it has not been used for some time (*idle*): the catalogue says so where it is known. If the
//! token answer itself said how long its refresh token lives, that counts instead of the idle time: it is about this very
//! token, and the next answer brings the next.

use serde::Serialize;

use super::row::Connection;

#[derive(Debug, Default, PartialEq, Eq, Serialize)]
pub struct Expiry {
    /// When the refresh token ends unless it is used before.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_idle_ends_at: Option<u64>,
    /// When it ends however often it is used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub refresh_absolute_ends_at: Option<u64>,
    /// When no token can be had any more, as far as is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dies_at: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<Warning>,
}

/// The action that keeps a connection from ending soon.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Warning {
    /// A token request: that renews it.
    UseSoon,
    /// Only the person: by connecting again.
    ReconnectSoon,
}

/// The lifetimes are those of a refresh token in the catalogue, in seconds.
pub fn expiry(connection: &Connection, idle: Option<u64>, absolute: Option<u64>, now: u64) -> Expiry {
    // A token without an end needs nobody to renew it.
    let Some(token_ends) = connection.expires_at else { return Expiry::default() };
    let mut ends = Expiry::default();
    let mut dies_at = token_ends;
    let mut since = connection.refreshed_at;
    let mut warning = Warning::ReconnectSoon;
    if connection.refresh_token.is_some() {
        let from = |start: u64, lifetime: Option<u64>| lifetime.map(|lifetime| start.saturating_add(lifetime));
        let idle_ends = connection.refresh_ends_at.or(from(connection.refreshed_at, idle));
        let absolute_ends = from(connection.connected_at, absolute);
        (ends.refresh_idle_ends_at, ends.refresh_absolute_ends_at) = (idle_ends, absolute_ends);
        let Some(refresh_ends) = idle_ends.into_iter().chain(absolute_ends).min() else { return ends };
        if absolute_ends == Some(refresh_ends) {
            since = connection.connected_at;
        } else {
            warning = Warning::UseSoon;
        }
        dies_at = dies_at.max(refresh_ends);
    }
    let lifetime = dies_at.saturating_sub(since);
    ends.dies_at = Some(dies_at);
    ends.warning = (dies_at.saturating_sub(now) <= (lifetime / 4).min(LONGEST_WARNING)).then_some(warning);
    ends
}

/// Seconds before the end at which a warning begins, at most; for a shorter lifetime it is the last quarter.
const LONGEST_WARNING: u64 = 7 * 24 * 60 * 60;

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::names::GrantId;
    use crate::provider::Grant;

    const DAY: u64 = 24 * 60 * 60;

    fn grant(refresh_token: bool, refresh_lifetime: Option<u64>) -> Grant {
        Grant {
            access_token: "access".to_owned().into(),
            token_type: "Bearer".to_owned(),
            lifetime: Some(3600),
            refresh_token: refresh_token.then(|| "refresh".to_owned().into()),
            refresh_lifetime,
            scopes: None,
            extra: BTreeMap::new(),
        }
    }

    /// A connection of time 0.
    fn connection(refresh_token: bool, refresh_lifetime: Option<u64>) -> Connection {
        Connection::new(GrantId::default(), grant(refresh_token, refresh_lifetime), &[], 0)
    }

    #[test]
    fn an_unknown_lifetime_gives_no_expiry() {
        assert_eq!(expiry(&connection(true, None), None, None, 0), Expiry::default());
    }

    #[test]
    fn a_token_that_cannot_be_renewed_ends_with_itself() {
        let expiry = |now| expiry(&connection(false, None), Some(DAY), Some(DAY), now);
        assert_eq!((expiry(0).dies_at, expiry(0).warning), (Some(3600), None));
        assert_eq!(expiry(2700).warning, Some(Warning::ReconnectSoon));
    }

    #[test]
    fn an_idle_lifetime_starts_again_with_each_refresh() {
        let mut connection = connection(true, None);
        connection.refreshed_at = 40 * DAY;
        let expiry = |now| expiry(&connection, Some(60 * DAY), None, now);
        assert_eq!((expiry(0).dies_at, expiry(0).refresh_idle_ends_at), (Some(100 * DAY), Some(100 * DAY)));
        assert_eq!((expiry(92 * DAY).warning, expiry(93 * DAY).warning), (None, Some(Warning::UseSoon)));
    }

    #[test]
    fn an_absolute_lifetime_does_not() {
        let mut connection = connection(true, None);
        connection.refreshed_at = 6 * DAY;
        let expiry = |now| expiry(&connection, Some(60 * DAY), Some(7 * DAY), now);
        assert_eq!((expiry(0).dies_at, expiry(0).refresh_absolute_ends_at), (Some(7 * DAY), Some(7 * DAY)));
        assert_eq!((expiry(5 * DAY).warning, expiry(6 * DAY).warning), (None, Some(Warning::ReconnectSoon)));
    }

    #[test]
    fn the_answers_lifetime_counts_more_than_the_catalogues() {
        let said = expiry(&connection(true, Some(2 * DAY)), Some(60 * DAY), None, 0);
        assert_eq!(said.dies_at, Some(2 * DAY));
    }

    #[test]
    fn a_successor_does_not_inherit_the_end_of_its_predecessor() {
        let connection = connection(true, Some(DAY));
        assert_eq!(connection.renewed(grant(false, None), 9).refresh_ends_at, Some(DAY), "the same token");
        assert_eq!(connection.renewed(grant(true, None), 9).refresh_ends_at, None);
    }
}
