//! Decides for how long a time that was stored is believed.
//!
//! A row, a ticket or a cookie says when it was made or when it ends. The clock that said so may have been ahead: an
//! hour before NTP set it right, or on another host. So no time is believed for longer than the most that its kind may
//! last. A time further ahead counts as over.

/// Seconds by which the clocks of two hosts may differ.
pub const SKEW: u64 = 60;

/// The seconds from `now` to `until`. None are left if that is more than `most`: no clock that was right has written it.
pub fn left(until: u64, now: u64, most: u64) -> u64 {
    Some(until.saturating_sub(now)).filter(|left| *left <= most).unwrap_or_default()
}

/// Returns true if `at` is at most `most` seconds ago. A time that is ahead is of a clock that differs by [`SKEW`] at most.
pub fn is_recent(at: u64, now: u64, most: u64) -> bool {
    now.saturating_sub(at) <= most && at.saturating_sub(now) <= SKEW
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A26: what is further ahead than its kind can be counts as over.
    #[test]
    fn an_end_is_believed_for_the_most_that_its_kind_lasts() {
        for (until, left_then) in [(0, 0), (99, 0), (100, 0), (101, 1), (110, 10), (111, 0), (3700, 0), (u64::MAX, 0)] {
            assert_eq!(left(until, 100, 10), left_then, "{until}");
        }
    }

    /// A26: the clocks of two hosts may differ, and not by an hour.
    #[test]
    fn a_beginning_is_recent_if_no_wrong_clock_wrote_it() {
        let now = 10_000;
        for (at, recent) in [
            (now, true),
            (now - 10, true),
            (now - 11, false),
            (0, false),
            (now + SKEW, true),
            (now + SKEW + 1, false),
            (now + 3600, false),
            (u64::MAX, false),
        ] {
            assert_eq!(is_recent(at, now, 10), recent, "{at}");
        }
    }
}
