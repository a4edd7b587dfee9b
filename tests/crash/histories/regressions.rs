//! Histories that showed a fault, by what they did.

use super::hunt::judge;
use super::step::History;

struct Regression {
    name: &'static str,
    line: &'static str,
}

const REGRESSIONS: &[Regression] = &[
    Regression {
        name: "a replace that drops the finalizer, then a delete",
        line: r#"{"size":[1,2,1],"steps":[[{"Effects":0},{"Apply":[1,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":60},{"Replace":0}],[{"Effects":0},{"Delete":0}]]}"#,
    },
    Regression {
        name: "a delete, then a replace that drops the finalizer",
        line: r#"{"size":[1,1,1],"steps":[[{"Effects":0},{"Apply":[1,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":60},{"Delete":0}],[{"Effects":0},{"Replace":0}]]}"#,
    },
    Regression {
        name: "a grant that is created with the finalizer, for the identity of the operator, and deleted",
        line: r#"{"size":[1,2,3],"steps":[[{"Effects":0},{"Apply":[0,{"bucket":0,"identity":2,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":true}]}],[{"Effects":0},{"Delete":0}],[{"Effects":0},{"Apply":[1,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}]]}"#,
    },
    Regression {
        name: "a grant of a namespace that was created again",
        line: r#"{"size":[1,4,2],"steps":[[{"Effects":0},{"Apply":[5,{"bucket":0,"identity":1,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":2},{"Apply":[0,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"CreateNamespace":1}],[{"Seconds":2},{"Apply":[5,{"bucket":0,"identity":1,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}]]}"#,
    },
    Regression {
        name: "the clock is set back while a namespace is created again, and a grant loses its finalizer",
        line: r#"{"size":[1,1,1],"steps":[[{"Effects":0},{"Apply":[0,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":8},{"Edit":[0,"Account",0]}],[{"Effects":0},{"Clock":-3600}],[{"Effects":0},{"CreateNamespace":0}],[{"Effects":5},{"Replace":0}],[{"Seconds":400},{"Apply":[0,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}]]}"#,
    },
    Regression {
        name: "a grant changes to the operator's own identity before its write is recorded, and its namespace is deleted",
        line: r#"{"size":[1,2,3],"steps":[[{"Effects":0},{"Cloud":["CredentialsExpired",false]}],[{"Effects":0},{"Apply":[1,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":7},{"CreateNamespace":0}],[{"Effects":10},{"Apply":[1,{"bucket":0,"identity":2,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"CreateNamespace":1}]]}"#,
    },
    Regression {
        name: "a time ten thousand years from now in the status of a job",
        line: r#"{"size":[1,1,1],"steps":[[{"Effects":0},{"CreateJob":[0,{"bucket":0,"identity":0,"images":1,"prefix":false,"grant":0,"poor":false}]}],[{"Seconds":2},{"ForgeJob":[0,"FarFuture"]}]]}"#,
    },
    Regression {
        name: "a grant is deleted when the clock is set back",
        line: r#"{"size":[1,1,1],"steps":[[{"Effects":0},{"Apply":[0,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":8},{"Delete":0}],[{"Effects":0},{"Clock":-3600}]]}"#,
    },
    Regression {
        name: "a process starts while reads are stale, and the namespace is deleted",
        line: r#"{"size":[1,1,2],"steps":[[{"Effects":0},{"Recreate":[0,{"bucket":0,"identity":1,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":60},{"Lag":8}],[{"Effects":0},{"Apply":[1,{"bucket":0,"identity":2,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":8},{"Apply":[0,{"bucket":0,"identity":2,"account":1,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":10},{"Crash":"Unanswered"}],[{"Effects":3},{"DeleteNamespace":0}],[{"Effects":5},{"Suspend":[0,false]}]]}"#,
    },
    Regression {
        name: "an owner changes its identity to that of a grant that had found the statement there",
        line: r#"{"size":[1,1,2],"steps":[[{"Effects":0},{"Apply":[1,{"bucket":0,"identity":2,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":7},{"Apply":[2,{"bucket":0,"identity":1,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":7},{"Apply":[1,{"bucket":0,"identity":1,"account":1,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":2},{"Delete":0}]]}"#,
    },
    Regression {
        name: "an owner changes its identity to that of a grant that has found the same statement there, and both are deleted",
        line: r#"{"size":[1,2,2],"steps":[[{"Effects":0},{"Apply":[2,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Apply":[0,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":2},{"Recreate":[2,{"bucket":0,"identity":1,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":3},{"EditJob":[0,"Suspend"]}],[{"Effects":2},{"Edit":[1,"Identity",1]}],[{"Seconds":2},{"DeleteNamespace":0}]]}"#,
    },
    Regression {
        name: "a grant takes another identity before its answered write is recorded, and waits",
        line: r#"{"size":[1,2,3],"steps":[[{"Effects":0},{"Cloud":["CredentialsExpired",false]}],[{"Effects":0},{"Apply":[1,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":7},{"CreateNamespace":0}],[{"Effects":10},{"Apply":[1,{"bucket":0,"identity":1,"account":0,"prefix":0,"preset":0,"adoption":1,"deletion":0,"finalizer":false}]}]]}"#,
    },
    Regression {
        name: "a snapshot brings back a grant that was deleted without its finalizer",
        line: r#"{"size":[1,3,1],"steps":[[{"Effects":0},{"Apply":[7,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Cloud":["PolicyRejected",true]}],[{"Seconds":2},{"CreateJob":[0,{"bucket":0,"identity":0,"images":1,"prefix":false,"grant":0,"poor":false}]}],[{"Effects":0},{"Recreate":[2,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Replace":2}],[{"Effects":5},{"Restore":3}],[{"Effects":0},{"CreateNamespace":1}]]}"#,
    },
    Regression {
        name: "a late write brings back what an answered one has removed, and nobody can look before it has expired",
        line: r#"{"size":[1,1,1],"steps":[[{"Effects":0},{"Apply":[0,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":1,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":2},{"Late":[60,false]}],[{"Effects":0},{"Apply":[0,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":5},{"DeleteNamespace":0}],[{"Seconds":400},{"Suspend":[0,false]}],[{"Effects":0},{"Rotate":[0,0,"Closed"]}]]}"#,
    },
    Regression {
        name: "two grants stop asking for a statement that one of them wrote and the other found under another identity",
        line: r#"{"size":[1,1,2],"steps":[[{"Effects":0},{"Apply":[6,{"bucket":0,"identity":2,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Apply":[1,{"bucket":0,"identity":1,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":2},{"CreateJob":[0,{"bucket":0,"identity":0,"images":1,"prefix":false,"grant":0,"poor":false}]}],[{"Effects":0},{"Apply":[5,{"bucket":0,"identity":2,"account":0,"prefix":1,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":10},{"Apply":[2,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":1,"adoption":0,"deletion":0,"finalizer":false}]}]]}"#,
    },
    Regression {
        name: "a grant is edited, loses its finalizer and is deleted while it is reconciled",
        line: r#"{"size":[1,1,1],"steps":[[{"Effects":0},{"Apply":[2,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":2},{"Apply":[2,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Apply":[6,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":1,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":1},{"Replace":6}],[{"Effects":0},{"Delete":0}]]}"#,
    },
    Regression {
        name: "a grant takes the identity of a sibling that has found its statement there, and their namespace is deleted",
        line: r#"{"size":[1,2,2],"steps":[[{"Effects":0},{"Apply":[1,{"bucket":0,"identity":1,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Apply":[3,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Apply":[4,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":1,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Apply":[6,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Edit":[1,"Account",1]}],[{"Seconds":2},{"Apply":[3,{"bucket":0,"identity":1,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Preview":[0,true]}],[{"Effects":6},{"CreateNamespace":1}]]}"#,
    },
    Regression {
        name: "a job is stopped by the rules when all its images are scored, and continues when the limits of the project are forgotten",
        line: r#"{"size":[1,2,1],"steps":[[{"Effects":0},{"CreateJob":[0,{"bucket":0,"identity":0,"images":1,"prefix":false,"grant":0,"poor":false}]}],[{"Seconds":2},{"EditJob":[0,"Suspend"]}],[{"Effects":2},{"CreateJob":[2,{"bucket":0,"identity":0,"images":3,"prefix":false,"grant":0,"poor":false}]}],[{"Effects":11},{"Rules":3}],[{"Seconds":400},{"Apply":[0,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Rules":0}]]}"#,
    },
    Regression {
        name: "a grant loses its finalizer and is deleted after a write, and another writer spells its statement differently",
        line: r#"{"size":[1,1,1],"steps":[[{"Effects":0},{"Apply":[0,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":5},{"Apply":[6,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":3},{"Delete":0}],[{"Effects":3},{"Rival":[0,"RespellOurs"]}],[{"Effects":0},{"Replace":0}]]}"#,
    },
    Regression {
        name: "a snapshot is restored just after the last grant of a bucket was released",
        line: r#"{"size":[1,3,3],"steps":[[{"Effects":0},{"Apply":[7,{"bucket":0,"identity":2,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":true}]}],[{"Seconds":2},{"CreateNamespace":1}],[{"Seconds":2},{"Apply":[0,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Restore":2}]]}"#,
    },
    Regression {
        name: "the answer to a release that took effect is a conflict, and the grant is created again",
        line: r#"{"size":[2,2,3],"steps":[[{"Effects":0},{"Apply":[0,{"bucket":1,"identity":2,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"CreateJob":[3,{"bucket":0,"identity":0,"images":1,"prefix":false,"grant":2,"poor":false}]}],[{"Effects":0},{"Rules":1}],[{"Seconds":60},{"EditJob":[1,"Cancel"]}],[{"Effects":1},{"Delete":6}],[{"Effects":11},{"CreateJob":[0,{"bucket":0,"identity":0,"images":1,"prefix":false,"grant":0,"poor":false}]}],[{"Effects":0},{"Api":["Conflict",true]}],[{"Effects":1},{"Apply":[0,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}]]}"#,
    },
    Regression {
        name: "a process starts just after an answered write that no read shows yet, and deletes the grant",
        line: r#"{"size":[1,1,1],"steps":[[{"Effects":0},{"Apply":[6,{"bucket":0,"identity":0,"account":1,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Apply":[5,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":60},{"Recreate":[2,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":1},{"Lag":8}],[{"Seconds":20},{"Edit":[1,"Account",1]}],[{"Seconds":2},{"Delete":5}],[{"Effects":0},{"Crash":"Before"}],[{"Effects":6},{"Apply":[2,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}]]}"#,
    },
    Regression {
        name: "a list does not show yet that a write was recorded, whose confirmation came after an edit",
        line: r#"{"size":[1,3,3],"steps":[[{"Effects":0},{"Apply":[0,{"bucket":0,"identity":1,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Apply":[3,{"bucket":0,"identity":0,"account":1,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":2},{"Apply":[0,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":60},{"Apply":[4,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":2},{"Apply":[6,{"bucket":0,"identity":1,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":9},{"Recreate":[2,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":900},{"Rotate":[0,0,"Restored"]}],[{"Effects":4},{"Annotate":[0,false]}],[{"Seconds":20},{"EditJob":[0,"Suspend"]}],[{"Effects":3},{"Rival":[0,"Wipe"]}],[{"Effects":3},{"Behind":2}],[{"Effects":1},{"Apply":[3,{"bucket":0,"identity":2,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":8},{"Delete":1}]]}"#,
    },
    Regression {
        name: "a snapshot is restored that has a shorter drift interval",
        line: r#"{"size":[1,1,1],"steps":[[{"Effects":0},{"Apply":[0,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":8},{"Behind":1}],[{"Effects":2},{"Freeze":42}],[{"Effects":0},{"Crash":"Before"}],[{"Effects":6},{"Delete":0}],[{"Effects":2},{"Edit":[0,"Interval",2]}],[{"Effects":2},{"Preview":[0,false]}],[{"Effects":7},{"Preview":[0,false]}],[{"Seconds":2},{"Restore":6}]]}"#,
    },
    Regression {
        name: "a grant that was released unseen comes back with a snapshot",
        line: r#"{"size":[1,1,1],"steps":[[{"Effects":0},{"Apply":[0,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":400},{"Crash":"Before"}],[{"Effects":0},{"Delete":0}],[{"Effects":1},{"EditJob":[0,"Suspend"]}],[{"Effects":4},"HideEvent"],[{"Seconds":60},{"Restore":1}]]}"#,
    },
    Regression {
        name: "a deleted grant names the identity of the operator, which has written nothing of it",
        line: r#"{"size":[1,1,3],"steps":[[{"Effects":0},{"Apply":[2,{"bucket":0,"identity":0,"account":0,"prefix":0,"preset":1,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Seconds":2},{"CreateJob":[0,{"bucket":0,"identity":0,"images":1,"prefix":false,"grant":0,"poor":false}]}],[{"Effects":0},{"Apply":[2,{"bucket":0,"identity":2,"account":0,"prefix":0,"preset":0,"adoption":0,"deletion":0,"finalizer":false}]}],[{"Effects":0},{"Delete":6}],[{"Effects":0},{"Rules":1}],[{"Effects":0},{"Replace":0}]]}"#,
    },
];

/// Returns the line of one of them.
pub fn first_line() -> &'static str {
    REGRESSIONS[0].line
}

#[test]
fn histories_that_were_found_hold() {
    let mut wrong = Vec::new();
    for Regression { name, line } in REGRESSIONS {
        let broken = judge(&History::named(line), false).broken;
        if !broken.is_empty() {
            wrong.push(format!("{name}: HISTORY='{line}'\n{}", broken.join("\n")));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
