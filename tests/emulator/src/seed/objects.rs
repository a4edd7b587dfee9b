//! The objects of a bucket in the seed.

use std::path::{Path, PathBuf};

use bytes::Bytes;
use serde::Deserialize;

use super::{SeedError, decimal, file};
use crate::pictures::{self, Picture};

/// An object: a file, a generated picture, or raw bytes.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ObjectSeed {
    /// The object's key.
    pub key: String,
    /// A file with the object's bytes.
    pub file: Option<PathBuf>,
    /// A generated picture.
    pub image: Option<Picture>,
    /// The score to return instead of one computed from the pixels.
    #[serde(deserialize_with = "decimal")]
    pub score: Option<String>,
    /// The modification time. Absent means December 2023.
    pub modified: Option<jiff::Timestamp>,
    /// The UID of the account whose KMS key encrypts the object. Absent means no such key.
    pub kms_key_of: Option<String>,
    /// The bytes, once the file was read or the picture was drawn.
    #[serde(skip)]
    pub bytes: Bytes,
}

impl ObjectSeed {
    pub(super) fn fill(&mut self, base: &Path) -> Result<(), SeedError> {
        if let Some(name) = &self.file {
            self.bytes = file(&base.join(name))?.into();
        } else if let Some(picture) = &self.image {
            self.bytes = drawn(picture, &self.key)?;
        } else if self.score.is_some() {
            // An empty object has no score.
            self.bytes = Bytes::from_static(b"pixels");
        }
        Ok(())
    }
}

/// Many objects with the same bytes, named `{prefix}{seven digits}{suffix}`.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub struct ManySeed {
    /// The prefix of every key.
    pub prefix: String,
    /// The suffix of every key. Default `.jpg`.
    pub suffix: String,
    /// The first number.
    pub first: u64,
    /// The number of objects.
    pub count: u64,
    /// The modification time. Absent means December 2023.
    pub modified: Option<jiff::Timestamp>,
    /// The picture of every object. Default: a tiny one.
    pub image: Picture,
    /// The score of every object. Absent means a score derived from each key by `score::of_key`.
    #[serde(deserialize_with = "decimal")]
    pub score: Option<String>,
    /// The bytes, once the picture was drawn.
    #[serde(skip)]
    pub bytes: Bytes,
}

impl Default for ManySeed {
    fn default() -> Self {
        Self {
            prefix: String::new(),
            suffix: ".jpg".to_owned(),
            first: 0,
            count: 0,
            modified: None,
            image: Picture {
                kind: pictures::Kind::Sharp,
                width: 8,
                height: 8,
                seed: 0,
            },
            score: None,
            bytes: Bytes::new(),
        }
    }
}

impl ManySeed {
    /// Returns the key with the given number.
    pub fn key(&self, number: u64) -> String {
        format!("{}{number:07}{}", self.prefix, self.suffix)
    }

    /// Draws the picture. Fails if it cannot be encoded.
    pub(crate) fn fill(&mut self) -> Result<(), SeedError> {
        self.bytes = drawn(&self.image, &self.prefix)?;
        Ok(())
    }
}

fn drawn(picture: &Picture, key: &str) -> Result<Bytes, SeedError> {
    pictures::jpeg(picture).map_err(|error| SeedError::Picture {
        key: key.to_owned(),
        reason: error.to_string(),
    })
}
