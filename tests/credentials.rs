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
    mod renewal;
    mod roles;

    pub fn main() -> std::process::ExitCode {
        crate::support::play(crate::parts![
            together accounts::a_token_of_a_service_account_opens_a_session_for_one_bucket,
            together accounts::the_two_lines_of_the_message_open_the_service_account,
            together accounts::a_subject_that_the_role_does_not_trust_is_told_so,
            together accounts::a_token_that_the_provider_does_not_vouch_for_opens_nothing,
            together roles::a_role_is_assumed_after_the_secret_with_its_external_id,
            together roles::a_session_of_a_job_may_only_score_in_its_project,
            together roles::the_operators_own_keys_write_where_a_rule_allows_it,
            together renewal::a_rotated_secret_is_used_without_a_restart,
            alone renewal::a_session_that_has_expired_is_opened_anew_and_nobody_hears_of_it,
        ])
    }
}
