//! Recordings and transcripts.

use async_trait::async_trait;
use dialfleet_domain::id::{AttemptId, CampaignId, RecordingId, TenantId};
use dialfleet_domain::recording::{Recording, RecordingState, Transcript};
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::recording::{RecordingFilter, RecordingStore};
use dialfleet_engine::port::store::{Answer, Cas, Inserted, Page};
use rusqlite::types::Value;
use rusqlite::{params, params_from_iter};

use super::doc::After;
use super::{SqliteStore, docs, docs_by_id, execute, to_doc};
use crate::page::ListName;

const WHAT: &str = "recording";
const TRANSCRIPT: &str = "transcript";

#[async_trait]
impl RecordingStore for SqliteStore {
    async fn insert_recording(&self, recording: &Recording) -> Answer<Inserted> {
        let (r, doc) = (recording.clone(), to_doc(WHAT, recording)?);
        self.write(move |conn| {
            let fresh = execute(
                conn,
                "INSERT INTO recordings (id, tenant, campaign, attempt, state, announced_at, check_at, version, doc)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9) ON CONFLICT (id) DO NOTHING",
                params![
                    r.id.as_str(),
                    r.tenant.as_str(),
                    r.campaign.as_str(),
                    r.attempt.as_str(),
                    r.state.name(),
                    r.announced_at.millis(),
                    r.check_at.map(Timestamp::millis),
                    number(r.version),
                    doc
                ],
            )?;
            Ok(if fresh == 1 { Inserted::Fresh } else { Inserted::Present })
        })
        .await
    }

    async fn recording(&self, id: &RecordingId) -> Answer<Option<Recording>> {
        let id = id.clone();
        let found = self
            .read(move |conn| {
                let by_id = "SELECT id, doc FROM recordings WHERE id = ?1";
                docs_by_id(conn, by_id, std::iter::once(id.as_str()))
            })
            .await?;
        Ok(self.each(WHAT, &found)?.pop().flatten())
    }

    async fn save_recording(&self, recording: &Recording, expected: u64) -> Answer<Cas> {
        let (r, doc) = (recording.clone(), to_doc(WHAT, recording)?);
        self.write(move |conn| {
            let saved = execute(
                conn,
                "UPDATE recordings SET state = ?3, check_at = ?4, version = ?5, doc = ?6 WHERE id = ?1 AND version = ?2",
                params![
                    r.id.as_str(),
                    number(expected),
                    r.state.name(),
                    r.check_at.map(Timestamp::millis),
                    number(r.version),
                    doc
                ],
            )?;
            Ok(if saved == 1 { Cas::Won } else { Cas::Lost })
        })
        .await
    }

    async fn due_recordings(&self, now: Timestamp, limit: usize) -> Answer<Vec<Recording>> {
        self.list(WHAT, limit, move |conn, limit| {
            docs(
                conn,
                "SELECT id, doc FROM recordings WHERE check_at IS NOT NULL AND check_at <= ?1
                 ORDER BY check_at, id LIMIT ?2",
                params![now.millis(), limit],
            )
        })
        .await
    }

