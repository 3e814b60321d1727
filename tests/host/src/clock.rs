//! Gives components a wall clock that is wrong, so that tests need not touch the machine's.

use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};
use wasmtime_wasi::HostWallClock;

/// The system's clock and the seconds in a file, which is read at each look. Without the file, or a number in it, it is
/// right. Clocks that only go forward are never wrong.
pub struct WrongClock(pub PathBuf);

impl HostWallClock for WrongClock {
    fn resolution(&self) -> Duration {
        Duration::from_nanos(1)
    }

    fn now(&self) -> Duration {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let offset = offset(&self.0);
        let seconds = Duration::from_secs(offset.unsigned_abs());
        if offset < 0 { now.saturating_sub(seconds) } else { now.saturating_add(seconds) }
    }
}

fn offset(file: &Path) -> i64 {
    std::fs::read_to_string(file).ok().and_then(|text| text.trim().parse().ok()).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_at_each_look() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("offset");
        let clock = WrongClock(file.clone());
        let differs = |offset: i64| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap();
            (clock.now().as_secs() as i64 - now.as_secs() as i64 - offset).abs() <= 1
        };
        assert!(differs(0), "there is no file");
        for (text, offset) in [("3600", 3600), ("-90\n", -90), ("soon", 0), ("0", 0)] {
            std::fs::write(&file, text).unwrap();
            assert!(differs(offset), "{text}");
        }
    }
}
