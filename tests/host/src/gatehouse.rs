//! What `cargo run` does beside what plain Spin does.
//!
//! It makes a fresh clone ready: the wasm target is there, and so is a `.env` with secrets of its own, which
//! `spin up` reads too. It makes the person at this machine the owner. Then it says what to open.

use anyhow::{Context, Result, ensure};
use base64ct::{Base64, Base64UrlUnpadded, Encoding};
use gatehouse_host::{App, Options};
use http_auth::Origin;
use sha2::{Digest, Sha256};
use std::io::Write;
use std::net::SocketAddr;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::Command;

/// Makes sure that cargo can build for `wasm32-wasip2`.
pub fn ensure_wasm_target() -> Result<()> {
    let libraries = Command::new("rustc").args(["--print", "target-libdir", "--target", TARGET]).output();
    let libraries = libraries.context("rustc does not run: is Rust installed? See https://rustup.rs")?;
    if libraries.status.success() && Path::new(String::from_utf8_lossy(&libraries.stdout).trim()).is_dir() {
        return Ok(());
    }
    eprintln!("installing the Rust target {TARGET}");
    let added = Command::new("rustup").args(["target", "add", TARGET]).status();
    ensure!(
        added.is_ok_and(|status| status.success()),
        "the Rust target {TARGET} is missing and could not be installed.\n\
         With rustup, type:  rustup target add {TARGET}\n\
         Without it, install the package of your system that has Rust's {TARGET} standard library."
    );
    Ok(())
}

/// Writes a `.env` with fresh secrets, unless there is one: that is never touched. Gives the new API key, which is
/// written nowhere.
pub fn create_env(path: &Path) -> Result<Option<String>> {
    let file = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
    let mut file = match file {
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(None),
        file => file.with_context(|| format!("cannot create {path:?}"))?,
    };
    let encryption_key = Base64::encode_string(&random::<32>()?);
    let service_key = format!("gsk_{}", Base64UrlUnpadded::encode_string(&random::<32>()?));
    let api_key = format!("gak_{}", Base64UrlUnpadded::encode_string(&random::<32>()?));
    let passphrase = passphrase()?;
    let (service_hash, api_hash) = (hash(&service_key), hash(&api_key));
    write!(
        file,
        "# The secrets of this Gatehouse, made once by `cargo run`. Keep this file, and keep it to yourself.\n\
         \n\
         # The address that people and clients open: this machine. Others reach Gatehouse by the https address of a proxy.\n\
         SPIN_VARIABLE_PUBLIC_URL=http://{DEFAULT_ORIGIN}\n\
         \n\
         # Encrypts what the broker stores, as id:key. Without it, every connection is lost. To rotate, put a new one\n\
         # before it, separated by a comma: the first encrypts, all decrypt.\n\
         SPIN_VARIABLE_ENCRYPTION_KEYS=k1:{encryption_key}\n\
         \n\
         # The gateway proves itself to the broker with this key; the broker knows its SHA-256.\n\
         SPIN_VARIABLE_GATEWAY_SERVICE_KEY={service_key}\n\
         SPIN_VARIABLE_SERVICE_KEYS=gateway:{service_hash}\n\
         \n\
         # Your API key for scripts was shown once, when this file was made. This is its SHA-256. To make one of another\n\
         # key: `cargo run -- hash`. A comma adds it.\n\
         SPIN_VARIABLE_API_KEYS=owner:{api_hash}\n\
         \n\
         # Signs you in, in a browser, outside of local mode.\n\
         SPIN_VARIABLE_OWNER_PASSPHRASE={passphrase}\n"
    )
    .with_context(|| format!("cannot write {path:?}"))?;
    Ok(Some(api_key))
}

/// The form in which keys of services and scripts are configured.
pub fn hash(key: &str) -> String {
    Sha256::digest(key.as_bytes()).iter().map(|byte| format!("{byte:02x}")).collect()
}

pub fn announce_env(path: &Path, api_key: &str) {
    println!("created {} with fresh secrets; it is yours to keep", path.display());
    println!("your API key for scripts, shown this once: {api_key}");
}

/// Who can reach an app, and as whom.
pub struct Reach {
    /// `None` if the manifest has no such variable.
    public_url: Option<String>,
    is_local_mode: bool,
}

