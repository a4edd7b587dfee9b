//! Two processes: who holds the lease, failover and its time, and two installs without a common lease. No statement is
//! lost or duplicated. Each test runs operators of its own, so the stage's operator is stopped.

fn main() -> std::process::ExitCode {
    leader::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod leader {
    mod installs;
    mod pair;
    mod takeover;

    pub fn main() -> std::process::ExitCode {
        crate::support::play::play_without_operator(crate::parts![
            together takeover::a_frozen_leader_wakes_up_to_end_and_not_to_write,
            together installs::two_installs_share_a_bucket_and_each_keeps_its_own,
            together takeover::a_leader_that_is_stopped_hands_over_at_once,
            together takeover::a_rolling_replacement_loses_and_doubles_nothing,
            together takeover::a_leader_that_is_killed_is_followed_within_its_term,
            together takeover::a_living_leader_is_left_alone_and_ends_when_its_lease_is_taken,
            together takeover::a_write_of_a_frozen_leader_is_found_by_the_next_one,
        ])
    }
}
