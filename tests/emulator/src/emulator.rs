//! The handle that tests hold: a running emulator, its ledger and its controls.
//! The handle always sees the newest state, whatever lag is configured for clients.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cloud::Cloud;
use crate::fault::{Fault, FaultMatch};
use crate::hold::Hold;
use crate::ledger::{Call, Counts};
use crate::options::Options;
use crate::policy::{Context, session_allows};
use crate::seed::{BucketSeed, ManySeed, ProjectSeed, Seed, SeedError};
use crate::server;
use crate::tls;
use crate::world::buckets::{Object, Scoring};
use crate::world::{Lag, StorageClass, World};

/// The reason why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The seed is invalid.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// The certificate or the key cannot be used.
    #[error("cannot speak TLS: {0}")]
    Tls(String),
    /// The address cannot be bound.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The requested address.
        address: SocketAddr,
        /// The operating system's error.
        source: std::io::Error,
    },
}

/// A running emulator. Dropping the handle stops the emulator.
#[derive(Debug)]
pub struct Emulator {
    cloud: Arc<Cloud>,
    address: SocketAddr,
    stop: watch::Sender<()>,
    server: JoinHandle<()>,
}

impl Emulator {
    /// Starts an emulator on the current tokio runtime. Fails if the seed is invalid, the TLS files cannot be used, or
    /// the address cannot be bound.
    pub async fn start(seed: Seed, options: Options) -> Result<Self, StartError> {
        let mut world = World::default();
        world.add(seed)?;
        let wanted = options.listen;
        let failed = |source| StartError::Listen {
            address: wanted,
            source,
        };
        let listener = TcpListener::bind(wanted).await.map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let tls = options.tls.as_ref().map(tls::acceptor).transpose()?;
        let cloud = Arc::new(Cloud::new(world, options));
        let (stop, stopped) = watch::channel(());
        let server = tokio::spawn(server::run(Arc::clone(&cloud), tls, listener, stopped));
        Ok(Self {
            cloud,
            address,
            stop,
            server,
        })
    }

    /// Returns `http://127.0.0.1:PORT`, the endpoint of all three services.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Returns the listening address.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Returns all calls since the start or the last `clear_calls`.
    pub fn calls(&self) -> Vec<Call> {
        self.cloud.ledger.calls()
    }

    /// Returns the number of billed calls.
    pub fn billed(&self) -> u64 {
        self.cloud.ledger.counts().billed
    }

    /// Returns the ledger's counts and the traffic of each project. The cost does not depend on the number of calls.
    pub fn counts(&self) -> Counts {
        self.cloud.counts()
    }

    /// Returns the number of billed calls of each image, by URI.
    pub fn billed_images(&self) -> BTreeMap<String, u64> {
        self.cloud.ledger.billed_images()
    }

    /// Removes all calls from the ledger and resets all counts.
    pub fn clear_calls(&self) {
        self.cloud.forget_calls();
    }

