//! Escapes characters in text of others, such as statements in a policy, before it is printed: a terminal would obey or
//! reorder it, or show nothing, and a reader would see something else than what is stored.

use std::fmt::Write;

use crate::core::validate::is_invisible;

/// Returns the text with control and formatting characters, such as bidirectional controls, and line and paragraph
/// separators as `\uXXXX`, which means the same in JSON. Line breaks and tabs stay, and so do the joiners, which words
/// and emoji consist of.
pub(super) fn escaped(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if is_obeyed(c) {
            let mut units = [0; 2];
            for unit in c.encode_utf16(&mut units) {
                // Writing to a String cannot fail.
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(c);
        }
    }
    shown
}

fn is_obeyed(c: char) -> bool {
    is_invisible(c) && !matches!(c, '\n' | '\t' | '\u{200c}' | '\u{200d}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_terminal_obeys_is_escaped_and_json_stays_equal() {
        for (text, shown) in [
            (
                "a \u{fc} \u{1f4f7} \u{200d}\n\tb",
                "a \u{fc} \u{1f4f7} \u{200d}\n\tb",
            ),
            ("\u{1b}[2J", "\\u001b[2J"),
            ("pho\u{200b}tos\u{feff}\u{ad}", "pho\\u200btos\\ufeff\\u00ad"),
            ("a\u{e0041}", "a\\udb40\\udc41"),
            ("a\rb\u{7f}\u{9b}1m", "a\\u000db\\u007f\\u009b1m"),
            (
                "\u{202e}gpj.a\u{2066}\u{61c}\u{2028}",
                "\\u202egpj.a\\u2066\\u061c\\u2028",
            ),
        ] {
            assert_eq!(escaped(text), shown);
        }
        let json = serde_json::to_string("\u{202e}\u{9b}").unwrap();
        let read: String = serde_json::from_str(&escaped(&json)).unwrap();
        assert_eq!(read, "\u{202e}\u{9b}");
    }
}
