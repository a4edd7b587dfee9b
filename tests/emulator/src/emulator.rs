//! The handle that tests hold: a running emulator, its ledger, and the orders it takes.
//! It sees the newest state of everything, whatever lag the clients are made to see.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use jiff::SignedDuration;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::cloud::Cloud;
use crate::fault::Fault;
use crate::ledger::{Call, Counts};
use crate::options::Options;
use crate::policy::{Context, session_allows};
use crate::seed::{BucketSeed, ManySeed, ProjectSeed, Seed, SeedError};
use crate::server;
use crate::tls;
use crate::world::buckets::{Object, Scoring};
use crate::world::{Lag, World};

/// Why an emulator did not start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The seed contradicts itself.
    #[error(transparent)]
    Seed(#[from] SeedError),
    /// Certificate or key cannot be used.
    #[error("cannot speak TLS: {0}")]
    Tls(String),
    /// The port cannot be had.
    #[error("cannot listen on {address}: {source}")]
    Listen {
        /// The address asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
}

/// A running emulator. Dropping it stops it.
#[derive(Debug)]
pub struct Emulator {
    cloud: Arc<Cloud>,
    address: SocketAddr,
    stop: watch::Sender<()>,
    server: JoinHandle<()>,
}

impl Emulator {
    /// Starts an emulator on the current tokio runtime.
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

    /// `http://127.0.0.1:PORT`, the endpoint of all three services.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// All calls since the start or the last clearing.
    pub fn calls(&self) -> Vec<Call> {
        self.cloud.ledger.calls()
    }

    /// How many of them cost money.
    pub fn billed(&self) -> u64 {
        self.cloud.ledger.counts().billed
    }

    /// The ledger in numbers, and how each project was used. Cheap, however many calls there were.
    pub fn counts(&self) -> Counts {
        self.cloud.counts()
    }

    /// How many billed calls there were for each image, by its URI.
    pub fn billed_images(&self) -> BTreeMap<String, u64> {
        self.cloud.ledger.billed_images()
    }

    /// Forgets the calls.
    pub fn clear_calls(&self) {
        self.cloud.forget_calls();
    }

    /// The newest policy of a bucket, whatever the lag; `None` if there is no policy or no bucket.
    pub fn policy(&self, bucket: &str) -> Option<String> {
        let newest = self
            .cloud
            .world()
            .buckets
            .get(bucket)
            .and_then(|bucket| bucket.policy.newest());
        newest.map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// Writes or removes a policy as a foreign writer, unchecked. False if there is no such bucket.
    pub fn set_policy(&self, bucket: &str, policy: Option<&str>) -> bool {
        self.set_policy_bytes(bucket, policy.map(|text| Bytes::copy_from_slice(text.as_bytes())))
    }

    /// The same with bytes that need not be text.
    pub fn set_policy_bytes(&self, bucket: &str, policy: Option<Bytes>) -> bool {
        let mut world = self.cloud.world();
        world.buckets.get_mut(bucket).is_some_and(|bucket| {
            bucket.policy.set(policy);
            true
        })
    }

    /// Puts an object, with a score of the caller's choice if one is given. False if there is no such bucket.
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

    /// Puts many objects at once. False if there is no such bucket.
    pub fn put_many(&self, bucket: &str, many: ManySeed) -> Result<bool, SeedError> {
        self.cloud.put_many(bucket, many)
    }

    /// Sets when an object was last written. False if there is no such object.
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

    /// Removes an object. False if it was not there.
    pub fn delete_object(&self, bucket: &str, key: &str) -> bool {
        let mut world = self.cloud.world();
        world
            .buckets
            .get_mut(bucket)
            .is_some_and(|bucket| bucket.objects.remove(key).is_some())
    }

    /// Orders a fault.
    pub fn add_fault(&self, fault: Fault) {
        self.cloud.faults.add(fault);
    }

    /// Takes all faults back.
    pub fn clear_faults(&self) {
        self.cloud.faults.clear();
    }

    /// Switches Block Public Access of a bucket. False if there is no such bucket.
    pub fn set_block_public_access(&self, bucket: &str, on: bool) -> bool {
        let mut world = self.cloud.world();
        world.buckets.get_mut(bucket).is_some_and(|bucket| {
            bucket.block_public_access = on;
            true
        })
    }

    /// Sets how late policies are seen and enforced.
    pub fn set_lag(&self, lag: Lag) {
        self.cloud.world().lag = lag;
    }

    /// Moves the cloud's clock against the machine's.
    pub fn set_clock_offset(&self, seconds: i64) {
        self.cloud.clock.set_offset(SignedDuration::from_secs(seconds));
    }

    /// Ends every role session that was opened so far, as if its time were over.
    pub fn expire_sessions(&self) {
        let now = self.cloud.clock.now();
        for session in self.cloud.world().sessions.values_mut() {
            session.expires = now;
        }
    }

    /// Whether the policy of a role session, told by its key, lets an OSS action on a bucket through; a session without
    /// a policy lets everything through. `None` if there is no such session.
    pub fn session_lets(&self, access_key_id: &str, action: &str, bucket: &str) -> Option<bool> {
        let resource = {
            let world = self.cloud.world();
            let found = world.buckets.get(bucket)?;
            format!("acs:oss:{}:{}:{bucket}", found.region, found.owner)
        };
        self.session_lets_on(access_key_id, action, &resource)
    }

    /// The same for any action and resource, `acs:SERVICE:REGION:ACCOUNT:PATH`.
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
