use super::*;

const KEYS: &str = "new:AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=,old:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const OLD: &str = "old:AQECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
const ANN: Place = Place { kind: Kind::Connection, identity: &["ann", "github", ""] };
const BOB: Place = Place { kind: Kind::Connection, identity: &["bob", "github", ""] };

fn vault(keys: &str) -> Vault {
    Vault::parse(keys).ok().unwrap()
}

#[test]
fn what_was_sealed_opens_in_its_place() {
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

/// Item 31: neither another subject's row, nor another kind, nor another service, nor another account.
#[test]
fn a_row_that_was_moved_does_not_open() {
    let vault = vault(KEYS);
    let sealed = vault.seal(ANN, b"a token", [7; 24]);
    let elsewhere: [Place; 5] = [
        BOB,
        Place { kind: Kind::Wait, ..ANN },
        Place { identity: &["ann", "gitlab", ""], ..ANN },
        Place { identity: &["ann", "github", "work"], ..ANN },
        // The same letters, divided in another way.
        Place { identity: &["anng", "ithub", ""], ..ANN },
    ];
    for place in elsewhere {
        assert_eq!(vault.open(place, &sealed), Err(OpenError::Broken), "{place:?}");
        assert_ne!(place.key(), ANN.key());
    }
}

#[test]
fn what_is_cut_off_or_no_seal_at_all_does_not_open() {
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

/// Item 30: a key of the store is a kind and a digest.
#[test]
fn a_row_key_tells_nothing_but_its_kind() {
    let key = ANN.key();
    assert_eq!((key.len(), &key[..4]), (4 + 43, "b.c."));
    assert!(key.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte)));
    assert!(!key.contains("ann") && !key.contains("github"));
}

#[test]
fn keys_that_are_no_keys_are_refused_without_being_shown() {
    for bad in ["", "secret", "a:secret", "a:AAEC", &format!("{OLD},{OLD}"), &format!("{OLD},"), "a b:AAEC"] {
        let problem = Vault::parse(bad).err().unwrap();
        assert!(problem.starts_with("entry ") && !problem.contains("secret") && !problem.contains("AQEC"), "{problem}");
    }
}
