//! Reads a list item by item. A page of large objects has many times the memory of one of them, and the API server limits
//! pages by their number of objects only: each item is decoded and reduced as soon as its text is complete.

use std::pin::pin;

use futures::{AsyncBufRead as _, AsyncBufReadExt as _};
use kube::Client;
use kube::api::{ListParams, Request};
use serde::de::DeserializeOwned;

use super::decode::Page;

/// Capacity that is kept from one item to the next.
const KEPT_CAPACITY: usize = 64 * 1024;

/// Reads a page of the list at a path.
///
/// # Errors
/// Returns the error of the API server, or of the first item that cannot be decoded.
pub(super) async fn read_page<T: DeserializeOwned>(
    client: &Client,
    path: impl Into<String>,
    which: &ListParams,
) -> Result<Page<T>, kube::Error> {
    let request = Request::new(path).list(which);
    let request = request.map_err(kube::Error::BuildRequest)?;
    let mut body = pin!(client.request_stream(request).await?);
    let (mut splitter, mut items) = (ItemSplitter::default(), Vec::new());
    loop {
        let part = body.fill_buf().await.map_err(kube::Error::ReadEvents)?;
        let length = part.len();
        if length == 0 {
            break;
        }
        let decoded = splitter.push(part, |item| {
            items.push(serde_json::from_slice(item)?);
            Ok(())
        });
        decoded.map_err(kube::Error::SerdeError)?;
        body.as_mut().consume(length);
    }
    let rest: Page<T> = serde_json::from_slice(splitter.rest()).map_err(kube::Error::SerdeError)?;
    items.extend(rest.items);
    Ok(Page {
        metadata: rest.metadata,
        items,
    })
}

/// Where the next byte of a list belongs.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum ListPart {
    /// Outside of the items.
    #[default]
    Outside,
    /// Between two items.
    Between,
    /// In an item.
    Item,
}

/// Splits the JSON text of a list into its items while it arrives in parts.
#[derive(Default)]
struct ItemSplitter {
    place: ListPart,
    /// Open objects and arrays.
    depth: usize,
    in_string: bool,
    escaped: bool,
    /// The item that is not complete.
    item: Vec<u8>,
    /// The list without its items.
    rest: Vec<u8>,
}

impl ItemSplitter {
    /// Takes the next part of the text, and passes each item that it completes to `found`.
    ///
    /// # Errors
    /// Returns the first error of `found`.
    fn push<E>(&mut self, mut part: &[u8], mut found: impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        while let Some((&byte, after)) = part.split_first() {
            if self.in_string {
                // Most of an object is in strings: they are copied in runs.
                let special = |byte: &u8| *byte == b'"' || *byte == b'\\';
                let run = part.iter().position(special).unwrap_or(part.len());
                if run > 0 && !self.escaped {
                    let (plain, more) = part.split_at_checked(run).unwrap_or((part, &[]));
                    self.text().extend_from_slice(plain);
                    part = more;
                    continue;
                }
                self.text().push(byte);
                self.in_string = self.escaped || byte != b'"';
                self.escaped = !self.escaped && byte == b'\\';
            } else {
                self.structure(byte, &mut found)?;
            }
            part = after;
        }
        Ok(())
    }

    /// Takes a byte outside of strings.
    fn structure<E>(&mut self, byte: u8, found: &mut impl FnMut(&[u8]) -> Result<(), E>) -> Result<(), E> {
        match byte {
            b'{' | b'[' => self.depth = self.depth.saturating_add(1),
            b'}' | b']' => self.depth = self.depth.saturating_sub(1),
            _ => {}
        }
        match (self.place, byte) {
            // What is no object stays in the list, which then cannot be decoded as one without items.
            (ListPart::Between, b',' | b' ' | b'\n' | b'\r' | b'\t') => return Ok(()),
            (ListPart::Between, b'{') => self.place = ListPart::Item,
            (ListPart::Between, b']') => self.place = ListPart::Outside,
            (ListPart::Outside, b'[') if self.depth == 2 && self.follows_items() => {
                self.rest.push(byte);
                self.place = ListPart::Between;
                return Ok(());
            }
            _ => {}
        }
        self.in_string = byte == b'"';
        self.text().push(byte);
        if self.place == ListPart::Item && self.depth == 2 {
            self.place = ListPart::Between;
            let decoded = found(&self.item);
            self.item.clear();
            self.item.shrink_to(KEPT_CAPACITY);
            return decoded;
        }
        Ok(())
    }

