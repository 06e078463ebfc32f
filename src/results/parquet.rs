//! `timeseries.parquet`: every sample, one a row.
//!
//! | column | type | what |
//! |---|---|---|
//! | source | text | the meter's id: `gpu0`, `cpu0`, `process` |
//! | metric | text | catalogue id: `sample.power` |
//! | attributes | text | further attributes as a JSON object, or null |
//! | how | text | `measured` or `modelled` |
//! | t_mono_ns | int64 | CLOCK_MONOTONIC |
//! | t_unix_ns | int64, timestamp | wall time by the nearest pair of both clocks; null where unknown |
//! | value | double | in the metric's unit; null where the sample was missed |
//! | cycle | int32 | null outside the cycles |
//! | phase | text | `prefill`, `decode`, `other` in a cycle, `baseline.loaded` … in a baseline, else null |
//!
//! Long form, because sources have different rhythms and a new metric is then no new
//! schema. Rows stand by source, metric and time; a row group has at most 256 Ki rows, and
//! only one is in memory.

use std::io::{self, Write};
use std::sync::Arc;

use parquet::basic::{Compression, ZstdLevel};
use parquet::data_type::{ByteArray, ByteArrayType, DataType, DoubleType, Int32Type, Int64Type};
use parquet::errors::ParquetError;
use parquet::file::properties::WriterProperties;
use parquet::file::writer::{SerializedFileWriter, SerializedRowGroupWriter};
use parquet::schema::parser::parse_message_type;

use crate::analysis::{ColumnSamples, PhaseWindows, RunData, SourceSamples, Window};

const ROWS: usize = 1 << 18;
const SCHEMA: &str = "message timeseries {
    required binary source (STRING);
    required binary metric (STRING);
    optional binary attributes (STRING);
    required binary how (STRING);
    required int64 t_mono_ns;
    optional int64 t_unix_ns (TIMESTAMP(NANOS, true));
    optional double value;
    optional int32 cycle;
    optional binary phase (STRING);
}";

/// Writes all samples of a run.
pub fn write(data: &RunData, to: impl Write + Send) -> io::Result<()> {
    try_write(data, to).map_err(io::Error::other)
}

fn try_write(data: &RunData, to: impl Write + Send) -> Result<(), ParquetError> {
    let schema = Arc::new(parse_message_type(SCHEMA)?);
    let properties = WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
        .set_created_by(concat!("lem ", env!("CARGO_PKG_VERSION")).into())
        .build();
    let mut writer = SerializedFileWriter::new(to, schema, Arc::new(properties))?;
    let places = Places::of(data);
    let mut rows = Rows::default();
    for (source, samples) in &data.samples {
        for column in &samples.columns {
            for row in 0..samples.t_ns.len() {
                rows.push(data, &places, source, samples, column, row);
                if rows.len() >= ROWS {
                    std::mem::take(&mut rows).write(&mut writer)?;
                }
            }
        }
    }
    if rows.len() > 0 {
        rows.write(&mut writer)?;
    }
    writer.close()?;
    Ok(())
}

/// Where in the run a time lies.
struct Places {
    /// In order: window, cycle, phase.
    windows: Vec<(Window, Option<i32>, ByteArray)>,
}

impl Places {
    fn of(data: &RunData) -> Self {
        let mut windows = Vec::new();
        for cycle in &data.cycles {
            let index = i32::try_from(cycle.index).ok();
            let mut add = |of: &[Window], phase: &'static str| {
                windows.extend(of.iter().map(|w| (*w, index, ByteArray::from(phase))));
            };
            match PhaseWindows::of(cycle) {
                Ok(phases) => {
                    add(&phases.prefill, "prefill");
                    add(&phases.decode, "decode");
                    add(&phases.rest_of(cycle.window), "other");
                }
                Err(_) => add(&[cycle.window], ""),
            }
        }
        for baseline in &data.baselines {
            let phase = ByteArray::from(format!("baseline.{}", baseline.kind).as_str());
            windows.push((baseline.window, None, phase));
        }
        windows.sort_by_key(|(window, ..)| *window);
        Self { windows }
    }

    fn find(&self, t_ns: u64) -> Option<(Option<i32>, Option<ByteArray>)> {
        let after = self.windows.partition_point(|(w, ..)| w.start_ns <= t_ns);
        let (window, cycle, phase) = self.windows.get(after.checked_sub(1)?)?;
        let named = (!phase.is_empty()).then(|| phase.clone());
        (t_ns <= window.end_ns).then_some((*cycle, named))
    }
}

