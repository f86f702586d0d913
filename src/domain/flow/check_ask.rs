//! What the types cannot hold of questions, prompts and the voicemail.

use super::action::MAX_KEYS;
use super::check::Checker;
use super::{Step, Voicemail};

/// Characters that are spoken in a second: what a message of a given length may have.
const SPOKEN_PER_S: usize = 20;

impl Checker<'_> {
    pub(super) fn voicemail(&mut self, voicemail: &Voicemail) {
        let pointer = "/voicemail/steps";
        if voicemail.steps.is_empty() {
            self.fault(
                pointer.to_owned(),
                "a voicemail needs at least one step",
                "say or play something",
            );
        }
        self.sounds(&voicemail.steps, pointer);
        self.block(&voicemail.steps, pointer, 1);
        self.within("/voicemail/max_s", voicemail.max_s, 5, 120);
        self.within("/voicemail/wait_s", voicemail.wait_s, 5, 60);
        let length = |step: &Step| {
            if let Step::Say { text, .. } = step {
                text.chars().count() / SPOKEN_PER_S
            } else if let Step::Pause { seconds } = step {
                usize::try_from(*seconds).unwrap_or(usize::MAX)
            } else {
                0
            }
        };
        let seconds: usize = voicemail.steps.iter().map(length).sum();
        let max = usize::try_from(voicemail.max_s).unwrap_or(usize::MAX);
        if seconds > max {
            self.fault(
                pointer.to_owned(),
                format!("the message takes about {seconds} s, more than max_s ({max})"),
                "shorten it, or raise max_s (120 at most)",
            );
        }
    }

    pub(super) fn gather(&mut self, step: &Step, here: &str) {
        let Step::Gather {
            set,
            prompt,
            max_digits,
            min_digits,
            finish_on,
            timeout_s,
            tries,
            ..
        } = step
        else {
            return;
        };
        self.question(here, set.as_ref(), prompt, *timeout_s, *tries);
        let most = u8::try_from(MAX_KEYS).unwrap_or(u8::MAX);
        if !(1..=most).contains(max_digits) || !(1..=*max_digits).contains(min_digits) {
            self.fault(
                format!("{here}/max_digits"),
                format!("max_digits is 1 to {most}, and min_digits 1 to max_digits"),
                "say how many digits are meant",
            );
        }
        if !matches!(finish_on.as_str(), "" | "#" | "*") {
            self.fault(
                format!("{here}/finish_on"),
                "the key that ends the digits is #, * or none",
                "write \"#\", \"*\" or \"\"",
            );
        }
        // Keys may come one by one.
        self.waiting_s += u64::from(*timeout_s) * u64::from(*tries) * u64::from(*max_digits);
    }

    pub(super) fn menu(&mut self, step: &Step, here: &str) {
        let Step::Menu {
            prompt,
            options,
            set,
            timeout_s,
            tries,
            ..
        } = step
        else {
            return;
        };
        self.question(here, set.as_ref(), prompt, *timeout_s, *tries);
        if options.is_empty() {
            self.fault(
                format!("{here}/options"),
                "a menu needs at least one key",
                "name the keys and what follows each",
            );
        }
        for key in options.keys() {
            let usable = key.len() == 1
                && key
                    .bytes()
                    .all(|b| b.is_ascii_digit() || b"*#".contains(&b));
            if !usable {
                let escaped = key.replace('~', "~0").replace('/', "~1");
                self.fault(
                    format!("{here}/options/{escaped}"),
                    "not a key",
                    "keys are 0 to 9, * and #",
                );
            }
        }
        self.waiting_s += u64::from(*timeout_s) * u64::from(*tries);
    }

    pub(super) fn question(
        &mut self,
        here: &str,
        set: Option<&String>,
        prompt: &[Step],
        timeout_s: u32,
        tries: u8,
    ) {
        self.sounds(prompt, &format!("{here}/prompt"));
        self.within(&format!("{here}/timeout_s"), timeout_s, 1, 60);
        self.within(&format!("{here}/tries"), u32::from(tries), 1, 5);
        if let Some(var) = set {
            self.assigns(&format!("{here}/set"), var);
        }
    }

    pub(super) fn sounds(&mut self, steps: &[Step], pointer: &str) {
        for (i, step) in steps.iter().enumerate() {
            if !matches!(
                step,
                Step::Say { .. } | Step::Play { .. } | Step::Pause { .. }
            ) {
                self.fault(
                    format!("{pointer}/{i}"),
                    "only say, play and pause can be here",
                    "move the step out",
                );
            }
        }
        if steps.len() > 10 {
            self.fault(
                pointer.to_owned(),
                "a prompt has at most 10 steps",
                "say it in fewer",
            );
        }
    }
}
