//! Composes a component with the parts that its manifest plugs into its imports.
//!
//! As in Spin: one `wac` graph, at load time, one level deep. A dependency's name selects imports of the component
//! (`pkg:name/interface@version`, a whole package, or a plain name), each must be exported with a fitting type, and only
//! the component's own exports come out.
//!
//! A limit: what a dependency does not inherit, Spin answers with an adapter that denies. This host has no such adapter
//! and instead refuses to load a dependency that imports what it may not use.

use crate::manifest::{Dependency, Inherited};
use anyhow::{Context, Result, bail, ensure};
use std::collections::BTreeMap;
use std::path::Path;
use wac_graph::types::{Package, SubtypeChecker, WorldId};
use wac_graph::{CompositionGraph, EncodeOptions, NodeId};

/// The component at `source` with its dependencies, as one component.
pub fn compose(source: &Path, app_dir: &Path, dependencies: &[Dependency]) -> Result<Vec<u8>> {
    let bytes = read(source)?;
    if dependencies.is_empty() {
        return Ok(bytes);
    }
    let mut composition = Composition { graph: CompositionGraph::new() };
    let (world, root) = composition.instantiate("root", bytes)?;

    let mut plugged: BTreeMap<String, (&str, NodeId)> = BTreeMap::new();
    for dependency in dependencies {
        let context = || format!("dependency {:?}", dependency.name);
        for (import, node) in composition.plug(world, app_dir, dependency).with_context(context)? {
            if let Some((other, _)) = plugged.insert(import.clone(), (&dependency.name, node)) {
                bail!("import {import:?} is satisfied by both {other:?} and {:?}", dependency.name);
            }
        }
    }
    for (import, (_, node)) in plugged {
        composition.graph.set_instantiation_argument(root, &import, node)?;
    }
    let exports: Vec<_> = composition.graph.types()[world].exports.keys().cloned().collect();
    for export in exports {
        let node = composition.graph.alias_instance_export(root, &export)?;
        composition.graph.export(node, &export)?;
    }
    composition.graph.encode(EncodeOptions::default()).context("the composition cannot be encoded")
}

/// What a wasm component imports and exports, by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Interfaces {
    pub imports: Vec<String>,
    pub exports: Vec<String>,
}

/// Reads the imports and exports of a built component, without compiling it.
pub fn inspect(wasm: &Path) -> Result<Interfaces> {
    let mut graph = CompositionGraph::new();
    let package = Package::from_bytes("inspected", None, read(wasm)?, graph.types_mut())
        .with_context(|| format!("{wasm:?} is not a component"))?;
    let world = &graph.types()[package.ty()];
    Ok(Interfaces {
        imports: world.imports.keys().cloned().collect(),
        exports: world.exports.keys().cloned().collect(),
    })
}

struct Composition {
    graph: CompositionGraph,
}

impl Composition {
    fn instantiate(&mut self, name: &str, bytes: Vec<u8>) -> Result<(WorldId, NodeId)> {
        let package = Package::from_bytes(name, None, bytes, self.graph.types_mut())?;
        let world = package.ty();
        let package = self.graph.register_package(package)?;
        Ok((world, self.graph.instantiate(package)))
    }

    /// The imports of `root` that the dependency satisfies, each with what satisfies it.
    fn plug(&mut self, root: WorldId, app_dir: &Path, dependency: &Dependency) -> Result<Vec<(String, NodeId)>> {
        let name = Name::parse(&dependency.name);
        ensure!(
            dependency.export.is_none() || !matches!(name, Name::Package { interface: None, .. }),
            "a whole package cannot be satisfied by one `export`"
        );
        let imports: Vec<_> =
            self.graph.types()[root].imports.keys().filter(|import| name.matches(import)).cloned().collect();
        ensure!(!imports.is_empty(), "it matches no import of the component");

        let bytes = read(&app_dir.join(&dependency.path))?;
        let (world, instance) = self.instantiate(&dependency.name, bytes)?;
        if let Inherited::Only(inherited) = &dependency.inherit {
            let imports = &self.graph.types()[world].imports;
            refuse_denied(imports.keys().map(String::as_str), inherited)?;
        }
        imports
            .into_iter()
            .map(|import| {
                let export = dependency.export.as_ref().unwrap_or(&import);
                let types = self.graph.types();
                let exported =
                    types[world].exports.get(export).with_context(|| format!("it does not export {export:?}"))?;
                let mut cache = Default::default();
                SubtypeChecker::new(&mut cache)
                    .is_subtype(*exported, types, types[root].imports[&import], types)
                    .with_context(|| format!("its export {export:?} does not fit the import {import:?}"))?;
                let node = self.graph.alias_instance_export(instance, export)?;
                Ok((import, node))
            })
            .collect()
    }
}

