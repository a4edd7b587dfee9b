//! Tells a running job that its object or its grant has changed: a run holds its worker until it ends, so a mark in the
//! queue would reach it too late.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::Notify;

use crate::core::grant::ObjectKey;

/// The bells of running jobs.
#[derive(Default)]
pub struct JobNotifier {
    subscribers: Mutex<HashMap<ObjectKey, Arc<Notify>>>,
}

/// A job that listens; dropping it ends that.
pub struct Subscription<'a> {
    notifier: &'a JobNotifier,
    key: ObjectKey,
    /// Rings at each change.
    pub notify: Arc<Notify>,
}

impl JobNotifier {
    /// Something about a job has changed.
    pub fn notify(&self, key: &ObjectKey) {
        if let Some(bell) = self
            .subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
        {
            bell.notify_one();
        }
    }

    /// Listens for changes of a job.
    pub fn subscribe(&self, key: &ObjectKey) -> Subscription<'_> {
        let bell = Arc::new(Notify::new());
        let mut bells = self.subscribers.lock().unwrap_or_else(PoisonError::into_inner);
        bells.insert(key.clone(), Arc::clone(&bell));
        Subscription {
            notifier: self,
            key: key.clone(),
            notify: bell,
        }
    }
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        let mut bells = self
            .notifier
            .subscribers
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        bells.remove(&self.key);
    }
}
