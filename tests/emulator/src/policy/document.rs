//! Parses stored policies leniently: a scalar and a list of one value are equivalent.
//! Validation of submissions is in `validate`; an unparsable policy grants nothing.

use serde_json::Value;

/// `Allow` or `Deny`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Grants access.
    Allow,
    /// Denies access, and overrides every Allow.
    Deny,
}

/// The principals of a statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Principals {
    /// No `Principal` member.
    Unnamed,
    /// The listed names. An empty list is stored as `*`, which it is equivalent to.
    Named(Vec<String>),
}

impl Principals {
    /// Returns the names. A missing member means `*`.
    pub fn names(&self) -> Vec<&str> {
        match self {
            Self::Unnamed => vec!["*"],
            Self::Named(names) => names.iter().map(String::as_str).collect(),
        }
    }
}

/// One condition: operator, key and values, of which one must match.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Condition {
    pub(crate) operator: String,
    pub(crate) key: String,
    pub(crate) values: Vec<String>,
}

/// One statement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Statement {
    /// Allow or Deny.
    pub effect: Effect,
    /// The principals.
    pub principals: Principals,
    /// Action patterns.
    pub actions: Vec<String>,
    /// Resource patterns.
    pub resources: Vec<String>,
    /// The conditions, all of which must hold.
    pub conditions: Vec<Condition>,
}

/// A whole policy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Document {
    /// The statements, in order.
    pub statements: Vec<Statement>,
}

/// Returns a scalar or a list of scalars as texts, or `None` if the value is neither.
fn texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(text) => Some(vec![text.clone()]),
        Value::Bool(flag) => Some(vec![flag.to_string()]),
        Value::Number(number) => Some(vec![number.to_string()]),
        Value::Array(items) => {
            let mut all = Vec::new();
            for item in items {
                match item {
                    Value::Array(_) | Value::Object(_) | Value::Null => return None,
                    scalar @ (Value::String(_) | Value::Bool(_) | Value::Number(_)) => {
                        all.extend(texts(scalar)?);
                    }
                }
            }
            Some(all)
        }
        Value::Null | Value::Object(_) => None,
    }
}

/// Returns a non-empty list of non-empty strings, or one such string. Fails for any other value.
fn names(value: &Value, what: &str) -> Result<Vec<String>, String> {
    let complaint = || format!("{what} must be a string or a list of strings.");
    let strings = match value {
        Value::String(text) => vec![text.clone()],
        Value::Array(items) => items
            .iter()
            .map(|item| item.as_str().map(str::to_owned).ok_or_else(complaint))
            .collect::<Result<_, _>>()?,
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::Object(_) => return Err(complaint()),
    };
    if strings.iter().any(String::is_empty) {
        Err(format!("{what} holds an empty string."))
    } else {
        Ok(strings)
    }
}

fn required(object: &serde_json::Map<String, Value>, what: &str) -> Result<Vec<String>, String> {
    let list = names(
        object
            .get(what)
            .ok_or_else(|| format!("A statement has no {what}."))?,
        what,
    )?;
    if list.is_empty() {
        Err(format!("{what} is empty."))
    } else {
        Ok(list)
    }
}

fn conditions(value: &Value) -> Result<Vec<Condition>, String> {
    let operators = value.as_object().ok_or("Condition must be an object.")?;
    let mut all = Vec::new();
    for (operator, keys) in operators {
        if !super::condition::known(operator) {
            return Err(format!("The condition operator {operator} is not known."));
        }
        for (key, values) in keys
            .as_object()
            .ok_or("A condition operator must hold an object.")?
        {
            let values = texts(values).filter(|values| !values.is_empty());
            let values = values.ok_or_else(|| format!("The condition on {key} has no usable value."))?;
            all.push(Condition {
                operator: operator.clone(),
                key: key.clone(),
                values,
            });
        }
    }
    Ok(all)
}

fn statement(value: &Value) -> Result<Statement, String> {
    let object = value.as_object().ok_or("A statement must be an object.")?;
    let effect = match object.get("Effect").and_then(Value::as_str) {
        Some("Allow") => Effect::Allow,
        Some("Deny") => Effect::Deny,
        Some(_) | None => return Err("Effect must be Allow or Deny.".to_owned()),
    };
    let principals = match object.get("Principal") {
        None => Principals::Unnamed,
        Some(value) => match names(value, "Principal")? {
            empty if empty.is_empty() => Principals::Named(vec!["*".to_owned()]),
            names => Principals::Named(names),
        },
    };
    Ok(Statement {
        effect,
        principals,
        actions: required(object, "Action")?,
        resources: required(object, "Resource")?,
        conditions: object.get("Condition").map_or(Ok(Vec::new()), conditions)?,
    })
}

impl Document {
    /// Reads a parsed document. The error describes the grammar violation. `Version` is checked elsewhere.
    pub fn from_value(value: &Value) -> Result<Self, String> {
        let object = value.as_object().ok_or("The policy must be a JSON object.")?;
        let statements = object
            .get("Statement")
            .and_then(Value::as_array)
            .ok_or("Statement must be a list.")?;
        if statements.is_empty() {
            return Err("Statement is empty.".to_owned());
        }
        Ok(Self {
            statements: statements.iter().map(statement).collect::<Result<_, _>>()?,
        })
    }

    /// Reads stored bytes. `None` if they are not a policy (a foreign writer may have stored anything).
    pub fn from_bytes(bytes: &[u8]) -> Option<Self> {
        serde_json::from_slice(bytes)
            .ok()
            .and_then(|value| Self::from_value(&value).ok())
    }
}
