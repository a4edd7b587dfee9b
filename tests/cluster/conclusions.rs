//! The conclusion of `imm-operator doctor`, followed by an installation: objects with the values of its conclusion,
//! and an operator with its flags, score an image. Also what a job does in a cloud that takes minutes. `make test`
//! leaves out what waits for minutes.

fn main() -> std::process::ExitCode {
    conclusions::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod conclusions {
    mod cases;
    mod installation;
    mod minutes;
    mod place;

    pub fn main() -> std::process::ExitCode {
        crate::support::play(crate::parts![
            apart installation::what_the_doctor_concludes_scores_an_image,
            apart installation::what_the_doctor_concludes_after_minutes_scores_an_image,
            together minutes::a_grant_that_oss_enforces_after_minutes_costs_three_denied_calls,
            together minutes::images_that_are_scored_slowly_cost_after_minutes_what_is_counted,
            apart installation::flags_that_the_doctor_concludes_score_an_image,
        ])
    }
}
