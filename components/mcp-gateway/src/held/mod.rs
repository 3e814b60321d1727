//! Bridges what a legacy server asks in the middle of a call to a modern client, which can only answer with a new call.
//!
//! A legacy server asks on the stream of the call (or on that of GET, `askable_call`), and waits there. A modern client is
//! asked by a result, with which its call is over, and makes the call again with the answers
//! (S/2026-07-28/basic/patterns/mrtr). So the instance that has the server's stream gives that result and goes on: it
//! *holds* the call. The instance that gets the repeated call finds in its `requestState` where the holder is, leaves the
//! answers there (`shelf`), and waits for the holder's report: the server's answer, the next question, or the reason why
//! there is neither.
//!
//! * The holder alone speaks with the server, so it answers once, even if the call is repeated several times. It reports the
//!   result until half a minute after that was fetched.
//! * `requestState` is sealed for the subject, the server and the request (method, name, arguments). Anything else is
//!   refused with -32602.
//! * A client that leaves while it waits has cancelled. One that never comes back costs an instance for ten minutes;
//!   then the server is told that the call is cancelled.
//! * A holder that was killed is noticed after half a minute. Its last report tells whether the server has the answers, and
//!   so whether the call may be made again.
//!
//! This needs a host that lets an instance go on when its answer has ended, as Spin does.

mod hold;
mod resume;
mod state;

use std::time::Duration;

use crate::relay::ASK_PATIENCE;
pub use hold::{Interrupted, hold};
pub use resume::resume;
pub use state::{State, state};

const PATIENCE_SECONDS: u64 = ASK_PATIENCE.as_secs();
/// Between two signs of life of a holder.
const BEAT: Duration = Duration::from_secs(10);
