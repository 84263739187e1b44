#include "formats/model_file.h"

#include <functional>
#include <iterator>
#include <type_traits>
#include <utility>

#include "base/file.h"
#include "formats/gguf.h"
#include "formats/split_file.h"

namespace hearth {
namespace {

struct TypeName {
  std::string_view operator()(bool) const { return "a bool"; }
  std::string_view operator()(std::int64_t) const { return "an integer"; }
  std::string_view operator()(std::uint64_t) const { return "an integer"; }
  std::string_view operator()(double) const { return "a float"; }
  std::string_view operator()(std::string_view) const { return "a text"; }
  template <typename T>
  std::string_view operator()(const std::vector<T>&) const {
    if constexpr (std::is_same_v<T, bool>) return "an array of bools";
    if constexpr (std::is_same_v<T, double>) return "an array of floats";
    if constexpr (std::is_same_v<T, std::string_view>) return "an array of texts";
    return "an array of integers";
  }
};

std::unexpected<Status> wrong_type(std::string_view key, std::string_view wanted,
                                   const MetadataValue& value) {
  return error(StatusCode::kDataLoss, "metadata '{}' should be {} but is {}", key, wanted,
               std::visit(TypeName{}, value));
}

}  // namespace

struct ModelFile::Impl {
  std::vector<MappedFile> mappings;  // One per part; empty when the bytes belong to the caller.
  std::string format;
  std::uint64_t file_bytes = 0;
  GgufDirectory directory;  // Of the first part, with the tensors of all parts.
  NameIndex tensor_index;

  Status index_tensors() {
    const auto& tensors = directory.tensors;
    HEARTH_ASSIGN_OR_RETURN(tensor_index,
                            NameIndex::build(tensors.size(), "tensor", [&](std::size_t i) {
                              return std::string_view(tensors[i].name);
                            }));
    return {};
  }

  Status read_first_part(std::span<const std::byte> bytes, AllocationBudget& budget) {
    HEARTH_ASSIGN_OR_RETURN(directory, read_gguf_directory(bytes, budget));
    format = fmt::format("GGUF v{}", directory.version);
    file_bytes = bytes.size();
    return {};
  }

  Status read_part(const std::filesystem::path& path, const SplitPart& expected,
                   AllocationBudget& budget) {
    HEARTH_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::open(path));
    HEARTH_ASSIGN_OR_RETURN(GgufDirectory part, read_gguf_directory(mapping.bytes(), budget));
    HEARTH_ASSIGN_OR_RETURN(const SplitPart found, split_part_of(part));
    HEARTH_RETURN_IF_ERROR(check_part(found, expected));
    file_bytes += mapping.bytes().size();
    directory.tensors.insert(directory.tensors.end(), std::make_move_iterator(part.tensors.begin()),
                             std::make_move_iterator(part.tensors.end()));
    mappings.push_back(std::move(mapping));
    return {};
  }

  // Reads parts 2 to `first.count`, whose names follow from that of the first.
  Status read_other_parts(const std::filesystem::path& path, const SplitPart& first,
                          AllocationBudget& budget) {
    for (std::uint32_t idx = 1; idx < first.count; ++idx) {
      HEARTH_ASSIGN_OR_RETURN(const auto part_path, split_part_path(path, first, idx));
      SplitPart expected = first;
      expected.idx = idx;
      const Status status = read_part(part_path, expected, budget);
      if (!status.ok()) return status.with_context(part_path.filename().string());
    }
    return check_tensor_count(first, directory.tensors.size());
  }
};

ModelFile::ModelFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ModelFile::ModelFile(ModelFile&&) noexcept = default;
ModelFile& ModelFile::operator=(ModelFile&&) noexcept = default;
ModelFile::~ModelFile() = default;

