//! The wires: every connection between two parties goes through a door of this process, which knows
//! who is calling and puts the connection on the line of the two. A line can be cut, stalled and reset.
//!
//! Drivers of MongoDB learn the members' addresses from the set itself, so one address serves all
//! callers and the caller must be told from its connection: its port leads to its socket, and the
//! socket to its process (`/proc`). The members talk to each other through the same doors.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result};
use dialfleet_runtime::service;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};
use tokio_util::task::AbortOnDropHandle;

use super::witness::lock;
use crate::proxy::{Line, refuse};

/// From one look into `/proc` to the next.
const REST: Duration = Duration::from_millis(50);

/// Somebody at one end of a wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Party {
    Worker(usize),
    Api(usize),
    Mongo(usize),
    Broker,
    /// The simulated telephone network, which is in this process.
    Carrier,
}

impl fmt::Display for Party {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Worker(i) => write!(f, "worker-{i}"),
            Self::Api(i) => write!(f, "api-{i}"),
            Self::Mongo(i) => write!(f, "mongod-{i}"),
            Self::Broker => f.write_str("broker"),
            Self::Carrier => f.write_str("carrier"),
        }
    }
}

/// All lines, and who is who.
#[derive(Debug, Default)]
pub(super) struct Wires {
    lines: Mutex<BTreeMap<(Party, Party), Line>>,
    people: Mutex<BTreeMap<u32, Party>>,
    register: tokio::sync::Mutex<Register>,
}

impl Wires {
    /// The line between two parties, whoever calls whom.
    pub(super) fn line(&self, a: Party, b: Party) -> Line {
        lock(&self.lines)
            .entry((a.min(b), a.max(b)))
            .or_default()
            .clone()
    }

    /// Lets everything through again.
    pub(super) fn heal(&self) {
        lock(&self.lines).values().for_each(Line::heal);
    }

    /// From now on the process `pid` is `party`.
    pub(super) fn enroll(&self, pid: u32, party: Party) {
        lock(&self.people).insert(pid, party);
    }

    /// The process is gone.
    pub(super) fn dismiss(&self, pid: u32) {
        lock(&self.people).remove(&pid);
    }

    /// Opens a door: what connects to it reaches one of `servers`, by turns, those that cannot be
    /// reached left out. `from`: who connects, if it is always the same.
    pub(super) async fn door(
        self: &Arc<Self>,
        from: Option<Party>,
        servers: Vec<(Party, SocketAddr)>,
    ) -> Result<Door> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepting = service::spawn(accept(self.clone(), listener, from, servers));
        Ok(Door {
            address,
            _accepting: accepting,
        })
    }

    /// Whose process has connected from `client` to `door`.
    async fn caller(self: &Arc<Self>, client: SocketAddr, door: SocketAddr) -> Result<Party> {
        let asked = Instant::now();
        let mut register = self.register.lock().await;
        if register.read_at.is_none_or(|at| at < asked) {
            // One reading for all who come while the last one still counts as new: when a member of
            // the set dies, hundreds come at once, and a reading costs as much as a dozen calls.
            if let Some(at) = register.read_at {
                sleep_until(at + REST).await;
            }
            let people = lock(&self.people).clone();
            let read_at = Instant::now();
            let read = tokio::task::spawn_blocking(move || Register::read(&people)).await?;
            *register = read?;
            register.read_at = Some(read_at);
        }
        let ends = (client.port(), door.port());
        let socket = register.sockets.get(&ends);
        let socket = socket.context("the connection is gone")?;
        // Nobody that was started: then it is the network, in this process.
        let holder = register.holders.get(socket);
        Ok(holder.copied().unwrap_or(Party::Carrier))
    }
}

/// Who holds which socket, as the kernel tells it.
#[derive(Debug, Default)]
struct Register {
    read_at: Option<Instant>,
    /// Inodes by the ports of both ends, the own one first. Everything here is at 127.0.0.1.
    sockets: HashMap<(u16, u16), u64>,
    holders: HashMap<u64, Party>,
}

