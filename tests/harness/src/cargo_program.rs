//! Programs of crates.io that the tests and a release use: each is compiled once for its version and kept in the cache.

use std::path::PathBuf;

use tokio::process::Command;

use crate::environment::cache_folder;
use crate::error::Result;
use crate::plane::clients;

/// A program of crates.io.
#[derive(Clone, Copy, Debug)]
pub struct CargoProgram {
    /// The crate, which is also the name of the program.
    pub name: &'static str,
    /// The version.
    pub version: &'static str,
    /// Arguments of `cargo install` that choose features.
    features: &'static [&'static str],
}

/// Checks licences, sources, banned crates and advisories.
pub const CARGO_DENY: CargoProgram = CargoProgram {
    name: "cargo-deny",
    version: "0.20.2",
    features: &[],
};

/// Compiles a program with the list of its crates in it. The Dockerfile installs the same version.
pub const CARGO_AUDITABLE: CargoProgram = CargoProgram {
    name: "cargo-auditable",
    version: "0.7.5",
    features: &[],
};

/// Builds the book.
pub const MDBOOK: CargoProgram = CargoProgram {
    name: "mdbook",
    version: "0.5.4",
    features: &["--no-default-features", "--features", "search"],
};

impl CargoProgram {
    /// Returns the folder that the program is installed to. Fails if no folder for a cache is known.
    fn home(self) -> Result<PathBuf> {
        Ok(cache_folder()?.join(format!("{}-{}", self.name, self.version)))
    }

    /// Returns the path of the program, whether it is compiled or not. Fails if no folder for a cache is known.
    pub fn path(self) -> Result<PathBuf> {
        Ok(self.home()?.join("bin").join(self.name))
    }

    /// Returns the command that compiles the program, unless it is compiled already.
    ///
    /// # Errors
    /// No folder for a cache is known.
    pub fn missing(self) -> Result<Option<Command>> {
        if self.path()?.is_file() {
            return Ok(None);
        }
        let mut install = Command::new("cargo");
        install.args(["install", "--locked", "--quiet", self.name]);
        install.args(["--version", self.version]).args(self.features);
        install.arg("--root").arg(self.home()?);
        Ok(Some(install))
    }

    /// Compiles the program unless that is done, without output, and returns its path.
    ///
    /// # Errors
    /// The compilation fails.
    pub async fn installed(self) -> Result<PathBuf> {
        if let Some(install) = self.missing()? {
            let none: [&str; 0] = [];
            let name = format!("cargo install {} --version {}", self.name, self.version);
            clients::run(install, &name, &none, None).await?;
        }
        self.path()
    }
}
