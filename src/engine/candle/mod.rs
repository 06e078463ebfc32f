//! The embedded engine: Llama-architecture models on the processor, through candle.
