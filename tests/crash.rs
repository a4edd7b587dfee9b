//! Crashes everywhere: each scenario runs under paused time, and the process is stopped after every single effect in four
//! ways, restarted, and must reach the same end; likewise when the effect is only lost or not answered. The harness counts the effects itself, so the plans grow with the code.

#[cfg(test)]
mod crash {
    mod effects;
    mod outside;
    mod plans;
    mod process;
    mod scenario;
}
