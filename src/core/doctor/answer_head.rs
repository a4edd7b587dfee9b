//! What a report shows of an answer whose content does not matter: status, code and format. No text of a service is
//! in it.

use crate::core::error::{CloudError, CloudErrorKind};
use crate::core::refusal::RefusedBy;

/// Format of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerFormat {
    /// JSON.
    Json,
    /// XML.
    Xml,
    /// Another one, or no body.
    Other,
}

impl AnswerFormat {
    /// Returns the format of a body, by its first character.
    pub fn of(body: &[u8]) -> Self {
        match body.trim_ascii_start().first() {
            Some(b'{') => Self::Json,
            Some(b'<') => Self::Xml,
            Some(_) | None => Self::Other,
        }
    }

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Json => "JSON",
            Self::Xml => "XML",
            Self::Other => "neither JSON nor XML",
        }
    }
}

/// How an answer looks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AnswerHead {
    /// HTTP status.
    pub status: u16,
    /// What the operator takes it for; `None` for a success.
    pub error: Option<CloudError>,
    /// `EC` of OSS, which is more exact than the code.
    pub ec: Option<String>,
    /// Region of the host of OSS that the answer names instead of the one that was asked.
    pub named_region: Option<String>,
    /// Format of the body.
    pub format: AnswerFormat,
}

/// An answer whose content does not matter, or why there was none.
pub type Answered = Result<AnswerHead, CloudError>;

/// Status and code of an answer, or why there was none.
pub(super) fn shown(answer: &Answered) -> String {
    match answer {
        Ok(head) => head.describe(),
        Err(error) => format!("no answer ({})", error.code),
    }
}

/// The same with the format of the body.
pub(super) fn shown_with_format(answer: &Answered) -> String {
    match answer {
        Ok(head) => format!("{} in {}", head.describe(), head.format.name()),
        Err(_) => shown(answer),
    }
}

impl AnswerHead {
    /// Returns status, code, the side that refused the call, and `EC`. The request id is left out: the same call has
    /// another one each time.
    pub(super) fn describe(&self) -> String {
        let mut text = self.status.to_string();
        if let Some(error) = &self.error {
            text = format!("{text} {}", error.code);
            if let Some(refusal) = error.refusal.describe() {
                text = format!("{text}, {refusal}");
            }
        }
        match &self.ec {
            Some(ec) => format!("{text}, EC {ec}"),
            None => text,
        }
    }

    /// Whether the caller's own policies refused the call, before the service looked for anything.
    pub(super) fn is_by_callers_policy(&self) -> bool {
        let by = self.error.as_ref().and_then(|error| error.refusal.by);
        matches!(
            by,
            Some(RefusedBy::RamPolicy | RefusedBy::SessionPolicy | RefusedBy::ControlPolicy)
        )
    }

    /// Whether the credentials were rejected, or the date of the call.
    pub(super) fn rejects_caller(&self) -> bool {
        let error = self.error.as_ref();
        error.is_some_and(|error| error.rejects_credentials() || error.is_clock_skew())
    }

    pub(super) fn is_of_kind(&self, kind: CloudErrorKind) -> bool {
        self.error.as_ref().is_some_and(|error| error.kind == kind)
    }
}
