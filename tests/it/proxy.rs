//! A way to the broker that a test can cut, stall and heal.

use std::net::SocketAddr;
use std::sync::Arc;

use dialfleet_runtime::service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// What happens to bytes and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections stay, bytes do not move.
    Stalled,
    /// Connections are closed, new ones at once.
    Cut,
}

/// A TCP proxy to one server.
pub(crate) struct Proxy {
    address: SocketAddr,
    way: Arc<watch::Sender<Way>>,
    forwarded: watch::Receiver<u64>,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Listens on a free port and forwards to the host of `url`.
    pub(crate) async fn to(url: &str) -> Self {
        let server = authority(url).to_owned();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let way = Arc::new(watch::Sender::new(Way::Open));
        let (counter, forwarded) = watch::channel(0);
        let accepting = service::spawn(accept(
            listener,
            server,
            Arc::clone(&way),
            Arc::new(counter),
        ));
        Self {
            address,
            way,
            forwarded,
            _accepting: accepting,
        }
    }

    /// `url`, through here.
    pub(crate) fn url(&self, url: &str) -> String {
        url.replacen(authority(url), &self.address.to_string(), 1)
    }

    /// Closes every connection and refuses new ones.
    pub(crate) fn cut(&self) {
        self.way.send_replace(Way::Cut);
    }

    /// Keeps every connection and moves no bytes.
    pub(crate) fn stall(&self) {
        self.way.send_replace(Way::Stalled);
    }

    /// Lets everything through again.
    pub(crate) fn heal(&self) {
        self.way.send_replace(Way::Open);
    }

    /// Cuts after so many more bytes, both directions together.
    pub(crate) async fn cut_after(&self, bytes: u64) {
        let mut forwarded = self.forwarded.clone();
        let at = *forwarded.borrow() + bytes;
        forwarded
            .wait_for(|count| *count >= at)
            .await
            .expect("the proxy is there");
        self.cut();
    }
}

/// Host and port.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").expect("a URL").1;
    let rest = rest.split(['/', '?']).next().expect("split gives one part");
    rest.rsplit('@').next().expect("rsplit gives one part")
}

async fn accept(
    listener: TcpListener,
    server: String,
    way: Arc<watch::Sender<Way>>,
    counter: Arc<watch::Sender<u64>>,
) {
    let mut connections = JoinSet::new();
    loop {
        let (client, _) = listener.accept().await.unwrap();
        if *way.borrow() == Way::Cut {
            continue;
        }
        let server = TcpStream::connect(&server).await.unwrap();
        let (from_client, to_client) = client.into_split();
        let (from_server, to_server) = server.into_split();
        let (up, down) = (way.subscribe(), way.subscribe());
        let (counter, also) = (Arc::clone(&counter), Arc::clone(&counter));
        connections.spawn(async move {
            // The first direction that ends takes the other with it.
            tokio::select! {
                () = forward(from_client, to_server, up, counter) => {}
                () = forward(from_server, to_client, down, also) => {}
            }
        });
    }
}

async fn forward(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    counter: Arc<watch::Sender<u64>>,
) {
    let mut buffer = vec![0; 1_000];
    loop {
        let read = tokio::select! {
            biased;
            () = cut(way.clone()) => return,
            read = from.read(&mut buffer) => read,
        };
        let Ok(n @ 1..) = read else { return };
        // Stalled bytes wait here.
        let Ok(now) = way
            .wait_for(|way| *way != Way::Stalled)
            .await
            .map(|way| *way)
        else {
            return;
        };
        if now == Way::Cut || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
        counter.send_modify(|count| *count += u64::try_from(n).expect("at most a thousand"));
    }
}

async fn cut(mut way: watch::Receiver<Way>) {
    // An error means that the test is over.
    let _ = way.wait_for(|way| *way == Way::Cut).await;
}
