//! Hearing what is sent to every process. A listener that was away, or too slow for its backlog,
//! is told so with an empty message.

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use dialfleet_engine::port::queue::ControlListener;
use futures_util::StreamExt;
use lapin::Channel;
use lapin::options::BasicConsumeOptions;
use lapin::types::FieldTable;
use tokio::time::Instant;

use super::AmqpError;
use super::connection::{Link, Revived, ask};
use super::consumer::{CONSUME, acknowledge};
use super::topology::Topology;

/// How often a silent channel is looked at.
const CHECK_EVERY: Duration = Duration::from_secs(1);

/// The two queues of a listener.
struct Ears {
    channel: Channel,
    messages: lapin::Consumer,
    gaps: lapin::Consumer,
}

/// A listener that survives reconnections.
pub(super) struct AmqpListener {
    ears: Revived<Ears>,
    /// Made anew since the last answer: messages may have been missed.
    missed: bool,
    /// Taken from the broker and not yet returned: the wait for its acknowledgement was dropped.
    taken: Option<Bytes>,
    /// When to look whether the channel is still there.
    check_at: Instant,
}

impl AmqpListener {
    pub(super) async fn start(link: Arc<Link>, topology: Arc<Topology>) -> Result<Self, AmqpError> {
        let make = move || listen(Arc::clone(&link), Arc::clone(&topology));
        let ears = Revived::new("the control listener".to_owned(), make).await?;
        Ok(Self {
            ears,
            missed: false,
            taken: None,
            check_at: Instant::now() + CHECK_EVERY,
        })
    }
}

async fn listen(link: Arc<Link>, topology: Arc<Topology>) -> Result<Ears, AmqpError> {
    let (channel, _) = link.open().await?;
    ask(topology.declare(&channel)).await?;
    let (messages, gaps) = ask(topology.declare_listener(&channel)).await?;
    let messages = channel.basic_consume(messages, "".into(), CONSUME, FieldTable::default());
    let messages = ask(messages).await?;
    // What it says is in its coming: nothing to lose by acknowledging on sending.
    let options = BasicConsumeOptions {
        no_ack: true,
        ..CONSUME
    };
    let gaps = ask(channel.basic_consume(gaps, "".into(), options, FieldTable::default())).await?;
    Ok(Ears {
        channel,
        messages,
        gaps,
    })
}

#[async_trait]
impl ControlListener for AmqpListener {
    async fn next(&mut self) -> Option<Bytes> {
        loop {
            if let Some(taken) = self.taken.take() {
                return Some(taken);
            }
            let ears = self.ears.get().await;
            let channel = &ears.channel;
            if std::mem::take(&mut self.missed) {
                return Some(Bytes::new());
            }
            let heard = tokio::select! {
                heard = ears.messages.next() => heard,
                () = tokio::time::sleep_until(self.check_at) => {
                    self.check_at = Instant::now() + CHECK_EVERY;
                    if channel.status().connected() {
                        continue;
                    }
                    None
                }
                gap = ears.gaps.next() => match gap {
                    Some(Ok(_)) => return Some(Bytes::new()),
                    broken => broken,
                },
            };
            let broken = match heard {
                Some(Ok(message)) => {
                    self.taken = Some(Bytes::from(message.data));
                    // A failure shows as the end of the stream, and then everything is forgotten.
                    let _ = acknowledge(&message.acker).await;
                    self.ears.works();
                    continue;
                }
                Some(Err(error)) => error.to_string(),
                None => "closed".to_owned(),
            };
            self.ears.broke(&broken);
            self.missed = true;
        }
    }
}
