//! The files that a component sees: copies of what its manifest names, in a private folder that is mounted read-only
//! at "/".

use crate::manifest::Files;
use anyhow::{Context, Result, bail, ensure};
use std::path::{Component, Path};

/// Copies the files that `mounts` name, relative to `app_dir`, into `root`.
pub fn copy(app_dir: &Path, mounts: &[Files], exclude: &[String], root: &Path) -> Result<()> {
    let exclude = exclude
        .iter()
        .map(|pattern| {
            glob::Pattern::new(pattern).with_context(|| format!("invalid exclude_files pattern {pattern:?}"))
        })
        .collect::<Result<Vec<_>>>()?;
    let copy = Copy { app_dir, exclude };
    for mount in mounts {
        match mount {
            Files::Pattern(pattern) => copy.pattern(pattern, root)?,
            Files::Placement { source, destination } => copy.placement(source, destination, root)?,
        }
    }
    Ok(())
}

struct Copy<'a> {
    app_dir: &'a Path,
    exclude: Vec<glob::Pattern>,
}

impl Copy<'_> {
    /// `"assets/*.json"`, or a path that keeps its place.
    fn pattern(&self, pattern: &str, root: &Path) -> Result<()> {
        let last = pattern.rsplit('/').next();
        ensure!(!matches!(last, Some("." | "..")), "the file pattern {pattern:?} can't end in . or ..");
        let path = self.app_dir.join(pattern);
        if path.is_dir() {
            self.glob(&path.join("**/*"), self.app_dir, root)
        } else if path.exists() {
            self.file(&path, &inside(root, pattern)?)
        } else if glob::Pattern::escape(pattern) != pattern {
            self.glob(&path, self.app_dir, root)
        } else {
            bail!("{pattern:?} does not exist and doesn't appear to be a glob pattern")
        }
    }

    /// `{ source, destination }`, of a file or a whole folder.
    fn placement(&self, source: &str, destination: &str, root: &Path) -> Result<()> {
        let source = self.app_dir.join(source);
        let destination = inside(root, destination.trim_start_matches('/'))?;
        if source.is_dir() {
            self.glob(&source.join("**/*"), &source, &destination)
        } else {
            self.file(&source, &destination)
        }
    }

    fn glob(&self, pattern: &Path, strip: &Path, root: &Path) -> Result<()> {
        let pattern = pattern.to_str().context("a file pattern must be UTF-8")?;
        for path in glob::glob(pattern).with_context(|| format!("invalid file pattern {pattern:?}"))? {
            let path = path?;
            let in_app = path
                .strip_prefix(self.app_dir)
                .with_context(|| format!("{path:?} is outside the application's folder"))?;
            if path.is_file() && !self.exclude.iter().any(|exclude| exclude.matches_path(in_app)) {
                let relative = path.strip_prefix(strip)?;
                self.file(&path, &inside(root, &relative.to_string_lossy())?)?;
            }
        }
        Ok(())
    }

    fn file(&self, source: &Path, destination: &Path) -> Result<()> {
        ensure!(source.starts_with(self.app_dir), "{source:?} is outside the application's folder");
        std::fs::create_dir_all(destination.parent().context("a destination needs a folder")?)?;
        std::fs::copy(source, destination).with_context(|| format!("cannot copy {source:?} for the component"))?;
        Ok(())
    }
}

fn inside(root: &Path, relative: &str) -> Result<std::path::PathBuf> {
    let plain = Path::new(relative).components().all(|part| matches!(part, Component::Normal(_) | Component::CurDir));
    ensure!(plain, "the destination {relative:?} leaves the component's folder");
    Ok(root.join(relative))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn app() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("assets/deep")).unwrap();
        std::fs::write(dir.path().join("assets/a.json"), "a").unwrap();
        std::fs::write(dir.path().join("assets/deep/b.json"), "b").unwrap();
        dir
    }

    fn copied(mount: Files, exclude: &[&str]) -> Result<Vec<String>> {
        let (app, root) = (app(), tempfile::tempdir().unwrap());
        let exclude: Vec<_> = exclude.iter().map(|&e| e.to_owned()).collect();
        copy(app.path(), &[mount], &exclude, root.path())?;
        let mut found: Vec<_> = glob::glob(&format!("{}/**/*.json", root.path().display()))?
            .map(|path| path.unwrap().strip_prefix(root.path()).unwrap().display().to_string())
            .collect();
        found.sort();
        Ok(found)
    }

    #[test]
    fn a_placement_moves_one_file() {
        let mount = Files::Placement { source: "assets/a.json".into(), destination: "/servers.json".into() };
        assert_eq!(copied(mount, &[]).unwrap(), ["servers.json"]);
    }

    #[test]
    fn a_placement_moves_a_folder() {
        let mount = Files::Placement { source: "assets".into(), destination: "/".into() };
        assert_eq!(copied(mount, &[]).unwrap(), ["a.json", "deep/b.json"]);
    }

    #[test]
    fn a_pattern_keeps_places_and_honours_exclusion() {
        let mount = || Files::Pattern("assets/**/*".into());
        assert_eq!(copied(mount(), &[]).unwrap(), ["assets/a.json", "assets/deep/b.json"]);
        assert_eq!(copied(mount(), &["assets/deep/*"]).unwrap(), ["assets/a.json"]);
    }

    #[test]
    fn what_is_missing_or_would_leave_the_folder_is_refused() {
        assert!(copied(Files::Pattern("absent.json".into()), &[]).is_err());
        assert!(copied(Files::Pattern("assets/..".into()), &[]).is_err());
        let mount = Files::Placement { source: "assets/a.json".into(), destination: "/../x.json".into() };
        assert!(copied(mount, &[]).is_err());
    }
}
