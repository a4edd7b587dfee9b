//! Shows how a policy document changed. A document may be one long line, so the difference is computed by characters:
//! the common start and end are printed unmarked, and the part between them is marked.

/// Returns both documents as one text with marked lines.
pub(super) fn difference(before: &str, after: &str) -> String {
    let start = common(before.chars(), after.chars());
    let (before_rest, after_rest) = (tail(before, start), tail(after, start));
    let end = common(before_rest.chars().rev(), after_rest.chars().rev());
    let removed = head(before_rest, before_rest.len().saturating_sub(end));
    let added = head(after_rest, after_rest.len().saturating_sub(end));

    let mut text = String::new();
    marked(&mut text, ' ', head(before, start));
    marked(&mut text, '-', removed);
    marked(&mut text, '+', added);
    marked(&mut text, ' ', tail(before_rest, removed.len()));
    text
}

/// Returns the length in bytes of the common start of two character sequences.
fn common(one: impl Iterator<Item = char>, other: impl Iterator<Item = char>) -> usize {
    one.zip(other)
        .take_while(|(one, other)| one == other)
        .map(|(one, _)| one.len_utf8())
        .sum()
}

fn head(text: &str, end: usize) -> &str {
    text.get(..end).unwrap_or(text)
}

fn tail(text: &str, start: usize) -> &str {
    text.get(start..).unwrap_or_default()
}

fn marked(text: &mut String, mark: char, part: &str) {
    for line in part.split('\n').filter(|line| !line.trim().is_empty()) {
        text.push(mark);
        text.push(' ');
        text.push_str(line);
        text.push('\n');
    }
}

#[cfg(test)]
mod tests {
    use super::difference;

    #[test]
    fn an_insertion_is_marked_and_the_rest_is_not() {
        let shown = difference("{\n  [a,\n   b]\n}", "{\n  [a,\n   b,c]\n}");
        assert_eq!(shown, "  {\n    [a,\n     b\n+ ,c\n  ]\n  }\n");
    }

    #[test]
    fn equal_documents_have_no_mark() {
        let shown = difference("{ü}", "{ü}");
        assert_eq!(shown, "  {ü}\n");
    }

    #[test]
    fn a_replacement_shows_both_versions_and_splits_no_character() {
        let shown = difference("[é]", "[è]");
        assert_eq!(shown, "  [\n- é\n+ è\n  ]\n");
    }
}
