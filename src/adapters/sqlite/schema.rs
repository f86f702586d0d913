//! The tables and their indexes. Every collection is a table with the domain document as JSON in
//! `doc`; the other columns repeat what indexes and queries need and are written by the same
//! statement. Absent options are NULL in columns, which partial indexes leave out.
//!
//! U1 to U4 are `attempts.id` and `attempts_u1`, and `attempts_u2`, `attempts_u3`, `attempts_u4`.

use rusqlite::Connection;

use super::error::OpenError;

/// One step per released version of the schema; a file's `user_version` counts the steps it has.
/// Steps are never edited once released, only added.
pub(super) const STEPS: [&str; 3] = [STEP_1, STEP_2, STEP_3];

const STEP_3: &str = "
CREATE TABLE recordings (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    campaign TEXT NOT NULL,
    attempt TEXT NOT NULL,
    state TEXT NOT NULL,
    announced_at INTEGER NOT NULL,
    check_at INTEGER,
    version INTEGER NOT NULL,
    doc TEXT NOT NULL
);
CREATE INDEX recordings_due ON recordings (check_at, id) WHERE check_at IS NOT NULL;
CREATE INDEX recordings_by_tenant ON recordings (tenant, announced_at, id);
CREATE INDEX recordings_by_attempt ON recordings (attempt);

CREATE TABLE transcripts (
    id TEXT NOT NULL PRIMARY KEY,
    at INTEGER NOT NULL,
    doc TEXT NOT NULL
);
CREATE TABLE transcript_words (
    tenant TEXT NOT NULL,
    word TEXT NOT NULL,
    id TEXT NOT NULL,
    PRIMARY KEY (tenant, word, id)
) WITHOUT ROWID;
CREATE INDEX transcript_words_of ON transcript_words (id);
ALTER TABLE attempts ADD COLUMN channel_of TEXT;
ALTER TABLE attempts ADD COLUMN channel INTEGER;
ALTER TABLE attempts ADD COLUMN cost_by TEXT;
ALTER TABLE attempts ADD COLUMN cost_currency TEXT;
ALTER TABLE attempts ADD COLUMN cost_open INTEGER;
ALTER TABLE attempts ADD COLUMN cost_units INTEGER;
ALTER TABLE attempts ADD COLUMN cost_at INTEGER;
CREATE UNIQUE INDEX attempts_u4 ON attempts (channel_of, channel) WHERE channel IS NOT NULL;
CREATE INDEX attempts_cost ON attempts (campaign, cost_by, cost_currency, cost_open, cost_units)
    WHERE cost_units IS NOT NULL;
CREATE INDEX attempts_cost_at_carrier ON attempts (cost_by, intent_at, cost_currency, cost_open, cost_units)
    WHERE cost_units IS NOT NULL;
CREATE INDEX attempts_cost_due ON attempts (cost_at, id) WHERE cost_at IS NOT NULL;
";

const STEP_2: &str = "
CREATE TABLE notes (
    key TEXT NOT NULL PRIMARY KEY,
    version INTEGER NOT NULL,
    body TEXT NOT NULL
) WITHOUT ROWID;
";

const STEP_1: &str = "
CREATE TABLE campaigns (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    state TEXT NOT NULL,
    wake_at INTEGER,
    created_at INTEGER NOT NULL,
    doc TEXT NOT NULL
);
CREATE INDEX campaigns_by_tenant ON campaigns (tenant, created_at, id);
CREATE INDEX campaigns_to_wake ON campaigns (wake_at, id)
    WHERE wake_at IS NOT NULL AND state IN ('running', 'draining');

CREATE TABLE leads (
    id TEXT NOT NULL PRIMARY KEY,
    campaign TEXT NOT NULL,
    phone TEXT NOT NULL,
    priority INTEGER NOT NULL,
    state TEXT NOT NULL,
    due_at INTEGER NOT NULL,
    claimed_at INTEGER,
    last_outcome TEXT,
    doc TEXT NOT NULL
);
CREATE UNIQUE INDEX leads_phone ON leads (campaign, phone);
CREATE INDEX leads_to_claim ON leads (campaign, priority, due_at, id) WHERE state = 'ready';
CREATE INDEX leads_next_due ON leads (campaign, due_at) WHERE state = 'ready';
CREATE INDEX leads_claimed ON leads (claimed_at, id) WHERE state = 'claimed';
CREATE INDEX leads_outcomes ON leads (campaign, last_outcome) WHERE state = 'done';
CREATE INDEX leads_by_campaign ON leads (campaign, id);
CREATE INDEX leads_by_state ON leads (campaign, state, id);

