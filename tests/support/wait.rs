//! Waiting for a state, with a bound, and with the last state seen when the bound is passed.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

/// Between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// Looks until `look` returns `Ok`; `Err` is the state that is not good yet.
///
/// # Panics
/// The bound is passed; the message says what was waited for and the last state.
pub async fn until<T, S: Debug, F: Future<Output = Result<T, S>>>(
    what: &str,
    bound: Duration,
    mut look: impl FnMut() -> F,
) -> T {
    let mut ticks = tokio::time::interval(LOOK);
    let end = tokio::time::Instant::now() + bound;
    loop {
        ticks.tick().await;
        let last = match look().await {
            Ok(found) => return found,
            Err(state) => state,
        };
        assert!(
            tokio::time::Instant::now() < end,
            "not within {bound:?}: {what}; last seen: {last:?}"
        );
    }
}
