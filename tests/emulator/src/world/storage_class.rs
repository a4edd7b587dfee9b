//! Storage classes of objects. Source: OSS pages "Overview of storage classes" and "Restore objects".

/// The storage class of an object.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum StorageClass {
    /// Read without restriction.
    #[default]
    Standard,
    /// Infrequent Access: read without restriction.
    InfrequentAccess,
    /// Read only after it has been restored.
    Archive,
    /// Read only after it has been restored.
    ColdArchive,
    /// Read only after it has been restored.
    DeepColdArchive,
}

impl StorageClass {
    /// Reads the name that OSS uses.
    pub(crate) fn from_name(name: &str) -> Option<Self> {
        [
            Self::Standard,
            Self::InfrequentAccess,
            Self::Archive,
            Self::ColdArchive,
            Self::DeepColdArchive,
        ]
        .into_iter()
        .find(|class| class.name() == name)
    }

    /// Returns the name that OSS uses.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Standard => "Standard",
            Self::InfrequentAccess => "IA",
            Self::Archive => "Archive",
            Self::ColdArchive => "ColdArchive",
            Self::DeepColdArchive => "DeepColdArchive",
        }
    }

    /// Returns whether an object must be restored before it can be read.
    pub(crate) fn is_archived(self) -> bool {
        matches!(self, Self::Archive | Self::ColdArchive | Self::DeepColdArchive)
    }
}
