//! Installing Debian packages, for machines that have nothing yet.

use std::fs::{File, Permissions};
use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;

use anyhow::{Context, Result};

use crate::programs::{on_path, run_quietly};

/// Debian's maintainer scripts ask this program whether they may start a service; 101 is no.
const POLICY: &str = "/usr/sbin/policy-rc.d";

/// Installs packages with apt-get. Services in them are not started.
pub(crate) fn install(packages: &[&str]) -> Result<()> {
    // Two services are prepared at the same time, but there is one package database.
    static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
    let _turn = ONE_AT_A_TIME
        .lock()
        .expect("nothing panics while it holds this lock");

    let wanted = packages.join(" ");
    let hint = || {
        format!(
            "cannot install {wanted}: install it yourself (as root: `apt-get install {wanted}`)"
        )
    };
    on_path("apt-get")
        .context("this machine has no apt-get")
        .with_context(hint)?;
    eprintln!("xtask: installing {wanted} (apt-get)");
    let _no_services = NoServices::begin();
    run_quietly(apt_get().arg("update")).with_context(hint)?;
    run_quietly(
        apt_get()
            .args(["install", "-y", "--no-install-recommends"])
            .args(packages),
    )
    .with_context(hint)
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command
        .env("DEBIAN_FRONTEND", "noninteractive")
        // Another run, or the machine's own updates, may be installing right now.
        .args([
            "-o",
            "DPkg::Lock::Timeout=300",
            "-o",
            "APT::Get::Lock::Timeout=300",
            "-q",
        ])
        .stdin(std::process::Stdio::null());
    command
}

/// While it lives, installing a package starts no service. A policy that is already there is respected.
struct NoServices {
    ours: bool,
}

impl NoServices {
    fn begin() -> Self {
        // Not being allowed to write is no error: then apt-get will say so better than we can.
        let ours = File::create_new(POLICY).and_then(|mut file| {
            file.write_all(b"#!/bin/sh\nexit 101\n")?;
            file.set_permissions(Permissions::from_mode(0o755))
        });
        Self { ours: ours.is_ok() }
    }
}

impl Drop for NoServices {
    fn drop(&mut self) {
        if self.ours {
            let _ = std::fs::remove_file(Path::new(POLICY));
        }
    }
}
