//! The software bill of materials: every crate of the operator's binary, as CycloneDX 1.5. It has no serial number
//! and no time, so that equal sources give equal bytes. The source is `cargo tree`: `cargo metadata` also lists what
//! other packages of the workspace enable.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::{fmt, fs};

use serde::Deserialize;
use serde_json::{Value, json};
use tokio::process::Command;

use super::VERSION;
use super::compile::Architecture;
use crate::error::{HarnessError, Result};
use crate::plane::clients;

/// The format of a line of `cargo tree` after its depth.
const FORMAT: &str = "{p}|{l}";

/// Returns the checksums in a `Cargo.lock` by name and version.
pub fn locked_checksums(lock: &str) -> BTreeMap<Crate, String> {
    let field = |block: &str, name: &str| {
        let start = format!("{name} = \"");
        let line = block.lines().find_map(|line| line.strip_prefix(&start))?;
        Some(line.trim_end_matches('"').to_owned())
    };
    let blocks = lock.split("[[package]]").skip(1);
    let sums = blocks.filter_map(|block| {
        let name = Crate {
            name: field(block, "name")?,
            version: field(block, "version")?,
        };
        Some((name, field(block, "checksum")?))
    });
    sums.collect()
}

/// Name and version of a crate.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub struct Crate {
    /// The name.
    pub name: String,
    /// The version.
    pub version: String,
}

impl fmt::Display for Crate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.name, self.version)
    }
}

impl Crate {
    fn purl(&self) -> String {
        format!("pkg:cargo/{}@{}", self.name, self.version)
    }
}

/// Crates of one run of `cargo tree`.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Tree {
    /// The licence of each crate.
    licences: BTreeMap<Crate, String>,
    /// What each crate depends on.
    edges: BTreeMap<Crate, BTreeSet<Crate>>,
}

impl Tree {
    /// Reads the output of `cargo tree --prefix depth` with [`FORMAT`].
    ///
    /// # Errors
    /// A line has another form.
    pub fn parse(output: &str) -> Result<Self> {
        let mut tree = Tree::default();
        let mut path: Vec<Crate> = Vec::new();
        for line in output.lines().filter(|line| !line.is_empty()) {
            let (depth, found, licence) = entry(line)
                .ok_or_else(|| HarnessError::Surprise(format!("cargo tree printed another form: {line}")))?;
            path.truncate(depth);
            if let Some(parent) = path.last() {
                tree.edges
                    .entry(parent.clone())
                    .or_default()
                    .insert(found.clone());
            }
            tree.edges.entry(found.clone()).or_default();
            tree.licences.insert(found.clone(), licence);
            path.push(found);
        }
        Ok(tree)
    }
}

/// Returns depth, crate and licence of a line such as `2serde v1.0.228|MIT OR Apache-2.0 (*)`.
fn entry(line: &str) -> Option<(usize, Crate, String)> {
    let start = line.find(|c: char| !c.is_ascii_digit())?;
    let (depth, rest) = line.split_at_checked(start)?;
    let (package, licence) = rest.split_once('|')?;
    let mut parts = package.split(' ');
    let (name, version) = (
        parts.next()?.to_owned(),
        parts.next()?.strip_prefix('v')?.to_owned(),
    );
    // Old crates separate alternatives with a slash, which SPDX does not know.
    let alternatives = licence.trim_end_matches(" (*)").split('/').map(str::trim);
    let licence = alternatives.collect::<Vec<_>>().join(" OR ");
    Some((depth.parse().ok()?, Crate { name, version }, licence))
}

/// Returns the bill of the binary for an architecture, as the text of a file.
///
/// # Errors
/// `Cargo.lock` cannot be read, or `cargo tree` fails.
pub async fn of(root: &Path, architecture: Architecture) -> Result<String> {
    let lock = fs::read_to_string(root.join("Cargo.lock")).map_err(HarnessError::io("reading Cargo.lock"))?;
    let all = tree(root, architecture.target, "normal,build").await?;
    let linked = tree(root, architecture.target, "normal,no-proc-macro").await?;
    Ok(format!("{:#}\n", bill(&all, &linked, &locked_checksums(&lock))))
}

