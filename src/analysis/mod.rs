//! Pure functions from records to results: no I/O, no clock.
