//! Namespaces that are deleted and created again, and the credentials in them.

use imm_operator::core::grant::ObjectKey;
use imm_operator::core::identity::Identity;

use super::specs::credentials;
use super::step::Rotation;
use super::world::World;

impl World {
    pub fn delete_namespace(&mut self, number: u8) -> bool {
        let name = format!("ns-{}", number % self.size.1);
        let namespace = self.namespaces.get_mut(&name).unwrap();
        if namespace.terminating || namespace.gone {
            return false;
        }
        namespace.terminating = true;
        self.awaited.retain(|key, _| key.namespace != name);
        let within = |key: &&ObjectKey| key.namespace == name;
        let jobs: Vec<ObjectKey> = self.jobs.keys().filter(within).cloned().collect();
        let grants: Vec<ObjectKey> = self.grants.keys().filter(within).cloned().collect();
        for number in 0..2 {
            let identity = Identity::of(&name, &credentials(number)).unwrap();
            self.credentials.insert(identity, Rotation::Deleted);
        }
        for key in jobs {
            self.delete_job(&key);
        }
        for key in grants {
            self.delete(&key);
        }
        self.end_namespace(&name);
        true
    }

    /// Ends a terminating namespace that has no grants left, and creates it again if somebody waits for that.
    pub fn end_namespace(&mut self, name: &str) {
        let left = self.grants.keys().any(|key| key.namespace == name);
        let Some(namespace) = self.namespaces.get_mut(name).filter(|n| n.terminating) else {
            return;
        };
        if left {
            return;
        }
        namespace.terminating = false;
        namespace.gone = true;
        if std::mem::take(&mut namespace.again) {
            self.begin_namespace(name);
        }
    }

    fn begin_namespace(&mut self, name: &str) {
        let now = self.true_time();
        let namespace = self.namespaces.get_mut(name).unwrap();
        namespace.gone = false;
        namespace.lives += 1;
        namespace.since = Some(now);
        for number in 0..2 {
            let identity = Identity::of(name, &credentials(number)).unwrap();
            self.credentials.insert(identity, Rotation::Replaced);
        }
    }

    pub fn create_namespace(&mut self, number: u8) -> bool {
        let name = format!("ns-{}", number % self.size.1);
        let namespace = self.namespaces.get_mut(&name).unwrap();
        if namespace.terminating {
            return !std::mem::replace(&mut namespace.again, true);
        }
        if namespace.gone {
            self.begin_namespace(&name);
            return true;
        }
        namespace.again = true;
        self.delete_namespace(number)
    }

    pub fn rotate(&mut self, identity: &Identity, how: Rotation) -> bool {
        // Nothing can be created in a namespace that is being deleted, and nothing is left in one that is gone.
        let namespace = self.namespaces.get(identity.namespace());
        if !identity.is_operator() && namespace.is_some_and(|n| n.terminating || n.gone) {
            return false;
        }
        if how == Rotation::Replaced {
            self.cloud.revoke(identity);
        }
        let before = self.credentials.insert(identity.clone(), how);
        how == Rotation::Replaced || before.unwrap_or(Rotation::Restored) != how
    }
}
