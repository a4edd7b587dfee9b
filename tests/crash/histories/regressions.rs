//! Histories that were found, by what they have shown. One of a known fault must fail as long as the fault is open.

use super::hunt::judge;
use super::known::Known;
use super::step::History;

struct Regression {
    name: &'static str,
    fault: Option<Known>,
    line: &'static str,
}

const REGRESSIONS: &[Regression] = &[Regression {
    name: "a replace that drops the finalizer, then a delete",
    fault: Some(Known::ReplacedThenDeleted),
    line: r#"{"size":[1,2,1],"steps":[[{"Effects":0},{"Apply":[1,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":60},{"Replace":0}],[{"Effects":0},{"Delete":0}]]}"#,
}];

#[test]
fn histories_that_were_found_hold_unless_their_fault_is_open() {
    let mut wrong = Vec::new();
    for Regression { name, fault, line } in REGRESSIONS {
        Known::report(*fault);
        let open = fault.is_some_and(Known::is_listed);
        let broken = judge(&History::named(line), false).broken;
        if open && broken.is_empty() {
            wrong.push(format!(
                "{name}: repaired, so {fault:?} is to be removed from OPEN"
            ));
        } else if !open && !broken.is_empty() {
            wrong.push(format!("{name}: HISTORY='{line}'\n{}", broken.join("\n")));
        }
    }
    Known::report(None);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
