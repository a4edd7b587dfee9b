//! What the access log of a bucket says about the sessions that read it. Source: page "Log fields" of Simple Log
//! Service, field `extend_information`.

pub(super) mod checks;
pub(super) mod reader;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::core::validate::{check_role, check_session};

/// The field that names role and session: `requesterParentId,roleName,roleSessionName,roleOwnerId`, and perhaps more.
pub(super) const FIELD: &str = "extend_information";
/// The field that names the operation.
const OPERATION: &str = "operation";
/// The field that has the status of the answer.
const STATUS: &str = "http_status";
/// Positions of status and operation in a line that OSS stores in a bucket.
const STORED_STATUS: usize = 5;
const STORED_OPERATION: usize = 14;
/// Least fields of such a line.
const STORED_FIELDS: usize = 22;
/// Position from which a field of such a line may name a role: no client chooses what is in these fields.
const STORED_EXTENSIONS: usize = 25;

/// Reads in one and the same session from which the session counts as fixed.
pub(super) const READS_OF_FIXED_SESSION: u64 = 20;

/// Most sessions that are kept: more than one is as good as many.
pub(super) const MOST_SESSIONS: usize = 1000;
/// Most spellings of the role that are kept.
const MOST_SPELLINGS: usize = 100;

/// The reads of one role in an access log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AccessLog {
    /// Entries.
    pub entries: u64,
    /// Entries that cannot be read.
    pub unreadable: u64,
    /// Entries that name the session of a role.
    pub with_role: u64,
    /// Reads of objects by the role that were answered with the object.
    reads: u64,
    /// The same by the spelling of the role, at most 100 of them.
    pub roles: BTreeMap<String, u64>,
    /// Reads of objects by the role that were refused.
    pub denied: u64,
    /// The sessions in which the role read, at most 1,000 of them.
    pub sessions: BTreeSet<String>,
}

impl AccessLog {
    /// Returns the reads that were answered with the object.
    pub fn reads(&self) -> u64 {
        self.reads
    }

    /// Returns the spelling of the role, if the log has one only.
    pub(super) fn spelling(&self) -> Option<&String> {
        let mut roles = self.roles.keys();
        roles.next().filter(|_| roles.next().is_none())
    }

    /// Returns the session in which the role always read; `None` if the reads are too few.
    pub(super) fn fixed_session(&self) -> Option<&String> {
        let only = self.sessions.first().filter(|_| self.sessions.len() == 1);
        only.filter(|_| self.reads() >= READS_OF_FIXED_SESSION)
    }

    /// Whether the role read in several sessions.
    pub(super) fn has_several_sessions(&self) -> bool {
        self.sessions.len() > 1
    }

    pub(super) fn add_object(&mut self, entry: Option<&Map<String, Value>>, account: &str, role: &str) {
        self.entries += 1;
        let Some(entry) = entry else {
            self.unreadable += 1;
            return;
        };
        let text = |name: &str| match entry.get(name) {
            Some(Value::String(text)) => text.clone(),
            Some(Value::Number(number)) => number.to_string(),
            Some(_) | None => String::new(),
        };
        self.add(&text(FIELD), &text(OPERATION), &text(STATUS), (account, role));
    }

    /// Adds a line as OSS stores it in a bucket. The documented fields name no role; a field behind them may.
    pub(super) fn add_stored(&mut self, line: &str, account: &str, role: &str) {
        self.entries += 1;
        let fields = stored_fields(line);
        let field = |position: usize| fields.get(position).map_or("", String::as_str);
        if fields.len() < STORED_FIELDS {
            self.unreadable += 1;
            return;
        }
        let mut behind = fields.iter().skip(STORED_EXTENSIONS);
        let named = behind.find(|field| Session::parse(field).is_some());
        let named = named.map_or("", String::as_str);
        self.add(
            named,
            field(STORED_OPERATION),
            field(STORED_STATUS),
            (account, role),
        );
    }

    fn add(&mut self, named: &str, operation: &str, status: &str, (account, role): (&str, &str)) {
        let Some(session) = Session::parse(named) else {
            return;
        };
        self.with_role += 1;
        let is_read =
            operation.eq_ignore_ascii_case("GetObject") || operation.eq_ignore_ascii_case("HeadObject");
        if !is_read || session.owner != account || !session.role.eq_ignore_ascii_case(role) {
            return;
        }
        if status.starts_with('2') {
            self.reads += 1;
            if let Some(reads) = self.roles.get_mut(session.role) {
                *reads += 1;
            } else if self.roles.len() < MOST_SPELLINGS {
                self.roles.insert(session.role.to_owned(), 1);
            }
            if self.sessions.len() < MOST_SESSIONS {
                self.sessions.insert(session.name.to_owned());
            }
        } else if status == "403" {
            self.denied += 1;
        }
    }
}

/// The session of a role.
struct Session<'a> {
    role: &'a str,
    name: &'a str,
    owner: &'a str,
}

impl<'a> Session<'a> {
    /// Reads the field of an entry; `None` if it names no session.
    fn parse(field: &'a str) -> Option<Self> {
        let mut parts = field.split(',').skip(1);
        let (role, name, owner) = (parts.next()?, parts.next()?, parts.next()?);
        let is_owner = !owner.is_empty() && owner.chars().all(|c| c.is_ascii_digit());
        let named = check_role("role", role).is_ok() && check_session("session", name).is_ok();
        (named && is_owner).then_some(Self { role, name, owner })
    }
}

