//! How providers speak, and what their answers mean.

mod answers;
mod dialects;

use super::*;
