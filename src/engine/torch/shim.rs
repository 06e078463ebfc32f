//! The small C++ part (`shim.cpp`), made safe.

use std::ffi::{CStr, CString, c_char, c_int, c_void};
use std::ptr::null_mut;

use tch::Tensor;

use super::failure::failed;
use super::library::Cuda;
use crate::engine::EngineError;

/// Called for an operator or a kernel: context, name, on the device, start, duration,
/// FLOPs, bytes, shapes and how many numbers they are, plain inputs.
type Told = unsafe extern "C" fn(
    *mut c_void,
    *const c_char,
    c_int,
    u64,
    u64,
    u64,
    i64,
    *const i64,
    u64,
    *const c_char,
);

unsafe extern "C" {
    fn lem_torch_version() -> *const c_char;
    fn lem_torch_prepare() -> *mut c_char;
    fn lem_torch_inference_begin(guard: *mut *mut c_void) -> *mut c_char;
    fn lem_torch_inference_end(guard: *mut c_void);
    fn lem_torch_pin(tensor: *mut c_void) -> *mut c_char;
    fn lem_torch_copy_async(dst: *mut c_void, src: *mut c_void) -> *mut c_char;
    fn lem_torch_synchronize(device: c_int) -> *mut c_char;
    fn lem_torch_event_record(device: c_int, event: *mut *mut c_void) -> *mut c_char;
    fn lem_torch_event_done(event: *mut c_void, done: *mut bool) -> *mut c_char;
    fn lem_torch_event_elapsed_ms(from: *mut c_void, to: *mut c_void, ms: *mut f64) -> *mut c_char;
    fn lem_torch_event_free(event: *mut c_void);
    fn lem_torch_graph_begin(
        library: *mut c_void,
        device: c_int,
        graph: *mut *mut c_void,
    ) -> *mut c_char;
    fn lem_torch_graph_end(graph: *mut c_void) -> *mut c_char;
    fn lem_torch_graph_replay(graph: *mut c_void) -> *mut c_char;
    fn lem_torch_graph_free(graph: *mut c_void);
    fn lem_torch_profile_begin(cuda: bool) -> *mut c_char;
    fn lem_torch_profile_end(trace: *const c_char, told: Told, context: *mut c_void)
    -> *mut c_char;
}

/// Takes over an error text of the shim.
fn taken(error: *mut c_char, doing: &str) -> Result<(), EngineError> {
    if error.is_null() {
        return Ok(());
    }
    // SAFETY: the shim gives a text that ends in a zero and is ours to free.
    let text = unsafe {
        let text = CStr::from_ptr(error).to_string_lossy().into_owned();
        libc::free(error.cast());
        text
    };
    Err(failed(doing, &text))
}

/// Of libtorch.
pub fn version() -> String {
    // SAFETY: a constant text of the shim.
    unsafe { CStr::from_ptr(lem_torch_version()) }
        .to_string_lossy()
        .into_owned()
}

/// Sets what holds for the whole process; once the device is chosen.
pub fn prepare() -> Result<(), EngineError> {
    // SAFETY: no arguments; errors come back as texts.
    taken(unsafe { lem_torch_prepare() }, "preparing")
}

/// torch's inference mode on this thread: no operator prepares for gradients.
#[derive(Debug)]
pub struct Inference(*mut c_void);

impl Inference {
    pub fn begin() -> Result<Self, EngineError> {
        let mut guard = null_mut();
        // SAFETY: the shim writes the pointer on success.
        let error = unsafe { lem_torch_inference_begin(&raw mut guard) };
        taken(error, "entering its inference mode")?;
        Ok(Self(guard))
    }
}

impl Drop for Inference {
    fn drop(&mut self) {
        // SAFETY: made by the shim on this thread (the pointer is not Send), freed once.
        unsafe { lem_torch_inference_end(self.0) }
    }
}

/// Moves a tensor of the CPU to memory that a GPU can write by itself.
pub fn pin(tensor: &mut Tensor) -> Result<(), EngineError> {
    // SAFETY: tch's pointer is an at::Tensor's.
    let error = unsafe { lem_torch_pin(tensor.as_mut_ptr().cast()) };
    taken(error, "pinning memory")
}

/// Copies into pinned memory without waiting for the device.
pub fn copy_async(dst: &mut Tensor, src: &Tensor) -> Result<(), EngineError> {
    // SAFETY: tch's pointers are at::Tensor's; the source is not changed.
    let error =
        unsafe { lem_torch_copy_async(dst.as_mut_ptr().cast(), src.as_ptr().cast_mut().cast()) };
    taken(error, "copying the drawn tokens")
}

/// Waits until a CUDA device has done all that it was given.
pub fn synchronize(device: usize) -> Result<(), EngineError> {
    // SAFETY: a plain number; errors come back as texts.
    taken(
        unsafe { lem_torch_synchronize(device as c_int) },
        "waiting for the GPU",
    )
}

/// A moment in the work of a CUDA device.
#[derive(Debug)]
pub struct CudaEvent(*mut c_void);

// SAFETY: a CUDA event may be used from any thread, by one at a time.
unsafe impl Send for CudaEvent {}

impl CudaEvent {
    /// The moment at which all that was given to the device so far will be done.
    pub fn record(device: usize) -> Result<Self, EngineError> {
        let mut event = null_mut();
        // SAFETY: the shim writes the pointer on success.
        let error = unsafe { lem_torch_event_record(device as c_int, &raw mut event) };
        taken(error, "marking a moment on the GPU")?;
        Ok(Self(event))
    }

