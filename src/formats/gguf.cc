#include "formats/gguf.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <limits>
#include <string>
#include <utility>

#include "base/file.h"
#include "base/utf8.h"
#include "formats/gguf_format.h"

namespace hearth {
namespace {

static_assert(std::endian::native == std::endian::little, "GGUF files are read in place");

constexpr std::uint32_t kMinVersion = 2;

constexpr std::string_view kAlignmentKey = "general.alignment";
constexpr std::uint64_t kMinAlignment = 8;  // The specification's unit; float32 data needs 4.
constexpr std::uint64_t kMaxAlignment = 65'536;

// The specification allows keys of 65,535 bytes and tensor names of 64; real keys stay below 100
// bytes, and some writers exceed 64 for names.
constexpr std::uint64_t kMaxKeyBytes = 1024;
constexpr std::uint64_t kMaxTensorNameBytes = 256;
constexpr std::uint32_t kMaxDims = 4;

// The least an entry can take on disk: what backs a count before anything is allocated for it.
constexpr std::uint64_t kMinEntryBytes = 8 + 1 + 4 + 1;               // key, type, value
constexpr std::uint64_t kMinTensorInfoBytes = 8 + 1 + 4 + 8 + 4 + 8;  // name, dims, type, offset
constexpr std::uint64_t kMinTextBytes = 8;

// A count whose items take at least `min_bytes` each and so must fit the rest of the file.
Result<std::uint64_t> read_count(ByteReader& reader, std::uint64_t min_bytes,
                                 std::string_view what) {
  const std::size_t position = reader.position();
  HEARTH_ASSIGN_OR_RETURN(const auto count, reader.read<std::uint64_t>(what));
  if (count > reader.remaining() / min_bytes) {
    return error(StatusCode::kDataLoss,
                 "{} at offset {} is {}, but the file has only {} more bytes", what, position,
                 count, reader.remaining());
  }
  return count;
}

Result<std::string_view> read_text(ByteReader& reader, std::string_view what) {
  HEARTH_ASSIGN_OR_RETURN(const auto length, reader.read<std::uint64_t>(what));
  return reader.read_text(length, what);
}

// A key or tensor name: it appears in messages and logs, so it must be printable text.
Result<std::string_view> read_name(ByteReader& reader, std::uint64_t max_bytes,
                                   std::string_view what) {
  const std::size_t position = reader.position();
  HEARTH_ASSIGN_OR_RETURN(const auto length, reader.read<std::uint64_t>(what));
  if (length == 0 || length > max_bytes) {
    return error(StatusCode::kDataLoss, "{} at offset {} has {} bytes; 1 to {} are allowed", what,
                 position, length, max_bytes);
  }
  HEARTH_ASSIGN_OR_RETURN(const auto name, reader.read_text(length, what));
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (!utf8::is_valid(name) || std::ranges::any_of(name, is_control)) {
    return error(StatusCode::kDataLoss, "{} at offset {} is not printable UTF-8 text", what,
                 position);
  }
  return name;
}

// Integers narrower than int64 and floats widen without loss.
template <typename Stored, typename Kept>
Result<MetadataValue> read_number(ByteReader& reader, std::string_view what) {
  HEARTH_ASSIGN_OR_RETURN(const auto value, reader.read<Stored>(what));
  return MetadataValue(static_cast<Kept>(value));
}

Result<MetadataValue> read_uint64(ByteReader& reader, std::string_view what) {
  HEARTH_ASSIGN_OR_RETURN(const auto value, reader.read<std::uint64_t>(what));
  if (std::in_range<std::int64_t>(value)) return MetadataValue(static_cast<std::int64_t>(value));
  return MetadataValue(value);
}

Status check_bool(std::uint8_t value, std::string_view what) {
  if (value <= 1) return {};
  return make_status(StatusCode::kDataLoss, "{} is a bool with value {}; 0 and 1 are allowed", what,
                     value);
}

Result<MetadataValue> read_bool(ByteReader& reader, std::string_view what) {
  HEARTH_ASSIGN_OR_RETURN(const auto value, reader.read<std::uint8_t>(what));
  HEARTH_RETURN_IF_ERROR(check_bool(value, what));
  return MetadataValue(value == 1);
}

// The array behind one key. A class only to carry what every element type needs.
class ArrayReader {
 public:
  ArrayReader(ByteReader& reader, AllocationBudget& budget, std::string_view what)
      : reader_(reader), budget_(budget), what_(what) {}

