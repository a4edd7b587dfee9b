//! Why the cloud refused a call, as far as the answer says: closed sets, so that messages can show all of it.

/// The side that refused a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefusedBy {
    /// The policy of the bucket.
    BucketPolicy,
    /// The RAM policies of the caller.
    RamPolicy,
    /// Both of them.
    RamAndBucketPolicy,
    /// The policy of the caller's session.
    SessionPolicy,
    /// The trust policy of the role to assume.
    TrustPolicy,
    /// A control policy of the resource directory.
    ControlPolicy,
    /// The public endpoint, which does not serve this bucket.
    PublicEndpoint,
    /// The bucket, because the caller does not pay for the request.
    RequestPayment,
}

/// Type of the identity that was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallerType {
    /// A RAM user.
    RamUser,
    /// A session of a RAM role.
    RoleSession,
    /// A user of a federated identity provider.
    FederatedUser,
}

impl CallerType {
    fn name(self) -> &'static str {
        match self {
            Self::RamUser => "a RAM user",
            Self::RoleSession => "a role session",
            Self::FederatedUser => "a federated user",
        }
    }
}

/// What the cloud says about a refused call. The default says nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Refusal {
    /// The side that refused it.
    pub by: Option<RefusedBy>,
    /// Whether a Deny statement refused it, and not only the lack of an Allow.
    pub by_deny: bool,
    /// Type of the caller.
    pub caller: Option<CallerType>,
    /// The refused action, for example `oss:PutBucketPolicy`: one that the operator uses.
    pub action: Option<&'static str>,
}

impl Refusal {
    /// Returns which side refused what, as part of a message; `None` if the cloud does not say.
    pub fn describe(&self) -> Option<String> {
        match self.by {
            Some(RefusedBy::PublicEndpoint) => {
                return Some("the public endpoint does not serve this bucket".to_owned());
            }
            Some(RefusedBy::RequestPayment) => {
                return Some("the bucket serves only requesters who pay".to_owned());
            }
            _ => {}
        }
        let what = self.action.unwrap_or("the call");
        let to = self
            .caller
            .map_or_else(String::new, |c| format!(" to {}", c.name()));
        let (denier, allower) = match self.by {
            Some(RefusedBy::BucketPolicy) => ("the bucket policy denies", "the bucket policy does not allow"),
            Some(RefusedBy::RamPolicy) => ("a RAM policy denies", "no RAM policy allows"),
            Some(RefusedBy::RamAndBucketPolicy) => (
                "a RAM policy and the bucket policy deny",
                "no RAM policy and no bucket policy allows",
            ),
            Some(RefusedBy::SessionPolicy) => {
                ("the session policy denies", "the session policy does not allow")
            }
            Some(RefusedBy::TrustPolicy) => (
                "the trust policy of the role denies",
                "the trust policy of the role does not allow",
            ),
            Some(RefusedBy::ControlPolicy) => (
                "a control policy of the resource directory denies",
                "no control policy of the resource directory allows",
            ),
            Some(RefusedBy::PublicEndpoint | RefusedBy::RequestPayment) | None => {
                return self.action.map(|action| format!("{action} is not allowed{to}"));
            }
        };
        let verb = if self.by_deny { denier } else { allower };
        Some(format!("{verb} {what}{to}"))
    }

    /// Returns what to do, if an Allow in the RAM policies of the caller does not help; otherwise `None`.
    pub fn fix(&self) -> Option<&'static str> {
        match (self.by?, self.by_deny) {
            (RefusedBy::BucketPolicy, true) => {
                Some("remove the Deny from the policy of the bucket, because it overrides every Allow")
            }
            (RefusedBy::RamPolicy, true) => Some(
                "remove the Deny from the RAM policies of this identity, because it overrides every Allow",
            ),
            (RefusedBy::RamAndBucketPolicy, true) => Some(
                "remove the Deny from the RAM policies of this identity and from the policy of the bucket, because it overrides every Allow",
            ),
            (RefusedBy::SessionPolicy, _) => Some(
                "use a session whose own policy allows it, because the policies of the role do not extend it",
            ),
            (RefusedBy::TrustPolicy, _) => Some("correct the trust policy of the role"),
            (RefusedBy::ControlPolicy, _) => Some(
                "ask the administrators of the resource directory to allow it, because no other policy can",
            ),
            (RefusedBy::PublicEndpoint, _) => Some(
                "ask the cluster operator to use the internal endpoint (Helm value network or endpoints.oss)",
            ),
            (RefusedBy::RequestPayment, _) => Some(
                "set requestPayer: Requester in the source, so that the account of the credentials pays for reading it",
            ),
            (RefusedBy::BucketPolicy | RefusedBy::RamPolicy | RefusedBy::RamAndBucketPolicy, false) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_names_the_side_the_action_and_the_type_of_the_caller() {
        let refusal = |by, by_deny| Refusal {
            by,
            by_deny,
            caller: Some(CallerType::RamUser),
            action: Some("oss:PutBucketPolicy"),
        };
        for (by, by_deny, expected, allow_helps) in [
            (
                Some(RefusedBy::BucketPolicy),
                true,
                "the bucket policy denies oss:PutBucketPolicy to a RAM user",
                false,
            ),
            (
                Some(RefusedBy::RamPolicy),
                false,
                "no RAM policy allows oss:PutBucketPolicy to a RAM user",
                true,
            ),
            (
                Some(RefusedBy::RamPolicy),
                true,
                "a RAM policy denies oss:PutBucketPolicy to a RAM user",
                false,
            ),
            (
                Some(RefusedBy::SessionPolicy),
                false,
                "the session policy does not allow oss:PutBucketPolicy to a RAM user",
                false,
            ),
            (
                Some(RefusedBy::ControlPolicy),
                true,
                "a control policy of the resource directory denies oss:PutBucketPolicy to a RAM user",
                false,
            ),
            (
                Some(RefusedBy::PublicEndpoint),
                false,
                "the public endpoint does not serve this bucket",
                false,
            ),
            (
                Some(RefusedBy::RequestPayment),
                false,
                "the bucket serves only requesters who pay",
                false,
            ),
            (
                None,
                false,
                "oss:PutBucketPolicy is not allowed to a RAM user",
                true,
            ),
        ] {
            let refusal = refusal(by, by_deny);
            assert_eq!(refusal.describe().as_deref(), Some(expected));
            assert_eq!(refusal.fix().is_none(), allow_helps, "{expected}");
        }
        assert_eq!(Refusal::default().describe(), None);
        let unknown = Refusal {
            by: Some(RefusedBy::RamPolicy),
            ..Refusal::default()
        };
        assert_eq!(
            unknown.describe().as_deref(),
            Some("no RAM policy allows the call")
        );
    }
}
