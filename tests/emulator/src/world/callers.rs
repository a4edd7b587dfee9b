//! Callers: an account, a RAM user or a role session, with its name in policies and its permissions.
//! RAM and the bucket policy are combined here: within one account either is enough, across accounts both are needed.

use super::World;
use super::accounts::DEFAULT_SERVICE_ROLE;
use super::buckets::{Bucket, Object};
use super::projects::Project;
use crate::denial::{AccessDeniedDetail, CONTROL_POLICY, Denial, RAM_POLICY, SESSION_POLICY};
use crate::digest::random_hex;
use crate::policy::{
    Access, Context, Decision, Document, PrincipalReading, Rights, Subject, decide, is_public, session_allows,
};
use crate::seed::RoleSeed;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Identity {
    Account,
    User(String),
    Session { role: String, session: String },
}

/// The signer of a request.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    pub(crate) account: String,
    pub(crate) identity: Identity,
    pub(crate) rights: Rights,
    pub(crate) policy: Option<Document>,
}

impl Caller {
    /// Returns the caller's name in a bucket policy.
    pub(crate) fn principal(&self) -> String {
        match &self.identity {
            Identity::Account => self.account.clone(),
            Identity::User(uid) => uid.clone(),
            Identity::Session { role, session } => {
                format!("arn:sts::{}:assumed-role/{role}/{session}", self.account)
            }
        }
    }

    fn subject(&self, owner: &str) -> Subject {
        match &self.identity {
            Identity::Account => Subject::User {
                uid: self.account.clone(),
                owner: self.account == owner,
            },
            Identity::User(uid) => Subject::User {
                uid: uid.clone(),
                owner: false,
            },
            Identity::Session { .. } => Subject::Session {
                arn: self.principal(),
            },
        }
    }

    /// Returns whether the caller's own RAM permissions cover an action.
    pub(crate) fn has_right(&self, action: &str) -> bool {
        self.rights.allow(action)
    }

    /// Returns whether the session policy allows the action. `true` if the session has no policy.
    pub(crate) fn session_lets(&self, action: &str, resources: &[String], context: &Context) -> bool {
        self.policy
            .as_ref()
            .is_none_or(|policy| session_allows(policy, action, resources, context))
    }

    /// Returns whether RAM permissions and session policy both allow the action: the complete check outside OSS.
    pub(crate) fn may(&self, action: &str, resource: &str) -> bool {
        self.has_right(action) && self.session_lets(action, &[resource.to_owned()], &Context::new())
    }

    /// Returns whether the caller may use the key that encrypts an object. A bucket policy gives nobody the key, and
    /// no key is shared with another account.
    pub(crate) fn decrypts(&self, object: &Object) -> bool {
        object.kms_key_of.as_ref().is_none_or(|account| {
            let key = format!("acs:kms:*:{account}:key/*");
            *account == self.account && self.may("kms:Decrypt", &key)
        })
    }

    /// Returns what an error says if `may` refuses the action.
    pub(crate) fn missing_right(&self, action: &str) -> AccessDeniedDetail {
        let policy_type = if self.rights.control(action) {
            CONTROL_POLICY
        } else if self.has_right(action) {
            SESSION_POLICY
        } else {
            RAM_POLICY
        };
        AccessDeniedDetail::new(policy_type, action, self)
    }

    /// Returns the session as which IMM reads for a project. Each session name is new, so that a policy that names one
    /// fixed session does not match. `None` if the role does not exist.
    pub(crate) fn service_session(world: &World, account: &str, role: &str) -> Option<Self> {
        if let Some(declared) = world.accounts.get(account).and_then(|account| account.role(role)) {
            return Some(Self::session_of(account, declared));
        }
        // The default role that IMM created may read and write objects, and may assume no other role.
        let made = || RoleSeed {
            name: role.to_owned(),
            allow: Some(vec!["oss:*".to_owned()]),
            ..RoleSeed::default()
        };
        (role == DEFAULT_SERVICE_ROLE).then(|| Self::session_of(account, &made()))
    }

    /// Returns this session with the names that a project gives it: the spelling of the role in principals, and the name
    /// of the session.
    pub(crate) fn named_by(mut self, project: &Project) -> Self {
        if let Identity::Session { role, session } = &mut self.identity {
            for (name, given) in [(role, &project.principal_role), (session, &project.session_name)] {
                if let Some(given) = given {
                    name.clone_from(given);
                }
            }
        }
        self
    }

    /// Returns a session of a role, opened by IMM.
    pub(crate) fn session_of(account: &str, role: &RoleSeed) -> Self {
        Self {
            account: account.to_owned(),
            identity: Identity::Session {
                role: role.name.clone(),
                session: format!("imm-{}", random_hex(8)),
            },
            rights: role.rights(),
            policy: None,
        }
    }
}

/// Returns the names of a bucket, or of an object in it, that a resource pattern may match.
fn resource_names(bucket: &Bucket, key: Option<&str>) -> Vec<String> {
    let path = key.map_or_else(|| bucket.name.clone(), |key| format!("{}/{key}", bucket.name));
    [bucket.region.clone(), format!("oss-{}", bucket.region)]
        .into_iter()
        .map(|region| format!("acs:oss:{region}:{}:{path}", bucket.owner))
        .collect()
}

impl World {
    /// Checks whether RAM and the bucket policy in force allow a caller an action on a bucket or object. Within the
    /// owner's account either is enough; across accounts both are needed.
    pub(crate) fn check_access(
        &self,
        caller: Option<&Caller>,
        bucket: &Bucket,
        key: Option<&str>,
        action: &str,
        context: &Context,
        reading: PrincipalReading,
    ) -> Result<(), Denial> {
        let resources = resource_names(bucket, key);
        let subject = caller.map_or(Subject::Anonymous, |caller| caller.subject(&bucket.owner));
        let policy = bucket.policy.enforced(self.lag);
        let policy = policy.and_then(|policy| policy.document.as_ref());
        let access = Access {
            subject: &subject,
            action,
            resources: &resources,
            context,
            reading,
        };
        let said = policy.map_or(Decision::NotMentioned, |policy| decide(policy, &access));
        // With Block Public Access on, a public policy grants nothing; its Deny statements stay in force.
        let public = policy.is_some_and(|policy| is_public(policy, reading.session_wildcard()));
        let muted = public && self.blocks_public_access(bucket);
        let granted = said == Decision::Allowed && !muted;
        if caller.is_some_and(|caller| caller.rights.control(action)) {
            return Err(Denial::Control);
        }
        let by_ram = caller.is_some_and(|caller| caller.rights.deny(action));
        match (said == Decision::Denied, by_ram) {
            (true, true) => return Err(Denial::RamAndBucketPolicy),
            (true, false) => return Err(Denial::BucketPolicy),
            (false, true) => return Err(Denial::RamDeny),
            (false, false) => {}
        }
        match caller {
            None if granted => Ok(()),
            None => Err(Denial::Unnamed),
            Some(caller) if !caller.session_lets(action, &resources, context) => Err(Denial::Session),
            Some(caller) if caller.account == bucket.owner && granted => Ok(()),
            Some(caller) if !caller.has_right(action) => Err(Denial::Ram),
            Some(caller) if caller.account == bucket.owner || granted => Ok(()),
            Some(_) => Err(Denial::Unnamed),
        }
    }
}
