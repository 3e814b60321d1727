//! Writes the output of components to the console and to files.
//!
//! As with `spin up`: appended to `<component>_stdout.txt` and `<component>_stderr.txt` in the log folder, and to the
//! console's stderr. A test can take a copy of everything, the host's own lines included, to search it for secrets.

use anyhow::{Context, Result};
use bytes::Bytes;
use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::Poll;
use tokio::io::AsyncWrite;
use wasmtime_wasi::cli::{IsTerminal, StdoutStream};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};

/// Everything that an app wrote, in memory. Clones share it.
#[derive(Clone, Default)]
pub struct Capture(Arc<Mutex<Vec<u8>>>);

impl Capture {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner())).into_owned()
    }

    fn write(&self, bytes: &[u8]) {
        self.0.lock().unwrap_or_else(|poisoned| poisoned.into_inner()).extend_from_slice(bytes);
    }
}

/// The host's own lines.
#[derive(Clone)]
pub struct HostLog {
    pub quiet: bool,
    pub capture: Option<Capture>,
}

impl HostLog {
    pub fn line(&self, text: impl std::fmt::Display) {
        let line = format!("{text}\n");
        if !self.quiet {
            eprint!("{line}");
        }
        if let Some(capture) = &self.capture {
            capture.write(line.as_bytes());
        }
    }

    /// The stdout and stderr of one component.
    pub fn component(&self, id: &str, dir: Option<&Path>) -> Result<[GuestOutput; 2]> {
        let open = |suffix: &str| {
            let file = dir.map(|dir| {
                let path = dir.join(format!("{id}_{suffix}.txt"));
                File::options().create(true).append(true).open(&path).with_context(|| format!("cannot open {path:?}"))
            });
            Ok::<_, anyhow::Error>(GuestOutput(Arc::new(Target { file: file.transpose()?, host: self.clone() })))
        };
        Ok([open("stdout")?, open("stderr")?])
    }
}

#[derive(Clone)]
pub struct GuestOutput(Arc<Target>);

struct Target {
    file: Option<File>,
    host: HostLog,
}

impl GuestOutput {
    /// Writes at once: output is rare, and none is lost when the host ends.
    fn write_now(&self, bytes: &[u8]) {
        let Target { file, host } = &*self.0;
        if let Some(mut file) = file.as_ref() {
            // A full disk must not stop the component.
            let _ = file.write_all(bytes);
        }
        if !host.quiet {
            let _ = std::io::stderr().write_all(bytes);
        }
        if let Some(capture) = &host.capture {
            capture.write(bytes);
        }
    }
}

impl IsTerminal for GuestOutput {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for GuestOutput {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        Box::new(self.clone())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(self.clone())
    }
}

impl OutputStream for GuestOutput {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        self.write_now(&bytes);
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(1 << 20)
    }
}

#[async_trait::async_trait]
impl Pollable for GuestOutput {
    async fn ready(&mut self) {}
}

impl AsyncWrite for GuestOutput {
    fn poll_write(self: Pin<&mut Self>, _: &mut std::task::Context<'_>, bytes: &[u8]) -> Poll<std::io::Result<usize>> {
        self.write_now(bytes);
        Poll::Ready(Ok(bytes.len()))
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, _: &mut std::task::Context<'_>) -> Poll<std::io::Result<()>> {
        Poll::Ready(Ok(()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn output_reaches_the_file_and_the_capture() {
        let dir = tempfile::tempdir().unwrap();
        let log = HostLog { quiet: true, capture: Some(Capture::default()) };
        let [stdout, stderr] = log.component("broker", Some(dir.path())).unwrap();
        stdout.write_now(b"out\n");
        stderr.write_now(b"err\n");
        log.line("host");
        assert_eq!(log.capture.unwrap().text(), "out\nerr\nhost\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("broker_stdout.txt")).unwrap(), "out\n");
        assert_eq!(std::fs::read_to_string(dir.path().join("broker_stderr.txt")).unwrap(), "err\n");
    }
}
