#include "engine/memory_budget.h"

#include <algorithm>
#include <charconv>
#include <optional>
#include <string_view>

#include "base/cgroup.h"
#include "base/file.h"

namespace hearth {
namespace {

namespace fs = std::filesystem;

constexpr std::uint64_t kMaxProcFileBytes = 1 << 20;

std::optional<std::size_t> leading_number(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  std::size_t number = 0;
  const auto parsed = std::from_chars(text.data(), text.data() + text.size(), number);
  if (parsed.ec != std::errc()) return std::nullopt;
  return number;
}

// "MemTotal:       16384 kB"
Result<std::size_t> meminfo_bytes(std::string_view meminfo, std::string_view field) {
  for (std::size_t start = 0; start < meminfo.size();) {
    const std::size_t end = std::min(meminfo.find('\n', start), meminfo.size());
    const std::string_view line = meminfo.substr(start, end - start);
    start = end + 1;
    if (!line.starts_with(field)) continue;
    if (const auto kilobytes = leading_number(line.substr(field.size()))) return *kilobytes * 1024;
  }
  return error(StatusCode::kUnavailable, "/proc/meminfo does not state {}", field);
}

// The smallest limit of any group above; "max" (v2) and numbers near 2^63 (v1) are none, which the
// comparison with the machine's memory takes care of.
std::optional<std::size_t> cgroup_memory_limit(const fs::path& root) {
  const auto self_cgroup = read_text_file(root / "proc/self/cgroup", kMaxProcFileBytes);
  if (!self_cgroup.has_value()) return std::nullopt;
  std::optional<std::size_t> limit;
  for (const CgroupDirectory& group :
       cgroup_directories(root / "sys/fs/cgroup", *self_cgroup, "memory")) {
    const auto text = read_text_file(
        group.path / (group.is_v1 ? "memory.limit_in_bytes" : "memory.max"), kMaxProcFileBytes);
    if (!text.has_value()) continue;
    if (const auto bytes = leading_number(*text)) limit = std::min(limit.value_or(*bytes), *bytes);
  }
  return limit;
}

std::size_t fraction_of(std::size_t bytes, double fraction) {
  return static_cast<std::size_t>(static_cast<double>(bytes) * fraction);
}

// Of the model's budget, beside weights and activations.
std::size_t budget_left(const MemoryRequest& request) {
  const std::size_t budget =
      request.budget_bytes > 0 ? request.budget_bytes : memory_for_models(request.limit);
  return budget - std::min(budget, request.weight_bytes + request.activation_bytes);
}

std::size_t bytes_for_kv(const MemoryRequest& request) {
  if (request.kv_cache_bytes > 0) return request.kv_cache_bytes;
  return std::min(budget_left(request),
                  fraction_of(request.limit.available_bytes, kContainerMemoryFraction));
}

std::string mebibytes(std::size_t bytes) {
  return fmt::format("{:.1f} MiB", static_cast<double>(bytes) / (1 << 20));
}

Status does_not_fit(const MemoryRequest& request, std::size_t left, std::size_t needed) {
  const std::size_t possible_len = left / request.kv.bytes_per_block() * request.kv.block_size;
  const std::string advice = possible_len > 0
                                 ? fmt::format("set --max-model-len to at most {}", possible_len)
                                 : std::string("free memory or choose a smaller model");
  const std::string have =
      request.kv_cache_bytes > 0
          ? fmt::format("the KV cache is set to {}", mebibytes(left))
          : fmt::format(
                "{} are left for the KV cache beside {} of weights and {} of activations "
                "({} in all, {} available)",
                mebibytes(left), mebibytes(request.weight_bytes),
                mebibytes(request.activation_bytes), mebibytes(request.limit.total_bytes),
                mebibytes(request.limit.available_bytes));
  return make_status(StatusCode::kResourceExhausted,
                     "one sequence of {} tokens needs {} of KV cache, but {}; {}",
                     request.max_model_len, mebibytes(needed), have, advice);
}

}  // namespace

Result<MemoryLimit> detect_memory_limit(const fs::path& root) {
  HEARTH_ASSIGN_OR_RETURN(const std::string meminfo,
                          read_text_file(root / "proc/meminfo", kMaxProcFileBytes));
  MemoryLimit limit;
  HEARTH_ASSIGN_OR_RETURN(limit.total_bytes, meminfo_bytes(meminfo, "MemTotal:"));
  HEARTH_ASSIGN_OR_RETURN(limit.available_bytes, meminfo_bytes(meminfo, "MemAvailable:"));
  const std::optional<std::size_t> cgroup = cgroup_memory_limit(root);
  if (cgroup.has_value() && *cgroup < limit.total_bytes) {
    limit.total_bytes = *cgroup;
    limit.is_container = true;
  }
  return limit;
}

std::size_t memory_for_models(const MemoryLimit& limit) {
  return fraction_of(limit.total_bytes,
                     limit.is_container ? kContainerMemoryFraction : kMachineMemoryFraction);
}

std::size_t least_memory(const MemoryRequest& request) {
  const std::size_t one_sequence = kv_bytes_for(request.kv, request.max_model_len, 1);
  return request.weight_bytes + request.activation_bytes +
         std::max(one_sequence,
                  std::min(request.kv_cache_bytes,
                           kv_bytes_for(request.kv, request.max_model_len, request.max_num_seqs)));
}

Result<MemoryBudget> plan_memory(const MemoryRequest& request) {
  HEARTH_CHECK(request.kv.bytes_per_block() > 0 && request.max_model_len > 0);
  const std::size_t left = bytes_for_kv(request);
  const std::size_t blocks =
      std::min(left / request.kv.bytes_per_block(),
               kv_blocks_for(request.kv, request.max_model_len, request.max_num_seqs));
  if (blocks < kv_blocks_for(request.kv, request.max_model_len, 1)) {
    return std::unexpected(
        does_not_fit(request, left, kv_bytes_for(request.kv, request.max_model_len, 1)));
  }
  const std::size_t kv_bytes = blocks * request.kv.bytes_per_block();
  if (request.budget_bytes > 0 && kv_bytes > budget_left(request)) {
    return error(StatusCode::kResourceExhausted,
                 "the KV cache is set to {}, but of {} for this model only {} are left beside {} "
                 "of weights and {} of activations",
                 mebibytes(kv_bytes), mebibytes(request.budget_bytes),
                 mebibytes(budget_left(request)), mebibytes(request.weight_bytes),
                 mebibytes(request.activation_bytes));
  }
  return MemoryBudget{.weight_bytes = request.weight_bytes,
                      .activation_bytes = request.activation_bytes,
                      .kv_cache_bytes = kv_bytes,
                      .num_kv_blocks = blocks};
}

KvShape kv_shape(const ModelConfig& config, std::size_t block_size, DType dtype) {
  return {.num_layers = config.num_layers,
          .num_kv_heads = config.heads.num_kv_heads,
          .head_dim = config.heads.head_dim,
          .block_size = block_size,
          .num_blocks = 0,
          .dtype = dtype,
          .value_dim = config.heads.value_dim};
}

std::size_t kv_blocks_for(const KvShape& shape, std::size_t context_len, std::size_t num_seqs) {
  return (context_len + shape.block_size - 1) / shape.block_size * num_seqs;
}

std::size_t kv_bytes_for(const KvShape& shape, std::size_t context_len, std::size_t num_seqs) {
  return kv_blocks_for(shape, context_len, num_seqs) * shape.bytes_per_block();
}

}  // namespace hearth
