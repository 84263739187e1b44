#include "formats/safetensors_directory.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <iterator>
#include <map>
#include <string>
#include <string_view>
#include <unordered_set>
#include <utility>

namespace hearth {
namespace {

constexpr std::string_view kSingleName = "model.safetensors";
constexpr std::string_view kIndexName = "model.safetensors.index.json";
constexpr std::size_t kMaxIndexBytes = std::size_t{64} << 20;
constexpr std::size_t kMaxShards = 4096;

using NameSet = std::unordered_set<std::string>;
// Names of tensors by the file that holds them.
using WeightMap = std::map<std::string, NameSet>;

bool has_ending(std::string_view name, std::span<const std::string_view> endings) {
  return std::ranges::any_of(endings, [&](std::string_view end) { return name.ends_with(end); });
}

// What the directory has instead of the weights we look for.
Status no_weights(const std::filesystem::path& path) {
  constexpr std::array<std::string_view, 4> kPickles = {".bin", ".pt", ".pth", ".ckpt"};
  std::vector<std::string> pickles;
  std::vector<std::string> others;
  std::error_code failure;
  for (std::filesystem::directory_iterator entry(path, failure), end; !failure && entry != end;
       entry.increment(failure)) {
    const std::string name = entry->path().filename().string();
    if (has_ending(name, kPickles)) pickles.push_back(name);
    if (name.ends_with(".safetensors")) others.push_back(name);
  }
  std::ranges::sort(pickles);
  std::ranges::sort(others);
  if (!others.empty()) {
    return make_status(StatusCode::kNotFound, "holds neither {} nor {}, only {}", kSingleName,
                       kIndexName, fmt::join(others, ", "));
  }
  if (!pickles.empty()) {
    return make_status(StatusCode::kUnimplemented,
                       "holds its weights as pickle only ({}), which is never loaded because "
                       "unpickling runs code from the file; convert them to safetensors",
                       fmt::join(pickles, ", "));
  }
  return make_status(StatusCode::kNotFound, "holds neither {} nor {}", kSingleName, kIndexName);
}

// A shard stands beside the index: no folders, nothing above.
Status check_shard_name(std::string_view name) {
  const bool plain = name.ends_with(".safetensors") && name.find('/') == std::string_view::npos &&
                     name.find('\0') == std::string_view::npos;
  if (plain) return {};
  return make_status(StatusCode::kDataLoss,
                     "{}: '{}' is not the name of a .safetensors file in the same directory",
                     kIndexName, name);
}

Result<WeightMap> read_index(const std::filesystem::path& path) {
  HEARTH_ASSIGN_OR_RETURN(const MappedFile file, MappedFile::open(path));
  HEARTH_RETURN_IF_ERROR(file.check(file.bytes(), nullptr));
  const std::string_view text(reinterpret_cast<const char*>(file.bytes().data()),
                              file.bytes().size());
  HEARTH_ASSIGN_OR_RETURN(const json::Value root,
                          parse_model_json(text, kMaxIndexBytes, kIndexName));
  const json::Object* object = root.as_object();
  const json::Value* member = object == nullptr ? nullptr : object->find("weight_map");
  if (member == nullptr || member->as_object() == nullptr) {
    return error(StatusCode::kDataLoss, "{} has no object 'weight_map'", kIndexName);
  }
  WeightMap map;
  for (const json::Member& entry : *member->as_object()) {
    if (entry.value.as_string() == nullptr) {
      return error(StatusCode::kDataLoss, "{}: the file of tensor '{}' is no string", kIndexName,
                   entry.key);
    }
    HEARTH_RETURN_IF_ERROR(check_shard_name(*entry.value.as_string()));
    map[*entry.value.as_string()].insert(entry.key);
  }
  if (map.empty() || map.size() > kMaxShards) {
    return error(StatusCode::kDataLoss, "{} names {} files; 1 to {} are supported", kIndexName,
                 map.size(), kMaxShards);
  }
  return map;
}

Status check_shard(const std::vector<SafetensorsTensor>& tensors, NameSet expected) {
  for (const SafetensorsTensor& tensor : tensors) {
    if (expected.erase(tensor.name) == 0) {
      return make_status(StatusCode::kDataLoss, "holds tensor '{}', which {} does not place there",
                         tensor.name, kIndexName);
    }
  }
  if (expected.empty()) return {};
  return make_status(StatusCode::kDataLoss, "lacks {} of the tensors that {} places there: '{}'{}",
                     expected.size(), kIndexName, *std::ranges::min_element(expected),
                     expected.size() > 1 ? " and others" : "");
}

// What a damaged file says is no matter of its author's: its bytes are compared with its checksums.
Result<std::vector<SafetensorsTensor>> read_header(const MappedFile& file) {
  auto tensors = read_safetensors(file.bytes());
  std::size_t header_bytes = file.bytes().size();
  if (tensors.has_value()) {
    for (const SafetensorsTensor& tensor : *tensors)
      header_bytes -= tensor.data.size();
  }
  HEARTH_RETURN_IF_ERROR(file.check(file.bytes().first(header_bytes), nullptr));
  return tensors;
}

// nullptr for `expected`: whatever the file holds.
Status add_shard(const std::filesystem::path& path, const NameSet* expected,
                 SafetensorsDirectory& directory) {
  HEARTH_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::open(path));
  HEARTH_ASSIGN_OR_RETURN(auto tensors, read_header(mapping));
  if (expected != nullptr) HEARTH_RETURN_IF_ERROR(check_shard(tensors, *expected));
  directory.file_bytes += mapping.bytes().size();
  directory.mappings.push_back(std::move(mapping));
  directory.tensors.insert(directory.tensors.end(), std::make_move_iterator(tensors.begin()),
                           std::make_move_iterator(tensors.end()));
  return {};
}

}  // namespace

Result<SafetensorsDirectory> open_safetensors_directory(const std::filesystem::path& path) {
  SafetensorsDirectory directory;
  const auto single = path / kSingleName;
  HEARTH_ASSIGN_OR_RETURN(const bool is_single, file_exists(single));
  if (is_single) {
    const Status status = add_shard(single, nullptr, directory);
    if (!status.ok()) return std::unexpected(status.with_context(kSingleName));
    return directory;
  }
  HEARTH_ASSIGN_OR_RETURN(const bool is_sharded, file_exists(path / kIndexName));
  if (!is_sharded) return std::unexpected(no_weights(path));
  HEARTH_ASSIGN_OR_RETURN(const WeightMap shards, read_index(path / kIndexName));
  directory.num_shards = shards.size();
  for (const auto& [name, tensors] : shards) {
    HEARTH_ASSIGN_OR_RETURN(const bool exists, file_exists(path / name));
    if (!exists) {
      return error(StatusCode::kNotFound, "{} names the shard '{}', which is missing", kIndexName,
                   name);
    }
    const Status status = add_shard(path / name, &tensors, directory);
    if (!status.ok()) return std::unexpected(status.with_context(name));
  }
  return directory;
}

}  // namespace hearth