    pub fn done(&self) -> Result<bool, EngineError> {
        let mut done = false;
        // SAFETY: the event lives as long as this.
        let error = unsafe { lem_torch_event_done(self.0, &raw mut done) };
        taken(error, "asking the GPU for a moment")?;
        Ok(done)
    }

    /// Both must be done.
    pub fn nanoseconds_since(&self, earlier: &Self) -> Result<u64, EngineError> {
        let mut ms = 0.0;
        // SAFETY: both events live.
        let error = unsafe { lem_torch_event_elapsed_ms(earlier.0, self.0, &raw mut ms) };
        taken(error, "reading the GPU's clock")?;
        Ok((ms.max(0.0) * 1e6) as u64)
    }
}

impl Drop for CudaEvent {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once.
        unsafe { lem_torch_event_free(self.0) }
    }
}

/// Work of a CUDA device, captured once, replayed with one launch.
#[derive(Debug)]
pub struct CudaGraph(*mut c_void);

// SAFETY: used by one thread at a time, as its owner is.
unsafe impl Send for CudaGraph {}

impl CudaGraph {
    /// Captures what `work` gives to the device; none of it is done yet.
    pub fn capture<T>(
        cuda: &Cuda,
        device: usize,
        work: impl FnOnce() -> Result<T, EngineError>,
    ) -> Result<(Self, T), EngineError> {
        let mut graph = null_mut();
        // SAFETY: the library's handle is open; the shim writes the pointer on success.
        let error =
            unsafe { lem_torch_graph_begin(cuda.handle(), device as c_int, &raw mut graph) };
        taken(error, "starting to capture a CUDA graph")?;
        let graph = Self(graph);
        let out = work()?;
        // SAFETY: made above.
        taken(
            unsafe { lem_torch_graph_end(graph.0) },
            "capturing a CUDA graph",
        )?;
        Ok((graph, out))
    }

    pub fn replay(&self) -> Result<(), EngineError> {
        // SAFETY: captured completely.
        taken(
            unsafe { lem_torch_graph_replay(self.0) },
            "replaying a CUDA graph",
        )
    }
}

impl Drop for CudaGraph {
    fn drop(&mut self) {
        // SAFETY: made by the shim, freed once.
        unsafe { lem_torch_graph_free(self.0) }
    }
}

/// An operator or a kernel, as torch's profiler tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ProfiledEvent {
    pub name: String,
    pub on_device: bool,
    pub start_ns: u64,
    pub duration_ns: u64,
    pub flops: u64,
    /// Of a memory event: allocated, or freed where negative.
    pub bytes: i64,
    /// Of the inputs; empty where one is no tensor.
    pub shapes: Vec<Vec<i64>>,
    /// Of an attention operator: `T` or `F` for each input that is a truth value, else `.`.
    pub inputs: String,
}

/// Runs `work` under torch's profiler; the trace is written where a path is given.
pub fn profiled<T>(
    cuda: bool,
    trace: Option<&CStr>,
    work: impl FnOnce() -> Result<T, EngineError>,
) -> Result<(T, Vec<ProfiledEvent>), EngineError> {
    // SAFETY: a plain value.
    taken(
        unsafe { lem_torch_profile_begin(cuda) },
        "starting torch's profiler",
    )?;
    let out = work();
    let mut events: Vec<ProfiledEvent> = Vec::new();
    let none = CString::default();
    // SAFETY: the texts and `events` outlive the call, which alone calls `told`.
    let error = unsafe {
        lem_torch_profile_end(
            trace.unwrap_or(&none).as_ptr(),
            told,
            (&raw mut events).cast(),
        )
    };
    taken(error, "reading torch's profiler")?;
    Ok((out?, events))
}

unsafe extern "C" fn told(
    context: *mut c_void,
    name: *const c_char,
    on_device: c_int,
    start_ns: u64,
    duration_ns: u64,
    flops: u64,
    bytes: i64,
    shapes: *const i64,
    numbers: u64,
    inputs: *const c_char,
) {
    // SAFETY: `profiled` passed the vector; the shim passes texts that end in a zero and
    // `numbers` numbers.
    let (events, name, inputs, numbers) = unsafe {
        let numbers = if numbers == 0 {
            &[]
        } else {
            std::slice::from_raw_parts(shapes, numbers as usize)
        };
        (
            &mut *context.cast::<Vec<ProfiledEvent>>(),
            CStr::from_ptr(name),
            CStr::from_ptr(inputs),
            numbers,
        )
    };
    events.push(ProfiledEvent {
        name: name.to_string_lossy().into_owned(),
        on_device: on_device != 0,
        start_ns,
        duration_ns,
        flops,
        bytes,
        shapes: unpacked(numbers),
        inputs: inputs.to_string_lossy().into_owned(),
    });
}

/// Shapes, each preceded by its length.
fn unpacked(mut numbers: &[i64]) -> Vec<Vec<i64>> {
    let mut shapes = Vec::new();
    while let Some((&length, rest)) = numbers.split_first() {
        let length = usize::try_from(length).unwrap_or(0).min(rest.len());
        let (shape, rest) = rest.split_at(length);
        shapes.push(shape.to_vec());
        numbers = rest;
    }
    shapes
}

#[cfg(test)]
mod tests {
    use super::unpacked;

    #[test]
    fn shapes_are_told_apart() {
        assert_eq!(unpacked(&[2, 3, 4, 0, 1, 7]), [vec![3, 4], vec![], vec![7]]);
        assert_eq!(unpacked(&[5, 1]), [vec![1]]);
    }
}
