//! The one list of addresses, and what every request passes.

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::extract::{MatchedPath, Path, Request, State};
use axum::http::header::{CACHE_CONTROL, HeaderName, X_CONTENT_TYPE_OPTIONS};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, get, post};
use dialfleet_domain::campaign::Order;
use dialfleet_engine::Fleet;
use dialfleet_runtime::telemetry;
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::timeout::TimeoutLayer;
use tracing::{Instrument, Span};

use crate::api::{call, campaign, carrier, dnc, import, lead, stream, worker};
use crate::auth::require_key;
use crate::error::{ApiError, render};
use crate::extract::{NoParams, OptionalJson, Params};
use crate::health::{self, Probed, Readiness};
use crate::state::ApiState;
use crate::webhook;

/// Every request but an import is given up after this; a slow client's body counts.
const TIMEOUT: Duration = Duration::from_secs(30);
/// An import is: 64 MiB at 2 Mbit/s.
const IMPORT_TIMEOUT: Duration = Duration::from_secs(300);
/// Characters of a request id that a client sends.
const MAX_REQUEST_ID: usize = 64;

const REQUEST_ID: HeaderName = HeaderName::from_static("request-id");

const INDEX: &str = "Dialfleet

GET  /healthz   the process is alive
GET  /readyz    it may get traffic
GET  /metrics   Prometheus
     /v1/...    the API; needs \"Authorization: Bearer <key>\"

GET  POST        /v1/campaigns
GET  PATCH       /v1/campaigns/{id}
     POST        /v1/campaigns/{id}/start | pause | resume | drain | stop
GET  POST        /v1/campaigns/{id}/imports   (text/csv or application/x-ndjson)
GET              /v1/campaigns/{id}/leads     ?state=
GET              /v1/imports/{id}
GET              /v1/imports/{id}/errors
GET              /v1/calls                    ?campaign= &lead= &live=
GET              /v1/calls/{id}
     POST        /v1/dnc
GET  DELETE      /v1/dnc/{phone}
     POST        /v1/streams/verify
GET              /v1/workers
GET              /v1/carriers
GET              /v1/carriers/explain         ?to= &campaign= &without=
";

/// Everything a process with the API serves: `/v1`, the carriers' webhooks and the probes.
pub fn router(state: ApiState) -> Router {
    let quick = TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, TIMEOUT);
    let hook = "/webhooks/{kind}/{carrier}/{attempt}/{leg}/{token}";
    let flow = "/webhooks/{kind}/{carrier}/{attempt}/{leg}/{token}/flow";
    let all = Router::new()
        .route("/", get(async || INDEX))
        .route(hook, post(webhook::take).layer(quick))
        .route(flow, post(webhook::converse).layer(quick))
        .nest("/v1", v1(&state))
        .with_state(state.clone())
        .merge(probes(state.fleet.clone(), state.readiness.clone()));
    finished(all, state.fleet)
}

/// What a process without the API serves: `/healthz`, `/readyz` and `/metrics`.
pub fn ops_router(fleet: Arc<Fleet>, readiness: Readiness) -> Router {
    finished(probes(fleet.clone(), readiness), fleet)
}

fn v1(state: &ApiState) -> Router<ApiState> {
    let quick = TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, TIMEOUT);
    let slow = TimeoutLayer::with_status_code(StatusCode::SERVICE_UNAVAILABLE, IMPORT_TIMEOUT);
    let mut routes = Router::new()
        .route("/campaigns", get(campaign::list).post(campaign::create))
        .route(
            "/campaigns/{id}",
            get(campaign::show).patch(campaign::change),
        )
        .route("/campaigns/{id}/leads", get(lead::of_campaign))
        .route("/imports/{id}", get(import::show))
        .route("/imports/{id}/errors", get(import::errors))
        .route("/calls", get(call::list))
        .route("/calls/{id}", get(call::show))
        .route("/dnc", post(dnc::add))
        .route("/dnc/{phone}", get(dnc::show).delete(dnc::remove))
        .route("/streams/verify", post(stream::verify))
        .route("/workers", get(worker::list))
        .route("/carriers", get(carrier::list))
        .route("/carriers/explain", get(carrier::explain));
    let orders = [
        Order::Start,
        Order::Pause,
        Order::Resume,
        Order::Drain,
        Order::Stop,
    ];
    for order in orders {
        let path = format!("/campaigns/{{id}}/{}", order.name());
        routes = routes.route(&path, order_route(order));
    }
    let imports = Router::new().route(
        "/campaigns/{id}/imports",
        get(import::of_campaign).post(import::upload),
    );
    // Around the fallback as well: without a key nobody learns which addresses there are.
    routes
        .layer(quick)
        .merge(imports.layer(slow))
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(middleware::from_fn_with_state(state.clone(), require_key))
}

fn order_route(order: Order) -> MethodRouter<ApiState> {
    post(
        move |State(app): State<ApiState>,
              Path(id): Path<String>,
              _: Params<NoParams>,
              body: OptionalJson<campaign::OrderBody>| {
            campaign::give(app, id, body, order)
        },
    )
}

fn probes(fleet: Arc<Fleet>, readiness: Readiness) -> Router {
    Router::new()
        .route("/healthz", get(health::live))
        .route("/readyz", get(health::ready))
        .route("/metrics", get(health::metrics))
        .with_state(Probed { fleet, readiness })
}

/// Panics become problems, problems get a body, and every response its id.
fn finished(router: Router, fleet: Arc<Fleet>) -> Router {
    router
        .fallback(async || StatusCode::NOT_FOUND)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(middleware::from_fn_with_state(fleet, finish))
}

/// The panic's message was printed where it happened.
fn panicked(_: Box<dyn Any + Send>) -> Response {
    ApiError::Internal("a handler panicked".into()).into_response()
}

async fn finish(State(fleet): State<Arc<Fleet>>, request: Request, next: Next) -> Response {
    let id = request_id(request.headers(), &fleet);
    // The route, not the path: paths hold phone numbers.
    let route = request.extensions().get::<MatchedPath>();
    let route = route.map_or("none", MatchedPath::as_str);
    let span = tracing::info_span!("request", request.id = id, http.method = %request.method(), http.route = route);
    set_parent(&span, request.headers());
    let response = next.run(request).instrument(span.clone()).await;
    let mut response = render(response, &id);
    span.in_scope(|| tracing::debug!(status = response.status().as_u16(), "answered"));
    let headers = response.headers_mut();
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    // Answers are about people: nothing between us and the client may keep them.
    headers
        .entry(CACHE_CONTROL)
        .or_insert(HeaderValue::from_static("no-store"));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

/// Continues the trace of whoever called us (W3C trace context).
fn set_parent(span: &Span, headers: &HeaderMap) {
    let context: BTreeMap<String, String> = ["traceparent", "tracestate"]
        .into_iter()
        .filter_map(|name| {
            let value = headers.get(name)?.to_str().ok()?;
            Some((name.to_owned(), value.to_owned()))
        })
        .collect();
    if !context.is_empty() {
        telemetry::set_parent(span, &context);
    }
}

/// The client's own, if it is harmless in logs and headers; otherwise a new one.
fn request_id(headers: &HeaderMap, fleet: &Fleet) -> String {
    let given = headers.get(&REQUEST_ID).and_then(|v| v.to_str().ok());
    let harmless = |id: &&str| {
        (1..=MAX_REQUEST_ID).contains(&id.len())
            && id
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    match given.filter(harmless) {
        Some(id) => id.to_owned(),
        None => format!("req_{:016x}", fleet.entropy.draw()),
    }
}
