//! The store on a real MongoDB, beyond what every store promises: what it refuses to start on, the
//! stored shapes, answers that get lost on the way.

use std::time::Duration;

use bson::{Bson, Document, doc};
use dialfleet_adapters::mongo::{ConnectError, MongoStore, SchemaError};
use dialfleet_engine::port::store::{
    AttemptStore, CampaignStore, Cas, ClaimRequest, IntentAnswer, LeadStore, SaveAttempt,
    StoreError,
};
use dialfleet_runtime::service;
use dialfleet_tests::mongo::Database;
use dialfleet_tests::sample::{at, attempt, campaign, campaign_id, claim, lead};
use dialfleet_tests::wait::until;
use futures_util::future::join_all;
use mongodb::Collection;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use dialfleet_tests::proxy::Proxy;

async fn raw(database: &Database, collection: &str) -> Collection<Document> {
    let client = mongodb::Client::with_uri_str(database.uri()).await.unwrap();
    client.database(database.name()).collection(collection)
}

fn complaints(checked: Result<(), SchemaError>) -> Vec<String> {
    match checked {
        Ok(()) => Vec::new(),
        Err(SchemaError::Wrong(complaints)) => complaints,
        Err(other) => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn boot_names_every_index_that_is_missing_or_different() {
    let database = Database::new();
    let store = database.connect().await;
    let missing = complaints(store.check_indexes().await);
    assert!(
        missing.contains(&"attempts.u2_campaign_slot is missing".to_owned()),
        "{missing:?}"
    );

    // Many processes may migrate at once.
    for migrated in join_all((0..4).map(|_| store.migrate())).await {
        migrated.unwrap();
    }
    store.check_indexes().await.unwrap();

    let attempts = raw(&database, "attempts").await;
    for (name, unique) in [("u2_campaign_slot", true), ("u3_tenant_phone", false)] {
        attempts.drop_index(name).await.unwrap();
        let mut options = mongodb::options::IndexOptions::default();
        options.name = Some(name.to_owned());
        options.unique = Some(unique);
        let keys = if unique {
            doc! { "campaign": 1, "slot": 1 }
        } else {
            doc! { "tenant": 1, "phone": 1 }
        };
        let index = mongodb::IndexModel::builder()
            .keys(keys)
            .options(options)
            .build();
        attempts.create_index(index).await.unwrap();
    }
    attempts.drop_index("u1_lead_n").await.unwrap();
    let wrong = complaints(store.check_indexes().await);
    assert_eq!(
        wrong,
        [
            "attempts.u1_lead_n is missing",
            // Without its partial filter it would allow one ended attempt for each campaign.
            "attempts.u2_campaign_slot is different",
            "attempts.u3_tenant_phone is different",
        ]
    );
    // What exists in another form is not replaced behind anybody's back.
    let refused = store.migrate().await.unwrap_err();
    assert!(
        matches!(
            refused,
            SchemaError::Refused {
                collection: "attempts",
                ..
            }
        ),
        "{refused:?}"
    );
}

/// A server that answers whatever it is asked with `hello`, until the handle is dropped.
async fn impostor(hello: Document) -> (String, AbortOnDropHandle<()>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let answering = service::spawn(async move {
        let mut connections = JoinSet::new();
        while let Ok((client, _)) = listener.accept().await {
            let hello = hello.clone();
            connections.spawn(async move { answer(client, &hello).await });
        }
    });
    (
        format!("mongodb://{address}/?directConnection=true"),
        answering,
    )
}

async fn answer(mut client: TcpStream, hello: &Document) {
    let mut header = [0; 16];
    while client.read_exact(&mut header).await.is_ok() {
        let field = |at: usize| i32::from_le_bytes(header[at..at + 4].try_into().unwrap());
        let (len, request, op) = (field(0), field(4), field(12));
        let mut body = vec![0; usize::try_from(len).unwrap() - header.len()];
        client.read_exact(&mut body).await.unwrap();
        // OP_QUERY is answered by an OP_REPLY with one document, an OP_MSG by an OP_MSG.
        const OP_QUERY: i32 = 2004;
        let (op, mut reply) = if op == OP_QUERY {
            (1, [&[0; 16][..], &1_i32.to_le_bytes()].concat())
        } else {
            (2013, vec![0; 5])
        };
        reply.extend(bson::serialize_to_vec(hello).unwrap());
        let len = i32::try_from(header.len() + reply.len()).unwrap();
        let head: Vec<u8> = [len, 0, request, op]
            .iter()
            .flat_map(|n| n.to_le_bytes())
            .collect();
        if client.write_all(&[head, reply].concat()).await.is_err() {
            return;
        }
    }
}

fn hello(wire_version: i32) -> Document {
    doc! {
        "ok": 1.0, "helloOk": true, "isWritablePrimary": true, "minWireVersion": 0, "maxWireVersion": wire_version,
        "maxBsonObjectSize": 16_777_216, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000,
        "localTime": bson::DateTime::from_millis(0), "readOnly": false,
    }
}

#[tokio::test]
async fn a_single_server_is_refused() {
    let (uri, _answering) = impostor(hello(17)).await;
    let refused = MongoStore::connect(&uri, "test").await.unwrap_err();
    assert!(matches!(refused, ConnectError::Standalone), "{refused:?}");
}

#[tokio::test]
async fn an_old_server_is_refused() {
    let mut hello = hello(13);
    hello.extend(doc! { "setName": "rs", "hosts": ["a:1"], "me": "a:1", "setVersion": 1 });
    let (uri, _answering) = impostor(hello).await;
    let refused = MongoStore::connect(&uri, "test").await.unwrap_err();
    assert!(matches!(refused, ConnectError::TooOld(13)), "{refused:?}");
}

#[tokio::test]
async fn a_uri_that_is_none_and_a_server_that_is_not_there_are_told_apart() {
    let bad = MongoStore::connect("http://localhost", "test")
        .await
        .unwrap_err();
    assert!(matches!(bad, ConnectError::BadUri(_)), "{bad:?}");
    let nobody = MongoStore::connect("mongodb://127.0.0.1:1/?directConnection=true", "test")
        .await
        .unwrap_err();
    assert!(matches!(nobody, ConnectError::Unreachable(_)), "{nobody:?}");
}

/// Every value below `value`, with the name of its field.
fn leaves<'a>(name: &'a str, value: &'a Bson, out: &mut Vec<(&'a str, &'a Bson)>) {
    match value {
        Bson::Document(document) => document
            .iter()
            .for_each(|(name, value)| leaves(name, value, out)),
        Bson::Array(array) => array.iter().for_each(|value| leaves(name, value, out)),
        _ => out.push((name, value)),
    }
}

#[tokio::test]
async fn documents_have_long_numbers_and_no_nulls_after_every_kind_of_write() {
    let database = Database::new();
    let store = database.store().await;
    let person = lead(&campaign_id("a"), 1);
    store.insert_campaign(&campaign("a")).await.unwrap();
    store
        .insert_leads(std::slice::from_ref(&person))
        .await
        .unwrap();
    let request = ClaimRequest {
        campaign: campaign_id("a"),
        claim: claim("x"),
        now: at(0),
        draw: 0,
    };
    store.claim_leads(&[request]).await.unwrap();
    let intents: Vec<_> = (1..=3)
        .map(|n| attempt(&lead(&campaign_id("a"), n), 1, n))
        .collect();
    store.insert_attempts(&intents).await;
    let save = |i: usize| {
        let mut attempt = intents[i].clone();
        attempt.version += 1;
        attempt.slot = None;
        attempt.live = None;
        SaveAttempt {
            attempt,
            expected: 0,
        }
    };
    // One alone, and two in a bulk.
    assert_eq!(store.save_attempts(&[save(0)]).await.unwrap(), [Cas::Won]);
    assert_eq!(
        store.save_attempts(&[save(1), save(2)]).await.unwrap(),
        [Cas::Won; 2]
    );

    for collection in ["campaigns", "leads", "attempts"] {
        let documents = raw(&database, collection).await;
        let mut found = documents.find(doc! {}).await.unwrap();
        let mut seen = 0;
        while found.advance().await.unwrap() {
            seen += 1;
            let mut document: Document = found.deserialize_current().unwrap();
            // Its figures are estimates, which no query looks at.
            let mut estimates = Vec::new();
            let decision = document.remove("decision").unwrap_or(Bson::Boolean(false));
            leaves("", &decision, &mut estimates);
            let nothing = estimates.iter().find(|(_, value)| **value == Bson::Null);
            assert_eq!(nothing, None, "{decision}");
            let document = Bson::Document(document);
            let mut values = Vec::new();
            leaves("", &document, &mut values);
            for (name, value) in values {
                let fits = match value {
                    Bson::String(_) | Bson::Boolean(_) | Bson::Int64(_) => true,
                    // Never compared with anything wider.
                    Bson::Int32(_) => name == "priority",
                    _ => false,
                };
                assert!(fits, "{collection}.{name}: {value:?}");
            }
            if let Bson::Document(document) = document
                && collection == "attempts"
            {
                assert!(
                    !document.contains_key("slot") && !document.contains_key("live"),
                    "free is absent"
                );
            }
        }
        assert!(seen > 0, "{collection}");
    }
}

#[tokio::test]
async fn a_save_that_would_take_a_taken_slot_is_lost_and_writes_nothing() {
    let database = Database::new();
    let store = database.store().await;
    let intents: Vec<_> = (1..=3)
        .map(|n| attempt(&lead(&campaign_id("a"), n), 1, n))
        .collect();
    store.insert_attempts(&intents).await;
    let mut thief = SaveAttempt {
        attempt: intents[0].clone(),
        expected: 0,
    };
    thief.attempt.version += 1;
    thief.attempt.slot = intents[1].slot;
    let mut honest = SaveAttempt {
        attempt: intents[2].clone(),
        expected: 0,
    };
    honest.attempt.version += 1;
    let alone = store.save_attempts(std::slice::from_ref(&thief)).await;
    assert_eq!(alone.unwrap(), [Cas::Lost]);
    let among_others = store.save_attempts(&[thief, honest]).await;
    assert_eq!(among_others.unwrap(), [Cas::Lost, Cas::Won]);
    assert_eq!(
        store.attempts(&[intents[0].id.clone()]).await.unwrap(),
        [Some(intents[0].clone())]
    );
}

/// Connections that break at any byte of an insert: the answer is never better than the truth, and
/// the writer's next try finds its own.
#[tokio::test]
async fn an_intent_is_acknowledged_only_if_it_is_there() {
    let database = Database::new();
    let store = database.store().await;
    let cuts = [
        1, 200, 700, 1_000, 1_100, 1_200, 1_300, 1_400, 1_500, 100_000,
    ];
    join_all(cuts.into_iter().zip(1..).map(async |(bytes, n)| {
        let proxy = Proxy::to(database.uri()).await;
        let separator = if database.uri().contains('?') {
            '&'
        } else {
            '?'
        };
        let uri = format!(
            "{}{separator}directConnection=true",
            proxy.url(database.uri())
        );
        let broken = MongoStore::connect(&uri, "test").await.unwrap();
        let intent = attempt(&lead(&campaign_id("a"), n), 1, n);
        let answer = tokio::select! {
            biased;
            never = async { proxy.cut_after(bytes).await; std::future::pending().await } => never,
            answer = broken.insert_attempts(std::slice::from_ref(&intent)) => answer[0],
        };
        proxy.heal();
        let stored = store
            .attempts(std::slice::from_ref(&intent.id))
            .await
            .unwrap()
            .remove(0);
        match answer {
            IntentAnswer::Acknowledged => {
                assert_eq!(stored.as_ref(), Some(&intent), "cut after {bytes}")
            }
            IntentAnswer::Unclear => {}
            other => panic!("cut after {bytes}: {other:?}"),
        }
        assert_eq!(
            store.insert_attempts(std::slice::from_ref(&intent)).await,
            [IntentAnswer::Acknowledged]
        );

        // Once it was changed it is no longer a fresh intent, whoever wrote it.
        let mut changed = intent.clone();
        changed.version += 1;
        assert_eq!(
            store
                .save_attempts(&[SaveAttempt {
                    attempt: changed,
                    expected: 0
                }])
                .await
                .unwrap(),
            [Cas::Won]
        );
        assert_eq!(
            store.insert_attempts(&[intent]).await,
            [IntentAnswer::AttemptExists]
        );
    }))
    .await;
}

#[tokio::test]
async fn a_store_that_is_out_says_so_in_time_and_comes_back() {
    let database = Database::new();
    database.store().await;
    let proxy = Proxy::to(database.uri()).await;
    let separator = if database.uri().contains('?') {
        '&'
    } else {
        '?'
    };
    let uri = format!(
        "{}{separator}directConnection=true",
        proxy.url(database.uri())
    );
    let store = MongoStore::connect(&uri, "test").await.unwrap();
    proxy.cut();
    let person = lead(&campaign_id("a"), 1);
    let began = tokio::time::Instant::now();
    let write = store.insert_leads(std::slice::from_ref(&person)).await;
    assert!(
        matches!(
            write,
            Err(StoreError::Unavailable(_) | StoreError::Unclear(_))
        ),
        "{write:?}"
    );
    let read = store.leads(std::slice::from_ref(&person.id)).await;
    assert!(matches!(read, Err(StoreError::Unavailable(_))), "{read:?}");
    let intent = attempt(&person, 1, 0);
    assert_eq!(
        store.insert_attempts(&[intent]).await,
        [IntentAnswer::Unclear]
    );
    assert!(
        began.elapsed() < Duration::from_secs(25),
        "three operations, each bounded"
    );
    proxy.heal();
    // The first one may still meet a dead connection or a server not yet found again.
    until("the store is back", Duration::from_secs(30), async || {
        store.leads(std::slice::from_ref(&person.id)).await
    })
    .await;
}
