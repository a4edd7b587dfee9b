//! The policy from before a probe: in a file, and back in the bucket.

use std::fs::File;
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::time::Duration;

use super::clock::ProbeClock;
use super::error::DoctorError;
use super::probe_keys::RenewedKeys;
use crate::cloud::{Cloud, oss_policy};
use crate::core::doctor::{PreImage, Restoration, RestoreOutcome};
use crate::core::place::BucketPlace;
use crate::ports::{AccessKeys, CloudError, CloudErrorKind};

/// How often the policy is read until it is surely as before: for longer than the 30 s in which OSS may still return the
/// policy from before a write.
const READS_AFTER_RESTORING: usize = 12;
/// Pause between these reads.
const READ_PAUSE: Duration = Duration::from_secs(3);

/// Returns the policy of a bucket.
///
/// # Errors
/// Returns why it could not be read.
pub(super) async fn read_policy(
    cloud: &Cloud,
    bucket: &BucketPlace,
    keys: &AccessKeys,
    clock: &dyn ProbeClock,
) -> Result<Option<Vec<u8>>, CloudError> {
    Ok(oss_policy::get_policy(cloud, bucket, keys, clock.now())
        .await?
        .bytes)
}

/// Writes the policy from before, or deletes the policy if there was none.
///
/// # Errors
/// Returns why OSS did not do it.
pub(super) async fn put_back(
    cloud: &Cloud,
    bucket: &BucketPlace,
    keys: &AccessKeys,
    image: &PreImage,
    clock: &dyn ProbeClock,
) -> Result<(), CloudError> {
    match &image.before {
        Some(before) => oss_policy::put_policy(cloud, bucket, keys, before, clock.now())
            .await
            .map(|_| ()),
        None => oss_policy::delete_policy(cloud, bucket, keys, clock.now())
            .await
            .map(|_| ()),
    }
}

/// Puts the policy from before back if the live one is the probe's, and reads it to be sure. `unseen` says whether a
/// write of the probe can be in effect without being shown. Credentials that the cloud rejects are obtained again.
pub async fn restore(
    cloud: &Cloud,
    bucket: &BucketPlace,
    keys: &RenewedKeys<'_>,
    image: &PreImage,
    unseen: bool,
    clock: &dyn ProbeClock,
) -> RestoreOutcome {
    let mut failure = String::new();
    let mut settled = image.written.is_empty();
    // After a write OSS may still return the policy from before it: writing again at once could replace what another
    // client has written meanwhile.
    let (mut attempt, mut last, mut written_at) = (0, READS_AFTER_RESTORING, None);
    while attempt < last {
        if attempt > 0 {
            clock.pause(READ_PAUSE).await;
        }
        attempt += 1;
        let current = match keys.get(clock.now()).await {
            Ok(current) => current,
            Err(why) => {
                failure = why.to_string();
                continue;
            }
        };
        let live = match read_policy(cloud, bucket, &current, clock).await {
            Ok(live) => live,
            Err(error) => {
                keys.on_error(&error).await;
                failure = format!("the policy could not be read ({})", error.code_and_refusal());
                continue;
            }
        };
        match image.restoration(live.as_deref()) {
            Restoration::Nothing if settled => return RestoreOutcome::Restored,
            Restoration::Nothing if attempt == last => {
                return if unseen {
                    RestoreOutcome::Uncertain
                } else {
                    RestoreOutcome::Restored
                };
            }
            Restoration::Nothing => continue,
            Restoration::Foreign => {
                let live = live.map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
                return RestoreOutcome::Foreign { live };
            }
            Restoration::PutBack if written_at.is_some_and(|at| attempt + 1 < at + READS_AFTER_RESTORING) => {
                continue;
            }
            Restoration::PutBack => {}
        }
        failure = match put_back(cloud, bucket, &current, image, clock).await {
            Ok(()) => {
                if written_at.is_none() {
                    last = attempt + READS_AFTER_RESTORING;
                }
                (settled, written_at) = (true, Some(attempt));
                "the policy still shows what the probe wrote".to_owned()
            }
            Err(error) if error.kind == CloudErrorKind::PublicAccessBlocked => {
                return RestoreOutcome::Failed(
                    "OSS rejects the policy from before as public: it was written before Block Public Access was switched on"
                        .to_owned(),
                );
            }
            Err(error) => {
                keys.on_error(&error).await;
                format!("the policy could not be restored ({})", error.code_and_refusal())
            }
        };
    }
    RestoreOutcome::Failed(failure)
}