impl Register {
    fn read(people: &BTreeMap<u32, Party>) -> Result<Self> {
        let table = fs::read_to_string("/proc/net/tcp").context("this needs Linux's /proc")?;
        let holders = people
            .iter()
            .flat_map(|(pid, party)| sockets_of(*pid).into_iter().map(|socket| (socket, *party)));
        Ok(Self {
            read_at: None,
            sockets: table.lines().skip(1).filter_map(socket).collect(),
            holders: holders.collect(),
        })
    }
}

/// A line of the kernel's table: the ports of both ends, and the inode.
fn socket(line: &str) -> Option<((u16, u16), u64)> {
    let mut words = line.split_whitespace().skip(1);
    let mut port = || u16::from_str_radix(words.next()?.split_once(':')?.1, 16).ok();
    let ends = (port()?, port()?);
    // After both addresses: state, queues, timer, retransmissions, user, timeout.
    Some((ends, words.nth(6)?.parse().ok()?))
}

/// The inodes of the sockets that a process has open.
fn sockets_of(pid: u32) -> Vec<u64> {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return Vec::new();
    };
    let link = |fd: fs::DirEntry| fs::read_link(fd.path()).ok();
    let inode = |link: PathBuf| {
        let name = link.to_str()?.strip_prefix("socket:[")?;
        name.strip_suffix(']')?.parse().ok()
    };
    open.flatten().filter_map(link).filter_map(inode).collect()
}

/// A way in.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

async fn accept(
    wires: Arc<Wires>,
    listener: TcpListener,
    party: Option<Party>,
    servers: Vec<(Party, SocketAddr)>,
) {
    let Ok(door) = listener.local_addr() else {
        return;
    };
    let mut connections = JoinSet::new();
    let mut turn = 0;
    while let Ok((client, from)) = listener.accept().await {
        while connections.try_join_next().is_some() {}
        let mut servers = servers.clone();
        turn = (turn + 1) % servers.len();
        servers.rotate_left(turn);
        let wires = wires.clone();
        connections.spawn(async move {
            let caller = match party {
                Some(party) => Ok(party),
                None => wires.caller(from, door).await,
            };
            if let Ok(caller) = caller {
                for (party, server) in servers {
                    let line = wires.line(caller, party);
                    if line.is_cut() {
                        continue;
                    }
                    if let Ok(server) = TcpStream::connect(server).await {
                        return line.carry(client, server).await;
                    }
                }
            }
            refuse(&client);
        });
    }
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;

    #[tokio::test]
    async fn a_line_is_that_of_the_process_which_calls() {
        let server = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let wires = Arc::new(Wires::default());
        wires.enroll(std::process::id(), Party::Worker(3));
        let to = vec![(Party::Broker, server.local_addr().unwrap())];
        let door = wires.door(None, to).await.unwrap();

        let mut client = TcpStream::connect(door.address).await.unwrap();
        let (mut served, _) = server.accept().await.unwrap();
        client.write_all(b"hello").await.unwrap();
        let mut heard = [0; 5];
        served.read_exact(&mut heard).await.unwrap();
        assert_eq!(&heard, b"hello");

        // Another pair's line is another line.
        wires.line(Party::Broker, Party::Worker(2)).cut();
        client.write_all(b"again").await.unwrap();
        served.read_exact(&mut heard).await.unwrap();

        wires.line(Party::Broker, Party::Worker(3)).cut();
        assert!(client.read_exact(&mut heard).await.is_err());
        let mut refused = TcpStream::connect(door.address).await.unwrap();
        assert!(refused.read_exact(&mut heard).await.is_err());

        wires.heal();
        let _healed = TcpStream::connect(door.address).await.unwrap();
        server.accept().await.unwrap();
    }
}
