//! Grants on a real control plane and the emulator: what users apply, what kubectl shows, and what the policy and the
//! emulator's call log contain. Numbers such as G2 are promises of docs/promises.md.

fn main() -> std::process::ExitCode {
    grants::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod grants {
    mod clusters;
    mod copies;
    mod crashes;
    mod drift;
    mod guards;
    mod leaving;
    mod merging;
    mod owners;
    mod preview;
    mod refusals;
    mod rivals;
    mod troubles;
    mod untouchable;

    pub fn main() -> std::process::ExitCode {
        crate::support::play(crate::parts![
            // The tests that wait longest start first.
            together clusters::two_clusters_share_a_statement_and_the_survivor_restores_it,
            together rivals::the_third_removal_within_an_hour_starts_a_quarrel_and_not_a_fourth_write,
            together rivals::of_a_policy_that_was_wiped_only_ours_comes_back_and_the_copy_has_the_rest,
            together preview::a_preview_that_lost_or_never_had_what_a_job_needs_starts_none,
            together copies::the_last_five_copies_are_kept_and_each_is_what_was_there,
            together copies::a_write_that_is_refused_again_and_again_pushes_no_copy_out,
            together copies::the_copies_of_another_bucket_are_not_touched,
            together merging::a_bucket_without_policy_gets_exactly_our_statements,
            together merging::foreign_statements_stay_byte_for_byte_and_come_back_alone,
            together merging::a_second_apply_and_forced_passes_write_nothing,
            together merging::the_default_preset_means_the_two_statements_of_the_recipe,
            together merging::pass_role_is_left_out_under_block_public_access,
            together merging::narrowing_the_prefixes_is_one_write_without_a_gap,
            together merging::another_grantee_is_one_write,
            together refusals::a_grant_against_the_schema_is_refused_with_its_own_message,
            together refusals::credentials_take_just_the_block_that_matches_their_source,
            together refusals::the_bucket_of_a_grant_is_immutable,
            together owners::two_grants_share_a_statement_until_the_last_one_leaves,
            together owners::twenty_grants_at_once_cost_at_most_three_writes,
            together owners::an_adopted_statement_stays_when_the_grant_goes,
            together owners::an_existing_statement_stops_a_grant_that_asks_to_fail,
            together drift::a_removed_statement_comes_back_with_one_event,
            together drift::the_document_from_before_our_write_is_first_taken_for_an_old_answer,
            together drift::a_statement_in_other_words_is_not_written_again,
            together drift::a_pass_asked_for_is_made_at_once_and_echoed,
            together guards::an_unusable_grant_holds_back_none_of_its_siblings,
            together guards::a_statement_is_only_written_with_the_keys_of_its_own_grant,
            together guards::a_foreign_change_between_our_two_reads_survives,
            together guards::a_foreign_change_right_after_our_write_is_noticed_by_the_second_look,
            together guards::a_dropped_ledger_makes_our_statement_one_that_was_there,
            together guards::a_forged_ledger_takes_no_foreign_statement_out,
            together troubles::a_policy_that_would_grow_too_large_is_left_alone,
            together troubles::a_throttled_bucket_is_tried_again_and_nobody_is_called,
            together troubles::a_missing_permission_heals_when_it_is_given,
            together troubles::a_policy_that_oss_refuses_for_its_content_is_told_with_its_code,
            together troubles::a_bucket_of_another_owner_is_reported_and_never_written,
            together troubles::a_policy_that_has_become_public_is_told,
            together troubles::a_bucket_in_another_region_is_reported_and_never_written,
            together leaving::a_suspended_grant_is_left_alone_and_can_be_deleted,
            together leaving::a_retained_statement_stays_without_a_write,
            together leaving::the_last_statement_takes_the_policy_with_it,
            together leaving::a_grant_whose_bucket_is_gone_is_released,
            together leaving::a_grant_without_its_secret_waits_until_it_is_abandoned,
            together preview::what_a_preview_shows_is_what_enforcing_writes,
            together preview::a_preview_takes_nothing_out_until_it_is_deleted,
            together preview::reported_drift_is_shown_and_not_corrected,
            together rivals::a_deny_of_somebody_else_is_seen_and_jobs_wait,
            together rivals::a_statement_that_somebody_widened_is_theirs_and_ours_comes_back_beside_it,
            together untouchable::a_policy_that_cannot_be_edited_safely_is_never_written,
            together untouchable::an_odd_policy_is_carried_byte_for_byte,
            alone crashes::a_crash_after_the_write_loses_and_doubles_nothing,
            alone crashes::a_crash_after_an_unanswered_write_loses_and_doubles_nothing,
            alone crashes::without_a_stored_ledger_nothing_is_written,
        ])
    }
}