/// One row group's columns.
#[derive(Default)]
struct Rows {
    source: Vec<ByteArray>,
    metric: Vec<ByteArray>,
    attributes: Vec<Option<ByteArray>>,
    how: Vec<ByteArray>,
    mono: Vec<i64>,
    unix: Vec<Option<i64>>,
    value: Vec<Option<f64>>,
    cycle: Vec<Option<i32>>,
    phase: Vec<Option<ByteArray>>,
    texts: std::collections::HashMap<String, ByteArray>,
}

impl Rows {
    fn len(&self) -> usize {
        self.mono.len()
    }

    /// Equal texts share their bytes.
    fn text(&mut self, text: &str) -> ByteArray {
        if let Some(known) = self.texts.get(text) {
            return known.clone();
        }
        let new = ByteArray::from(text);
        self.texts.insert(text.to_owned(), new.clone());
        new
    }

    fn push(
        &mut self,
        data: &RunData,
        places: &Places,
        source: &str,
        samples: &SourceSamples,
        column: &ColumnSamples,
        row: usize,
    ) {
        let Some(t_ns) = samples.t_ns.get(row).copied() else {
            return;
        };
        let value = column.values.get(row).copied().filter(|v| v.is_finite());
        let (cycle, phase) = places.find(t_ns).unwrap_or((None, None));
        let attributes = (!column.attributes.is_empty())
            .then(|| serde_json::to_string(&column.attributes).unwrap_or_default());
        let (source, metric) = (self.text(source), self.text(&column.metric));
        let how = self.text(column.how.as_str());
        let attributes = attributes.map(|text| self.text(&text));
        self.source.push(source);
        self.metric.push(metric);
        self.how.push(how);
        self.attributes.push(attributes);
        self.mono.push(i64::try_from(t_ns).unwrap_or(i64::MAX));
        self.unix.push(data.unix_ns(t_ns));
        self.value.push(value);
        self.cycle.push(cycle);
        self.phase.push(phase);
    }

    fn write<W: Write + Send>(
        self,
        writer: &mut SerializedFileWriter<W>,
    ) -> Result<(), ParquetError> {
        let mut group = writer.next_row_group()?;
        required::<ByteArrayType, _>(&mut group, &self.source)?;
        required::<ByteArrayType, _>(&mut group, &self.metric)?;
        optional::<ByteArrayType, _>(&mut group, self.attributes)?;
        required::<ByteArrayType, _>(&mut group, &self.how)?;
        required::<Int64Type, _>(&mut group, &self.mono)?;
        optional::<Int64Type, _>(&mut group, self.unix)?;
        optional::<DoubleType, _>(&mut group, self.value)?;
        optional::<Int32Type, _>(&mut group, self.cycle)?;
        optional::<ByteArrayType, _>(&mut group, self.phase)?;
        group.close()?;
        Ok(())
    }
}

fn required<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
) -> Result<(), ParquetError> {
    column::<T, W>(group, values, None)
}

fn optional<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: Vec<Option<T::T>>,
) -> Result<(), ParquetError> {
    let levels: Vec<i16> = values.iter().map(|v| i16::from(v.is_some())).collect();
    let present: Vec<T::T> = values.into_iter().flatten().collect();
    column::<T, W>(group, &present, Some(&levels))
}

fn column<T: DataType, W: Write + Send>(
    group: &mut SerializedRowGroupWriter<'_, W>,
    values: &[T::T],
    levels: Option<&[i16]>,
) -> Result<(), ParquetError> {
    let missing = || ParquetError::General("the schema has fewer columns than the rows".into());
    let mut column = group.next_column()?.ok_or_else(missing)?;
    column.typed::<T>().write_batch(values, levels, None)?;
    column.close()
}
