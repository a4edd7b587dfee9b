//! The list of crates in a binary: `cargo auditable` writes it into a section, as JSON that zlib has compressed.
//! Scanners of images read it there.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use miniz_oxide::inflate::decompress_to_vec_zlib_with_limit;
use serde::Deserialize;
use tokio::process::Command;

use super::sbom::Crate;
use crate::error::{HarnessError, Result};
use crate::plane::clients;

/// The name of the section.
const SECTION: &str = ".dep-v0";
/// The list of a program has some ten kilobytes.
const LARGEST: usize = 8 << 20;

#[derive(Deserialize)]
struct List {
    packages: Vec<Crate>,
}

/// Returns the crates that a binary lists, build dependencies included.
///
/// # Errors
/// The binary cannot be read, or has no such list.
pub async fn listed(binary: &Path) -> Result<BTreeSet<Crate>> {
    let wrong = |text: &str| HarnessError::Surprise(format!("{}: {text}", binary.display()));
    let path = binary.display().to_string();
    let readelf = ["--sections", "--wide", &path];
    let sections = clients::run(Command::new("readelf"), "readelf", &readelf, None).await?;
    let (start, size) =
        place(&sections).ok_or_else(|| wrong("no section .dep-v0: `cargo auditable` has not built it"))?;
    let bytes = fs::read(binary).map_err(HarnessError::io(format!("reading {path}")))?;
    let content = start.checked_add(size).and_then(|end| bytes.get(start..end));
    content
        .and_then(decoded)
        .ok_or_else(|| wrong("the section .dep-v0 is no list of crates"))
}

/// Fails unless a binary lists every crate that is linked into it by its bill of materials. The list can have more:
/// it is made of `cargo metadata`, which adds what other packages of the workspace enable.
///
/// # Errors
/// The binary has no list, or it lacks crates.
pub async fn verify(binary: &Path, bill: &str) -> Result<()> {
    let listed = listed(binary).await?;
    let missing: Vec<String> = linked(bill)?
        .difference(&listed)
        .map(ToString::to_string)
        .collect();
    if missing.is_empty() {
        return Ok(());
    }
    Err(HarnessError::Surprise(format!(
        "the list of crates in {} lacks {}",
        binary.display(),
        missing.join(", ")
    )))
}

/// Returns the crates of a bill that are linked into the binary.
fn linked(bill: &str) -> Result<BTreeSet<Crate>> {
    #[derive(Deserialize)]
    struct Component {
        #[serde(flatten)]
        found: Crate,
        scope: String,
    }
    #[derive(Deserialize)]
    struct Bill {
        components: Vec<Component>,
    }
    let bill: Bill = serde_json::from_str(bill)
        .map_err(|error| HarnessError::Surprise(format!("the bill of materials cannot be read: {error}")))?;
    let linked = bill.components.into_iter().filter(|one| one.scope == "required");
    Ok(linked.map(|one| one.found).collect())
}

/// Returns where the section is in the file, from the table that readelf prints: number, name, type, address, offset
/// and size.
fn place(sections: &str) -> Option<(usize, usize)> {
    let row = sections.lines().find_map(|line| {
        let (_, columns) = line.split_once(']')?;
        let mut columns = columns.split_whitespace();
        (columns.next() == Some(SECTION)).then_some(columns)
    })?;
    let mut numbers = row.skip(2).map(|column| usize::from_str_radix(column, 16).ok());
    Some((numbers.next()??, numbers.next()??))
}

fn decoded(content: &[u8]) -> Option<BTreeSet<Crate>> {
    let json = decompress_to_vec_zlib_with_limit(content, LARGEST).ok()?;
    let list: List = serde_json::from_slice(&json).ok()?;
    Some(list.packages.into_iter().collect())
}

#[cfg(test)]
mod tests {
    use miniz_oxide::deflate::compress_to_vec_zlib;

    use super::*;

    const SECTIONS: &str = "There are 3 section headers, starting at offset 0x40:

Section Headers:
  [Nr] Name              Type            Address          Off    Size   ES Flg Lk Inf Al
  [ 0]                   NULL            0000000000000000 000000 000000 00      0   0  0
  [ 1] .text             PROGBITS        0000000000001000 001000 000800 00  AX  0   0 16
  [12] .dep-v0           PROGBITS        0000000000001800 001800 00002a 00   A  0   0  1
";

    fn of(name: &str, version: &str) -> Crate {
        Crate {
            name: name.to_owned(),
            version: version.to_owned(),
        }
    }

    #[test]
    fn the_section_is_found_by_its_name() {
        assert_eq!(place(SECTIONS), Some((0x1800, 0x2a)));
        assert_eq!(place(&SECTIONS.replace("dep-v0 ", "dep-v1 ")), None);
    }

    #[test]
    fn the_list_is_read_and_everything_else_is_refused() {
        let json = r#"{"packages":[{"name":"kube","version":"5.0.0","source":"crates.io","dependencies":[1]},
            {"name":"cc","version":"1.2.3","source":"crates.io","kind":"build"}]}"#;
        let packed = compress_to_vec_zlib(json.as_bytes(), 7);
        let read = decoded(&packed).unwrap();
        assert_eq!(read, [of("cc", "1.2.3"), of("kube", "5.0.0")].into());
        assert_eq!(decoded(json.as_bytes()), None);
        assert_eq!(decoded(&compress_to_vec_zlib(b"{}", 7)), None);
    }

    #[tokio::test]
    async fn a_binary_without_a_list_is_refused() {
        let own = std::env::current_exe().unwrap();
        let refused = listed(&own).await.unwrap_err().to_string();
        assert!(refused.contains("no section .dep-v0"), "{refused}");
    }

    #[test]
    fn the_list_needs_what_the_bill_says_is_linked() {
        let bill = r#"{"components":[{"name":"kube","version":"5.0.0","scope":"required","type":"library"},
            {"name":"cc","version":"1.2.3","scope":"excluded"}]}"#;
        assert_eq!(linked(bill).unwrap(), [of("kube", "5.0.0")].into());
    }
}
