#include "formats/model_file.h"

#include <algorithm>
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

bool contains(std::span<const std::byte> memory, std::span<const std::byte> part) {
  const std::less_equal<> not_after;
  return not_after(memory.data(), part.data()) &&
         not_after(part.data() + part.size(), memory.data() + memory.size());
}

struct SideFileKey {
  std::string_view file;
  std::string_view key;
};
constexpr SideFileKey kSideFileKeys[] = {{"tokenizer.json", ModelFile::kTokenizerJsonKey},
                                         {"tokenizer_config.json", ModelFile::kTokenizerConfigKey}};
constexpr std::string_view kOwnTokenizerKey = "tokenizer.ggml.model";

std::unexpected<Status> wrong_type(std::string_view key, std::string_view wanted,
                                   const MetadataValue& value) {
  return error(StatusCode::kDataLoss, "metadata '{}' should be {} but is {}", key, wanted,
               std::visit(TypeName{}, value));
}

// Metadata and directory: all up to the first tensor's data.
std::span<const std::byte> before_tensors(std::span<const std::byte> file,
                                          std::span<const TensorView> tensors) {
  std::size_t end = file.size();
  for (const TensorView& tensor : tensors)
    end = std::min(end, static_cast<std::size_t>(tensor.data.data() - file.data()));
  return file.first(end);
}

// The parts of a GGUF model, collected into one content.
class GgufParts {
 public:
  Result<GgufDirectory> read_directory(std::span<const std::byte> bytes) {
    return read_gguf_directory(bytes, budget_);
  }

  // The same of a file with checksums: what a damaged one says is no matter of its author's.
  Result<GgufDirectory> read_directory(const MappedFile& file) {
    auto directory = read_gguf_directory(file.bytes(), budget_);
    const auto looked_at =
        directory.has_value() ? before_tensors(file.bytes(), directory->tensors) : file.bytes();
    HEARTH_RETURN_IF_ERROR(file.check(looked_at, nullptr));
    return directory;
  }

  // The first part, which must not be a later one, of so many bytes.
  Result<SplitPart> begin(GgufDirectory directory, std::uint64_t file_bytes) {
    HEARTH_ASSIGN_OR_RETURN(const SplitPart part, split_part_of(directory));
    content_.format = fmt::format("GGUF v{}", directory.version);
    content_.file_bytes = file_bytes;
    content_.metadata = std::move(directory.metadata);
    content_.tensors = std::move(directory.tensors);
    return part;
  }

  // Reads parts 2 to `first.count`, whose names follow from that of the first.
  Status read_others(const std::filesystem::path& path, const SplitPart& first) {
    for (std::uint32_t idx = 1; idx < first.count; ++idx) {
      HEARTH_ASSIGN_OR_RETURN(const auto part_path, split_part_path(path, first, idx));
      SplitPart expected = first;
      expected.idx = idx;
      const Status status = read_part(part_path, expected);
      if (!status.ok()) return status.with_context(part_path.filename().string());
    }
    return check_tensor_count(first, content_.tensors.size());
  }

  void keep(MappedFile mapping) { content_.mappings.push_back(std::move(mapping)); }
  ModelFileContent take() { return std::move(content_); }

 private:
  Status read_part(const std::filesystem::path& path, const SplitPart& expected) {
    HEARTH_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::open(path));
    HEARTH_ASSIGN_OR_RETURN(GgufDirectory part, read_directory(mapping));
    HEARTH_ASSIGN_OR_RETURN(const SplitPart found, split_part_of(part));
    HEARTH_RETURN_IF_ERROR(check_part(found, expected));
    content_.file_bytes += mapping.bytes().size();
    content_.tensors.insert(content_.tensors.end(), std::make_move_iterator(part.tensors.begin()),
                            std::make_move_iterator(part.tensors.end()));
    keep(std::move(mapping));
    return {};
  }

  AllocationBudget budget_;
  ModelFileContent content_;
};

