//! What is stored of connections, how they are refreshed and how they end.

mod index;
mod refresh;
mod revocation;
mod schedules;

use super::*;
