//! What somebody probably meant.

/// The candidate that is nearest to what was written, where one is near enough.
pub(crate) fn nearest<'a>(
    written: &str,
    candidates: impl IntoIterator<Item = &'a str>,
) -> Option<&'a str> {
    // Longer than any name of ours; the distance costs length times length.
    if written.len() > 200 {
        return None;
    }
    let written = plain(written);
    candidates
        .into_iter()
        .map(|candidate| (likeness(&written, &plain(candidate)), candidate))
        .filter(|(likeness, _)| *likeness >= 0.6)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map(|(_, candidate)| candidate)
}

/// Case and separators are no difference.
fn plain(name: &str) -> String {
    name.chars()
        .filter(|c| !matches!(c, '_' | '-' | ' '))
        .flat_map(char::to_lowercase)
        .collect()
}

fn likeness(written: &str, candidate: &str) -> f64 {
    let distance = strsim::normalized_damerau_levenshtein(written, candidate);
    // A word that was cut short: `temp` for `temperature`.
    let begins = written.len() >= 3 && candidate.starts_with(written);
    if begins { distance.max(0.61) } else { distance }
}

/// `a`, `a or b`, `a, b or c`.
pub(crate) fn any_of<S: AsRef<str>>(names: &[S]) -> String {
    let quoted: Vec<String> = names.iter().map(|n| format!("`{}`", n.as_ref())).collect();
    match quoted.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        [rest @ .., last] => format!("{} or {last}", rest.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::nearest;

    #[test]
    fn the_nearest_is_found_and_the_far_is_not_offered() {
        let keys = ["batch_size", "strategy", "temperature"];
        assert_eq!(nearest("batchsize", keys), Some("batch_size"));
        assert_eq!(nearest("Batch-Size", keys), Some("batch_size"));
        assert_eq!(nearest("temp", keys), Some("temperature"));
        assert_eq!(nearest("stratgey", keys), Some("strategy"));
        assert_eq!(nearest("gpu", keys), None);
        assert_eq!(nearest(&"x".repeat(1_000_000), keys), None);
    }
}
