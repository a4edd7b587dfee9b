//! Reads an access log entry by entry, so that the memory for it does not grow with the log.

use std::cell::Cell;
use std::fmt;
use std::io::{BufRead, Error, ErrorKind, Read, Result};

use serde::Deserializer;
use serde::de::{SeqAccess, Visitor};
use serde_json::Value;

use crate::core::doctor::access_log::{AccessLog, FIELD, csv_fields};

/// Largest entry that is read: one of OSS has some KiB.
const MOST_ENTRY_BYTES: usize = 256 * 1024;

/// Reads a log: a JSON array, a JSON object in each line, CSV with a header, or lines as OSS stores them in a bucket.
/// Only the role of one account counts, whatever its case.
///
/// # Errors
/// Returns the error of the source, and one for an entry of a JSON array that is too large.
pub fn parse_access_log(mut source: impl BufRead, account: &str, role: &str) -> Result<AccessLog> {
    let mut reading = LogInProgress {
        log: AccessLog::default(),
        account,
        role,
    };
    match first_byte(&mut source)? {
        Some(b'[') => reading.array(source)?,
        Some(_) => reading.lines(source)?,
        None => {}
    }
    Ok(reading.log)
}

/// Returns the first byte that is neither white space nor of a byte order mark, and leaves it in the source.
fn first_byte(source: &mut impl BufRead) -> Result<Option<u8>> {
    loop {
        let Some(byte) = source.fill_buf()?.first().copied() else {
            return Ok(None);
        };
        if !byte.is_ascii_whitespace() && !"\u{feff}".as_bytes().contains(&byte) {
            return Ok(Some(byte));
        }
        source.consume(1);
    }
}

/// A log that is being read.
struct LogInProgress<'a> {
    log: AccessLog,
    account: &'a str,
    role: &'a str,
}

impl LogInProgress<'_> {
    fn add(&mut self, entry: &Value) {
        self.log.add_object(entry.as_object(), self.account, self.role);
    }

    fn array(&mut self, source: impl BufRead) -> Result<()> {
        let left = Cell::new(MOST_ENTRY_BYTES);
        let limited = EntryLimit { source, left: &left };
        let mut json = serde_json::Deserializer::from_reader(limited);
        let entries = Entries {
            reading: self,
            left: &left,
        };
        match json.deserialize_seq(entries).and_then(|()| json.end()) {
            Err(error) if error.is_io() => Err(error.into()),
            // The rest of the log has no beginning.
            Err(_) => {
                self.log.entries += 1;
                self.log.unreadable += 1;
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn lines(&mut self, mut source: impl BufRead) -> Result<()> {
        let mut columns = None;
        let mut line = Vec::new();
        let mut is_first = true;
        let most = u64::try_from(MOST_ENTRY_BYTES).unwrap_or(u64::MAX);
        loop {
            line.clear();
            if source.by_ref().take(most).read_until(b'\n', &mut line)? == 0 {
                return Ok(());
            }
            if line.len() == MOST_ENTRY_BYTES && !line.ends_with(b"\n") {
                source.skip_until(b'\n')?;
                self.add(&Value::Null);
                continue;
            }
            let text = String::from_utf8_lossy(&line);
            let text = text.trim();
            if text.is_empty() {
                continue;
            }
            if std::mem::take(&mut is_first) {
                columns = Some(csv_fields(text)).filter(|names| names.iter().any(|name| name == FIELD));
                if columns.is_some() {
                    continue;
                }
            }
            if let Some(columns) = &columns {
                let values = csv_fields(text).into_iter().map(Value::from);
                self.add(&columns.iter().cloned().zip(values).collect());
            } else if text.starts_with('{') {
                self.add(&serde_json::from_str(text).unwrap_or_default());
            } else {
                self.log.add_stored(text, self.account, self.role);
            }
        }
    }
}

/// Takes the entries of an array one by one.
struct Entries<'a, 'b> {
    reading: &'a mut LogInProgress<'b>,
    left: &'a Cell<usize>,
}

impl<'de> Visitor<'de> for Entries<'_, '_> {
    type Value = ();

    fn expecting(&self, text: &mut fmt::Formatter<'_>) -> fmt::Result {
        text.write_str("an array of entries")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> std::result::Result<(), A::Error> {
        while let Some(entry) = entries.next_element::<Value>()? {
            self.reading.add(&entry);
            self.left.set(MOST_ENTRY_BYTES);
        }
        Ok(())
    }
}

/// A source of which one entry takes a limited number of bytes.
struct EntryLimit<'a, R> {
    source: R,
    left: &'a Cell<usize>,
}

impl<R: BufRead> Read for EntryLimit<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        let most = buffer.len().min(self.left.get());
        let Some(buffer) = buffer.get_mut(..most).filter(|buffer| !buffer.is_empty()) else {
            return Err(Error::new(
                ErrorKind::InvalidData,
                "one of its entries is larger than 256 KiB",
            ));
        };
        let read = self.source.read(buffer)?;
        self.left.set(self.left.get() - read);
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::BufReader;

    use super::*;

    const ROLE: &str = "AliyunIMMDefaultRole";
    const ACCOUNT: &str = "1234567890123456";

    fn read(source: impl Read) -> Result<AccessLog> {
        parse_access_log(BufReader::new(source), ACCOUNT, ROLE)
    }

    fn entry(session: usize) -> String {
        format!(
            r#"{{"operation":"GetObject","http_status":200,"extend_information":"1,{ROLE},s-{session},{ACCOUNT}"}}"#
        )
    }

    #[test]
    fn entries_before_a_damaged_one_count() {
        let log = read(format!("[{},{},{{\"a\":", entry(1), entry(2)).as_bytes()).unwrap();
        assert_eq!((log.entries, log.unreadable, log.reads()), (3, 1, 2));
        let log = read(format!("[{}] more", entry(1)).as_bytes()).unwrap();
        assert_eq!((log.entries, log.unreadable, log.reads()), (2, 1, 1));
        let log = read(format!("[{}, 7, [[]], null]", entry(1)).as_bytes()).unwrap();
        assert_eq!((log.entries, log.unreadable, log.reads()), (4, 3, 1));
    }

    #[test]
    fn the_entries_and_what_is_kept_of_them_are_limited() {
        // A value that never ends is not collected.
        let endless = || b"[{\"a\":\"".chain(std::io::repeat(b'x'));
        let error = read(endless()).unwrap_err();
        assert!(error.to_string().contains("larger than 256 KiB"), "{error}");
        let overlong = "x".repeat(3 * MOST_ENTRY_BYTES);
        let log = read(format!("{overlong}\n{}\n{overlong}", entry(1)).as_bytes()).unwrap();
        assert_eq!((log.entries, log.unreadable, log.reads()), (3, 2, 1));
        let most: Vec<String> = (0..1500).map(entry).collect();
        let log = read(format!("[{}]", most.join(",")).as_bytes()).unwrap();
        assert_eq!(
            (log.reads(), log.sessions.len(), log.roles.len()),
            (1500, 1000, 1)
        );
        let spellings: Vec<String> = (0..256_u32)
            .map(|bits| {
                let letters = ROLE.chars().enumerate().map(|(at, letter)| {
                    let upper = at < 8 && (bits >> at) & 1 == 1;
                    if upper {
                        letter.to_ascii_uppercase()
                    } else {
                        letter.to_ascii_lowercase()
                    }
                });
                entry(1).replace(ROLE, &letters.collect::<String>())
            })
            .collect();
        let log = read(spellings.join("\n").as_bytes()).unwrap();
        assert_eq!((log.reads(), log.roles.len()), (256, 100));
    }
}
