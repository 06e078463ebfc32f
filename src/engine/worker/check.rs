//! Tries a worker against the protocol.
