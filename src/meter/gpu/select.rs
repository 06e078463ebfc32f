//! Which GPUs are meant.

use super::Gpu;

/// The chosen GPUs, as positions in `gpus`, and what was asked for in vain.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Selection {
    pub chosen: Vec<usize>,
    pub unknown: Vec<String>,
}

/// `visible` is CUDA_VISIBLE_DEVICES: indices or UUIDs (or their beginnings), none where it is
/// empty, all where it is not set. `wanted` counts in what is visible, as the engine does.
///
/// CUDA ends the list at the first entry that it does not know; so do we. An index is taken in
/// the order of the PCI bus; CUDA does so with CUDA_DEVICE_ORDER=PCI_BUS_ID, and on machines
/// with GPUs of one kind.
pub(crate) fn select(gpus: &[Gpu], visible: Option<&str>, wanted: &[u32]) -> Selection {
    let mut selection = Selection::default();
    let mut seen: Vec<usize> = Vec::new();
    match visible {
        None => seen.extend(0..gpus.len()),
        Some(list) => {
            for entry in list.split(',').map(str::trim).filter(|e| !e.is_empty()) {
                match position(gpus, entry) {
                    Some(position) if !seen.contains(&position) => seen.push(position),
                    Some(_) => {}
                    None => {
                        if !matches!(entry, "-1" | "NoDevFiles" | "none" | "void") {
                            selection
                                .unknown
                                .push(format!("{entry} (CUDA_VISIBLE_DEVICES)"));
                        }
                        break;
                    }
                }
            }
        }
    }
    if wanted.is_empty() {
        selection.chosen = seen;
        return selection;
    }
    for index in wanted {
        let position = usize::try_from(*index).ok().and_then(|i| seen.get(i));
        match position {
            Some(position) if !selection.chosen.contains(position) => {
                selection.chosen.push(*position);
            }
            Some(_) => {}
            None => selection.unknown.push(format!("{index} (gpus)")),
        }
    }
    selection
}

fn position(gpus: &[Gpu], entry: &str) -> Option<usize> {
    if let Ok(index) = entry.parse::<u32>() {
        return gpus.iter().position(|gpu| gpu.index == index);
    }
    // An instance: the GPU that it is part of cannot be told from its name.
    if !entry.starts_with("GPU-") {
        return None;
    }
    let mut matching = gpus
        .iter()
        .enumerate()
        .filter(|(_, gpu)| gpu.uuid.starts_with(entry));
    let (position, _) = matching.next()?;
    // A beginning that fits two names neither.
    matching.next().is_none().then_some(position)
}

#[cfg(test)]
mod tests {
    use super::super::fake::gpu;
    use super::*;

    #[test]
    fn what_cuda_sees_and_the_configuration_wants_is_chosen() {
        let gpus = [gpu(0), gpu(1), gpu(2), gpu(3)];
        let chosen = |visible, wanted: &[u32]| select(&gpus, visible, wanted).chosen;
        assert_eq!(chosen(None, &[]), [0, 1, 2, 3]);
        assert_eq!(chosen(None, &[2]), [2]);
        assert_eq!(chosen(Some("3,1"), &[]), [3, 1]);
        assert_eq!(
            chosen(Some("3, 1"), &[1]),
            [1],
            "an index counts in what is visible"
        );
        assert_eq!(chosen(Some("GPU-2, 2"), &[]), [2]);
        for none in ["", "-1", "NoDevFiles"] {
            assert_eq!(select(&gpus, Some(none), &[]), Selection::default());
        }
    }

    #[test]
    fn what_is_not_there_is_told() {
        let gpus = [gpu(0), gpu(1)];
        let selection = select(&gpus, Some("0,7,1"), &[0, 1]);
        assert_eq!(selection.chosen, [0]);
        assert_eq!(selection.unknown, ["7 (CUDA_VISIBLE_DEVICES)", "1 (gpus)"]);
        for odd in ["GPU-", "MIG-1", "GPU-9", "x", "99999999999999999999"] {
            assert!(select(&gpus, Some(odd), &[]).chosen.is_empty(), "{odd}");
        }
    }
}
