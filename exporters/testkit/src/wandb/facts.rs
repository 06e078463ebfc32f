use std::collections::BTreeMap;

use super::World;

impl World {
    /// Without what the clock decides at the server's end. What came twice is there twice.
    pub(super) fn facts(&self) -> Vec<String> {
        let mut facts = Vec::new();
        for (id, run) in &self.runs {
            facts.push(format!("run {id} ended with {:?}", run.exit_code));
            let settings = run.settings.iter();
            facts.extend(settings.map(|(name, value)| format!("run {id} {name} = {value}")));
            let config = run.config.iter();
            facts.extend(config.map(|(key, value)| format!("run {id} config {key} = {value}")));
            for (file, lines) in &run.lines {
                let lines = lines.iter();
                facts.extend(lines.map(|(at, line)| format!("run {id} {file} {at}: {line}")));
            }
            for (name, bytes) in &run.files {
                let told = run.uploaded.contains(name);
                let md5 = super::md5(bytes);
                facts.push(format!("run {id} file {name} {md5} told {told}"));
            }
        }
        for artifact in self.artifacts.iter().filter(|artifact| artifact.committed) {
            let files: BTreeMap<_, _> = artifact
                .files
                .iter()
                .map(|(name, file)| (name, &file.md5))
                .collect();
            facts.push(format!(
                "artifact {} {} of {} {} {files:?}",
                artifact.collection, artifact.kind, artifact.run, artifact.digest
            ));
        }
        facts.extend(
            self.complaints
                .iter()
                .map(|what| format!("complaint: {what}")),
        );
        facts.sort_unstable();
        facts
    }
}
