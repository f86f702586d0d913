use super::*;

const ENDED: &str = r#"{"status":"success","msg":"disconnected"}"#;

async fn hang_up(replies: Vec<Reply>) -> (Result<(), CarrierError>, Server) {
    let server = Server::start(replies).await;
    let call = dial::call_id("api-2-09876543210-1700000000000").unwrap();
    let done = sans(&server.base_url).hang_up(&call).await;
    (done, server)
}

#[tokio::test]
async fn a_call_is_ended_by_the_name_that_the_exchange_gave_it() {
    let (done, server) = hang_up(vec![whole(200, GRANTED), whole(200, ENDED)]).await;
    done.unwrap();
    let seen = seen(&server);
    assert_eq!(seen[1].0, "/calldisconnect");
    assert_eq!(seen[1].1.as_deref(), Some("s3ssion-1"));
    assert_eq!(seen[1].2, r#"{"callid":"api-2-09876543210-1700000000000"}"#);

    let server = Server::start([]).await;
    let strange = CarrierCallId::parse("CA1").unwrap();
    let done = sans(&server.base_url).hang_up(&strange).await;
    assert!(matches!(done, Err(CarrierError::NotFound)), "{done:?}");
    assert!(server.seen().is_empty());
}

#[tokio::test]
async fn a_refused_token_is_renewed_once() {
    for refusal in [
        (401, ""),
        (200, r#"{"status":"error","msg":"Invalid token"}"#),
    ] {
        let refused = || whole(refusal.0, refusal.1);
        let (done, server) = hang_up(vec![
            whole(200, GRANTED),
            refused(),
            whole(200, GRANTED_ANEW),
            whole(200, ENDED),
        ])
        .await;
        done.unwrap();
        assert_eq!(seen(&server)[3].1.as_deref(), Some("s3ssion-2"));

        let (done, server) = hang_up(vec![
            whole(200, GRANTED),
            refused(),
            whole(200, GRANTED_ANEW),
            refused(),
        ])
        .await;
        assert!(
            matches!(done, Err(CarrierError::Unauthorized(_))),
            "{done:?}"
        );
        assert_eq!(server.seen().len(), 4);
    }
}

#[tokio::test]
async fn without_a_token_there_is_no_answer() {
    let (done, _) = hang_up(vec![whole(401, "")]).await;
    assert!(
        matches!(done, Err(CarrierError::Unauthorized(_))),
        "{done:?}"
    );
    for reply in [whole(500, ""), Reply::Cut(Vec::new())] {
        let (done, _) = hang_up(vec![reply]).await;
        assert!(
            matches!(done, Err(CarrierError::Unavailable(_))),
            "{done:?}"
        );
    }
    let (done, _) = hang_up(vec![whole(200, GRANTED), Reply::Cut(Vec::new())]).await;
    assert!(
        matches!(done, Err(CarrierError::Unavailable(_))),
        "{done:?}"
    );
}
