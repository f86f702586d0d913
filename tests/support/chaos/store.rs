//! A replica set of three whose members know each other, and are known, by their doors.

use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result};
use bson::{Document, doc};
use dialfleet_xtask::mongod::{self, REPLICA_SET};
use futures_util::TryStreamExt;
use futures_util::future::join_all;
use mongodb::options::{ClientOptions, ServerAddress};
use mongodb::{Client, Collection};

/// The members.
pub(super) const MEMBERS: usize = 3;
/// The fleet's database.
pub(super) const DATABASE: &str = "chaos";
/// How long the others wait before they elect a new primary.
const ELECTION_MS: i32 = 5_000;
/// A member that does not answer a question within this is away.
const ANSWERS_WITHIN: Duration = Duration::from_millis(500);

/// What a member is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Standing {
    Primary,
    Secondary,
    Away,
}

/// The set, asked member by member behind the doors.
#[derive(Debug)]
pub(super) struct ReplicaSet {
    doors: [SocketAddr; MEMBERS],
    members: [Client; MEMBERS],
}

impl ReplicaSet {
    /// Knows the members; asks nothing yet. `servers` is where they listen.
    pub(super) fn new(
        servers: [SocketAddr; MEMBERS],
        doors: [SocketAddr; MEMBERS],
    ) -> Result<Self> {
        let connect = |server: SocketAddr| {
            let mut options = ClientOptions::default();
            options.hosts = vec![ServerAddress::Tcp {
                host: server.ip().to_string(),
                port: Some(server.port()),
            }];
            options.direct_connection = Some(true);
            options.server_selection_timeout = Some(ANSWERS_WITHIN);
            options.connect_timeout = Some(ANSWERS_WITHIN);
            Client::with_options(options)
        };
        let [a, b, c] = servers;
        Ok(Self {
            doors,
            members: [connect(a)?, connect(b)?, connect(c)?],
        })
    }

    /// How a member is started.
    pub(super) fn command(program: &Path, port: u16, folder: &Path) -> Command {
        mongod::command(program, port, folder)
    }

    /// What the fleet is told.
    pub(super) fn uri(&self) -> String {
        let hosts = self.doors.map(|door| door.to_string()).join(",");
        format!("mongodb://{hosts}/{DATABASE}?replicaSet={REPLICA_SET}")
    }

    /// Makes the members a set. Fails while they are not up.
    pub(super) async fn initiate(&self) -> Result<()> {
        let members: Vec<Document> = (0..)
            .zip(self.doors)
            .map(|(id, door): (i32, _)| doc! { "_id": id, "host": door.to_string() })
            .collect();
        let config = doc! {
            "_id": REPLICA_SET,
            "members": members,
            "settings": { "electionTimeoutMillis": ELECTION_MS },
        };
        let admin = self.members[0].database("admin");
        admin
            .run_command(doc! { "replSetInitiate": config })
            .await?;
        Ok(())
    }

    /// Whether every member is up and one of them is the primary.
    pub(super) async fn is_whole(&self) -> bool {
        let standings = self.standings().await;
        let primaries = standings.iter().filter(|s| **s == Standing::Primary);
        primaries.count() == 1 && !standings.contains(&Standing::Away)
    }

    /// The primary, if there is one. Cut off from the others, an old one may still think so.
    pub(super) async fn primary(&self) -> Option<usize> {
        let standings = self.standings().await;
        standings.iter().position(|s| *s == Standing::Primary)
    }

    async fn standings(&self) -> Vec<Standing> {
        join_all(self.members.iter().map(standing)).await
    }

    /// A collection of the fleet, on the primary.
    pub(super) async fn collection(&self, name: &str) -> Result<Collection<Document>> {
        let primary = self.primary().await.context("the set has no primary")?;
        Ok(self.members[primary].database(DATABASE).collection(name))
    }

    /// The wanted fields of the documents that `filter` selects.
    pub(super) async fn find(
        &self,
        collection: &str,
        filter: Document,
        fields: Document,
    ) -> Result<Vec<Document>> {
        let collection = self.collection(collection).await?;
        let found = collection.find(filter).projection(fields).await?;
        Ok(found.try_collect().await?)
    }

    /// How many documents `filter` selects.
    pub(super) async fn count(&self, collection: &str, filter: Document) -> Result<u64> {
        let collection = self.collection(collection).await?;
        Ok(collection.count_documents(filter).await?)
    }
}

fn says(hello: &Document, what: &str) -> bool {
    hello.get_bool(what).unwrap_or(false)
}

async fn standing(member: &Client) -> Standing {
    let admin = member.database("admin");
    let hello = admin.run_command(doc! { "hello": 1 });
    match tokio::time::timeout(ANSWERS_WITHIN, hello).await {
        Ok(Ok(hello)) if says(&hello, "isWritablePrimary") => Standing::Primary,
        Ok(Ok(hello)) if says(&hello, "secondary") => Standing::Secondary,
        Ok(Ok(_) | Err(_)) | Err(_) => Standing::Away,
    }
}
