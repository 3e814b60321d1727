//! Answers the operator's requests (`/admin/…`).
//!
//! For the holder of an admin key, and in local mode for the owner's own tools. No answer here has a token. Each says whether
//! a key is missing under which rows are sealed.

use std::collections::BTreeMap;

use base64ct::{Base64UrlUnpadded, Encoding};
use http::{Request, Response, StatusCode};
use serde::Serialize;

use super::Refusal;
use crate::audit::ring::{BLOCKS, Record};
use crate::audit::{Actor, Event, Line};
use crate::broker::Broker;
use crate::host::Host;
use crate::names::Subject;
use crate::params::Params;
use crate::people::{CallerError, Sender};
use crate::vault::RowError;

/// `GET /admin/audit?subject=…&hours=…`: without a subject, the events that have none.
pub fn audit<H: Host>(broker: &Broker<'_, H>, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Refusal> {
    let admin = broker.people().admin(request)?;
    let params = Params::of(request.uri())?;
    let subject = params.get("subject").map(Subject::parse).transpose();
    let subject = subject.map_err(|_| Refusal::Request("subject is not the name of a subject"))?;
    let hours = params.get("hours").map_or(Ok(24), str::parse::<u64>);
    let hours = hours.ok().filter(|hours| (1..=4 * BLOCKS).contains(hours));
    let hours = hours.ok_or(Refusal::Request("hours is not a number from 1 to 168"))?;
    let until = broker.host.now();
    let from = until.saturating_sub(hours * 3600);
    let record = broker.audit().read(subject.as_ref(), from, until)?;
    broker.audit().note(Line::new(Event::Read, Actor::Admin(&admin), subject.as_ref()));
    let encryption_keys = keys(broker)?;
    Ok(super::json(StatusCode::OK, &Audit { subject, from, until, record, encryption_keys }))
}

#[derive(Serialize)]
struct Audit {
    subject: Option<Subject>,
    from: u64,
    until: u64,
    record: Record,
    encryption_keys: String,
}

/// `POST /admin/sweep`: one step of a sweep. `cursor` is what the step before it gave; `lost` names a key whose rows are
/// to be deleted.
pub async fn sweep<H: Host>(
    broker: &Broker<'_, H>,
    request: &Request<Vec<u8>>,
    sender: &Sender,
) -> Result<Response<Vec<u8>>, Refusal> {
    let Sender::Admin(admin) = sender else { return Err(CallerError::Admin.into()) };
    let params = Params::parse(request.body())?;
    let mut sweep = match params.get("cursor") {
        None => broker.maintenance().begin()?,
        Some(cursor) => {
            let cursor = Base64UrlUnpadded::decode_vec(cursor).unwrap_or_default();
            broker.maintenance().resume(&cursor)?.ok_or(Refusal::Request("this cursor is over: begin without one"))?
        }
    };
    let lost = params.get("lost");
    if lost.is_some_and(|lost| broker.vault().keyring().is_ok_and(|vault| vault.has_key(lost))) {
        return Err(Refusal::Request("lost names a key that is not lost: it is in encryption_keys"));
    }
    broker.maintenance().advance(&mut sweep, lost).await?;
    broker.audit().note(Line::new(Event::Swept, Actor::Admin(admin), None));
    let cursor = broker.maintenance().cursor(&sweep)?;
    let answer = Swept {
        done: sweep.is_whole(),
        cursor: (!sweep.is_whole()).then(|| Base64UrlUnpadded::encode_string(&cursor)),
        moved: sweep.moved,
        unreadable: sweep.unreadable,
        deleted: sweep.deleted,
        rows: sweep.found,
        keys_in_use: broker.vault().keys_in_use()?,
        encryption_keys: keys(broker)?,
    };
    Ok(super::json(StatusCode::OK, &answer))
}

#[derive(Serialize)]
struct Swept {
    done: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    cursor: Option<String>,
    /// By the id of the key under which they were found.
    rows: BTreeMap<String, u64>,
    moved: u64,
    unreadable: u64,
    deleted: u64,
    keys_in_use: Vec<String>,
    encryption_keys: String,
}

/// `ok`, or which key is missing.
fn keys<H: Host>(broker: &Broker<'_, H>) -> Result<String, RowError> {
    match broker.vault().check_keys() {
        Ok(()) => Ok("ok".to_owned()),
        Err(RowError::Setting(error)) => Ok(error.problem),
        Err(error) => Err(error),
    }
}
