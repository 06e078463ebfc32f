//! The shape of the configuration, one file a section. The comments on the fields are
//! the documentation: `docs/config.md`, `configs/schema.json` and `lem config new` are
//! generated from them, and a test refuses a key without one.

mod address;
mod backends;
mod costs;
mod decoding;
mod engine;
mod integrations;
mod measurement;
mod prompts;
mod root;
mod studies;
mod traffic;

pub use address::Address;
pub use backends::{
    Candle, Pytorch, QuantizedWeights, Server, ServerApi, Tensorrt, Torch, Vllm, VllmSpeculative,
    Worker,
};
pub use costs::{Carbon, Cost, PowerModel};
pub use decoding::{Batching, BatchingStrategy, Decoder, DecoderPreset};
pub use engine::{Backend, LoadFormat, Precision};
pub use integrations::{
    FilesSection, Integrations, Io, MlflowSection, OpenMetricsSection, OtlpCompression,
    OtlpProtocol, OtlpSection, OtlpTemporality, PrometheusSection, PrometheusTls,
    PushgatewaySection, RemoteWriteProtocol, RemoteWriteSection, TextfileSection, WandbMode,
    WandbSection,
};
pub use measurement::{Baseline, CoolDown, Measurement, PhaseMethod, Until, Warmup};
pub use prompts::{Distribution, Length, Prompts, PromptsKind};
pub use root::Config;
pub use studies::{Profiling, Quality, Sweep, SweepOrder};
pub use traffic::{Objectives, Traffic, TrafficMode};
