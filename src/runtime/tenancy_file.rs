//! The tenancy rules, from a file that is looked at every few seconds: a ConfigMap that changes takes effect without a
//! restart. Rules that do not parse keep the last good ones in force and raise an alarm.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use futures::Stream;
use thiserror::Error;

use crate::core::tenancy::TenancyRules;

/// How often the file is looked at.
const POLL_EVERY: Duration = Duration::from_secs(5);

/// Why rules cannot be used.
#[derive(Debug, Error)]
pub enum RulesError {
    /// The file cannot be read.
    #[error("the tenancy rules cannot be read from {path}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It does not parse.
    #[error("the tenancy rules in {path} do not parse: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Where and why.
        message: String,
    },
}

/// The rules in force.
#[derive(Clone, Default)]
pub struct CurrentRules {
    current: Arc<RwLock<Arc<TenancyRules>>>,
}

impl CurrentRules {
    /// The rules as of now.
    pub fn get(&self) -> Arc<TenancyRules> {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the file once; at the start a file that cannot be used ends the process, because no rules were ever good.
    pub async fn load(&self, path: &Path) -> Result<(), RulesError> {
        let rules = read_rules(path).await?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(rules);
        Ok(())
    }

    /// An item each time the rules have changed; `alarm` is told whether the file is good.
    pub fn changes(
        self,
        path: Option<PathBuf>,
        alarm: impl Fn(bool) + Send + 'static,
    ) -> impl Stream<Item = ()> + Send {
        futures::stream::unfold((self, path, alarm), |(rules, path, alarm)| async move {
            let Some(file) = path else {
                return std::future::pending().await;
            };
            loop {
                tokio::time::sleep(POLL_EVERY).await;
                match read_rules(&file).await {
                    Ok(new) if new != *rules.get() => {
                        *rules.current.write().unwrap_or_else(PoisonError::into_inner) = Arc::new(new);
                        tracing::info!("the tenancy rules have changed");
                        alarm(true);
                        return Some(((), (rules, Some(file), alarm)));
                    }
                    Ok(_) => alarm(true),
                    Err(error) => {
                        tracing::error!(%error, "the last good tenancy rules stay in force");
                        alarm(false);
                    }
                }
            }
        })
    }
}

async fn read_rules(path: &Path) -> Result<TenancyRules, RulesError> {
    let text = tokio::fs::read_to_string(path).await;
    let text = text.map_err(|source| RulesError::Read {
        path: path.to_owned(),
        source,
    })?;
    serde_saphyr::from_str(&text).map_err(|error| RulesError::Parse {
        path: path.to_owned(),
        message: error.to_string().lines().next().unwrap_or_default().to_owned(),
    })
}
