//! Names the rows of the store: the one table of their kinds, and the key of each row.
//!
//! A row lies under `b.` + the letter of its kind + `.` + base64url of SHA-256 over the kind and the row's identity. So the
//! store's keys say nothing but the kind.

use base64ct::{Base64UrlUnpadded, Encoding};
use sha2::{Digest, Sha256};

use super::keyring::fields;

/// The one table of row kinds: a new kind is an entry here, with the letter in its rows' keys.
macro_rules! row_kinds {
    ($($(#[$doc:meta])* $kind:ident = $letter:literal $($durable:ident)?,)+) => {
        /// The kinds of rows in the store, and of sealed values that are given away and come back.
        ///
        /// The first sentence of each says what it is; then: when it is written, its identity, when it ends, and which room
        /// keeps it. `durable` rows outlive a flow, so the key that sealed them has to stay in `encryption_keys`.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum RowKind {
            $($(#[$doc])* $kind,)+
        }

        impl RowKind {
            #[cfg(test)]
            pub(crate) const ALL: [Self; [$($letter),+].len()] = [$(Self::$kind),+];

            pub(crate) const fn letter(self) -> &'static str {
                match self {
                    $(Self::$kind => $letter,)+
                }
            }

            /// Returns true if rows of this kind outlive a flow.
            pub(super) const fn is_durable(self) -> bool {
                match self {
                    $(Self::$kind => row_kinds!(@durable $($durable)?),)+
                }
            }
        }
    };
    (@durable durable) => { true };
    (@durable) => { false };
}

row_kinds! {
    /// A connection. Written when a flow ends well and by each refresh. Identity: subject, service, account. Ends when it is
    /// disconnected. [`crate::connections::row`]
    Connection = "c" durable,
    /// A flow. Written when it starts. Identity: digest of its state. Ends after 10 minutes, or at its callback.
    /// [`crate::connect::flow`]
    Flow = "f",
    /// The pending flows of a subject. Written when a flow starts. Identity: subject. Replaced by the next.
    /// [`crate::connect::flow`]
    PendingFlows = "p",
    /// The tickets that a subject has used. Written when a flow starts. Identity: subject. Replaced by the next.
    /// [`crate::connect::ticket`]
    UsedTickets = "t",
    /// When a connection may be refreshed again. Written when a provider says when to come back, or refuses. Identity:
    /// subject, service, account. Ends at that time or with the next generation; replaced by the next.
    /// [`crate::connections::refresh`]
    RefreshWait = "w",
    /// Audit lines. Written at an event. Identity: subject, place in the week, slot. Replaced after a week.
    /// [`crate::audit::ring`]
    Audit = "a",
    /// When a refusal of a service was last noted. Written when a service gets nothing. Identity: name of the service key.
    /// Ends after a minute; replaced by the next. [`crate::handout`]
    RefusalLimit = "h",
    /// A lease. Written when a refresh or a change of an index begins. Identity: kind and identity of the row that it is for.
    /// Ends with that work, or after 40 seconds; an interrupted refresh leaves it for the next refresh. [`crate::lease`]
    Lease = "r",
    /// The index of a subject's connections. Written when a connection is made or removed. Identity: subject. Ends with the
    /// last connection. [`crate::connections::index`]
    ConnectionIndex = "i" durable,
    /// The index of subjects. Written at a subject's first connection, and its last. Identity: number of the shard. Replaced
    /// by the next. [`crate::connections::index`]
    SubjectIndex = "u" durable,
    /// A revocation that is due. Written when a connection is removed. Identity: subject, grant. Ends when it is done, or
    /// after 7 days. [`crate::connections::revocation`]
    Revocation = "q" durable,
    /// The authorization server that was discovered. Written when an MCP server's authorization is looked for. Identity:
    /// service. Replaced by the next, after a day. [`crate::discovery`]
    Discovery = "d",
    /// The client that was registered. Written when a client is registered. Identity: redirect URI. Ends when the server has
    /// forgotten it, or its secret ends. [`crate::discovery`]
    Registration = "n",
    /// When passphrases were tried. Written at each try. Identity: none, or one of 64 letters. Ends after a minute; replaced
    /// by the next. [`crate::people::sign_in`]
    SignInLimit = "l",
    /// The sessions that were ended. Written at a sign-out. Identity: subject. Ends after 12 hours; replaced by the next.
    /// [`crate::people::session`]
    EndedSessions = "e",
    /// Not a row: a connect ticket, sealed in a link or a form. [`crate::connect::ticket`]
    Ticket = "k",
    /// Not a row: the session cookie. [`crate::people::session`]
    Session = "s",
    /// Not a row: the cookie of a browser in which the owner has signed in. [`crate::people::session`]
    OwnersBrowser = "o",
    /// Not a row: the cursor of a sweep. [`crate::maintenance`]
    SweepCursor = "z",
}

/// Which row, or which sealed value.
#[derive(Debug, Clone, Copy)]
pub struct RowId<'a> {
    pub kind: RowKind,
    /// The fields that tell it from others of its kind.
    pub identity: &'a [&'a str],
}

impl RowId<'_> {
    /// The row's key in the store.
    pub fn key(&self) -> String {
        let digest = Sha256::digest(fields(["gatehouse.row.v1", self.kind.letter()].iter().chain(self.identity)));
        format!("b.{}.{}", self.kind.letter(), Base64UrlUnpadded::encode_string(&digest))
    }

    /// What a sealed value is bound to, so that it opens in its own place only.
    pub(super) fn associated_data(&self, key_id: &str) -> Vec<u8> {
        fields(["gatehouse.seal.v1", key_id, self.kind.letter()].iter().chain(self.identity))
    }
}
