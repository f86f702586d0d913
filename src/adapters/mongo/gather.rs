//! What is asked at the same time goes out together. A fleet that is busy asks the same few questions
//! many times a second, each for one document; when the server is slower than the questions come,
//! they gather, and one command answers them all. When it is not, each goes out at once and alone.
//!
//! A question never joins a command that is under way: whoever asks sees at least what was true when
//! it asked, so a reading that has to follow a write does.

use std::collections::VecDeque;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use dialfleet_domain::call::Attempt;
use dialfleet_domain::campaign::Campaign;
use dialfleet_domain::id::{AttemptId, CampaignId, LeadId};
use dialfleet_domain::lead::{Lead, Projection};
use dialfleet_engine::port::store::{
    Answer, Callback, Cas, ClaimRequest, Inserted, IntentAnswer, SaveAttempt, StoreError,
};
use dialfleet_runtime::service;
use futures_util::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::time::Instant;
use tokio_util::task::AbortOnDropHandle;

use super::MongoStore;
use super::error::{self, Cause};

/// Commands of a kind that are under way at once. One is best while the server is slow: the longer it
/// takes, the more goes out with the next. The other is for when it hangs.
const LANES: usize = 2;
/// A command that takes longer keeps nobody else waiting.
const HANGS: Duration = Duration::from_millis(300);
/// Items that go out together, unless one caller has more.
const MOST: usize = 64;

/// How a kind of question is answered: an answer for each item, in their order.
type Run<S, Q, A> = fn(S, Vec<Q>) -> BoxFuture<'static, Answer<Vec<A>>>;

/// The questions of one kind to `S`.
pub(super) struct Gather<S, Q, A> {
    run: Run<S, Q, A>,
    state: Mutex<State<Q, A>>,
}

struct State<Q, A> {
    /// As many as callers wait.
    waiting: VecDeque<Asked<Q, A>>,
    lanes: [Lane; LANES],
}

/// Answers one command after the other while anybody waits.
#[derive(Default)]
struct Lane {
    task: Option<AbortOnDropHandle<()>>,
    /// When its command went out.
    began: Option<Instant>,
}

impl Lane {
    fn is_free(&self) -> bool {
        let task = self.task.as_ref();
        task.is_none_or(AbortOnDropHandle::is_finished)
    }

    fn hangs(&self) -> bool {
        self.began.is_some_and(|began| began.elapsed() > HANGS)
    }
}

/// What one caller wants to know.
struct Asked<Q, A> {
    items: Vec<Q>,
    answer: oneshot::Sender<Answer<Vec<A>>>,
}

