//! Promises about both kinds: the contract of status, Secrets, permissions, probes, logs and kubectl output. Numbers
//! such as P1 are promises of docs/promises.md.

fn main() -> std::process::ExitCode {
    platform::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod platform {
    mod contract;
    mod health;
    mod lifecycle;
    mod outage;
    mod rights;
    mod secrets;
    mod shown;

    pub fn main() -> std::process::ExitCode {
        crate::support::play(crate::parts![
            apart outage::without_an_api_server_nothing_is_written_and_nothing_breaks,
            together health::tools_see_the_health_of_a_grant,
            together health::tools_see_the_health_of_a_job,
            apart lifecycle::helm_3_brings_the_definitions_and_leaves_what_people_made,
            apart lifecycle::helm_4_brings_the_definitions_and_leaves_what_people_made,
            together contract::the_observed_generation_follows_a_change_while_failing,
            together contract::an_idle_grant_is_written_only_to_echo_a_token,
            alone contract::a_new_object_is_in_progress_before_the_operator_runs,
            alone contract::reconciling_is_gone_after_a_crash_in_the_middle,
            together secrets::no_secret_is_shown_under_any_failure,
            together secrets::the_two_lines_of_the_message_open_the_secret,
            together rights::only_named_secrets_are_read_and_none_is_listed,
            apart rights::the_rights_of_the_chart_are_enough_and_no_more,
            together shown::probes_and_metrics_answer,
            together shown::every_field_is_explained,
            together shown::columns_fit_a_terminal_and_both_kinds_are_one_category,
            alone shown::the_operator_stops_cleanly_and_logs_json_lines,
        ])
    }
}
