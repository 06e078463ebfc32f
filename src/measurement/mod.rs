//! Where an engine and a meter meet: baseline, warm-up, cycles.
