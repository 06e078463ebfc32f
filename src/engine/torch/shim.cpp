// See shim.h. The binary links the CPU libraries only: what belongs to CUDA is reached
// through c10's virtual interfaces, or by name in libtorch_cuda.so when it is there.
#include "shim.h"

#include <ATen/ATen.h>
#include <ATen/Context.h>
#include <c10/core/Event.h>
#include <c10/core/InferenceMode.h>
#include <c10/core/impl/VirtualGuardImpl.h>
#include <dlfcn.h>
#include <torch/csrc/autograd/profiler_kineto.h>
#include <torch/version.h>

#include <cstdlib>
#include <cstring>
#include <exception>
#include <string>
#include <utility>

namespace {

char* copy(const std::string& text) {
  char* copied = static_cast<char*>(std::malloc(text.size() + 1));
  if (copied) std::memcpy(copied, text.c_str(), text.size() + 1);
  return copied;
}

template <typename F>
char* guarded(F work) {
  try {
    work();
    return nullptr;
  } catch (const c10::Error& error) {
    return copy(error.what_without_backtrace());
  } catch (const std::exception& error) {
    return copy(error.what());
  } catch (...) {
    return copy("an exception that is not of C++'s standard library");
  }
}

c10::Device cuda(int device) {
  return c10::Device(c10::DeviceType::CUDA, static_cast<c10::DeviceIndex>(device));
}

c10::impl::VirtualGuardImpl on_cuda() {
  return c10::impl::VirtualGuardImpl(c10::DeviceType::CUDA);
}

// at::cuda::CUDAGraph, whose header needs CUDA's: its members are called by their mangled
// names. It is smaller than this in every release; the version is checked by the caller.
struct Graph {
  alignas(64) unsigned char storage[4096];
  c10::Stream before;
  c10::Stream capturing;
  void* library;
  void (*begin)(void*, std::pair<unsigned long long, unsigned long long>, int);
  void (*end)(void*);
  void (*replay)(void*);
  void (*destroy)(void*);
  bool recording;
};

void* symbol(void* library, const char* name) {
  void* found = dlsym(library, name);
  TORCH_CHECK(found, "libtorch_cuda.so has no ", name);
  return found;
}

}  // namespace

