// Attention on the CPU: the memory it works in and how it spreads over threads. Internal to the
// kernels module.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "kernels/aligned_buffer.h"
#include "kernels/device.h"
#include "kernels/kernel_table.h"

namespace hearth {

// The arguments of Device::attention and the kernels to use. Borrows everything.
struct AttentionCall {
  const KernelTable* kernels = nullptr;
  ConstMatrixView q;
  std::span<const SequenceRows> sequences;
  const AttentionParams* params = nullptr;
  const KvLayerView* cache = nullptr;
  MatrixView out;
};

struct SplitAttention;

// Scratch memory of all workers of a pool.
class AttentionMemory {
 public:
  explicit AttentionMemory(std::size_t num_threads);
  ~AttentionMemory();

  // Room for queries, keys and values of that size; allocates only when it is larger than any
  // before.
  void reserve(std::size_t max_dim);

  float* scratch(std::size_t worker) { return scratch_[worker].data(); }
  float* zeros() { return zeros_.data(); }  // [head_dim], not to be written to.
  SplitAttention& split() { return *split_; }

 private:
  std::vector<AlignedBuffer<float>> scratch_;
  AlignedBuffer<float> zeros_;
  std::unique_ptr<SplitAttention> split_;
};

void run_attention(const AttentionCall& call, ThreadPool& pool, AttentionMemory& memory);

}  // namespace hearth
