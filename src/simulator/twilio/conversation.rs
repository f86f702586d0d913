//! An answered call as Twilio leads it: documents are fetched and executed verb by verb until one of
//! them ends, somebody hangs up, or a request puts another in their place.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;
use tokio::time::sleep;

use super::Front;
use super::callback::Fields;
use super::document::{self, Dial, Fault, Gather, Record, Stream, Target, Verb};
use super::recordings;
use super::request::{CallRequest, Source};
use crate::heard::Sound;
use crate::pace::{FILE, FIRST_KEY, KEY, STREAM, spoken, unreachable};
use crate::person::{Person, Who};
use crate::takes::{Plan, Stage};
use crate::timetable::CallStatus;

/// Documents of one call.
const MAX_DOCUMENTS: usize = 100;
/// What somebody says when asked to speak.
const SPEECH: Duration = Duration::from_secs(3);
/// Longest wait in a queue.
const QUEUED: Duration = Duration::from_secs(120);
/// The tone before a recording.
const TONE: Duration = Duration::from_secs(1);

pub(super) struct Conversation {
    pub(super) front: Arc<Front>,
    pub(super) call_id: String,
    pub(super) request: Arc<CallRequest>,
    pub(super) person: Person,
    /// What every request for a document tells besides the call.
    pub(super) facts: Fields,
    /// The address of the document that is being executed.
    pub(super) at: Option<String>,
    /// Prompts for keys so far.
    pub(super) prompts: usize,
}

/// How a list of verbs ended.
enum Then {
    /// After the last one.
    On,
    /// Another document, and what to tell when asking for it.
    Go(Target, Fields),
    HangUp,
}

type Played = Result<Then, Fault>;

impl Conversation {
    /// To be dropped when the call ends.
    pub(super) async fn run(mut self, mut updates: mpsc::Receiver<Source>) {
        let Some(mut source) = self.request.source.clone() else {
            return std::future::pending().await;
        };
        let mut told = Fields::new();
        if let Some(detection) = self.request.detection.filter(|d| d.holds) {
            let verdict = detection.verdict(self.person.who);
            // A request for another document need not wait for it.
            let update = tokio::select! {
                update = updates.recv() => update,
                () = self.pass(verdict.after) => None,
            };
            source = update.unwrap_or(source);
            let ms = verdict.after.as_millis().to_string();
            self.facts = vec![
                ("AnsweredBy", verdict.answered_by.to_owned()),
                ("MachineDetectionDuration", ms),
            ];
            self.front
                .office
                .network
                .detected(&self.call_id, verdict.answered_by);
        }
        for _ in 0..MAX_DOCUMENTS {
            let next = tokio::select! {
                biased;
                Some(update) = updates.recv() => Some((update, Fields::new())),
                then = self.document(source, &told) => match then {
                    Ok(Then::Go(target, fields)) => Some((Source::Fetched(target), fields)),
                    Ok(Then::On | Then::HangUp) => None,
                    Err(fault) => {
                        self.broken(&fault);
                        None
                    }
                },
            };
            let Some((another, fields)) = next else { break };
            (source, told) = (another, fields);
        }
        self.front.office.hang_up(&self.call_id);
    }

    fn broken(&self, fault: &Fault) {
        let (code, why) = (fault.code, fault.why.clone());
        tracing::warn!(code, %why, call = %self.call_id, "A document of a simulated call is faulty");
        self.front
            .office
            .hear(&self.call_id, Sound::Broken { code, why });
    }

    async fn document(&mut self, source: Source, told: &Fields) -> Played {
        let text = match source {
            Source::Inline(text) => text,
            Source::Fetched(target) => {
                let target = self.resolve(&target)?;
                let fields = self.fields(told);
                let fetched = match super::fetch::document(&self.front, &target, &fields).await {
                    Err(fault) => match &self.request.fallback {
                        Some(url) => {
                            self.broken(&fault);
                            let target = Target {
                                url: url.clone(),
                                post: true,
                            };
                            super::fetch::document(&self.front, &target, &fields).await?
                        }
                        None => return Err(fault),
                    },
                    Ok(text) => text,
                };
                self.at = Some(target.url);
                fetched
            }
        };
        for verb in document::parse(&text)? {
            match self.verb(verb).await? {
                Then::On => {}
                then => return Ok(then),
            }
        }
        Ok(Then::On)
    }

    /// An address in a document may be relative to the document's own.
    fn resolve(&self, target: &Target) -> Result<Target, Fault> {
        let invalid = || Fault::new(11100, format!("Invalid URL format: {}", target.url));
        let url = match &self.at {
            _ if reqwest::Url::parse(&target.url).is_ok() => target.url.clone(),
            Some(at) => {
                let at = reqwest::Url::parse(at).map_err(|_| invalid())?;
                at.join(&target.url).map_err(|_| invalid())?.into()
            }
            None => return Err(invalid()),
        };
        Ok(Target {
            url,
            post: target.post,
        })
    }

