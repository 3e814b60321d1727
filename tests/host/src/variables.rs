//! The values of variables, and what a component sees of them.
//!
//! A value comes from the first of: `--variable`, the runtime config's providers in their order, the environment
//! `SPIN_VARIABLE_<NAME>`, `.env` in the current folder, the manifest's default. A component sees only what its own
//! `variables` table maps, through templates such as `"{{ public_url }}"`.
//!
//! Spin asks its providers at every `get`. The ones offered here cannot change while the host runs, so each variable
//! is resolved once.

use crate::manifest::Manifest;
use anyhow::{Context, Result, bail, ensure};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

/// Every variable of the app with its value, and every component's own table.
pub struct Variables {
    values: BTreeMap<String, String>,
    components: HashMap<String, HashMap<String, Template>>,
}

impl Variables {
    pub fn resolve(manifest: &Manifest, providers: &[Provider]) -> Result<Self> {
        let mut values = BTreeMap::new();
        let mut missing = Vec::new();
        for (name, variable) in &manifest.variables {
            let mut value = variable.default.clone();
            for provider in providers {
                if let Some(provided) = provider.get(&name.0)? {
                    value = Some(provided);
                    break;
                }
            }
            match value {
                Some(value) => drop(values.insert(name.0.clone(), value)),
                None => missing.push(name.0.as_str()),
            }
        }
        ensure!(
            missing.is_empty(),
            "required variables have no value: {}. In .env or the environment, set SPIN_VARIABLE_ and the name in capitals",
            missing.join(", ")
        );

        let mut variables = Self { values, components: HashMap::new() };
        for (id, component) in &manifest.components {
            let mut table = HashMap::new();
            for (name, template) in &component.variables {
                let context = || format!("variable {:?} of component {:?}", name.0, id.0);
                let template = Template::parse(template).with_context(context)?;
                variables.expand(&template).with_context(context)?;
                table.insert(name.0.clone(), template);
            }
            variables.components.insert(id.0.clone(), table);
        }
        Ok(variables)
    }

    pub fn expand(&self, template: &Template) -> Result<String> {
        let mut expanded = String::new();
        for part in &template.parts {
            match part {
                Part::Literal(literal) => expanded.push_str(literal),
                Part::Variable(name) => {
                    expanded.push_str(self.values.get(name).with_context(|| format!("unknown variable {name:?}"))?)
                }
            }
        }
        Ok(expanded)
    }

    /// What `component` reads under `name`; `None` if its table does not map that name.
    pub fn get(&self, component: &str, name: &str) -> Option<String> {
        let template = self.components.get(component)?.get(name)?;
        self.expand(template).ok()
    }
}

/// Spin's rule for the names that a component may ask for, or what is wrong with `name`.
pub fn check_name(name: &str) -> Result<()> {
    ensure!(!name.is_empty(), "{name:?}: must not be empty");
    if let Some(invalid) = name.chars().find(|c| !(c.is_ascii_lowercase() || c.is_ascii_digit() || *c == '_')) {
        bail!("{name:?}: invalid character {invalid:?}");
    }
    ensure!(name.starts_with(|c: char| c.is_ascii_lowercase()), "{name:?}: must start with a lowercase ASCII letter");
    ensure!(!name.ends_with('_'), "{name:?}: must end with a lowercase ASCII letter or digit");
    ensure!(!name.contains("__"), "{name:?}: must not contain multiple consecutive underscores");
    Ok(())
}

/// Text with `{{ name }}` in it.
#[derive(Debug, PartialEq)]
pub struct Template {
    parts: Vec<Part>,
}

#[derive(Debug, PartialEq)]
enum Part {
    Literal(String),
    Variable(String),
}

impl Template {
    pub fn parse(text: &str) -> Result<Self> {
        let mut parts = Vec::new();
        let mut rest = text;
        while let Some((literal, after)) = rest.split_once("{{") {
            let (name, after) = after.split_once("}}").context("unmatched '{{' in template")?;
            if !literal.is_empty() {
                parts.push(Part::Literal(literal.to_owned()));
            }
            parts.push(Part::Variable(name.trim().to_owned()));
            rest = after;
        }
        if !rest.is_empty() {
            parts.push(Part::Literal(rest.to_owned()));
        }
        Ok(Self { parts })
    }

