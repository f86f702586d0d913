//! Tasks that belong to somebody. A process is a set of named services: the first one that fails
//! stops them all, and a stop takes bounded time and names who did not obey. Services that work stop
//! first; those that serve others (HTTP) stop when the work has ended (see [`crate::shutdown`]).
//!
//! The only module that may call `tokio::spawn`: a task nobody owns outlives its purpose, and its
//! panic is seen by nobody.

use std::collections::HashMap;
use std::error::Error as StdError;
use std::future::Future;

use thiserror::Error;
use tokio::task::{Id, JoinError, JoinSet};
use tokio_util::task::AbortOnDropHandle;

use crate::shutdown::Shutdown;

/// Any error a service may end with.
pub type BoxError = Box<dyn StdError + Send + Sync>;

/// Why a process stopped.
#[derive(Debug, Error)]
pub enum ServiceError {
    /// A service ended with an error.
    #[error("{name} failed")]
    Failed {
        /// Which.
        name: String,
        /// Why.
        source: BoxError,
    },
    /// A service panicked; the message was printed where it happened.
    #[error("{name} panicked")]
    Panicked {
        /// Which.
        name: String,
    },
    /// A service that runs until the stop ended before it.
    #[error("{name} ended too early")]
    Ended {
        /// Which.
        name: String,
    },
    /// Services did not end in the time for the stop and were given up.
    #[error("still running when the time to stop was over: {}", names.join(", "))]
    Stuck {
        /// Which, sorted.
        names: Vec<String>,
    },
}

/// Runs `task` at once, on its own; dropping the handle aborts it.
#[expect(
    clippy::disallowed_methods,
    reason = "the one place that spawns: the handle owns the task"
)]
pub fn spawn<T, F>(task: F) -> AbortOnDropHandle<T>
where
    T: Send + 'static,
    F: Future<Output = T> + Send + 'static,
{
    AbortOnDropHandle::new(tokio::spawn(task))
}

/// The services of a process. Dropping it aborts them all.
#[derive(Debug)]
pub struct Services {
    running: JoinSet<Result<(), BoxError>>,
    names: HashMap<Id, Name>,
    shutdown: Shutdown,
}

#[derive(Debug)]
struct Name {
    name: String,
    kind: Kind,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Runs until the stop.
    Work,
    /// Runs until the work has ended.
    Front,
    /// Ending well before the stop is no failure.
    Task,
}

impl Services {
    /// No services yet. They stop when `shutdown` does.
    #[must_use]
    pub fn new(shutdown: Shutdown) -> Self {
        Self {
            running: JoinSet::new(),
            names: HashMap::new(),
            shutdown,
        }
    }

    /// Starts a service that runs until the stop; it must watch [`Shutdown::stopping`]. An earlier
    /// end is a failure: a worker without one of its loops does not do its work.
    pub fn start<F, E>(&mut self, name: impl Into<String>, service: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.add(name.into(), Kind::Work, service);
    }

    /// Starts a service that serves others and runs until the work has ended; it must watch
    /// [`Shutdown::closing`]. An earlier end is a failure.
    pub fn start_front<F, E>(&mut self, name: impl Into<String>, service: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.add(name.into(), Kind::Front, service);
    }

    /// Starts a task that may end by itself. When nothing else is left, [`Services::run`] returns.
    pub fn start_task<F, E>(&mut self, name: impl Into<String>, task: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        self.add(name.into(), Kind::Task, task);
    }

    fn add<F, E>(&mut self, name: String, kind: Kind, service: F)
    where
        F: Future<Output = Result<(), E>> + Send + 'static,
        E: Into<BoxError>,
    {
        let task = self
            .running
            .spawn(async move { service.await.map_err(Into::into) });
        self.names.insert(task.id(), Name { name, kind });
    }

    fn works(&self) -> bool {
        self.names.values().any(|name| name.kind != Kind::Front)
    }

    /// Runs until the stop is over, or until all tasks have ended. The first failure begins the
    /// stop. Returns at the latest when the time for the stop is over.
    ///
    /// # Errors
    /// The first failure; [`ServiceError::Stuck`] if there was none but not all stopped in time.
    pub async fn run(mut self) -> Result<(), ServiceError> {
        let mut first = None;
        let (closing, shutdown) = (self.shutdown.closing(), self.shutdown.clone());
        loop {
            let (open, works) = (!closing.is_cancelled(), self.works());
            tokio::select! {
                () = shutdown.lingered(), if open && !works => shutdown.close("the work has ended"),
                () = shutdown.drained(), if open => shutdown.close("the time for work is over"),
                ended = self.running.join_next_with_id() => {
                    let Some(ended) = ended else { break };
                    if let Err(error) = self.judge(ended) {
                        report(&error);
                        self.shutdown.stop(&error.to_string());
                        first.get_or_insert(error);
                    }
                }
                () = self.shutdown.deadline() => {
                    let mut names: Vec<_> = self.names.drain().map(|(_, name)| name.name).collect();
                    names.sort();
                    let stuck = ServiceError::Stuck { names };
                    report(&stuck);
                    // Not joined: one that blocks its thread would block this one as well.
                    self.running.abort_all();
                    first.get_or_insert(stuck);
                    break;
                }
            }
        }
        first.map_or(Ok(()), Err)
    }

