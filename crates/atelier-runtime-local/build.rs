//! Builds the init as a static program, so that this crate can carry it inside.
//!
//! A container's first process has to run in any image, also in one with another C library or none. The nested build
//! uses the same lock file, works offline, and has a target folder of its own, so that it cannot wait for the outer
//! build that waits for it.

use std::env;
use std::error::Error;
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::process::Command;

fn main() -> Result<(), Box<dyn Error>> {
    tell_who_builds()?;
    let here = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?);
    let out = PathBuf::from(env::var("OUT_DIR")?);
    let target = env::var("TARGET")?;
    let init = here.join("../atelier-init");
    for watched in ["src", "Cargo.toml"] {
        println!("cargo::rerun-if-changed={}", init.join(watched).display());
    }
    let status = Command::new(env::var("CARGO")?)
        .args(["build", "--release", "--locked", "--offline", "--quiet", "--bin", "atelier-init"])
        .args(["--target", &target])
        .arg("--target-dir")
        .arg(out.join("init"))
        .arg("--manifest-path")
        .arg(init.join("Cargo.toml"))
        .args(["--config", "profile.release.panic='abort'", "--config", "profile.release.strip=true"])
        .args(["--config", "profile.release.opt-level='s'", "--config", "profile.release.debug=false"])
        .envs([("CARGO_ENCODED_RUSTFLAGS", "-Ctarget-feature=+crt-static")])
        // What belongs to the outer build: its wrappers (clippy is one) and flags.
        .env_remove("RUSTC_WRAPPER")
        .env_remove("RUSTC_WORKSPACE_WRAPPER")
        .env_remove("RUSTC")
        .env_remove("RUSTFLAGS")
        .env_remove("CARGO_TARGET_DIR")
        .env_remove("CARGO_BUILD_TARGET")
        .status()?;
    if !status.success() {
        return Err("the init could not be built".into());
    }
    let program = out.join("init").join(target).join("release/atelier-init");
    println!("cargo::rustc-env=ATELIER_INIT={}", program.display());
    Ok(())
}

/// Tests that make containers need root. They are left out by name where they cannot run, so that they are counted as
/// left out and not as passed.
fn tell_who_builds() -> std::io::Result<()> {
    println!("cargo::rustc-check-cfg=cfg(as_root)");
    if fs::metadata("/proc/self")?.uid() == 0 {
        println!("cargo::rustc-cfg=as_root");
    }
    Ok(())
}