    pub fn is_literal(&self) -> bool {
        self.parts.iter().all(|part| matches!(part, Part::Literal(_)))
    }
}

/// Where values come from.
pub enum Provider {
    Static(HashMap<String, String>),
    Environment { prefix: String, dotenv: HashMap<String, String> },
}

impl Provider {
    /// The environment, and the file of the same form for what it lacks. A file that does not exist is empty.
    pub fn environment(prefix: Option<String>, dotenv: Option<&Path>) -> Result<Self> {
        let mut values = HashMap::new();
        let mut place = "at its start".to_owned();
        if let Some(path) = dotenv.filter(|path| path.exists()) {
            for entry in dotenvy::from_path_iter(path).with_context(|| format!("cannot read {path:?}"))? {
                // The error of the parser quotes the line, which may hold a secret.
                let (key, value) = entry.ok().with_context(|| {
                    format!(
                        "{path:?} has a line {place} that is not KEY=value. \
                         Single quotes must enclose a value that has quotes or spaces: KEY='…'"
                    )
                })?;
                if key.starts_with("SPIN_VARIABLE_") {
                    place = format!("after {key}");
                }
                values.insert(key, value);
            }
        }
        Ok(Self::Environment { prefix: prefix.unwrap_or_else(|| "SPIN_VARIABLE".to_owned()), dotenv: values })
    }

    /// The value that it gives to the variable `name`.
    pub fn get(&self, name: &str) -> Result<Option<String>> {
        match self {
            Self::Static(values) => Ok(values.get(name).cloned()),
            Self::Environment { prefix, dotenv } => {
                let key = format!("{prefix}_{}", name.to_ascii_uppercase());
                match std::env::var(&key) {
                    Ok(value) => Ok(Some(value)),
                    Err(std::env::VarError::NotPresent) => Ok(dotenv.get(&key).cloned()),
                    Err(std::env::VarError::NotUnicode(_)) => bail!("the environment's {key} is not UTF-8"),
                }
            }
        }
    }
}

