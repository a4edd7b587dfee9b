//! Tenancy rules: which namespace may use which bucket, what users may do, and namespaces that are deleted while the
//! operator runs. The controllers of Kubernetes run here, because they delete namespaces and complete the roles of users.

fn main() -> std::process::ExitCode {
    tenancy::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod tenancy {
    mod combinations;
    mod labels;
    mod namespaces;
    mod rules;
    mod strict;
    mod users;

    pub fn main() -> std::process::ExitCode {
        let options = imm_harness::Options {
            controllers: true,
            ..imm_harness::Options::default()
        };
        let parts = crate::parts![
            together rules::without_a_rule_the_operators_identity_makes_no_call_until_a_rule_is_added,
            together rules::an_unreadable_owner_blocks_the_operators_identity,
            together rules::taking_ownership_needs_a_rule_and_then_removes_the_statement_on_deletion,
            apart labels::a_label_of_the_namespace_allows_and_denies_without_touching_the_grant,
            together users::check_18_users_may_do_what_the_table_of_the_readme_says,
            together namespaces::deleting_a_namespace_removes_its_statements,
            apart strict::rules_that_do_not_parse_leave_the_last_good_ones_in_force,
            alone combinations::exactly_the_allowed_combinations_reach_the_cloud,
            alone namespaces::after_a_restart_a_namespace_deletion_waits_for_an_action,
        ];
        crate::support::play::play_with(options, parts)
    }
}