Result<ModelFile> read_gguf(MappedFile mapping, const std::filesystem::path& path) {
  GgufParts parts;
  HEARTH_ASSIGN_OR_RETURN(GgufDirectory directory, parts.read_directory(mapping));
  HEARTH_ASSIGN_OR_RETURN(const SplitPart part,
                          parts.begin(std::move(directory), mapping.bytes().size()));
  parts.keep(std::move(mapping));
  if (part.idx != 0) {
    return error(StatusCode::kInvalidArgument,
                 "is part {} of {} of a split model; open the first part", part.idx + 1,
                 part.count);
  }
  HEARTH_RETURN_IF_ERROR(parts.read_others(path, part));
  return ModelFile::assemble(parts.take());
}

}  // namespace

Status check_mapped(std::span<const MappedFile> mappings, std::span<const std::byte> data,
                    ThreadPool* threads) {
  for (const MappedFile& mapping : mappings)
    if (contains(mapping.bytes(), data)) return mapping.check(data, threads);
  return {};
}

void release_mapped(std::span<const MappedFile> mappings, std::span<const std::byte> data) {
  for (const MappedFile& mapping : mappings)
    if (contains(mapping.bytes(), data)) mapping.release(data);
}

Result<std::span<std::byte>> ModelFileContent::allocate(std::size_t size) {
  if (size < AnonymousMapping::kHugePageBytes) return std::span(small.emplace_back(size));
  HEARTH_ASSIGN_OR_RETURN(AnonymousMapping memory, AnonymousMapping::create(size));
  const std::span<std::byte> bytes(memory.data(), size);
  made.push_back(std::move(memory));
  return bytes;
}

struct ModelFile::Impl {
  ModelFileContent content;
  NameIndex keys;
  NameIndex tensor_index;

  explicit Impl(ModelFileContent given) : content(std::move(given)) {}

  std::string_view key_at(std::size_t i) const { return content.metadata[i].key; }
  std::string_view tensor_at(std::size_t i) const { return content.tensors[i].name; }

  Status build_indexes() {
    HEARTH_ASSIGN_OR_RETURN(keys, NameIndex::build(content.metadata.size(), "metadata key",
                                                   [this](std::size_t i) { return key_at(i); }));
    HEARTH_ASSIGN_OR_RETURN(tensor_index,
                            NameIndex::build(content.tensors.size(), "tensor",
                                             [this](std::size_t i) { return tensor_at(i); }));
    return {};
  }
};

ModelFile::ModelFile(std::unique_ptr<Impl> impl) : impl_(std::move(impl)) {}
ModelFile::ModelFile(ModelFile&&) noexcept = default;
ModelFile& ModelFile::operator=(ModelFile&&) noexcept = default;
ModelFile::~ModelFile() = default;

Result<ModelFile> ModelFile::open(const std::filesystem::path& path) {
  HEARTH_ASSIGN_OR_RETURN(MappedFile mapping, MappedFile::open(path));
  Result<ModelFile> file = read_gguf(std::move(mapping), path);
  if (file.has_value()) return file;
  return std::unexpected(file.error().with_context(path.filename().string()));
}

Result<ModelFile> ModelFile::parse(std::span<const std::byte> bytes) {
  GgufParts parts;
  HEARTH_ASSIGN_OR_RETURN(GgufDirectory directory, parts.read_directory(bytes));
  HEARTH_ASSIGN_OR_RETURN(const SplitPart part, parts.begin(std::move(directory), bytes.size()));
  if (part.count > 1) {
    return error(StatusCode::kInvalidArgument,
                 "is part {} of {} of a split model; only whole models can be read from memory",
                 part.idx + 1, part.count);
  }
  return assemble(parts.take());
}

Result<ModelFile> ModelFile::assemble(ModelFileContent content) {
  auto impl = std::make_unique<Impl>(std::move(content));
  HEARTH_RETURN_IF_ERROR(impl->build_indexes());
  return ModelFile(std::move(impl));
}

