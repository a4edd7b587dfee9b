//! Upgrade from the version before and rollback to it, with the charts and the programs of both. The environment variable
//! `IMM_EARLIER` names the checkout of the version before, with its program in it; without the variable, this program
//! fails.

fn main() -> std::process::ExitCode {
    upgrade::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod upgrade {
    mod both_ways;
    mod versions;

    pub fn main() -> std::process::ExitCode {
        crate::support::play::play_without_operator(crate::parts![
            apart both_ways::nothing_is_lost_if_helm_moves_the_crds,
            apart both_ways::nothing_is_lost_if_the_crds_stay_at_a_rollback,
        ])
    }
}
