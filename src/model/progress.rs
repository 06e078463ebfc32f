/// Hears how far a long step is. Called on the thread that does the work.
pub trait Progress {
    /// A step begins that handles so many bytes; `None`: unknown. Ends the step before it.
    fn total(&mut self, bytes: Option<u64>);
    /// So many bytes more are done.
    fn advance(&mut self, bytes: u64);
    /// What is being done, or what the user should know: one line.
    fn message(&mut self, text: &str);
}

/// For those who do not want to hear.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Progress for Silent {
    fn total(&mut self, _bytes: Option<u64>) {}
    fn advance(&mut self, _bytes: u64) {}
    fn message(&mut self, _text: &str) {}
}