fn refuse_denied<'a>(imports: impl Iterator<Item = &'a str>, inherited: &[String]) -> Result<()> {
    for import in imports {
        let interface = import.split('@').next().unwrap_or(import);
        let right = RIGHTS.iter().find(|(_, interfaces)| interfaces.contains(&interface)).map(|(right, _)| *right);
        if let Some(right) = right.filter(|right| !inherited.iter().any(|name| name == right)) {
            bail!(
                "it imports {import}, but does not inherit {right:?}: Spin would deny its calls, this host does not load \
                 it. Inherit {right:?} or `true`"
            );
        }
    }
    Ok(())
}

/// The rights that `inherit_configuration` can name, and the interfaces that need them.
const RIGHTS: [(&str, &[&str]); 5] = [
    (
        "allowed_outbound_hosts",
        &[
            "wasi:http/outgoing-handler",
            "wasi:sockets/ip-name-lookup",
            "wasi:sockets/tcp",
            "wasi:sockets/tcp-create-socket",
            "wasi:sockets/udp",
            "wasi:sockets/udp-create-socket",
        ],
    ),
    ("environment", &["wasi:cli/environment"]),
    ("files", &["wasi:filesystem/preopens"]),
    ("key_value_stores", &["fermyon:spin/key-value"]),
    ("variables", &["fermyon:spin/variables"]),
];

/// The left side of an entry in `dependencies`.
enum Name<'a> {
    Plain(&'a str),
    Package { package: &'a str, interface: Option<&'a str>, version: Option<&'a str> },
}

impl<'a> Name<'a> {
    fn parse(name: &'a str) -> Self {
        if !name.contains([':', '/']) {
            return Self::Plain(name);
        }
        let (path, version) = match name.split_once('@') {
            Some((path, version)) => (path, Some(version)),
            None => (name, None),
        };
        match path.split_once('/') {
            Some((package, interface)) => Self::Package { package, interface: Some(interface), version },
            None => Self::Package { package: path, interface: None, version },
        }
    }

    /// A version in the name must be the import's own; without one any will do.
    fn matches(&self, import: &str) -> bool {
        match (self, Name::parse(import)) {
            (Self::Plain(name), Name::Plain(import)) => *name == import,
            (
                Self::Package { package, interface, version },
                Name::Package { package: import_package, interface: import_interface, version: import_version },
            ) => {
                *package == import_package
                    && (interface.is_none() || *interface == import_interface)
                    && (version.is_none() || *version == import_version)
            }
            _ => false,
        }
    }
}

fn read(wasm: &Path) -> Result<Vec<u8>> {
    std::fs::read(wasm).with_context(|| format!("cannot read the component {wasm:?}; has it been built?"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_selects_imports_by_interface_package_and_version() {
        let import = "gatehouse:broker/tokens@0.1.0";
        for name in
            ["gatehouse:broker/tokens@0.1.0", "gatehouse:broker/tokens", "gatehouse:broker@0.1.0", "gatehouse:broker"]
        {
            assert!(Name::parse(name).matches(import), "{name}");
        }
        for name in ["gatehouse:broker/tokens@0.2.0", "gatehouse:broker/other", "gatehouse:other", "tokens"] {
            assert!(!Name::parse(name).matches(import), "{name}");
        }
    }

    #[test]
    fn a_dependency_may_import_only_what_it_inherits() {
        let imports = ["wasi:io/streams@0.2.6", "fermyon:spin/variables@2.0.0", "wasi:http/outgoing-handler@0.2.0"];
        let inherit = |names: &[&str]| {
            let names: Vec<_> = names.iter().map(|&n| n.to_owned()).collect();
            refuse_denied(imports.into_iter(), &names)
        };
        assert!(inherit(&["variables", "allowed_outbound_hosts"]).is_ok());
        assert!(inherit(&["variables"]).unwrap_err().to_string().contains("allowed_outbound_hosts"));
        assert!(inherit(&[]).unwrap_err().to_string().contains("variables"));
    }
}
