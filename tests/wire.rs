//! What travels between the operator and the cloud: answers of proxies, truncated, endless or slow answers, and none; and
//! the formats of requests and answers.

#[cfg(test)]
mod wire {
    mod formats;
    mod refusals;
    mod slow;

    use std::time::Duration;

    use imm_operator::api::RequestPayer;
    use imm_operator::cloud::{Cloud, oss_objects, oss_policy};
    use imm_operator::core::endpoints::Endpoints;
    use imm_operator::core::place::{BucketPlace, ObjectPlace};
    use imm_operator::core::policy::Document;
    use imm_operator::core::validate::ObjectUri;
    use imm_operator::ports::{AccessKeys, CloudError, PolicyRead};
    use k8s_openapi::jiff::Timestamp;
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::{TcpListener, TcpStream};

    /// What the server sends after a request.
    #[derive(Clone, Copy)]
    enum Answer {
        /// Sends these bytes, then closes the connection.
        Bytes(&'static str),
        /// Sends these bytes, then an endless stream of zeros.
        Endless(&'static str),
        /// Sends these bytes, then one more each second.
        Slow(&'static str),
    }

    async fn answer(mut stream: TcpStream, answer: Answer) -> std::io::Result<()> {
        let mut request = [0; 16 * 1024];
        let _ = stream.read(&mut request).await?;
        let (Answer::Bytes(head) | Answer::Endless(head) | Answer::Slow(head)) = answer;
        stream.write_all(head.as_bytes()).await?;
        while let Answer::Endless(_) = answer {
            stream.write_all(&[0; 4096]).await?;
        }
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        while let Answer::Slow(_) = answer {
            seconds.tick().await;
            stream.write_all(b" ").await?;
        }
        stream.shutdown().await
    }

    async fn cloud(what: Answer) -> Cloud {
        // The first test of the process installs the provider; the others get an error, which is ignored.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(answer(stream, what));
            }
        });
        Cloud::new(Endpoints::new(&address, &address, &address).unwrap()).unwrap()
    }

    fn bucket() -> BucketPlace {
        BucketPlace::new("test-bucket-2024", "cn-hangzhou").unwrap()
    }

    fn keys() -> AccessKeys {
        AccessKeys {
            id: "LTAI".to_owned(),
            secret: "canary".into(),
            token: None,
            expires_at: None,
        }
    }

    const NOW: Timestamp = Timestamp::UNIX_EPOCH;

    async fn get(what: Answer) -> Result<PolicyRead, CloudError> {
        oss_policy::get_policy(&cloud(what).await, &bucket(), &keys(), NOW).await
    }

    async fn put(what: Answer) -> Result<(), CloudError> {
        let cloud = cloud(what).await;
        oss_policy::put_policy(&cloud, &bucket(), &keys(), "{\"Statement\":[]}", NOW)
            .await
            .map(|_| ())
    }

    fn kind_and_code(error: &CloudError) -> String {
        format!("{:?} {}", error.kind, error.code)
    }

    const HTML: Answer =
        Answer::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 24\r\n\r\n<html>please log in</htm");
    const NO_POLICY: Answer = Answer::Bytes(
        "HTTP/1.1 404 Not Found\r\ncontent-length: 46\r\n\r\n<Error><Code>NoSuchBucketPolicy</Code></Error>",
    );

    /// Answers that leave open whether the request took effect, and the resulting error kind and code.
    const UNCERTAIN: &[(Answer, &str)] = &[
        (
            Answer::Bytes("HTTP/1.1 502 Bad Gateway\r\ncontent-length: 6\r\n\r\n<html>"),
            "Unavailable OSSHttp502",
        ),
        (
            Answer::Bytes("HTTP/1.1 403 Forbidden\r\ncontent-length: 6\r\n\r\n<html>"),
            "AccessDenied OSSHttp403",
        ),
        (
            Answer::Bytes("HTTP/1.1 404 Not Found\r\ncontent-length: 6\r\n\r\n<html>"),
            "RequestRejected OSSHttp404",
        ),
        (
            Answer::Bytes(
                "HTTP/1.1 307 Temporary Redirect\r\nlocation: http://127.0.0.1:1/\r\ncontent-length: 0\r\n\r\n",
            ),
            "RequestRejected OSSHttp307",
        ),
        (
            Answer::Bytes("HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"Statement\":[]}"),
            "Unanswered ResponseTruncated",
        ),
        (
            Answer::Bytes("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n10\r\n{\"Statement\":[]}"),
            "Unanswered ResponseTruncated",
        ),
        (
            Answer::Endless("HTTP/1.1 200 OK\r\ncontent-length: 104857600\r\n\r\n"),
            "Unanswered ResponseTooLarge",
        ),
        (Answer::Bytes(""), "Unanswered ConnectionLost"),
        (Answer::Bytes("SSH-2.0-OpenSSH\r\n"), "Unanswered ConnectionLost"),
        (
            Answer::Bytes("HTTP/1.1 200 OK\r\ncontent-le"),
            "Unanswered ConnectionLost",
        ),
        (
            Answer::Endless("HTTP/1.1 200 OK\r\nx: "),
            "Unanswered ConnectionLost",
        ),
    ];

