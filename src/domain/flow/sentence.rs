//! What a call says by itself, in the language of its flow; English where we have no other.

/// What is said, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sentence {
    /// Something failed on our side; the call ends.
    Apology,
    /// The do-not-call entry is written.
    OptedOut,
    /// It could not be written yet.
    NotYetOptedOut,
}

impl Sentence {
    /// The words in `language`, and the tag to speak them with.
    #[must_use]
    pub fn said(self, language: Option<&str>) -> (&'static str, String) {
        let tag = language.unwrap_or("en-US");
        let main = tag.split(['-', '_']).next().unwrap_or(tag);
        let words = match main.to_ascii_lowercase().as_str() {
            "en" => Some(self.english()),
            "de" => Some(self.german()),
            "fr" => Some(self.french()),
            "es" => Some(self.spanish()),
            "it" => Some(self.italian()),
            "hi" => Some(self.hindi()),
            _ => None,
        };
        match words {
            Some(words) => (words, tag.to_owned()),
            None => (self.english(), "en-US".to_owned()),
        }
    }

    const fn english(self) -> &'static str {
        match self {
            Self::Apology => "We are sorry, something went wrong on our side. Goodbye.",
            Self::OptedOut => "You will not be called again. Goodbye.",
            Self::NotYetOptedOut => {
                "We heard your wish, but could not record it yet. We will keep trying. Goodbye."
            }
        }
    }

    const fn german(self) -> &'static str {
        match self {
            Self::Apology => "Bei uns ist leider ein Fehler aufgetreten. Auf Wiederhören.",
            Self::OptedOut => "Sie werden nicht mehr angerufen. Auf Wiederhören.",
            Self::NotYetOptedOut => {
                "Wir haben Ihren Wunsch gehört, konnten ihn aber noch nicht speichern. Wir versuchen es weiter. Auf Wiederhören."
            }
        }
    }

    const fn french(self) -> &'static str {
        match self {
            Self::Apology => {
                "Nous sommes désolés, un problème est survenu de notre côté. Au revoir."
            }
            Self::OptedOut => "Vous ne serez plus appelé. Au revoir.",
            Self::NotYetOptedOut => {
                "Nous avons entendu votre demande, mais n'avons pas encore pu l'enregistrer. Nous continuons d'essayer. Au revoir."
            }
        }
    }

    const fn spanish(self) -> &'static str {
        match self {
            Self::Apology => "Lo sentimos, se ha producido un error por nuestra parte. Adiós.",
            Self::OptedOut => "No le volveremos a llamar. Adiós.",
            Self::NotYetOptedOut => {
                "Hemos oído su petición, pero todavía no hemos podido guardarla. Seguiremos intentándolo. Adiós."
            }
        }
    }

    const fn italian(self) -> &'static str {
        match self {
            Self::Apology => "Siamo spiacenti, si è verificato un problema. Arrivederci.",
            Self::OptedOut => "Non sarà più chiamato. Arrivederci.",
            Self::NotYetOptedOut => {
                "Abbiamo sentito la sua richiesta, ma non abbiamo ancora potuto salvarla. Continueremo a provare. Arrivederci."
            }
        }
    }

    const fn hindi(self) -> &'static str {
        match self {
            Self::Apology => "क्षमा करें, हमारी ओर से कोई त्रुटि हुई है। नमस्ते।",
            Self::OptedOut => "आपको दोबारा कॉल नहीं किया जाएगा। नमस्ते।",
            Self::NotYetOptedOut => {
                "हमने आपका अनुरोध सुना, पर अभी दर्ज नहीं कर सके। हम प्रयास करते रहेंगे। नमस्ते।"
            }
        }
    }
}
