//! What happens on the call after the answer: a short list of steps.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// Steps a flow may have at most.
pub const MAX_STEPS: usize = 20;
/// Characters one sentence may have at most.
pub const MAX_TEXT: usize = 1_500;
/// Characters the whole may have as a document: Twilio takes 4,000 inline.
const MAX_DOCUMENT: usize = 3_900;
/// What a step takes in it besides its words.
const STEP: usize = 40;

/// One thing done on the call.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "do", rename_all = "snake_case", deny_unknown_fields)]
pub enum Step {
    /// Speak a sentence.
    Say {
        /// The words.
        text: String,
        /// BCP 47 language tag, such as `en-GB`.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        language: Option<String>,
        /// The carrier's voice name.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        voice: Option<String>,
    },
    /// Wait.
    Pause {
        /// Seconds, 1 to 60.
        seconds: u32,
    },
    /// End the call.
    Hangup,
}

/// The steps, in order. After the last one the call ends.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Flow {
    /// The steps.
    pub steps: Vec<Step>,
}

impl Default for Flow {
    fn default() -> Self {
        Self {
            steps: vec![
                Step::Say {
                    text: "Hello. This call was placed by Dialfleet. Goodbye.".to_owned(),
                    language: None,
                    voice: None,
                },
                Step::Hangup,
            ],
        }
    }
}

impl Flow {
    /// Checks limits that the types cannot hold.
    ///
    /// # Errors
    /// A sentence that names the step at fault.
    pub fn check(&self) -> Result<(), String> {
        if self.steps.is_empty() || self.steps.len() > MAX_STEPS {
            return Err(format!("flow.steps needs 1 to {MAX_STEPS} steps"));
        }
        let mut total = 0;
        let mut document = self.steps.len() * STEP;
        for (i, step) in self.steps.iter().enumerate() {
            match step {
                Step::Say {
                    text,
                    language,
                    voice,
                } => {
                    total += written(text);
                    document += [Some(text), language.as_ref(), voice.as_ref()]
                        .into_iter()
                        .flatten()
                        .map(|text| written(text))
                        .sum::<usize>();
                    if [language, voice]
                        .into_iter()
                        .flatten()
                        .any(|t| t.is_empty() || t.len() > 64)
                    {
                        return Err(format!(
                            "flow.steps[{i}]: language and voice have 1 to 64 characters"
                        ));
                    }
                    if text.trim().is_empty() || text.chars().count() > MAX_TEXT {
                        return Err(format!(
                            "flow.steps[{i}].text needs 1 to {MAX_TEXT} characters"
                        ));
                    }
                }
                Step::Pause { seconds } => {
                    if !(1..=60).contains(seconds) {
                        return Err(format!("flow.steps[{i}].seconds must be 1 to 60"));
                    }
                }
                Step::Hangup => {}
            }
        }
        if total > MAX_TEXT {
            return Err(format!(
                "flow.steps: all texts together may have {MAX_TEXT} characters (& < > and quotes count as 6)"
            ));
        }
        if document > MAX_DOCUMENT {
            return Err(format!(
                "flow.steps: with their languages and voices the steps take {document} characters as a document, more than {MAX_DOCUMENT}"
            ));
        }
        Ok(())
    }
}

/// The characters a text takes in a carrier's XML document.
fn written(text: &str) -> usize {
    let special = |c: &char| matches!(c, '&' | '<' | '>' | '"' | '\'');
    text.chars().count() + 5 * text.chars().filter(special).count()
}
