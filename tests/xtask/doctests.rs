//! Whether the workspace has any documentation test: nextest runs none, and `cargo test --doc` links the whole
//! workspace once more only to say "0 passed".

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

/// Words after the fence that make a block something else than Rust to run or compile.
const NOT_A_TEST: [&str; 10] = [
    "text", "ignore", "json", "toml", "sh", "console", "yaml", "csv", "xml", "http",
];

/// Looks through the library crates below `folder`.
pub(crate) fn exist_below(folder: &Path) -> Result<bool> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        let found = if path.is_dir() {
            !path.ends_with("node_modules") && exist_below(&path)?
        } else {
            path.extension().is_some_and(|extension| extension == "rs")
                && has_doctest(
                    &fs::read_to_string(&path)
                        .with_context(|| format!("cannot read {}", path.display()))?,
                )
        };
        if found {
            return Ok(true);
        }
    }
    Ok(false)
}

fn has_doctest(source: &str) -> bool {
    let mut inside = false;
    for line in source.lines() {
        let line = line.trim_start();
        let Some(text) = line
            .strip_prefix("///")
            .or_else(|| line.strip_prefix("//!"))
        else {
            inside = false;
            continue;
        };
        let Some(info) = text.trim().strip_prefix("```") else {
            continue;
        };
        if !inside
            && !info
                .split([',', ' '])
                .any(|word| NOT_A_TEST.contains(&word))
        {
            return true;
        }
        inside = !inside;
    }
    false
}

#[cfg(test)]
mod tests {
    use super::has_doctest;

    #[test]
    fn rust_blocks_are_tests() {
        assert!(has_doctest(
            "/// Adds.\n/// ```\n/// assert_eq!(1 + 1, 2);\n/// ```\nfn f() {}"
        ));
        assert!(has_doctest("//! ```no_run\n//! f();\n//! ```"));
    }

    #[test]
    fn other_blocks_and_their_closing_fences_are_not() {
        assert!(!has_doctest("/// ```text\n/// a -> b\n/// ```\nfn f() {}"));
        assert!(!has_doctest(
            "/// ```rust,ignore\n/// f();\n/// ```\nfn f() {}"
        ));
        assert!(!has_doctest("// ```\n// not documentation\n// ```"));
    }
}
