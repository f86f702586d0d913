//! Voices and languages by Telnyx's names.

/// The languages that a voice without a name speaks, by Telnyx's description of `speak`.
const LANGUAGES: [&str; 29] = [
    "arb",
    "cmn-CN",
    "cy-GB",
    "da-DK",
    "de-DE",
    "en-US",
    "en-AU",
    "en-GB",
    "en-GB-WLS",
    "en-IN",
    "es-ES",
    "es-MX",
    "es-US",
    "fr-FR",
    "fr-CA",
    "hi-IN",
    "is-IS",
    "it-IT",
    "ja-JP",
    "ko-KR",
    "nb-NO",
    "nl-NL",
    "pl-PL",
    "pt-PT",
    "pt-BR",
    "ro-RO",
    "ru-RU",
    "sv-SE",
    "tr-TR",
];

/// A voice by its name there: `Provider.Model.Id`. A flow made for another carrier may name
/// `Polly.Amy`, which is Amazon's here, or a voice that Telnyx does not have.
pub(super) fn named(voice: &str) -> Option<String> {
    let (provider, _) = voice.split_once('.')?;
    Some(if provider == "Polly" {
        format!("AWS.{voice}")
    } else {
        voice.to_owned()
    })
}

/// The published tag for a language tag: the same, else the first of the same language.
pub(super) fn spoken(tag: &str) -> &'static str {
    let main = |tag: &str| tag.split('-').next().unwrap_or(tag).to_ascii_lowercase();
    let wanted = match main(tag).as_str() {
        "ar" => "arb".to_owned(),
        "zh" => "cmn".to_owned(),
        "no" => "nb".to_owned(),
        other => other.to_owned(),
    };
    let same = LANGUAGES.iter().find(|l| l.eq_ignore_ascii_case(tag));
    let alike = || LANGUAGES.iter().find(|l| main(l) == wanted);
    same.or_else(alike).copied().unwrap_or("en-US")
}
