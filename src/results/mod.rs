//! The result file: the v3 schema, writing, reading, showing.