/// Turns local mode on for an app that nobody but the person at this machine can reach, unless they have set `local_owner`.
/// In local mode, `public_url` names the port of `listening`, unless the person has set it on the command line: the `.env`
/// does not know what `--listen` says.
///
/// Errors: the manifest asks for a `public_url`, and nobody has set it.
pub fn settle(manifest: &Path, listening: SocketAddr, options: &mut Options) -> Result<Reach> {
    let variables = App::variables(manifest, options)?;
    let given = |name| variables.get(name).and_then(Option::as_deref);
    let mut public_url = given("public_url").map(str::to_owned);
    ensure!(
        public_url.is_some() || !variables.contains_key("public_url"),
        "the variable public_url has no value: it is the address that people and clients open.\n\
         For this machine, add this line to .env:\n\n    SPIN_VARIABLE_PUBLIC_URL=http://{DEFAULT_ORIGIN}\n\n\
         Where others reach it, set it to the https address that they open."
    );
    let is_local_mode = match given("local_owner") {
        Some(set) => set.trim() == "true",
        None => {
            let is_ours = |url: &str| Origin::parse(url).is_some_and(|origin| origin.is_loopback());
            let are_ours = ["public_url", "gateway_url"].into_iter().filter_map(given).all(is_ours);
            let is_on = are_ours && variables.contains_key("local_owner");
            if is_on {
                options.variables.push(("local_owner".to_owned(), "true".to_owned()));
            }
            is_on
        }
    };
    let is_chosen = options.variables.iter().any(|(name, _)| name == "public_url");
    if let Some(own) = public_url.as_deref().filter(|_| is_local_mode && !is_chosen).and_then(|url| at(url, listening))
    {
        options.variables.push(("public_url".to_owned(), own.clone()));
        public_url = Some(own);
    }
    Ok(Reach { public_url, is_local_mode })
}

/// Warns of names that are misspelt: a variable that the app does not have changes nothing. A `.env` may have variables of
/// other manifests, so there only a name that is nearly one of this app's is called wrong.
pub fn warn_of_unknown_names(manifest: &Path, dotenv: &Path, options: &Options) -> Result<()> {
    let declared: Vec<_> = App::variables(manifest, options)?.into_keys().collect();
    let given = options.variables.iter().map(|(name, _)| name).filter(|name| !declared.contains(name));
    for name in given {
        eprintln!("warning: --variable {name} changes nothing: this app has no variable of that name");
    }
    let Ok(entries) = dotenvy::from_path_iter(dotenv) else { return Ok(()) };
    for (key, _) in entries.map_while(Result::ok) {
        if let Some(meant) = meant(&key, &declared) {
            eprintln!("warning: {key} in {} changes nothing. Is {meant} meant?", dotenv.display());
        }
    }
    Ok(())
}

/// The key that is probably meant by `key`, which sets no declared variable; `None` if it sets one or is like none.
fn meant(key: &str, declared: &[String]) -> Option<String> {
    let name = key.strip_prefix(PREFIX).unwrap_or(key).to_lowercase();
    let nearest = declared.iter().min_by_key(|known| strsim::levenshtein(known, &name))?;
    let meant = format!("{PREFIX}{}", nearest.to_uppercase());
    (strsim::levenshtein(nearest, &name) <= 2 && meant != key).then_some(meant)
}

/// `url`, an http address of this machine, at the port of `listening`; `None` if it names that port already, or is another
/// kind of address.
fn at(url: &str, listening: SocketAddr) -> Option<String> {
    let origin = Origin::parse(url).filter(|origin| origin.is_loopback() && !origin.is_https())?;
    if origin.port() == listening.port() {
        return None;
    }
    let port = listening.port();
    // `localhost` stands for both kinds of address.
    Some(match listening.ip().is_loopback() && origin.host() != "localhost" {
        true => format!("http://{listening}"),
        false => format!("http://{}:{port}", origin.host()),
    })
}

/// What to open and type next, as far as the app has it: the broker and the gateway can be served apart.
pub fn announce(listening: SocketAddr, components: &[&str], reach: &Reach) {
    let (url, returns_to) = addresses(listening, reach.public_url.as_deref());
    println!();
    println!("Gatehouse is open at {url}. Stop it with Ctrl-C.");
    if components.contains(&"oauth-broker") {
        println!("  open     {url}/             to connect your services");
        println!("  check    curl {url}/health");
    }
    if components.contains(&"mcp-gateway") {
        println!("  servers  {url}/mcp/servers  to see each server's state, and what is wrong with its entry");
        println!("  add      {url}/mcp          to your MCP client, as a Streamable HTTP server");
    }
    if reach.is_local_mode {
        println!(
            "Local mode is on: anyone who opens it on this machine is the owner, without a login. Put no proxy before it."
        );
        println!("  turn it off with --variable local_owner=false");
    }
    if let Some(returns_to) = returns_to {
        println!("Sign-ins return to {returns_to}, not here. Change that: --variable public_url={url}");
    }
}