  Result<MetadataValue> read() {
    HEARTH_ASSIGN_OR_RETURN(const auto type, reader_.read<std::uint32_t>(what_));
    switch (static_cast<GgufValueType>(type)) {
      case GgufValueType::kUint8:
        return read_numbers<std::uint8_t, std::int64_t>();
      case GgufValueType::kInt8:
        return read_numbers<std::int8_t, std::int64_t>();
      case GgufValueType::kUint16:
        return read_numbers<std::uint16_t, std::int64_t>();
      case GgufValueType::kInt16:
        return read_numbers<std::int16_t, std::int64_t>();
      case GgufValueType::kUint32:
        return read_numbers<std::uint32_t, std::int64_t>();
      case GgufValueType::kInt32:
        return read_numbers<std::int32_t, std::int64_t>();
      case GgufValueType::kInt64:
        return read_numbers<std::int64_t, std::int64_t>();
      case GgufValueType::kUint64:
        return read_uint64s();
      case GgufValueType::kFloat32:
        return read_numbers<float, double>();
      case GgufValueType::kFloat64:
        return read_numbers<double, double>();
      case GgufValueType::kBool:
        return read_bools();
      case GgufValueType::kText:
        return read_texts();
      case GgufValueType::kArray:
        return error(StatusCode::kUnimplemented, "{} is an array of arrays, which is not supported",
                     what_);
    }
    return error(StatusCode::kDataLoss, "{} is an array of unknown value type {}", what_, type);
  }

 private:
  // The element count, once the file and the budget have room for the elements.
  Result<std::size_t> read_length(std::uint64_t stored_bytes, std::uint64_t kept_bytes) {
    HEARTH_ASSIGN_OR_RETURN(const auto count, read_count(reader_, stored_bytes, what_));
    HEARTH_RETURN_IF_ERROR(budget_.take(count, kept_bytes, what_));
    return static_cast<std::size_t>(count);
  }

  template <typename Stored, typename Kept>
  Result<std::vector<Kept>> read_vector() {
    HEARTH_ASSIGN_OR_RETURN(const std::size_t count, read_length(sizeof(Stored), sizeof(Kept)));
    HEARTH_ASSIGN_OR_RETURN(const auto raw, reader_.read_bytes(count * sizeof(Stored), what_));
    std::vector<Kept> values(count);
    for (std::size_t i = 0; i < count; ++i) {
      Stored value;
      std::memcpy(&value, raw.data() + i * sizeof(Stored), sizeof(Stored));
      values[i] = static_cast<Kept>(value);
    }
    return values;
  }

  template <typename Stored, typename Kept>
  Result<MetadataValue> read_numbers() {
    HEARTH_ASSIGN_OR_RETURN(auto values, (read_vector<Stored, Kept>()));
    return MetadataValue(std::move(values));
  }

  Result<MetadataValue> read_uint64s() {
    HEARTH_ASSIGN_OR_RETURN(auto values, (read_vector<std::uint64_t, std::uint64_t>()));
    const auto fits = [](std::uint64_t value) { return std::in_range<std::int64_t>(value); };
    if (!std::ranges::all_of(values, fits)) return MetadataValue(std::move(values));
    HEARTH_RETURN_IF_ERROR(budget_.take(values.size(), sizeof(std::int64_t), what_));
    return MetadataValue(std::vector<std::int64_t>(values.begin(), values.end()));
  }

  Result<MetadataValue> read_bools() {
    HEARTH_ASSIGN_OR_RETURN(const auto raw, (read_vector<std::uint8_t, std::uint8_t>()));
    for (const std::uint8_t value : raw) {
      HEARTH_RETURN_IF_ERROR(check_bool(value, what_));
    }
    return MetadataValue(std::vector<bool>(raw.begin(), raw.end()));
  }

  Result<MetadataValue> read_texts() {
    HEARTH_ASSIGN_OR_RETURN(const std::size_t count,
                            read_length(kMinTextBytes, sizeof(std::string_view)));
    std::vector<std::string_view> values(count);
    for (std::string_view& value : values) {
      HEARTH_ASSIGN_OR_RETURN(value, read_text(reader_, what_));
    }
    return MetadataValue(std::move(values));
  }