extern "C" {

const char* lem_torch_version() { return TORCH_VERSION; }

char* lem_torch_prepare() {
  return guarded([&] {
    // cuDNN plans attention anew for each length, and in decoding each step has its own:
    // torch's other fused kernels take any length.
    at::globalContext().setSDPUseCuDNN(false);
  });
}

char* lem_torch_inference_begin(void** guard) {
  return guarded([&] { *guard = new c10::InferenceMode(); });
}

void lem_torch_inference_end(void* guard) { delete static_cast<c10::InferenceMode*>(guard); }

char* lem_torch_pin(void* tensor) {
  return guarded([&] {
    auto& pinned = *static_cast<at::Tensor*>(tensor);
    pinned = pinned.pin_memory();
  });
}

char* lem_torch_copy_async(void* dst, void* src) {
  return guarded([&] {
    static_cast<at::Tensor*>(dst)->copy_(*static_cast<at::Tensor*>(src), /*non_blocking=*/true);
  });
}

char* lem_torch_synchronize(int device) {
  return guarded([&] { on_cuda().synchronizeDevice(static_cast<c10::DeviceIndex>(device)); });
}

char* lem_torch_event_record(int device, void** event) {
  return guarded([&] {
    auto made = std::make_unique<c10::Event>(
        c10::DeviceType::CUDA, c10::EventFlag::BACKEND_DEFAULT);
    made->record(on_cuda().getStream(cuda(device)));
    *event = made.release();
  });
}

char* lem_torch_event_done(void* event, bool* done) {
  return guarded([&] { *done = static_cast<c10::Event*>(event)->query(); });
}

char* lem_torch_event_elapsed_ms(void* from, void* to, double* ms) {
  return guarded([&] {
    *ms = static_cast<c10::Event*>(from)->elapsedTime(*static_cast<c10::Event*>(to));
  });
}

void lem_torch_event_free(void* event) { delete static_cast<c10::Event*>(event); }

char* lem_torch_graph_begin(void* library, int device, void** out) {
  return guarded([&] {
    auto guard = on_cuda();
    const auto before = guard.getStream(cuda(device));
    const auto capturing = guard.getStreamFromGlobalPool(cuda(device));
    auto graph = std::make_unique<Graph>(Graph{{}, before, capturing, library});
    auto construct = reinterpret_cast<void (*)(void*, bool)>(
        symbol(library, "_ZN2at4cuda9CUDAGraphC1Eb"));
    graph->begin = reinterpret_cast<decltype(graph->begin)>(symbol(
        library, "_ZN2at4cuda9CUDAGraph13capture_beginESt4pairIyyE21cudaStreamCaptureMode"));
    graph->end = reinterpret_cast<decltype(graph->end)>(
        symbol(library, "_ZN2at4cuda9CUDAGraph11capture_endEv"));
    graph->replay = reinterpret_cast<decltype(graph->replay)>(
        symbol(library, "_ZN2at4cuda9CUDAGraph6replayEv"));
    graph->destroy = reinterpret_cast<decltype(graph->destroy)>(
        symbol(library, "_ZN2at4cuda9CUDAGraphD1Ev"));
    guard.synchronizeDevice(static_cast<c10::DeviceIndex>(device));
    construct(graph->storage, false);
    guard.exchangeStream(capturing);
    try {
      // 1: cudaStreamCaptureModeThreadLocal, so that other threads may go on.
      graph->begin(graph->storage, {0, 0}, 1);
    } catch (...) {
      guard.exchangeStream(before);
      graph->destroy(graph->storage);
      throw;
    }
    graph->recording = true;
    *out = graph.release();
  });
}

char* lem_torch_graph_end(void* pointer) {
  auto* graph = static_cast<Graph*>(pointer);
  return guarded([&] {
    graph->recording = false;
    try {
      graph->end(graph->storage);
    } catch (...) {
      on_cuda().exchangeStream(graph->before);
      throw;
    }
    on_cuda().exchangeStream(graph->before);
  });
}

char* lem_torch_graph_replay(void* pointer) {
  auto* graph = static_cast<Graph*>(pointer);
  return guarded([&] { graph->replay(graph->storage); });
}

void lem_torch_graph_free(void* pointer) {
  auto* graph = static_cast<Graph*>(pointer);
  // A capture that was broken off is ended first: its stream would stay unusable.
  if (graph->recording) std::free(lem_torch_graph_end(pointer));
  std::free(guarded([&] { graph->destroy(graph->storage); }));
  delete graph;
}

namespace profiler = torch::autograd::profiler;
using torch::profiler::impl::ActivityType;
using torch::profiler::impl::ProfilerConfig;
using torch::profiler::impl::ProfilerState;

char* lem_torch_profile_begin(bool cuda) {
  return guarded([&] {
    const ProfilerConfig config(
        ProfilerState::KINETO, /*report_input_shapes=*/true, /*profile_memory=*/true,
        /*with_stack=*/false, /*with_flops=*/true);
    std::set<ActivityType> activities{ActivityType::CPU};
    if (cuda) activities.insert(ActivityType::CUDA);
    profiler::prepareProfiler(config, activities);
    profiler::enableProfiler(config, activities, {at::RecordScope::FUNCTION});
  });
}

char* lem_torch_profile_end(const char* trace, lem_torch_told told, void* context) {
  return guarded([&] {
    auto result = profiler::disableProfiler();
    std::vector<int64_t> shapes;
    for (const auto& event : result->events()) {
      // Each shape as its length and then its numbers.
      shapes.clear();
      for (const auto& shape : event.shapes()) {
        shapes.push_back(static_cast<int64_t>(shape.size()));
        shapes.insert(shapes.end(), shape.begin(), shape.end());
      }
      const auto name = event.name();
      // Whether attention is causal stands among the plain values.
      std::string inputs;
      if (name.find("attention") != std::string::npos) {
        for (const auto& input : event.concreteInputs())
          inputs += input.isBool() ? (input.toBool() ? 'T' : 'F') : '.';
      }
      told(context, name.c_str(), event.deviceType() != c10::DeviceType::CPU, event.startNs(),
           event.durationNs(), event.flops(), event.nBytes(), shapes.data(), shapes.size(),
           inputs.c_str());
    }
    if (trace && *trace) result->save(trace);
  });
}
}
