//! Keeps secrets from being printed and from staying in memory, and says for how long a stored time is believed.

pub mod age;

use std::{fmt, io};

use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop, Zeroizing};

/// A string that `Debug` does not show and that is wiped when it is dropped.
#[derive(Clone, Serialize, Deserialize, PartialEq, Eq)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The secret itself. Every call of this is a place to look at.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl From<String> for Secret {
    fn from(secret: String) -> Self {
        Self(secret)
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("[redacted]")
    }
}

impl Drop for Secret {
    fn drop(&mut self) {
        self.0.zeroize();
    }
}

impl ZeroizeOnDrop for Secret {}

/// A value as JSON, in memory that is wiped when it is dropped, and whose earlier, smaller places were wiped too.
pub fn to_json(value: &impl Serialize) -> Result<Zeroizing<Vec<u8>>, serde_json::Error> {
    let mut bytes = Growing(Zeroizing::new(Vec::with_capacity(1024)));
    serde_json::to_writer(&mut bytes, value)?;
    Ok(bytes.0)
}

/// A `Vec` that grows leaves its content behind in its former place.
struct Growing(Zeroizing<Vec<u8>>);

impl io::Write for Growing {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let needed = self.0.len() + bytes.len();
        if needed > self.0.capacity() {
            let mut larger = Zeroizing::new(Vec::with_capacity(needed * 2));
            larger.extend_from_slice(&self.0);
            self.0 = larger;
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Memory that was given back cannot be looked at in safe code: what is tried is that it is the type's promise.
    #[test]
    fn a_secret_is_wiped_when_it_is_dropped() {
        fn is_wiped<T: ZeroizeOnDrop>() {}
        is_wiped::<Secret>();
        is_wiped::<Zeroizing<Vec<u8>>>();
    }

    #[test]
    fn what_grows_stays_what_it_was() {
        for length in [0, 1, 1022, 1023, 1024, 5000] {
            let secret = Secret::from("x".repeat(length));
            assert_eq!(*to_json(&secret).unwrap(), serde_json::to_vec(&secret).unwrap());
        }
    }
}
