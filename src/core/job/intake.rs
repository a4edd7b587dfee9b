//! What comes into a progress: stored results after a restart, and items of the source; and how the cursor moves past
//! what is stored or deferred.

use super::filing::Filing;
use super::progress::{Item, Progress, Reading, Spot};
use super::source::Found;
use crate::api::{Cursor, ItemResult, Report};

impl Progress {
    /// Adds a stored report. Its results may be newer than the status, because they are stored first; what is reserved is
    /// in the newest of them.
    pub fn recall(&mut self, report: &Report) {
        for result in &report.results {
            self.count_in(result);
        }
        let Filing::Reports(reports) = &mut self.filing else {
            return;
        };
        if reports.recall(report) {
            self.requests.sent = self.spent.max(report.reserved);
            self.requests.reserved = self.requests.sent;
        }
    }

    pub(super) fn count_in(&mut self, result: &ItemResult) {
        let index = usize::try_from(result.index).unwrap_or(usize::MAX);
        self.tally.add(&self.rules, result);
        if let Some(retry) = self.retries.remove(&index) {
            self.close(&retry.uri);
        }
        if index >= self.next_index {
            self.ahead.insert(index);
            if self.rules.may_vanish {
                self.ahead_by_uri.insert(result.uri.clone(), index);
            }
        }
    }

    /// Takes in the next items of the source. Of a prefix, objects may have gone since an earlier run: what that one has
    /// stored keeps its index, and no index is given twice.
    pub fn feed(&mut self, found: Vec<Found>, last: bool) {
        for Found { uri, place, refused } in found {
            let known = self.ahead_by_uri.remove(&uri);
            let index = known.unwrap_or_else(|| self.free_index());
            self.next_index = index + 1;
            let settled = self.ahead.remove(&index);
            self.spots.insert(index, Spot { place, settled });
            match refused {
                _ if settled => {}
                Some(code) => self.settle(index, uri, None, Some(code.to_owned())),
                None => self.waiting.push_back(Item { index, uri }),
            }
        }
        self.reading = if last { Reading::Done } else { Reading::Idle };
        self.total = self.total.max(self.next_index);
        self.advance();
    }

    /// The index of an item that is not stored. Of a prefix, one that is taken belongs to a stored object that has gone.
    fn free_index(&self) -> usize {
        let mut index = self.next_index;
        while self.rules.may_vanish && self.ahead.contains(&index) {
            index += 1;
        }
        index
    }

    /// Takes in a list of images that is known whole.
    pub fn list(&mut self, uris: &[String]) {
        let rest = uris.get(self.next_index..).unwrap_or_default().iter();
        let found = rest.map(|uri| Found {
            uri: uri.clone(),
            place: None,
            refused: None,
        });
        self.feed(found.collect(), true);
    }

    /// Whether anything is left to be sent.
    pub fn open(&self) -> bool {
        let idle = self.waiting.is_empty() && self.retries.is_empty();
        !(idle && self.reading == Reading::Done)
    }

    /// A page could not be read; it is asked for again.
    pub fn read_failed(&mut self) {
        self.reading = Reading::Idle;
    }

    /// An item is stored or deferred, so that the cursor may pass it.
    pub(super) fn pass_by(&mut self, index: usize) {
        if let Some(spot) = self.spots.get_mut(&index) {
            spot.settled = true;
        }
        self.advance();
    }

    fn advance(&mut self) {
        while let Some(first) = self.spots.first_entry().filter(|e| e.get().settled) {
            let (index, spot) = first.remove_entry();
            // An item without a place cannot be the cursor: a resume goes on before it and knows it as stored.
            if self.listed || spot.place.is_some() {
                self.cursor = Cursor {
                    index: i32::try_from(index + 1).unwrap_or(i32::MAX),
                    key: spot.place,
                };
            }
        }
    }
}
