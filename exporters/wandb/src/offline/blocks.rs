//! The framing of a `.wandb` file, which is that of a LevelDB log with another checksum.

/// `:W&B`, 0xBEE1 in little endian, version 0.
const HEADER: [u8; 7] = [b':', b'W', b'&', b'B', 0xE1, 0xBE, 0];
const BLOCK: u64 = 32 << 10;
/// CRC-32, length and type.
const CHUNK_HEADER: usize = 7;

const FULL: u8 = 1;
const FIRST: u8 = 2;
const MIDDLE: u8 = 3;
const LAST: u8 = 4;

/// Bytes that are to be appended to a file which has some already.
#[derive(Debug)]
pub(super) struct Blocks {
    /// Length of the file before them.
    start: u64,
    pub bytes: Vec<u8>,
}

impl Blocks {
    /// For a file of this length.
    pub fn at(start: u64) -> Self {
        let bytes = match start {
            0 => HEADER.to_vec(),
            _ => Vec::new(),
        };
        Self { start, bytes }
    }

    /// Length of the file after them.
    pub fn end(&self) -> u64 {
        self.start + self.bytes.len() as u64
    }

    pub fn push(&mut self, payload: &[u8]) {
        let mut left = payload;
        let mut begun = false;
        loop {
            let room = self.room();
            let (chunk, rest) = left.split_at(left.len().min(room));
            let kind = match (begun, rest.is_empty()) {
                (false, true) => FULL,
                (false, false) => FIRST,
                (true, false) => MIDDLE,
                (true, true) => LAST,
            };
            self.chunk(kind, chunk);
            if rest.is_empty() {
                return;
            }
            (left, begun) = (rest, true);
        }
    }

    /// For a chunk's content in this block; goes to the next where not even the header
    /// of a chunk has room.
    fn room(&mut self) -> usize {
        let left = |end: u64| (BLOCK - end % BLOCK) as usize;
        let mut room = left(self.end());
        if room < CHUNK_HEADER {
            self.bytes.resize(self.bytes.len() + room, 0);
            room = left(self.end());
        }
        room - CHUNK_HEADER
    }

    fn chunk(&mut self, kind: u8, content: &[u8]) {
        let mut sum = crc32fast::Hasher::new();
        sum.update(&[kind]);
        sum.update(content);
        self.bytes.extend(sum.finalize().to_le_bytes());
        // a block is shorter than 65536 bytes
        self.bytes.extend((content.len() as u16).to_le_bytes());
        self.bytes.push(kind);
        self.bytes.extend(content);
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use proptest::prelude::*;

    use super::{BLOCK, Blocks, HEADER};

    /// The payloads of a whole file, as LevelDB's log format says they are read.
    fn read(file: &[u8]) -> Vec<Vec<u8>> {
        assert_eq!(file[..7], HEADER);
        let (mut at, mut payloads, mut part) = (7, Vec::new(), Vec::new());
        while at < file.len() {
            let left = BLOCK as usize - at % BLOCK as usize;
            if left < 7 {
                assert!(file[at..at + left].iter().all(|byte| *byte == 0));
                at += left;
                continue;
            }
            let sum = u32::from_le_bytes(file[at..at + 4].try_into().unwrap());
            let length = usize::from(u16::from_le_bytes([file[at + 4], file[at + 5]]));
            let kind = file[at + 6];
            assert!(7 + length <= left, "a chunk stays in its block");
            assert_eq!(crc32fast::hash(&file[at + 6..at + 7 + length]), sum);
            part.extend(&file[at + 7..at + 7 + length]);
            if kind == 1 || kind == 4 {
                payloads.push(std::mem::take(&mut part));
            }
            at += 7 + length;
        }
        assert!(part.is_empty());
        payloads
    }

    /// By zlib's CRC-32 in Python: `zlib.crc32(b"\x01abc")`.
    #[test]
    fn a_chunk_is_written_as_the_format_says() {
        let mut blocks = Blocks::at(0);
        blocks.push(b"abc");
        let mut expected = HEADER.to_vec();
        expected.extend(ABC.to_le_bytes());
        expected.extend([3, 0, 1]);
        expected.extend(b"abc");
        assert_eq!(blocks.bytes, expected);
    }

    const ABC: u32 = 0x539D_20A9;

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]
        /// However the payloads are cut into appends, the file is the same, and reads back.
        #[test]
        fn what_is_appended_reads_back(
            lengths in prop::collection::vec(prop_oneof![0_usize..40, 32_740_usize..32_780, 60_000_usize..140_000], 1..12),
            cut in 0_usize..12,
        ) {
            let payloads: Vec<Vec<u8>> = lengths.iter().enumerate()
                .map(|(n, length)| (0..*length).map(|i| (i + n) as u8).collect())
                .collect();
            let mut whole = Blocks::at(0);
            payloads.iter().for_each(|payload| whole.push(payload));
            prop_assert_eq!(read(&whole.bytes), payloads.clone());
            let (before, after) = payloads.split_at(cut.min(payloads.len()));
            let mut first = Blocks::at(0);
            before.iter().for_each(|payload| first.push(payload));
            let mut second = Blocks::at(first.end());
            after.iter().for_each(|payload| second.push(payload));
            let mut file = first.bytes;
            file.extend(second.bytes);
            prop_assert_eq!(file, whole.bytes);
        }
    }
}
