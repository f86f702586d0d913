//! Writes `schemas/` from the types: `cargo xtask schemas`.

fn main() -> anyhow::Result<()> {
    for (path, text) in dialfleet_tests::schemas::all() {
        let path = dialfleet_tests::schemas::folder().join(path);
        if let Some(parent) = path.parent() {
            std::fs::create_dir_all(parent)?;
        }
        std::fs::write(path, text)?;
    }
    Ok(())
}
