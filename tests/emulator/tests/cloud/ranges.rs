//! A large object read in ranges with a pinned ETag, as manifests are read.
//! The behaviour at and beyond the object's end depends on an OSS-specific header.

use crate::client::{BUCKET, Client, cross_account, plain};

#[tokio::test]
async fn an_object_is_read_in_pieces_as_long_as_it_stays_the_same() {
    let emulator = cross_account().await;
    let owner = Client::owner(&emulator);
    let (target, order) = (
        format!("/{BUCKET}/list.txt"),
        format!("/-/buckets/{BUCKET}/objects/list.txt"),
    );
    plain(&emulator, "PUT", &order, b"0123456789").await;
    let get = async |range: &str, etag: &str, behavior: &[(&str, &str)]| {
        let headers = [&[("range", range), ("if-match", etag)], behavior].concat();
        owner.oss_with("GET", &target, &headers, b"").await.unwrap()
    };
    let whole = owner.oss("GET", &target, b"").await;
    let etag = whole.header("etag").unwrap().to_owned();
    assert_eq!(etag, "\"781E5E245D69B566979B86E28D23F2C7\"");
    let standard = [("x-oss-range-behavior", "standard")];

    for (range, text, shown) in [
        ("bytes=0-3", "0123", "bytes 0-3/10"),
        ("bytes=4-9", "456789", "bytes 4-9/10"),
        ("bytes=8-", "89", "bytes 8-9/10"),
    ] {
        let part = get(range, &etag, &[]).await;
        assert_eq!((part.status, part.text().as_str()), (206, text), "{range}");
        assert_eq!(part.header("content-range"), Some(shown));
        assert_eq!(
            part.header("content-length"),
            Some(text.len().to_string().as_str())
        );
        assert_eq!(part.header("etag"), Some(etag.as_str()));
    }
    let clipped = get("bytes=8-99", &etag, &standard).await;
    assert_eq!((clipped.status, clipped.text().as_str()), (206, "89"));
    let beyond = get("bytes=10-99", &etag, &standard).await;
    assert_eq!((beyond.status, beyond.code().as_str()), (416, "InvalidRange"));
    for range in ["bytes=8-99", "bytes=10-99"] {
        let ignored = get(range, &etag, &[]).await;
        assert_eq!(
            (ignored.status, ignored.text().as_str()),
            (200, "0123456789"),
            "{range}"
        );
        assert_eq!(ignored.header("content-range"), None);
    }

    plain(&emulator, "PUT", &order, b"0123456780").await;
    let changed = get("bytes=0-3", &etag, &[]).await;
    assert_eq!(
        (changed.status, changed.code().as_str()),
        (412, "PreconditionFailed")
    );
}
