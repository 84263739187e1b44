// How the memory of the process is shared out at start: weights and activations take what they
// need, the KV cache a stated part of the rest. Nothing that grows with load is outside this
// ledger.
#pragma once

#include <cstddef>
#include <filesystem>
#include <string>

#include "base/status.h"
#include "kv/kv_storage.h"
#include "models/model_config.h"

namespace hearth {

// Of a container's limit, which is ours alone, and of a machine's memory, which is not.
inline constexpr double kContainerMemoryFraction = 0.8;
inline constexpr double kMachineMemoryFraction = 0.5;

struct MemoryLimit {
  std::size_t total_bytes = 0;      // The container's limit or the machine's memory.
  std::size_t available_bytes = 0;  // Of the machine's, not in use by anybody now.
  bool is_container = false;
};

// Reads the control groups (v1 and v2) and /proc/meminfo below `root`. kUnavailable when the latter
// cannot be read.
Result<MemoryLimit> detect_memory_limit(const std::filesystem::path& root = "/");

// What of the limit all models together may take: the fraction that is ours.
std::size_t memory_for_models(const MemoryLimit& limit);

struct MemoryRequest {
  MemoryLimit limit;
  std::size_t budget_bytes = 0;  // What this model may take in all. 0: memory_for_models().
  std::size_t weight_bytes = 0;
  std::size_t activation_bytes = 0;
  KvShape kv;  // num_blocks is what is looked for.
  std::size_t max_model_len = 0;
  std::size_t max_num_seqs = 0;
  std::size_t kv_cache_bytes = 0;  // 0: choose. Otherwise what to use, up to the bound below.
};

// Weights, activations and the keys and values of one sequence of full length.
std::size_t least_memory(const MemoryRequest& request);

struct MemoryBudget {
  std::size_t weight_bytes = 0;
  std::size_t activation_bytes = 0;
  std::size_t kv_cache_bytes = 0;
  std::size_t num_kv_blocks = 0;

  std::size_t total_bytes() const { return weight_bytes + activation_bytes + kv_cache_bytes; }
};

// Never more blocks than max_num_seqs sequences of max_model_len can use. kResourceExhausted when
// not even one sequence of full length fits, or a KV cache of the given size is more than the
// budget has left; the message says what would.
Result<MemoryBudget> plan_memory(const MemoryRequest& request);

// The KV cache of one model, without its number of blocks.
KvShape kv_shape(const ModelConfig& config, std::size_t block_size, DType dtype);
// Blocks, or bytes, that `num_seqs` sequences of `context_len` tokens take.
std::size_t kv_blocks_for(const KvShape& shape, std::size_t context_len, std::size_t num_seqs);
std::size_t kv_bytes_for(const KvShape& shape, std::size_t context_len, std::size_t num_seqs);

}  // namespace hearth