impl<S, Q, A> Gather<S, Q, A>
where
    S: Clone + Send + 'static,
    Q: Clone + Send + 'static,
    A: Send + 'static,
{
    fn new(run: Run<S, Q, A>) -> Arc<Self> {
        let state = State {
            waiting: VecDeque::new(),
            lanes: Default::default(),
        };
        Arc::new(Self {
            run,
            state: Mutex::new(state),
        })
    }

    /// Asks, alone or with others. What happens to the others' questions stays theirs; a server that
    /// fails fails all.
    pub(super) async fn ask(self: &Arc<Self>, store: &S, items: &[Q]) -> Answer<Vec<A>> {
        if items.is_empty() {
            return Ok(Vec::new());
        }
        let (answer, answered) = oneshot::channel();
        {
            let mut state = self.lock();
            let items = items.to_vec();
            state.waiting.push_back(Asked { items, answer });
            if state
                .lanes
                .iter()
                .all(|lane| lane.is_free() || lane.hangs())
            {
                let mut lanes = state.lanes.iter_mut().enumerate();
                if let Some((at, lane)) = lanes.find(|(_, lane)| lane.is_free()) {
                    let serving = self.clone().serve(at, store.clone());
                    lane.task = Some(service::spawn(serving));
                }
            }
        }
        let lost = |_| StoreError::Unclear(Box::new(Cause("nobody answered".to_owned())));
        answered.await.map_err(lost)?
    }

    /// Answers until nobody waits.
    async fn serve(self: Arc<Self>, lane: usize, store: S) {
        while let Some(together) = self.next(lane) {
            let items = together.iter().flat_map(|asked| asked.items.clone());
            match (self.run)(store.clone(), items.collect()).await {
                Ok(answers) => {
                    let mut answers = answers.into_iter();
                    for Asked { items, answer } in together {
                        // Whoever does not wait any more needs no answer.
                        let _ = answer.send(Ok(answers.by_ref().take(items.len()).collect()));
                    }
                }
                // One document is to blame: let it spoil its own question only.
                Err(error) if error.is_corrupt() && together.len() > 1 => {
                    for Asked { items, answer } in together {
                        let _ = answer.send((self.run)(store.clone(), items).await);
                    }
                }
                Err(error) => {
                    for Asked { answer, .. } in together {
                        let _ = answer.send(Err(error::again(&error)));
                    }
                }
            }
        }
    }

    /// The next questions, if any wait: at most [`MOST`], but never none.
    fn next(&self, lane: usize) -> Option<Vec<Asked<Q, A>>> {
        let mut state = self.lock();
        state.lanes[lane].began = Some(Instant::now());
        let mut together = Vec::new();
        let mut items = 0;
        while let Some(next) = state.waiting.front() {
            items += next.items.len();
            if items > MOST && !together.is_empty() {
                break;
            }
            together.extend(state.waiting.pop_front());
        }
        if together.is_empty() {
            // Taken away before anybody else can ask, so that nobody counts on it.
            state.lanes[lane] = Lane::default();
            return None;
        }
        Some(together)
    }

    fn lock(&self) -> MutexGuard<'_, State<Q, A>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S, Q, A> fmt::Debug for Gather<S, Q, A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Gather")
    }
}

/// The questions that every call asks.
#[derive(Debug)]
pub(super) struct Together {
    pub(super) campaigns: Arc<Gather<MongoStore, CampaignId, Option<Campaign>>>,
    pub(super) leads: Arc<Gather<MongoStore, LeadId, Option<Lead>>>,
    pub(super) claims: Arc<Gather<MongoStore, ClaimRequest, Answer<Option<Lead>>>>,
    pub(super) projections: Arc<Gather<MongoStore, Projection, Cas>>,
    pub(super) intents: Arc<Gather<MongoStore, Attempt, IntentAnswer>>,
    pub(super) attempts: Arc<Gather<MongoStore, AttemptId, Option<Attempt>>>,
    pub(super) saves: Arc<Gather<MongoStore, SaveAttempt, Cas>>,
    pub(super) callbacks: Arc<Gather<MongoStore, Callback, Inserted>>,
    /// By the ids of entries.
    pub(super) do_not_call: Arc<Gather<MongoStore, String, bool>>,
}