    /// Returns the newest policy of a bucket, regardless of the lag. `None` if the bucket or its policy does not exist.
    pub fn policy(&self, bucket: &str) -> Option<String> {
        let newest = self
            .cloud
            .world()
            .buckets
            .get(bucket)
            .and_then(|bucket| bucket.policy.newest());
        newest.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes or removes a policy as a foreign writer, without validation. Returns `false` if the bucket does not
    /// exist.
    pub fn set_policy(&self, bucket: &str, policy: Option<&str>) -> bool {
        self.set_policy_bytes(bucket, policy.map(|text| Bytes::copy_from_slice(text.as_bytes())))
    }

    /// Like `set_policy`, for bytes that need not be UTF-8.
    pub fn set_policy_bytes(&self, bucket: &str, policy: Option<Bytes>) -> bool {
        let mut world = self.cloud.world();
        world.buckets.get_mut(bucket).is_some_and(|bucket| {
            bucket.policy.set(policy);
            true
        })
    }

    /// Stores an object, optionally with a pinned score. Returns `false` if the bucket does not exist.
    pub fn put_object(
        &self,
        bucket: &str,
        key: &str,
        bytes: impl Into<Bytes>,
        pinned_score: Option<&str>,
    ) -> bool {
        let object = Object::new(
            bytes.into(),
            self.cloud.clock.now(),
            Scoring::pinned(pinned_score),
        );
        self.cloud.world().put_object(bucket, key, object)
    }

    /// Stores many objects at once. Returns `Ok(false)` if the bucket does not exist, and an error if the image cannot
    /// be drawn.
    pub fn put_many(&self, bucket: &str, many: ManySeed) -> Result<bool, SeedError> {
        self.cloud.put_many(bucket, many)
    }

    /// Sets the storage class of an object, and whether it has been restored. Returns `false` if the object does not
    /// exist.
    pub fn set_storage_class(&self, bucket: &str, key: &str, class: StorageClass, restored: bool) -> bool {
        let mut world = self.cloud.world();
        let bucket = world.buckets.get_mut(bucket);
        let object = bucket.and_then(|bucket| bucket.objects.get_mut(key));
        object.is_some_and(|object| {
            object.storage_class = class;
            object.restored = restored;
            true
        })
    }

    /// Sets the modification time of an object. Returns `false` if the object does not exist.
    pub fn set_modified(&self, bucket: &str, key: &str, modified: jiff::Timestamp) -> bool {
        let mut world = self.cloud.world();
        let object = world
            .buckets
            .get_mut(bucket)
            .and_then(|bucket| bucket.objects.get_mut(key));
        object.is_some_and(|object| {
            object.modified = modified;
            true
        })
    }

    /// Deletes an object. Returns `false` if the object did not exist.
    pub fn delete_object(&self, bucket: &str, key: &str) -> bool {
        let mut world = self.cloud.world();
        world
            .buckets
            .get_mut(bucket)
            .is_some_and(|bucket| bucket.objects.remove(key).is_some())
    }

    /// Adds a fault.
    pub fn add_fault(&self, fault: Fault) {
        self.cloud.faults.add(fault);
    }

    /// Holds matching calls, after the first `skip` and at most `times` of them, until the returned value is dropped.
    pub fn hold(&self, matching: FaultMatch, skip: u32, times: Option<u32>) -> Hold {
        self.cloud.holds.add(matching, skip, times)
    }

    /// Removes all faults.
    pub fn clear_faults(&self) {
        self.cloud.faults.clear();
    }

    /// Switches Block Public Access of a bucket. Returns `false` if the bucket does not exist.
    pub fn set_block_public_access(&self, bucket: &str, on: bool) -> bool {
        let mut world = self.cloud.world();
        world.buckets.get_mut(bucket).is_some_and(|bucket| {
            bucket.block_public_access = on;
            true
        })
    }

    /// Changes a setting of the bucket other than the policy, as another client. Returns `false` if the bucket does not
    /// exist, or another change is in progress.
    pub fn change_settings(&self, bucket: &str) -> bool {
        let mut world = self.cloud.world();
        world
            .buckets
            .get_mut(bucket)
            .is_some_and(|bucket| bucket.settings.take())
    }

    /// Makes a bucket pay-by-requester, or not. Returns `false` if the bucket does not exist.
    pub fn require_requester_pays(&self, bucket: &str, required: bool) -> bool {
        let mut world = self.cloud.world();
        world.buckets.get_mut(bucket).is_some_and(|bucket| {
            bucket.requester_pays = required;
            true
        })
    }

    /// Tells other accounts that a bucket does not exist, or not. Returns `false` if the bucket does not exist.
    pub fn hide_from_others(&self, bucket: &str, hidden: bool) -> bool {
        let mut world = self.cloud.world();
        world.buckets.get_mut(bucket).is_some_and(|bucket| {
            bucket.hidden_from_others = hidden;
            true
        })
    }

    /// Encrypts an object with a KMS key of an account. Returns `false` if the object does not exist.
    pub fn encrypt_with_key_of(&self, account: &str, bucket: &str, key: &str) -> bool {
        let mut world = self.cloud.world();
        let bucket = world.buckets.get_mut(bucket);
        let object = bucket.and_then(|bucket| bucket.objects.get_mut(key));
        object.is_some_and(|object| {
            object.kms_key_of = Some(account.to_owned());
            true
        })
    }

    /// Opens or closes the public endpoint for the objects of a bucket. Returns `false` if the bucket does not exist.
    pub fn forbid_public_endpoint(&self, bucket: &str, forbidden: bool) -> bool {
        let mut world = self.cloud.world();
        world.buckets.get_mut(bucket).is_some_and(|bucket| {
            bucket.public_endpoint_forbidden = forbidden;
            true
        })
    }

    /// Enforces neither the newest changes of a bucket's policy, however old they are, nor any later one; with 0, all are
    /// enforced again. Returns `false` if the bucket does not exist.
    pub fn enforce_without_newest(&self, bucket: &str, changes: usize) -> bool {
        let mut world = self.cloud.world();
        world.buckets.get_mut(bucket).is_some_and(|bucket| {
            bucket.policy.enforce_without_newest(changes);
            true
        })
    }

    /// Sets the delay after which policy changes are visible and enforced.
    pub fn set_lag(&self, lag: Lag) {
        self.cloud.world().lag = lag;
    }

    /// Sets the offset of the cloud's clock from the machine's clock.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.cloud.clock.set_offset(SignedDuration::from_secs(seconds));
    }