    fn fields(&self, told: &Fields) -> Fields {
        let dial = &self.request.dial;
        let mut fields = vec![
            ("CallSid", self.call_id.clone()),
            ("AccountSid", self.front.account_sid.clone()),
            ("From", dial.from.clone()),
            ("To", dial.to.clone()),
            ("Caller", dial.from.clone()),
            ("Called", dial.to.clone()),
            ("CallStatus", CallStatus::InProgress.as_str().to_owned()),
            ("ApiVersion", super::wire::API_VERSION.to_owned()),
            ("Direction", "outbound-api".to_owned()),
        ];
        fields.extend(self.facts.iter().cloned());
        fields.extend(told.iter().cloned());
        fields
    }

    async fn pass(&self, network: Duration) {
        sleep(self.front.office.scaled(network)).await;
    }

    async fn verb(&mut self, verb: Verb) -> Played {
        match verb {
            Verb::Say { .. } | Verb::Play { .. } | Verb::PlayDigits(_) | Verb::Pause(_) => {
                self.sound(&verb).await;
                Ok(Then::On)
            }
            Verb::Gather(gather) => self.gather(gather).await,
            Verb::Redirect(target) => Ok(Then::Go(target, Fields::new())),
            Verb::Dial(dial) => Ok(self.dial(dial).await),
            Verb::Stream(stream) => Ok(self.stream(stream).await),
            Verb::Record(record) => Ok(self.record(record).await),
            Verb::Enqueue { name, action } => Ok(self.enqueue(&name, action).await),
            Verb::Recording { on, plan } => {
                self.recording(on, *plan);
                Ok(Then::On)
            }
            Verb::Hangup | Verb::Reject => Ok(Then::HangUp),
        }
    }

    async fn sound(&self, verb: &Verb) {
        let office = &self.front.office;
        let hear = |sound| office.hear(&self.call_id, sound);
        let (times, long) = (repeated(verb), once(verb));
        for _ in 0..times {
            let number = match verb {
                Verb::Say { text, .. } => hear(Sound::said(text)),
                Verb::Play { url, .. } if unreachable(url) => {
                    let why = format!("Play: {url} cannot be fetched");
                    self.broken(&Fault::new(11200, why));
                    return;
                }
                Verb::Play { url, .. } => hear(Sound::played(url)),
                Verb::Pause(long) => {
                    let ms = u64::try_from(long.as_millis()).unwrap_or(u64::MAX);
                    hear(Sound::Paused { ms })
                }
                _ => None,
            };
            self.pass(long).await;
            office.network.heard_out(&self.call_id, number);
        }
    }

    async fn gather(&mut self, gather: Gather) -> Played {
        let keys = if gather.keys {
            self.person.keys_at(self.prompts)
        } else {
            ""
        };
        let keys = keys.to_owned();
        self.prompts += 1;
        let prompt: Duration = gather.prompt.iter().map(|v| once(v) * repeated(v)).sum();
        let speak = async {
            for verb in &gather.prompt {
                self.sound(verb).await;
            }
        };
        if keys.is_empty() || !self.person.interrupts {
            speak.await;
        } else {
            let _ = tokio::time::timeout(self.front.office.scaled(prompt / 2), speak).await;
        }
        let (digits, ended) = pressed(&keys, gather.digits, &gather.finish_on);
        if !keys.is_empty() {
            let presses = u32::try_from(keys.chars().count()).unwrap_or(u32::MAX);
            self.pass(FIRST_KEY.min(gather.timeout / 2) + KEY * presses)
                .await;
            let digits = digits.clone();
            self.front
                .office
                .hear(&self.call_id, Sound::Pressed { digits });
        }
        if !ended {
            self.pass(gather.timeout).await;
        }
        if digits.is_empty() && !gather.on_empty {
            return Ok(Then::On);
        }
        let again = self.at.clone().map(|url| Target { url, post: true });
        match gather.action.or(again) {
            Some(target) => Ok(Then::Go(target, vec![("Digits", digits)])),
            None => Err(Fault::new(
                11100,
                "Gather has no action, nor its document an address",
            )),
        }
    }

