//! A running process: its roles, its HTTP side, and an orderly stop.

use std::convert::Infallible;
use std::sync::Arc;

use anyhow::Context;
use dialfleet_adapters::carrier::Secret;
use dialfleet_engine::{Fleet, Role, role};
use dialfleet_http::{ApiKey, ApiState, Readiness};
use dialfleet_runtime::service::Services;
use dialfleet_runtime::shutdown::Shutdown;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

/// What a process answers over HTTP.
pub(crate) enum Http {
    /// The API and the webhooks.
    Api(Secret),
    /// Health and metrics only.
    Ops,
}

/// Binds the HTTP port before anything else, so that a taken port is said at once.
///
/// # Errors
/// The port cannot be had.
pub(crate) async fn bind(port: u16) -> anyhow::Result<TcpListener> {
    // All interfaces: in a container the platform's proxy comes from outside.
    TcpListener::bind(("0.0.0.0", port))
        .await
        .with_context(|| format!("port {port} cannot be used (set PORT or --port)"))
}

/// Starts roles and heartbeat as work of this process, and HTTP as what goes on until that has ended.
pub(crate) fn start(
    services: &mut Services,
    fleet: &Arc<Fleet>,
    roles: &[Role],
    listener: TcpListener,
    http: Http,
    shutdown: Shutdown,
) {
    for role in roles.iter().copied() {
        let fleet = fleet.clone();
        services.start(role.name(), async move {
            role::run(&fleet, role).await;
            Ok::<_, Infallible>(())
        });
    }
    if !roles.is_empty() {
        let (fleet, roles) = (fleet.clone(), roles.to_vec());
        services.start("heartbeat", async move {
            role::heartbeat(&fleet, &roles).await;
            Ok::<_, Infallible>(())
        });
    } else {
        let fleet = fleet.clone();
        services.start("clock", async move {
            role::keep_time(&fleet).await;
            Ok::<_, Infallible>(())
        });
    }
    let fleet = fleet.clone();
    services.start_front("http", async move {
        let served = serve(fleet, listener, http, shutdown.closing());
        tokio::select! {
            served = served => served,
            () = shutdown.last_moment() => {
                tracing::warn!("requests that did not end in time were dropped");
                Ok(())
            }
        }
    });
}

async fn serve(
    fleet: Arc<Fleet>,
    listener: TcpListener,
    http: Http,
    closing: CancellationToken,
) -> std::io::Result<()> {
    // The start is done: boot has reached store and broker.
    let readiness = Readiness::new();
    readiness.set_started();
    match http {
        Http::Api(key) => {
            let state = ApiState::new(fleet, ApiKey::new([key.expose()]), readiness);
            dialfleet_http::serve(listener, state, closing).await
        }
        Http::Ops => {
            let router = dialfleet_http::ops_router(fleet, readiness);
            dialfleet_http::serve_router(listener, router, closing).await
        }
    }
}

/// Runs a process that does nothing but its roles and HTTP, until a signal.
///
/// # Errors
/// A service failed, or did not stop in time.
pub(crate) async fn run(
    fleet: Arc<Fleet>,
    roles: &[Role],
    listener: TcpListener,
    http: Http,
    shutdown: Shutdown,
) -> anyhow::Result<()> {
    shutdown.listen()?;
    let mut services = Services::new(shutdown.clone());
    start(
        &mut services,
        &fleet,
        roles,
        listener,
        http,
        shutdown.clone(),
    );
    let stopped = services.run().await;
    shutdown.flushing();
    Ok(stopped?)
}
