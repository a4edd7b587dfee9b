//! A machine on which programs only pretend to be Go, kubectl and the others.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use imm_harness::environment::checkout;
use tempfile::TempDir;

pub(crate) const DEMO: [&str; 4] = ["kube-apiserver", "kubectl", "helm4", "etcd"];
/// What the scripts start besides the tools. A test's PATH has nothing else, because the machine may have a Go.
const USUAL: &str = "bash env sh basename cat chmod cmp cp cut date dirname find grep head ln mkdir mktemp mv nice readlink rm
    sed sha256sum sleep sort tail tr";
pub(crate) const GO: &str = r#"
[ "$1" != env ] || { echo amd64; echo go1.26.8; exit; }
[ "$1" != list ] || { echo "$KWOK"; exit; }
[ -z "$BUILDS" ] || echo "$*" >> "$BUILDS"
while [ "$1" != -o ]; do shift; done
printf '#!/bin/sh\necho built by Go\n' > "$2"; chmod 755 "$2"
"#;

/// A machine with a PATH, a cache and a folder of assets of its own.
pub(crate) struct Machine {
    pub(crate) home: TempDir,
}

impl Machine {
    pub(crate) fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        for folder in ["path", "assets", "cache"] {
            std::fs::create_dir(home.path().join(folder)).unwrap();
        }
        let machine = Self { home };
        for name in USUAL.split_whitespace() {
            let found = ["/bin", "/usr/bin"].map(|folder| Path::new(folder).join(name));
            let program = found.iter().find(|path| path.exists()).unwrap();
            symlink(program, machine.at("path").join(name)).unwrap();
        }
        machine
    }

    pub(crate) fn at(&self, folder: &str) -> PathBuf {
        self.home.path().join(folder)
    }

    /// Puts a program into a folder.
    pub(crate) fn program(&self, folder: &str, name: &str, script: &str) {
        let path = self.at(folder).join(name);
        // Not written through a link to a program of the machine.
        let _absent = std::fs::remove_file(&path);
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).unwrap();
    }

    pub(crate) fn command(&self, script: impl AsRef<Path>, args: &[&str]) -> Command {
        let mut command = Command::new(checkout().join(script));
        command.args(args).env_clear().env("PATH", self.at("path"));
        command.env("XDG_CACHE_HOME", self.at("cache"));
        if std::fs::read_dir(self.at("assets")).unwrap().next().is_some() {
            command.env("KUBEBUILDER_ASSETS", self.at("assets"));
        }
        command
    }

    pub(crate) fn run(&self, script: &str, args: &[&str]) -> Output {
        self.command(script, args).output().unwrap()
    }

    /// Returns what must be built, and what was said.
    pub(crate) fn missing(&self, mode: &[&str]) -> (String, String) {
        let output = self.run("tests/tools/build.sh", &[mode, &["--list"], &DEMO].concat());
        let said = text(&output.stderr);
        assert!(output.status.success(), "{said}");
        (text(&output.stdout).trim().replace('\n', " "), said)
    }

    /// Prepares the tools and returns the output of one of them.
    pub(crate) fn prepared(&self, mode: &[&str], tool: &str) -> String {
        let output = self.run("tests/tools/build.sh", &[mode, &DEMO].concat());
        assert!(output.status.success(), "{}", text(&output.stderr));
        let folder = text(&output.stdout).lines().last().unwrap().to_owned();
        let mut program = Command::new(Path::new(&folder).join(tool));
        text(&program.arg("--version").output().unwrap().stdout)
    }
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

pub(crate) fn assets(machine: &Machine) {
    machine.program("assets", "kube-apiserver", "echo Kubernetes v1.36.0");
    machine.program("assets", "etcd", "echo etcd Version: 3.6.1");
    machine.program("assets", "kubectl", "echo Client Version: v1.36.2");
}
