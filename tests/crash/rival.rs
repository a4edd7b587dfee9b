//! Another writer of the policy, which reads, edits and writes it back between two calls of ours.

use imm_operator::core::policy::{Document, fingerprint};

use super::fake_world::{FakeWorld, statements};
use super::scenario::BUCKET;

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

impl FakeWorld {
    /// Applies a change of another writer; returns whether a foreign statement changed.
    pub fn rival(&mut self, edit: Edit) -> bool {
        let mut texts = self.texts(BUCKET);
        let is_foreign: Vec<bool> = texts.iter().map(|t| self.ever_foreign.contains(t)).collect();
        let first = is_foreign.iter().position(|f| *f);
        let own = is_foreign.iter().position(|f| !*f);
        match (edit, first, own) {
            (Edit::Insert, ..) => texts.insert(0, self.foreigner(INSERTED)),
            (Edit::Append, ..) => texts.push(self.foreigner(INSERTED)),
            (Edit::Alter, Some(at), _) => texts[at] = self.foreigner("{\"Effect\":\"Deny\",\"N\":2}"),
            (Edit::Reorder, ..) => texts.reverse(),
            (Edit::Duplicate, Some(at), _) => texts.push(texts[at].clone()),
            (Edit::Delete, Some(at), _) => drop(texts.remove(at)),
            (Edit::CopyOurs, ..) => {
                let wanted = self
                    .grants
                    .values()
                    .find(|g| !g.deleting)
                    .map(|g| self.rendered(g));
                let Some(text) = wanted.and_then(|all| all.into_iter().next_back()) else {
                    return false;
                };
                let copy = self.foreigner(&text.replace("\",\"", "\" , \""));
                assert_eq!(fingerprint(&copy), fingerprint(&text));
                texts.push(copy);
            }
            (Edit::RemoveOurs, _, Some(at)) => drop(texts.remove(at)),
            (Edit::RespellOurs, _, Some(at)) => texts[at] = texts[at].replace("\":", "\" : "),
            (Edit::Wipe, ..) => texts.clear(),
            _ => return false,
        }
        let text = format!("{{\"Statement\": [{}]}}", texts.join(",\n"));
        self.by_hand((!texts.is_empty()).then_some(text.as_str()))
    }

    fn foreigner(&mut self, text: &str) -> String {
        self.ever_foreign.insert(text.to_owned());
        text.to_owned()
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
