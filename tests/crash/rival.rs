//! Another writer of the policy, which reads, edits and writes it back between two calls of ours.

use imm_operator::core::policy::{Document, fingerprint};

use super::fake_world::{FakeWorld, statements};
use super::specs::BUCKET;

/// One change by another writer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Edit {
    Insert,
    Append,
    Alter,
    Reorder,
    Duplicate,
    Delete,
    /// A statement with the meaning of one of ours, spelled differently.
    CopyOurs,
    RemoveOurs,
    RespellOurs,
    /// The whole policy is removed.
    Wipe,
}

impl Edit {
    pub const ALL: [Self; 10] = [
        Self::Insert,
        Self::Append,
        Self::Alter,
        Self::Reorder,
        Self::Duplicate,
        Self::Delete,
        Self::CopyOurs,
        Self::RemoveOurs,
        Self::RespellOurs,
        Self::Wipe,
    ];
}

const INSERTED: &str = "{\"Effect\":\"Deny\",\"Action\":[\"oss:PutBucketAcl\"],\"Principal\":[\"*\"]}";

/// Applies a change of another writer to the statements of a policy: `is_foreign` tells the foreign ones, and
/// `wanted` is a statement that the operator would write. Returns the new foreign statements; `None` if there is
/// nothing to change.
pub fn apply_edit(
    edit: Edit,
    texts: &mut Vec<String>,
    is_foreign: impl Fn(&str) -> bool,
    wanted: Option<String>,
) -> Option<Vec<String>> {
    let first = texts.iter().position(|t| is_foreign(t));
    let own = texts.iter().position(|t| !is_foreign(t));
    let inserted = || INSERTED.to_owned();
    let mut new = Vec::new();
    match (edit, first, own) {
        (Edit::Insert, ..) => {
            texts.insert(0, inserted());
            new.push(inserted());
        }
        (Edit::Append, ..) => {
            texts.push(inserted());
            new.push(inserted());
        }
        (Edit::Alter, Some(at), _) => {
            "{\"Effect\":\"Deny\",\"N\":2}".clone_into(&mut texts[at]);
            new.push(texts[at].clone());
        }
        (Edit::Reorder, ..) => texts.reverse(),
        (Edit::Duplicate, Some(at), _) => texts.push(texts[at].clone()),
        (Edit::Delete, Some(at), _) => drop(texts.remove(at)),
        (Edit::CopyOurs, ..) => {
            let text = wanted?;
            let copy = text.replace("\",\"", "\" , \"");
            assert_eq!(fingerprint(&copy), fingerprint(&text));
            texts.push(copy.clone());
            new.push(copy);
        }
        (Edit::RemoveOurs, _, Some(at)) => drop(texts.remove(at)),
        (Edit::RespellOurs, _, Some(at)) => texts[at] = texts[at].replace("\":", "\" : "),
        (Edit::Wipe, ..) => texts.clear(),
        _ => return None,
    }
    Some(new)
}

/// Returns the document with these statements; `None` without a statement.
pub fn document_of(texts: &[String]) -> Option<String> {
    (!texts.is_empty()).then(|| format!("{{\"Statement\": [{}]}}", texts.join(",\n")))
}

impl FakeWorld {
    /// Applies a change of another writer; returns whether a foreign statement changed.
    pub fn rival(&mut self, edit: Edit) -> bool {
        let mut texts = self.texts(BUCKET);
        let wanted = self
            .grants
            .values()
            .find(|g| !g.deleting)
            .and_then(|g| self.rendered(g).into_iter().next_back());
        let is_foreign = |text: &str| self.ever_foreign.contains(text);
        let Some(new) = apply_edit(edit, &mut texts, is_foreign, wanted) else {
            return false;
        };
        self.ever_foreign.extend(new);
        self.by_hand(document_of(&texts).as_deref())
    }

    /// Replaces the policy by hand; returns whether a foreign statement changed.
    pub fn by_hand(&mut self, text: Option<&str>) -> bool {
        match text {
            Some(text) => self.policies.insert(BUCKET.to_owned(), text.to_owned()),
            None => self.policies.remove(BUCKET),
        };
        self.foreign_edits += 1;
        let before = std::mem::take(&mut self.foreign);
        self.foreign = self.foreign_of(text);
        before != self.foreign
    }

    /// Sets a foreign policy before the first grant.
    pub fn foreign_policy(&mut self, text: &str) {
        self.ever_foreign.extend(statements(text));
        self.by_hand(Some(text));
    }

    /// Returns the foreign statements of a document.
    pub fn foreign_of(&self, text: Option<&str>) -> Vec<String> {
        let texts = text.map(statements).unwrap_or_default();
        texts
            .into_iter()
            .filter(|t| self.ever_foreign.contains(t))
            .collect()
    }

    /// Returns how many live statements have this meaning, and how many of them are foreign.
    pub fn live(&self, bucket: &str, meaning: &str) -> (usize, usize) {
        let Some(text) = self.policies.get(bucket) else {
            return (0, 0);
        };
        let document = Document::parse(text.as_bytes()).unwrap();
        let live = document.positions_of(meaning);
        let texts = live
            .iter()
            .map(|i| document.text_of(&document.statements()[*i]).to_owned());
        (
            live.len(),
            texts.filter(|t| self.ever_foreign.contains(t)).count(),
        )
    }
}
