//! Builds the components of a manifest.
//!
//! By the manifest's own `build.command`s, as with `spin build`. Cargo's lock makes it safe in many processes at once,
//! and what is fresh costs a glance at the sources.

use crate::manifest::Manifest;
use anyhow::{Context, Result, ensure};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// Runs every build command of the manifest that this process has not yet run, in the manifest's order of components.
pub fn build_components(manifest_path: &Path) -> Result<()> {
    static DONE: Mutex<BTreeSet<(PathBuf, String)>> = Mutex::new(BTreeSet::new());

    let manifest_path = std::path::absolute(manifest_path)?;
    let app_dir = manifest_path.parent().context("a manifest is in a folder")?;
    let manifest = Manifest::from_file(&manifest_path)?;
    // Held while building: whoever comes second waits for the result of the first.
    let mut done = DONE.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
    for component in manifest.components.values() {
        let Some(build) = &component.build else { continue };
        let workdir = app_dir.join(build.workdir.as_deref().unwrap_or(""));
        let workdir = workdir.canonicalize().with_context(|| format!("no such build workdir: {workdir:?}"))?;
        for command in build.commands() {
            if done.contains(&(workdir.clone(), command.clone())) {
                continue;
            }
            let status = Command::new("sh").arg("-c").arg(command).current_dir(&workdir).status();
            let status = status.with_context(|| format!("cannot run `{command}`"))?;
            ensure!(status.success(), "`{command}` failed");
            done.insert((workdir.clone(), command.clone()));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_command_runs_once_in_its_workdir() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir(dir.path().join("inner")).unwrap();
        let manifest = dir.path().join("spin.toml");
        std::fs::write(
            &manifest,
            "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n\
             [component.a]\nsource = \"a.wasm\"\n[component.a.build]\ncommand = \"echo run >> log\"\nworkdir = \"inner\"\n\
             [component.b]\nsource = \"b.wasm\"\n[component.b.build]\ncommand = [\"echo run >> log\", \"echo two >> log\"]\n\
             workdir = \"inner\"",
        )
        .unwrap();
        build_components(&manifest).unwrap();
        build_components(&manifest).unwrap();
        assert_eq!(std::fs::read_to_string(dir.path().join("inner/log")).unwrap(), "run\ntwo\n");
    }

    #[test]
    fn a_failed_command_is_an_error_that_names_it() {
        let dir = tempfile::tempdir().unwrap();
        let manifest = dir.path().join("spin.toml");
        std::fs::write(
            &manifest,
            "spin_manifest_version = 2\n[application]\nname = \"a\"\n[[trigger.http]]\nroute = \"/\"\ncomponent = \"a\"\n\
             [component.a]\nsource = \"a.wasm\"\n[component.a.build]\ncommand = \"exit 3\"",
        )
        .unwrap();
        assert!(build_components(&manifest).unwrap_err().to_string().contains("exit 3"));
    }
}
