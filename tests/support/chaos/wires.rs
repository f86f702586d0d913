//! The wires: every connection between two parties goes through a door of this process, which knows
//! who is calling and puts the connection on the line of the two. A line can be cut, stalled and reset.
//!
//! Drivers of MongoDB learn the members' addresses from the set itself, so one address serves all
//! callers and the caller must be told from its connection: its port leads to its socket, and the
//! socket to its process (`/proc`). The members talk to each other through the same doors.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex};

use anyhow::{Context, Result};
use dialfleet_runtime::service;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_util::task::AbortOnDropHandle;

use super::witness::lock;
use crate::proxy::{Line, refuse};

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
    /// reached left out.
    pub(super) async fn door(self: &Arc<Self>, servers: Vec<(Party, SocketAddr)>) -> Result<Door> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let accepting = service::spawn(accept(self.clone(), listener, servers));
        Ok(Door {
            address,
            _accepting: accepting,
        })
    }

    /// Whose process has connected from `client` to `door`.
    fn caller(&self, client: SocketAddr, door: SocketAddr) -> Result<Party> {
        let socket = socket_of(client, door)?.context("the connection is gone")?;
        let people = lock(&self.people).clone();
        let holds = |pid: &u32| holds(*pid, &socket);
        // Nobody that was started: then it is the network, in this process.
        Ok(people
            .iter()
            .find(|(pid, _)| holds(pid))
            .map_or(Party::Carrier, |(_, party)| *party))
    }
}

/// A way in.
#[derive(Debug)]
pub(super) struct Door {
    pub(super) address: SocketAddr,
    _accepting: AbortOnDropHandle<()>,
}

async fn accept(wires: Arc<Wires>, listener: TcpListener, servers: Vec<(Party, SocketAddr)>) {
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
            let asked = wires.clone();
            let caller = tokio::task::spawn_blocking(move || asked.caller(from, door)).await;
            if let Ok(Ok(caller)) = caller {
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

/// The inode of the socket at the client's end, as `/proc/<pid>/fd` names it.
fn socket_of(client: SocketAddr, door: SocketAddr) -> Result<Option<String>> {
    let (client, door) = (hex(client)?, hex(door)?);
    let table = fs::read_to_string("/proc/net/tcp").context("this needs Linux's /proc")?;
    for line in table.lines().skip(1) {
        let mut words = line.split_whitespace().skip(1);
        if words.next() == Some(&client) && words.next() == Some(&door) {
            // After both addresses: state, queues, timer, retransmissions, user, timeout.
            return Ok(words.nth(6).map(|inode| format!("socket:[{inode}]")));
        }
    }
    Ok(None)
}

/// As the kernel writes it: the address as a number in the machine's own order.
fn hex(address: SocketAddr) -> Result<String> {
    let SocketAddr::V4(v4) = address else {
        anyhow::bail!("everything here is IPv4");
    };
    let number = u32::from_ne_bytes(v4.ip().octets());
    Ok(format!("{number:08X}:{:04X}", v4.port()))
}

fn holds(pid: u32, socket: &str) -> bool {
    let Ok(open) = fs::read_dir(format!("/proc/{pid}/fd")) else {
        return false;
    };
    open.flatten()
        .any(|fd| fs::read_link(fd.path()).is_ok_and(|link| link == Path::new(socket)))
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
        let door = wires.door(to).await.unwrap();

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
