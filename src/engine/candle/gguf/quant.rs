//! The tensor types of ggml, and how a block of each is taken apart.
//!
//! Every quantised type is the same thing in another wrapping: small integers in
//! groups of 16 or 32, where an element is `code · scale + min`. One decoder a type
//! gets to that form; everything after it knows only the form. Decoding is exact: the
//! products of a half-precision scale and a small integer fit in a float.

use half::f16;

/// Most elements in a block of any type.
pub const MAX_BLOCK: usize = 256;

/// A tensor type.
#[derive(Clone, Copy, Debug)]
pub struct GgmlType(&'static Entry);

impl PartialEq for GgmlType {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for GgmlType {}

#[derive(Debug)]
struct Entry {
    id: u32,
    name: &'static str,
    /// Elements in a block.
    elements: usize,
    bytes: usize,
    storage: Storage,
}

#[derive(Clone, Copy, Debug)]
pub enum Storage {
    F32,
    F16,
    Bf16,
    Quantised(Quantised),
}

#[derive(Clone, Copy, Debug)]
pub struct Quantised {
    /// Elements that share a scale: 16 or 32.
    pub group: usize,
    pub codes: Codes,
    pub decode: fn(&[u8], &mut Block),
}

/// The range of the codes, which decides how they are packed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Codes {
    /// 0 to 15, with a minimum.
    U4,
    /// 0 to 31, with a minimum.
    U5,
    /// -128 to 127, without one.
    I8,
}

/// A block taken apart.
#[derive(Clone, Debug)]
pub struct Block {
    /// Two's complement where the codes are signed.
    pub codes: [u8; MAX_BLOCK],
    pub scales: [f32; MAX_BLOCK / 16],
    pub mins: [f32; MAX_BLOCK / 16],
}

impl Default for Block {
    fn default() -> Self {
        Self {
            codes: [0; MAX_BLOCK],
            scales: [0.0; MAX_BLOCK / 16],
            mins: [0.0; MAX_BLOCK / 16],
        }
    }
}

const fn quantised(group: usize, codes: Codes, decode: fn(&[u8], &mut Block)) -> Storage {
    Storage::Quantised(Quantised {
        group,
        codes,
        decode,
    })
}

#[rustfmt::skip]
static TYPES: [Entry; 13] = [
    Entry { id: 0, name: "f32", elements: 1, bytes: 4, storage: Storage::F32 },
    Entry { id: 1, name: "f16", elements: 1, bytes: 2, storage: Storage::F16 },
    Entry { id: 30, name: "bf16", elements: 1, bytes: 2, storage: Storage::Bf16 },
    Entry { id: 2, name: "q4_0", elements: 32, bytes: 18, storage: quantised(32, Codes::U4, q4_0) },
    Entry { id: 3, name: "q4_1", elements: 32, bytes: 20, storage: quantised(32, Codes::U4, q4_1) },
    Entry { id: 6, name: "q5_0", elements: 32, bytes: 22, storage: quantised(32, Codes::U5, q5_0) },
    Entry { id: 7, name: "q5_1", elements: 32, bytes: 24, storage: quantised(32, Codes::U5, q5_1) },
    Entry { id: 8, name: "q8_0", elements: 32, bytes: 34, storage: quantised(32, Codes::I8, q8_0) },
    Entry { id: 10, name: "q2_k", elements: 256, bytes: 84, storage: quantised(16, Codes::U4, q2_k) },
    Entry { id: 11, name: "q3_k", elements: 256, bytes: 110, storage: quantised(16, Codes::U4, q3_k) },
    Entry { id: 12, name: "q4_k", elements: 256, bytes: 144, storage: quantised(32, Codes::U4, q4_k) },
    Entry { id: 13, name: "q5_k", elements: 256, bytes: 176, storage: quantised(32, Codes::U5, q5_k) },
    Entry { id: 14, name: "q6_k", elements: 256, bytes: 210, storage: quantised(16, Codes::I8, q6_k) },
];

impl GgmlType {
    pub fn from_id(id: u32) -> Option<Self> {
        TYPES.iter().find(|t| t.id == id).map(Self)
    }

    pub fn from_name(name: &str) -> Option<Self> {
        TYPES.iter().find(|t| t.name == name).map(Self)
    }

    pub fn names() -> String {
        TYPES.each_ref().map(|t| t.name).join(", ")
    }

    pub fn name(self) -> &'static str {
        self.0.name
    }

    pub fn block_elements(self) -> usize {
        self.0.elements
    }

    pub fn block_bytes(self) -> usize {
        self.0.bytes
    }

    pub fn storage(self) -> Storage {
        self.0.storage
    }
}

fn half_at(bytes: &[u8], at: usize) -> f32 {
    f16::from_le_bytes([bytes[at], bytes[at + 1]]).to_f32()
}

/// Low nibbles first, then the high ones.
fn nibbles(bytes: &[u8], codes: &mut [u8]) {
    let (low, high) = codes.split_at_mut(bytes.len());
    for ((byte, low), high) in bytes.iter().zip(low).zip(high) {
        *low = byte & 15;
        *high = byte >> 4;
    }
}

fn q4_0(bytes: &[u8], block: &mut Block) {
    let d = half_at(bytes, 0);
    nibbles(&bytes[2..18], &mut block.codes[..32]);
    block.scales[0] = d;
    block.mins[0] = -8.0 * d;
}

