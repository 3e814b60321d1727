//! Reads a Spin manifest, and refuses what Spin refuses in one.
//!
//! The shape is that of `spin_manifest_version = 2`, unknown keys are errors, and names follow Spin's rules. What Spin
//! offers and this host does not (other triggers, SQLite, AI models, sources that need a network) is an error with a
//! name, never ignored.

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

mod ids;

use ids::is_id;
pub use ids::{KebabId, SnakeId};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    #[serde(rename = "spin_manifest_version")]
    _version: u8,
    pub application: Application,
    #[serde(default)]
    pub variables: BTreeMap<SnakeId, Variable>,
    trigger: Triggers,
    #[serde(default, rename = "component")]
    pub components: BTreeMap<KebabId, Component>,
}

impl Manifest {
    pub fn from_file(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path).with_context(|| format!("cannot read the manifest {path:?}"))?;
        Self::parse(&text).with_context(|| format!("cannot load the app of {path:?}"))
    }

    pub fn parse(text: &str) -> Result<Self> {
        #[derive(Deserialize)]
        struct Probe {
            spin_manifest_version: toml::Value,
        }
        let Probe { spin_manifest_version } = toml::from_str(text)?;
        ensure!(
            spin_manifest_version.as_integer() == Some(2),
            "this host reads manifests of version 2 only, not {spin_manifest_version}"
        );
        let manifest: Self = toml::from_str(text)?;
        manifest.validate()?;
        Ok(manifest)
    }

    pub fn triggers(&self) -> &[HttpTrigger] {
        &self.trigger.http
    }

    fn validate(&self) -> Result<()> {
        for (name, variable) in &self.variables {
            ensure!(
                variable.required ^ variable.default.is_some(),
                "variable {:?} must be `required` OR have a `default`",
                name.0
            );
        }
        for trigger in self.triggers() {
            trigger.validate(&self.components)?;
        }
        for (id, component) in &self.components {
            component.validate(self).with_context(|| format!("component {:?}", id.0))?;
        }
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Application {
    pub name: String,
    #[serde(default, rename = "version")]
    _version: String,
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default, rename = "authors")]
    _authors: Vec<String>,
    #[serde(default, rename = "targets")]
    _targets: Vec<toml::Value>,
    #[serde(default, rename = "tool")]
    _tool: BTreeMap<String, toml::Table>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Variable {
    #[serde(default)]
    pub required: bool,
    pub default: Option<String>,
    #[serde(default, rename = "secret")]
    _secret: bool,
    #[serde(rename = "description")]
    _description: Option<String>,
}

/// `[[trigger.http]]` is the one kind of trigger here; another kind is an unknown field.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Triggers {
    http: Vec<HttpTrigger>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpTrigger {
    #[serde(default, rename = "id")]
    _id: String,
    pub route: Route,
    pub component: Option<KebabId>,
    pub static_response: Option<StaticResponse>,
    #[serde(default)]
    executor: Option<Executor>,
}