/// The address that a person opens, and the address to which sign-ins return if that is another one of this machine.
fn addresses(listening: SocketAddr, public_url: Option<&str>) -> (String, Option<&str>) {
    let public_url = public_url.map(|url| url.trim_end_matches('/'));
    let own = public_url.and_then(Origin::parse).filter(Origin::is_loopback);
    match (own, public_url) {
        (Some(own), Some(public_url)) if own.port() == listening.port() => (public_url.to_owned(), None),
        (Some(_), Some(public_url)) => (format!("http://{listening}"), Some(public_url)),
        _ => (format!("http://{listening}"), None),
    }
}

/// Five groups of four letters and digits that cannot be mistaken for each other: 100 bits.
fn passphrase() -> Result<String> {
    let symbols: Vec<_> = random::<20>()?.iter().map(|byte| char::from(SYMBOLS[usize::from(byte % 32)])).collect();
    Ok(symbols.chunks(4).map(String::from_iter).collect::<Vec<_>>().join("-"))
}

fn random<const N: usize>() -> Result<[u8; N]> {
    let mut bytes = [0; N];
    getrandom::fill(&mut bytes).context("the system gives no randomness")?;
    Ok(bytes)
}

const TARGET: &str = "wasm32-wasip2";
const PREFIX: &str = "SPIN_VARIABLE_";
const SYMBOLS: &[u8; 32] = b"abcdefghjkmnpqrstuvwxyz023456789";
/// Of the `public_url` in a new `.env`, and where `spin up` listens.
const DEFAULT_ORIGIN: &str = "127.0.0.1:3000";

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    fn value<'a>(text: &'a str, name: &str) -> &'a str {
        text.lines().find_map(|line| line.strip_prefix(&format!("SPIN_VARIABLE_{name}="))).unwrap()
    }

    #[test]
    fn a_new_env_has_every_secret_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        let api_key = create_env(&path).unwrap().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);

        let text = std::fs::read_to_string(&path).unwrap();
        let encryption = value(&text, "ENCRYPTION_KEYS").strip_prefix("k1:").unwrap();
        assert_eq!(Base64::decode_vec(encryption).unwrap().len(), 32);
        let service_key = value(&text, "GATEWAY_SERVICE_KEY");
        assert!(service_key.starts_with("gsk_"));
        assert_eq!(value(&text, "SERVICE_KEYS"), format!("gateway:{}", hash(service_key)));
        assert_eq!(value(&text, "API_KEYS"), format!("owner:{}", hash(&api_key)));
        assert_eq!(value(&text, "OWNER_PASSPHRASE").len(), 24);
        assert_eq!(value(&text, "PUBLIC_URL"), "http://127.0.0.1:3000");
        assert!(!text.contains("LOCAL_OWNER"), "a .env may end up on a server");
        assert!(!text.contains(&api_key), "the API key itself is shown once and not stored");
    }

    #[test]
    fn an_env_that_is_there_is_never_touched() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(".env");
        std::fs::write(&path, "mine").unwrap();
        assert!(create_env(&path).unwrap().is_none());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "mine");
    }

    /// What `settle` makes of variables on the command line: whether local mode is on, and what the app is given for it.
    fn settled(manifest: &str, variables: &[(&str, &str)]) -> Result<(bool, Option<String>)> {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").join(manifest);
        let pair = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        let mut options = Options { variables: variables.iter().map(pair).collect(), ..Options::default() };
        let reach = settle(&manifest, "127.0.0.1:3000".parse().unwrap(), &mut options)?;
        let passed = options.variables.into_iter().find(|(name, _)| name == "local_owner");
        Ok((reach.is_local_mode, passed.map(|(_, value)| value)))
    }

    /// A25: local mode is for an app that nobody else can reach, and for those who have not said otherwise.
    #[test]
    fn the_owner_is_at_this_machine_unless_others_reach_it_or_they_say_otherwise() {
        let on = (true, Some("true".to_owned()));
        for (manifest, variables, expected) in [
            ("spin.toml", &[("public_url", "http://127.0.0.1:3000")][..], on.clone()),
            ("spin.toml", &[("public_url", "http://localhost:4000/")], on.clone()),
            ("deploy/consolidated.toml", &[("public_url", "http://[::1]:3000")], on.clone()),
            ("deploy/broker.toml", &[("public_url", "http://127.0.0.1:3000")], on.clone()),
            ("deploy/demo.toml", &[], on),
            ("spin.toml", &[("public_url", "https://gatehouse.example.com")], (false, None)),
            ("spin.toml", &[("public_url", "nonsense")], (false, None)),
            (
                "deploy/broker.toml",
                &[("public_url", "http://127.0.0.1:3000"), ("gateway_url", "https://mcp.example.com")],
                (false, None),
            ),
            ("deploy/gateway.toml", &[], (false, None)),
            (
                "spin.toml",
                &[("public_url", "http://127.0.0.1:3000"), ("local_owner", "false")],
                (false, Some("false".to_owned())),
            ),
        ] {
            assert_eq!(settled(manifest, variables).unwrap(), expected, "{manifest} {variables:?}");
        }
    }

    /// R37: the `.env` says port 3000, and `--listen` another one.
    #[test]
    fn in_local_mode_the_public_url_names_the_port_that_is_listened_at() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../spin.toml");
        for (set, listening, expected) in [
            ("http://127.0.0.1:3000", "127.0.0.1:3011", Some("http://127.0.0.1:3011")),
            ("http://localhost:3000/", "127.0.0.1:3011", Some("http://localhost:3011")),
            ("http://localhost:3000", "[::1]:3011", Some("http://localhost:3011")),
            ("http://127.0.0.1:3000", "[::1]:3011", Some("http://[::1]:3011")),
            ("http://127.0.0.1:3000", "0.0.0.0:3011", Some("http://127.0.0.1:3011")),
            ("http://127.0.0.1:3000", "127.0.0.1:3000", None),
            ("https://gatehouse.example.com", "127.0.0.1:3011", None),
        ] {
            assert_eq!(at(set, listening.parse().unwrap()).as_deref(), expected, "{set} {listening}");
        }
        // What the person says themselves stays.
        let variables = vec![("public_url".to_owned(), "http://127.0.0.1:3000".to_owned())];
        let mut options = Options { variables: variables.clone(), ..Options::default() };
        let reach = settle(&manifest, "127.0.0.1:3011".parse().unwrap(), &mut options).unwrap();
        assert_eq!(reach.public_url.as_deref(), Some("http://127.0.0.1:3000"));
        assert_eq!(options.variables[..1], variables[..]);
    }

    /// R37: what is printed is an address that answers.
    #[test]
    fn what_is_printed_can_be_opened() {
        for (listening, public_url, expected) in [
            ("127.0.0.1:3011", Some("http://127.0.0.1:3011"), ("http://127.0.0.1:3011", None)),
            ("127.0.0.1:3011", Some("http://localhost:3011/"), ("http://localhost:3011", None)),
            ("0.0.0.0:3011", Some("http://127.0.0.1:3011"), ("http://127.0.0.1:3011", None)),
            ("127.0.0.1:3011", Some("http://127.0.0.1:3000"), ("http://127.0.0.1:3011", Some("http://127.0.0.1:3000"))),
            ("127.0.0.1:3011", Some("https://gatehouse.example.com"), ("http://127.0.0.1:3011", None)),
            ("127.0.0.1:3011", None, ("http://127.0.0.1:3011", None)),
        ] {
            let (url, returns_to) = addresses(listening.parse().unwrap(), public_url);
            assert_eq!((url.as_str(), returns_to), expected, "{listening} {public_url:?}");
        }
    }

    /// A25: a `.env` of before has no `public_url`.
    #[test]
    fn without_a_public_url_the_line_to_add_is_named() {
        for manifest in ["spin.toml", "deploy/broker.toml", "deploy/consolidated.toml"] {
            let error = settled(manifest, &[]).unwrap_err().to_string();
            assert!(error.contains("SPIN_VARIABLE_PUBLIC_URL=http://127.0.0.1:3000"), "{manifest}: {error}");
        }
    }

    #[test]
    fn a_misspelt_key_is_recognized_and_another_manifests_key_is_not() {
        let declared = ["oauth_clients", "api_keys", "public_url"].map(str::to_owned);
        for (key, expected) in [
            ("SPIN_VARIABLE_OAUTH_CLIENTS", None),
            ("SPIN_VARIABLE_OAUTH_CLIENT", Some("SPIN_VARIABLE_OAUTH_CLIENTS")),
            ("SPIN_VARIABLE_oauth_clients", Some("SPIN_VARIABLE_OAUTH_CLIENTS")),
            ("OAUTH_CLIENTS", Some("SPIN_VARIABLE_OAUTH_CLIENTS")),
            ("SPIN_VARIABLE_GATEWAY_SERVICE_KEY", None),
            ("PATH", None),
        ] {
            assert_eq!(meant(key, &declared).as_deref(), expected, "{key}");
        }
    }

    #[test]
    fn no_two_are_alike() {
        let dir = tempfile::tempdir().unwrap();
        let [a, b] = ["a", "b"].map(|name| create_env(&dir.path().join(name)).unwrap().unwrap());
        assert_ne!(a, b);
    }

    #[test]
    fn a_hash_is_lower_hex_sha256() {
        assert_eq!(hash("abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }
}
