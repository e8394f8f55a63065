//! Builds the program of the mode `dr` for the kernel's virtual machine, when that is wanted.

use std::path::Path;
use std::process::{Command, exit};

const PROGRAM: &str = "bpf/forward.bpf.c";
const LAYOUT: &str = "bpf/layout.h";

fn main() {
    for file in ["build.rs", PROGRAM, LAYOUT] {
        println!("cargo::rerun-if-changed={file}");
    }
    println!("cargo::rerun-if-env-changed=CLANG");
    if std::env::var_os("CARGO_FEATURE_DR").is_none() {
        return;
    }
    let folder = std::env::var_os("OUT_DIR").expect("cargo sets it");
    let clang = std::env::var("CLANG").unwrap_or_else(|_| "clang".into());
    let built = Command::new(&clang)
        // `-g`: what the maps hold is written in the debugging information.
        .args(["-O2", "-g", "-Wall", "-Wextra", "-Werror", "-target", "bpf"])
        .arg("-c")
        .arg(PROGRAM)
        .arg("-o")
        .arg(Path::new(&folder).join("forward.bpf.o"))
        .status();
    let mistake = match built {
        Ok(status) if status.success() => return,
        Ok(status) => format!("{clang} ended with {status} on l4/{PROGRAM}"),
        Err(error) => format!(
            "{clang} cannot be run ({error}): the mode `dr` of the L4 balancer needs it (Debian: apt-get install \
             clang; another path: CLANG=...). Without the feature `dr` it is not needed"
        ),
    };
    println!("cargo::error={mistake}");
    exit(1);
}
