//! Where people's requests come in: the process that serves the API. It can die with a request in hand,
//! and then nobody knows whether it was carried out.

use std::sync::{Arc, Mutex, PoisonError};

use dialfleet_engine::Fleet;
use futures_util::StreamExt;
use futures_util::future::LocalBoxFuture;
use futures_util::stream::FuturesUnordered;
use tokio::sync::{mpsc, oneshot};

/// Requests that may wait.
const WAITING: usize = 16;

/// What a person wants done.
type Request = Box<dyn FnOnce(Arc<Fleet>) -> LocalBoxFuture<'static, ()>>;

/// The desk of the process that serves the API, if one is up.
#[derive(Default)]
pub(super) struct Desk(Mutex<Option<mpsc::Sender<Request>>>);

impl Desk {
    /// A process comes up, and takes the requests from now on.
    pub(super) fn open(&self) -> mpsc::Receiver<Request> {
        let (send, receive) = mpsc::channel(WAITING);
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(send);
        receive
    }

    /// Has `work` done. `None`: nobody is there, or he died over it.
    pub(super) async fn ask<T: 'static>(
        &self,
        work: impl FnOnce(Arc<Fleet>) -> LocalBoxFuture<'static, T> + 'static,
    ) -> Option<T> {
        let (tell, told) = oneshot::channel();
        let request: Request = Box::new(move |fleet| {
            Box::pin(async move {
                // Whoever asked waits as long as it takes.
                let _ = tell.send(work(fleet).await);
            })
        });
        let desk = self
            .0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone()?;
        desk.try_send(request).ok()?;
        told.await.ok()
    }
}

/// The part of a process that serves people, until it is to stop; what it has begun, it finishes.
pub(super) async fn serve(fleet: Arc<Fleet>, mut requests: mpsc::Receiver<Request>) {
    let mut begun = FuturesUnordered::new();
    loop {
        tokio::select! {
            biased;
            () = fleet.stopping.cancelled() => break,
            Some(()) = begun.next() => {}
            request = requests.recv() => match request {
                Some(request) => begun.push(request(Arc::clone(&fleet))),
                None => break,
            },
        }
    }
    drop(requests);
    while begun.next().await.is_some() {}
}