std::string_view ModelFile::format() const {
  return impl_->content.format;
}

std::uint64_t ModelFile::file_bytes() const {
  return impl_->content.file_bytes;
}

std::span<const MetadataEntry> ModelFile::metadata() const {
  return impl_->content.metadata;
}

const MetadataValue* ModelFile::find(std::string_view key) const {
  const auto idx = impl_->keys.find(key, [this](std::size_t i) { return impl_->key_at(i); });
  return idx.has_value() ? &impl_->content.metadata[*idx].value : nullptr;
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

Result<const std::vector<std::int64_t>*> ModelFile::find_integers(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return nullptr;
  if (const auto* integers = std::get_if<std::vector<std::int64_t>>(value)) return integers;
  return wrong_type(key, "an array of integers", *value);
}

Result<const std::vector<std::string_view>*> ModelFile::find_texts(std::string_view key) const {
  const MetadataValue* value = find(key);
  if (value == nullptr) return nullptr;
  if (const auto* texts = std::get_if<std::vector<std::string_view>>(value)) return texts;
  return wrong_type(key, "an array of texts", *value);
}

std::span<const TensorView> ModelFile::tensors() const {
  return impl_->content.tensors;
}

const TensorView* ModelFile::find_tensor(std::string_view name) const {
  const auto idx =
      impl_->tensor_index.find(name, [this](std::size_t i) { return impl_->tensor_at(i); });
  return idx.has_value() ? &impl_->content.tensors[*idx] : nullptr;
}

std::string ModelFile::identity() const {
  std::string all;
  for (const MappedFile& mapping : impl_->content.mappings)
    all += (all.empty() ? "" : " ") + mapping.identity();
  return all;
}

std::string ModelFile::spelling(std::string_view tensor_name) const {
  const auto& spelling = impl_->content.spelling;
  return spelling ? spelling(tensor_name) : std::string(tensor_name);
}

std::optional<std::string_view> ModelFile::side_file(std::string_view name) const {
  const auto found = impl_->content.side_files.find(name);
  if (found == impl_->content.side_files.end()) {
    const auto key = std::ranges::find(kSideFileKeys, name, &SideFileKey::file);
    if (key == std::end(kSideFileKeys) || find(kOwnTokenizerKey) != nullptr) return std::nullopt;
    const MetadataValue* value = find(key->key);
    const auto* text = value == nullptr ? nullptr : std::get_if<std::string_view>(value);
    return text == nullptr ? std::nullopt : std::optional(*text);
  }
  const auto bytes = found->second.bytes();
  return std::string_view(reinterpret_cast<const char*>(bytes.data()), bytes.size());
}

ModelFileContent ModelFile::take() && {
  return std::move(impl_->content);
}

Status ModelFile::intact() const {
  for (const MappedFile& mapping : impl_->content.mappings)
    HEARTH_RETURN_IF_ERROR(mapping.intact());
  for (const auto& [name, mapping] : impl_->content.side_files)
    HEARTH_RETURN_IF_ERROR(mapping.intact());
  return {};
}

Status ModelFile::check(std::span<const std::byte> data, ThreadPool* threads) const {
  return check_mapped(impl_->content.mappings, data, threads);
}

void ModelFile::release(const TensorView& tensor) const {
  release_mapped(impl_->content.mappings, tensor.data);
}

void ModelFile::discard(const TensorView& tensor) const {
  release(tensor);
  for (const AnonymousMapping& made : impl_->content.made)
    if (contains({made.data(), made.size()}, tensor.data)) made.discard(tensor.data);
}

bool ModelFile::is_made(const TensorView& tensor) const {
  return std::ranges::any_of(impl_->content.made, [&](const AnonymousMapping& made) {
    return contains({made.data(), made.size()}, tensor.data);
  });
}

}  // namespace hearth