/// Reads one `--variable`: `key=value`, `key=@file`, `@file.json` or `@file.toml`.
pub fn from_argument(argument: &str) -> Result<Vec<(String, String)>> {
    let read = |path: &str| std::fs::read_to_string(path).with_context(|| format!("cannot read {path:?}"));
    if let Some(path) = argument.strip_prefix('@') {
        let text = read(path)?;
        let values: BTreeMap<String, String> = match PathBuf::from(path).extension().and_then(|e| e.to_str()) {
            Some("json") => serde_json::from_str(&text)?,
            Some("toml") => toml::from_str(&text)?,
            _ => bail!("variable files must end in .json or .toml"),
        };
        return Ok(values.into_iter().collect());
    }
    let (key, value) = argument.split_once('=').context("variables must be in the form 'key=value' or '@file'")?;
    let value = match value.strip_prefix('@') {
        Some(path) => read(path)?,
        None => value.to_owned(),
    };
    Ok(vec![(key.to_owned(), value)])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn manifest(table: &str) -> Manifest {
        Manifest::parse(&format!(
            "spin_manifest_version = 2\n[application]\nname = \"a\"\n[variables]\n\
             url = {{ default = \"http://default\" }}\nkey = {{ required = true }}\n\
             [[trigger.http]]\nroute = \"/\"\ncomponent = \"c\"\n[component.c]\nsource = \"c.wasm\"\n\
             [component.c.variables]\n{table}"
        ))
        .unwrap()
    }

    fn fixed(pairs: &[(&str, &str)]) -> Provider {
        Provider::Static(pairs.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect())
    }

    #[test]
    fn the_first_provider_that_knows_a_variable_wins() {
        let manifest = manifest("u = \"{{ url }}\"\nk = \"{{ key }}\"");
        let providers = [fixed(&[("key", "first")]), fixed(&[("key", "second"), ("url", "http://second")])];
        let variables = Variables::resolve(&manifest, &providers).unwrap();
        assert_eq!(variables.get("c", "k").as_deref(), Some("first"));
        assert_eq!(variables.get("c", "u").as_deref(), Some("http://second"));
    }

    #[test]
    fn the_default_is_what_is_left() {
        let variables = Variables::resolve(&manifest("u = \"{{ url }}/x\""), &[fixed(&[("key", "k")])]).unwrap();
        assert_eq!(variables.get("c", "u").as_deref(), Some("http://default/x"));
    }

    #[test]
    fn dotenv_is_behind_the_environment_and_read_from_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let dotenv = dir.path().join(".env");
        std::fs::write(&dotenv, "# comment\nSPIN_VARIABLE_KEY=k1:ab+/cd==\n").unwrap();
        let providers = [Provider::environment(None, Some(&dotenv)).unwrap()];
        let variables = Variables::resolve(&manifest("k = \"{{ key }}\""), &providers).unwrap();
        assert_eq!(variables.get("c", "k").as_deref(), Some("k1:ab+/cd=="));

        // Cargo sets CARGO_PKG_NAME for tests: it shows which of the two wins.
        std::fs::write(&dotenv, "CARGO_PKG_NAME=from-dotenv\nCARGO_KEY=only-dotenv\n").unwrap();
        let cargo = Provider::environment(Some("CARGO".into()), Some(&dotenv)).unwrap();
        assert_eq!(cargo.get("pkg_name").unwrap().as_deref(), Some(env!("CARGO_PKG_NAME")));
        assert_eq!(cargo.get("key").unwrap().as_deref(), Some("only-dotenv"));
    }

    #[test]
    fn a_broken_dotenv_is_refused_without_quoting_it() {
        let dir = tempfile::tempdir().unwrap();
        for (text, place) in [
            ("SPIN_VARIABLE_KEY='s3cret", "a line at its start"),
            ("SPIN_VARIABLE_A=1\nSPIN_VARIABLE_KEY={\"a\": \"s3cret\"}", "a line after SPIN_VARIABLE_A"),
            ("s3cret", "a line at its start"),
        ] {
            std::fs::write(dir.path().join(".env"), text).unwrap();
            let error = format!("{:#}", Provider::environment(None, Some(&dir.path().join(".env"))).err().unwrap());
            assert!(error.contains(place) && !error.contains("s3cret"), "{text}: {error}");
        }
    }

    #[test]
    fn an_unset_required_variable_is_refused() {
        let error = Variables::resolve(&manifest(""), &[]).err().unwrap();
        assert!(error.to_string().contains("key"));
    }

    #[test]
    fn a_template_with_an_unknown_variable_or_unmatched_braces_is_refused() {
        for template in ["{{ nobody }}", "{{ url"] {
            let manifest = manifest(&format!("u = \"{template}\""));
            assert!(Variables::resolve(&manifest, &[fixed(&[("key", "k")])]).is_err());
        }
    }

    #[test]
    fn a_component_sees_only_its_own_table() {
        let variables = Variables::resolve(&manifest("u = \"x\""), &[fixed(&[("key", "k")])]).unwrap();
        assert_eq!(variables.get("c", "key"), None);
        assert_eq!(variables.get("other", "u"), None);
    }

    #[test]
    fn names_follow_spins_rules() {
        assert!(check_name("a_1").is_ok());
        for name in ["", "A", "a-b", "1a", "a_", "a__b"] {
            assert!(check_name(name).is_err(), "{name:?}");
        }
    }

    #[test]
    fn a_variable_argument_is_a_pair_or_a_file() {
        let dir = tempfile::tempdir().unwrap();
        let file = |name: &str, text: &str| {
            std::fs::write(dir.path().join(name), text).unwrap();
            format!("{}", dir.path().join(name).display())
        };
        let pair = |k: &str, v: &str| vec![(k.to_owned(), v.to_owned())];
        assert_eq!(from_argument("k=v=w").unwrap(), pair("k", "v=w"));
        assert_eq!(from_argument(&format!("k=@{}", file("v.txt", "text"))).unwrap(), pair("k", "text"));
        assert_eq!(from_argument(&format!("@{}", file("v.json", r#"{"k":"j"}"#))).unwrap(), pair("k", "j"));
        assert_eq!(from_argument(&format!("@{}", file("v.toml", "k = \"t\""))).unwrap(), pair("k", "t"));
        assert!(from_argument("k").is_err());
    }
}
