//! Jobs on a real control plane and the emulator: what users apply, what kubectl shows, and which calls the emulator
//! recorded and billed. Numbers such as J6 are promises of docs/promises.md.

fn main() -> std::process::ExitCode {
    jobs::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod jobs {
    mod chain;
    mod clock;
    mod crashes;
    mod edits;
    mod failing;
    mod keys;
    mod losses;
    mod manifests;
    mod pace;
    mod projects;
    mod results;
    mod rules;
    mod scoring;
    mod shelf;
    mod shown;
    mod sources;
    mod stops;
    mod thresholds;
    mod time;
    mod waiting;

    pub fn main() -> std::process::ExitCode {
        // The garbage collector is one of the controllers: reports go with their job.
        let options = imm_harness::Options {
            controllers: true,
            ..imm_harness::Options::default()
        };
        let parts = crate::parts![
            // These wait for a minute, so they are begun first.
            together losses::a_job_that_was_robbed_of_its_status_goes_on_when_a_person_says_so,
            together losses::a_job_whose_start_may_not_be_marked_says_so_and_calls_nothing,
            together keys::keys_of_another_account_are_not_taken_up_by_a_running_job,
            together scoring::the_recipe_scores_one_image,
            together scoring::an_ended_job_is_left_alone,
            together scoring::a_few_failed_items_do_not_fail_the_job,
            together scoring::more_failed_items_than_allowed_fail_the_job,
            together scoring::an_item_that_fails_for_a_while_is_tried_again,
            together scoring::throttling_slows_down_and_fails_nothing,
            together waiting::a_job_makes_no_call_before_its_grant_has_settled,
            together waiting::a_grant_that_never_comes_fails_the_job_without_a_call,
            together waiting::a_missing_grant_and_a_forbidden_one_read_the_same,
            together waiting::a_grant_that_does_not_cover_the_job_fails_it_without_a_call,
            together waiting::a_bucket_in_another_region_fails_the_job_without_a_call,
            together waiting::a_lost_grant_stops_the_calls_until_it_is_back,
            together failing::a_refused_role_costs_one_request,
            together failing::a_missing_project_costs_no_paid_request,
            together failing::a_restored_job_waits_for_a_person,
            together failing::what_was_paid_for_cannot_be_changed,
            together failing::what_a_job_may_not_ask_for_is_refused_by_the_name_of_its_field,
            together pace::the_budget_pauses_the_job_until_it_is_raised,
            together pace::a_job_that_rests_on_its_budget_asks_the_cloud_for_nothing,
            together pace::the_budget_fails_the_job_that_asks_for_it,
            together pace::parallelism_is_a_ceiling_and_can_be_raised_meanwhile,
            together keys::rotated_keys_are_used_without_a_restart,
            together keys::a_missing_secret_is_told_and_awaited,
            together sources::a_prefix_is_counted_scored_and_reported,
            together chain::a_chain_of_roles_needs_no_grant_and_costs_one_request_when_broken,
            together chain::a_chain_says_the_same_of_a_grant_and_of_itself,
            together keys::keys_of_another_account_are_told_and_call_nothing,
            together manifests::a_manifest_is_scored_line_by_line,
            together manifests::a_manifest_that_is_replaced_ends_the_job_with_what_it_has,
            together manifests::a_line_that_the_grant_does_not_cover_costs_nothing,
            together manifests::a_manifest_that_is_missing_empty_or_too_long_costs_nothing,
            together pace::two_namespaces_with_keys_of_one_account_share_the_pace_of_a_project,
            together pace::a_project_with_a_low_limit_is_asked_and_spared,
            together pace::a_project_that_does_not_tell_its_limits_is_asked_once,
            together results::a_hundred_results_are_in_status_and_more_or_longer_ones_in_reports,
            together results::the_worst_are_printed_lowest_first_from_status_and_from_reports,
            alone results::reports_and_status_stay_small_however_long_the_keys,
            together results::a_report_that_somebody_deletes_or_edits_meanwhile_costs_no_second_call,
            together results::a_report_that_somebody_edits_meanwhile_is_put_right,
            together results::only_the_results_asked_for_are_kept,
            together results::results_go_when_their_time_is_over_and_the_job_stays,
            together rules::rules_say_which_items_fail_are_ignored_or_are_tried_again,
            together rules::a_rule_can_fail_the_whole_job_at_its_first_code,
            together shown::columns_and_messages_read_well,
            together sources::what_comes_goes_or_changes_while_a_prefix_is_scored,
            together sources::an_object_that_vanishes_between_listing_and_call_is_skipped,
            together sources::a_prefix_can_be_narrowed_by_time_and_suffix,
            together sources::a_prefix_that_holds_too_much_costs_nothing,
            together sources::a_listing_that_is_refused_is_told_and_taken_up_again,
            together sources::a_grant_that_goes_while_a_source_is_counted_costs_no_call,
            together sources::a_prefix_in_another_region_costs_nothing,
            together thresholds::a_score_equal_to_the_threshold_passes_and_one_just_below_does_not,
            together time::a_suspended_job_makes_no_call_and_goes_on_where_it_was,
            together time::a_cancelled_job_keeps_its_results_and_stays_ended,
            together time::what_comes_while_a_job_drains_is_stored_meanwhile,
            together time::a_job_that_runs_out_of_time_fails_with_what_it_has,
            together time::time_runs_while_a_job_waits_for_its_grant_or_its_keys,
            together waiting::a_project_that_reads_as_another_role_costs_no_paid_request,
            together pace::more_jobs_than_a_namespace_may_run_wait_for_their_turn,
            together projects::a_project_that_goes_while_its_job_runs_ends_the_job_within_a_few_calls,
            together projects::one_answer_that_a_project_is_missing_fails_no_job_whose_project_is_there,
            together projects::a_role_that_was_put_right_is_seen_by_the_next_job,
            together projects::a_project_whose_limits_could_not_be_had_is_asked_again_before_it_is_hurried,
            together projects::a_project_that_was_missing_is_asked_for_its_limits_by_the_next_job,
            together projects::a_bucket_that_imm_finds_in_another_region_costs_one_request,
            together edits::a_job_that_is_cancelled_stays_cancelled_though_its_calls_still_drain,
            together edits::a_budget_that_is_lowered_meanwhile_holds_for_what_was_reserved_before,
            together edits::a_cancelled_job_says_still_what_it_was_denied,
            together edits::results_that_are_to_go_at_once_go_and_the_edit_is_noted,
            together edits::a_look_at_an_ended_job_is_echoed_and_changes_nothing_else,
            together losses::results_that_may_not_be_stored_are_kept_until_there_is_room,
            together losses::a_report_that_somebody_holds_on_to_is_not_asked_for_all_the_time,
            alone losses::a_stop_waits_for_room_for_what_was_paid_for,
            alone losses::reports_that_may_not_be_read_stall_the_job_and_cost_nothing,
            alone losses::a_report_that_somebody_deletes_while_nobody_looks_stalls_the_job,
            alone clock::a_clock_that_is_off_fails_no_job_and_costs_next_to_nothing,
            alone stops::a_job_that_is_drained_scores_each_image_once,
            alone stops::a_job_that_is_killed_has_each_image_once_and_forgets_no_request,
            alone stops::crashes_do_not_stretch_the_budget,
            alone crashes::ten_thousand_images_survive_kills_and_errors,
            alone crashes::a_job_that_is_cancelled_after_a_crash_counts_what_its_reports_hold,
            alone crashes::a_job_that_is_suspended_after_a_crash_shows_what_its_reports_hold,
            alone crashes::fifty_kills_at_any_moment_lose_and_double_nothing,
            alone manifests::under_strict_rules_a_manifest_reaches_no_bucket_that_none_names,
            alone results::results_whose_time_ends_while_nobody_looks_go_after_a_restart,
        ];
        crate::support::play::play_with(options, parts)
    }
}