/// Most fields of a line that are read: an entry of a log has fewer than a hundred.
const MOST_FIELDS: usize = 1024;

/// Splits a line of CSV.
pub(super) fn csv_fields(line: &str) -> Vec<String> {
    let mut fields = vec![String::new()];
    let mut quoted = false;
    for c in line.chars() {
        match c {
            // A quote in a quoted field is written twice: the field ends and begins again.
            '"' => quoted = !quoted,
            ',' if !quoted && fields.len() == MOST_FIELDS => break,
            ',' if !quoted => fields.push(String::new()),
            other => fields.last_mut().into_iter().for_each(|field| field.push(other)),
        }
    }
    fields
}

/// Splits a line as OSS stores it: fields between spaces, in quotes, or in brackets.
fn stored_fields(line: &str) -> Vec<String> {
    let mut fields = Vec::new();
    let mut rest = line.trim();
    while let Some(first) = rest.chars().next().filter(|_| fields.len() < MOST_FIELDS) {
        let (start, end) = match first {
            '"' => (1, '"'),
            '[' => (1, ']'),
            _ => (0, ' '),
        };
        let inner = rest.get(start..).unwrap_or_default();
        let length = inner.find(end).unwrap_or(inner.len());
        fields.push(inner.get(..length).unwrap_or_default().to_owned());
        rest = inner.get(length + 1..).unwrap_or_default().trim_start();
    }
    fields
}

#[cfg(test)]
mod tests {
    use super::*;

    const ACCOUNT: &str = "1234567890123456";

    fn parse(text: &str) -> AccessLog {
        super::super::parse_access_log(text.as_bytes(), ACCOUNT, "AliyunIMMDefaultRole").unwrap()
    }

    #[test]
    fn the_fields_of_a_line_are_limited() {
        assert_eq!(csv_fields(&",".repeat(1_000_000)).len(), MOST_FIELDS);
        assert_eq!(stored_fields(&"a ".repeat(1_000_000)).len(), MOST_FIELDS);
        assert_eq!(csv_fields("a,\"b,c\",d"), ["a", "b,c", "d"]);
    }

    #[test]
    fn every_form_of_a_log_names_role_and_session() {
        let named = format!("999,aliyunimmdefaultrole,imm-1,{ACCOUNT},,");
        let json = format!(r#"{{"operation":"GetObject","http_status":200,"extend_information":"{named}"}}"#);
        let csv = format!("http_status,extend_information,operation\n\"200\",\"{named}\",GetObject\n");
        let stored = format!(
            r#"10.0.0.1 - - [03/Jan/2021:14:59:49 +0800] "GET /a.jpg HTTP/1.0" 200 9 127 "-" "an \agent" "b.oss-cn-hangzhou.aliyuncs.com" "5FF16B65F05BC932307A3C3C" "true" "999" "GetObject" "b" "a.jpg" 9 88 "-" 302 "777" - "-" "standard" "-" "-" "STS.x" "{named}""#
        );
        for text in [
            json.clone(),
            format!("[{json}]"),
            format!("\u{feff}{json}\n\n"),
            csv,
            stored,
        ] {
            let log = parse(&text);
            assert_eq!((log.entries, log.unreadable, log.with_role), (1, 0, 1), "{text}");
            assert_eq!(
                log.roles,
                BTreeMap::from([("aliyunimmdefaultrole".to_owned(), 1)]),
                "{text}"
            );
            assert_eq!(log.sessions, BTreeSet::from(["imm-1".to_owned()]));
        }
    }

    #[test]
    fn other_entries_say_nothing_about_the_role() {
        let entry = |named: &str, operation: &str, status: u16| {
            parse(&format!(
                r#"{{"operation":"{operation}","http_status":"{status}","extend_information":"{named}"}}"#
            ))
        };
        let own = format!("1,AliyunIMMDefaultRole,s-1,{ACCOUNT}");
        assert_eq!(entry(&own, "GetObject", 206).reads(), 1);
        assert_eq!(entry(&own, "GetObject", 403).denied, 1);
        for (named, operation) in [
            (own.as_str(), "PutObject"),
            ("-", "GetObject"),
            ("1234567890123456,,,,", "GetObject"),
            ("1,AliyunIMMDefaultRole,s-1,42", "GetObject"),
            ("1,OtherRole,s-1,1234567890123456", "GetObject"),
            ("1,AliyunIMM\\u001bRole,s-1,1234567890123456", "GetObject"),
        ] {
            let log = entry(named, operation, 200);
            assert_eq!((log.entries, log.reads(), log.denied), (1, 0, 0), "{named}");
        }
        let log = parse("nothing\n{\"a\":\n");
        assert_eq!((log.entries, log.unreadable), (2, 2));
        // An agent that names a role is no field behind the documented ones.
        let agent = r#"10.0.0.1 - - [03/Jan/2021:14:59:49 +0800] "GET /a.jpg HTTP/1.0" 200 9 127 "-" "1,AliyunIMMDefaultRole,s-1,1234567890123456" "h" "5FF1" "true" "999" "GetObject" "b" "a.jpg" 9 88 "-" 302 "777" - "-" "standard" "-" "-" "LTAIx""#;
        assert_eq!((parse(agent).with_role, parse(agent).unreadable), (0, 0));
    }
}
