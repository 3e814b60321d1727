//! The way from a page to a connection.

mod flow;
mod form_post;
mod offer;
mod ticket;

use super::*;
