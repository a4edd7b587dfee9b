//! Error texts of the services, without what users wrote. A text can quote an object key or another name of a request;
//! words of such a name must not decide what happened.

/// Words that the kinds of errors are recognized by. Only a name with one of them can be mistaken for the service's words.
const WORDS: [&str; 5] = ["region", "resource", "project", "endpoint", "policy"];

/// Returns the service's own words in lower case: the text before the first quotation, URI, or name of the request.
/// What follows a name is dropped too, because the end of the name cannot be known.
pub(super) fn own_words(text: &str, request_uri: Option<&str>) -> String {
    let text = text.to_lowercase();
    let uri = request_uri.unwrap_or_default().to_lowercase();
    let names = uri.strip_prefix("oss://").and_then(|path| path.split_once('/'));
    let (bucket, key) = names.unwrap_or_default();
    // A text can quote a part of the key only. A part of nothing but decisive words cannot be told from the service's own.
    let own = |part: &str| part.split_whitespace().all(|word| WORDS.contains(&word));
    let parts = key.split('/').filter(|part| !own(part));
    let ends = [
        quotation(&text),
        text.find("://").map(|at| start_of_word(&text, at)),
        name(&text, &uri),
        name(&text, bucket),
        name(&text, key),
    ];
    let parts = parts.filter_map(|part| name(&text, part));
    let end = ends
        .into_iter()
        .flatten()
        .chain(parts)
        .min()
        .unwrap_or(text.len());
    text.get(..end).unwrap_or_default().to_owned()
}

/// Finds the first quotation mark. An apostrophe within a word is none.
fn quotation(text: &str) -> Option<usize> {
    let mut before = ' ';
    for (at, mark) in text.char_indices() {
        let opens = match mark {
            '"' | '`' | '“' | '”' | '‘' | '«' | '「' => true,
            '\'' => !before.is_alphanumeric(),
            _ => false,
        };
        if opens {
            return Some(at);
        }
        before = mark;
    }
    None
}

fn start_of_word(text: &str, at: usize) -> usize {
    let before = text.get(..at).unwrap_or_default();
    before
        .char_indices()
        .rev()
        .find(|(_, c)| c.is_whitespace())
        .map_or(0, |(at, c)| at + c.len_utf8())
}

/// Finds a name of the request; `None` if it is not in the text or has no decisive word.
fn name(text: &str, name: &str) -> Option<usize> {
    let decisive = WORDS.iter().any(|word| name.contains(word));
    text.find(name).filter(|_| decisive)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_users_wrote_is_not_part_of_the_words() {
        let uri = "oss://my-photos/resource project/regional.jpg";
        for (text, expected) in [
            (
                "The specified resource project is not found.",
                "the specified resource project is not found.",
            ),
            (
                "The bucket is not in the project's region.",
                "the bucket is not in the project's region.",
            ),
            ("The object \"regional/a\" is no image", "the object "),
            ("The object 'resource project' is missing", "the object "),
            ("oss://b/regional/a.jpg is no image", ""),
            (
                "The source oss://b/a b/resource project/x is no image",
                "the source ",
            ),
            ("The key resource project/regional.jpg is bad", "the key "),
            ("Not found: RESOURCE PROJECT/REGIONAL.JPG", "not found: "),
            ("The file regional.jpg is no image", "the file "),
        ] {
            assert_eq!(own_words(text, Some(uri)), expected, "{text}");
        }
        // A name without a decisive word is left alone: cutting it could hide the service's words.
        let text = "Region of a.jpg is wrong";
        assert_eq!(own_words(text, Some("oss://b/a")), text.to_lowercase());
    }
}
