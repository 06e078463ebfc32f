//! A small load for a GPU: arithmetic that fills every unit, in pulses of a given length.
//! Through CUDA's driver library, which comes with the GPU's driver: no toolkit is needed.

use std::ffi::{CStr, c_char, c_int, c_uint, c_void};
use std::time::Duration;

use lem_record::Stamp;
use libloading::Library;

use super::load::{Load, NoLoad};

const LIBRARY: &str = "libcuda.so.1";

/// Chains of multiplications that do not depend on one another; the result is stored only
/// if it is a number that it never is, so that no compiler leaves the work out.
const PTX: &CStr = c"\
.version 6.0
.target sm_50
.address_size 64
.visible .entry burn(.param .u64 out, .param .u32 rounds)
{
  .reg .pred %p<3>;
  .reg .f32 %f<10>;
  .reg .u32 %r<4>;
  .reg .u64 %rd<3>;
  ld.param.u64 %rd1, [out];
  ld.param.u32 %r1, [rounds];
  mov.f32 %f9, 0f3F800001;
  mov.f32 %f1, 0f3F800000;
  mov.f32 %f2, 0f3F900000;
  mov.f32 %f3, 0f3FA00000;
  mov.f32 %f4, 0f3FB00000;
  mov.f32 %f5, 0f3FC00000;
  mov.f32 %f6, 0f3FD00000;
  mov.f32 %f7, 0f3FE00000;
  mov.f32 %f8, 0f3FF00000;
AGAIN:
  fma.rn.f32 %f1, %f1, %f9, %f9;
  fma.rn.f32 %f2, %f2, %f9, %f9;
  fma.rn.f32 %f3, %f3, %f9, %f9;
  fma.rn.f32 %f4, %f4, %f9, %f9;
  fma.rn.f32 %f5, %f5, %f9, %f9;
  fma.rn.f32 %f6, %f6, %f9, %f9;
  fma.rn.f32 %f7, %f7, %f9, %f9;
  fma.rn.f32 %f8, %f8, %f9, %f9;
  sub.u32 %r1, %r1, 1;
  setp.ne.u32 %p1, %r1, 0;
  @%p1 bra AGAIN;
  add.f32 %f1, %f1, %f2;
  add.f32 %f3, %f3, %f4;
  add.f32 %f5, %f5, %f6;
  add.f32 %f7, %f7, %f8;
  add.f32 %f1, %f1, %f3;
  add.f32 %f5, %f5, %f7;
  add.f32 %f1, %f1, %f5;
  setp.eq.f32 %p2, %f1, 0fBF800000;
  @%p2 st.global.f32 [%rd1], %f1;
  ret;
}
";

/// About a millisecond on an H100: the fineness with which a pulse can end.
const ROUNDS: u32 = 20_000;
const BLOCKS: u32 = 2_048;
const THREADS: u32 = 256;

type Handle = *mut c_void;
type Status = c_int;

/// A context of one GPU with the kernel in it. For the thread that made it.
pub struct CudaLoad {
    library: Library,
    kernel: Handle,
    out: u64,
}

