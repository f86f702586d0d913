//! What can be asked afterwards, in pages.

use axum::Json;
use axum::extract::{Path, RawQuery, State};
use axum::http::HeaderMap;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use dialfleet_domain::time::Timestamp;
use serde_json::{Value, json};

use super::Fronts;
use super::wire::{ApiError, Names, iso8601};
use crate::network::Search;

const MAX_PAGE: usize = 250;
const DEFAULT_PAGE: usize = 20;
/// Without a leg or session only events this young are found.
const DAY_MS: u128 = 86_400_000;

struct Query(Vec<(String, String)>);

impl Query {
    fn parse(raw: Option<String>) -> Self {
        let raw = raw.unwrap_or_default();
        Self(
            form_urlencoded::parse(raw.as_bytes())
                .into_owned()
                .collect(),
        )
    }

    fn get(&self, key: &str) -> Option<&str> {
        let found = self.0.iter().find(|(k, v)| k == key && !v.is_empty());
        found.map(|(_, value)| value.as_str())
    }

    fn number(&self, key: &str) -> Option<usize> {
        self.get(key).and_then(|text| text.parse().ok())
    }

    fn is(&self, key: &str, value: &str) -> bool {
        self.get(key).is_none_or(|wanted| wanted == value)
    }
}

/// Newest first; a page is named by the last call of the page before it.
pub(super) async fn active_calls(
    State(fronts): State<Fronts>,
    Path(connection): Path<String>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let front = fronts.admit_read(&headers, "active_calls")?;
    if connection != front.connection_id {
        return Err(ApiError::not_found());
    }
    let query = Query::parse(query);
    let limit = query.number("page[limit]").unwrap_or(DEFAULT_PAGE);
    let limit = limit.clamp(1, MAX_PAGE);
    let before = query.get("page[after]").and_then(serial);
    let office = &front.office;
    let now = office.now();
    let lag = u128::from(office.faults.get(&front.name).list_lag_ms);
    let alive = |call: &crate::network::CallView| {
        call.dial.carrier == front.name && now.since(call.placed_at).as_millis() >= lag
    };
    let all = Search {
        live: true,
        ..Search::default()
    };
    let page = Search {
        before: before.unwrap_or(u64::MAX),
        limit: limit + 1,
        ..all
    };
    let total = office.network.calls(&all, alive).len();
    let mut calls = office.network.calls(&page, alive);
    let more = calls.len() > limit;
    calls.truncate(limit);
    let lines = front.lines();
    let rows = calls.iter().map(|call| {
        let names = Names::of(&call.call_id);
        let line = lines.get(&call.call_id);
        let started = call.started_at.unwrap_or(now);
        json!({
            "record_type": "call",
            "call_control_id": names.control,
            "call_leg_id": names.leg,
            "call_session_id": names.session,
            "client_state": line.and_then(|line| line.client_state.as_deref()),
            "call_duration": now.since(started).as_secs(),
        })
    });
    let rows: Vec<Value> = rows.collect();
    let last = calls
        .last()
        .filter(|_| more)
        .map(|call| cursor(call.serial));
    let next = last
        .as_ref()
        .map(|after| format!("/v2/connections/{connection}/active_calls?page[after]={after}"));
    Ok(Json(json!({
        "data": rows,
        "meta": {
            "cursors": {"after": last, "before": null},
            "next": next,
            "previous": null,
            "total_items": total,
        },
    })))
}

fn cursor(serial: u64) -> String {
    format!("v1:{}", URL_SAFE_NO_PAD.encode(serial.to_be_bytes()))
}

fn serial(cursor: &str) -> Option<u64> {
    let bytes = URL_SAFE_NO_PAD.decode(cursor.strip_prefix("v1:")?).ok()?;
    Some(u64::from_be_bytes(bytes.try_into().ok()?))
}

/// Oldest first.
pub(super) async fn call_events(
    State(fronts): State<Fronts>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let front = fronts.admit_read(&headers, "call_events")?;
    let query = Query::parse(query);
    let now = front.office.now();
    let lag = u128::from(front.office.faults.get(&front.name).list_lag_ms);
    let named = ["filter[leg_id]", "filter[application_session_id]"];
    let oldest = match named.iter().any(|key| query.get(key).is_some()) {
        true => u128::MAX,
        false => DAY_MS,
    };
    let mut rows: Vec<(Timestamp, Value)> = Vec::new();
    for line in front.lines().iter() {
        let dial = line.request.dial(&front.name);
        let wanted = query.is("filter[leg_id]", &line.names.leg)
            && query.is("filter[application_session_id]", &line.names.session)
            && query.is("filter[to]", &dial.to)
            && query.is("filter[from]", &dial.from)
            && query.is("filter[connection_id]", &front.connection_id);
        for row in line.events.iter().filter(|_| wanted) {
            let age = now.since(row.at).as_millis();
            if query.is("filter[type]", row.kind)
                && query.is("filter[name]", &row.name)
                && (lag..=oldest).contains(&age)
            {
                let json = json!({
                    "record_type": "call_event",
                    "call_leg_id": line.names.leg,
                    "call_session_id": line.names.session,
                    "event_timestamp": iso8601(row.at),
                    "name": row.name,
                    "type": row.kind,
                    "metadata": row.metadata,
                });
                rows.push((row.at, json));
            }
        }
    }
    rows.sort_by_key(|(at, _)| *at);
    Ok(page(&query, rows.into_iter().map(|(_, row)| row)))
}

/// Newest first.
pub(super) async fn deliveries(
    State(fronts): State<Fronts>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
) -> Result<Json<Value>, ApiError> {
    let front = fronts.admit_read(&headers, "webhook_deliveries")?;
    let query = Query::parse(query);
    let text = |row: &Value, key: &str| row[key].as_str().unwrap_or_default().to_owned();
    let rows = front.deliveries.lock();
    let wanted = rows.iter().rev().filter(|row| {
        let kind = text(&row["webhook"], "event_type");
        let kinds = query.get("filter[event_type]");
        let contains = query.get("filter[webhook][contains]");
        let started = text(row, "started_at");
        query.is("filter[status][eq]", &text(row, "status"))
            && kinds.is_none_or(|kinds| kinds.split(',').any(|k| k == kind))
            && contains.is_none_or(|part| row["webhook"].to_string().contains(part))
            && query
                .get("filter[started_at][gte]")
                .is_none_or(|at| started.as_str() >= at)
    });
    Ok(page(&query, wanted.cloned()))
}

fn page(query: &Query, rows: impl Iterator<Item = Value>) -> Json<Value> {
    let size = query.number("page[size]").unwrap_or(DEFAULT_PAGE);
    let size = size.clamp(1, MAX_PAGE);
    let number = query.number("page[number]").unwrap_or(1).max(1);
    let rows: Vec<Value> = rows.collect();
    let total = rows.len();
    let rows: Vec<Value> = rows
        .into_iter()
        .skip((number - 1) * size)
        .take(size)
        .collect();
    Json(json!({
        "data": rows,
        "meta": {
            "page_number": number,
            "page_size": size,
            "total_pages": total.div_ceil(size).max(1),
            "total_results": total,
        },
    }))
}
