//! B14: the size of the binary and the number of crates in it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::{Command, Stdio};

use imm_harness::environment::checkout;

use crate::stage::float;
use crate::table::Row;
use crate::{Arguments, Result};

/// Runs the benchmark.
pub fn run(arguments: &Arguments) -> Result<Vec<Row>> {
    let binary = arguments.operator()?;
    let environment = arguments
        .python
        .ancestors()
        .nth(2)
        .ok_or("the Python interpreter is not in a virtual environment")?;
    let python = megabytes(folder_size(&environment.join("lib"))?);
    let size = megabytes(std::fs::metadata(&binary)?.len());
    Ok(vec![
        Row::new("B14", "binary, stripped", size, "MB")
            .goal(8.0)
            .peer("Python packages of kopf and the SDKs", python)
            .note("without the Python interpreter itself"),
        Row::new("B14", "binary, gzip -9", compressed(&binary)?, "MB").goal(4.0),
        Row::new("B14", "crates in the operator", float(crates()?), "").goal(200.0).note(
            "packages listed by cargo tree for this platform, including build-time packages; each version counts separately",
        ),
    ])
}

#[expect(
    clippy::cast_precision_loss,
    clippy::as_conversions,
    reason = "sizes of files are far below 2^53"
)]
fn megabytes(bytes: u64) -> f64 {
    bytes as f64 / 1e6
}

fn folder_size(folder: &Path) -> Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))? {
        let entry = entry?;
        let data = entry.metadata()?;
        sum += if data.is_dir() {
            folder_size(&entry.path())?
        } else {
            data.len()
        };
    }
    Ok(sum)
}

/// Returns the compressed size in MB, as in an image layer.
fn compressed(binary: &Path) -> Result<f64> {
    let output = Command::new("gzip")
        .args(["-9", "--stdout"])
        .arg(binary)
        .stderr(Stdio::inherit())
        .output();
    let output = output.map_err(|error| format!("running gzip: {error}"))?;
    if !output.status.success() {
        return Err("gzip failed".into());
    }
    Ok(megabytes(u64::try_from(output.stdout.len())?))
}

fn crates() -> Result<usize> {
    let output = Command::new("cargo")
        .args([
            "tree",
            "--package",
            "imm-operator",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--locked",
        ])
        .current_dir(checkout())
        .stderr(Stdio::inherit())
        .output()
        .map_err(|error| format!("running cargo: {error}"))?;
    if !output.status.success() {
        return Err("cargo tree failed".into());
    }
    let text = String::from_utf8(output.stdout)?;
    let names: BTreeSet<String> = text
        .lines()
        .map(|line| line.split_whitespace().take(2).collect::<Vec<_>>().join(" "))
        .filter(|name| !name.is_empty())
        .collect();
    Ok(names.len() - 1)
}
