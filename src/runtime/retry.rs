//! Waiting longer and longer between tries, for the edges of the process only: reconnects, fetches.
//! Never for dialing, and never in `domain` or `engine`, where time and chance are arguments.
//!
//! The only module that uses the crate `backoff`. It is unmaintained (RUSTSEC-2025-0012), takes the
//! time and its randomness by itself, and was chosen by the owner of the project all the same, so
//! it is contained here: nothing of it shows in a signature, and another crate (or thirty lines)
//! can take its place.

use std::fmt::Display;
use std::future::Future;
use std::time::Duration;

use backoff::ExponentialBackoff;
use backoff::backoff::Backoff as _;

/// Delays that double, with jitter, from about `min` up to `max`. Never ends.
#[derive(Debug, Clone)]
pub struct Backoff {
    inner: ExponentialBackoff,
    min: Duration,
    max: Duration,
}

impl Backoff {
    /// Every delay is between `min` and `max`; the first at most three times `min`. Delays are
    /// spread by half of their length up and down, so a fleet does not come back in one wave.
    #[must_use]
    pub fn new(min: Duration, max: Duration) -> Self {
        let max = max.max(min);
        let mut inner = ExponentialBackoff {
            initial_interval: (min * 2).min(max),
            randomization_factor: 0.5,
            multiplier: 2.0,
            // The jitter is added on top: two thirds of the ceiling, so that it stays under it.
            max_interval: max * 2 / 3,
            max_elapsed_time: None,
            ..ExponentialBackoff::default()
        };
        inner.reset();
        Self { inner, min, max }
    }

    /// How long to wait before the next try.
    pub fn next_delay(&mut self) -> Duration {
        // `None` means that max_elapsed_time is over, and there is none.
        self.inner
            .next_backoff()
            .unwrap_or(self.max)
            .clamp(self.min, self.max)
    }

    /// It worked: the next failure starts from the beginning.
    pub fn reset(&mut self) {
        self.inner.reset();
    }
}

/// What a failed try means.
#[derive(Debug)]
pub enum Failure<E> {
    /// May work later.
    Again(E),
    /// Will never work.
    Stop(E),
}

/// Runs `op` until it succeeds, says [`Failure::Stop`] or failed `tries` times (`u32::MAX`: for
/// ever); sleeps in between. Logs each failure at debug level with `what`. Dropping it stops it.
///
/// # Errors
/// The error of the last try.
pub async fn retry<T, E, F, Fut>(
    what: &str,
    mut backoff: Backoff,
    tries: u32,
    mut op: F,
) -> Result<T, E>
where
    E: Display,
    F: FnMut() -> Fut,
    Fut: Future<Output = Result<T, Failure<E>>>,
{
    let mut tried: u32 = 0;
    loop {
        let error = match op().await {
            Ok(value) => return Ok(value),
            Err(Failure::Stop(error)) => return Err(error),
            Err(Failure::Again(error)) => error,
        };
        tried = tried.saturating_add(1);
        if tried >= tries && tries != u32::MAX {
            return Err(error);
        }
        let delay = backoff.next_delay();
        tracing::debug!(
            error = %error,
            tried,
            delay_ms = u64::try_from(delay.as_millis()).unwrap_or(u64::MAX),
            "{what} failed and will be tried again"
        );
        tokio::time::sleep(delay).await;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const MIN: Duration = Duration::from_millis(100);
    const MAX: Duration = Duration::from_secs(5);

    #[test]
    fn delays_grow_and_stay_within_bounds() {
        let mut backoff = Backoff::new(MIN, MAX);
        let first = backoff.next_delay();
        assert!(first >= MIN && first <= MIN * 3, "{first:?}");
        let late: Vec<Duration> = (0..50).map(|_| backoff.next_delay()).skip(10).collect();
        assert!(
            late.iter().all(|delay| *delay >= MAX / 4 && *delay <= MAX),
            "{late:?}"
        );
        assert!(late.windows(2).any(|pair| pair[0] != pair[1]), "no jitter");
        backoff.reset();
        assert!(backoff.next_delay() <= MIN * 3);
    }

    #[test]
    fn a_ceiling_below_the_floor_is_the_floor() {
        assert_eq!(Backoff::new(MIN, Duration::ZERO).next_delay(), MIN);
    }

    #[tokio::test(start_paused = true)]
    async fn retries_until_it_works_is_told_to_stop_or_is_out_of_tries() {
        let policy = || Backoff::new(MIN, MAX);
        let tries = Cell::new(0);
        let count = || {
            tries.set(tries.get() + 1);
            tries.get()
        };
        let third = retry("third", policy(), u32::MAX, || {
            let n = count();
            async move {
                if n < 3 {
                    Err(Failure::Again("not yet"))
                } else {
                    Ok(n)
                }
            }
        });
        assert_eq!(third.await, Ok(3));

        tries.set(0);
        let limited: Result<(), _> = retry("limited", policy(), 4, || {
            count();
            async { Err(Failure::Again("down")) }
        })
        .await;
        assert_eq!((limited, tries.get()), (Err("down"), 4));

        tries.set(0);
        let hopeless: Result<(), _> = retry("hopeless", policy(), 4, || {
            count();
            async { Err(Failure::Stop("forbidden")) }
        })
        .await;
        assert_eq!((hopeless, tries.get()), (Err("forbidden"), 1));
    }
}
