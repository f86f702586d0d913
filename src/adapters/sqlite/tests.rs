//! What only the embedded store can be asked: full disks, failed jobs, large numbers of leads.

use std::pin::pin;
use std::sync::mpsc::sync_channel;
use std::time::Duration;

use async_trait::async_trait;
use dialfleet_domain::id::WorkerId;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{Cas, RecordStore, StoreError};
use futures_util::poll;

use super::*;

struct Still;

#[async_trait]
impl Clock for Still {
    fn now(&self) -> Timestamp {
        Timestamp::from_millis(1)
    }

    fn uptime(&self) -> Duration {
        Duration::ZERO
    }

    async fn sleep(&self, _: Duration) {}
}

fn in_memory() -> SqliteStore {
    SqliteStore::in_memory(Arc::new(Still)).unwrap()
}

fn in_a_file() -> (tempfile::TempDir, SqliteStore) {
    let dir = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(dir.path(), Arc::new(Still)).unwrap();
    (dir, store)
}

const PUT: &str = "INSERT INTO notes (key, version, body) VALUES (?1, 1, 'x')";

async fn put(store: &SqliteStore, task: String) -> Answer<()> {
    store
        .write(move |conn| execute(conn, PUT, [task]).map(drop))
        .await
}

async fn tasks(store: &SqliteStore) -> Vec<String> {
    store
        .read(|conn| texts(conn, "SELECT key FROM notes ORDER BY key", []))
        .await
        .unwrap()
}

fn refused(answer: &Answer<()>) -> bool {
    matches!(answer, Err(StoreError::NoRoom(why)) if why.contains("full"))
}

async fn fill(store: &SqliteStore) {
    put(store, "small".to_owned()).await.unwrap();
    let limit = store.write(|conn| {
        let pages: u32 = conn.query_row("PRAGMA page_count", [], |row| row.get(0))?;
        conn.query_row(
            &format!("PRAGMA max_page_count = {}", pages + 4),
            [],
            |_| Ok(()),
        )?;
        Ok(())
    });
    limit.await.unwrap();
    let answer = put(store, "x".repeat(1 << 20)).await;
    assert!(refused(&answer), "{answer:?}");
    // The store goes on, and keeps refusing what does not fit.
    store.ping().await.unwrap();
    put(store, "tiny".to_owned()).await.unwrap();
    assert_eq!(tasks(store).await, ["small", "tiny"]);
    let (small, large) = futures_util::future::join(
        put(store, "beside".to_owned()),
        put(store, "y".repeat(1 << 20)),
    )
    .await;
    assert!(refused(&large), "{large:?}");
    // Whether they were in one transaction is chance; the answer is true either way.
    assert_eq!(
        tasks(store).await.contains(&"beside".to_owned()),
        small.is_ok()
    );
}

#[tokio::test]
async fn a_full_disk_is_said_to_be_full() {
    fill(&in_memory()).await;
    let (_dir, store) = in_a_file();
    fill(&store).await;
}

#[tokio::test]
async fn the_rights_of_the_process_before_end_with_it() {
    let (dir, store) = in_a_file();
    let (gone, next) = (
        WorkerId::parse("wrk_a").unwrap(),
        WorkerId::parse("wrk_b").unwrap(),
    );
    let (now, later) = (Timestamp::from_millis(1), Timestamp::from_millis(60_000));
    let won = store.hold_duty("scan", &gone, now, later).await.unwrap();
    assert_eq!(won, Cas::Won);
    put(&store, "seats/sim".to_owned()).await.unwrap();
    put(&store, "routes/sim".to_owned()).await.unwrap();
    drop(store);
    let store = SqliteStore::open(dir.path(), Arc::new(Still)).unwrap();
    let won = store.hold_duty("scan", &next, now, later).await.unwrap();
    assert_eq!(won, Cas::Won);
    assert_eq!(tasks(&store).await, ["routes/sim"], "what is known is kept");
}