    /// Expires every role session issued so far.
    pub fn expire_sessions(&self) {
        let now = self.cloud.clock.now();
        for session in self.cloud.world().sessions.values_mut() {
            session.expires = now;
        }
    }

    /// Returns method and path of every request to the metadata service, with ` +token` if it carried a valid one.
    pub fn metadata_requests(&self) -> Vec<String> {
        let world = self.cloud.world();
        world
            .instance
            .as_ref()
            .map(|instance| instance.requests.clone())
            .unwrap_or_default()
    }

    /// Returns whether the session policy of an access key allows an OSS action on a bucket. A session without a policy
    /// allows everything. `None` if the session or the bucket does not exist.
    pub fn session_lets(&self, access_key_id: &str, action: &str, bucket: &str) -> Option<bool> {
        let resource = {
            let world = self.cloud.world();
            let found = world.buckets.get(bucket)?;
            format!("acs:oss:{}:{}:{bucket}", found.region, found.owner)
        };
        self.session_lets_on(access_key_id, action, &resource)
    }

    /// Like `session_lets`, for any action and resource (`acs:SERVICE:REGION:ACCOUNT:PATH`). `None` if there is no such
    /// session.
    pub fn session_lets_on(&self, access_key_id: &str, action: &str, resource: &str) -> Option<bool> {
        let world = self.cloud.world();
        let session = world.sessions.get(access_key_id)?;
        let lets = |policy| session_allows(policy, action, &[resource.to_owned()], &Context::new());
        Some(session.policy.as_ref().is_none_or(lets))
    }

    /// Adds everything in a seed to what is there.
    pub fn add(&self, seed: Seed) -> Result<(), SeedError> {
        self.cloud.world().add(seed)
    }

    /// Adds a bucket.
    pub fn add_bucket(&self, bucket: BucketSeed) -> Result<(), SeedError> {
        self.cloud.world().add_bucket(bucket)
    }

    /// Adds a project, or replaces the one of that account and name.
    pub fn add_project(&self, project: ProjectSeed) -> Result<(), SeedError> {
        self.cloud.world().add_project(project)
    }

    /// Stops, and returns once the port is free.
    pub async fn shutdown(mut self) {
        self.stop.send_replace(());
        if let Err(error) = (&mut self.server).await {
            tracing::error!(%error, "the emulator's server failed");
        }
    }
}

impl Drop for Emulator {
    fn drop(&mut self) {
        self.server.abort();
    }
}
