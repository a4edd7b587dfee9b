//! Promises about both kinds: the contract of status, Secrets, permissions, probes, logs and kubectl output. Numbers
//! such as P1 are promises of docs/src/reference/guarantees.md.

fn main() -> std::process::ExitCode {
    platform::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod platform {
    #[path = "../../docs/blocks.rs"]
    mod blocks;
    mod cluster_access;
    mod columns;
    mod contract;
    mod doctor;
    #[path = "../../alerts/expressions.rs"]
    mod expressions;
    mod generations;
    mod health;
    mod lifecycle;
    mod monitoring;
    mod outage;
    mod permissions;
    mod samples;
    mod secrets;
    mod selftest;

    pub fn main() -> std::process::ExitCode {
        crate::support::play(crate::parts![
            apart outage::without_an_api_server_nothing_is_written_and_nothing_breaks,
            together health::check_23_tools_see_the_health_of_a_grant,
            together health::check_23_tools_see_the_health_of_a_job,
            apart lifecycle::check_19_21_helm_3_upgrades_the_crds_and_keeps_every_object,
            apart lifecycle::check_19_21_helm_4_upgrades_the_crds_and_keeps_every_object,
            together selftest::check_24_helm_test_succeeds_with_both_majors,
            apart selftest::check_24_helm_test_fails_and_names_the_cause,
            together samples::check_15_every_sample_is_accepted_by_the_api_server,
            apart samples::check_15_a_second_apply_changes_nothing,
            apart lifecycle::without_crds_there_is_nothing_to_release,
            together contract::check_22_the_observed_generation_follows_a_change_while_failing,
            together contract::an_idle_grant_is_written_only_to_echo_a_token,
            alone generations::check_22_23_kubectl_wait_and_other_tools_ignore_a_status_of_an_old_generation,
            alone contract::a_new_object_is_in_progress_before_the_operator_runs,
            alone contract::reconciling_is_cleared_after_a_crash_in_the_middle,
            together secrets::no_secret_is_shown_under_any_failure,
            together secrets::the_commands_in_the_message_grant_access_to_the_secret,
            together permissions::only_named_secrets_are_read_and_none_is_listed,
            apart permissions::check_17_the_permissions_of_the_chart_are_sufficient_and_minimal,
            together cluster_access::the_commands_read_kubeconfigs_as_kubectl_does,
            together cluster_access::a_command_that_cannot_reach_the_cluster_names_the_cause,
            together doctor::a_report_needs_no_more_than_the_rights_of_the_caller,
            together cluster_access::another_user_is_impersonated_as_kubectl_does,
            together cluster_access::the_proxy_of_the_kubeconfig_is_used,
            together columns::probes_and_metrics_answer,
            together monitoring::check_10_prometheus_answers_every_query_of_alerts_and_dashboard,
            together columns::check_13_every_field_is_explained,
            together columns::check_22_columns_fit_a_terminal_and_both_kinds_are_one_category,
            alone columns::the_operator_stops_cleanly_and_logs_json_lines,
        ])
    }
}
