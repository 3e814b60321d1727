//! Does the broker keep what it promises? One behaviour each, against a store in memory and a provider that does what
//! it is told. Numbers are those of the project's security checklist (`docs/`).

mod accounts;
mod answers;
mod auditing;
mod borrowing;
mod callers;
mod catalogue;
mod connecting;
mod consenting;
mod crowd;
mod discovering;
mod ending;
mod handing_out;
mod leaks;
mod leasing;
mod listing;
mod pages;
mod posting;
mod providers;
mod refreshing;
mod rotating;
mod schedules;
mod sessions;
mod sweeping;
mod tickets;
mod world;

pub use world::*;
