//! Fault injection: each scenario runs on paused time, and with a fault at any single effect its final state must equal
//! that of the run without faults. The reference runs count the effects, so the plans grow with the code. A failing plan
//! prints its name: `PLAN='S5 12=Unanswered' cargo test --test crash replay -- --nocapture` runs only that plan.

#[cfg(test)]
mod crash {
    mod checks;
    mod effects;
    mod fake_world;
    mod fault;
    mod histories;
    mod jobs;
    mod own_metadata;
    mod plans;
    mod play;
    mod policy_write;
    mod process;
    mod rival;
    mod runner;
    mod scenario;
    mod series;
    mod specs;
    mod stories;
    mod strangers;
}
