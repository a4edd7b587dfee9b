//! Tells a running job that its object or its grant has changed: a run holds its worker until it ends, so a mark in the
//! queue would reach it too late.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::core::grant::ObjectKey;

/// The bells of running jobs.
#[derive(Default)]
pub struct Edits {
    bells: Mutex<HashMap<ObjectKey, Arc<Notify>>>,
}

/// A job that listens; dropping it ends that.
pub struct Listening<'a> {
    edits: &'a Edits,
    key: ObjectKey,
    /// Rings at each change.
    pub bell: Arc<Notify>,
}

impl Edits {
    /// Something about a job has changed.
    pub fn ring(&self, key: &ObjectKey) {
        if let Some(bell) = self.bells.lock().unwrap_or_else(PoisonError::into_inner).get(key) {
            bell.notify_one();
        }
    }

    /// Listens for changes of a job.
    pub fn listen(&self, key: &ObjectKey) -> Listening<'_> {
        let bell = Arc::new(Notify::new());
        let mut bells = self.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.insert(key.clone(), Arc::clone(&bell));
        Listening {
            edits: self,
            key: key.clone(),
            bell,
        }
    }
}

impl Drop for Listening<'_> {
    fn drop(&mut self) {
        let mut bells = self.edits.bells.lock().unwrap_or_else(PoisonError::into_inner);
        bells.remove(&self.key);
    }
}
