//! The store as a process sees it over a bad network: [`SqliteStore`] behind latency, outages and
//! answers that do not come.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use dialfleet_adapters::sqlite::SqliteStore;
use dialfleet_domain::call::Attempt;
use dialfleet_domain::campaign::{Campaign, CampaignState};
use dialfleet_domain::id::{
    AttemptId, CampaignId, CarrierCallId, CarrierId, ClaimToken, ImportId, LeadId, RecordingId,
    TenantId, WorkerId,
};
use dialfleet_domain::import::{Import, ImportState, RowError, Tally};
use dialfleet_domain::lead::{Lead, LeadState, Projection};
use dialfleet_domain::phone::E164;
use dialfleet_domain::recording::{Recording, Transcript};
use dialfleet_domain::time::Timestamp;
use dialfleet_engine::port::board::{BoardStore, Note};
use dialfleet_engine::port::recording::{RecordingFilter, RecordingStore};
use dialfleet_engine::port::store::{
    Answer, AttemptFilter, AttemptStore, Callback, CampaignChange, CampaignStore, Cas,
    ClaimRequest, DoNotCall, Heartbeat, Inserted, IntentAnswer, LeadCounts, LeadInserted,
    LeadStore, MacKey, Page, RecordStore, Release, SaveAttempt, SpendSum, StoreError, Unreadable,
};

use super::chance::Kind;
use super::checks::Checks;
use super::gate::Gate;
use super::mutant::Mutant;
use super::weather::Weather;

/// A driver gives up on an answer after this long.
const TIME_OUT_MS: (u64, u64) = (500, 5_000);
/// A write nobody waits for any more still lands within this.
const LATE_MS: (u64, u64) = (1, 12_000);

/// What becomes of a call.
enum Fate {
    Fine,
    Unavailable,
    Unclear { applied: bool },
    Late,
}

/// One process's store.
pub(super) struct FaultyStore {
    pub(super) inner: SqliteStore,
    pub(super) gate: Arc<Gate>,
    pub(super) weather: Arc<Weather>,
    pub(super) checks: Arc<Checks>,
}

impl FaultyStore {
    fn fate(&self, writes: bool) -> Fate {
        let w = &self.weather;
        if !w.is_calm() && !self.gate.has_store(w.time.elapsed()) {
            return Fate::Unavailable;
        }
        if w.hits(Kind::Store, w.faults.store_unavailable) {
            return Fate::Unavailable;
        }
        if writes && w.hits(Kind::Store, w.faults.store_unclear) {
            return Fate::Unclear {
                applied: w.chance.hits(Kind::Store, 0.5),
            };
        }
        if writes && w.hits(Kind::Store, w.faults.store_late) {
            return Fate::Late;
        }
        Fate::Fine
    }

    /// One way over the network: most calls share a tick with others, some take a while.
    async fn travel(&self) {
        let w = &self.weather;
        let time = if w.hits(Kind::StoreTime, w.faults.store_slow) {
            w.chance.ms(Kind::StoreTime, 20, 5_000)
        } else if w.chance.hits(Kind::StoreTime, 0.3) {
            w.chance.ms(Kind::StoreTime, 1, 3)
        } else {
            return;
        };
        tokio::time::sleep(time).await;
    }

    async fn begin(&self, name: &'static str) {
        self.weather.journal.mix(&self.gate.who, name);
        self.gate.pass(name).await;
        self.travel().await;
    }

    async fn end(&self, name: &'static str) {
        self.travel().await;
        self.gate.pass(name).await;
    }

    async fn give_up(&self, name: &'static str) {
        tokio::time::sleep(
            self.weather
                .chance
                .ms(Kind::StoreTime, TIME_OUT_MS.0, TIME_OUT_MS.1),
        )
        .await;
        self.gate.pass(name).await;
    }

    fn say(&self, name: &str, what: &str) {
        self.weather
            .journal
            .line(&self.gate.who, format_args!("store {name}: {what}"));
    }

