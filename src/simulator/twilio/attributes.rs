//! The attributes of an element, and what values they may have.

use std::time::Duration;

use super::document::{Fault, Target, invalid};
use crate::xml::Element;

/// The attributes of an element, taken one by one: what is left over is unknown.
pub(super) struct Attributes<'a> {
    of: &'a Element,
    left: Vec<&'a (String, String)>,
}

impl<'a> Attributes<'a> {
    pub(super) fn new(of: &'a Element) -> Self {
        let left = of.attributes.iter().collect();
        Self { of, left }
    }

    pub(super) fn take(&mut self, name: &str) -> Option<&'a str> {
        let place = self.left.iter().position(|(key, _)| key == name)?;
        Some(self.left.remove(place).1.as_str())
    }

    pub(super) fn bad(&self, name: &str, value: &str) -> Fault {
        invalid(format!("{} {name}=\"{value}\" is not valid", self.of.name))
    }

    pub(super) fn number(
        &mut self,
        name: &str,
        default: u32,
        (low, high): (u32, u32),
    ) -> Result<u32, Fault> {
        let Some(text) = self.take(name) else {
            return Ok(default);
        };
        let number = text.parse().ok().filter(|n| (low..=high).contains(n));
        number.ok_or_else(|| self.bad(name, text))
    }

    pub(super) fn seconds(
        &mut self,
        name: &str,
        default: u32,
        range: (u32, u32),
    ) -> Result<Duration, Fault> {
        let number = self.number(name, default, range)?;
        Ok(Duration::from_secs(number.into()))
    }

    pub(super) fn one_of(&mut self, name: &str, words: &[&str]) -> Result<Option<&'a str>, Fault> {
        match self.take(name) {
            Some(text) if !words.contains(&text) => Err(self.bad(name, text)),
            other => Ok(other),
        }
    }

    pub(super) fn yes(&mut self, name: &str, default: bool) -> Result<bool, Fault> {
        let word = self.one_of(name, &["true", "false"])?;
        Ok(word.map_or(default, |word| word == "true"))
    }

    pub(super) fn target(&mut self) -> Result<Option<Target>, Fault> {
        let post = self.one_of("method", &["POST", "GET"])? != Some("GET");
        let url = self.take("action").map(str::to_owned);
        Ok(url.map(|url| Target { url, post }))
    }

    pub(super) fn done(self) -> Result<(), Fault> {
        match self.left.first() {
            None => Ok(()),
            Some((key, _)) => Err(invalid(format!("{} has no attribute {key}", self.of.name))),
        }
    }
}
