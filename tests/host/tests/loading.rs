//! What the host refuses to load, and what composition leaves open. With the smallest components there are, in binary
//! with their text beside them.

use gatehouse_host::{App, Folder, Options, inspect};
use std::path::Path;

/// `(component)`
const EMPTY: &[u8] = b"\0asm\x0d\0\x01\0";

/// `(component (import "acme:t/tokens@0.1.0" (instance (export "token" (func (result u32))))))`
const IMPORTER: &[u8] =
    b"\0asm\x0d\0\x01\0\x07\x12\x01B\x02\x01@\0\0y\x04\0\x05token\x01\0\x0a\x18\x01\0\x13acme:t/tokens@0.1.0\x05\0";

/// ```wat
/// (component
///   (core module (func (export "token") (result i32) i32.const 7))
///   (core instance (instantiate 0))
///   (func (result u32) (canon lift (core func 0 "token")))
///   (instance (export "token" (func 0)))
///   (export "acme:t/tokens@0.1.0" (instance 0)))
/// ```
const EXPORTER: &[u8] = b"\0asm\x0d\0\x01\0\x01&\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x07\x09\x01\
    \x05token\0\0\x0a\x06\x01\x04\0A\x07\x0b\x02\x04\x01\0\0\0\x07\x05\x01@\0\0y\x06\x0b\x01\0\0\x01\0\x05token\
    \x08\x06\x01\0\0\0\0\0\x05\x0c\x01\x01\x01\0\x05token\x01\0\x0b\x19\x01\0\x13acme:t/tokens@0.1.0\x05\0\0";

/// The same, with `(import "fermyon:spin/variables@2.0.0" (instance))` before all else.
const EXPORTER_WITH_VARIABLES: &[u8] = b"\0asm\x0d\0\x01\0\x07\x03\x01B\0\x0a!\x01\0\x1cfermyon:spin/variables@2.0.0\
    \x05\0\x01&\0asm\x01\0\0\0\x01\x05\x01`\0\x01\x7f\x03\x02\x01\0\x07\x09\x01\x05token\0\0\x0a\x06\x01\x04\0A\x07\x0b\
    \x02\x04\x01\0\0\0\x07\x05\x01@\0\0y\x06\x0b\x01\0\0\x01\0\x05token\x08\x06\x01\0\0\0\0\x01\x05\x0c\x01\x01\x01\0\
    \x05token\x01\0\x0b\x19\x01\0\x13acme:t/tokens@0.1.0\x05\x01\0";

/// Loads an app of `main`, with a route that needs no component. `more` goes on where `[component.main]` is open.
fn load(main: &[u8], dependency: &[u8], more: &str) -> Result<App, String> {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("main.wasm"), main).unwrap();
    std::fs::write(dir.path().join("dependency.wasm"), dependency).unwrap();
    let manifest = format!(
        "spin_manifest_version = 2\n[application]\nname = \"app\"\n\
         [[trigger.http]]\nroute = \"/\"\nstatic_response = {{ body = \"static\" }}\n\
         [component.main]\nsource = \"main.wasm\"\n{more}"
    );
    std::fs::write(dir.path().join("spin.toml"), manifest).unwrap();
    let options = Options { state_dir: Folder::None, quiet: true, ..Options::default() };
    App::load(&dir.path().join("spin.toml"), options).map_err(|error| format!("{error:#}"))
}

fn plug(dependency: &[u8], name: &str, inherit: &str) -> Result<App, String> {
    let table = format!("{{ path = \"dependency.wasm\", inherit_configuration = {inherit} }}");
    load(IMPORTER, dependency, &format!("[component.main.dependencies]\n{name:?} = {table}"))
}

fn refusal(loaded: Result<App, String>) -> String {
    loaded.err().expect("must be refused")
}

#[test]
fn an_import_that_nobody_offers_is_refused() {
    let error = refusal(load(IMPORTER, EMPTY, ""));
    assert!(error.contains("acme:t/tokens"), "{error}");
}

#[test]
fn a_dependency_satisfies_the_import() {
    plug(EXPORTER, "acme:t/tokens@0.1.0", "true").unwrap();
    plug(EXPORTER, "acme:t", "false").unwrap();
}

#[test]
fn a_dependency_that_does_not_fit_is_refused() {
    assert!(refusal(plug(EXPORTER, "acme:other/tokens", "true")).contains("matches no import"));
    assert!(refusal(plug(EXPORTER, "acme:t/tokens@0.2.0", "true")).contains("matches no import"));
    assert!(refusal(plug(EMPTY, "acme:t/tokens", "true")).contains("does not export"));
    // `y` is u32 and `z` is s32 in the binary form.
    let returns_s32: Vec<_> = EXPORTER.iter().map(|&byte| if byte == b'y' { b'z' } else { byte }).collect();
    assert!(refusal(plug(&returns_s32, "acme:t/tokens", "true")).contains("does not fit"));
}

#[test]
fn a_dependency_may_import_only_what_it_inherits() {
    let plug = |inherit| plug(EXPORTER_WITH_VARIABLES, "acme:t/tokens", inherit);
    plug("true").unwrap();
    plug("[\"variables\"]").unwrap();
    assert!(refusal(plug("[]")).contains("does not inherit \"variables\""));
    assert!(refusal(plug("[\"key_value_stores\"]")).contains("does not inherit \"variables\""));
}

#[test]
fn a_label_without_a_backend_is_refused() {
    load(EMPTY, EMPTY, "key_value_stores = [\"default\"]").unwrap();
    let error = refusal(load(EMPTY, EMPTY, "key_value_stores = [\"broker\"]"));
    assert!(error.contains("unknown key_value_stores label \"broker\""), "{error}");
}

#[test]
fn a_component_with_a_trigger_must_answer_http() {
    let error = refusal(load(EMPTY, EMPTY, "[[trigger.http]]\nroute = \"/main\"\ncomponent = \"main\""));
    assert!(error.contains("wasi:http/incoming-handler"), "{error}");
}

#[test]
fn an_allowed_host_that_is_malformed_is_refused() {
    assert!(load(EMPTY, EMPTY, "allowed_outbound_hosts = [\"self\"]").is_err());
}

#[test]
fn a_component_that_is_not_built_is_named() {
    assert!(refusal(load(EMPTY, EMPTY, "[component.other]\nsource = \"absent.wasm\"")).contains("absent.wasm"));
}

#[test]
fn the_imports_and_exports_of_a_file_can_be_read() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("c.wasm");
    std::fs::write(&path, EXPORTER_WITH_VARIABLES).unwrap();
    let interfaces = inspect(&path).unwrap();
    assert_eq!(interfaces.imports, ["fermyon:spin/variables@2.0.0"]);
    assert_eq!(interfaces.exports, ["acme:t/tokens@0.1.0"]);
    assert!(inspect(Path::new("absent.wasm")).is_err());
}

#[tokio::test]
async fn an_app_serves_its_routes_and_stops() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let running = load(EMPTY, EMPTY, "").unwrap().serve("127.0.0.1:0").await.unwrap();
    let address = running.address();
    let get = async |path: &str| {
        let mut stream = tokio::net::TcpStream::connect(address).await?;
        stream.write_all(format!("GET {path} HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n").as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    assert!(get("/").await.unwrap().ends_with("\r\n\r\nstatic"));
    assert!(get("/.well-known/spin/health").await.unwrap().ends_with("\r\n\r\nOK"));
    assert!(get("/absent").await.unwrap().starts_with("HTTP/1.1 404"));
    running.shutdown(std::time::Duration::from_secs(1)).await;
    assert!(get("/").await.is_err(), "the port is closed");
}