    /// A question.
    async fn ask<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Answer<T>> + Send,
    ) -> Answer<T> {
        self.begin(name).await;
        let answer = match self.fate(false) {
            Fate::Fine => work.await,
            Fate::Unavailable | Fate::Unclear { .. } | Fate::Late => Err(unavailable()),
        };
        self.end(name).await;
        answer
    }

    /// A write.
    async fn write<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Answer<T>> + Send,
    ) -> Answer<T> {
        self.begin(name).await;
        match self.fate(true) {
            Fate::Fine => {
                let answer = work.await;
                self.end(name).await;
                answer
            }
            Fate::Unavailable => {
                self.end(name).await;
                Err(unavailable())
            }
            Fate::Unclear { applied } => {
                self.unclear(name, applied, work).await;
                Err(unclear())
            }
            Fate::Late => {
                self.unclear(name, false, work).await;
                Err(unclear())
            }
        }
    }

    async fn unclear<T>(
        &self,
        name: &'static str,
        applied: bool,
        work: impl Future<Output = T> + Send,
    ) {
        self.say(
            name,
            if applied {
                "no answer (written)"
            } else {
                "no answer (not written)"
            },
        );
        if applied {
            work.await;
        }
        self.give_up(name).await;
    }

    /// Some items of a list that is going to be written only in part: a bulk write of many documents is
    /// not one transaction.
    fn some<'a, T>(&self, items: &'a [T]) -> Option<&'a [T]> {
        let w = &self.weather;
        if items.len() < 2 || !w.hits(Kind::Store, w.faults.store_partial) {
            return None;
        }
        let first = w.chance.index(Kind::Store, items.len());
        let n = 1 + w.chance.index(Kind::Store, items.len() - 1);
        Some(&items[first..items.len().min(first + n)])
    }

    /// A write of a list. It can land after its caller has given up, or only some of it can: `later` is
    /// the same write, owned, and `part` a part of it.
    async fn late<T>(
        &self,
        name: &'static str,
        work: impl Future<Output = Answer<T>> + Send,
        part: Option<impl Future<Output = Answer<T>> + Send>,
        later: impl Future<Output = ()> + Send + 'static,
    ) -> Answer<T> {
        self.begin(name).await;
        if let Some(part) = part {
            self.partly(name, part).await;
            return Err(unclear());
        }
        match self.fate(true) {
            Fate::Fine => {
                let answer = work.await;
                self.end(name).await;
                answer
            }
            Fate::Unavailable => {
                self.end(name).await;
                Err(unavailable())
            }
            Fate::Unclear { applied } => {
                self.unclear(name, applied, work).await;
                Err(unclear())
            }
            Fate::Late => {
                self.land(name, later);
                self.give_up(name).await;
                Err(unclear())
            }
        }
    }

    async fn partly<T>(&self, name: &'static str, part: impl Future<Output = T> + Send) {
        self.say(name, "no answer (written in part)");
        part.await;
        self.give_up(name).await;
    }

    fn land(&self, name: &'static str, later: impl Future<Output = ()> + Send + 'static) {
        let after = self
            .weather
            .chance
            .ms(Kind::StoreTime, LATE_MS.0, LATE_MS.1);
        self.say(name, "no answer (lands later)");
        let (journal, who) = (Arc::clone(&self.weather.journal), self.gate.who.clone());
        self.weather.spawn(async move {
            tokio::time::sleep(after).await;
            journal.line(&who, format_args!("store {name}: lands now"));
            later.await;
        });
    }

    fn ledger(&self) -> Watched {
        Watched {
            store: self.inner.clone(),
            checks: Arc::clone(&self.checks),
            missing: self.weather.mutant,
        }
    }

    /// The one write that never fails as a whole.
    async fn insert(&self, attempts: &[Attempt]) -> Vec<IntentAnswer> {
        let name = "insert_attempts";
        let nobody_knows = || vec![IntentAnswer::Unclear; attempts.len()];
        self.begin(name).await;
        if let Some(some) = self.some(attempts) {
            self.partly(name, AttemptStore::insert_attempts(&self.inner, some))
                .await;
            return nobody_knows();
        }
        let work = AttemptStore::insert_attempts(&self.inner, attempts);
        match self.fate(true) {
            Fate::Fine => {
                let answers = work.await;
                self.end(name).await;
                answers
            }
            Fate::Unavailable => {
                self.end(name).await;
                nobody_knows()
            }
            Fate::Unclear { applied } => {
                self.unclear(name, applied, work).await;
                nobody_knows()
            }
            Fate::Late => {
                let (store, owned) = (self.inner.clone(), attempts.to_vec());
                self.land(name, async move {
                    AttemptStore::insert_attempts(&store, &owned).await;
                });
                self.give_up(name).await;
                nobody_knows()
            }
        }
    }
}