/// Removes the file of a probe whose policy is back.
pub fn remove_restored(outcome: &RestoreOutcome, file: &Path) {
    if *outcome == RestoreOutcome::Restored {
        // A file that stays only asks for another name in the next probe.
        let _ = std::fs::remove_file(file);
    }
}

/// Stores what is needed to put the policy back, for the owner of the file only. A new file must not exist yet.
///
/// # Errors
/// Returns the message if the file cannot be written.
pub(super) fn store(path: &Path, image: &PreImage, new: bool) -> Result<(), DoctorError> {
    let stored = store_synced(path, image, new, std::fs::File::sync_all);
    stored.map_err(|source| DoctorError::Store {
        file: path.to_owned(),
        source,
    })
}

/// Stores the file and its name in the folder, so that both are there if the machine stops.
fn store_synced(
    path: &Path,
    image: &PreImage,
    new: bool,
    sync: fn(&File) -> std::io::Result<()>,
) -> std::io::Result<()> {
    let text = serde_json::to_string_pretty(image)?;
    let create = |path: &Path| -> std::io::Result<()> {
        let mut file = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)?;
        let written = file.write_all(text.as_bytes()).and_then(|()| sync(&file));
        if written.is_err() {
            // A part of the policy could not be restored, and would be in the way of the next attempt.
            let _ = std::fs::remove_file(path);
        }
        written
    };
    if new {
        create(path)?;
    } else {
        // The file is whole at any time.
        let mut next = path.as_os_str().to_owned();
        next.push(".imm-operator-next");
        let next = Path::new(&next);
        if let Err(error) = std::fs::remove_file(next)
            && error.kind() != std::io::ErrorKind::NotFound
        {
            return Err(error);
        }
        create(next)?;
        std::fs::rename(next, path)?;
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match sync(&File::open(folder.unwrap_or(Path::new(".")))?) {
        // A file system that cannot sync a folder keeps its names by other means.
        Err(error) if error.kind() == std::io::ErrorKind::InvalidInput => Ok(()),
        synced => synced,
    }
}

/// Reads a file that a probe has stored.
///
/// # Errors
/// Returns the message if it cannot be read.
pub fn read_image(path: &Path) -> Result<PreImage, DoctorError> {
    let file = || path.to_owned();
    let text = std::fs::read(path).map_err(|source| DoctorError::Read { file: file(), source })?;
    serde_json::from_slice(&text).map_err(|source| DoctorError::NotOfProbe { file: file(), source })
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::io::ErrorKind;

    use super::*;

    thread_local! {
        static SYNCED: RefCell<Vec<&'static str>> = const { RefCell::new(Vec::new()) };
    }

    #[test]
    fn the_file_is_synced_first_and_then_its_folder() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("before.json");
        let image = |written: &[&str]| PreImage {
            bucket: "pics".to_owned(),
            region: "cn-hangzhou".to_owned(),
            before: None,
            written: written.iter().map(|text| (*text).to_owned()).collect(),
            written_at: None,
            prefix: None,
        };
        let record = |file: &File| {
            let is_folder = file.metadata()?.is_dir();
            SYNCED.with_borrow_mut(|synced| synced.push(if is_folder { "folder" } else { "file" }));
            file.sync_all()
        };
        for new in [true, false] {
            store_synced(&path, &image(&["one"]), new, record).unwrap();
            assert_eq!(SYNCED.take(), ["file", "folder"], "new: {new}");
        }
        let unable = |file: &File| -> std::io::Result<()> {
            let is_folder = file.metadata()?.is_dir();
            (!is_folder).then_some(()).ok_or(ErrorKind::InvalidInput.into())
        };
        store_synced(&path, &image(&["two"]), false, unable).unwrap();
        let full = |file: &File| -> std::io::Result<()> {
            let is_folder = file.metadata()?.is_dir();
            (!is_folder).then_some(()).ok_or(ErrorKind::StorageFull.into())
        };
        store_synced(&path, &image(&["two"]), false, full).unwrap_err();
        assert_eq!(read_image(&path).unwrap(), image(&["two"]));
        let no_room = |_: &File| -> std::io::Result<()> { Err(ErrorKind::StorageFull.into()) };
        store_synced(&path, &image(&["three"]), false, no_room).unwrap_err();
        assert_eq!(read_image(&path).unwrap(), image(&["two"]));
        let other = folder.path().join("other.json");
        store_synced(&other, &image(&["one"]), true, no_room).unwrap_err();
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
