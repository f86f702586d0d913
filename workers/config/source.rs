//! Where variables come from: the environment, or a map in tests.

/// A source of variables.
pub(crate) trait Source {
    /// A variable, if it is set and not empty.
    fn get(&self, name: &str) -> Option<String>;

    /// A secret: `<NAME>`, or the contents of the file that `<NAME>_FILE` names.
    ///
    /// # Errors
    /// The file cannot be read, or both are set.
    fn secret(&self, name: &str) -> Result<Option<String>, String> {
        let file_name = format!("{name}_FILE");
        match (self.get(name), self.get(&file_name)) {
            (Some(_), Some(_)) => Err(format!("{name} and {file_name} are both set; set one")),
            (Some(value), None) => Ok(Some(value)),
            (None, Some(path)) => match std::fs::read_to_string(&path) {
                Ok(text) if text.trim().is_empty() => Err(format!("{file_name}: {path} is empty")),
                Ok(text) => Ok(Some(text.trim().to_owned())),
                Err(error) => Err(format!("{file_name}: {path} cannot be read: {error}")),
            },
            (None, None) => Ok(None),
        }
    }
}

/// The environment of this process.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Environment;

impl Source for Environment {
    #[expect(
        clippy::disallowed_methods,
        reason = "the one reader of the environment"
    )]
    fn get(&self, name: &str) -> Option<String> {
        std::env::var(name).ok().filter(|value| !value.is_empty())
    }
}

#[cfg(test)]
impl Source for std::collections::BTreeMap<String, String> {
    fn get(&self, name: &str) -> Option<String> {
        self.get(name).filter(|value| !value.is_empty()).cloned()
    }
}
