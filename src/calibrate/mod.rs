//! What a board's power readings really do: identified on the board itself, kept, and
//! used by every later run.
//!
//! Boards of one kind differ, and drivers change: the window and the lag of a power
//! reading decide which phases can be told apart and where their energy is looked for.

mod cuda;
mod fit;
mod load;
mod store;
mod wave;

pub use cuda::CudaLoad;
pub use fit::{Fit, FitError, MIN_READINGS, fit, renewed};
pub use load::{CommandLoad, Load, NoLoad};
pub use store::{Calibration, FORMAT, StoreError, load, save};
pub use wave::{Field, Wave, record};
