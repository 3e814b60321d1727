//! Who is calling.

mod callers;
mod local_mode;
mod session;
mod sign_in;

use super::*;
