//! The tenancy rules, from a file that is read every 5 s: a changed ConfigMap takes effect without a restart. If the file
//! cannot be read or parsed, the last valid rules stay in force and a metric reports the failure.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use thiserror::Error;
use tokio::sync::watch;

use crate::core::tenancy::{TenancyRules, check_rules};

/// How often the file is read.
const POLL_EVERY: Duration = Duration::from_secs(5);

/// Why the tenancy rules cannot be loaded.
#[derive(Debug, Error)]
pub enum RulesError {
    /// The file cannot be read.
    #[error("cannot read the tenancy rules from {path}: {source}")]
    Read {
        /// Path of the file.
        path: PathBuf,
        /// Cause.
        source: std::io::Error,
    },
    /// The file cannot be parsed.
    #[error("cannot parse the tenancy rules in {path}: {message}")]
    Parse {
        /// Path of the file.
        path: PathBuf,
        /// First line of the parser's message, with the position.
        message: String,
    },
}

/// The tenancy rules in force, shared by all clones.
#[derive(Clone, Default)]
pub struct CurrentRules {
    current: watch::Sender<Arc<TenancyRules>>,
}

impl CurrentRules {
    /// Returns the rules in force.
    pub fn get(&self) -> Arc<TenancyRules> {
        Arc::clone(&self.current.borrow())
    }

    /// Loads the rules from the file. At startup an error ends the process, because there are no earlier rules to use.
    pub async fn load(&self, path: &Path) -> Result<(), RulesError> {
        let rules = read_rules(path).await?;
        self.current.send_replace(Arc::new(rules));
        Ok(())
    }

    /// Reads the file again and again. Calls `alarm` after every read, with `true` if the file is valid. A standby
    /// needs this too: the rules from its start can be old when it becomes the leader, and the file can be invalid by
    /// then.
    pub async fn poll(self, path: PathBuf, alarm: impl Fn(bool) + Send) {
        let mut reported = None;
        loop {
            tokio::time::sleep(POLL_EVERY).await;
            let read = read_rules(&path).await;
            alarm(read.is_ok());
            let fault = read.as_ref().err().map(ToString::to_string);
            match read {
                Ok(new) if new != *self.get() => {
                    self.current.send_replace(Arc::new(new));
                    tracing::info!("reloaded tenancy rules");
                }
                Ok(_) if reported.is_some() => tracing::info!("the tenancy rules can be read again"),
                Err(error) if fault != reported => {
                    tracing::error!(%error, "failed to reload tenancy rules; the last valid rules stay in force");
                }
                Ok(_) | Err(_) => {}
            }
            reported = fault;
        }
    }

    /// Yields an item each time the rules have changed since this call.
    pub fn changes(&self) -> impl Stream<Item = ()> + Send + use<> {
        let changes = self.current.subscribe();
        futures::stream::unfold(changes, |mut changes| async move {
            changes.changed().await.ok()?;
            Some(((), changes))
        })
    }
}

async fn read_rules(path: &Path) -> Result<TenancyRules, RulesError> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|source| RulesError::Read {
        path: path.to_owned(),
        source,
    })?;
    let parsed = parse_rules(&text);
    parsed.map_err(|message| RulesError::Parse {
        path: path.to_owned(),
        message,
    })
}

/// Parses and checks the text of the file.
fn parse_rules(text: &str) -> Result<TenancyRules, String> {
    // The parser reads an empty document as an empty map; the message names what is missing.
    let rules: TenancyRules = serde_saphyr::from_str(text)
        .map_err(|error| error.to_string().lines().next().unwrap_or_default().to_owned())?;
    check_rules(&rules)?;
    Ok(rules)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_empty_or_truncated_file_is_an_error() {
        for text in [
            "",
            "\n",
            "# nothing\n",
            "---\n",
            "{}",
            "null",
            "strict: true\n",
            "rules:\n",
            "rules: null\n",
        ] {
            assert!(parse_rules(text).is_err(), "{text:?}");
        }
        assert_eq!(parse_rules("rules: []").unwrap(), TenancyRules::default());
        assert!(parse_rules("strict: true\nrules: []").unwrap().strict);
    }

    #[test]
    fn a_rule_that_does_not_say_what_it_is_for_is_an_error() {
        let rule = "rules: [{namespaces: {names: [a]}, credentialSources: [Operator]}]";
        let message = parse_rules(rule).unwrap_err();
        assert!(message.starts_with("rules[0]: kinds is required"), "{message}");
    }

    #[test]
    fn the_sample_parses() {
        let sample = include_str!("../../deploy/samples/tenancy-values.yaml");
        let values: std::collections::BTreeMap<String, TenancyRules> =
            serde_saphyr::from_str(sample).unwrap();
        let rules = &values["tenancy"];
        assert_eq!((rules.rules.len(), check_rules(rules)), (3, Ok(())));
    }

    #[tokio::test(start_paused = true)]
    async fn an_invalid_file_is_logged_once_for_each_fault() {
        let folder = tempfile::tempdir().unwrap();
        let log = folder.path().join("log");
        let file = Arc::new(std::fs::File::create(&log).unwrap());
        let subscriber = tracing_subscriber::fmt().with_writer(file).finish();
        let _guard = tracing::subscriber::set_default(subscriber);
        let path = folder.path().join("rules.yaml");
        std::fs::write(&path, "rules: [1]").unwrap();
        // What the file has at each further read.
        let mut later = ["rules: [1]", "rules:\n- 1", "rules: []", "rules: [1]"].into_iter();
        let (read, mut reads) = tokio::sync::mpsc::unbounded_channel();
        let polling = CurrentRules::default().poll(path.clone(), move |good| read.send(good).unwrap());
        let polling = tokio::spawn(polling);
        for good in [false, false, false, true, false] {
            assert_eq!(reads.recv().await, Some(good));
            // Written before the next read, which is 5 s later.
            later
                .next()
                .into_iter()
                .for_each(|text| std::fs::write(&path, text).unwrap());
        }
        polling.abort();
        let log = std::fs::read_to_string(log).unwrap();
        assert_eq!(log.matches("failed to reload").count(), 3, "{log}");
        assert_eq!(log.matches("can be read again").count(), 1, "{log}");
    }
}
