//! Everything else: evidence, do-not-call lists, imports, processes, keys, duties.

use async_trait::async_trait;
use dialfleet_domain::id::{CampaignId, ImportId, TenantId, WorkerId};
use dialfleet_domain::import::{Import, ImportState, RowError, Tally};
use dialfleet_domain::phone::E164;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::{
    Answer, Callback, Cas, DoNotCall, Heartbeat, Inserted, MacKey, RecordStore, Unreadable,
};
use rusqlite::params;

use super::error::Fault;
use super::{SqliteStore, docs, execute, exists, import, rows, schema, to_doc};

#[async_trait]
impl RecordStore for SqliteStore {
    async fn insert_callbacks(&self, callbacks: &[Callback]) -> Answer<Vec<Inserted>> {
        let callbacks = callbacks
            .iter()
            .map(|c| Ok((c.id.clone(), c.received_at, to_doc("callback", c)?)))
            .collect::<Result<Vec<_>, Fault>>()?;
        self.write(move |conn| {
            let insert = "INSERT INTO callbacks (id, received_at, doc) VALUES (?1, ?2, ?3) ON CONFLICT (id) DO NOTHING";
            callbacks
                .iter()
                .map(|(id, at, doc)| Ok(fresh(execute(conn, insert, params![id.as_str(), at.millis(), doc])? == 1)))
                .collect()
        })
        .await
    }

    async fn delete_callbacks(&self, before: Timestamp, limit: usize) -> Answer<u64> {
        self.write(move |conn| {
            let deleted = execute(
                conn,
                "DELETE FROM callbacks WHERE id IN
                     (SELECT id FROM callbacks WHERE received_at < ?1 ORDER BY received_at, id LIMIT ?2)",
                params![before.millis(), rows(limit)],
            )?;
            Ok(u64::try_from(deleted).unwrap_or(u64::MAX))
        })
        .await
    }

    async fn add_do_not_call(&self, entries: &[DoNotCall]) -> Answer<()> {
        let entries = entries.to_vec();
        self.write(move |conn| {
            for entry in &entries {
                execute(
                    conn,
                    "INSERT INTO do_not_call (tenant, phone, doc) VALUES (?1, ?2, ?3) ON CONFLICT DO NOTHING",
                    params![entry.tenant.as_str(), entry.phone.as_str(), to_doc("do-not-call entry", entry)?],
                )?;
            }
            Ok(())
        })
        .await
    }

    async fn remove_do_not_call(&self, tenant: &TenantId, phone: &E164) -> Answer<bool> {
        let (tenant, phone) = (tenant.clone(), phone.clone());
        self.write(move |conn| {
            let removed = execute(
                conn,
                "DELETE FROM do_not_call WHERE tenant = ?1 AND phone = ?2",
                [tenant.as_str(), phone.as_str()],
            )?;
            Ok(removed == 1)
        })
        .await
    }

    async fn do_not_call(&self, tenant: &TenantId, phones: &[E164]) -> Answer<Vec<bool>> {
        let (tenant, phones) = (tenant.clone(), phones.to_vec());
        self.read(move |conn| {
            let listed = "SELECT 1 FROM do_not_call WHERE tenant = ?1 AND phone = ?2";
            phones
                .iter()
                .map(|phone| exists(conn, listed, [tenant.as_str(), phone.as_str()]))
                .collect()
        })
        .await
    }

    async fn insert_import(&self, import: &Import) -> Answer<Inserted> {
        let import = import.clone();
        self.write(move |conn| Ok(fresh(import::insert(conn, &import)?)))
            .await
    }

    async fn import(&self, id: &ImportId) -> Answer<Option<Import>> {
        let id = id.clone();
        let found = self.read(move |conn| import::by_id(conn, &id)).await?;
        Ok(self.each(import::WHAT, &[found])?.pop().flatten())
    }

    async fn list_imports(&self, campaign: &CampaignId, limit: usize) -> Answer<Vec<Import>> {
        let campaign = campaign.clone();
        self.list(import::WHAT, limit, move |conn, limit| {
            import::newest(conn, &campaign, limit)
        })
        .await
    }

    async fn open_imports(&self, campaign: &CampaignId, limit: usize) -> Answer<Vec<Import>> {
        let campaign = campaign.clone();
        self.list(import::WHAT, limit, move |conn, limit| {
            import::open(conn, &campaign, limit)
        })
        .await
    }

    async fn close_import(&self, id: &ImportId, batches: u32, unreadable: u64) -> Answer<()> {
        let id = id.clone();
        self.write(move |conn| {
            import::edit_if(
                conn,
                &id,
                |_| true,
                |import| {
                    import.batches = Some(batches);
                    import.unreadable = unreadable;
                },
            )
            .map(drop)
        })
        .await
    }