/// Whether this is the very write that says so.
fn is_proof(attempt: &Attempt) -> bool {
    attempt.is_cooling()
        && attempt
            .timeline
            .last()
            .is_some_and(|moment| moment.event == "proven_absent")
}

fn unavailable() -> StoreError {
    StoreError::Unavailable("simulated".into())
}

fn unclear() -> StoreError {
    StoreError::Unclear("simulated".into())
}

/// Delegates a port method by method: `ask` a question, `write` something, or `late`, a write of a
/// list that can land after its caller has given up.
macro_rules! delegate {
    ($port:ident: $($how:ident $name:ident($($arg:ident: $ty:ty),*) -> $ret:ty;)* $({$($more:tt)*})?) => {
        #[async_trait]
        impl $port for FaultyStore {
            $(async fn $name(&self, $($arg: $ty),*) -> Answer<$ret> {
                delegate!(@$how self $port $name $($arg)*)
            })*
            $($($more)*)?
        }
    };
    (@ask $me:ident $port:ident $name:ident $($arg:ident)*) => {
        $me.ask(stringify!($name), <SqliteStore as $port>::$name(&$me.inner, $($arg),*)).await
    };
    (@write $me:ident $port:ident $name:ident $($arg:ident)*) => {
        $me.write(stringify!($name), <SqliteStore as $port>::$name(&$me.inner, $($arg),*)).await
    };
    (@late $me:ident $port:ident $name:ident $items:ident) => {{
        let (store, owned) = ($me.inner.clone(), $items.to_vec());
        let later = async move {
            let _ = <SqliteStore as $port>::$name(&store, &owned).await;
        };
        let part = $me.some($items).map(|some| <SqliteStore as $port>::$name(&$me.inner, some));
        let work = <SqliteStore as $port>::$name(&$me.inner, $items);
        $me.late(stringify!($name), work, part, later).await
    }};
}

delegate! { CampaignStore:
    write insert_campaign(campaign: &Campaign) -> Inserted;
    ask campaigns(ids: &[CampaignId]) -> Vec<Option<Campaign>>;
    ask list_campaigns(tenant: &TenantId, cursor: Option<&str>, limit: usize) -> Page<Campaign>;
    write change_campaign(id: &CampaignId, expected: u64, change: CampaignChange) -> Option<Campaign>;
    late wake(wakes: &[(CampaignId, Timestamp)]) -> ();
    write claim_wakes(now: Timestamp, lease: Timestamp, limit: usize) -> Vec<Campaign>;
    write settle_wake(id: &CampaignId, seen_seq: u64, next: Option<Timestamp>) -> Cas;
    write finish_campaign(
        id: &CampaignId, seen_seq: u64, from: CampaignState, to: CampaignState, at: Timestamp
    ) -> Cas;
    ask campaigns_in(states: &[CampaignState], after: Option<&CampaignId>, limit: usize) -> Vec<Campaign>;
}

