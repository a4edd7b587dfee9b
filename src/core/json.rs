//! Size of a value as JSON, counted without serialising it into memory.

use std::io;

use serde::Serialize;

/// Returns the bytes of a value as JSON, including escapes; 0 if it cannot be serialised.
pub fn serialized_len(value: &(impl Serialize + ?Sized)) -> usize {
    let mut counted = ByteCounter(0);
    serde_json::to_writer(&mut counted, value).map_or(0, |()| counted.0)
}

/// A writer that counts the bytes and discards them.
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
    fn the_length_equals_the_serialized_bytes() {
        for text in ["", "oss://pics/a.jpg", "\"\\\u{7}\n", "\u{fc}/\u{4e2d}"] {
            assert_eq!(
                serialized_len(text),
                serde_json::to_string(text).unwrap().len(),
                "{text}"
            );
        }
    }
}
