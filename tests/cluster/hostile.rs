//! Hostile tenants: users with the built-in role `edit` or `admin` of one namespace, and Pods without any role, who
//! try to use what belongs to others, or to stop the work for them. The controllers of Kubernetes run here, because
//! they complete the built-in roles.

fn main() -> std::process::ExitCode {
    hostile::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod hostile {
    mod answers;
    mod commands;
    mod crowding;
    mod deleting;
    mod lending;
    mod limits;
    mod process;
    mod references;
    mod revoking;
    mod waking;

    pub fn main() -> std::process::ExitCode {
        let options = imm_harness::Options {
            controllers: true,
            ..imm_harness::Options::default()
        };
        let parts = crate::parts![
            together deleting::a_grant_that_owns_nothing_is_deleted_without_any_credentials,
            together deleting::a_deletion_does_not_borrow_the_operators_identity,
            apart deleting::what_the_operators_identity_has_written_it_removes_after_its_rule_is_gone,
            together revoking::a_grant_that_may_only_read_does_not_keep_the_statement_of_another_tenant,
            together references::a_grant_made_again_by_somebody_else_opens_its_own_reference,
            together lending::a_rule_for_grants_lends_the_operators_identity_to_no_job_and_only_with_its_role,
            together lending::the_operators_identity_lists_only_buckets_of_allowed_owners,
            together lending::a_job_with_the_operators_identity_waits_until_sts_confirms_its_account,
            together lending::a_forged_status_lends_the_operators_identity_no_bucket_of_another_owner,
            apart crowding::wrong_grants_delay_others_hardly_more_than_right_ones,
            apart crowding::waiting_jobs_delay_others_hardly_more_than_suspended_ones,
            together answers::a_secret_whose_answer_is_cut_short_is_not_logged,
            together commands::a_manifest_sends_no_request_to_a_host_of_its_choice,
            together commands::what_a_terminal_obeys_is_printed_escaped,
            together process::a_crash_leaves_no_core_dump,
            apart process::with_older_crds_the_operator_is_not_ready_and_keeps_the_ledger,
            alone limits::a_time_years_ahead_in_a_status_stops_nobody,
            alone limits::half_open_connections_do_not_stop_the_probes,
            alone limits::large_objects_fit_into_memory_at_the_start,
            alone limits::manifests_of_rejected_lines_fit_into_memory,
            together waking::annotations_of_a_grant_wake_none_of_the_jobs_that_name_it,
        ];
        crate::support::play::play_with(options, parts)
    }
}