delegate! { LeadStore:
    late insert_leads(leads: &[Lead]) -> Vec<LeadInserted>;
    late claim_leads(requests: &[ClaimRequest]) -> Vec<Option<Lead>>;
    late release_claims(releases: &[Release]) -> Vec<Cas>;
    late project_leads(projections: &[Projection]) -> Vec<Cas>;
    ask stale_claims(before: Timestamp, limit: usize) -> Vec<Lead>;
    write renew_claim(lead: &LeadId, n: u32, claim: &ClaimToken, at: Timestamp) -> Cas;
    ask leads(ids: &[LeadId]) -> Vec<Option<Lead>>;
    ask list_leads(
        campaign: &CampaignId, state: Option<LeadState>, cursor: Option<&str>, limit: usize
    ) -> Page<Lead>;
    ask lead_counts(campaign: &CampaignId) -> LeadCounts;
    ask next_due(campaign: &CampaignId) -> Option<Timestamp>;
    ask has_open_leads(campaign: &CampaignId) -> bool;
}

delegate! { AttemptStore:
    ask attempts(ids: &[AttemptId]) -> Vec<Option<Attempt>>;
    ask newest_attempt(lead: &LeadId) -> Option<Attempt>;
    ask attempts_by_call(carrier: &CarrierId, calls: &[CarrierCallId]) -> Vec<Option<Attempt>>;
    ask due_checks(now: Timestamp, limit: usize) -> Vec<Attempt>;
    ask due_todos(before: Timestamp, limit: usize) -> Vec<Attempt>;
    ask due_costs(now: Timestamp, limit: usize) -> Vec<Attempt>;
    ask taken_slots(campaign: &CampaignId) -> Vec<u32>;
    ask taken_channels(carrier: &CarrierId) -> Vec<u32>;
    ask campaign_spend(campaign: &CampaignId) -> Vec<SpendSum>;
    ask carrier_spend(carrier: &CarrierId, since: Timestamp) -> Vec<SpendSum>;
    ask lead_spend(leads: &[LeadId]) -> Vec<Vec<SpendSum>>;
    ask live_attempts(campaign: &CampaignId) -> Vec<Attempt>;
    ask live_by_phone(tenant: &TenantId, phone: &E164) -> Vec<Attempt>;
    ask live_by_carrier(carrier: &CarrierId, after: Option<&AttemptId>, limit: usize) -> Vec<Attempt>;
    ask slots_in_use() -> Vec<(CampaignId, u32)>;
    ask list_attempts(
        tenant: &TenantId, filter: &AttemptFilter, cursor: Option<&str>, limit: usize
    ) -> Page<Attempt>;
    {
        async fn insert_attempts(&self, attempts: &[Attempt]) -> Vec<IntentAnswer> {
            self.insert(attempts).await
        }

        async fn save_attempts(&self, saves: &[SaveAttempt]) -> Answer<Vec<Cas>> {
            for save in saves.iter().filter(|save| is_proof(&save.attempt)) {
                self.checks.proven_absent(&save.attempt);
            }
            let (ledger, owned) = (self.ledger(), saves.to_vec());
            let later = async move {
                let _ = ledger.save(&owned).await;
            };
            let ledger = self.ledger();
            let part = self.some(saves).map(|some| ledger.save(some));
            self.late("save_attempts", ledger.save(saves), part, later).await
        }
    }
}

/// What is stored, and who watches how it changes.
struct Watched {
    store: SqliteStore,
    checks: Arc<Checks>,
    missing: Option<Mutant>,
}

impl Watched {
    async fn save(&self, saves: &[SaveAttempt]) -> Answer<Vec<Cas>> {
        let ids: Vec<AttemptId> = saves.iter().map(|save| save.attempt.id.clone()).collect();
        let stored = AttemptStore::attempts(&self.store, &ids).await?;
        let mut saves = saves.to_vec();
        if self.missing == Some(Mutant::Version) {
            for (save, stored) in saves.iter_mut().zip(&stored) {
                save.expected = stored.as_ref().map_or(save.expected, |a| a.version);
            }
        }
        let answers = AttemptStore::save_attempts(&self.store, &saves).await?;
        for ((save, before), answer) in saves.iter().zip(&stored).zip(&answers) {
            if let (Some(before), Cas::Won) = (before, answer) {
                self.checks.rewritten(before, &save.attempt);
            }
        }
        Ok(answers)
    }