impl HttpTrigger {
    fn validate(&self, components: &BTreeMap<KebabId, Component>) -> Result<()> {
        match (&self.component, &self.static_response) {
            (Some(id), None) => {
                ensure!(
                    components.contains_key(id),
                    "an HTTP trigger names the component {:?}, which does not exist",
                    id.0
                )
            }
            (None, Some(_)) => {}
            _ => bail!("an HTTP trigger must have either `component` or `static_response`"),
        }
        if let Route::Private { private } = self.route {
            ensure!(private, "route must be a string pattern or {{ private = true }}");
        }
        if let Some(Executor { kind }) = &self.executor {
            ensure!(kind == "http" || kind == "spin", "this host has no {kind:?} executor");
        }
        Ok(())
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
pub enum Route {
    Pattern(String),
    /// Reachable by service chaining only.
    Private {
        private: bool,
    },
}

#[derive(Debug, Clone, Deserialize)]
pub struct StaticResponse {
    #[serde(default)]
    pub status_code: Option<u16>,
    #[serde(default)]
    pub headers: BTreeMap<String, String>,
    #[serde(default)]
    pub body: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Executor {
    #[serde(rename = "type")]
    kind: String,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Component {
    source: Source,
    #[serde(default, rename = "description")]
    _description: String,
    #[serde(default)]
    pub variables: BTreeMap<SnakeId, String>,
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    #[serde(default)]
    pub files: Vec<Files>,
    #[serde(default)]
    pub exclude_files: Vec<String>,
    #[serde(default)]
    allowed_http_hosts: Vec<String>,
    #[serde(default)]
    pub allowed_outbound_hosts: Vec<String>,
    #[serde(default)]
    pub key_value_stores: Vec<String>,
    #[serde(default)]
    sqlite_databases: Vec<String>,
    #[serde(default)]
    ai_models: Vec<String>,
    #[serde(rename = "targets")]
    _targets: Option<Vec<toml::Value>>,
    pub build: Option<Build>,
    #[serde(default, rename = "tool")]
    _tool: BTreeMap<String, toml::Table>,
    dependencies_inherit_configuration: Option<bool>,
    #[serde(default)]
    dependencies: BTreeMap<String, DependencyTable>,
    #[serde(default, rename = "profile")]
    _profile: BTreeMap<String, toml::Table>,
}

impl Component {
    /// The path of the wasm file, as the manifest writes it.
    pub fn source(&self) -> Result<&Path> {
        match &self.source {
            Source::Local(path) => Ok(Path::new(path)),
            Source::Elsewhere(_) => bail!("this host loads components from local paths only"),
        }
    }

    /// The dependencies in Spin's canonical form: a path each, and what each inherits.
    pub fn dependencies(&self, manifest: &Manifest) -> Result<Vec<Dependency>> {
        let per_dependency = self.dependencies.values().any(|d| d.inherit_configuration.is_some());
        ensure!(
            self.dependencies_inherit_configuration.is_none() || !per_dependency,
            "`dependencies_inherit_configuration` and `inherit_configuration` are mutually exclusive"
        );
        self.dependencies
            .iter()
            .map(|(name, table)| {
                let inherit = match (&table.inherit_configuration, self.dependencies_inherit_configuration) {
                    (Some(Inherit::All(true)), _) | (_, Some(true)) => Inherited::All,
                    (Some(Inherit::Some(list)), _) => Inherited::Only(list.clone()),
                    _ => Inherited::Only(Vec::new()),
                };
                let path = table.path(manifest).with_context(|| format!("dependency {name:?}"))?;
                Ok(Dependency { name: name.clone(), path, export: table.export.clone(), inherit })
            })
            .collect()
    }

    fn validate(&self, manifest: &Manifest) -> Result<()> {
        self.source()?;
        self.dependencies(manifest)?;
        for label in &self.key_value_stores {
            ensure!(
                is_id(label, '-') || is_id(label, '_'),
                "key_value_stores label {label:?} is not kebab-case or snake_case"
            );
        }
        for (key, list) in [("sqlite_databases", &self.sqlite_databases), ("ai_models", &self.ai_models)] {
            ensure!(list.is_empty(), "this host does not offer `{key}`");
        }
        ensure!(
            self.allowed_http_hosts.is_empty(),
            "`allowed_http_hosts` is deprecated: write `allowed_outbound_hosts`"
        );
        Ok(())
    }

    /// Spin refuses to plug in a component of the manifest that expects rights of its own: it would not get them.
    fn has_own_rights(&self) -> bool {
        !(self.variables.is_empty()
            && self.environment.is_empty()
            && self.files.is_empty()
            && self.allowed_outbound_hosts.is_empty()
            && self.key_value_stores.is_empty()
            && self.dependencies.is_empty())
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Source {
    Local(String),
    Elsewhere(#[allow(dead_code, reason = "only its presence matters")] toml::Table),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, untagged)]
pub enum Files {
    Pattern(String),
    Placement { source: String, destination: String },
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Build {
    command: Commands,
    pub workdir: Option<String>,
    #[serde(default, rename = "watch")]
    _watch: Vec<String>,
}

impl Build {
    pub fn commands(&self) -> &[String] {
        match &self.command {
            Commands::Single(command) => std::slice::from_ref(command),
            Commands::Multiple(commands) => commands,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Commands {
    Single(String),
    Multiple(Vec<String>),
}

/// One entry of `[component.X.dependencies]`.
#[derive(Debug)]
pub struct Dependency {
    pub name: String,
    pub path: PathBuf,
    pub export: Option<String>,
    pub inherit: Inherited,
}

/// Which of its parent's rights a dependency gets.
#[derive(Debug, PartialEq)]
pub enum Inherited {
    All,
    Only(Vec<String>),
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct DependencyTable {
    path: Option<PathBuf>,
    component: Option<KebabId>,
    export: Option<String>,
    inherit_configuration: Option<Inherit>,
}

impl DependencyTable {
    fn path(&self, manifest: &Manifest) -> Result<PathBuf> {
        match (&self.path, &self.component) {
            (Some(path), None) => Ok(path.clone()),
            (None, Some(id)) => {
                let component =
                    manifest.components.get(id).with_context(|| format!("component {:?} does not exist", id.0))?;
                ensure!(!component.has_own_rights(), "dependencies may not have their own resources or permissions");
                Ok(component.source()?.to_owned())
            }
            _ => bail!("this host takes `path` or `component`"),
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Inherit {
    All(bool),
    Some(Vec<String>),
}

#[cfg(test)]
mod tests {
    use super::*;

    const APP: &str = r#"
        spin_manifest_version = 2
        [application]
        name = "app"
        [variables]
        key = { required = true, secret = true }
        [[trigger.http]]
        route = "/..."
        component = "main"
        [component.main]
        source = "main.wasm"
    "#;

    fn refusal(extra: &str) -> String {
        format!("{:#}", Manifest::parse(&format!("{APP}{extra}")).expect_err("must be refused"))
    }

    #[test]
    fn a_manifest_of_version_2_is_read() {
        let manifest = Manifest::parse(APP).unwrap();
        assert_eq!(manifest.application.name, "app");
        assert_eq!(manifest.triggers().len(), 1);
    }

    #[test]
    fn version_1_is_refused() {
        assert!(Manifest::parse("spin_manifest_version = \"1\"").is_err());
    }

    #[test]
    fn unknown_keys_are_refused() {
        assert!(refusal("colour = \"red\"").contains("colour"));
        assert!(refusal("[[trigger.redis]]\nchannel = \"x\"").contains("redis"));
        assert!(refusal("[other]").contains("other"));
    }

    #[test]
    fn what_this_host_lacks_is_refused_by_name() {
        assert!(refusal("sqlite_databases = [\"default\"]").contains("sqlite_databases"));
        assert!(refusal("ai_models = [\"llama\"]").contains("ai_models"));
        assert!(
            refusal("[component.b]\nsource = { url = \"https://example.com/b.wasm\", digest = \"x\" }")
                .contains("local paths")
        );
    }

    #[test]
    fn a_variable_is_required_or_has_a_default() {
        let both = APP.replace("required = true", "required = true, default = \"x\"");
        assert!(Manifest::parse(&both).is_err());
        assert!(Manifest::parse(&APP.replace("required = true, ", "")).is_err());
    }

    #[test]
    fn a_trigger_for_a_missing_component_is_refused() {
        assert!(refusal("[[trigger.http]]\nroute = \"/x\"\ncomponent = \"absent\"").contains("absent"));
    }

    #[test]
    fn a_route_is_a_pattern_or_private() {
        let manifest = format!("{APP}\n[[trigger.http]]\nroute = {{ private = true }}\ncomponent = \"main\"");
        assert!(Manifest::parse(&manifest).is_ok());
        assert!(refusal("[[trigger.http]]\nroute = { private = false }\ncomponent = \"main\"").contains("private"));
    }

    #[test]
    fn a_dependency_with_rights_of_its_own_is_refused() {
        let extra = "key_value_stores = [\"default\"]\n[component.b]\nsource = \"b.wasm\"\n\
                     [component.b.dependencies]\n\"a:b/c\" = { component = \"main\" }";
        assert!(refusal(extra).contains("their own resources"));
    }

    #[test]
    fn inheritance_is_all_a_list_or_nothing() {
        let text = format!(
            "{APP}[component.main.dependencies]\n\
             \"a:b/all\" = {{ path = \"d.wasm\", inherit_configuration = true }}\n\
             \"a:b/list\" = {{ path = \"d.wasm\", inherit_configuration = [\"variables\"] }}\n\
             \"a:b/none\" = {{ path = \"d.wasm\" }}"
        );
        let manifest = Manifest::parse(&text).unwrap();
        let component = &manifest.components[&KebabId("main".into())];
        let inherited: Vec<_> =
            component.dependencies(&manifest).unwrap().into_iter().map(|dependency| dependency.inherit).collect();
        assert_eq!(inherited, [Inherited::All, Inherited::Only(vec!["variables".into()]), Inherited::Only(Vec::new())]);
    }
}