impl CudaLoad {
    /// `pci_bus` names the GPU, as NVML tells it.
    pub fn open(pci_bus: &str) -> Result<Self, NoLoad> {
        // SAFETY: the driver's own library; loading it runs only its initialisers.
        let library = unsafe { Library::new(LIBRARY) }.map_err(|_| {
            NoLoad(format!(
                "there is no {LIBRARY}: CUDA's driver is not installed"
            ))
        })?;
        let bus = std::ffi::CString::new(pci_bus)
            .map_err(|_| NoLoad("the GPU's bus address is not text".into()))?;
        let (mut device, mut context, mut module, mut kernel) = (
            0 as c_int,
            std::ptr::null_mut(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        );
        let mut out = 0u64;
        // SAFETY: the signatures are those of CUDA's driver API (cuda.h), unchanged since 7.0;
        // every pointer is to a local that outlives its call, and the texts end in a zero.
        unsafe {
            let f = |name: &str| symbol(&library, name);
            let init: unsafe extern "C" fn(c_uint) -> Status = std::mem::transmute(f("cuInit")?);
            check("cuInit", init(0))?;
            let by_bus: unsafe extern "C" fn(*mut c_int, *const c_char) -> Status =
                std::mem::transmute(f("cuDeviceGetByPCIBusId")?);
            check("cuDeviceGetByPCIBusId", by_bus(&mut device, bus.as_ptr()))?;
            let retain: unsafe extern "C" fn(*mut Handle, c_int) -> Status =
                std::mem::transmute(f("cuDevicePrimaryCtxRetain")?);
            check("cuDevicePrimaryCtxRetain", retain(&mut context, device))?;
            let current: unsafe extern "C" fn(Handle) -> Status =
                std::mem::transmute(f("cuCtxSetCurrent")?);
            check("cuCtxSetCurrent", current(context))?;
            let load: unsafe extern "C" fn(*mut Handle, *const c_void) -> Status =
                std::mem::transmute(f("cuModuleLoadData")?);
            check("cuModuleLoadData", load(&mut module, PTX.as_ptr().cast()))?;
            let function: unsafe extern "C" fn(*mut Handle, Handle, *const c_char) -> Status =
                std::mem::transmute(f("cuModuleGetFunction")?);
            check(
                "cuModuleGetFunction",
                function(&mut kernel, module, c"burn".as_ptr()),
            )?;
            let alloc: unsafe extern "C" fn(*mut u64, usize) -> Status =
                std::mem::transmute(f("cuMemAlloc_v2")?);
            check("cuMemAlloc", alloc(&mut out, 4))?;
        }
        let mut load = Self {
            library,
            kernel,
            out,
        };
        // The first launch compiles and uploads
        load.run(Duration::from_millis(20))?;
        Ok(load)
    }

    fn run(&mut self, length: Duration) -> Result<(u64, u64), NoLoad> {
        type Launch = unsafe extern "C" fn(
            Handle,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            c_uint,
            Handle,
            *mut *mut c_void,
            *mut *mut c_void,
        ) -> Status;
        let begin = Stamp::mono_ns();
        let length_ns = u64::try_from(length.as_nanos()).unwrap_or(u64::MAX);
        // SAFETY: as in `open`; the two parameters are what the kernel declares, and are read
        // before the launch returns.
        unsafe {
            let launch: Launch = std::mem::transmute(symbol(&self.library, "cuLaunchKernel")?);
            let wait: unsafe extern "C" fn() -> Status =
                std::mem::transmute(symbol(&self.library, "cuCtxSynchronize")?);
            while Stamp::mono_ns().saturating_sub(begin) < length_ns {
                let (mut out, mut rounds) = (self.out, ROUNDS);
                let mut parameters = [
                    (&raw mut out).cast::<c_void>(),
                    (&raw mut rounds).cast::<c_void>(),
                ];
                let status = launch(
                    self.kernel,
                    BLOCKS,
                    1,
                    1,
                    THREADS,
                    1,
                    1,
                    0,
                    std::ptr::null_mut(),
                    parameters.as_mut_ptr(),
                    std::ptr::null_mut(),
                );
                check("cuLaunchKernel", status)?;
                check("cuCtxSynchronize", wait())?;
            }
        }
        Ok((begin, Stamp::mono_ns()))
    }
}

impl Load for CudaLoad {
    fn pulse(&mut self, length: Duration) -> Result<(u64, u64), NoLoad> {
        self.run(length)
    }
}

/// The address of a function of the library.
fn symbol(library: &Library, name: &str) -> Result<*const c_void, NoLoad> {
    // SAFETY: only the address is taken; whoever calls it knows its signature.
    unsafe { library.get::<unsafe extern "C" fn()>(name.as_bytes()) }
        .map(|symbol| *symbol as *const c_void)
        .map_err(|_| NoLoad(format!("{LIBRARY} has no {name}: the driver is too old")))
}

fn check(call: &str, status: Status) -> Result<(), NoLoad> {
    match status {
        0 => Ok(()),
        2 => Err(NoLoad(format!("{call}: the GPU's memory is full"))),
        100 | 101 => Err(NoLoad(format!(
            "{call}: CUDA does not see this GPU; look at CUDA_VISIBLE_DEVICES"
        ))),
        other => Err(NoLoad(format!("{call} failed with CUDA's error {other}"))),
    }
}
