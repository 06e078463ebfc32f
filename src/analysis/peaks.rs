//! Published dense peaks of accelerators (makers' data sheets, SXM versions, without
//! sparsity).

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Peak {
    /// FLOP/s (or integer operations) of the compute type; `None` where the hardware has no such path.
    pub flops: Option<f64>,
    /// Memory bandwidth, bytes/s.
    pub bytes: f64,
}

struct Row {
    /// Found in the device's name, in lower case.
    name: &'static str,
    bytes: f64,
    /// TFLOP/s by compute type.
    tera: &'static [(&'static [&'static str], f64)],
}

const HALF: &[&str] = &["f16", "fp16", "float16", "bf16", "bfloat16"];
const EIGHT: &[&str] = &["f8", "fp8", "float8", "e4m3", "int8", "i8", "q8"];
const TF32: &[&str] = &["tf32"];
const HOPPER: &[(&[&str], f64)] = &[(HALF, 989.4), (EIGHT, 1978.9), (TF32, 494.7)];
const A100: &[(&[&str], f64)] = &[
    (HALF, 312.0),
    (&["int8", "i8"], 624.0),
    (&["int4", "i4"], 1248.0),
    (TF32, 156.0),
];

const ROWS: &[Row] = &[
    Row {
        name: "h200",
        bytes: 4.8e12,
        tera: HOPPER,
    },
    Row {
        name: "h100 80gb hbm3",
        bytes: 3.35e12,
        tera: HOPPER,
    },
    Row {
        name: "h100 sxm",
        bytes: 3.35e12,
        tera: HOPPER,
    },
    Row {
        name: "a100-sxm4-80gb",
        bytes: 2.04e12,
        tera: A100,
    },
    Row {
        name: "a100 80gb",
        bytes: 2.04e12,
        tera: A100,
    },
];

/// The peak of a device by its driver's name, for a compute type as the engine names it.
pub fn find(device: &str, compute_type: &str) -> Option<Peak> {
    let device = device.to_ascii_lowercase();
    let compute = compute_type.to_ascii_lowercase();
    // PCIe versions are slower, and not in the table.
    let row = ROWS
        .iter()
        .find(|row| device.contains(row.name) && !device.contains("pcie"))?;
    let tera = row
        .tera
        .iter()
        .find(|(types, _)| types.contains(&compute.as_str()));
    Some(Peak {
        flops: tera.map(|(_, tera)| tera * 1e12),
        bytes: row.bytes,
    })
}