    async fn list_recordings(
        &self,
        tenant: &TenantId,
        filter: &RecordingFilter,
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Recording>> {
        let name = ListName::of_recordings(tenant, filter);
        let after = After::new(name.after(cursor)?);
        let (tenant, filter) = (tenant.clone(), filter.clone());
        let items = self
            .list(WHAT, limit.saturating_add(1), move |conn, limit| {
                docs(
                    conn,
                    "SELECT id, doc FROM recordings WHERE tenant = ?1 AND (announced_at, id) < (?2, ?3)
                     AND (?4 IS NULL OR campaign = ?4) AND (?5 IS NULL OR attempt = ?5) AND (?6 IS NULL OR state = ?6)
                     ORDER BY announced_at DESC, id DESC LIMIT ?7",
                    params![
                        tenant.as_str(),
                        after.at,
                        after.id,
                        filter.campaign.as_ref().map(CampaignId::as_str),
                        filter.attempt.as_ref().map(AttemptId::as_str),
                        filter.state.map(RecordingState::name),
                        limit
                    ],
                )
            })
            .await?;
        Ok(name.page(items, limit, |r: &Recording| {
            (r.announced_at, r.id.as_str().to_owned())
        }))
    }

    async fn put_transcript(&self, transcript: &Transcript) -> Answer<()> {
        let (t, doc) = (transcript.clone(), to_doc(TRANSCRIPT, transcript)?);
        self.write(move |conn| {
            let id = t.id.as_str();
            execute(
                conn,
                "INSERT INTO transcripts (id, at, doc) VALUES (?1, ?2, ?3)
                 ON CONFLICT (id) DO UPDATE SET at = excluded.at, doc = excluded.doc",
                params![id, t.at.millis(), doc],
            )?;
            execute(conn, "DELETE FROM transcript_words WHERE id = ?1", [id])?;
            for word in &t.words {
                execute(
                    conn,
                    "INSERT INTO transcript_words (tenant, word, id) VALUES (?1, ?2, ?3)
                     ON CONFLICT (tenant, word, id) DO NOTHING",
                    params![t.tenant.as_str(), word, id],
                )?;
            }
            Ok(())
        })
        .await
    }

    async fn transcript(&self, id: &RecordingId) -> Answer<Option<Transcript>> {
        let id = id.clone();
        let found = self
            .read(move |conn| {
                let by_id = "SELECT id, doc FROM transcripts WHERE id = ?1";
                docs_by_id(conn, by_id, std::iter::once(id.as_str()))
            })
            .await?;
        Ok(self.each(TRANSCRIPT, &found)?.pop().flatten())
    }

    async fn delete_transcript(&self, id: &RecordingId) -> Answer<()> {
        let id = id.clone();
        self.write(move |conn| {
            execute(
                conn,
                "DELETE FROM transcript_words WHERE id = ?1",
                [id.as_str()],
            )?;
            execute(conn, "DELETE FROM transcripts WHERE id = ?1", [id.as_str()]).map(drop)
        })
        .await
    }

    async fn search_transcripts(
        &self,
        tenant: &TenantId,
        words: &[String],
        cursor: Option<&str>,
        limit: usize,
    ) -> Answer<Page<Transcript>> {
        let name = ListName::of_transcripts(tenant, words);
        let after = After::new(name.after(cursor)?);
        if words.is_empty() {
            return Ok(name.page(Vec::new(), limit, |_: &Transcript| {
                (Timestamp::default(), String::new())
            }));
        }
        let (tenant, words) = (tenant.clone(), words.to_vec());
        let items = self
            .list(TRANSCRIPT, limit.saturating_add(1), move |conn, limit| {
                let said = "AND EXISTS (SELECT 1 FROM transcript_words w WHERE w.tenant = ? AND w.word = ? AND w.id = t.id) ";
                let sql = format!(
                    "SELECT t.id, t.doc FROM transcript_words f JOIN transcripts t ON t.id = f.id
                     WHERE f.tenant = ? AND f.word = ? AND (t.at, t.id) < (?, ?) {} ORDER BY t.at DESC, t.id DESC LIMIT ?",
                    said.repeat(words.len() - 1)
                );
                let text = |text: &str| Value::Text(text.to_owned());
                let mut values = vec![text(tenant.as_str()), text(&words[0])];
                values.extend([Value::Integer(after.at), text(&after.id)]);
                for word in &words[1..] {
                    values.extend([text(tenant.as_str()), text(word)]);
                }
                values.push(Value::Integer(limit));
                docs(conn, &sql, params_from_iter(values))
            })
            .await?;
        Ok(name.page(items, limit, |t: &Transcript| {
            (t.at, t.id.as_str().to_owned())
        }))
    }
}

fn number(version: u64) -> i64 {
    i64::try_from(version).unwrap_or(i64::MAX)
}
