use chacha20poly1305::aead::{Aead, Payload};
use chacha20poly1305::{XChaCha20Poly1305, XNonce};

use super::*;

const KEYS: &str = "new:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,old:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OLD: &str = "old:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ANN: RowId = RowId { kind: RowKind::Connection, identity: &["ann", "github", ""] };
const BOB: RowId = RowId { kind: RowKind::Connection, identity: &["bob", "github", ""] };

fn vault(keys: &str) -> Keyring {
    Keyring::parse(keys).ok().unwrap()
}

#[test]
fn a_sealed_value_opens_in_its_place() {
    let vault = vault(KEYS);
    for plain in [&b""[..], b"x", &[0; 4096]] {
        assert_eq!(*vault.open(ANN, &vault.seal(ANN, plain, [7; 24])).unwrap(), plain);
    }
}

/// Item 31: any bit flipped, anywhere, and it stays shut.
#[test]
fn no_bit_can_be_flipped() {
    let vault = vault(KEYS);
    let sealed = vault.seal(ANN, b"a token", [7; 24]);
    for bit in 0..sealed.len() * 8 {
        let mut flipped = sealed.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(vault.open(ANN, &flipped).is_err(), "bit {bit}");
    }
}

/// Item 31, for every kind: a value that was changed, or whose place was changed, does not open. Places, values and changes
/// are drawn from a fixed sequence.
#[test]
fn no_value_of_any_kind_opens_changed_or_elsewhere() {
    let vault = vault(KEYS);
    let mut dice = Dice(1);
    for round in 0..40 {
        for kind in RowKind::ALL {
            let names: Vec<String> = (0..dice.below(4)).map(|_| dice.word()).collect();
            let identity: Vec<&str> = names.iter().map(String::as_str).collect();
            let place = RowId { kind, identity: &identity };
            let plain: Vec<u8> = (0..dice.below(300)).map(|_| dice.below(256) as u8).collect();
            let sealed = vault.seal(place, &plain, [round; 24]);
            assert_eq!(*vault.open(place, &sealed).unwrap(), plain);

            let mut flipped = sealed.clone();
            let bit = dice.below(sealed.len() * 8);
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(vault.open(place, &flipped).is_err(), "{place:?}, bit {bit}");
            assert!(vault.open(place, &sealed[..dice.below(sealed.len())]).is_err(), "{place:?}, cut off");
            let longer: Vec<u8> = sealed.iter().copied().chain([0]).collect();
            assert!(vault.open(place, &longer).is_err(), "{place:?}, longer");

            for other in RowKind::ALL.into_iter().filter(|other| *other != kind) {
                let elsewhere = RowId { kind: other, ..place };
                assert!(vault.open(elsewhere, &sealed).is_err(), "{place:?} as {other:?}");
                assert_ne!(elsewhere.key(), place.key());
            }
            let mut more = identity.clone();
            more.push("");
            let elsewhere = RowId { kind, identity: &more };
            assert!(vault.open(elsewhere, &sealed).is_err() && elsewhere.key() != place.key(), "{place:?}, one more");
            if let Some((_, fewer)) = identity.split_last() {
                let elsewhere = RowId { kind, identity: fewer };
                assert!(vault.open(elsewhere, &sealed).is_err() && elsewhere.key() != place.key(), "{place:?}, fewer");
            }
        }
    }
}

/// Item 33: every value has a nonce of its own, fresh from the host, even for the same row with the same content.
///
/// The bound: nonces are 192 random bits, so that after 2^48 seals under one key (a thousand a second for nine thousand
/// years) two of them are the same with a probability of about 2^-97. So many cannot be tried: what is tried is that none is
/// made of the row, the content or the one before, nor used again.
#[test]
fn no_nonce_comes_twice() {
    let world = crate::tests::World::local();
    let broker = crate::broker::Broker::new(&world);
    const MANY: usize = 50_000;
    let mut nonces = std::collections::HashSet::with_capacity(MANY);
    for _ in 0..MANY {
        let sealed = broker.vault().seal(ANN, &()).unwrap();
        let nonce: [u8; 24] = sealed[4..28].try_into().unwrap();
        assert!(nonces.insert(nonce));
    }
}

/// Item 33: all 192 bits of a nonce are those that the random source gave for it.
#[test]
fn a_nonce_is_24_bytes_of_the_random_source() {
    let world = crate::tests::World::local();
    let broker = crate::broker::Broker::new(&world);
    let before = world.drawn.borrow().len();
    let sealed = broker.vault().seal(ANN, &()).unwrap();
    let drawn = world.drawn.borrow();
    assert_eq!(drawn[before..].concat(), sealed[4..28]);
}

/// Item 31: neither another subject's row, nor another kind, nor another service, nor another account.
#[test]
fn a_row_that_was_moved_does_not_open() {
    let vault = vault(KEYS);
    let sealed = vault.seal(ANN, b"a token", [7; 24]);
    let elsewhere: [RowId; 5] = [
        BOB,
        RowId { kind: RowKind::RefreshWait, ..ANN },
        RowId { identity: &["ann", "gitlab", ""], ..ANN },
        RowId { identity: &["ann", "github", "work"], ..ANN },
        // The same letters, divided in another way.
        RowId { identity: &["anng", "ithub", ""], ..ANN },
    ];
    for place in elsewhere {
        assert_eq!(vault.open(place, &sealed), Err(OpenError::Broken), "{place:?}");
        assert_ne!(place.key(), ANN.key());
    }
}

