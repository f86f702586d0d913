//! What may be repeated of what a carrier or a library said: it ends up in documents, timelines
//! and logs, where neither phone numbers nor credentials belong.

use super::secret::Secret;

/// Longest sentence kept, in characters.
const MAX: usize = 200;
/// A run of at least this many digits is taken for a phone number.
const PHONE_DIGITS: usize = 7;

/// Removes an account's secrets, and every phone number, from texts.
#[derive(Debug, Clone)]
pub(super) struct Scrub(Vec<Secret>);

impl Scrub {
    pub(super) fn new(secrets: impl IntoIterator<Item = Secret>) -> Self {
        Self(
            secrets
                .into_iter()
                .filter(|secret| !secret.is_empty())
                .collect(),
        )
    }

    /// The same, and without one more secret.
    pub(super) fn also(&self, secret: Secret) -> Self {
        Self::new(self.0.iter().cloned().chain([secret]))
    }

    /// The text without secrets, phone numbers and control characters, cut to 200 characters.
    pub(super) fn clean(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for secret in &self.0 {
            text = text.replace(secret.expose(), "***");
        }
        let text: String = without_numbers(&text)
            .chars()
            .map(|c| if c.is_control() { ' ' } else { c })
            .collect();
        text.chars().take(MAX).collect()
    }

    /// An error and its causes in one sentence.
    pub(super) fn chain(&self, error: &dyn std::error::Error) -> String {
        let mut text = error.to_string();
        let mut cause = error.source();
        while let Some(error) = cause {
            let more = error.to_string();
            if !text.ends_with(&more) {
                text.push_str(": ");
                text.push_str(&more);
            }
            cause = error.source();
        }
        self.clean(&text)
    }
}

/// Replaces every phone-like run (digits, perhaps grouped by blanks, dots, dashes or parentheses).
fn without_numbers(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(|c: char| c.is_ascii_digit()) {
        let (before, run) = rest.split_at(start);
        out.push_str(before);
        let end = run
            .find(|c: char| !c.is_ascii_digit() && !matches!(c, ' ' | '.' | '-' | '(' | ')'))
            .unwrap_or(run.len());
        let (run, after) = run.split_at(end);
        let kept = run.trim_end_matches(|c: char| !c.is_ascii_digit());
        if run.bytes().filter(u8::is_ascii_digit).count() >= PHONE_DIGITS {
            out.push_str("***");
            out.push_str(&run[kept.len()..]);
        } else {
            out.push_str(run);
        }
        rest = after;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_secrets_go_and_the_rest_stays() {
        let scrub = Scrub::new([Secret::new("hunter2")]);
        let table = [
            (
                "The 'To' number +15550100123 is not valid.",
                "The 'To' number +*** is not valid.",
            ),
            (
                "Call to %2B15550100123 (code 21211)",
                "Call to %2B*** (code 21211)",
            ),
            ("(555) 010-0123 and +44 20 7946 0119", "(*** and +***"),
            ("hunter2 is wrong\r\n", "*** is wrong  "),
            ("HTTP 429", "HTTP 429"),
            ("", ""),
        ];
        for (given, kept) in table {
            assert_eq!(scrub.clean(given), kept);
        }
        assert_eq!(scrub.clean(&"é".repeat(900)).chars().count(), 200);
    }
}
