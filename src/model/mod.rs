//! Where a model is: URIs to files.
