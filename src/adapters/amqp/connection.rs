//! Connections that come back. One way for every failure: what broke is dropped and made anew.
//!
//! lapin can recover a lost connection by itself, but not a closed channel, and its confirmations
//! and errors then wait for the reconnection. A channel has to be rebuilt here anyway, so a lost
//! connection is treated the same, its failures show at once, and there is one path to test.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use dialfleet_runtime::retry::Backoff;
use dialfleet_runtime::service;
use lapin::uri::AMQPUri;
use lapin::{Channel, Connection, ConnectionProperties, ErrorKind};
use tokio::sync::Mutex;
use tokio_util::task::AbortOnDropHandle;

use super::AmqpError;

/// One connection attempt with its handshake, or one answer of the broker.
const ANSWERS_WITHIN: Duration = Duration::from_secs(5);

/// Seconds. A silent peer is noticed after two of these; the broker's default is a minute.
const HEARTBEAT_S: u16 = 10;

/// Bytes. lapin keeps 64 frames of buffer for each connection: 8 MB with RabbitMQ's default of
/// 128 KiB. A larger message is several frames.
const FRAME_MAX: u32 = 32 * 1024;

/// Between tries to come back.
const RETRY_MIN: Duration = Duration::from_millis(100);
const RETRY_MAX: Duration = Duration::from_secs(5);

/// How long to wait between tries.
pub(super) fn backoff() -> Backoff {
    Backoff::new(RETRY_MIN, RETRY_MAX)
}

/// Runs a question to the broker, at most as long as an answer may take.
pub(super) async fn ask<T>(
    question: impl Future<Output = lapin::Result<T>>,
) -> Result<T, AmqpError> {
    tokio::time::timeout(ANSWERS_WITHIN, question)
        .await
        .map_err(|_| AmqpError::Unreachable("no answer in time".into()))?
        .map_err(|error| explain(&error))
}

/// Errors that only an operator can end are told apart from an outage.
fn explain(error: &lapin::Error) -> AmqpError {
    const ACCESS_REFUSED: u16 = 403;
    const PRECONDITION_FAILED: u16 = 406;
    const NOT_ALLOWED: u16 = 530;
    match error.kind() {
        ErrorKind::ProtocolError(amqp)
            if [ACCESS_REFUSED, PRECONDITION_FAILED, NOT_ALLOWED].contains(&amqp.get_id()) =>
        {
            AmqpError::Config(amqp.get_message().to_string())
        }
        ErrorKind::AuthProviderError(message) => AmqpError::Config(message.clone()),
        _ => AmqpError::Unreachable(error.to_string()),
    }
}

/// A connection, made when it is needed and again when it was lost.
pub(super) struct Link {
    uri: AMQPUri,
    name: String,
    connection: Mutex<Option<Arc<Connection>>>,
}

impl Link {
    /// Reads the URL; connects to nothing yet. `name` is shown at the broker.
    pub(super) fn new(url: &str, name: String) -> Result<Self, AmqpError> {
        // The parser's message may quote the URL, which holds a password.
        let mut uri: AMQPUri = url
            .parse()
            .map_err(|_| AmqpError::Config("the URL is not an AMQP URL".into()))?;
        uri.query.heartbeat.get_or_insert(HEARTBEAT_S);
        uri.query.frame_max.get_or_insert(FRAME_MAX);
        let timeout = u64::try_from(ANSWERS_WITHIN.as_millis()).unwrap_or(u64::MAX);
        uri.query.connection_timeout.get_or_insert(timeout);
        Ok(Self {
            uri,
            name,
            connection: Mutex::new(None),
        })
    }

    /// A new channel and its connection. One try.
    pub(super) async fn open(&self) -> Result<(Channel, Arc<Connection>), AmqpError> {
        let mut current = self.connection.lock().await;
        if let Some(connection) = current.as_ref().filter(|c| c.status().connected()) {
            match ask(connection.create_channel()).await {
                Ok(channel) => return Ok((channel, Arc::clone(connection))),
                // Connected all the same: the broker answered, only not as hoped.
                Err(error @ AmqpError::Config(_)) => return Err(error),
                Err(error) => tracing::debug!(error = %error, "a connection gives no channel"),
            }
        }
        *current = None;
        let properties =
            ConnectionProperties::default().with_connection_name(self.name.clone().into());
        let connection =
            Arc::new(ask(Connection::connect_uri(self.uri.clone(), properties)).await?);
        let channel = ask(connection.create_channel()).await?;
        *current = Some(Arc::clone(&connection));
        Ok((channel, connection))
    }

