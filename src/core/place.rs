//! Places in the cloud whose names follow their grammar. A URL is built from these types only: a name from a manifest, or
//! from an object that is older than the schema, could otherwise name another host.

use super::validate::{ObjectUri, ValidationError, check_bucket, check_project, check_region};
use crate::api::{BucketRef, ProjectRef};

/// A bucket in a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BucketPlace {
    name: String,
    region: String,
}

impl BucketPlace {
    /// Checks name and region.
    ///
    /// # Errors
    /// The first of them that does not follow its grammar.
    pub fn new(name: &str, region: &str) -> Result<Self, ValidationError> {
        check_bucket("spec.bucket.name", name)?;
        check_region("spec.bucket.region", region)?;
        Ok(Self {
            name: name.to_owned(),
            region: region.to_owned(),
        })
    }

    /// Checks the bucket of a spec.
    ///
    /// # Errors
    /// The first name that does not follow its grammar.
    pub fn of(bucket: &BucketRef) -> Result<Self, ValidationError> {
        Self::new(&bucket.name, &bucket.region)
    }

    /// Name of the bucket.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Region of the bucket.
    pub fn region(&self) -> &str {
        &self.region
    }
}

/// An object in a bucket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ObjectPlace {
    bucket: BucketPlace,
    key: String,
}

impl ObjectPlace {
    /// Checks the names and the key.
    ///
    /// # Errors
    /// The first of them that does not follow its grammar.
    pub fn new(object: &ObjectUri, region: &str) -> Result<Self, ValidationError> {
        let bucket = BucketPlace::new(&object.bucket, region)?;
        check_object_path("object", &object.key)?;
        Ok(Self {
            bucket,
            key: object.key.clone(),
        })
    }

    /// Bucket of the object.
    pub fn bucket(&self) -> &BucketPlace {
        &self.bucket
    }

    /// Key of the object.
    pub fn key(&self) -> &str {
        &self.key
    }
}

/// Checks a key that becomes the path of a URL: HTTP clients normalise the segments `.` and `..`, so that another object
/// would be read.
///
/// # Errors
/// The rule that the key violates, with `field` as its path.
pub fn check_object_path(field: &'static str, key: &str) -> Result<(), ValidationError> {
    let rule = "must not contain the path segments . or ..";
    if key.is_empty() || key.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(ValidationError { field, rule });
    }
    Ok(())
}

/// A project in a region.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProjectPlace {
    name: String,
    region: String,
}

impl ProjectPlace {
    /// Checks the project of a spec.
    ///
    /// # Errors
    /// The first name that does not follow its grammar.
    pub fn of(project: &ProjectRef) -> Result<Self, ValidationError> {
        check_project("spec.project.name", &project.name)?;
        check_region("spec.project.region", &project.region)?;
        Ok(Self {
            name: project.name.clone(),
            region: project.region.clone(),
        })
    }

    /// Name of the project.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Region of the project.
    pub fn region(&self) -> &str {
        &self.region
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_could_change_the_host_or_the_path_is_no_place() {
        assert!(BucketPlace::new("pics", "cn-hangzhou").is_ok());
        for name in [
            "127.0.0.1:18443/",
            "pics.example.com",
            "pics/../x",
            "u@host",
            "pics#",
            "pics?",
            "",
            "[::1]",
        ] {
            assert!(BucketPlace::new(name, "cn-hangzhou").is_err(), "{name}");
            assert!(BucketPlace::new("pics", name).is_err(), "{name}");
            let project = ProjectRef {
                name: "immtest".to_owned(),
                region: name.to_owned(),
                account_uid: String::new(),
            };
            assert!(ProjectPlace::of(&project).is_err(), "{name}");
        }
        for key in ["", "..", "a/../b", "./a"] {
            let object = ObjectUri {
                bucket: "pics".to_owned(),
                key: key.to_owned(),
            };
            assert!(ObjectPlace::new(&object, "cn-hangzhou").is_err(), "{key}");
        }
    }
}
