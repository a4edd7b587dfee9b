//! Jobs on a real control plane and the emulator: what users apply, what kubectl shows, and which calls the emulator
//! recorded and billed. Numbers such as J6 are promises of docs/src/reference/guarantees.md.

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
    mod credentials;
    mod edits;
    mod failing;
    mod fixtures;
    mod kubectl_output;
    mod lost_results;
    mod manifests;
    mod projects;
    mod rate;
    mod restarts;
    mod results;
    mod rules;
    mod scoring;
    mod sources;
    mod thresholds;
    mod time;
    mod waiting;
    mod waste;

    pub fn main() -> std::process::ExitCode {
        // The garbage collector is one of the controllers: reports go with their job.
        let options = imm_harness::Options {
            controllers: true,
            ..imm_harness::Options::default()
        };
        let parts = crate::parts![
            // These wait for a minute, so they are begun first.
            together lost_results::a_job_that_lost_its_status_resumes_only_on_request,
            together lost_results::a_job_whose_start_cannot_be_marked_reports_that_and_makes_no_call,
            together credentials::credentials_of_another_account_are_not_used_by_a_running_job,
            together scoring::the_documented_request_scores_one_image,
            together scoring::a_finished_job_is_not_changed,
            together scoring::a_few_failed_items_do_not_fail_the_job,
            together scoring::more_failed_items_than_allowed_fail_the_job,
            together scoring::an_item_that_fails_temporarily_is_retried,
            together scoring::throttling_slows_down_and_fails_nothing,
            together waiting::a_job_makes_no_call_before_its_grant_has_propagated,
            together waiting::a_grant_that_is_never_created_fails_the_job_without_a_call,
            together waiting::a_missing_grant_and_a_forbidden_one_are_reported_alike,
            together waiting::a_grant_that_does_not_cover_the_job_fails_it_without_a_call,
            together waiting::a_bucket_in_another_region_fails_the_job_without_a_call,
            together waiting::a_deleted_grant_stops_the_calls_until_it_is_recreated,
            together failing::a_role_without_permission_costs_one_request,
            together failing::a_missing_project_costs_no_billed_request,
            together failing::a_restored_job_waits_for_confirmation,
            together failing::a_status_that_cannot_be_decoded_stalls_the_job_and_is_kept,
            together failing::fields_that_define_results_are_immutable,
            together failing::an_invalid_job_is_rejected_with_the_name_of_its_field,
            together rate::the_budget_pauses_the_job_until_it_is_raised,
            together rate::a_job_with_an_exhausted_budget_makes_no_cloud_call,
            together rate::an_exhausted_budget_fails_the_job_that_asks_for_it,
            together rate::parallelism_is_a_limit_and_can_be_raised_while_the_job_runs,
            together credentials::rotated_credentials_are_used_without_a_restart,
            together credentials::a_missing_secret_is_reported_and_awaited,
            together sources::a_prefix_is_counted_scored_and_reported,
            together chain::a_chain_of_roles_needs_no_grant_and_costs_one_request_when_broken,
            together chain::an_invalid_chain_is_rejected_with_its_own_message,
            together credentials::credentials_of_another_account_are_reported_and_make_no_call,
            together credentials::a_pay_by_requester_bucket_is_read_only_at_the_costs_of_a_job_that_accepts_them,
            together manifests::a_manifest_is_scored_line_by_line,
            together manifests::a_replaced_manifest_fails_the_job_and_keeps_its_results,
            together manifests::a_line_that_the_grant_does_not_cover_costs_nothing,
            together manifests::a_manifest_that_is_missing_empty_or_too_long_costs_nothing,
            together rate::two_namespaces_of_one_account_share_the_rate_limit_of_a_project,
            together rate::the_reported_limits_of_a_project_are_kept,
            together rate::unreadable_limits_of_a_project_are_requested_once,
            together results::a_hundred_results_are_in_status_and_more_or_longer_ones_in_reports,
            together results::the_lowest_scores_are_printed_first_from_status_and_from_reports,
            alone results::reports_and_status_stay_small_however_long_the_keys,
            together results::a_report_deleted_or_edited_while_the_job_runs_costs_no_second_call,
            together results::a_report_edited_while_the_job_runs_is_corrected,
            together results::only_the_selected_results_are_kept,
            together results::expired_results_are_deleted_and_the_job_stays,
            together rules::rules_decide_which_items_fail_are_ignored_or_are_retried,
            together rules::a_rule_can_fail_the_whole_job_at_its_first_code,
            together kubectl_output::columns_and_messages_are_readable,
            together sources::objects_created_deleted_or_replaced_while_a_prefix_is_scored,
            together sources::an_object_that_vanishes_between_listing_and_call_is_skipped,
            together sources::a_prefix_can_be_narrowed_by_time_and_suffix,
            together sources::a_prefix_with_too_many_objects_costs_nothing,
            together waste::a_grant_that_oss_enforces_late_costs_one_denied_call_for_all_its_jobs,
            together waste::equal_refusals_of_the_first_calls_end_the_job,
            together waste::an_image_that_is_denied_alone_fails_and_the_others_are_scored,
            together waste::objects_that_cannot_be_scored_cost_no_call_unless_they_are_included,
            together sources::a_bucket_that_the_public_endpoint_does_not_serve_is_reported_and_resumed,
            together sources::a_denied_listing_is_reported_and_resumed,
            together sources::a_source_that_fails_in_the_middle_is_reported_and_resumed,
            together sources::a_grant_deleted_while_a_source_is_counted_costs_no_call,
            together sources::a_prefix_in_another_region_costs_nothing,
            together thresholds::a_score_equal_to_the_threshold_passes_and_one_just_below_does_not,
            together time::a_suspended_job_makes_no_call_and_resumes_where_it_stopped,
            together time::a_cancelled_job_keeps_its_results_and_stays_finished,
            together time::results_that_arrive_while_a_job_drains_are_stored_immediately,
            together time::a_job_that_exceeds_its_deadline_fails_and_keeps_its_results,
            together time::the_deadline_runs_while_a_job_waits_for_its_grant_or_credentials,
            together waiting::a_project_with_another_service_role_costs_no_billed_request,
            together rate::jobs_beyond_the_limit_of_a_namespace_are_queued,
            together projects::a_project_deleted_while_its_job_runs_fails_the_job_within_a_few_calls,
            together projects::a_single_missing_project_error_fails_no_job_whose_project_exists,
            together projects::a_corrected_role_is_read_by_the_next_job,
            together projects::unreadable_limits_are_requested_again_before_the_rate_is_raised,
            together projects::the_next_job_requests_the_limits_of_a_project_that_was_missing,
            together projects::a_bucket_that_imm_finds_in_another_region_costs_one_request,
            together projects::a_word_about_regions_after_the_first_score_concerns_one_image,
            together edits::a_cancelled_job_stays_cancelled_while_its_calls_drain,
            together edits::a_lowered_budget_also_limits_earlier_reservations,
            together edits::a_cancelled_job_still_reports_the_denied_call,
            together edits::results_with_a_ttl_of_zero_are_deleted_and_the_edit_is_observed,
            together edits::expired_results_are_deleted_although_a_report_has_lost_its_labels,
            together edits::a_reconcile_of_a_finished_job_is_echoed_and_changes_nothing_else,
            together lost_results::results_that_cannot_be_stored_are_kept_until_there_is_quota,
            together lost_results::a_report_with_a_foreign_finalizer_is_not_polled_constantly,
            alone lost_results::a_shutdown_waits_for_quota_for_billed_results,
            alone lost_results::unreadable_reports_stall_the_job_and_cost_nothing,
            alone lost_results::a_report_deleted_while_the_operator_is_down_stalls_the_job,
            alone clock::clock_skew_fails_no_job_and_costs_few_calls,
            alone clock::every_message_about_a_wrong_time_names_the_clock,
            alone restarts::a_job_stopped_by_a_shutdown_scores_each_image_once,
            alone restarts::a_killed_job_has_each_image_once_and_counts_every_request,
            alone restarts::crashes_do_not_exceed_the_budget,
            alone crashes::ten_thousand_images_survive_kills_and_errors,
            alone crashes::a_job_that_is_cancelled_after_a_crash_counts_what_its_reports_hold,
            alone crashes::a_job_that_is_suspended_after_a_crash_shows_what_its_reports_hold,
            alone crashes::fifty_kills_at_any_moment_lose_and_duplicate_nothing,
            alone manifests::under_strict_rules_a_manifest_reaches_no_bucket_without_a_rule,
            alone results::results_that_expire_while_the_operator_is_down_are_deleted_after_a_restart,
        ];
        crate::support::play::play_with(options, parts)
    }
}
