//! libtorch's CUDA half, loaded where there is one.
//!
//! The binary links the CPU libraries only, so that it starts on any machine. CUDA
//! registers itself with them when its library is loaded, which must happen before
//! anything of torch asks whether there is a GPU.

use std::ffi::{CStr, CString, c_void};
use std::path::Path;
use std::sync::OnceLock;

/// The open library. It is never closed: torch keeps pointers into it.
#[derive(Clone, Copy, Debug)]
pub struct Cuda(*mut c_void);

// SAFETY: a handle of dlopen may be used from any thread.
unsafe impl Send for Cuda {}
// SAFETY: as above.
unsafe impl Sync for Cuda {}

impl Cuda {
    pub fn handle(&self) -> *mut c_void {
        self.0
    }
}

const NAME: &str = "libtorch_cuda.so";

/// Loads it once in the life of the process, from a folder where one is given, else as
/// the loader finds it; or says why not.
pub fn cuda(folder: Option<&Path>) -> Result<Cuda, String> {
    static LOADED: OnceLock<Result<Cuda, String>> = OnceLock::new();
    LOADED
        .get_or_init(|| match folder {
            Some(folder) => open(&folder.join(NAME).display().to_string()),
            None => open(NAME),
        })
        .clone()
}

fn open(path: &str) -> Result<Cuda, String> {
    let name = CString::new(path).map_err(|_| "the path has a zero byte".to_owned())?;
    // SAFETY: the library's initialisers only register operators; dlerror is read by the
    // thread that failed.
    unsafe {
        let handle = libc::dlopen(name.as_ptr(), libc::RTLD_NOW | libc::RTLD_GLOBAL);
        if handle.is_null() {
            let error = libc::dlerror();
            return Err(if error.is_null() {
                format!("{path} cannot be loaded")
            } else {
                CStr::from_ptr(error).to_string_lossy().into_owned()
            });
        }
        Ok(Cuda(handle))
    }
}