fn q4_1(bytes: &[u8], block: &mut Block) {
    nibbles(&bytes[4..20], &mut block.codes[..32]);
    block.scales[0] = half_at(bytes, 0);
    block.mins[0] = half_at(bytes, 2);
}

fn fifth_bits(bytes: &[u8], codes: &mut [u8]) {
    for (i, code) in codes[..32].iter_mut().enumerate() {
        *code |= (bytes[i / 8] >> (i % 8) & 1) << 4;
    }
}

fn q5_0(bytes: &[u8], block: &mut Block) {
    let d = half_at(bytes, 0);
    nibbles(&bytes[6..22], &mut block.codes[..32]);
    fifth_bits(&bytes[2..6], &mut block.codes);
    block.scales[0] = d;
    block.mins[0] = -16.0 * d;
}

fn q5_1(bytes: &[u8], block: &mut Block) {
    nibbles(&bytes[8..24], &mut block.codes[..32]);
    fifth_bits(&bytes[4..8], &mut block.codes);
    block.scales[0] = half_at(bytes, 0);
    block.mins[0] = half_at(bytes, 2);
}

fn q8_0(bytes: &[u8], block: &mut Block) {
    block.codes[..32].copy_from_slice(&bytes[2..34]);
    block.scales[0] = half_at(bytes, 0);
}

/// Element `i` of a block of 256 is in byte `i % 32` of its half's 32 bytes, at bits
/// `2 · (i % 128 / 32)`.
fn crumb(bytes: &[u8], i: usize) -> u8 {
    bytes[i / 128 * 32 + i % 32] >> (i % 128 / 32 * 2) & 3
}

fn q2_k(bytes: &[u8], block: &mut Block) {
    let (d, least) = (half_at(bytes, 80), half_at(bytes, 82));
    for (i, code) in block.codes.iter_mut().enumerate() {
        *code = crumb(&bytes[16..80], i);
    }
    for (g, packed) in bytes[..16].iter().enumerate() {
        block.scales[g] = d * f32::from(packed & 15);
        block.mins[g] = -(least * f32::from(packed >> 4));
    }
}

fn q3_k(bytes: &[u8], block: &mut Block) {
    let d = half_at(bytes, 108);
    for (i, code) in block.codes.iter_mut().enumerate() {
        let third = bytes[i % 32] >> (i / 32) & 1;
        *code = crumb(&bytes[32..96], i) | third << 2;
    }
    let packed = &bytes[96..108];
    for g in 0..16 {
        let low = packed[g % 8] >> (g / 8 * 4) & 15;
        let high = packed[8 + g % 4] >> (g / 4 * 2) & 3;
        let scale = d * (f32::from(low | high << 4) - 32.0);
        block.scales[g] = scale;
        block.mins[g] = -4.0 * scale;
    }
}

/// The eight 6-bit scales and minima of the 4- and 5-bit K types.
fn scale_and_min(packed: &[u8], g: usize) -> (f32, f32) {
    let (scale, min) = if g < 4 {
        (packed[g] & 63, packed[g + 4] & 63)
    } else {
        (
            packed[g + 4] & 15 | packed[g - 4] >> 6 << 4,
            packed[g + 4] >> 4 | packed[g] >> 6 << 4,
        )
    };
    (f32::from(scale), f32::from(min))
}

fn k_scales(bytes: &[u8], block: &mut Block) {
    let (d, least) = (half_at(bytes, 0), half_at(bytes, 2));
    for g in 0..8 {
        let (scale, min) = scale_and_min(&bytes[4..16], g);
        block.scales[g] = d * scale;
        block.mins[g] = -(least * min);
    }
}

fn q4_k(bytes: &[u8], block: &mut Block) {
    k_scales(bytes, block);
    for (bytes, codes) in bytes[16..144].chunks(32).zip(block.codes.chunks_mut(64)) {
        nibbles(bytes, codes);
    }
}

fn q5_k(bytes: &[u8], block: &mut Block) {
    k_scales(bytes, block);
    for (bytes, codes) in bytes[48..176].chunks(32).zip(block.codes.chunks_mut(64)) {
        nibbles(bytes, codes);
    }
    for (i, code) in block.codes.iter_mut().enumerate() {
        *code |= (bytes[16 + i % 32] >> (i / 32) & 1) << 4;
    }
}

fn q6_k(bytes: &[u8], block: &mut Block) {
    let d = half_at(bytes, 208);
    for (i, code) in block.codes.iter_mut().enumerate() {
        let (half, j) = (i / 128, i % 128);
        let low = bytes[half * 64 + j % 64] >> (j / 64 * 4) & 15;
        let high = crumb(&bytes[128..192], i);
        *code = (low | high << 4).wrapping_sub(32);
    }
    for g in 0..16 {
        block.scales[g] = d * f32::from(bytes[192 + g] as i8);
    }
}

impl Block {
    /// Appends the block's first `elements` elements as floats.
    pub fn floats(&self, kind: &Quantised, elements: usize, out: &mut Vec<f32>) {
        for (i, &code) in self.codes[..elements].iter().enumerate() {
            let g = i / kind.group;
            out.push(match kind.codes {
                Codes::I8 => f32::from(code as i8) * self.scales[g],
                Codes::U4 | Codes::U5 => f32::from(code) * self.scales[g] + self.mins[g],
            });
        }
    }
}
