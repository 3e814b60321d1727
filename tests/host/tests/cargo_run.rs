//! What a person gets from `cargo run`, by the program itself: it builds, serves at the port that they say, and every address
//! that it shows is that one.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

/// A running program. It ends with the test.
struct Gatehouse {
    child: Child,
    /// What it printed until it served.
    printed: String,
    address: String,
}

impl Gatehouse {
    /// Starts `cargo run -- --listen …` in `folder`, whose `.env` it makes. `target_dir` is what cargo is told.
    fn start(folder: &Path, target_dir: &Path) -> Self {
        let services = r#"oauth_clients={"demo":{"authorize_url":"http://127.0.0.1:9/authorize","token_url":"http://127.0.0.1:9/token","client_id":"c","client_secret":"s","scopes":[]}}"#;
        let mut child = Command::new(env!("CARGO_BIN_EXE_gatehouse"))
            .args(["--listen", "127.0.0.1:0", "--state-dir", "", "--variable", services, "--from"])
            .arg(root().join("spin.toml"))
            .current_dir(folder)
            .env("CARGO_TARGET_DIR", target_dir)
            .env_remove("SPIN_VARIABLE_PUBLIC_URL")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut printed = String::new();
        while !printed.contains("Stop it with Ctrl-C") {
            let line = lines.next().unwrap_or_else(|| panic!("it has ended: {printed}")).unwrap();
            printed += &(line + "\n");
        }
        // What follows is printed at once.
        for line in lines.by_ref().take(5) {
            printed += &(line.unwrap() + "\n");
        }
        let open = printed.split("Gatehouse is open at http://").nth(1).unwrap();
        let address = open.split(". ").next().unwrap().to_owned();
        Self { child, printed, address }
    }

    /// The status and the body of the answer.
    fn get(&self, path: &str) -> (u16, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }
}

impl Drop for Gatehouse {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize().unwrap()
}

/// R37: with another port than the `.env` names, and with another target directory than the manifest names.
#[test]
fn it_serves_at_the_port_that_is_asked_for_and_shows_no_other() {
    let folder = tempfile::tempdir().unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let gatehouse = Gatehouse::start(folder.path(), elsewhere.path());
    let env = std::fs::read_to_string(folder.path().join(".env")).unwrap();
    assert!(env.contains("PUBLIC_URL=http://127.0.0.1:3000"), "{env}");
    assert!(!gatehouse.address.ends_with(":3000"), "{}", gatehouse.printed);
    for what in ["Local mode is on", &format!("{}/mcp ", gatehouse.address)] {
        assert!(gatehouse.printed.contains(what), "{what}: {}", gatehouse.printed);
    }
    assert!(!gatehouse.printed.contains(":3000"), "{}", gatehouse.printed);

    for path in ["/", "/mcp/servers", "/connections", "/auth/demo"] {
        let (status, body) = gatehouse.get(path);
        assert_eq!(status, 200, "{path}: {body}");
        assert!(!body.contains(":3000"), "{path}: {body}");
    }
    let (_, connections) = gatehouse.get("/connections");
    let connect_url = format!(r#""connect_url":"http://{}/auth/demo""#, gatehouse.address);
    assert!(connections.contains(&connect_url), "{connections}");
    let built: Vec<_> = std::fs::read_dir(elsewhere.path()).unwrap().collect();
    assert!(built.is_empty(), "the components were built where the manifest does not look: {built:?}");
}
