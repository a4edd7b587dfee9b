//! The conclusion of `imm-operator doctor`, followed by an installation: objects with the values of its conclusion, and an
//! operator with its flags, score an image. `make test` leaves out what waits for minutes.

fn main() -> std::process::ExitCode {
    conclusions::main()
}

#[cfg(test)]
mod support;

#[cfg(test)]
mod conclusions {
    mod cases;
    mod installation;
    mod place;

    pub fn main() -> std::process::ExitCode {
        crate::support::play::play_without_operator(crate::parts![
            apart installation::what_the_doctor_concludes_scores_an_image,
            apart installation::what_the_doctor_concludes_after_minutes_scores_an_image,
            apart installation::flags_that_the_doctor_concludes_score_an_image,
        ])
    }
}
