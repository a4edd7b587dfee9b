//! Grants on a real control plane and the emulator: what users apply, what kubectl shows, and what the policy and the
//! emulator's call log contain. Numbers such as G2 are promises of docs/src/reference/guarantees.md.

fn main() -> std::process::ExitCode {
    grants::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod grants {
    mod backups;
    mod broken_rules;
    mod cloud_errors;
    mod clusters;
    mod crashes;
    mod deletion;
    mod denies;
    mod drift;
    mod every_rule;
    mod grammar;
    mod isolation;
    mod merging;
    mod other_writers;
    mod own_metadata;
    mod owners;
    mod preview;
    mod principals;
    mod rule_costs;
    mod settings_lock;
    mod unusual_policies;
    mod validation;

    pub fn main() -> std::process::ExitCode {
        crate::support::play(crate::parts![
            // The tests that wait longest start first.
            together clusters::two_clusters_share_a_statement_and_the_remaining_one_restores_it,
            together other_writers::the_third_removal_within_an_hour_is_repeated_drift_and_writes_nothing,
            together other_writers::access_comes_back_during_the_wait_by_hand_or_with_a_new_grant,
            together other_writers::of_a_wiped_policy_only_our_statements_are_restored_and_the_backup_has_the_rest,
            together preview::a_preview_without_the_statements_of_a_job_starts_no_job,
            together backups::the_last_five_backups_are_kept_and_each_is_the_policy_before_its_write,
            together backups::a_write_that_is_rejected_repeatedly_removes_no_backup,
            together backups::the_backups_of_another_bucket_are_not_touched,
            together merging::a_bucket_without_policy_gets_exactly_our_statements,
            together merging::foreign_statements_stay_byte_for_byte_and_remain_after_deletion,
            together merging::a_second_apply_and_requested_reconciles_write_nothing,
            together merging::the_default_preset_is_the_two_documented_statements,
            together merging::pass_role_is_omitted_under_block_public_access,
            together merging::narrowing_the_prefixes_is_one_write_without_a_gap,
            together merging::another_grantee_is_one_write,
            together validation::check_14_a_grant_that_violates_the_schema_is_rejected_with_its_own_message,
            together every_rule::check_14_every_rule_of_both_kinds_is_broken_and_answers_with_its_message,
            together validation::credentials_accept_only_the_block_that_matches_their_source,
            together validation::the_bucket_of_a_grant_is_immutable,
            together grammar::plan_and_the_api_server_agree_on_every_manifest,
            together grammar::a_plan_reads_lists_and_several_documents,
            together grammar::times_and_numbers_of_a_job_are_decoded_as_they_are_stored,
            together rule_costs::every_rule_costs_less_than_half_the_limit,
            together owners::two_grants_share_a_statement_until_the_last_one_is_deleted,
            together owners::twenty_grants_at_once_cost_at_most_three_writes,
            together owners::an_adopted_statement_stays_when_the_grant_is_deleted,
            together owners::an_existing_statement_stalls_a_grant_with_adoption_policy_fail,
            together drift::a_removed_statement_is_restored_with_one_event,
            together drift::the_document_from_before_our_write_is_first_taken_for_a_stale_read,
            together drift::a_statement_with_the_same_meaning_is_not_written_again,
            together drift::a_requested_reconcile_runs_immediately_and_is_echoed,
            together isolation::an_invalid_grant_blocks_no_other_grant_of_the_bucket,
            together isolation::a_grant_that_oss_rejects_blocks_neither_additions_nor_removals_of_others,
            together isolation::a_statement_is_only_written_with_the_credentials_of_its_own_grant,
            together isolation::a_foreign_change_between_our_two_reads_survives,
            together isolation::a_foreign_change_right_after_our_write_is_found_by_the_second_check,
            together isolation::a_dropped_ledger_makes_our_statement_pre_existing,
            together isolation::a_forged_ledger_removes_no_foreign_statement,
            together settings_lock::grants_become_live_while_another_client_changes_settings_of_the_buckets,
            together cloud_errors::every_change_to_stalled_is_a_warning_event,
            together cloud_errors::a_policy_that_would_grow_too_large_is_not_written,
            together cloud_errors::a_throttled_bucket_is_retried_and_does_not_stall,
            together cloud_errors::a_grant_recovers_when_a_missing_permission_is_granted,
            together cloud_errors::a_policy_that_oss_rejects_for_its_content_is_reported_with_its_code,
            together cloud_errors::a_bucket_of_another_owner_is_reported_and_never_written,
            together cloud_errors::a_policy_that_has_become_public_is_reported,
            together cloud_errors::a_bucket_in_another_region_is_reported_and_never_written,
            together deletion::a_suspended_grant_is_not_reconciled_and_can_be_deleted,
            together deletion::a_retained_statement_stays_without_a_write,
            together deletion::the_policy_is_deleted_with_its_last_statement,
            together deletion::a_grant_whose_bucket_is_missing_is_released,
            together deletion::a_bucket_that_other_credentials_do_not_see_is_not_taken_for_missing,
            together deletion::a_grant_without_its_secret_waits_until_it_is_abandoned,
            together preview::enforcing_writes_exactly_the_previewed_policy,
            together preview::a_preview_removes_nothing_until_it_is_deleted,
            together preview::a_preview_that_can_no_longer_read_the_policy_shows_no_plan,
            together preview::reported_drift_is_shown_and_not_corrected,
            together denies::a_foreign_deny_is_reported_and_jobs_wait,
            together denies::a_deny_for_some_objects_fails_only_their_items,
            together denies::a_deny_that_is_not_certain_stops_no_job,
            together denies::a_job_waits_for_the_end_of_a_deny_no_longer_than_its_grant_wait,
            together denies::a_deny_in_another_spelling_is_found,
            together denies::a_deny_that_alibaba_cloud_added_is_named_and_bounds_the_wait,
            together principals::a_policy_that_oss_counts_as_public_is_announced,
            together principals::a_rejected_session_wildcard_leaves_ways_that_the_message_names,
            together principals::a_statement_that_counts_as_public_is_announced,
            together principals::the_case_of_a_role_is_written_and_not_compared,
            together principals::a_whole_account_needs_a_rule_and_is_named,
            together principals::another_form_of_the_principal_is_one_write,
            together principals::what_this_version_cannot_verify_is_carried,
            together own_metadata::a_grant_that_is_replaced_and_deleted_at_once_leaves_no_statement,
            together own_metadata::a_removed_finalizer_is_added_again,
            together own_metadata::a_deletion_that_bypasses_the_finalizer_is_finished_from_memory,
            together own_metadata::a_grant_with_the_longest_name_has_events,
            together own_metadata::large_members_of_a_ledger_entry_survive_the_writes_of_its_status,
            together other_writers::a_widened_statement_becomes_foreign_and_ours_is_restored_beside_it,
            together unusual_policies::a_policy_that_cannot_be_edited_safely_is_never_written,
            together unusual_policies::an_unusual_policy_is_preserved_byte_for_byte,
            alone crashes::a_crash_after_the_write_loses_and_duplicates_nothing,
            alone crashes::a_crash_after_an_unanswered_write_loses_and_duplicates_nothing,
            alone crashes::without_a_stored_ledger_nothing_is_written,
        ])
    }
}
