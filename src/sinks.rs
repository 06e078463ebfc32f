//! Which sinks this build has, and how a configuration becomes them.
