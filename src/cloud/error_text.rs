//! Error texts of the services, without what users wrote. A text can quote an object key or another name of a request;
//! words of such a name must not decide what happened.

/// Words that the kinds of errors are recognized by. Only a name with one of them can be mistaken for the service's
/// words.
const WORDS: [&str; 5] = ["region", "resource", "project", "endpoint", "policy"];

/// Fewest characters of a shortened name that tell it from the service's own words.
const SHORTEST: usize = 4;

/// What users wrote in a request.
#[derive(Clone, Copy, Default)]
pub(super) struct RequestNames<'a> {
    /// URI of the image.
    pub(super) uri: Option<&'a str>,
    /// Names without spaces, which a text quotes as a whole: of the project and of roles.
    pub(super) whole: &'a [&'a str],
}

/// Returns the service's own words in lower case: the text before the first quotation, URI, or part of the request's URI,
/// without the other names. What follows a part of the URI is dropped too, because its end cannot be known.
pub(super) fn own_words(text: &str, names: RequestNames<'_>) -> String {
    let mut text = text.to_lowercase();
    let whole = names.whole.iter().map(|name| name.to_lowercase());
    for name in whole.filter(|name| is_decisive(name) && !is_own(name)) {
        text = text.replace(&name, "_");
    }
    let uri = names.uri.unwrap_or_default().to_lowercase();
    let path = uri.strip_prefix("oss://").and_then(|path| path.split_once('/'));
    let (bucket, key) = path.unwrap_or_default();
    // A text can quote a part of the key only. A part of nothing but decisive words cannot be told from the service's
    // own.
    let parts = key.split('/').filter(|part| !is_own(part));
    let quoted = [uri.as_str(), bucket, key].into_iter().chain(parts);
    let quoted: Vec<&str> = quoted.filter(|name| is_decisive(name)).collect();
    let ends = [
        quotation(&text),
        text.find("://").map(|at| start_of_word(&text, at)),
        shortened(&text, &quoted),
    ];
    let found = quoted.iter().filter_map(|name| text.find(name));
    let end = ends.into_iter().flatten().chain(found).min();
    text.truncate(end.unwrap_or(text.len()));
    text
}

/// Returns whether a word is in the service's own words, and not only in a longer word or a name: names that a
/// service has encoded or shortened have no spaces around their parts.
pub(super) fn has_word(text: &str, word: &str) -> bool {
    let plain = |part: &str| {
        let part = part.trim_matches(['.', ',', ':', ';', '(', ')', '[', ']', '!', '?']);
        let part = part.split(['(', ',', ':', ';', '=']).next().unwrap_or_default();
        part.strip_suffix("'s").or(part.strip_suffix('s')).unwrap_or(part) == word
    };
    text.split_whitespace().any(plain)
}

/// Whether a name can be mistaken for the service's words.
fn is_decisive(name: &str) -> bool {
    WORDS.iter().any(|word| name.contains(word))
}

/// Whether a name cannot be told from the service's words.
fn is_own(name: &str) -> bool {
    name.split_whitespace().all(|word| WORDS.contains(&word))
}

/// Finds the start of a name that the text shortens by an ellipsis, or else the ellipsis.
fn shortened(text: &str, names: &[&str]) -> Option<usize> {
    let dots = [text.find("..."), text.find('…')].into_iter().flatten().min();
    let dots = dots.filter(|_| !names.is_empty())?;
    let before = text.get(..dots).unwrap_or_default().trim_end();
    let starts = names.iter().filter_map(|name| {
        let ends = name.char_indices().map(|(at, c)| at + c.len_utf8());
        let quoted = ends.filter(|end| *end >= SHORTEST).rev();
        let mut quoted = quoted.filter_map(|end| before.strip_suffix(name.get(..end)?));
        quoted.next().map(str::len)
    });
    Some(starts.min().unwrap_or(dots))
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

#[cfg(test)]
mod tests {
    use super::*;

    fn of_uri(uri: &str) -> RequestNames<'_> {
        RequestNames {
            uri: Some(uri),
            whole: &[],
        }
    }

    #[test]
    fn names_of_projects_and_roles_are_removed_and_the_rest_is_kept() {
        let names = RequestNames {
            uri: None,
            whole: &["Photo-Project", "region-reader", "region", "oss"],
        };
        for (text, expected) in [
            (
                "Project photo-project and the bucket are not in one region.",
                "project _ and the bucket are not in one region.",
            ),
            (
                "The role REGION-READER does not exist",
                "the role _ does not exist",
            ),
            // A name that is a decisive word cannot be told from the service's own.
            ("Wrong region of oss", "wrong region of oss"),
        ] {
            assert_eq!(own_words(text, names), expected, "{text}");
        }
    }

    #[test]
    fn a_shortened_name_is_not_part_of_the_words() {
        let uri = "oss://my-photos/2026/my region photo of the lake.jpg";
        for (text, expected) in [
            ("The object my region pho... is no image", "the object "),
            ("The object 2026/my region … is no image", "the object "),
            ("No image: ...egion photo of the lake.jpg", "no image: "),
            ("The region of ... is wrong", "the region of "),
        ] {
            assert_eq!(own_words(text, of_uri(uri)), expected, "{text}");
        }
        let text = "Not in the region...";
        assert_eq!(own_words(text, of_uri("oss://b/a")), text.to_lowercase());
    }

    #[test]
    fn a_word_is_found_by_itself_only() {
        for (text, has) in [
            ("not in the project's region.", true),
            ("the region's buckets", true),
            ("regions differ", true),
            ("region: cn-hangzhou", true),
            ("(region=cn-hangzhou)", true),
            ("regional buckets", false),
            ("my%20region%20photo.jpg is no image", false),
            ("a/region/b is no image", false),
            ("my-region", false),
        ] {
            assert_eq!(has_word(text, "region"), has, "{text}");
        }
    }

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
            assert_eq!(own_words(text, of_uri(uri)), expected, "{text}");
        }
        // A name without a decisive word is left alone: cutting it could hide the service's words.
        let text = "Region of a.jpg is wrong";
        assert_eq!(own_words(text, of_uri("oss://b/a")), text.to_lowercase());
    }
}
