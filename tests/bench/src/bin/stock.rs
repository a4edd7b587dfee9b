//! The Rust peer: kube's `Controller` as in its examples, for the same kind, with a reconciler that does nothing.
//! Prints a line once it has reconciled the expected number of grants, and keeps running.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::StreamExt;
use imm_operator::api::ImmBucketGrant;
use imm_operator::kubernetes::now;
use kube::runtime::Controller;
use kube::runtime::controller::Action;
use kube::runtime::watcher;
use kube::{Api, Client, ResourceExt};

struct Seen {
    wanted: usize,
    uids: Mutex<HashSet<String>>,
}

async fn reconcile(grant: Arc<ImmBucketGrant>, seen: Arc<Seen>) -> Result<Action, std::convert::Infallible> {
    let mut uids = seen.uids.lock().unwrap_or_else(PoisonError::into_inner);
    if uids.insert(grant.uid().unwrap_or_default()) && uids.len() == seen.wanted {
        println!("seen {} at {:.6}", seen.wanted, now().as_duration().as_secs_f64());
    }
    Ok(Action::await_change())
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let wanted = std::env::args().nth(1).unwrap_or_default().parse()?;
    let seen = Seen {
        wanted,
        uids: Mutex::default(),
    };
    let grants: Api<ImmBucketGrant> = Api::all(Client::try_default().await?);
    Controller::new(grants, watcher::Config::default())
        .run(
            reconcile,
            |_, _, _| Action::requeue(Duration::from_secs(5)),
            Arc::new(seen),
        )
        .for_each(|_| std::future::ready(()))
        .await;
    Ok(())
}