    async fn tally_import(
        &self,
        id: &ImportId,
        batch: u32,
        tally: Tally,
        at: Timestamp,
    ) -> Answer<Option<Import>> {
        let id = id.clone();
        self.write(move |conn| {
            import::edit_if(
                conn,
                &id,
                |_| true,
                |import| {
                    import.tallies.insert(batch, tally);
                    import.heard_at = Some(at);
                },
            )
        })
        .await
    }

    async fn end_import(
        &self,
        id: &ImportId,
        state: ImportState,
        refused: Option<String>,
        at: Timestamp,
    ) -> Answer<Cas> {
        let id = id.clone();
        self.write(move |conn| {
            let ended = import::edit_if(
                conn,
                &id,
                |import| state.from().contains(&import.state),
                |import| {
                    import.state = state;
                    import.refused = refused;
                    import.done_at = Some(at);
                },
            )?;
            Ok(import::won(ended))
        })
        .await
    }

    async fn insert_row_errors(&self, errors: &[RowError]) -> Answer<()> {
        let errors = errors.to_vec();
        self.write(move |conn| {
            errors
                .iter()
                .try_for_each(|error| import::insert_row_error(conn, error))
        })
        .await
    }

    async fn row_errors(&self, id: &ImportId, after: u64, limit: usize) -> Answer<Vec<RowError>> {
        let id = id.clone();
        self.list(import::ROW_ERROR, limit, move |conn, limit| {
            import::row_errors(conn, &id, after, limit)
        })
        .await
    }

    async fn beat(&self, heartbeat: &Heartbeat) -> Answer<()> {
        let (id, at, doc) = (
            heartbeat.worker.clone(),
            heartbeat.beat_at,
            to_doc("heartbeat", heartbeat)?,
        );
        self.write(move |conn| {
            execute(
                conn,
                "INSERT INTO workers (id, beat_at, doc) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET beat_at = excluded.beat_at, doc = excluded.doc",
                params![id.as_str(), at.millis(), doc],
            )
            .map(drop)
        })
        .await
    }

    async fn leave(&self, worker: &WorkerId) -> Answer<()> {
        let worker = worker.clone();
        self.write(move |conn| {
            execute(conn, "DELETE FROM workers WHERE id = ?1", [worker.as_str()]).map(drop)
        })
        .await
    }

    async fn workers(&self, since: Timestamp) -> Answer<Vec<Heartbeat>> {
        let found = self
            .read(move |conn| {
                docs(
                    conn,
                    "SELECT id, doc FROM workers WHERE beat_at >= ?1 ORDER BY id",
                    [since.millis()],
                )
            })
            .await?;
        Ok(self.readable("heartbeat", &found))
    }

    async fn mac_keys(&self, candidate: &MacKey) -> Answer<Vec<MacKey>> {
        let (id, doc) = (candidate.id.clone(), to_doc("key", candidate)?);
        let found = self
            .write(move |conn| {
                execute(
                    conn,
                    "INSERT INTO mac_keys (id, doc) SELECT ?1, ?2 WHERE NOT EXISTS (SELECT 1 FROM mac_keys)",
                    params![id, doc],
                )?;
                docs(conn, "SELECT id, doc FROM mac_keys ORDER BY seq DESC", [])
            })
            .await?;
        Ok(self.readable("key", &found))
    }

    async fn hold_duty(
        &self,
        task: &str,
        holder: &WorkerId,
        now: Timestamp,
        until: Timestamp,
    ) -> Answer<Cas> {
        let (task, holder) = (task.to_owned(), holder.clone());
        self.write(move |conn| {
            let held = execute(
                conn,
                "INSERT INTO duties (task, holder, until) VALUES (?1, ?2, ?4)
                 ON CONFLICT (task) DO UPDATE SET holder = excluded.holder, until = excluded.until
                 WHERE duties.until <= ?3 OR duties.holder = excluded.holder",
                params![task, holder.as_str(), now.millis(), until.millis()],
            )?;
            Ok(if held == 1 { Cas::Won } else { Cas::Lost })
        })
        .await
    }

    async fn clock(&self) -> Answer<Timestamp> {
        Ok(SqliteStore::clock(self).now())
    }

    fn unreadable(&self) -> Vec<Unreadable> {
        self.unreadable_docs().take()
    }

    async fn ping(&self) -> Answer<()> {
        // Only a write shows that one is possible; this one writes what is there already.
        self.write(|conn| {
            let sql = format!("PRAGMA user_version = {}", schema::STEPS.len());
            execute(conn, &sql, []).map(drop)
        })
        .await
    }
}

const fn fresh(inserted: bool) -> Inserted {
    if inserted {
        Inserted::Fresh
    } else {
        Inserted::Present
    }
}
