//! Whether OSS returns a policy as it was written, in every read.

use serde::Serialize;

use super::check::Check;
use super::restore::PreImage;

/// Reads in a row that show the written policy, after which no other answer is expected.
const IN_A_ROW: u32 = 5;
/// Most reads.
const MOST: u32 = 20;

/// What reads of the policy showed while that of the probe was written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ReadBack {
    /// The policy that was written, byte for byte.
    pub written: u32,
    /// The last of these, without another answer in between.
    pub in_a_row: u32,
    /// The policy from before, or one that the probe wrote earlier.
    pub earlier: u32,
    /// Another text.
    pub other: u32,
    /// Reads without an answer.
    pub failed: u32,
}

impl ReadBack {
    /// Counts a read. Returns whether it showed the written policy.
    pub fn add(&mut self, live: Result<Option<&[u8]>, &()>, image: &PreImage) -> bool {
        let bytes = |text: &String| text.as_bytes().to_vec();
        let written = image.written.last().map(bytes);
        let is_written = live.is_ok_and(|live| live.is_some() && live == written.as_deref());
        let is_earlier = |live: Option<&[u8]>| {
            let before = live == image.before.as_ref().map(String::as_bytes);
            before || image.written.iter().any(|text| live == Some(text.as_bytes()))
        };
        match live {
            Ok(_) if is_written => self.written += 1,
            Ok(live) if is_earlier(live) => self.earlier += 1,
            Ok(_) => self.other += 1,
            Err(()) => self.failed += 1,
        }
        self.in_a_row = if is_written { self.in_a_row + 1 } else { 0 };
        is_written
    }

    /// Whether a further read is of no use.
    pub fn is_enough(&self) -> bool {
        self.in_a_row >= IN_A_ROW || self.all() >= MOST
    }

    fn all(&self) -> u32 {
        self.written + self.earlier + self.other + self.failed
    }

    /// The check; none without a read.
    pub(super) fn check(&self) -> Option<Check> {
        let name = "probe-read-back";
        let others: Vec<String> = [
            (self.earlier, "showed an earlier policy"),
            (self.other, "showed another text"),
            (self.failed, "failed"),
        ]
        .iter()
        .filter(|(count, _)| *count > 0)
        .map(|(count, what)| format!("{count} {what}"))
        .collect();
        let seen = format!(
            "{} of {} reads showed the policy byte for byte as it was written",
            self.written,
            self.all()
        );
        let seen = if others.is_empty() {
            seen
        } else {
            format!("{seen}; {}", others.join("; "))
        };
        Some(if self.all() == 0 {
            return None;
        } else if self.other > 0 {
            let change = "see whether another client wrote to the probe bucket; if none did, OSS stores policies in another form, which the operator takes for a change by somebody else";
            Check::warning(name, seen, change)
        } else if self.in_a_row < IN_A_ROW {
            let change =
                "run the probe again: too few reads in a row showed the policy to tell whether it is stable";
            Check::warning(name, seen, change)
        } else {
            Check::ok(name, seen)
        })
    }
}

/// What reads showed after two policies were written at once.
#[derive(Clone, Copy, Debug, Default)]
pub struct TwoReads {
    /// Which of them the last read showed, from 0, and how many reads in a row.
    shown: Option<usize>,
    in_a_row: u32,
    all: u32,
}

impl TwoReads {
    /// Counts a read; `None` if it failed or showed no policy. Returns whether it showed one of the two.
    pub fn add(&mut self, live: Option<&[u8]>, texts: &[String; 2]) -> bool {
        let shown = texts.iter().position(|text| Some(text.as_bytes()) == live);
        self.all += 1;
        self.in_a_row = match shown {
            Some(_) if shown == self.shown => self.in_a_row + 1,
            Some(_) => 1,
            None => 0,
        };
        self.shown = shown;
        shown.is_some()
    }

    /// Whether a further read is of no use.
    pub fn is_enough(&self) -> bool {
        self.in_a_row >= IN_A_ROW || self.all >= MOST
    }

    /// Which policy is live; `None` if too few reads in a row showed the same one: an earlier read may have come from
    /// a server that does not know the later write yet.
    pub fn live(&self) -> Option<usize> {
        self.shown.filter(|_| self.in_a_row >= IN_A_ROW)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::doctor::Level;

    #[test]
    fn a_read_is_compared_with_every_policy_of_the_probe() {
        let image = PreImage {
            bucket: "pics".to_owned(),
            region: "cn-hangzhou".to_owned(),
            before: None,
            written: vec!["{1}".to_owned(), "{2}".to_owned()],
            written_at: None,
            prefix: None,
        };
        let mut found = ReadBack::default();
        for (live, is_written) in [
            (Ok(None), false),
            (Ok(Some(b"{1}".as_slice())), false),
            (Ok(Some(b"{2}".as_slice())), true),
            (Ok(Some(b"{ 2 }".as_slice())), false),
            (Err(&()), false),
            (Ok(Some(b"{2}".as_slice())), true),
        ] {
            assert_eq!(found.add(live, &image), is_written, "{live:?}");
        }
        let counts = (
            found.written,
            found.in_a_row,
            found.earlier,
            found.other,
            found.failed,
        );
        assert_eq!(counts, (2, 1, 2, 1, 1));
        assert_eq!(ReadBack::default().check(), None);
        let check = found.check().unwrap();
        assert_eq!(check.level, Level::Warning);
        assert_eq!(
            check.seen,
            "2 of 6 reads showed the policy byte for byte as it was written; 2 showed an earlier policy; 1 showed another text; 1 failed"
        );
        for _ in 0..4 {
            assert!(!found.is_enough());
            found.add(Ok(Some(b"{2}".as_slice())), &image);
        }
        assert!(found.is_enough());
    }

    #[test]
    fn the_live_one_of_two_is_what_reads_in_a_row_show() {
        let texts = ["{1}".to_owned(), "{2}".to_owned()];
        let play = |reads: &[&[u8]]| {
            let mut found = TwoReads::default();
            let mut count = 0;
            for live in reads.iter().cycle() {
                if found.is_enough() {
                    break;
                }
                assert_eq!(found.live(), None, "not before the reads are enough");
                found.add((!live.is_empty()).then_some(*live), &texts);
                count += 1;
            }
            (found.live(), count)
        };
        assert_eq!(play(&[b"{1}"]), (Some(0), 5));
        let late: [&[u8]; 8] = [b"{1}", b"{1}", b"", b"{2}", b"{2}", b"{2}", b"{2}", b"{2}"];
        assert_eq!(play(&late), (Some(1), 8));
        assert_eq!(play(&[b"{1}", b"{1}", b"{1}", b"{1}", b"{2}"]), (None, 20));
        assert_eq!(play(&[b"{3}"]), (None, 20));
    }
}