    #[tokio::test]
    async fn an_invalid_answer_is_not_read_as_a_policy() {
        for (what, expected) in UNCERTAIN {
            let error = get(*what).await.unwrap_err();
            assert_eq!(kind_and_code(&error), *expected);
        }
        // A page with status 200 is read as a document, which then cannot be edited.
        let page = get(HTML).await.unwrap().bytes.unwrap();
        assert!(Document::parse(&page).is_err());
        assert_eq!(get(NO_POLICY).await.unwrap().bytes, None);
    }

    #[tokio::test]
    async fn after_an_invalid_answer_a_write_may_still_take_effect() {
        for (what, expected) in UNCERTAIN {
            let error = put(*what).await.unwrap_err();
            assert_eq!(kind_and_code(&error), *expected);
            assert!(!error.had_no_effect(), "{expected}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_slow_answer_times_out_at_the_deadline() {
        for head in [
            "HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n",
            "HTTP/1.1 200 OK\r\nx: ",
        ] {
            let started = tokio::time::Instant::now();
            let error = put(Answer::Slow(head)).await.unwrap_err();
            assert_eq!(kind_and_code(&error), "Unanswered Timeout");
            assert!(!error.had_no_effect());
            assert!(started.elapsed() < imm_operator::cloud::OSS_DEADLINE + Duration::from_secs(1));
        }
    }

    /// A run keeps what it reads of a manifest, and no memory is planned for more.
    #[tokio::test]
    async fn a_server_that_ignores_ranges_is_read_no_further_than_the_range() {
        let read = async |length: usize| {
            let body = "x".repeat(length);
            let answer = format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\n{body}");
            let cloud = cloud(Answer::Bytes(answer.leak())).await;
            let uri = ObjectUri {
                bucket: bucket().name().to_owned(),
                key: "list.txt".to_owned(),
            };
            let (object, payer) = (
                ObjectPlace::new(&uri, "cn-hangzhou").unwrap(),
                RequestPayer::BucketOwner,
            );
            let chunk =
                oss_objects::read_object(&cloud, &object, 1_000..25_000, None, payer, &keys(), NOW).await;
            chunk.map(|chunk| (chunk.bytes.len(), chunk.last))
        };
        assert_eq!(read(20_000).await.unwrap(), (19_000, true));
        let error = read(60_000).await.unwrap_err();
        assert_eq!(kind_and_code(&error), "Unanswered ResponseTooLarge");
    }

    /// The write is dated by this clock: with a wrong one, OSS rejects every write.
    #[tokio::test]
    async fn a_date_that_contradicts_the_accepted_signature_is_no_clock() {
        let signed_at: Timestamp = "2026-10-01T10:00:00Z".parse().unwrap();
        for (date, expected) in [
            ("Thu, 01 Oct 2026 10:00:09 GMT", true),
            ("Thu, 01 Oct 2026 10:14:59 GMT", true),
            ("Thu, 01 Oct 2026 09:46:00 GMT", true),
            ("Thu, 01 Oct 2026 10:16:00 GMT", false),
            ("Thu, 01 Oct 2026 09:44:00 GMT", false),
            ("Thu, 01 Jan 1970 00:00:00 GMT", false),
            ("yesterday", false),
        ] {
            let answer = format!("HTTP/1.1 200 OK\r\ndate: {date}\r\ncontent-length: 2\r\n\r\n{{}}");
            let cloud = cloud(Answer::Bytes(answer.leak())).await;
            let read = oss_policy::get_policy(&cloud, &bucket(), &keys(), signed_at)
                .await
                .unwrap();
            assert_eq!(read.server_time.is_some(), expected, "{date}");
        }
    }
}