/// Returns the crates of the binary, with macros and build scripts (`normal,build`) or without (`normal,no-proc-macro`).
async fn tree(root: &Path, target: &str, edges: &str) -> Result<Tree> {
    let mut cargo = Command::new("cargo");
    cargo.current_dir(root);
    let args = [
        "tree",
        "--locked",
        "--package",
        "imm-operator",
        "--target",
        target,
        "--prefix",
        "depth",
        "--format",
        FORMAT,
        "--edges",
        edges,
    ];
    Tree::parse(&clients::run(cargo, "cargo", &args, None).await?)
}

/// Returns the bill. Crates that only the compilation needs, such as macros and build scripts, are in `all` and not in
/// `linked`, and have the scope `excluded`.
pub fn bill(all: &Tree, linked: &Tree, checksums: &BTreeMap<Crate, String>) -> Value {
    let libraries = all
        .licences
        .iter()
        .filter(|(found, _)| found.name != "imm-operator");
    let components = libraries.map(|(found, licence)| {
        let scope = if linked.licences.contains_key(found) {
            "required"
        } else {
            "excluded"
        };
        let hashes: Vec<Value> = checksums
            .get(found)
            .map(|sum| json!({"alg": "SHA-256", "content": sum}))
            .into_iter()
            .collect();
        json!({
            "type": "library",
            "bom-ref": found.purl(),
            "purl": found.purl(),
            "name": found.name,
            "version": found.version,
            "scope": scope,
            "hashes": hashes,
            "licenses": [{"expression": licence}],
        })
    });
    let dependencies = all.edges.iter().map(|(from, on)| {
        let on: Vec<String> = on.iter().map(Crate::purl).collect();
        json!({"ref": from.purl(), "dependsOn": on})
    });
    json!({
        "bomFormat": "CycloneDX",
        "specVersion": "1.5",
        "version": 1,
        "metadata": {"component": {
            "type": "application",
            "bom-ref": format!("pkg:cargo/imm-operator@{VERSION}"),
            "name": "imm-operator",
            "version": VERSION,
            "licenses": [{"expression": "Apache-2.0"}],
        }},
        "components": components.collect::<Vec<_>>(),
        "dependencies": dependencies.collect::<Vec<_>>(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: &str = "0imm-operator v0.1.0 (/source)|Apache-2.0
1clap v4.6.9|MIT OR Apache-2.0
2clap_derive v4.6.9 (proc-macro)|MIT/Apache-2.0
1sha2 v0.11.1|MIT / Apache-2.0
1clap v4.6.9|MIT OR Apache-2.0 (*)
";

    #[test]
    fn a_bill_has_each_crate_once_with_licence_checksum_and_scope() {
        let linked: String = ALL
            .lines()
            .filter(|l| !l.contains("macro"))
            .fold(String::new(), |t, l| t + l + "\n");
        let lock = "[[package]]\nname = \"sha2\"\nversion = \"0.11.1\"\nchecksum = \"ab\"\n\n[[package]]\nname = \"x\"\nversion = \"1.0.0\"\n";
        let bill = bill(
            &Tree::parse(ALL).unwrap(),
            &Tree::parse(&linked).unwrap(),
            &locked_checksums(lock),
        );
        let row = |n: usize| {
            let part = |name: &str| bill["components"][n][name].to_string().replace('"', "");
            [part("purl"), part("scope")].join(" ")
                + " "
                + bill["components"][n]["licenses"][0]["expression"]
                    .as_str()
                    .unwrap()
        };
        assert_eq!(bill["components"].as_array().unwrap().len(), 3);
        assert_eq!(row(0), "pkg:cargo/clap@4.6.9 required MIT OR Apache-2.0");
        assert_eq!(row(1), "pkg:cargo/clap_derive@4.6.9 excluded MIT OR Apache-2.0");
        assert_eq!(row(2), "pkg:cargo/sha2@0.11.1 required MIT OR Apache-2.0");
        assert_eq!(bill["components"][2]["hashes"][0]["content"], "ab");
        let root = &bill["dependencies"].as_array().unwrap()[2];
        assert_eq!(root["ref"], "pkg:cargo/imm-operator@0.1.0");
        assert_eq!(
            root["dependsOn"],
            json!(["pkg:cargo/clap@4.6.9", "pkg:cargo/sha2@0.11.1"])
        );
    }

    #[test]
    fn another_form_is_an_error() {
        for wrong in ["serde v1.0.0|MIT", "1serde 1.0.0|MIT", "1serde v1.0.0 MIT"] {
            assert!(Tree::parse(wrong).is_err(), "{wrong}");
        }
    }
}