  ByteReader& reader_;
  AllocationBudget& budget_;
  std::string_view what_;
};

Result<MetadataValue> read_value(ByteReader& reader, AllocationBudget& budget,
                                 std::string_view what) {
  HEARTH_ASSIGN_OR_RETURN(const auto type, reader.read<std::uint32_t>(what));
  switch (static_cast<GgufValueType>(type)) {
    case GgufValueType::kUint8:
      return read_number<std::uint8_t, std::int64_t>(reader, what);
    case GgufValueType::kInt8:
      return read_number<std::int8_t, std::int64_t>(reader, what);
    case GgufValueType::kUint16:
      return read_number<std::uint16_t, std::int64_t>(reader, what);
    case GgufValueType::kInt16:
      return read_number<std::int16_t, std::int64_t>(reader, what);
    case GgufValueType::kUint32:
      return read_number<std::uint32_t, std::int64_t>(reader, what);
    case GgufValueType::kInt32:
      return read_number<std::int32_t, std::int64_t>(reader, what);
    case GgufValueType::kInt64:
      return read_number<std::int64_t, std::int64_t>(reader, what);
    case GgufValueType::kUint64:
      return read_uint64(reader, what);
    case GgufValueType::kFloat32:
      return read_number<float, double>(reader, what);
    case GgufValueType::kFloat64:
      return read_number<double, double>(reader, what);
    case GgufValueType::kBool:
      return read_bool(reader, what);
    case GgufValueType::kArray:
      return ArrayReader(reader, budget, what).read();
    case GgufValueType::kText: {
      HEARTH_ASSIGN_OR_RETURN(const auto text, read_text(reader, what));
      return MetadataValue(text);
    }
  }
  return error(StatusCode::kDataLoss, "{} has unknown value type {}", what, type);
}

struct Header {
  std::uint32_t version = 0;
  std::uint64_t num_tensors = 0;
  std::uint64_t num_entries = 0;
};

Result<Header> read_header(ByteReader& reader) {
  HEARTH_ASSIGN_OR_RETURN(const auto magic, reader.read_text(kGgufMagic.size(), "GGUF magic"));
  if (magic != kGgufMagic) {
    return error(StatusCode::kDataLoss, "not a GGUF file: it does not start with 'GGUF'");
  }
  Header header;
  HEARTH_ASSIGN_OR_RETURN(header.version, reader.read<std::uint32_t>("GGUF version"));
  if (std::byteswap(header.version) <= kGgufVersion && header.version != 0) {
    return error(StatusCode::kUnimplemented,
                 "a big-endian GGUF file; convert it to little-endian first");
  }
  if (header.version < kMinVersion || header.version > kGgufVersion) {
    return error(StatusCode::kUnimplemented, "GGUF version {}; {} to {} are supported",
                 header.version, kMinVersion, kGgufVersion);
  }
  HEARTH_ASSIGN_OR_RETURN(header.num_tensors,
                          read_count(reader, kMinTensorInfoBytes, "tensor count"));
  HEARTH_ASSIGN_OR_RETURN(header.num_entries, read_count(reader, kMinEntryBytes, "metadata count"));
  return header;
}

// `bytes` are those of the reader.
Result<std::vector<MetadataEntry>> read_metadata(ByteReader& reader,
                                                 std::span<const std::byte> bytes,
                                                 std::uint64_t count, AllocationBudget& budget) {
  HEARTH_RETURN_IF_ERROR(
      budget.take(count, sizeof(MetadataEntry) + sizeof(std::uint32_t), "metadata count"));
  std::vector<MetadataEntry> entries;
  entries.reserve(static_cast<std::size_t>(count));
  for (std::uint64_t i = 0; i < count; ++i) {
    HEARTH_ASSIGN_OR_RETURN(const auto key, read_name(reader, kMaxKeyBytes, "metadata key"));
    const std::string what = fmt::format("metadata '{}'", key);
    const std::size_t begin = reader.position();
    HEARTH_ASSIGN_OR_RETURN(auto value, read_value(reader, budget, what));
    entries.push_back({key, std::move(value), bytes.subspan(begin, reader.position() - begin)});
  }
  return entries;
}

Result<std::uint64_t> alignment_of(const GgufDirectory& directory) {
  const MetadataValue* value = directory.find(kAlignmentKey);
  if (value == nullptr) return kGgufDefaultAlignment;
  const auto* number = std::get_if<std::int64_t>(value);
  if (number == nullptr) {
    return error(StatusCode::kDataLoss, "metadata '{}' is not an integer", kAlignmentKey);
  }
  const auto alignment = static_cast<std::uint64_t>(*number);
  if (!std::has_single_bit(alignment) || alignment < kMinAlignment || alignment > kMaxAlignment) {
    return error(StatusCode::kDataLoss,
                 "metadata '{}' is {}; a power of two from {} to {} is allowed", kAlignmentKey,
                 *number, kMinAlignment, kMaxAlignment);
  }
  return alignment;
}

// A tensor info as stored; `offset` counts from the start of the data section.
struct TensorInfo {
  TensorView view;
  std::uint64_t offset = 0;
  std::uint64_t num_bytes = 0;
};

// GGUF stores the innermost dimension first.
Result<Shape> read_shape(ByteReader& reader, std::string_view what) {
  Shape shape;
  HEARTH_ASSIGN_OR_RETURN(shape.rank, reader.read<std::uint32_t>(what));
  if (shape.rank == 0 || shape.rank > kMaxDims) {
    return error(StatusCode::kDataLoss, "{} has {} dimensions; 1 to {} are allowed", what,
                 shape.rank, kMaxDims);
  }
  std::uint64_t num_elements = 1;
  for (std::uint32_t i = 0; i < shape.rank; ++i) {
    HEARTH_ASSIGN_OR_RETURN(const auto dim, reader.read<std::uint64_t>(what));
    if (dim == 0) return error(StatusCode::kDataLoss, "{} has a dimension of size 0", what);
    HEARTH_ASSIGN_OR_RETURN(num_elements, checked_mul(num_elements, dim, what));
    shape.dims[shape.rank - 1 - i] = dim;
  }
  return shape;
}

Result<std::uint64_t> data_bytes(DType dtype, const Shape& shape, std::string_view what) {
  const DTypeInfo& info = dtype_info(dtype);
  if (shape.row_len() % info.block_len != 0) {
    return error(StatusCode::kDataLoss, "{} has rows of {} values; {} stores blocks of {}", what,
                 shape.row_len(), info.name, info.block_len);
  }
  return checked_mul(shape.num_elements() / info.block_len, info.block_bytes, what);
}

std::string dtype_names() {
  std::vector<std::string_view> names;
  for (const DTypeInfo& info : all_dtypes())
    names.push_back(info.name);
  return fmt::format("{}", fmt::join(names, ", "));
}

Result<TensorInfo> read_tensor_info(ByteReader& reader, AllocationBudget& budget) {
  HEARTH_ASSIGN_OR_RETURN(const auto name, read_name(reader, kMaxTensorNameBytes, "tensor name"));
  const std::string what = fmt::format("tensor '{}'", name);
  HEARTH_RETURN_IF_ERROR(budget.take(1, name.size(), what));
  TensorInfo info;
  info.view.name = name;
  HEARTH_ASSIGN_OR_RETURN(info.view.shape, read_shape(reader, what));
  HEARTH_ASSIGN_OR_RETURN(const auto gguf_type, reader.read<std::uint32_t>(what));
  const auto dtype = dtype_from_gguf(gguf_type);
  if (!dtype.has_value()) {
    return error(StatusCode::kUnimplemented,
                 "{} has type {} ({}), which is not supported; supported: {}", what, gguf_type,
                 gguf_type_name(gguf_type), dtype_names());
  }
  info.view.dtype = *dtype;
  HEARTH_ASSIGN_OR_RETURN(info.num_bytes, data_bytes(*dtype, info.view.shape, what));
  HEARTH_ASSIGN_OR_RETURN(info.offset, reader.read<std::uint64_t>(what));
  return info;
}

Result<std::vector<TensorInfo>> read_tensor_infos(ByteReader& reader, std::uint64_t count,
                                                  AllocationBudget& budget) {
  // Once as an info, once as a view, and their places in the sorted orders.
  constexpr std::uint64_t kBytesEach =
      sizeof(TensorInfo) + sizeof(TensorView) + 2 * sizeof(std::uint32_t);
  HEARTH_RETURN_IF_ERROR(budget.take(count, kBytesEach, "tensor count"));
  std::vector<TensorInfo> infos;
  infos.reserve(static_cast<std::size_t>(count));
  for (std::uint64_t i = 0; i < count; ++i) {
    HEARTH_ASSIGN_OR_RETURN(auto info, read_tensor_info(reader, budget));
    infos.push_back(std::move(info));
  }
  return infos;
}

struct DataSection {
  std::span<const std::byte> file;
  std::uint64_t start = 0;
  std::uint64_t alignment = 0;
};

Status place_tensor(const DataSection& section, TensorInfo& info) {
  const std::string what = fmt::format("tensor '{}'", info.view.name);
  if (info.offset % section.alignment != 0) {
    return make_status(StatusCode::kDataLoss, "{} has offset {}, not a multiple of {}", what,
                       info.offset, section.alignment);
  }
  HEARTH_ASSIGN_OR_RETURN(const auto begin, checked_add(section.start, info.offset, what));
  HEARTH_ASSIGN_OR_RETURN(const auto end, checked_add(begin, info.num_bytes, what));
  if (end > section.file.size()) {
    return make_status(StatusCode::kDataLoss, "{} ends at byte {}, but the file has only {}", what,
                       end, section.file.size());
  }
  info.view.data = section.file.subspan(static_cast<std::size_t>(begin),
                                        static_cast<std::size_t>(info.num_bytes));
  return {};
}

Status check_names(const std::vector<TensorInfo>& infos) {
  const auto name_at = [&](std::size_t i) { return std::string_view(infos[i].view.name); };
  const auto index = NameIndex::build(infos.size(), "tensor", name_at);
  return index.has_value() ? Status() : index.error();
}

Status check_no_overlap(const std::vector<TensorInfo>& infos) {
  std::vector<std::uint32_t> order(infos.size());
  for (std::size_t i = 0; i < order.size(); ++i) {
    order[i] = static_cast<std::uint32_t>(i);
  }
  std::ranges::sort(order, {}, [&](std::uint32_t i) { return infos[i].offset; });
  for (std::size_t i = 1; i < order.size(); ++i) {
    const TensorInfo& before = infos[order[i - 1]];
    const TensorInfo& after = infos[order[i]];
    // No overflow: place_tensor() found the end of each inside the file.
    if (before.offset + before.num_bytes > after.offset) {
      return make_status(StatusCode::kDataLoss, "the data of tensors '{}' and '{}' overlap",
                         before.view.name, after.view.name);
    }
  }
  return {};
}

Result<std::vector<TensorView>> place_tensors(const DataSection& section,
                                              std::vector<TensorInfo> infos) {
  for (TensorInfo& info : infos) {
    HEARTH_RETURN_IF_ERROR(place_tensor(section, info));
  }
  HEARTH_RETURN_IF_ERROR(check_no_overlap(infos));
  std::vector<TensorView> views;
  views.reserve(infos.size());
  for (TensorInfo& info : infos) {
    views.push_back(std::move(info.view));
  }
  return views;
}

}  // namespace

Status AllocationBudget::take(std::uint64_t count, std::uint64_t bytes_each,
                              std::string_view what) {
  if (bytes_each != 0 && count > left_ / bytes_each) {
    return make_status(StatusCode::kOutOfRange,
                       "{}: {} entries go beyond the {} bytes a model's directory may take", what,
                       count, limit_);
  }
  left_ -= count * bytes_each;
  return {};
}

const MetadataValue* GgufDirectory::find(std::string_view key) const {
  const auto idx = keys.find(key, [this](std::size_t i) { return metadata[i].key; });
  return idx.has_value() ? &metadata[*idx].value : nullptr;
}

Result<GgufDirectory> read_gguf_directory(std::span<const std::byte> bytes,
                                          AllocationBudget& budget) {
  ByteReader reader(bytes);
  HEARTH_ASSIGN_OR_RETURN(const Header header, read_header(reader));
  GgufDirectory directory;
  directory.version = header.version;
  HEARTH_ASSIGN_OR_RETURN(directory.metadata,
                          read_metadata(reader, bytes, header.num_entries, budget));
  const auto& entries = directory.metadata;
  HEARTH_ASSIGN_OR_RETURN(directory.keys,
                          NameIndex::build(entries.size(), "metadata key",
                                           [&](std::size_t i) { return entries[i].key; }));
  HEARTH_ASSIGN_OR_RETURN(const auto alignment, alignment_of(directory));
  HEARTH_ASSIGN_OR_RETURN(auto infos, read_tensor_infos(reader, header.num_tensors, budget));
  if (infos.empty()) return directory;
  HEARTH_RETURN_IF_ERROR(check_names(infos));
  HEARTH_RETURN_IF_ERROR(reader.align_to(alignment, "padding before the tensor data"));
  const DataSection section = {bytes, reader.position(), alignment};
  HEARTH_ASSIGN_OR_RETURN(directory.tensors, place_tensors(section, std::move(infos)));
  return directory;
}

}  // namespace hearth
