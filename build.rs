//! Tells the binary what it was built from.

use std::path::Path;
use std::process::Command;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=Cargo.lock");
    let candle = std::fs::read_to_string("Cargo.lock")
        .ok()
        .and_then(|lock| locked_version(&lock, "candle-core"));
    set("LEM_BUILT_CANDLE", candle);
    #[cfg(feature = "torch")]
    torch_shim();
    set(
        "LEM_BUILT_RUSTC",
        std::env::var("RUSTC")
            .ok()
            .and_then(|rustc| output(&rustc, &["--version"])),
    );
    set("LEM_BUILT_TARGET", std::env::var("TARGET").ok());
    // A developer's build would be built again at each commit; its commit is not told.
    if std::env::var("PROFILE").is_ok_and(|profile| profile == "release") {
        for path in ["HEAD", "logs/HEAD"] {
            if let Some(file) = output("git", &["rev-parse", "--git-path", path])
                && Path::new(&file).exists()
            {
                println!("cargo::rerun-if-changed={file}");
            }
        }
        set(
            "LEM_BUILT_COMMIT",
            output(
                "git",
                &[
                    "describe",
                    "--always",
                    "--dirty",
                    "--abbrev=40",
                    "--exclude=*",
                ],
            ),
        );
    }
}

/// The C++ part of the torch engine, against the libtorch that tch was built with.
#[cfg(feature = "torch")]
fn torch_shim() {
    println!("cargo::rerun-if-changed=src/engine/torch/shim.cpp");
    println!("cargo::rerun-if-changed=src/engine/torch/shim.h");
    println!("cargo::rerun-if-env-changed=LIBTORCH");
    let Ok(libtorch) = std::env::var("LIBTORCH") else {
        println!(
            "cargo::error=the feature torch needs LIBTORCH: eval \"$(scripts/libtorch)\" prepares a libtorch and sets it"
        );
        return;
    };
    let include = Path::new(&libtorch).join("include");
    cc::Build::new()
        .cpp(true)
        .std("c++17")
        .warnings(false)
        .include(include.join("torch/csrc/api/include"))
        .include(include)
        .file("src/engine/torch/shim.cpp")
        .compile("lem_torch_shim");
}

fn set(name: &str, value: Option<String>) {
    if let Some(value) = value {
        println!("cargo::rustc-env={name}={value}");
    }
}

fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let output = Command::new(program).args(arguments).output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let line = text.lines().next()?.trim();
    (output.status.success() && !line.is_empty()).then(|| line.to_owned())
}

fn locked_version(lock: &str, package: &str) -> Option<String> {
    let name = format!("name = \"{package}\"");
    let (_, after) = lock.split_once(&name)?;
    let line = after
        .lines()
        .find_map(|line| line.strip_prefix("version = "))?;
    Some(line.trim_matches('"').to_owned())
}
