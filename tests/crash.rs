//! Faults everywhere: each scenario is played on paused time, and whatever befalls any single effect of it, it must come to
//! the same end. The reference runs count the effects, so the plans grow with the code. A plan that fails prints its name:
//! `PLAN='S5 12=Unanswered' cargo test --test crash replay -- --nocapture` plays it alone.

#[cfg(test)]
mod crash {
    mod checks;
    mod effects;
    mod fault;
    mod jobs;
    mod outside;
    mod plans;
    mod play;
    mod process;
    mod rival;
    mod runner;
    mod scenario;
    mod stories;
}
