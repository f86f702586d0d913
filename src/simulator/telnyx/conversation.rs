//! An answered call as Telnyx leads it: what is to be heard is heard in the order in which it was
//! commanded, and every end is an event.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use super::{Front, transfer};
use crate::heard::Sound;
use crate::pace::{FILE, FIRST_KEY, KEY, spoken, unreachable};
use crate::person::Person;
use crate::takes::{Plan, Stage};
use crate::timetable::CallStatus;

/// A command, checked.
pub(super) enum Order {
    Speak(String),
    Play {
        url: String,
        times: u32,
    },
    StopPlayback {
        all: bool,
    },
    Gather(Gather),
    StopGather,
    Transfer(Transfer),
    Enqueue {
        name: String,
        wait: Duration,
    },
    Record(Box<Plan>),
    TurnRecording(Stage),
    /// Its address and parameters.
    Stream((String, BTreeMap<String, String>)),
    StopStream,
}

pub(super) enum Prompt {
    Said(String),
    Played(String),
}

pub(super) struct Gather {
    pub(super) prompt: Option<Prompt>,
    /// What is heard instead of it after a wrong answer.
    pub(super) again: Option<Prompt>,
    pub(super) tries: u32,
    /// Fewest and most.
    pub(super) digits: (usize, usize),
    /// To the first key.
    pub(super) first: Duration,
    pub(super) between: Duration,
    pub(super) finish_on: String,
    pub(super) valid: String,
}

pub(super) struct Transfer {
    pub(super) to: String,
    pub(super) from: Option<String>,
    pub(super) ring: Duration,
    pub(super) longest: Duration,
    /// Of the new leg.
    pub(super) state: Option<String>,
    /// Where the new leg's events go.
    pub(super) url: Option<String>,
    /// Our leg stays when the other one is over.
    pub(super) park: bool,
}

/// A command and the state that goes with its events.
pub(super) struct Task {
    pub(super) order: Order,
    pub(super) state: Option<String>,
}

impl Task {
    /// The name of its events; nothing for what has none.
    fn name(&self) -> Option<&'static str> {
        match self.order {
            Order::Speak(_) => Some("call.speak"),
            Order::Play { .. } => Some("call.playback"),
            Order::Gather(_) => Some("call.gather"),
            Order::Transfer(_)
            | Order::Enqueue { .. }
            | Order::StopPlayback { .. }
            | Order::StopGather
            | Order::Record(_)
            | Order::TurnRecording(_)
            | Order::Stream(_)
            | Order::StopStream => None,
        }
    }

    /// What its ended event says besides how it ended.
    fn ended(&self, status: &str) -> Value {
        match &self.order {
            Order::Gather(_) => json!({"digits": "", "status": status}),
            Order::Play { url, .. } => {
                json!({"media_url": url, "overlay": false, "status": status})
            }
            _ => json!({ "status": status }),
        }
    }

    fn is_playback(&self) -> bool {
        matches!(self.order, Order::Speak(_) | Order::Play { .. })
    }
}

pub(super) struct Conversation {
    pub(super) front: Arc<Front>,
    pub(super) call_id: String,
    pub(super) person: Person,
    /// The call has ended.
    pub(super) over: CancellationToken,
    /// Prompts for keys so far.
    pub(super) prompts: usize,
}

impl Conversation {
    pub(super) async fn run(mut self, mut tasks: mpsc::Receiver<Task>) {
        let over = self.over.clone();
        let mut waiting = VecDeque::new();
        loop {
            let task = match waiting.pop_front() {
                Some(task) => task,
                None => tokio::select! {
                    biased;
                    () = over.cancelled() => return,
                    task = tasks.recv() => match task {
                        Some(task) => task,
                        None => return,
                    },
                },
            };
            let status = tokio::select! {
                biased;
                () = over.cancelled() => "call_hangup",
                () = stopped(&task, &mut tasks, &mut waiting) => "cancelled",
                ended = self.perform(&task) => {
                    self.end(&task, &ended);
                    continue;
                }
            };
            self.end(&task, &task.ended(status));
            if over.is_cancelled() {
                for task in &waiting {
                    self.end(task, &task.ended(status));
                }
                return;
            }
        }
    }

    fn end(&self, task: &Task, ended: &Value) {
        if let Some(name) = task.name() {
            self.tell(&format!("{name}.ended"), task.state.clone(), ended);
        }
    }

    fn tell(&self, event: &str, state: Option<String>, extra: &Value) {
        if let Some(line) = self.front.lines().get_mut(&self.call_id) {
            line.tell(&self.front, (event, CallStatus::InProgress), state, extra);
        }
    }

    async fn pass(&self, network: Duration) {
        sleep(self.front.office.scaled(network)).await;
    }