    /// Whether the name `items` is the last that was read. A value is followed by no colon.
    fn follows_items(&self) -> bool {
        let name = self.rest.trim_ascii_end().strip_suffix(b":");
        name.is_some_and(|name| name.trim_ascii_end().ends_with(b"\"items\""))
    }

    fn text(&mut self) -> &mut Vec<u8> {
        if self.place == ListPart::Item {
            &mut self.item
        } else {
            &mut self.rest
        }
    }

    /// The list without its items; incomplete unless the whole text was taken.
    fn rest(&self) -> &[u8] {
        &self.rest
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::{Value, json};

    use super::*;

    /// Splits a text that arrives in parts of a size. Returns the items and the list without them.
    fn split(text: &str, size: usize) -> (Vec<Value>, String) {
        let (mut splitter, mut items) = (ItemSplitter::default(), Vec::new());
        for part in text.as_bytes().chunks(size) {
            let found = splitter.push(part, |item| {
                items.push(serde_json::from_slice(item)?);
                Ok::<_, serde_json::Error>(())
            });
            found.unwrap();
        }
        assert!(splitter.item.is_empty());
        (items, String::from_utf8(splitter.rest().to_vec()).unwrap())
    }

    #[test]
    fn items_are_distinguished_from_what_looks_like_them() {
        let item =
            json!({"metadata": {"name": "a", "items": [{"a": "]}"}]}, "items": [1], "s": "\\\"items\":[{"});
        for list in [
            json!({"apiVersion": "v1", "items": [item, item], "metadata": {"continue": "t", "items": [{}]}}),
            json!({"items": [], "metadata": {"continue": "\"items\":[{"}}),
            json!({"items": [{}], "kind": "items"}),
        ] {
            let expected = list["items"].as_array().unwrap();
            for text in [list.to_string(), serde_json::to_string_pretty(&list).unwrap()] {
                for size in [1, 2, 7, text.len()] {
                    let (items, rest) = split(&text, size);
                    assert_eq!(&items, expected, "{text}");
                    let rest: Value = serde_json::from_str(&rest).unwrap();
                    assert_eq!(rest["items"], json!([]));
                    assert_eq!(rest["metadata"], list["metadata"]);
                }
            }
        }
    }

    #[test]
    fn a_list_that_is_cut_off_or_has_no_objects_is_not_decoded() {
        for text in [
            r#"{"items":[{"a":1}"#,
            r#"{"items":[{"a":1}],"#,
            "",
            r#"{"items":[nul]}"#,
        ] {
            let rest = split(text, 3).1;
            assert!(serde_json::from_str::<Page<Value>>(&rest).is_err(), "{rest}");
        }
        // A scalar is decoded with the list.
        let rest = split(r#"{"items":[null]}"#, 3).1;
        assert_eq!(
            serde_json::from_str::<Page<Value>>(&rest).unwrap().items,
            [Value::Null]
        );
    }

    proptest! {
        #[test]
        fn every_list_is_split_into_its_items(
            texts in prop::collection::vec(".{0,12}", 0..6),
            size in 1usize..20,
        ) {
            let items: Vec<Value> = texts.iter().map(|text| json!({"v": text, "items": [text]})).collect();
            let list = json!({"items": items, "metadata": {"continue": texts.concat()}});
            let (found, rest) = split(&list.to_string(), size);
            prop_assert_eq!(found, items);
            let rest: Page<Value> = serde_json::from_str(&rest).unwrap();
            prop_assert_eq!(rest.metadata.continue_.unwrap_or_default(), texts.concat());
        }
    }

    #[test]
    fn memory_holds_one_item_of_a_page() {
        let object = json!({"metadata": {"annotations": {"a": "x".repeat(1_000_000)}}});
        let list = json!({"items": vec![object; 10]}).to_string();
        let mut splitter = ItemSplitter::default();
        let mut count = 0;
        for part in list.as_bytes().chunks(16 * 1024) {
            let found = splitter.push(part, |_| {
                count += 1;
                Ok::<_, std::convert::Infallible>(())
            });
            found.unwrap();
            assert!(splitter.item.capacity() + splitter.rest.capacity() < 3_000_000);
        }
        assert_eq!(count, 10);
        assert!(splitter.item.capacity() <= KEPT_CAPACITY);
    }
}
