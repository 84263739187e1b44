#include "formats/split_file.h"

#include <string>
#include <string_view>
#include <utility>
#include <variant>

namespace hearth {
namespace {

constexpr std::string_view kNoKey = "split.no";
constexpr std::string_view kCountKey = "split.count";
constexpr std::string_view kTensorsKey = "split.tensors.count";
constexpr std::int64_t kMaxParts = 1024;

Result<std::optional<std::int64_t>> find_integer(const GgufDirectory& directory,
                                                 std::string_view key) {
  const MetadataValue* value = directory.find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<std::int64_t>(value)) return *number;
  return error(StatusCode::kDataLoss, "metadata '{}' is not an integer in range", key);
}

}  // namespace

Result<SplitPart> split_part_of(const GgufDirectory& directory) {
  HEARTH_ASSIGN_OR_RETURN(const auto no, find_integer(directory, kNoKey));
  HEARTH_ASSIGN_OR_RETURN(const auto count, find_integer(directory, kCountKey));
  HEARTH_ASSIGN_OR_RETURN(const auto num_tensors, find_integer(directory, kTensorsKey));
  SplitPart part;
  if (!count.has_value()) return part;
  if (*count == 0 && no.value_or(0) == 0) return part;  // Written for models merged from parts.
  if (*count < 1 || *count > kMaxParts) {
    return error(StatusCode::kDataLoss, "metadata '{}' is {}; 1 to {} is allowed", kCountKey,
                 *count, kMaxParts);
  }
  if (no.value_or(0) < 0 || no.value_or(0) >= *count) {
    return error(StatusCode::kDataLoss, "metadata '{}' is {}, but '{}' is {}", kNoKey,
                 no.value_or(0), kCountKey, *count);
  }
  part.idx = static_cast<std::uint32_t>(no.value_or(0));
  part.count = static_cast<std::uint32_t>(*count);
  if (num_tensors.has_value()) {
    if (*num_tensors < 0) {
      return error(StatusCode::kDataLoss, "metadata '{}' is {}", kTensorsKey, *num_tensors);
    }
    part.num_tensors = static_cast<std::uint64_t>(*num_tensors);
  }
  return part;
}

Result<std::filesystem::path> split_part_path(const std::filesystem::path& first_path,
                                              const SplitPart& first, std::uint32_t idx) {
  const auto suffix = [&](std::uint32_t i) {
    return fmt::format("-{:05}-of-{:05}.gguf", i + 1, first.count);
  };
  const std::string name = first_path.filename().string();
  if (!name.ends_with(suffix(0))) {
    return error(StatusCode::kInvalidArgument,
                 "holds part 1 of {}, but its name does not end in '{}'", first.count, suffix(0));
  }
  const std::string stem = name.substr(0, name.size() - suffix(0).size());
  return first_path.parent_path() / (stem + suffix(idx));
}

Status check_part(const SplitPart& found, const SplitPart& expected) {
  if (found.idx == expected.idx && found.count == expected.count) return {};
  return make_status(StatusCode::kDataLoss, "holds part {} of {}, not part {} of {}", found.idx + 1,
                     found.count, expected.idx + 1, expected.count);
}

Status check_tensor_count(const SplitPart& first, std::uint64_t num_tensors) {
  if (first.num_tensors.value_or(num_tensors) == num_tensors) return {};
  return make_status(StatusCode::kDataLoss, "metadata '{}' is {}, but the parts hold {} tensors",
                     kTensorsKey, *first.num_tensors, num_tensors);
}

}  // namespace hearth