#[tokio::test]
async fn a_read_only_database_refuses_writes() {
    for (_dir, store) in [(None, in_memory()), {
        let (d, s) = in_a_file();
        (Some(d), s)
    }] {
        store
            .write(|conn| Ok(conn.execute_batch("PRAGMA query_only = ON")?))
            .await
            .unwrap();
        let answer = put(&store, "a".to_owned()).await;
        assert!(
            matches!(&answer, Err(StoreError::Refused(why)) if why.contains("read-only")),
            "{answer:?}"
        );
    }
}

#[tokio::test]
async fn a_failed_job_undoes_itself_and_no_other() {
    for (_dir, store) in [(None, in_memory()), {
        let (d, s) = in_a_file();
        (Some(d), s)
    }] {
        let fail = store.write(|conn| {
            execute(conn, PUT, ["undone"])?;
            conn.execute_batch("SELECT * FROM nowhere")?;
            Ok(())
        });
        let (before, failed, after) = tokio::join!(
            put(&store, "before".to_owned()),
            fail,
            put(&store, "after".to_owned())
        );
        before.unwrap();
        assert!(
            matches!(failed, Err(StoreError::Unavailable(_))),
            "{failed:?}"
        );
        after.unwrap();
        assert_eq!(tasks(&store).await, ["after", "before"]);
    }
}

/// Keeps the writing thread busy until every job of `jobs` was handed over: they are one group.
async fn as_one_group<T>(store: &SqliteStore, jobs: impl Future<Output = T>) -> T {
    let (begin, begun) = sync_channel(1);
    let (release, released) = sync_channel::<()>(1);
    let mut hold = pin!(store.write(move |_| {
        begin.send(()).unwrap();
        released.recv().unwrap();
        Ok(())
    }));
    assert!(poll!(&mut hold).is_pending());
    begun.recv().unwrap();
    let mut jobs = pin!(jobs);
    assert!(poll!(&mut jobs).is_pending());
    release.send(()).unwrap();
    hold.await.unwrap();
    jobs.await
}

#[tokio::test]
async fn a_transaction_that_sqlite_took_back_is_confessed_to_all_of_it() {
    let (_dir, store) = in_a_file();
    let vanish = store.write(|conn| {
        // As a full disk may: the whole transaction is gone, not only this job.
        conn.execute_batch("ROLLBACK")?;
        Err::<(), _>(Fault::Sql(rusqlite::Error::InvalidQuery))
    });
    let jobs = async {
        tokio::join!(
            put(&store, "first".to_owned()),
            vanish,
            put(&store, "last".to_owned())
        )
    };
    let (first, vanished, last) = as_one_group(&store, jobs).await;
    assert!(
        matches!(first, Err(StoreError::Unavailable(_))),
        "{first:?}"
    );
    assert!(vanished.is_err());
    last.unwrap();
    assert_eq!(tasks(&store).await, ["last"]);
}

#[tokio::test]
async fn a_commit_that_fails_is_confessed_to_all_of_it() {
    let (_dir, store) = in_a_file();
    let orphan =
        "CREATE TABLE child (parent TEXT REFERENCES notes (key) DEFERRABLE INITIALLY DEFERRED);
                  INSERT INTO child VALUES ('nobody')";
    let jobs = async {
        tokio::join!(
            put(&store, "first".to_owned()),
            store.write(move |conn| Ok(conn.execute_batch(orphan)?)),
            put(&store, "last".to_owned())
        )
    };
    let (first, orphaned, last) = as_one_group(&store, jobs).await;
    for answer in [first, orphaned, last] {
        assert!(
            matches!(answer, Err(StoreError::Unavailable(_))),
            "{answer:?}"
        );
    }
    assert_eq!(tasks(&store).await, [""; 0]);
    put(&store, "later".to_owned()).await.unwrap();
    assert_eq!(tasks(&store).await, ["later"]);
}

