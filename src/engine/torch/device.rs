//! Where the model runs, and when what was given to it is done.

use std::path::Path;
use std::time::Duration;

use lem_record::Stamp;
use tch::Device;

use super::LoadOptions;
use super::library::{self, Cuda};
use super::shim::{self, CudaEvent};
use crate::engine::EngineError;

/// A device with what is needed to work on it.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    pub device: Device,
    pub cuda: Option<Cuda>,
}

impl Place {
    /// The configured device; left open, the first GPU that torch can use, else the CPU.
    pub fn find(options: &LoadOptions) -> Result<Self, EngineError> {
        let cpu = Self {
            device: Device::Cpu,
            cuda: None,
        };
        let wanted = options.device.as_deref().unwrap_or("auto");
        let index = match wanted {
            "cpu" => return Ok(cpu),
            "auto" | "cuda" => options.gpu.unwrap_or(0) as usize,
            other => other
                .strip_prefix("cuda:")
                .and_then(|index| index.parse().ok())
                .ok_or_else(|| {
                    EngineError::new(
                        format!("torch.device is {other:?}"),
                        "Write cpu, cuda, or cuda:0 with the GPU's number",
                    )
                })?,
        };
        let remedy = "Put the lib folders of an installed torch 2.11 and its nvidia packages on \
                      LD_LIBRARY_PATH (scripts/libtorch --of PYTHON prints them), name its \
                      torch/lib in torch.library_path, or set torch.device to cpu";
        match library::cuda(options.library_path.as_deref()) {
            Ok(cuda) => {
                // Asked before the first tensor: this is what makes torch look.
                let found = tch::Cuda::device_count().max(0) as usize;
                if index < found {
                    return Ok(Self {
                        device: Device::Cuda(index),
                        cuda: Some(cuda),
                    });
                }
                if wanted == "auto" && found == 0 && !has_gpu() {
                    return Ok(cpu);
                }
                Err(EngineError::new(
                    format!("torch sees {found} CUDA devices, but number {index} is asked for"),
                    "Look at nvidia-smi and CUDA_VISIBLE_DEVICES, correct gpus or torch.device, \
                     or set torch.device to cpu",
                ))
            }
            Err(_) if wanted == "auto" && !has_gpu() => Ok(cpu),
            Err(reason) => Err(EngineError::new(
                format!("the CUDA half of libtorch cannot be loaded: {reason}"),
                remedy,
            )),
        }
    }

    pub fn index(&self) -> usize {
        match self.device {
            Device::Cuda(index) => index,
            _ => 0,
        }
    }

    pub fn is_cuda(&self) -> bool {
        self.cuda.is_some()
    }

    pub fn name(&self) -> String {
        match self.device {
            Device::Cuda(index) => format!("cuda:{index}"),
            _ => "cpu".into(),
        }
    }

    /// Waits until all is done. On the CPU it always is.
    pub fn synchronize(&self) -> Result<(), EngineError> {
        if self.is_cuda() {
            shim::synchronize(self.index())
        } else {
            Ok(())
        }
    }
}

/// A driver for NVIDIA's GPUs has made its device.
fn has_gpu() -> bool {
    Path::new("/dev/nvidiactl").exists()
}

/// The moment at which all that was given to the device so far is done.
#[derive(Debug)]
pub enum Mark {
    /// It was, at this time.
    Past(u64),
    Cuda(CudaEvent),
}

/// Puts the moments of a device on lem's clock.
#[derive(Debug)]
pub struct Clock {
    place: Place,
    /// A moment of the device, and its time here.
    anchor: Option<(CudaEvent, u64)>,
}

/// How often a moment of the GPU is asked for: the thread sleeps in between, so that
/// waiting costs next to no CPU power. The times themselves are the GPU's own.
const POLL: Duration = Duration::from_micros(100);

impl Clock {
    /// The device must have nothing to do, so that the anchor is reached at once.
    pub fn start(place: Place) -> Result<Self, EngineError> {
        let anchor = if place.is_cuda() {
            let before = Stamp::mono_ns();
            let event = CudaEvent::record(place.index())?;
            place.synchronize()?;
            let after = Stamp::mono_ns();
            Some((event, before + (after - before) / 2))
        } else {
            None
        };
        Ok(Self { place, anchor })
    }

    pub fn mark(&self) -> Result<Mark, EngineError> {
        if self.place.is_cuda() {
            Ok(Mark::Cuda(CudaEvent::record(self.place.index())?))
        } else {
            Ok(Mark::Past(Stamp::mono_ns()))
        }
    }

    /// Waits for the moment; gives its time.
    pub fn reached(&self, mark: &Mark) -> Result<u64, EngineError> {
        match (mark, &self.anchor) {
            (Mark::Past(at_ns), _) => Ok(*at_ns),
            (Mark::Cuda(event), Some((anchor, at_ns))) => {
                while !event.done()? {
                    std::thread::sleep(POLL);
                }
                Ok(at_ns + event.nanoseconds_since(anchor)?)
            }
            (Mark::Cuda(_), None) => Ok(Stamp::mono_ns()),
        }
    }
}