    async fn dial(&self, dial: Dial) -> Then {
        let office = &self.front.office;
        let extension = office.network.extension(&dial.to, dial.timeout);
        self.pass(extension.after).await;
        let (status, talked) = match extension.answer {
            Ok(talk) => (CallStatus::Completed, talk.min(dial.time_limit)),
            Err(status) => (status, Duration::ZERO),
        };
        let answered = extension.answer.is_ok();
        let to = dial.to.clone();
        office.hear(
            &self.call_id,
            Sound::Transferred {
                to,
                answered,
                status,
            },
        );
        self.pass(talked).await;
        let mut fields = vec![
            ("DialCallStatus", status.as_str().to_owned()),
            ("DialBridged", answered.to_string()),
        ];
        if answered {
            fields.push(("DialCallSid", format!("CA{}", &extension.id)));
            fields.push(("DialCallDuration", talked.as_secs().to_string()));
        }
        dial.action
            .map_or(Then::On, |target| Then::Go(target, fields))
    }

    /// Somebody takes the call from the queue, or nobody does: as the script of `queue:` and its name
    /// has it.
    async fn enqueue(&self, name: &str, action: Option<Target>) -> Then {
        let office = &self.front.office;
        let to = format!("queue:{name}");
        let extension = office.network.extension(&to, QUEUED);
        self.pass(extension.after).await;
        let (status, talked) = match extension.answer {
            Ok(talk) => (CallStatus::Completed, talk),
            Err(status) => (status, Duration::ZERO),
        };
        let answered = extension.answer.is_ok();
        office.hear(
            &self.call_id,
            Sound::Transferred {
                to,
                answered,
                status,
            },
        );
        self.pass(talked).await;
        let result = if answered { "bridged" } else { "queue-full" };
        let waited = extension.after.as_secs().to_string();
        let fields = vec![("QueueResult", result.to_owned()), ("QueueTime", waited)];
        action.map_or(Then::On, |target| Then::Go(target, fields))
    }

    fn recording(&self, on: bool, plan: Plan) {
        let office = &self.front.office;
        let running = office.takes().running(&self.call_id).cloned();
        match (on, running, office.network.call(&self.call_id)) {
            (true, None, Some(call)) => {
                recordings::start(&self.front, &call, plan);
            }
            (false, Some(take), _) => {
                recordings::turn(&self.front, &take.id, Stage::Complete);
            }
            (true, Some(_), _) | (true, None, None) | (false, None, _) => {}
        }
    }

    async fn stream(&self, stream: Stream) -> Then {
        if unreachable(&stream.url) {
            self.broken(&Fault::new(31920, "Stream: WebSocket handshake error"));
        } else {
            let (url, params) = (stream.url, stream.params);
            self.front
                .office
                .hear(&self.call_id, Sound::Streamed { url, params });
            self.pass(STREAM).await;
        }
        stream
            .action
            .map_or(Then::On, |target| Then::Go(target, Fields::new()))
    }

    async fn record(&self, record: Record) -> Then {
        let office = &self.front.office;
        let Some(call) = office.network.call(&self.call_id) else {
            return Then::HangUp;
        };
        if record.beep {
            self.pass(TONE).await;
        }
        let plan = Plan {
            track: "inbound".to_owned(),
            source: "RecordVerb",
            callback: record.callback,
            events: record.events,
            ..Plan::default()
        };
        let take = recordings::start(&self.front, &call, plan);
        let silent = self.person.who == Who::Silence;
        let speech = if silent { Duration::ZERO } else { SPEECH };
        self.pass((speech + record.timeout).min(record.longest))
            .await;
        let Some(take) = recordings::turn(&self.front, &take.id, Stage::Complete) else {
            return Then::On;
        };
        match record.action {
            // Documented: an empty recording goes on with the next verb.
            Some(target) if !silent => Then::Go(target, recordings::facts(&self.front, &take)),
            _ => Then::On,
        }
    }
}

/// What counts of the keys pressed, and whether it needs no waiting for more.
fn pressed(keys: &str, most: Option<usize>, finish_on: &str) -> (String, bool) {
    let mut digits = String::new();
    for key in keys.chars() {
        if finish_on.starts_with(key) {
            return (digits, true);
        }
        digits.push(key);
        if Some(digits.chars().count()) == most {
            return (digits, true);
        }
    }
    (digits, false)
}

fn repeated(verb: &Verb) -> u32 {
    match verb {
        // 0 is for ever.
        Verb::Say { times, .. } | Verb::Play { times, .. } => match times {
            0 => 1_000,
            times => *times,
        },
        _ => 1,
    }
}

fn once(verb: &Verb) -> Duration {
    match verb {
        Verb::Say { text, .. } => spoken(text),
        Verb::Play { .. } => FILE,
        Verb::PlayDigits(digits) => KEY * u32::try_from(digits.len()).unwrap_or(u32::MAX),
        Verb::Pause(long) => *long,
        _ => Duration::ZERO,
    }
}
