//! What may the operator see and do? (`/admin/…`)
//!
//! For who shows an admin key, and in local mode for the owner's own tools. Nothing here shows a token.

use http::{Request, Response, StatusCode};
use serde::Serialize;

use super::Refusal;
use super::params::Params;
use crate::Broker;
use crate::audit::ring::{BLOCKS, Record};
use crate::audit::{Actor, Event, Line};
use crate::host::Host;
use crate::names::Subject;

/// `GET /admin/audit?subject=…&hours=…`: without a subject, what belongs to nobody.
pub fn audit<H: Host>(broker: &Broker<'_, H>, request: &Request<Vec<u8>>) -> Result<Response<Vec<u8>>, Refusal> {
    let admin = broker.admin(request)?;
    let params = Params::of(request.uri())?;
    let subject = params.get("subject").map(Subject::parse).transpose();
    let subject = subject.map_err(|_| Refusal::Request("subject is not the name of a subject"))?;
    let hours = params.get("hours").map_or(Ok(24), str::parse::<u64>);
    let hours = hours.ok().filter(|hours| (1..=4 * BLOCKS).contains(hours));
    let hours = hours.ok_or(Refusal::Request("hours is not a number from 1 to 168"))?;
    let until = broker.host.now();
    let from = until.saturating_sub(hours * 3600);
    let record = broker.record(subject.as_ref(), from, until)?;
    broker.note(Line::new(Event::Read, Actor::Admin(&admin), subject.as_ref()));
    Ok(super::json(StatusCode::OK, &Audit { subject, from, until, record }))
}

#[derive(Serialize)]
struct Audit {
    subject: Option<Subject>,
    from: u64,
    until: u64,
    record: Record,
}
