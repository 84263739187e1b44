// Models split over several GGUF files. Each part says which it is in `split.no` (from 0) and
// `split.count`; the first also says in `split.tensors.count` how many tensors there are in all.
// Part 2 of 3 of "model" is named "model-00002-of-00003.gguf".
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>

#include "base/status.h"
#include "formats/gguf.h"

namespace hearth {

struct SplitPart {
  std::uint32_t idx = 0;
  std::uint32_t count = 1;                   // 1 for a model that is not split.
  std::optional<std::uint64_t> num_tensors;  // Over all parts.
};

// kDataLoss when the split keys have a wrong type or contradict each other.
Result<SplitPart> split_part_of(const GgufDirectory& directory);

// The path of part `idx` beside the first part; kInvalidArgument when the first part is not named
// as one of `first.count` parts.
Result<std::filesystem::path> split_part_path(const std::filesystem::path& first_path,
                                              const SplitPart& first, std::uint32_t idx);

// kDataLoss when a file is not the part that its name says.
Status check_part(const SplitPart& found, const SplitPart& expected);

// kDataLoss when all parts together do not hold the promised number of tensors.
Status check_tensor_count(const SplitPart& first, std::uint64_t num_tensors);

}  // namespace hearth
