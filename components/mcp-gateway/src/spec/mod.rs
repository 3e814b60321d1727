//! What the gateway does, as sentences: each test is one. `world` is what is around it, `upstreams` the servers behind it.

mod ambiguous;
mod arriving;
mod asking;
mod asks_on_get;
mod browsers;
mod bytes;
mod calls;
mod claims;
mod clocks;
mod config;
mod faults;
mod features;
mod growth;
mod held;
mod hostile;
mod http_sse;
mod kept;
mod leaving;
mod legacy;
mod listed;
mod listening;
mod lists;
mod loops;
mod modern;
#[path = "../../../../tests/fixtures/src/odd.rs"]
mod odd;
mod output;
mod outside;
mod pairings;
mod params;
mod pinning;
mod readers;
mod reopening;
mod resuming;
mod searching;
mod skills;
mod speaking;
mod streams;
mod unbridged;
mod upstreams;
mod world;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::poll_fn;
use std::rc::Rc;
use std::time::Duration;

use http::{Request, Response};
use serde_json::Value;

use crate::host::{AccessToken, Caller, Host, Origins, Outcome, Resolution, ResolveError, ResolveRequest, SendError};
use crate::memory::Met;
use world::*;
