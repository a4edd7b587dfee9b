//! Credentials of a call: a token of the tenant's ServiceAccount, a role assumed with a Secret, the operator's own
//! identity; what each may do, how each is renewed, and what is reported when none is available.

fn main() -> std::process::ExitCode {
    credentials::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod credentials {
    mod accounts;
    mod machine;
    mod renewal;
    mod roles;

    pub fn main() -> std::process::ExitCode {
        crate::support::play(crate::parts![
            together accounts::a_token_of_a_service_account_opens_a_session_for_one_bucket,
            together accounts::the_commands_in_the_message_grant_access_to_the_service_account,
            together accounts::a_subject_that_the_role_does_not_trust_is_reported,
            together accounts::a_token_that_the_provider_rejects_opens_no_session,
            together roles::a_role_is_assumed_with_a_secret_and_an_external_id,
            together roles::a_session_of_a_job_may_only_score_in_its_project,
            together roles::the_operators_own_credentials_write_where_a_rule_allows_it,
            together renewal::a_rotated_secret_is_used_without_a_restart,
            alone machine::the_role_of_the_instance_writes_and_is_renewed,
            alone machine::a_named_source_that_fails_is_not_replaced_by_another,
            alone machine::a_credentials_uri_writes_where_it_is_named,
            alone renewal::an_expired_session_is_renewed_without_a_condition_change,
        ])
    }
}