CREATE TABLE attempts (
    id TEXT NOT NULL PRIMARY KEY,
    tenant TEXT NOT NULL,
    campaign TEXT NOT NULL,
    lead TEXT NOT NULL,
    n INTEGER NOT NULL,
    phone TEXT NOT NULL,
    slot INTEGER,
    live INTEGER,
    version INTEGER NOT NULL,
    carrier TEXT,
    intent_at INTEGER NOT NULL,
    check_at INTEGER NOT NULL,
    todo_at INTEGER,
    doc TEXT NOT NULL
);
CREATE UNIQUE INDEX attempts_u1 ON attempts (lead, n);
CREATE UNIQUE INDEX attempts_u2 ON attempts (campaign, slot) WHERE slot IS NOT NULL;
CREATE UNIQUE INDEX attempts_u3 ON attempts (tenant, phone) WHERE live = 1;
CREATE INDEX attempts_to_check ON attempts (check_at, id) WHERE live = 1;
CREATE INDEX attempts_to_do ON attempts (todo_at, id) WHERE todo_at IS NOT NULL;
CREATE INDEX attempts_live ON attempts (campaign, slot, id) WHERE live = 1;
CREATE INDEX attempts_at_carrier ON attempts (carrier, id) WHERE live = 1;
CREATE INDEX attempts_by_tenant ON attempts (tenant, intent_at, id);
CREATE INDEX attempts_by_campaign ON attempts (campaign, intent_at, id);

CREATE TABLE attempt_calls (
    carrier TEXT NOT NULL,
    call_id TEXT NOT NULL,
    attempt TEXT NOT NULL,
    PRIMARY KEY (carrier, call_id, attempt)
) WITHOUT ROWID;

CREATE TABLE callbacks (
    id TEXT NOT NULL PRIMARY KEY,
    received_at INTEGER NOT NULL,
    doc TEXT NOT NULL
);
CREATE INDEX callbacks_by_age ON callbacks (received_at, id);

CREATE TABLE do_not_call (
    tenant TEXT NOT NULL,
    phone TEXT NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (tenant, phone)
) WITHOUT ROWID;

CREATE TABLE imports (
    id TEXT NOT NULL PRIMARY KEY,
    campaign TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at INTEGER NOT NULL,
    doc TEXT NOT NULL
);
CREATE INDEX imports_by_campaign ON imports (campaign, created_at, id);
CREATE INDEX imports_open ON imports (campaign) WHERE state = 'open';

CREATE TABLE row_errors (
    import TEXT NOT NULL,
    line INTEGER NOT NULL,
    doc TEXT NOT NULL,
    PRIMARY KEY (import, line)
) WITHOUT ROWID;

CREATE TABLE workers (
    id TEXT NOT NULL PRIMARY KEY,
    beat_at INTEGER NOT NULL,
    doc TEXT NOT NULL
);

CREATE TABLE mac_keys (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    id TEXT NOT NULL UNIQUE,
    doc TEXT NOT NULL
);

CREATE TABLE duties (
    task TEXT NOT NULL PRIMARY KEY,
    holder TEXT NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID;

CREATE TABLE messages (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    body BLOB NOT NULL,
    headers TEXT NOT NULL
);
CREATE INDEX messages_by_topic ON messages (topic, seq);

CREATE TABLE parked (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    topic TEXT NOT NULL,
    id TEXT NOT NULL,
    kind TEXT NOT NULL,
    body BLOB NOT NULL,
    headers TEXT NOT NULL,
    reason TEXT NOT NULL,
    parked_at INTEGER NOT NULL
);
";

/// Takes away what belonged to the process that had the file before. It is gone, or it would have the
/// file still: nobody must wait for its rights to run out.
pub(super) const SUCCEED: &str = "
DELETE FROM workers;
DELETE FROM duties;
DELETE FROM notes WHERE key LIKE 'seats/%';
";

/// Brings the file to this program's version, each step in its own transaction.
///
/// # Errors
/// The file was written by a newer program, or cannot be written.
pub(super) fn migrate(conn: &Connection) -> Result<(), OpenError> {
    let found: usize = conn
        .query_row("PRAGMA user_version", [], |row| row.get::<_, u32>(0))?
        .try_into()
        .unwrap_or(usize::MAX);
    if found > STEPS.len() {
        return Err(OpenError::Newer {
            found,
            known: STEPS.len(),
        });
    }
    for (done, step) in STEPS.iter().enumerate().skip(found) {
        let version = done + 1;
        conn.execute_batch(&format!(
            "BEGIN IMMEDIATE; {step} PRAGMA user_version = {version}; COMMIT;"
        ))
        .inspect_err(|_| {
            // The error that is returned says more than a failing rollback would.
            let _ = conn.execute_batch("ROLLBACK");
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_steps_are_taken_once_and_a_newer_file_is_refused() {
        let conn = Connection::open_in_memory().unwrap();
        migrate(&conn).unwrap();
        migrate(&conn).unwrap();
        conn.execute_batch("PRAGMA user_version = 99").unwrap();
        let refused = migrate(&conn).unwrap_err().to_string();
        assert!(refused.contains("newer"), "{refused}");
    }
}