impl Default for Together {
    fn default() -> Self {
        Self {
            campaigns: Gather::new(|s, ids| Box::pin(async move { s.read_campaigns(&ids).await })),
            leads: Gather::new(|s, ids| Box::pin(async move { s.read_leads(&ids).await })),
            claims: Gather::new(|s, asked| Box::pin(async move { Ok(s.claim(&asked).await) })),
            projections: Gather::new(|s, all| Box::pin(async move { s.project(&all).await })),
            intents: Gather::new(|s, all| Box::pin(async move { Ok(s.intend(&all).await) })),
            attempts: Gather::new(|s, ids| Box::pin(async move { s.read_attempts(&ids).await })),
            saves: Gather::new(|s, all| Box::pin(async move { s.save(&all).await })),
            callbacks: Gather::new(|s, all| Box::pin(async move { s.keep(&all).await })),
            do_not_call: Gather::new(|s, ids| Box::pin(async move { s.listed(ids).await })),
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use futures_util::future::join_all;
    use tokio::sync::{Semaphore, mpsc};

    use super::*;

    /// A server that answers when it is told to, and says what it was asked.
    #[derive(Clone)]
    struct Server {
        asked: mpsc::Sender<Vec<u32>>,
        answers: Arc<Semaphore>,
    }

    impl Server {
        fn new() -> (Self, mpsc::Receiver<Vec<u32>>) {
            let (asked, commands) = mpsc::channel(100);
            let answers = Arc::new(Semaphore::new(0));
            (Self { asked, answers }, commands)
        }
    }

    fn corrupt() -> StoreError {
        error::again(&crate::unreadable::corrupt("number", "13", "it is 13"))
    }

    fn tenfold(server: Server, items: Vec<u32>) -> BoxFuture<'static, Answer<Vec<u32>>> {
        Box::pin(async move {
            server.asked.send(items.clone()).await.unwrap();
            server.answers.acquire().await.unwrap().forget();
            if items.contains(&13) {
                return Err(corrupt());
            }
            Ok(items.iter().map(|n| n * 10).collect())
        })
    }

    #[tokio::test]
    async fn what_comes_while_a_command_is_under_way_goes_out_together() {
        let (server, mut commands) = Server::new();
        let gather = Gather::new(tenfold);
        let mut first = Box::pin(gather.ask(&server, &[1]));
        assert!(first.as_mut().now_or_never().is_none());
        assert_eq!(commands.recv().await.unwrap(), [1]);
        // The same question again is not answered by what is under way.
        let lists: Vec<Vec<u32>> = vec![vec![1], vec![2, 3], (100..163).collect(), vec![4]];
        let mut rest = Box::pin(join_all(lists.iter().map(|l| gather.ask(&server, l))));
        assert!(rest.as_mut().now_or_never().is_none());
        server.answers.add_permits(3);
        assert_eq!(first.await.unwrap(), [10]);
        let answers: Vec<Vec<u32>> = rest.await.into_iter().map(Result::unwrap).collect();
        let want = lists.iter().map(|l| l.iter().map(|n| n * 10).collect());
        assert_eq!(answers, want.collect::<Vec<Vec<u32>>>());
        assert_eq!(commands.recv().await.unwrap(), [1, 2, 3]);
        assert_eq!(
            commands.recv().await.unwrap(),
            (100..163).chain([4]).collect::<Vec<_>>()
        );
    }

    #[tokio::test]
    async fn one_bad_document_spoils_one_question() {
        let (server, mut commands) = Server::new();
        let gather = Gather::new(tenfold);
        let asked: [&[u32]; 4] = [&[0], &[1], &[2, 13], &[3]];
        server.answers.add_permits(5);
        let answers = join_all(asked.map(|items| gather.ask(&server, items))).await;
        let said: Vec<Option<Vec<u32>>> = answers.into_iter().map(Result::ok).collect();
        assert_eq!(said, [Some(vec![0]), Some(vec![10]), None, Some(vec![30])]);
        let mut sent = Vec::new();
        while let Ok(command) = commands.try_recv() {
            sent.push(command);
        }
        assert_eq!(sent.last().unwrap(), &[3]);
        assert_eq!(gather.ask(&server, &[]).await.unwrap(), [] as [u32; 0]);
    }

    #[tokio::test(start_paused = true)]
    async fn a_command_that_hangs_keeps_nobody_waiting() {
        let (server, mut commands) = Server::new();
        let gather = Gather::new(tenfold);
        let mut first = Box::pin(gather.ask(&server, &[1]));
        assert!(first.as_mut().now_or_never().is_none());
        assert_eq!(commands.recv().await.unwrap(), [1]);
        tokio::time::advance(HANGS * 2).await;
        let mut second = Box::pin(gather.ask(&server, &[2]));
        assert!(second.as_mut().now_or_never().is_none());
        assert_eq!(commands.recv().await.unwrap(), [2]);
        // No third one.
        tokio::time::advance(HANGS * 2).await;
        let mut third = Box::pin(gather.ask(&server, &[3]));
        assert!(third.as_mut().now_or_never().is_none());
        tokio::task::yield_now().await;
        assert!(commands.try_recv().is_err());
        server.answers.add_permits(3);
        assert_eq!(second.await.unwrap(), [20]);
        assert_eq!(
            (first.await.unwrap(), third.await.unwrap()),
            (vec![10], vec![30])
        );
    }
}
