//! Runs the program as `cargo run` does: it builds, serves at the port that it is told, and shows no other.

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
        for line in lines.by_ref().take(6) {
            printed += &(line.unwrap() + "\n");
        }
        let open = printed.split("Gatehouse is open at http://").nth(1).unwrap();
        let address = open.split(". ").next().unwrap().to_owned();
        Self { child, printed, address }
    }

    /// The head and the body of the answer to a request with these header fields.
    fn send(&self, method: &str, path: &str, fields: &str, body: &str) -> (String, String) {
        let mut stream = TcpStream::connect(&self.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(30))).unwrap();
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n", self.address);
        write!(stream, "{head}{fields}Content-Length: {}\r\n\r\n{body}", body.len()).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        (head.to_owned(), body.to_owned())
    }

    fn get(&self, path: &str) -> String {
        let (head, body) = self.send("GET", path, "Accept: text/html\r\n", "");
        assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}\n{body}");
        body
    }

    /// Where the button of the page that connects `service` leads.
    fn press_connect(&self, service: &str) -> String {
        let path = format!("/auth/{service}");
        let (head, page) = self.send("GET", &path, "Accept: text/html\r\n", "");
        let cookie = head.lines().find_map(|line| line.strip_prefix("set-cookie: ")?.split(';').next()).unwrap();
        let ticket = page.split("name=\"ticket\" value=\"").nth(1).unwrap().split('"').next().unwrap();
        let fields = format!(
            "Accept: text/html\r\nCookie: {cookie}\r\nOrigin: http://{}\r\nSec-Fetch-Site: same-origin\r\n\
             Content-Type: application/x-www-form-urlencoded\r\n",
            self.address
        );
        self.send("POST", &path, &fields, &format!("ticket={ticket}")).1
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

    for path in ["/", "/mcp", "/mcp/servers", "/connections", "/auth/demo"] {
        let body = gatehouse.get(path);
        assert!(!body.contains(":3000"), "{path}: {body}");
    }
    let connect_url = format!(r#""connect_url":"http://{}/auth/demo""#, gatehouse.address);
    assert!(gatehouse.get("/connections").contains(&connect_url));
    let leads_on = gatehouse.press_connect("demo");
    let redirect_uri = format!("redirect_uri=http%3A%2F%2F{}%2Fcallback%2Fdemo", gatehouse.address.replace(':', "%3A"));
    assert!(leads_on.contains(&redirect_uri), "{redirect_uri}: {leads_on}");
    let built: Vec<_> = std::fs::read_dir(elsewhere.path()).unwrap().collect();
    assert!(built.is_empty(), "the components were built where the manifest does not look: {built:?}");
}