#[test]
fn a_truncated_or_unsealed_value_does_not_open() {
    let vault = vault(KEYS);
    let sealed = vault.seal(ANN, b"a token", [7; 24]);
    for length in 0..sealed.len() {
        assert!(vault.open(ANN, &sealed[..length]).is_err(), "{length}");
    }
    assert_eq!(vault.open(ANN, b"{\"access_token\":\"plain\"}"), Err(OpenError::Broken));
}

/// Item 32: the first key seals, all open, and the key id says which.
#[test]
fn an_older_key_still_opens_and_the_first_one_seals() {
    let sealed_with_old = vault(OLD).seal(ANN, b"a token", [7; 24]);
    let both = vault(KEYS);
    assert_eq!(*both.open(ANN, &sealed_with_old).unwrap(), b"a token");
    assert_eq!(vault(OLD).open(ANN, &both.seal(ANN, b"a token", [7; 24])), Err(OpenError::UnknownKey("new".into())));
}

/// Item 31: the key id is authenticated, so a value cannot be given to another key.
#[test]
fn the_key_id_cannot_be_exchanged() {
    let same_key_twice = vault(&KEYS.replace("new:AAEC", "new:AQEC"));
    let mut sealed = vault(OLD).seal(ANN, b"a token", [7; 24]);
    sealed[2..5].copy_from_slice(b"new");
    assert_eq!(same_key_twice.open(ANN, &sealed), Err(OpenError::Broken));
}

#[test]
fn each_subject_has_a_sealing_key_of_its_own_that_comes_back() {
    let vault = vault(KEYS);
    assert_eq!(vault.sealing_key("ann"), vault.sealing_key("ann"));
    assert_ne!(vault.sealing_key("ann"), vault.sealing_key("bob"));
    assert_ne!(vault.sealing_key("ann"), self::vault(OLD).sealing_key("ann"));
}

/// Item 35: the holder of a subject's sealing key has neither an encryption key, nor the key of the vault, nor that of
/// another subject: each is an HMAC of its own under a key that stays here, and the key's name says nothing.
#[test]
fn a_sealing_key_opens_nothing_but_what_its_gateway_has_sealed() {
    use hmac::{Hmac, KeyInit, Mac};
    let vault = vault(KEYS);
    let master: Vec<u8> = (0..32).collect();
    let under = |key: &[u8], fields: &[&str]| {
        let mut mac = Hmac::<sha2::Sha256>::new_from_slice(key).unwrap();
        for field in fields {
            mac.update(&(field.len() as u64).to_be_bytes());
            mac.update(field.as_bytes());
        }
        <[u8; 32]>::from(mac.finalize().into_bytes())
    };
    let ann = *vault.sealing_key("ann");
    assert_eq!(ann, under(&master, &["gatehouse.sealing-key.v1", "ann"]));
    assert_eq!(ann, *self::vault(&KEYS.replace("new:", "named-otherwise:")).sealing_key("ann"));
    let mut all = vec![master.clone().try_into().unwrap(), under(&master, &["gatehouse.vault.v1", ""])];
    all.extend(
        ["", "ann", "an", "ann ", "Ann", "bob", "gatehouse.vault.v1"].map(|subject| *vault.sealing_key(subject)),
    );
    all.extend(["bob", "ann"].map(|subject| under(&ann, &["gatehouse.sealing-key.v1", subject])));
    let different: std::collections::BTreeSet<[u8; 32]> = all.iter().copied().collect();
    assert_eq!(different.len(), all.len());
    // Nor does it open a row.
    let sealed = vault.seal(ANN, b"a token", [7; 24]);
    let opened = |key: [u8; 32]| {
        let cipher = XChaCha20Poly1305::new(&key.into());
        let aad = ANN.associated_data("new");
        cipher.decrypt(&XNonce::from([7; 24]), Payload { msg: &sealed[29..], aad: &aad }).is_ok()
    };
    assert!(!opened(ann) && opened(under(&master, &["gatehouse.vault.v1", ""])));
}

/// Item 30: a key of the store is a kind and a digest.
#[test]
fn a_row_key_tells_nothing_but_its_kind() {
    let key = ANN.key();
    assert_eq!((key.len(), &key[..4]), (4 + 43, "b.c."));
    assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
    assert!(!key.contains("ann") && !key.contains("github"));
}

#[test]
fn malformed_keys_are_refused_without_being_shown() {
    for bad in ["", "secret", "a:secret", "a:AAEC", &format!("{OLD},{OLD}"), &format!("{OLD},"), "a b:AAEC"] {
        let problem = Keyring::parse(bad).err().unwrap();
        assert!(problem.starts_with("entry ") && !problem.contains("secret") && !problem.contains("AQEC"), "{problem}");
    }
}

/// A fixed sequence that looks like chance.
struct Dice(u64);

impl Dice {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) as usize % end
    }

    fn word(&mut self) -> String {
        (0..self.below(6)).map(|_| char::from(b'a' + self.below(3) as u8)).collect()
    }
}
