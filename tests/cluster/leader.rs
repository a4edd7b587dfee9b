//! Two processes: who holds the lease, failover and its time, and two installs without a common lease. No statement is
//! lost or duplicated. Each test runs operators of its own, so the stage's operator is stopped.

fn main() -> std::process::ExitCode {
    leader::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod leader {
    mod failover;
    mod installs;
    mod pair;
    mod rules;

    pub fn main() -> std::process::ExitCode {
        crate::support::play::play_without_operator(crate::parts![
            together failover::a_frozen_leader_exits_without_a_write_after_it_resumes,
            together installs::two_installs_share_a_bucket_and_each_keeps_its_statements,
            together failover::a_stopped_leader_releases_its_lease_immediately,
            together failover::a_rolling_update_loses_and_duplicates_nothing,
            together installs::a_process_that_may_not_list_replaces_no_leader,
            together failover::a_killed_leader_is_replaced_within_the_lease_duration,
            together failover::a_live_leader_keeps_its_lease_and_exits_when_the_lease_is_taken,
            together rules::a_standby_follows_the_rules_before_it_leads,
            together failover::a_write_of_a_frozen_leader_is_found_by_the_next_leader,
        ])
    }
}