Result<ModelFile> ModelFile::open(const std::filesystem::path& path) {
  auto impl = std::make_unique<Impl>();
  HEARTH_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::open(path));
  AllocationBudget budget;
  const auto read = [&]() -> Status {
    HEARTH_RETURN_IF_ERROR(impl->read_first_part(mapping.bytes(), budget));
    HEARTH_ASSIGN_OR_RETURN(const SplitPart part, split_part_of(impl->directory));
    if (part.idx != 0) {
      return make_status(StatusCode::kInvalidArgument,
                         "is part {} of {} of a split model; open the first part", part.idx + 1,
                         part.count);
    }
    HEARTH_RETURN_IF_ERROR(impl->read_other_parts(path, part, budget));
    return impl->index_tensors();
  };
  const Status status = read();
  if (!status.ok()) return std::unexpected(status.with_context(path.filename().string()));
  impl->mappings.push_back(std::move(mapping));
  return ModelFile(std::move(impl));
}

Result<ModelFile> ModelFile::parse(std::span<const std::byte> bytes) {
  auto impl = std::make_unique<Impl>();
  AllocationBudget budget;
  HEARTH_RETURN_IF_ERROR(impl->read_first_part(bytes, budget));
  HEARTH_ASSIGN_OR_RETURN(const SplitPart part, split_part_of(impl->directory));
  if (part.count > 1) {
    return error(StatusCode::kInvalidArgument,
                 "is part {} of {} of a split model; only whole models can be read from memory",
                 part.idx + 1, part.count);
  }
  HEARTH_RETURN_IF_ERROR(impl->index_tensors());
  return ModelFile(std::move(impl));
}

std::string_view ModelFile::format() const {
  return impl_->format;
}

std::uint64_t ModelFile::file_bytes() const {
  return impl_->file_bytes;
}

std::span<const MetadataEntry> ModelFile::metadata() const {
  return impl_->directory.metadata;
}

const MetadataValue* ModelFile::find(std::string_view key) const {
  return impl_->directory.find(key);
}

Result<std::optional<std::string_view>> ModelFile::find_text(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* text = std::get_if<std::string_view>(value)) return *text;
  return wrong_type(key, "a text", *value);
}

Result<std::optional<std::uint32_t>> ModelFile::find_uint32(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* big = std::get_if<std::uint64_t>(value)) {
    return error(StatusCode::kDataLoss, "metadata '{}' is {}; 0 to 4294967295 is allowed", key,
                 *big);
  }
  const auto* number = std::get_if<std::int64_t>(value);
  if (number == nullptr) return wrong_type(key, "an integer", *value);
  if (!std::in_range<std::uint32_t>(*number)) {
    return error(StatusCode::kDataLoss, "metadata '{}' is {}; 0 to 4294967295 is allowed", key,
                 *number);
  }
  return static_cast<std::uint32_t>(*number);
}

Result<std::optional<double>> ModelFile::find_double(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* number = std::get_if<double>(value)) return *number;
  if (const auto* number = std::get_if<std::int64_t>(value)) return static_cast<double>(*number);
  if (const auto* number = std::get_if<std::uint64_t>(value)) return static_cast<double>(*number);
  return wrong_type(key, "a number", *value);
}

Result<std::optional<bool>> ModelFile::find_bool(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return std::nullopt;
  if (const auto* flag = std::get_if<bool>(value)) return *flag;
  return wrong_type(key, "a bool", *value);
}

Result<const std::vector<std::string_view>*> ModelFile::find_texts(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return nullptr;
  if (const auto* texts = std::get_if<std::vector<std::string_view>>(value)) return texts;
  return wrong_type(key, "an array of texts", *value);
}

std::span<const TensorView> ModelFile::tensors() const {
  return impl_->directory.tensors;
}

const TensorView* ModelFile::find_tensor(std::string_view name) const {
  const auto& tensors = impl_->directory.tensors;
  const auto idx = impl_->tensor_index.find(
      name, [&](std::size_t i) { return std::string_view(tensors[i].name); });
  return idx.has_value() ? &tensors[*idx] : nullptr;
}

void ModelFile::release(const TensorView& tensor) const {
  for (const MappedFile& mapping : impl_->mappings) {
    const auto bytes = mapping.bytes();
    const std::less_equal<> not_after;
    if (not_after(bytes.data(), tensor.data.data()) &&
        not_after(tensor.data.data() + tensor.data.size(), bytes.data() + bytes.size())) {
      mapping.release(tensor.data);
    }
  }
}

}  // namespace hearth
