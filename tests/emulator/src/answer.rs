//! A response before serialization, and the two error formats: XML for OSS, JSON or XML for IMM and STS.
//! The error code is also kept outside the body, because the ledger records it.

use bytes::Bytes;
use serde_json::{Value, json};

use crate::denial::AccessDeniedDetail;
use crate::encoding::{base64_text, element};

/// Status, headers and body of a response, plus the error code for the ledger.
#[derive(Clone, Debug, Default)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Bytes,
    pub(crate) code: Option<String>,
}

impl Answer {
    pub(crate) fn empty(status: u16) -> Self {
        Self {
            status,
            ..Self::default()
        }
    }

    pub(crate) fn of(status: u16, content_type: &str, body: impl Into<Bytes>) -> Self {
        Self {
            status,
            headers: vec![("Content-Type", content_type.to_owned())],
            body: body.into(),
            code: None,
        }
    }

    pub(crate) fn xml(root: &str, inner: &str) -> Self {
        let body = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<{root}>{inner}</{root}>");
        Self::of(200, "application/xml", body)
    }

    pub(crate) fn json(value: &serde_json::Value) -> Self {
        Self::of(200, "application/json;charset=utf-8", value.to_string())
    }

    /// Returns the answer of IMM or STS to an action in XML, if it is in JSON.
    pub(crate) fn in_xml(self, action: &str) -> Self {
        let Ok(body) = serde_json::from_slice::<Value>(&self.body) else {
            return self;
        };
        let root = match self.status {
            200..300 => format!("{action}Response"),
            _ => "Error".to_owned(),
        };
        let headers = self
            .headers
            .into_iter()
            .filter(|(name, _)| *name != "Content-Type");
        Self {
            headers: headers
                .chain([("Content-Type", "text/xml;charset=utf-8".to_owned())])
                .collect(),
            body: format!(
                "<?xml version='1.0' encoding='UTF-8'?>{}",
                nested_element(&root, &body)
            )
            .into(),
            ..self
        }
    }

    pub(crate) fn with(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }
}

/// Returns an XML element with the members of a JSON value, one element for each.
fn nested_element(name: &str, value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::Object(members) => {
            let inner: String = members
                .iter()
                .map(|(name, value)| nested_element(name, value))
                .collect();
            format!("<{name}>{inner}</{name}>")
        }
        Value::Array(values) => values.iter().map(|value| nested_element(name, value)).collect(),
        Value::String(text) => element(name, text),
        Value::Bool(_) | Value::Number(_) => element(name, &value.to_string()),
    }
}

/// An OSS error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct OssError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) ec: Option<String>,
    /// Further elements: name and text.
    pub(crate) details: Vec<(&'static str, String)>,
    /// The missing permission.
    pub(crate) missing: Option<Box<AccessDeniedDetail>>,
}

impl OssError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            ..Self::default()
        }
    }

    pub(crate) fn ec(mut self, ec: &str) -> Self {
        self.ec = Some(ec.to_owned());
        self
    }

    pub(crate) fn detail(mut self, name: &'static str, text: impl Into<String>) -> Self {
        self.details.push((name, text.into()));
        self
    }

    pub(crate) fn denied(message: impl Into<String>) -> Self {
        Self::new(403, "AccessDenied", message)
    }

    pub(crate) fn missing(mut self, detail: AccessDeniedDetail) -> Self {
        self.missing = Some(Box::new(detail));
        self
    }

    /// Builds the response. A HEAD request gets the error body as base64 in a header, as OSS sends it.
    pub(crate) fn answer(&self, request_id: &str, host: &str, head: bool) -> Answer {
        let details: String = self
            .details
            .iter()
            .map(|(name, text)| element(name, text))
            .collect();
        let missing = self.missing.as_deref().map(AccessDeniedDetail::xml);
        let ec = self.ec.as_deref().map(|ec| element("EC", ec)).unwrap_or_default();
        let inner = [
            element("Code", &self.code),
            element("Message", &self.message),
            element("RequestId", request_id),
            element("HostId", host),
            details,
            missing.unwrap_or_default(),
            ec,
        ];
        let mut answer = Answer::xml("Error", &inner.concat());
        answer.status = self.status;
        answer.code = Some(self.code.clone());
        if let Some(ec) = &self.ec {
            answer.headers.push(("x-oss-ec", ec.clone()));
        }
        if head {
            let text = base64_text(&answer.body);
            answer.headers.push(("x-oss-err", text));
            answer.body = Bytes::new();
        }
        answer
    }
}

/// An IMM or STS error.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct RpcError {
    pub(crate) status: u16,
    pub(crate) code: String,
    pub(crate) message: String,
    pub(crate) retry_after_ms: Option<u64>,
    /// Whether the gateway in front of the service refuses the call.
    pub(crate) of_gateway: bool,
    /// The missing permission.
    pub(crate) missing: Option<Box<AccessDeniedDetail>>,
}

impl RpcError {
    pub(crate) fn new(status: u16, code: &str, message: impl Into<String>) -> Self {
        Self {
            status,
            code: code.to_owned(),
            message: message.into(),
            retry_after_ms: None,
            of_gateway: false,
            missing: None,
        }
    }

    pub(crate) fn missing(mut self, detail: AccessDeniedDetail) -> Self {
        self.missing = Some(Box::new(detail));
        self
    }

    pub(crate) fn answer(&self, request_id: &str, host: &str) -> Answer {
        let mut body = json!({
            "RequestId": request_id, "HostId": host, "Code": self.code, "Message": self.message,
        });
        if let (Some(detail), Some(members)) = (&self.missing, body.as_object_mut()) {
            members.insert("AccessDeniedDetail".to_owned(), detail.json());
        }
        let mut answer = Answer::json(&body);
        answer.status = self.status;
        answer.code = Some(self.code.clone());
        if let Some(millis) = self.retry_after_ms {
            answer.headers.push(("x-acs-retry-after", millis.to_string()));
        }
        answer
    }
}
