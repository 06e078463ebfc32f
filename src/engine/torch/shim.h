// What lem needs of libtorch beside tch. Each function returns nullptr, or an error text
// that the caller frees with free(). No C++ exception leaves.
#pragma once
#include <stdint.h>

extern "C" {
const char* lem_torch_version();

// To be called once the device is chosen.
char* lem_torch_prepare();

// Inference mode on this thread, until the guard is ended.
char* lem_torch_inference_begin(void** guard);
void lem_torch_inference_end(void* guard);

char* lem_torch_pin(void* tensor);

// dst.copy_(src) without waiting for the device.
char* lem_torch_copy_async(void* dst, void* src);

char* lem_torch_synchronize(int device);

// Moments on the current stream of a CUDA device.
char* lem_torch_event_record(int device, void** event);
char* lem_torch_event_done(void* event, bool* done);
char* lem_torch_event_elapsed_ms(void* from, void* to, double* ms);
void lem_torch_event_free(void* event);

// Work captured once and replayed. A capture runs on a stream of its own.
char* lem_torch_graph_begin(void* library, int device, void** graph);
char* lem_torch_graph_end(void* graph);
char* lem_torch_graph_replay(void* graph);
void lem_torch_graph_free(void* graph);

// torch's own profiler.
char* lem_torch_profile_begin(bool cuda);
// `told` is called once for each operator and kernel.
typedef void (*lem_torch_told)(
    void* context, const char* name, int on_device, uint64_t start_ns, uint64_t duration_ns,
    uint64_t flops, int64_t bytes, const int64_t* shapes, uint64_t numbers, const char* inputs);
char* lem_torch_profile_end(const char* trace, lem_torch_told told, void* context);
}