    async fn list(&self, entries: &[DoNotCall]) -> Answer<()> {
        RecordStore::add_do_not_call(&self.store, entries).await?;
        for entry in entries {
            self.checks.listed(entry.phone.as_str());
        }
        Ok(())
    }
}

delegate! { RecordStore:
    late insert_callbacks(callbacks: &[Callback]) -> Vec<Inserted>;
    write delete_callbacks(before: Timestamp, limit: usize) -> u64;
    write remove_do_not_call(tenant: &TenantId, phone: &E164) -> bool;
    ask do_not_call(tenant: &TenantId, phones: &[E164]) -> Vec<bool>;
    write insert_import(import: &Import) -> Inserted;
    ask import(id: &ImportId) -> Option<Import>;
    ask list_imports(campaign: &CampaignId, limit: usize) -> Vec<Import>;
    ask open_imports(campaign: &CampaignId, limit: usize) -> Vec<Import>;
    write close_import(id: &ImportId, batches: u32, unreadable: u64) -> ();
    write tally_import(id: &ImportId, batch: u32, tally: Tally, at: Timestamp) -> Option<Import>;
    write end_import(id: &ImportId, state: ImportState, refused: Option<String>, at: Timestamp) -> Cas;
    late insert_row_errors(errors: &[RowError]) -> ();
    ask row_errors(id: &ImportId, after: u64, limit: usize) -> Vec<RowError>;
    write beat(heartbeat: &Heartbeat) -> ();
    write leave(worker: &WorkerId) -> ();
    ask workers(since: Timestamp) -> Vec<Heartbeat>;
    write mac_keys(candidate: &MacKey) -> Vec<MacKey>;
    write hold_duty(task: &str, holder: &WorkerId, now: Timestamp, until: Timestamp) -> Cas;
    ask clock() -> Timestamp;
    ask ping() -> ();
    {
        async fn add_do_not_call(&self, entries: &[DoNotCall]) -> Answer<()> {
            let (ledger, owned) = (self.ledger(), entries.to_vec());
            let later = async move {
                let _ = ledger.list(&owned).await;
            };
            let ledger = self.ledger();
            let part = self.some(entries).map(|some| ledger.list(some));
            self.late("add_do_not_call", ledger.list(entries), part, later).await
        }

        fn unreadable(&self) -> Vec<Unreadable> {
            self.inner.unreadable()
        }
    }
}

delegate! { RecordingStore:
    write insert_recording(recording: &Recording) -> Inserted;
    ask recording(id: &RecordingId) -> Option<Recording>;
    write save_recording(recording: &Recording, expected: u64) -> Cas;
    ask due_recordings(now: Timestamp, limit: usize) -> Vec<Recording>;
    ask list_recordings(
        tenant: &TenantId, filter: &RecordingFilter, cursor: Option<&str>, limit: usize
    ) -> Page<Recording>;
    write put_transcript(transcript: &Transcript) -> ();
    ask transcript(id: &RecordingId) -> Option<Transcript>;
    write delete_transcript(id: &RecordingId) -> ();
    ask search_transcripts(
        tenant: &TenantId, words: &[String], cursor: Option<&str>, limit: usize
    ) -> Page<Transcript>;
}

delegate! { BoardStore:
    ask notes(keys: &[String]) -> Vec<Option<Note>>;
    ask notes_with(prefix: &str, limit: usize) -> Vec<Note>;
    late save_notes(notes: &[Note]) -> Vec<Cas>;
}

/// How long a process may have no store, ms.
pub(super) const OUTAGE_MS: (u64, u64) = (500, 15_000);

/// When an outage that begins now ends.
pub(super) fn outage_end(weather: &Weather) -> Duration {
    weather.time.elapsed() + weather.chance.ms(Kind::Operator, OUTAGE_MS.0, OUTAGE_MS.1)
}
