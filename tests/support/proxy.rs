//! A way to a server that a test can cut, stall and heal.

use std::net::SocketAddr;
use std::sync::Arc;

use dialfleet_runtime::service;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

/// Small enough that [`Proxy::cut_after`] cuts inside of what is sent.
const BUFFER: usize = 4_096;

/// What happens to bytes and connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    Open,
    /// Connections stay, bytes do not move.
    Stalled,
    /// Connections are reset, new ones at once.
    Cut,
}

/// The line between two parties: every connection that is carried on it obeys it at once.
#[derive(Debug, Clone)]
pub struct Line {
    /// The number counts resets.
    state: Arc<watch::Sender<(Way, u64)>>,
    forwarded: Arc<watch::Sender<u64>>,
}

impl Default for Line {
    fn default() -> Self {
        Self {
            state: Arc::new(watch::Sender::new((Way::Open, 0))),
            forwarded: Arc::new(watch::Sender::new(0)),
        }
    }
}

impl Line {
    /// Resets every connection and refuses new ones.
    pub fn cut(&self) {
        self.set(Way::Cut);
    }

    /// Keeps every connection and moves no bytes.
    pub fn stall(&self) {
        self.set(Way::Stalled);
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        self.set(Way::Open);
    }

    /// Resets the connections there are; new ones may be made.
    pub fn reset(&self) {
        self.state.send_modify(|(_, resets)| *resets += 1);
    }

    /// Whether connections are refused.
    #[must_use]
    pub fn is_cut(&self) -> bool {
        self.state.borrow().0 == Way::Cut
    }

    fn set(&self, to: Way) {
        self.state.send_modify(|(way, _)| *way = to);
    }

    /// Carries one connection until either side ends it or the line is cut or reset.
    pub async fn carry(&self, client: TcpStream, server: TcpStream) {
        let began = self.state.borrow().1;
        let mut state = self.state.subscribe();
        // A proxy that waits for more to send would slow everything down.
        for side in [&client, &server] {
            let _ = side.set_nodelay(true);
        }
        let (mut from_client, mut to_client) = client.into_split();
        let (mut from_server, mut to_server) = server.into_split();
        let broken = tokio::select! {
            // The first direction that ends takes the other with it.
            () = self.forward(&mut from_client, &mut to_server) => false,
            () = self.forward(&mut from_server, &mut to_client) => false,
            _ = state.wait_for(|(way, resets)| *way == Way::Cut || *resets != began) => true,
        };
        if broken {
            refuse(from_client.as_ref());
            refuse(from_server.as_ref());
        }
    }

    async fn forward(&self, from: &mut OwnedReadHalf, to: &mut OwnedWriteHalf) {
        let mut state = self.state.subscribe();
        let mut buffer = vec![0; BUFFER];
        loop {
            let Ok(n @ 1..) = from.read(&mut buffer).await else {
                return;
            };
            // Stalled bytes wait here.
            let moves = state.wait_for(|(way, _)| *way != Way::Stalled);
            let over = moves.await.is_err();
            if over || to.write_all(&buffer[..n]).await.is_err() {
                return;
            }
            self.forwarded
                .send_modify(|count| *count += u64::try_from(n).unwrap_or(0));
        }
    }
}

/// Makes the close that follows a reset. Failing to is harmless: then it is a close.
pub fn refuse(stream: &TcpStream) {
    let _ = stream.set_zero_linger();
}

/// A TCP proxy to one server.
#[derive(Debug)]
pub struct Proxy {
    address: SocketAddr,
    line: Line,
    _accepting: AbortOnDropHandle<()>,
}

impl Proxy {
    /// Listens on a free port and forwards to the host of `url`.
    ///
    /// # Panics
    /// There is no free port.
    pub async fn to(url: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        Self::on(listener, url)
    }

    fn on(listener: TcpListener, url: &str) -> Self {
        let server = authority(url).to_owned();
        let address = listener.local_addr().expect("it is bound");
        let line = Line::default();
        let accepting = service::spawn(accept(listener, server, line.clone()));
        Self {
            address,
            line,
            _accepting: accepting,
        }
    }

    /// `url`, through here.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        url.replacen(authority(url), &self.address.to_string(), 1)
    }

    /// Resets every connection and refuses new ones.
    pub fn cut(&self) {
        self.line.cut();
    }

    /// Keeps every connection and moves no bytes.
    pub fn stall(&self) {
        self.line.stall();
    }

    /// Lets everything through again.
    pub fn heal(&self) {
        self.line.heal();
    }

    /// Cuts after so many more bytes, both directions together.
    ///
    /// # Panics
    /// Never: the line is ours.
    pub async fn cut_after(&self, bytes: u64) {
        let mut forwarded = self.line.forwarded.subscribe();
        let at = *forwarded.borrow() + bytes;
        forwarded
            .wait_for(|count| *count >= at)
            .await
            .expect("the line is there");
        self.cut();
    }
}

/// An address of ours where nobody listens yet: connections are refused.
#[derive(Debug)]
pub struct Closed(TcpSocket);

impl Closed {
    /// On a free port.
    ///
    /// # Panics
    /// There is none.
    #[must_use]
    pub fn new() -> Self {
        let socket = TcpSocket::new_v4().expect("a socket");
        let any = SocketAddr::from(([127, 0, 0, 1], 0));
        socket.bind(any).expect("a free port");
        Self(socket)
    }

    /// `url`, with this address.
    ///
    /// # Panics
    /// Never: it is bound.
    #[must_use]
    pub fn url(&self, url: &str) -> String {
        let address = self.0.local_addr().expect("it is bound");
        url.replacen(authority(url), &address.to_string(), 1)
    }

    /// From now on it forwards to the host of `url`.
    ///
    /// # Panics
    /// The system does not let us listen.
    #[must_use]
    pub fn open(self, url: &str) -> Proxy {
        Proxy::on(self.0.listen(128).expect("it is ours"), url)
    }
}

impl Default for Closed {
    fn default() -> Self {
        Self::new()
    }
}

/// Host and port.
fn authority(url: &str) -> &str {
    let rest = url.split_once("://").expect("a URL").1;
    let rest = rest.split(['/', '?']).next().expect("split gives one part");
    rest.rsplit('@').next().expect("rsplit gives one part")
}

async fn accept(listener: TcpListener, server: String, line: Line) {
    let mut connections = JoinSet::new();
    while let Ok((client, _)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        if line.is_cut() {
            refuse(&client);
            continue;
        }
        let (server, line) = (server.clone(), line.clone());
        connections.spawn(async move {
            match TcpStream::connect(server).await {
                Ok(server) => line.carry(client, server).await,
                Err(_) => refuse(&client),
            }
        });
    }
}
