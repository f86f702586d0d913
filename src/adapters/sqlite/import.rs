//! Deliveries of leads and their row errors.

use dialfleet_domain::id::{CampaignId, ImportId};
use dialfleet_domain::import::{Import, RowError};
use dialfleet_engine::port::store::Cas;
use rusqlite::{Connection, params};

use super::doc::Doc;
use super::error::Fault;
use super::{docs, execute, from_doc, one_doc, to_doc};

pub(super) const WHAT: &str = "import";
pub(super) const ROW_ERROR: &str = "row error";

pub(super) fn insert(conn: &Connection, import: &Import) -> Result<bool, Fault> {
    let fresh = execute(
        conn,
        "INSERT INTO imports (id, campaign, state, created_at, doc) VALUES (?1, ?2, ?3, ?4, ?5)
         ON CONFLICT (id) DO NOTHING",
        params![
            import.id.as_str(),
            import.campaign.as_str(),
            import.state.name(),
            import.created_at.millis(),
            to_doc(WHAT, import)?
        ],
    )?;
    Ok(fresh == 1)
}

pub(super) fn by_id(conn: &Connection, id: &ImportId) -> Result<Option<Doc>, Fault> {
    one_doc(
        conn,
        "SELECT id, doc FROM imports WHERE id = ?1",
        [id.as_str()],
    )
}

pub(super) fn newest(
    conn: &Connection,
    campaign: &CampaignId,
    limit: i64,
) -> Result<Vec<Doc>, Fault> {
    docs(
        conn,
        "SELECT id, doc FROM imports WHERE campaign = ?1 ORDER BY created_at DESC, id DESC LIMIT ?2",
        params![campaign.as_str(), limit],
    )
}

pub(super) fn open(
    conn: &Connection,
    campaign: &CampaignId,
    limit: i64,
) -> Result<Vec<Doc>, Fault> {
    docs(
        conn,
        "SELECT id, doc FROM imports WHERE campaign = ?1 AND state = 'open' ORDER BY created_at, id LIMIT ?2",
        params![campaign.as_str(), limit],
    )
}

/// Changes an import, if it is there and `expected`; returns what it became.
pub(super) fn edit_if(
    conn: &Connection,
    id: &ImportId,
    expected: impl FnOnce(&Import) -> bool,
    edit: impl FnOnce(&mut Import),
) -> Result<Option<Import>, Fault> {
    let Some(doc) = by_id(conn, id)? else {
        return Ok(None);
    };
    let mut import: Import = from_doc(WHAT, &doc)?;
    if !expected(&import) {
        return Ok(None);
    }
    edit(&mut import);
    execute(
        conn,
        "UPDATE imports SET state = ?2, doc = ?3 WHERE id = ?1",
        params![id.as_str(), import.state.name(), to_doc(WHAT, &import)?],
    )?;
    Ok(Some(import))
}

pub(super) fn won(changed: Option<Import>) -> Cas {
    if changed.is_some() {
        Cas::Won
    } else {
        Cas::Lost
    }
}

pub(super) fn insert_row_error(conn: &Connection, error: &RowError) -> Result<(), Fault> {
    execute(
        conn,
        "INSERT INTO row_errors (import, line, doc) VALUES (?1, ?2, ?3) ON CONFLICT (import, line) DO NOTHING",
        params![
            error.import.as_str(),
            line(error.line),
            to_doc(ROW_ERROR, error)?
        ],
    )?;
    Ok(())
}

pub(super) fn row_errors(
    conn: &Connection,
    id: &ImportId,
    after: u64,
    limit: i64,
) -> Result<Vec<Doc>, Fault> {
    docs(
        conn,
        "SELECT import, doc FROM row_errors WHERE import = ?1 AND line > ?2 ORDER BY line LIMIT ?3",
        params![id.as_str(), line(after), limit],
    )
}

/// No file has more lines than a signed number counts.
fn line(line: u64) -> i64 {
    i64::try_from(line).unwrap_or(i64::MAX)
}
