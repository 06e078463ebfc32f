//! How many memory modules there are.

use crate::environment::{Root, memory_bytes};

const GIB: u64 = 1 << 30;

/// A number of modules and where it is from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Modules {
    pub count: u32,
    pub told_by: String,
}

/// The configuration, else the firmware's table, else the memory controller, else the size.
pub(super) fn count(root: &Root, configured: Option<u32>) -> Result<Modules, String> {
    let told = |count, by: &str| Modules {
        count,
        told_by: by.to_owned(),
    };
    if let Some(count) = configured {
        return Ok(told(
            count,
            "the configuration (power_model.memory_modules)",
        ));
    }
    if let Ok(table) = root.read_bytes("sys/firmware/dmi/tables/DMI")
        && let Some(count) = in_dmi(&table)
    {
        return Ok(told(count, "the firmware's table (DMI)"));
    }
    if let Some(count) = in_edac(root) {
        return Ok(told(count, "the memory controller (EDAC)"));
    }
    let bytes = memory_bytes(root)?;
    let (count, module) = from_size(bytes);
    Ok(Modules {
        count,
        told_by: format!(
            "the size, {:.0} GiB at an assumed {module} GiB a module: an estimate",
            bytes as f64 / GIB as f64
        ),
    })
}

/// Modules in use, from the SMBIOS structures of type 17 ("memory device").
fn in_dmi(table: &[u8]) -> Option<u32> {
    let mut rest = table;
    let mut count = 0;
    // A structure: type, length of the formatted part, handle; then strings up to two zeros.
    while let [kind, length, ..] = *rest {
        let length = usize::from(length);
        if length < 4 {
            break;
        }
        let (Some(formatted), Some(strings)) = (rest.get(..length), rest.get(length..)) else {
            break;
        };
        // Size at 0x0C: 0 is an empty slot, 0xFFFF is not known.
        if kind == 17
            && let Some([low, high]) = formatted.get(0x0C..0x0E)
            && !matches!(u16::from_le_bytes([*low, *high]), 0 | 0xFFFF)
        {
            count += 1;
        }
        let Some(end) = strings.windows(2).position(|pair| pair == [0, 0]) else {
            break;
        };
        rest = strings.get(end + 2..).unwrap_or_default();
    }
    (count > 0).then_some(count)
}

fn in_edac(root: &Root) -> Option<u32> {
    const FOLDER: &str = "sys/devices/system/edac/mc";
    let mut count = 0;
    for controller in root.names(FOLDER) {
        for dimm in root.names(format!("{FOLDER}/{controller}")) {
            let size = format!("{FOLDER}/{controller}/{dimm}/size");
            let named = dimm.starts_with("dimm") || dimm.starts_with("rank");
            if named && root.read_u64(size).is_ok_and(|mib| mib > 0) {
                count += 1;
            }
        }
    }
    (count > 0).then_some(count)
}

/// Count and size in GiB of the modules that people usually put together: 8 GiB up to 32,
/// 16 up to 128, 32 up to 512, else 64; in pairs.
fn from_size(bytes: u64) -> (u32, u64) {
    // The kernel keeps a part for itself: 31.2 GiB are 32.
    let gib = bytes.div_ceil(GIB).max(1);
    let module = match gib {
        ..=32 => 8,
        33..=128 => 16,
        129..=512 => 32,
        _ => 64,
    };
    let count = gib.div_ceil(module);
    let paired = if count > 1 {
        count.next_multiple_of(2)
    } else {
        count
    };
    (u32::try_from(paired).unwrap_or(u32::MAX), module)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]

    use std::fs;

    use proptest::prelude::*;

    use super::*;

    fn device(size: u16) -> Vec<u8> {
        let mut bytes = vec![0u8; 0x22];
        bytes[0] = 17;
        bytes[1] = 0x22;
        bytes[0x0C..0x0E].copy_from_slice(&size.to_le_bytes());
        bytes.extend_from_slice(b"DIMM A1\0Samsung\0\0");
        bytes
    }

    #[test]
    fn the_firmwares_table_is_counted_without_empty_slots() {
        let mut table = vec![0, 4, 0, 0, 0, 0];
        for size in [0x4000, 0, 0x7FFF, 0xFFFF, 0x4000] {
            table.extend(device(size));
        }
        table.extend([127, 4, 0, 0, 0, 0]);
        assert_eq!(in_dmi(&table), Some(3));
        assert_eq!(in_dmi(&[]), None);
    }

    #[test]
    fn the_best_source_is_taken_and_told() {
        let dir = tempfile::tempdir().unwrap();
        let root = Root::at(dir.path());
        assert!(count(&root, None).is_err_and(|why| why.contains("proc/meminfo")));

        fs::create_dir_all(dir.path().join("proc")).unwrap();
        fs::write(
            dir.path().join("proc/meminfo"),
            "MemTotal:       32712345 kB\n",
        )
        .unwrap();
        let told = count(&root, None).unwrap();
        assert_eq!(told.count, 4);
        assert!(told.told_by.contains("estimate"), "{told:?}");

        for (dimm, size) in [("dimm0", "16384"), ("dimm1", "16384"), ("dimm2", "0")] {
            let folder = dir.path().join("sys/devices/system/edac/mc/mc0").join(dimm);
            fs::create_dir_all(&folder).unwrap();
            fs::write(folder.join("size"), size).unwrap();
        }
        assert_eq!(count(&root, None).unwrap().count, 2);

        let dmi = dir.path().join("sys/firmware/dmi/tables");
        fs::create_dir_all(&dmi).unwrap();
        fs::write(dmi.join("DMI"), device(0x2000)).unwrap();
        assert_eq!(count(&root, None).unwrap().count, 1);
        assert_eq!(count(&root, Some(12)).unwrap().count, 12);
    }

    proptest! {
        #[test]
        fn any_table_is_read_without_a_panic(table in prop::collection::vec(any::<u8>(), 0..400)) {
            let _ = in_dmi(&table);
        }

        #[test]
        fn the_estimate_holds_the_memory(gib in 1u64..8192) {
            let (count, module) = from_size(gib * GIB);
            prop_assert!(u64::from(count) * module >= gib);
            prop_assert!(count == 1 || count % 2 == 0);
        }
    }
}
