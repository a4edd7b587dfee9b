//! The YAML blocks of a page.

/// Returns the YAML blocks of a page, without the indentation of a list that contains them.
pub fn blocks(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    let mut open: Option<(usize, String)> = None;
    for line in text.lines() {
        let trimmed = line.trim_start();
        match &mut open {
            None if trimmed.starts_with("```yaml") => {
                open = Some((line.len() - trimmed.len(), String::new()));
            }
            None => {}
            Some(_) if trimmed.starts_with("```") => found.extend(open.take().map(|(_, block)| block)),
            Some((indent, block)) => {
                block.push_str(line.get(*indent..).unwrap_or(trimmed));
                block.push('\n');
            }
        }
    }
    found
}
