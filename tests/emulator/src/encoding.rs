//! Text encodings of the three protocols: percent-encoding, hexadecimal, base64 and XML text.
//!
//! No URL library canonicalises a request: the raw bytes are decoded here and encoded again by the rules of the
//! signature scheme.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

const HEX_LOWER: &[u8; 16] = b"0123456789abcdef";
const HEX_UPPER: &[u8; 16] = b"0123456789ABCDEF";

fn push_hex(out: &mut String, byte: u8, digits: [u8; 16]) {
    for nibble in [byte >> 4, byte & 0x0f] {
        out.push(char::from(
            digits.get(usize::from(nibble)).copied().unwrap_or(b'0'),
        ));
    }
}

/// Lower-case hexadecimal.
pub(crate) fn hex(bytes: &[u8]) -> String {
    let mut out = String::with_capacity(bytes.len() * 2);
    for byte in bytes {
        push_hex(&mut out, *byte, *HEX_LOWER);
    }
    out
}

/// Standard base64 with padding.
pub(crate) fn base64_text(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// Percent-encodes everything but the unreserved characters. `/` is kept if `keep_slash` is set.
pub(crate) fn percent_encode(bytes: &[u8], keep_slash: bool) -> String {
    let mut out = String::with_capacity(bytes.len());
    for byte in bytes {
        let bare = byte.is_ascii_alphanumeric()
            || matches!(byte, b'-' | b'_' | b'.' | b'~')
            || (keep_slash && *byte == b'/');
        if bare {
            out.push(char::from(*byte));
        } else {
            out.push('%');
            push_hex(&mut out, *byte, *HEX_UPPER);
        }
    }
    out
}

fn nibble(byte: u8) -> Option<u8> {
    char::from(byte)
        .to_digit(16)
        .and_then(|digit| u8::try_from(digit).ok())
}

/// Decodes percent-encoding. A `%` that starts no escape is kept literally, as most servers do.
pub(crate) fn percent_decode(text: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len());
    let mut bytes = text.as_bytes();
    while let Some((first, rest)) = bytes.split_first() {
        if let (b'%', [high, low, tail @ ..]) = (first, rest)
            && let (Some(high), Some(low)) = (nibble(*high), nibble(*low))
        {
            out.push((high << 4) | low);
            bytes = tail;
            continue;
        }
        out.push(*first);
        bytes = rest;
    }
    out
}

/// The meaning of `+` in a query.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Plus {
    /// OSS: a plus sign.
    Literal,
    /// IMM and STS: a space, as in an HTML form.
    Space,
}

/// Splits a raw query or form body into decoded pairs, in the order sent.
pub(crate) fn query_pairs(raw: &str, plus: Plus) -> Vec<(String, String)> {
    let decode = |text: &str| {
        let text = if plus == Plus::Space {
            text.replace('+', " ")
        } else {
            text.to_owned()
        };
        String::from_utf8_lossy(&percent_decode(&text)).into_owned()
    };
    raw.split('&')
        .filter(|pair| !pair.is_empty())
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (decode(name), decode(value))
        })
        .collect()
}

/// Escapes text for an XML element.
pub(crate) fn xml_text(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\r' => out.push_str("&#13;"),
            other => out.push(other),
        }
    }
    out
}

/// Returns one XML element with escaped text.
pub(crate) fn element(name: &str, text: &str) -> String {
    format!("<{name}>{}</{name}>", xml_text(text))
}

/// Returns the text of the first element of that name, or `None` if the element is missing. Sufficient for the only XML
/// body the emulator parses.
pub(crate) fn element_text<'a>(xml: &'a str, name: &str) -> Option<&'a str> {
    let open = format!("<{name}>");
    let (_, rest) = xml.split_once(&open)?;
    let (text, _) = rest.split_once(&format!("</{name}>"))?;
    (!text.contains('<')).then(|| text.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stray_percent_sign_stands_for_itself_and_escapes_decode() {
        assert_eq!(percent_decode("a%2Fb%zz%"), b"a/b%zz%");
    }

    #[test]
    fn a_plus_is_a_space_only_in_forms() {
        assert_eq!(query_pairs("a=x+y&policy", Plus::Literal)[0].1, "x+y");
        assert_eq!(
            query_pairs("a=x+y&b=", Plus::Space),
            [("a".into(), "x y".into()), ("b".into(), String::new())]
        );
    }

    #[test]
    fn slashes_are_kept_in_paths_and_encoded_in_queries() {
        assert_eq!(percent_encode("ü/*~".as_bytes(), true), "%C3%BC/%2A~");
        assert_eq!(percent_encode(b"a/b", false), "a%2Fb");
    }
}
