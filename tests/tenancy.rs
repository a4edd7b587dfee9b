//! Tenancy rules: which namespace may use which bucket, and namespaces that are deleted while the operator runs. The
//! controllers of Kubernetes run here, because they delete namespaces.

fn main() -> std::process::ExitCode {
    tenancy::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod tenancy {
    mod cells;
    mod labels;
    mod namespaces;
    mod rules;
    mod strict;

    pub fn main() -> std::process::ExitCode {
        let options = imm_harness::Options {
            controllers: true,
            ..imm_harness::Options::default()
        };
        let parts = crate::parts![
            together rules::without_a_rule_the_operators_identity_makes_no_call_and_a_new_rule_heals_it,
            together rules::an_owner_that_cannot_be_read_stops_the_operators_identity,
            together rules::taking_ownership_needs_a_rule_and_then_takes_the_statement_out,
            apart labels::a_label_of_the_namespace_allows_and_denies_without_touching_the_grant,
            together namespaces::a_namespace_that_goes_away_takes_its_statements_with_it,
            apart strict::rules_that_do_not_parse_leave_the_last_good_ones_in_force,
            alone cells::exactly_the_allowed_cells_reach_the_cloud,
            alone namespaces::after_a_restart_a_namespace_going_away_waits_for_a_person,
        ];
        crate::support::play::play_with(options, parts)
    }
}
