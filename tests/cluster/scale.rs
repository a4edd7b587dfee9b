//! Many grants at once: the cost of a restart when nothing has changed.

fn main() -> std::process::ExitCode {
    scale::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod scale {
    mod restart;

    pub fn main() -> std::process::ExitCode {
        crate::support::play(crate::parts![
            alone restart::a_restart_with_a_thousand_healthy_grants_reads_each_bucket_once_and_writes_nothing,
        ])
    }
}
