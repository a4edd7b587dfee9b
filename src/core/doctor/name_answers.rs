//! What each name of OSS in a region answers to three calls: some serve the policy of a bucket and not its objects.

use super::answer_head::{Answered, shown};
use super::check::Check;
use crate::core::error::CloudError;

/// What one name of OSS answers.
#[derive(Clone, Debug)]
pub struct NameAnswers {
    /// Kind of the name.
    pub kind: &'static str,
    /// The answer to listing objects.
    pub list: Result<(), CloudError>,
    /// The answer to reading the first byte of an object; `None` without an object.
    pub object: Option<Result<(), CloudError>>,
    /// The answer to `GetBucketPolicy`; `None` without a grant.
    pub policy: Option<Answered>,
}

/// The check of all names: each call has its answers, with the names that give them.
pub(super) fn names_check(names: &[NameAnswers]) -> Option<Check> {
    let call = |name: &str, answer: &dyn Fn(&NameAnswers) -> Option<String>| {
        let answers = names.iter().filter_map(|one| Some((one.kind, answer(one)?)));
        let answers: Vec<(&'static str, String)> = answers.collect();
        (!answers.is_empty()).then(|| grouped(name, answers))
    };
    let calls = [
        call("list", &|one| Some(shown_result(&one.list))),
        call("get", &|one| one.object.as_ref().map(shown_result)),
        call("policy", &|one| one.policy.as_ref().map(shown)),
    ];
    let calls: Vec<String> = calls.into_iter().flatten().collect();
    (!calls.is_empty()).then(|| Check::ok("oss-endpoint-answers", calls.join("; ")))
}

fn shown_result(answer: &Result<(), CloudError>) -> String {
    let Err(error) = answer else {
        return "200".to_owned();
    };
    let Some(status) = error.status else {
        return format!("no answer ({})", error.code);
    };
    let refusal = error.refusal.describe();
    let refusal = refusal.map_or_else(String::new, |refusal| format!(", {refusal}"));
    format!("{status} {}{refusal}", error.code)
}

/// Returns each answer of a call once, behind the names that give it.
fn grouped(call: &str, answers: Vec<(&'static str, String)>) -> String {
    let mut groups: Vec<(String, Vec<&'static str>)> = Vec::new();
    for (kind, answer) in answers {
        match groups.iter_mut().find(|(known, _)| *known == answer) {
            Some((_, kinds)) => kinds.push(kind),
            None => groups.push((answer, vec![kind])),
        }
    }
    let shown: Vec<String> = match groups.as_slice() {
        [(answer, kinds)] if kinds.len() > 1 => vec![format!("at each name: {answer}")],
        groups => {
            let shown = groups.iter();
            shown
                .map(|(answer, kinds)| format!("at {}: {answer}", kinds.join(" and ")))
                .collect()
        }
    };
    format!("{call} {}", shown.join(", "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::doctor::{AnswerFormat, AnswerHead};
    use crate::core::error::CloudErrorKind;

    #[test]
    fn an_answer_is_shown_once_with_the_names_that_give_it() {
        let refused = || {
            let mut error = CloudError::new(CloudErrorKind::AccessDenied, "AccessDenied");
            error.status = Some(403);
            Err(error)
        };
        let silent = || Err(CloudError::new(CloudErrorKind::Unanswered, "Timeout"));
        let name = |kind, list, object| NameAnswers {
            kind,
            list,
            object,
            policy: Some(Ok(AnswerHead {
                status: 200,
                error: None,
                ec: None,
                named_region: None,
                format: AnswerFormat::Json,
            })),
        };
        let names = [
            name("public", refused(), None),
            name("internal", silent(), Some(refused())),
            name("dual-stack", refused(), Some(Ok(()))),
        ];
        assert_eq!(
            names_check(&names).unwrap().seen,
            "list at public and dual-stack: 403 AccessDenied, at internal: no answer (Timeout); \
             get at internal: 403 AccessDenied, at dual-stack: 200; policy at each name: 200"
        );
        assert_eq!(names_check(&[]), None);
    }
}
