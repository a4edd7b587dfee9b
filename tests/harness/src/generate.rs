//! Generated files: the CRDs in `crds/`, the chart's copies, the manifests for installation without Helm, what
//! follows from the chart's values, and the reference pages of the book. A test generates the files again and
//! compares them.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::chart_files;
use crate::environment::checkout;
use crate::error::{HarnessError, Result};
use crate::plane::clients;
use crate::reference;
use crate::tools::Tool;

const CHART: &str = "charts/imm-operator";
const NAMESPACE: &str = "imm-system";

/// The header of the chart's copy of a CRD.
const CHART_HEAD: &str = "{{- /* Generated from the Rust types by `make generate`: change those. */}}
{{- include \"imm-operator.prepare\" . -}}
{{- if .Values.crds.enabled -}}
";

const CRDS_HEAD: &str = "# The CRDs without the operator: kubectl apply --server-side -f crds.yaml
# Generated from the Rust types by `make generate`: change those.
";

const MANIFEST_HEAD: &str = "# The operator without Helm: kubectl apply --server-side -f install.yaml
# Generated from the chart by `make generate`: change that.
apiVersion: v1
kind: Namespace
metadata:
  name: imm-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
";

/// One generated file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Generated {
    /// The path relative to the checkout.
    pub path: PathBuf,
    /// The content.
    pub text: String,
}

/// What the operator's program prints.
#[derive(Clone, Debug, Default)]
pub struct Printed {
    /// Output of `imm-operator crd`.
    pub definitions: String,
    /// Output of `imm-operator reasons`.
    pub reasons: String,
    /// Name and help text of the program and of each command.
    pub help: Vec<(String, String)>,
}

impl Printed {
    /// Runs the operator's program. Fails if a command fails.
    pub fn by(operator: &Path) -> Result<Self> {
        let program = printed(operator, &["--help"])?;
        let mut help = Vec::new();
        for name in reference::command_names(&program) {
            help.push((
                format!("imm-operator {name}"),
                printed(operator, &[&name, "--help"])?,
            ));
        }
        help.insert(0, ("imm-operator".to_owned(), program));
        Ok(Self {
            definitions: printed(operator, &["crd"])?,
            reasons: printed(operator, &["reasons"])?,
            help,
        })
    }
}

/// Returns the output of the operator's program. Fails if the program fails.
fn printed(operator: &Path, args: &[&str]) -> Result<String> {
    // A help text shows the values of environment variables.
    let output = Command::new(operator).args(args).env_clear().output();
    let doing = format!("running {} {}", operator.display(), args.join(" "));
    let output = output.map_err(HarnessError::io(doing))?;
    if !output.status.success() {
        return Err(HarnessError::Surprise(
            String::from_utf8_lossy(&output.stderr).into_owned(),
        ));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Generates every file, without writing to the checkout. Fails if an output of the operator has an unexpected form
/// or Helm fails.
pub async fn generated(printed: &Printed) -> Result<Vec<Generated>> {
    let mut files = from_values()?;
    for definition in documents(&printed.definitions) {
        let plural = plural(definition)?;
        let copy = chart_copy(definition)?;
        files.push(Generated {
            path: format!("crds/{plural}.yaml").into(),
            text: format!("{definition}\n"),
        });
        files.push(Generated {
            path: format!("{CHART}/templates/crds/{plural}.yaml").into(),
            text: copy,
        });
    }
    let manifests = manifests(&documents(&printed.definitions), &files).await?;
    files.extend(manifests);
    files.extend(reference_pages(printed)?);
    Ok(files)
}

/// Generates the reference pages of the book.
fn reference_pages(printed: &Printed) -> Result<Vec<Generated>> {
    let source = checkout().join("src");
    let read = |path: PathBuf| {
        std::fs::read_to_string(&path).map_err(HarnessError::io(format!("reading {}", path.display())))
    };
    let values = read(checkout().join(CHART).join("values.yaml"))?;
    let metrics = read(source.join("runtime/metrics.rs"))?;
    let process = read(source.join("runtime/process_metrics.rs"))?;
    let mut pages = vec![
        ("reasons".to_owned(), printed.reasons.clone()),
        ("cli".to_owned(), reference::commands_page(&printed.help)?),
        ("metrics".to_owned(), reference::metrics_page(&metrics, &process)?),
        ("annotations-labels".to_owned(), reference::names_page(&source)?),
        ("helm-values".to_owned(), reference::values_page(&values)),
    ];
    for definition in documents(&printed.definitions) {
        let page = reference::api_page(definition)?;
        pages.push((format!("api/{}", page.0), page.1));
    }
    let file = |(name, text)| Generated {
        path: format!("{}/{name}.md", reference::FOLDER).into(),
        text,
    };
    Ok(pages.into_iter().map(file).collect())
}

/// Generates the files of the chart that follow from its values.
fn from_values() -> Result<Vec<Generated>> {
    let read = |name: &str| {
        let path = checkout().join(CHART).join(name);
        std::fs::read_to_string(&path).map_err(HarnessError::io(format!("reading {}", path.display())))
    };
    let values = read("values.yaml")?;
    let file = |name: &str, text: String| Generated {
        path: format!("{CHART}/{name}").into(),
        text,
    };
    Ok(vec![
        file("templates/_defaults.tpl", chart_files::defaults_template(&values)),
        file("README.md", chart_files::readme(&read("README.md")?, &values)?),
    ])
}

/// Writes generated files below a checkout and returns the paths of those that changed.
pub fn write(files: &[Generated], root: &Path) -> Result<Vec<PathBuf>> {
    let mut changed = Vec::new();
    for Generated { path, text } in files {
        let target = root.join(path);
        if std::fs::read_to_string(&target).is_ok_and(|old| old == *text) {
            continue;
        }
        let doing = || HarnessError::io(format!("writing {}", target.display()));
        target
            .parent()
            .map_or(Ok(()), std::fs::create_dir_all)
            .map_err(doing())?;
        std::fs::write(&target, text).map_err(doing())?;
        changed.push(path.clone());
    }
    Ok(changed)
}

/// Splits a YAML stream into its documents, without the separators.
fn documents(stream: &str) -> Vec<&str> {
    let parts = stream
        .split("\n---")
        .map(|part| part.trim_start_matches("---").trim());
    parts.filter(|part| !part.is_empty()).collect()
}

/// Returns the plural in a CRD's name, which names its files.
fn plural(definition: &str) -> Result<&str> {
    let name = definition.lines().find_map(|line| line.strip_prefix("  name: "));
    let plural = name.and_then(|name| name.trim_matches('"').strip_suffix(".immops.dev"));
    plural.ok_or_else(|| {
        unexpected("`imm-operator crd` printed a document that is not named PLURAL.immops.dev")
    })
}

/// Returns the CRD as a chart template, enabled by `crds.enabled`, with labels and annotations of the release.
fn chart_copy(definition: &str) -> Result<String> {
    // Helm interprets double braces everywhere in a template.
    let escaped = definition.replace("{{", "{{ \"{{\" }}");
    let metadata = "\n  {{- include \"imm-operator.crdMetadata\" . | nindent 2 }}";
    let (before, after) = escaped
        .split_once("\nmetadata:")
        .ok_or_else(|| unexpected("a CRD printed by `imm-operator crd` has no metadata line"))?;
    if after
        .lines()
        .nth(1)
        .is_none_or(|line| !line.starts_with("  name: "))
        || after.contains("\nstatus:")
    {
        return Err(unexpected(
            "a CRD printed by `imm-operator crd` has a status, or metadata besides its name",
        ));
    }
    Ok(format!(
        "{CHART_HEAD}{before}\nmetadata:{metadata}{after}\n{{{{- end }}}}\n"
    ))
}

/// Generates the manifests for installation without Helm: with `kubectl apply -f` and with Kustomize.
async fn manifests(definitions: &[&str], files: &[Generated]) -> Result<Vec<Generated>> {
    let install = MANIFEST_HEAD.to_owned() + &plain(files, &[]).await?;
    let budget = [
        "--set",
        "replicaCount=2",
        "--show-only",
        "templates/poddisruptionbudget.yaml",
    ];
    let budget = plain(files, &budget).await?;
    let budget = budget.trim().trim_start_matches("---").trim();
    let file = |name: &str, text: String| Generated {
        path: format!("deploy/{name}").into(),
        text,
    };
    Ok(vec![
        file(
            "crds.yaml",
            format!("{CRDS_HEAD}{}\n", definitions.join("\n---\n")),
        ),
        file("install.yaml", install.clone()),
        // Kustomize reads no file outside the folder of a kustomization.
        file("kustomize/base/install.yaml", install),
        file(
            "kustomize/components/high-availability/poddisruptionbudget.yaml",
            format!("# Generated from the chart by `make generate`: change that.\n{budget}\n"),
        ),
    ])
}

/// Renders a copy of the chart with the given CRDs and further arguments, without what is specific to Helm.
async fn plain(files: &[Generated], more: &[&str]) -> Result<String> {
    let folder =
        tempfile::tempdir().map_err(HarnessError::io("creating a folder for a copy of the chart"))?;
    copy(&checkout().join(CHART), &folder.path().join(CHART))?;
    write(files, folder.path())?;
    let chart = folder.path().join(CHART).display().to_string();
    // `crds.keep` is off because its annotation is Helm-specific.
    let args = [
        "template",
        "imm-operator",
        &chart,
        "--namespace",
        NAMESPACE,
        "--set",
        "crds.keep=false",
        "--skip-tests",
    ];
    let command = clients::command(Tool::Helm4, Path::new("/dev/null"), folder.path())?;
    let args = [&args[..], more].concat();
    let rendered = clients::run(command, "helm4", &args, None).await?;
    let ours = rendered.lines().filter(|line| {
        let line = line.trim_start();
        !["# Source:", "helm.sh/", "app.kubernetes.io/managed-by:"]
            .iter()
            .any(|start| line.starts_with(start))
    });
    Ok(ours.fold(String::new(), |text, line| text + line + "\n"))
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let doing = || HarnessError::io(format!("copying {}", from.display()));
    std::fs::create_dir_all(to).map_err(doing())?;
    for entry in std::fs::read_dir(from).map_err(doing())? {
        let entry = entry.map_err(doing())?;
        let target = to.join(entry.file_name());
        if entry.file_type().map_err(doing())?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target).map_err(doing())?;
        }
    }
    Ok(())
}

fn unexpected(text: &str) -> HarnessError {
    HarnessError::Surprise(text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEFINITION: &str = "apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: imagescorejobs.immops.dev
spec:
  group: immops.dev
  description: braces {{ of a template }}";

    #[test]
    fn a_stream_is_cut_at_its_separators_only() {
        let stream = format!("---\n{DEFINITION}\n---\n{DEFINITION}\n");
        assert_eq!(documents(&stream), [DEFINITION, DEFINITION]);
    }

    #[test]
    fn braces_reach_the_cluster_unchanged() {
        let copy = chart_copy(DEFINITION).unwrap();
        assert!(copy.contains(r#"braces {{ "{{" }} of a template }}"#), "{copy}");
    }

    #[test]
    fn additional_metadata_would_be_lost_and_is_rejected() {
        let labelled = DEFINITION.replace("  name:", "  labels: {}\n  name:");
        assert!(chart_copy(&labelled).is_err());
    }

    #[tokio::test]
    async fn the_manifest_contains_the_crd_and_nothing_of_helm() {
        let schema = "\n  names: {kind: K, shortNames: [k]}\n  versions: [{name: v1, schema: {openAPIV3Schema: {properties: {}}}}]";
        let printed = Printed {
            definitions: format!("{DEFINITION}{schema}"),
            ..Printed::default()
        };
        let files = generated(&printed).await.unwrap();
        let text = |name: &str| {
            let found = files.iter().find(|file| file.path.ends_with(name));
            &found.unwrap().text
        };
        let manifest = text("deploy/install.yaml");
        assert!(manifest.contains("braces {{ of a template }}"), "{manifest}");
        assert!(
            manifest.contains("kind: Deployment") && !manifest.contains("helm.sh"),
            "{manifest}"
        );
        assert_eq!(text("deploy/kustomize/base/install.yaml"), manifest);
        let definitions = text("deploy/crds.yaml");
        assert!(
            definitions.ends_with(&format!("those.\n{}\n", printed.definitions)),
            "{definitions}"
        );
    }
}