    fn judge(
        &mut self,
        ended: Result<(Id, Result<(), BoxError>), JoinError>,
    ) -> Result<(), ServiceError> {
        let id = match &ended {
            Ok((id, _)) => *id,
            Err(error) => error.id(),
        };
        let Some(Name { name, kind }) = self.names.remove(&id) else {
            return Ok(());
        };
        match ended {
            // Nobody aborts a task of a set that is still running: it panicked.
            Err(_) => Err(ServiceError::Panicked { name }),
            Ok((_, Err(source))) => Err(ServiceError::Failed { name, source }),
            Ok((_, Ok(()))) if kind == Kind::Task || self.shutdown.is_stopping() => {
                tracing::debug!(service = name, "ended");
                Ok(())
            }
            Ok((_, Ok(()))) => Err(ServiceError::Ended { name }),
        }
    }
}

/// Logs an error with its causes: only the first one is returned.
fn report(error: &ServiceError) {
    let mut causes = String::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        causes.push_str(": ");
        causes.push_str(&error.to_string());
        cause = error.source();
    }
    tracing::error!("{error}{causes}");
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;
    use std::time::Duration;

    use super::*;

    async fn obedient(shutdown: Shutdown) -> Result<(), Infallible> {
        shutdown.stopping().cancelled().await;
        Ok(())
    }

    async fn ends() -> Result<(), Infallible> {
        Ok(())
    }

    #[tokio::test]
    async fn a_failure_stops_the_others() {
        let shutdown = Shutdown::new();
        let mut services = Services::new(shutdown.clone());
        services.start("obedient", obedient(shutdown.clone()));
        services.start("broken", async { Err::<(), _>("no disk") });
        let error = services.run().await.unwrap_err();
        assert!(
            matches!(&error, ServiceError::Failed { name, source } if name == "broken" && source.to_string() == "no disk"),
            "{error:?}"
        );
        assert!(shutdown.is_stopping());
    }

    #[tokio::test]
    async fn a_panic_and_an_early_end_stop_the_others() {
        let shutdown = Shutdown::new();
        let mut services = Services::new(shutdown.clone());
        services.start("obedient", obedient(shutdown.clone()));
        services.start("mad", async {
            if true {
                panic!("on purpose")
            } else {
                ends().await
            }
        });
        assert!(
            matches!(services.run().await, Err(ServiceError::Panicked { name }) if name == "mad")
        );

        let shutdown = Shutdown::new();
        let mut services = Services::new(shutdown.clone());
        services.start("obedient", obedient(shutdown.clone()));
        services.start("lazy", ends());
        assert!(
            matches!(services.run().await, Err(ServiceError::Ended { name }) if name == "lazy")
        );
    }

    #[tokio::test]
    async fn an_orderly_stop_and_tasks_that_end_are_no_failure() {
        let shutdown = Shutdown::new();
        let mut services = Services::new(shutdown.clone());
        services.start("obedient", obedient(shutdown.clone()));
        services.start_task("brief", async move {
            shutdown.stop("done");
            ends().await
        });
        services.run().await.unwrap();

        let mut services = Services::new(Shutdown::new());
        services.start_task("brief", ends());
        services.run().await.unwrap();
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_serve_others_stop_last() {
        for work_s in [1_u64, 60] {
            let shutdown = Shutdown::within(Duration::from_secs(8));
            let mut services = Services::new(shutdown.clone());
            let (stopping, closing) = (shutdown.stopping(), shutdown.closing());
            services.start("slow", async move {
                stopping.cancelled().await;
                tokio::time::sleep(Duration::from_secs(work_s)).await;
                Ok::<_, Infallible>(())
            });
            services.start_front("front", async move {
                closing.cancelled().await;
                Ok::<_, Infallible>(())
            });
            let began = tokio::time::Instant::now();
            shutdown.stop("test");
            let ended = services.run().await;
            if work_s == 1 {
                ended.unwrap();
                assert_eq!(began.elapsed().as_secs(), 1);
            } else {
                // The front is not kept from its end by work that does not.
                assert!(
                    matches!(&ended, Err(ServiceError::Stuck { names }) if names == &["slow"]),
                    "{ended:?}"
                );
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn those_who_do_not_stop_are_named() {
        let shutdown = Shutdown::within(Duration::from_secs(8));
        let mut services = Services::new(shutdown.clone());
        services.start("obedient", obedient(shutdown.clone()));
        for name in ["deaf", "busy"] {
            services.start(name, std::future::pending::<Result<(), Infallible>>());
        }
        shutdown.stop("test");
        let error = services.run().await.unwrap_err();
        assert!(
            matches!(&error, ServiceError::Stuck { names } if names == &["busy", "deaf"]),
            "{error:?}"
        );
    }

    #[tokio::test]
    async fn a_dropped_handle_ends_its_task() {
        let (held, gone) = tokio::sync::oneshot::channel::<()>();
        let task = spawn(async move {
            let _held = held;
            std::future::pending::<()>().await;
        });
        drop(task);
        assert!(gone.await.is_err());
    }
}