    /// Closes the connection; what is open on it fails.
    pub(super) async fn close(&self) {
        if let Some(connection) = self.connection.lock().await.take()
            && let Err(error) = ask(connection.close(200, "OK".into())).await
        {
            tracing::debug!(error = %error, "a connection was not closed in order");
        }
    }
}

impl fmt::Debug for Link {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Link")
            .field("name", &self.name)
            .finish_non_exhaustive()
    }
}

type Making<T> = Pin<Box<dyn Future<Output = Result<T, AmqpError>> + Send>>;

/// Something at the broker that is made again, for ever, whenever it broke.
pub(super) struct Revived<T> {
    what: String,
    make: Arc<dyn Fn() -> Making<T> + Send + Sync>,
    current: Option<T>,
    /// On its own, so that a caller who stops waiting does not start it from the beginning.
    making: Option<AbortOnDropHandle<(T, Backoff)>>,
    backoff: Backoff,
    /// It worked since it was made: the next try need not wait.
    worked: bool,
    /// People were told that it is away, and want to hear that it is back.
    lost: bool,
}

impl<T: Send + 'static> Revived<T> {
    /// Makes it for the first time; that try decides.
    pub(super) async fn new<F, Fut>(what: String, make: F) -> Result<Self, AmqpError>
    where
        F: Fn() -> Fut + Send + Sync + 'static,
        Fut: Future<Output = Result<T, AmqpError>> + Send + 'static,
    {
        let current = Some(make().await?);
        let make = Arc::new(move || -> Making<T> { Box::pin(make()) });
        Ok(Self {
            what,
            make,
            current,
            making: None,
            backoff: backoff(),
            worked: true,
            lost: false,
        })
    }

    /// The thing, once there is one. Cancel-safe.
    pub(super) async fn get(&mut self) -> &mut T {
        while self.current.is_none() {
            let making = self.making.get_or_insert_with(|| {
                let wait = !self.worked;
                service::spawn(remake(
                    self.what.clone(),
                    Arc::clone(&self.make),
                    self.backoff.clone(),
                    wait,
                ))
            });
            let made = making.await;
            self.making = None;
            self.worked = false;
            match made {
                Ok((made, backoff)) => {
                    (self.current, self.backoff) = (Some(made), backoff);
                    if std::mem::take(&mut self.lost) {
                        tracing::info!("{} is back", self.what);
                    }
                }
                Err(error) => tracing::error!(error = %error, "{} could not be remade", self.what),
            }
        }
        self.current
            .as_mut()
            .expect("the loop ends when there is one")
    }

    /// It does its work: forget earlier failures.
    pub(super) fn works(&mut self) {
        if !self.worked {
            self.worked = true;
            self.backoff.reset();
        }
    }

    /// Makes a new one without a reason to complain: the next [`Revived::get`] does not wait first.
    pub(super) fn renew(&mut self) {
        self.works();
        self.current = None;
    }

    /// It broke: the next [`Revived::get`] makes a new one.
    pub(super) fn broke(&mut self, why: &dyn fmt::Display) {
        if self.current.take().is_some() {
            self.lost = true;
            tracing::warn!(error = %why, "{} was lost; coming back", self.what);
        }
    }
}

async fn remake<T>(
    what: String,
    make: Arc<dyn Fn() -> Making<T> + Send + Sync>,
    mut backoff: Backoff,
    wait: bool,
) -> (T, Backoff) {
    if wait {
        tokio::time::sleep(backoff.next_delay()).await;
    }
    let mut told = false;
    loop {
        match make().await {
            Ok(made) => return (made, backoff),
            // Said once at a level people see; an operator has to act, but nothing stops here.
            Err(error @ AmqpError::Config(_)) if !told => {
                told = true;
                tracing::error!(error = %error, "{what} cannot come back like this");
            }
            Err(error) => tracing::debug!(error = %error, "{what} is still away"),
        }
        tokio::time::sleep(backoff.next_delay()).await;
    }
}
