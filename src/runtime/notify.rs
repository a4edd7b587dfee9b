//! Notifies a running job of changes to its object or its grant. A run occupies its worker until it ends, so a trigger in
//! the queue would be handled too late.

use std::collections::HashMap;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::core::grant::ObjectKey;

/// Subscriptions of the running jobs, by object key.
#[derive(Default)]
pub struct JobNotifier {
    subscribers: Mutex<HashMap<ObjectKey, Arc<Notify>>>,
}

/// Subscription of one running job; dropping it unsubscribes.
pub struct Subscription<'a> {
    notifier: &'a JobNotifier,
    key: ObjectKey,
    /// Notified at each change; several changes may coalesce into one notification.
    pub notify: Arc<Notify>,
}

impl JobNotifier {
    /// Notifies the running job of a change. Has no effect if the job is not subscribed.
    pub fn notify(&self, key: &ObjectKey) {
        if let Some(notify) = self.subscribers.lock().get(key) {
            notify.notify_one();
        }
    }

    /// Subscribes to changes of a job; replaces an earlier subscription of the same job.
    pub fn subscribe(&self, key: &ObjectKey) -> Subscription<'_> {
        let notify = Arc::new(Notify::new());
        let mut subscribers = self.subscribers.lock();
        subscribers.insert(key.clone(), Arc::clone(&notify));
        Subscription {
            notifier: self,
            key: key.clone(),
            notify,
        }
    }
}

impl Drop for Subscription<'_> {
    fn drop(&mut self) {
        let mut subscribers = self.notifier.subscribers.lock();
        subscribers.remove(&self.key);
    }
}
