//! How large a value is as JSON, counted without writing it down.

use std::io;

use serde::Serialize;

/// Bytes of a value as JSON holds it: some characters of a text take two and more.
pub fn serialized_len(value: &(impl Serialize + ?Sized)) -> usize {
    let mut counted = ByteCounter(0);
    serde_json::to_writer(&mut counted, value).map_or(0, |()| counted.0)
}

/// Counts the bytes that are written to it, and keeps none.
struct ByteCounter(usize);

impl io::Write for ByteCounter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0 += bytes.len();
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_bytes_as_are_written() {
        for text in ["", "oss://pics/a.jpg", "\"\\\u{7}\n", "\u{fc}/\u{4e2d}"] {
            assert_eq!(
                serialized_len(text),
                serde_json::to_string(text).unwrap().len(),
                "{text}"
            );
        }
    }
}