    /// To the end; what the ended event says.
    async fn perform(&mut self, task: &Task) -> Value {
        match &task.order {
            Order::Speak(text) => {
                self.tell("call.speak.started", task.state.clone(), &json!({}));
                self.sound(Sound::said(text), spoken(text)).await;
                task.ended("completed")
            }
            Order::Play { url, .. } if unreachable(url) => task.ended("file_not_found"),
            Order::Play { url, times } => {
                let started = json!({"media_url": url, "overlay": false});
                self.tell("call.playback.started", task.state.clone(), &started);
                for _ in 0..*times {
                    self.sound(Sound::played(url), FILE).await;
                }
                task.ended("completed")
            }
            Order::Gather(gather) => self.gather(gather, task.state.as_ref()).await,
            Order::Transfer(wanted) => {
                let (front, over) = (&self.front, &self.over);
                let state = task.state.clone();
                transfer::perform(front, &self.call_id, wanted, state, over).await;
                Value::Null
            }
            Order::Enqueue { name, wait } => {
                self.enqueue(name, *wait, task.state.as_ref()).await;
                Value::Null
            }
            Order::StopPlayback { .. }
            | Order::StopGather
            | Order::Record(_)
            | Order::TurnRecording(_)
            | Order::Stream(_)
            | Order::StopStream => Value::Null,
        }
    }

    async fn sound(&self, sound: Sound, long: Duration) {
        let office = &self.front.office;
        let number = office.hear(&self.call_id, sound);
        self.pass(long).await;
        office.network.heard_out(&self.call_id, number);
    }

    async fn gather(&mut self, gather: &Gather, state: Option<&String>) -> Value {
        let mut status = "timeout";
        let mut digits = String::new();
        for nth in 0..gather.tries {
            let keys = self.person.keys_at(self.prompts).to_owned();
            self.prompts += 1;
            let wrong = nth > 0 && status == "invalid";
            let prompt = gather
                .again
                .as_ref()
                .filter(|_| wrong)
                .or(gather.prompt.as_ref());
            self.prompt(prompt, &keys).await;
            let ended;
            (digits, ended) = pressed(&keys, gather);
            if keys.is_empty() {
                self.pass(gather.first).await;
                status = "timeout";
                continue;
            }
            let presses = u32::try_from(keys.chars().count()).unwrap_or(u32::MAX);
            self.pass(FIRST_KEY.min(gather.first / 2) + KEY * presses)
                .await;
            let heard = Sound::Pressed {
                digits: digits.clone(),
            };
            self.front.office.hear(&self.call_id, heard);
            for digit in digits.chars() {
                let extra = json!({ "digit": digit.to_string() });
                self.tell("call.dtmf.received", state.cloned(), &extra);
            }
            if !ended {
                self.pass(gather.between).await;
            }
            let few = digits.chars().count() < gather.digits.0;
            if !few && digits.chars().all(|digit| gather.valid.contains(digit)) {
                return json!({"digits": digits, "status": "valid"});
            }
            status = "invalid";
        }
        json!({"digits": digits, "status": status})
    }

    /// Somebody takes the call from the queue, or nobody does: as the script of `queue:` and its name
    /// has it.
    async fn enqueue(&self, name: &str, wait: Duration, state: Option<&String>) {
        let office = &self.front.office;
        let to = format!("queue:{name}");
        let queue = json!({"queue": name, "current_position": 1, "queue_avg_wait_time_secs": 0});
        self.tell("call.enqueued", state.cloned(), &queue);
        let extension = office.network.extension(&to, wait);
        self.pass(extension.after).await;
        let (answered, status, reason) = match extension.answer {
            Ok(_) => (true, CallStatus::Completed, "bridged"),
            Err(status) => (false, status, "timeout"),
        };
        office.hear(
            &self.call_id,
            Sound::Transferred {
                to,
                answered,
                status,
            },
        );
        let left = json!({"queue": name, "reason": reason});
        self.tell("call.dequeued", state.cloned(), &left);
        if let Ok(talk) = extension.answer {
            self.pass(talk).await;
            // As after a transfer: without another wish our leg ends with the other one.
            office.hang_up(&self.call_id);
        }
    }

    /// Somebody impatient presses half-way through.
    async fn prompt(&self, prompt: Option<&Prompt>, keys: &str) {
        let (sound, long) = match prompt {
            None => return,
            Some(Prompt::Said(text)) => (Sound::said(text), spoken(text)),
            Some(Prompt::Played(url)) if unreachable(url) => return,
            Some(Prompt::Played(url)) => (Sound::played(url), FILE),
        };
        let speak = self.sound(sound, long);
        if keys.is_empty() || !self.person.interrupts {
            speak.await;
        } else {
            let _ = timeout(self.front.office.scaled(long / 2), speak).await;
        }
    }
}

/// What counts of the keys pressed, and whether it needs no waiting for more.
fn pressed(keys: &str, gather: &Gather) -> (String, bool) {
    let mut digits = String::new();
    for key in keys.chars() {
        if gather.finish_on.starts_with(key) {
            return (digits, true);
        }
        digits.push(key);
        if digits.chars().count() == gather.digits.1 {
            return (digits, true);
        }
    }
    (digits, false)
}

/// Returns when a command came that stops this one; the others wait their turn.
async fn stopped(task: &Task, tasks: &mut mpsc::Receiver<Task>, waiting: &mut VecDeque<Task>) {
    loop {
        match tasks.recv().await {
            Some(Task {
                order: Order::StopPlayback { all },
                ..
            }) => {
                if all {
                    waiting.retain(|one| !one.is_playback());
                }
                if task.is_playback() {
                    return;
                }
            }
            Some(Task {
                order: Order::StopGather,
                ..
            }) => {
                if matches!(task.order, Order::Gather(_)) {
                    return;
                }
            }
            Some(other) => waiting.push_back(other),
            // The line is gone, and the call's end comes.
            None => return std::future::pending().await,
        }
    }
}