#[tokio::test]
async fn a_panicking_job_is_undone_and_harms_no_other() {
    let (_dir, store) = in_a_file();
    let panic = store.write::<(), _>(|conn| {
        execute(conn, PUT, ["undone"])?;
        panic!("a bug")
    });
    let (before, panicked, after) = tokio::join!(
        put(&store, "before".to_owned()),
        panic,
        put(&store, "after".to_owned())
    );
    before.unwrap();
    assert!(
        matches!(panicked, Err(StoreError::Unavailable(_))),
        "{panicked:?}"
    );
    after.unwrap();
    let asked = store.read::<(), _>(|_| panic!("a bug")).await;
    assert!(
        matches!(asked, Err(StoreError::Unavailable(_))),
        "{asked:?}"
    );
    assert_eq!(tasks(&store).await, ["after", "before"]);
}

#[tokio::test]
async fn a_write_that_can_wait_comes_in_its_turn() {
    let (dir, store) = in_a_file();
    store
        .write_later(|conn| execute(conn, PUT, ["later"]).map(drop))
        .await
        .unwrap();
    put(&store, "now".to_owned()).await.unwrap();
    assert_eq!(tasks(&store).await, ["later", "now"]);
    store
        .write_later(|conn| execute(conn, PUT, ["last"]).map(drop))
        .await
        .unwrap();
    drop(store);
    let store = SqliteStore::open(dir.path(), Arc::new(Still)).unwrap();
    assert_eq!(
        tasks(&store).await,
        ["last", "later", "now"],
        "a clean end writes what waits"
    );
}

#[tokio::test]
async fn every_query_has_its_index() {
    let store = in_memory();
    let plans = [
        (
            "SELECT priority FROM leads WHERE campaign = ?1 AND state = 'ready' AND priority < ?2 ORDER BY priority DESC LIMIT 1",
            "leads_to_claim",
        ),
        (
            "SELECT id FROM leads WHERE campaign = ?1 AND state = 'ready' AND priority = ?2 AND due_at <= ?3 ORDER BY due_at, id LIMIT ?4",
            "leads_to_claim",
        ),
        (
            "SELECT doc FROM leads WHERE state = 'claimed' AND claimed_at < ?1 ORDER BY claimed_at, id LIMIT ?2",
            "leads_claimed",
        ),
        (
            "SELECT MIN(due_at) FROM leads WHERE campaign = ?1 AND state = 'ready'",
            "leads_next_due",
        ),
        (
            "SELECT doc FROM attempts WHERE live = 1 AND check_at <= ?1 ORDER BY check_at, id LIMIT ?2",
            "attempts_to_check",
        ),
        (
            "SELECT doc FROM attempts WHERE todo_at IS NOT NULL AND todo_at < ?1 ORDER BY todo_at, id LIMIT ?2",
            "attempts_to_do",
        ),
        (
            "SELECT slot FROM attempts WHERE campaign = ?1 AND slot IS NOT NULL ORDER BY slot",
            "attempts_u2",
        ),
        (
            "SELECT doc FROM attempts WHERE tenant = ?1 AND phone = ?2 AND live = 1",
            "attempts_u3",
        ),
        (
            "SELECT doc FROM attempts WHERE lead = ?1 ORDER BY n DESC LIMIT 1",
            "attempts_u1",
        ),
        (
            "SELECT doc FROM campaigns WHERE wake_at IS NOT NULL AND state IN ('running', 'draining') AND wake_at <= ?1 ORDER BY wake_at, id LIMIT ?2",
            "campaigns_to_wake",
        ),
    ];
    for (sql, index) in plans {
        let plan = store.read(move |conn| {
            let mut query = conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}"))?;
            let nulls = vec![rusqlite::types::Null; query.parameter_count()];
            let rows = query.query_map(rusqlite::params_from_iter(nulls), |row| {
                row.get::<_, String>(3)
            })?;
            Ok(rows.collect::<Result<Vec<_>, _>>()?.join("; "))
        });
        let plan = plan.await.unwrap();
        assert!(
            plan.contains(index) && !plan.contains("TEMP B-TREE"),
            "{sql}\n{plan}"
        );
    }
}
