//! What attempts cost: sums of integers over an index, so that nothing is ever counted twice.

use dialfleet_domain::id::{CampaignId, CarrierId, LeadId};
use dialfleet_domain::money::Currency;
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::store::SpendSum;
use rusqlite::{Connection, Params, Row, params};

use super::error::Fault;

const SUM: &str =
    "SELECT cost_by, cost_currency, cost_open, SUM(cost_units), COUNT(*) FROM attempts";
const BY: &str = "AND cost_units IS NOT NULL GROUP BY cost_by, cost_currency, cost_open
                  ORDER BY cost_by, cost_currency, cost_open";

pub(super) fn of_campaign(conn: &Connection, id: &CampaignId) -> Result<Vec<SpendSum>, Fault> {
    sums(conn, "WHERE campaign = ?1", [id.as_str()])
}

pub(super) fn of_carrier(
    conn: &Connection,
    id: &CarrierId,
    since: Timestamp,
) -> Result<Vec<SpendSum>, Fault> {
    let narrow = "WHERE cost_by = ?1 AND intent_at >= ?2";
    sums(conn, narrow, params![id.as_str(), since.millis()])
}

pub(super) fn of_lead(conn: &Connection, id: &LeadId) -> Result<Vec<SpendSum>, Fault> {
    sums(conn, "WHERE lead = ?1", [id.as_str()])
}

fn sums(conn: &Connection, narrow: &str, of: impl Params) -> Result<Vec<SpendSum>, Fault> {
    let mut query = conn.prepare_cached(&format!("{SUM} {narrow} {BY}"))?;
    let rows = query.query_map(of, row)?;
    Ok(rows.collect::<Result<_, _>>()?)
}

fn row(row: &Row<'_>) -> rusqlite::Result<SpendSum> {
    let unreadable = |at: usize| {
        move |error: Box<dyn std::error::Error + Send + Sync>| {
            rusqlite::Error::FromSqlConversionFailure(at, rusqlite::types::Type::Text, error)
        }
    };
    let (carrier, currency): (String, String) = (row.get(0)?, row.get(1)?);
    Ok(SpendSum {
        carrier: CarrierId::parse(carrier).map_err(|e| unreadable(0)(e.into()))?,
        currency: Currency::parse(&currency).map_err(|e| unreadable(1)(e.into()))?,
        open: row.get(2)?,
        units: row.get(3)?,
        attempts: row.get::<_, u32>(4)?.into(),
    })
}
