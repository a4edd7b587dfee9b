//! Jobs on a real control plane and the stand-in cloud: what users apply, what kubectl shows, and what the cloud's
//! ledger says was asked and billed. Numbers such as J6 are the behaviours of the API design.

fn main() -> std::process::ExitCode {
    jobs::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod jobs {
    mod failing;
    mod keys;
    mod pace;
    mod scoring;
    mod sources;
    mod stops;
    mod waiting;

    pub fn main() -> std::process::ExitCode {
        crate::support::play(crate::parts![
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
            together failing::a_missing_project_costs_one_request,
            together failing::a_restored_job_waits_for_a_person,
            together failing::what_was_paid_for_cannot_be_changed,
            together failing::what_a_job_may_not_ask_for_is_refused_by_the_name_of_its_field,
            together pace::the_budget_pauses_the_job_until_it_is_raised,
            together pace::the_budget_fails_the_job_that_asks_for_it,
            together pace::parallelism_is_a_ceiling_and_can_be_raised_meanwhile,
            together keys::rotated_keys_are_used_without_a_restart,
            together keys::a_missing_secret_is_told_and_awaited,
            together sources::a_prefix_is_counted_scored_and_reported,
            alone stops::a_job_that_is_drained_scores_each_image_once,
            alone stops::a_job_that_is_killed_has_each_image_once_and_forgets_no_request,
            alone stops::crashes_do_not_stretch_the_budget,
        ])
    }
}
