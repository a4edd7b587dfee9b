//! The pages in which the watches list objects if the API server does not stream lists. It limits them by their number of
//! objects only, and kube holds the text of a page several times while it is decoded.

/// Bytes of a page. The smallest pages fit, even of the largest objects.
pub const PAGE_BYTES: usize = 6 * 1024 * 1024;
/// Objects of a page.
pub const PAGE: u32 = 25;
/// Objects of a page once one was too large.
const SMALL_PAGE: u32 = 3;

/// Why a list failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ListFailure {
    /// The API server does not accept the request to stream.
    NotStreamed,
    /// A page had too many bytes.
    PageTooLarge,
    /// Anything else.
    Other,
}

/// Returns the number of objects of a page to list with after a failure; `None` to continue. `page` is the current
/// number, `None` while the list is streamed.
pub fn smaller_page(page: Option<u32>, failure: ListFailure) -> Option<u32> {
    match (page, failure) {
        (None, ListFailure::NotStreamed) => Some(PAGE),
        (Some(PAGE), ListFailure::PageTooLarge) => Some(SMALL_PAGE),
        // Objects of more than 1.5 MB, which an etcd with other settings stores.
        (Some(SMALL_PAGE), ListFailure::PageTooLarge) => Some(1),
        (_, ListFailure::NotStreamed | ListFailure::PageTooLarge | ListFailure::Other) => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_become_smaller_until_they_have_one_object() {
        use ListFailure::{NotStreamed, Other, PageTooLarge};
        for (page, failure, next) in [
            (None, NotStreamed, Some(25)),
            (None, PageTooLarge, None),
            (Some(25), PageTooLarge, Some(3)),
            (Some(3), PageTooLarge, Some(1)),
            (Some(1), PageTooLarge, None),
            (Some(25), NotStreamed, None),
            (Some(25), Other, None),
        ] {
            assert_eq!(smaller_page(page, failure), next, "{page:?} {failure:?}");
        }
    }
}
