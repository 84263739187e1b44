#include "formats/safetensors.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <bit>
#include <optional>
#include <utility>

#include "base/file.h"
#include "base/utf8.h"

namespace hearth {
namespace {

static_assert(std::endian::native == std::endian::little, "tensor data is read in place");

constexpr std::uint64_t kFormatHeaderLimit = 100'000'000;
// 16 times what the largest models need per file.
constexpr std::size_t kMaxHeaderBytes = std::size_t{16} << 20;
constexpr std::ptrdiff_t kMaxSeparators = std::ptrdiff_t{1} << 20;
constexpr std::size_t kMaxNameBytes = 256;
constexpr std::size_t kMaxDims = 4;

// Every type of the format, by the bits of one value.
struct WireType {
  std::string_view name;
  std::uint32_t bits;
};

constexpr std::array kWireTypes = {
    WireType{"F64", 64},    WireType{"F32", 32},    WireType{"F16", 16},    WireType{"BF16", 16},
    WireType{"I64", 64},    WireType{"I32", 32},    WireType{"I16", 16},    WireType{"I8", 8},
    WireType{"U64", 64},    WireType{"U32", 32},    WireType{"U16", 16},    WireType{"U8", 8},
    WireType{"BOOL", 8},    WireType{"F8_E4M3", 8}, WireType{"F8_E5M2", 8}, WireType{"F8_E8M0", 8},
    WireType{"F6_E2M3", 6}, WireType{"F6_E3M2", 6}, WireType{"F4", 4},      WireType{"C64", 64},
};

struct UsableType {
  std::string_view name;
  DType dtype;
};

constexpr std::array kUsableTypes = {UsableType{"F32", DType::kF32}, UsableType{"F16", DType::kF16},
                                     UsableType{"BF16", DType::kBF16}};

// Where a tensor lies, counted from the start of the buffer behind the header.
struct Place {
  std::uint64_t begin = 0;
  std::uint64_t end = 0;
};

struct Entry {
  SafetensorsTensor tensor;
  Place place;
};

std::unexpected<Status> wrong_member(std::string_view what, std::string_view member,
                                     std::string_view wanted, const json::Value* value) {
  if (value == nullptr) {
    return error(StatusCode::kDataLoss, "{} has no '{}'", what, member);
  }
  return error(StatusCode::kDataLoss, "{}: '{}' should be {} but is of type {}", what, member,
               wanted, value->type_name());
}

Status check_name(std::string_view name) {
  const auto is_control = [](char c) { return static_cast<unsigned char>(c) < 0x20 || c == 0x7f; };
  if (name.empty() || name.size() > kMaxNameBytes) {
    return make_status(StatusCode::kDataLoss, "a tensor name has {} bytes; 1 to {} are allowed",
                       name.size(), kMaxNameBytes);
  }
  if (std::ranges::any_of(name, is_control)) {
    return make_status(StatusCode::kDataLoss, "a tensor name is not printable text");
  }
  return {};
}

Result<const WireType*> read_type(const json::Object& fields, std::string_view what) {
  const json::Value* value = fields.find("dtype");
  if (value == nullptr || value->as_string() == nullptr) {
    return wrong_member(what, "dtype", "a string", value);
  }
  const auto* row = std::ranges::find(kWireTypes, *value->as_string(), &WireType::name);
  if (row == kWireTypes.end()) {
    return error(StatusCode::kUnimplemented, "{} has an unknown dtype '{}'", what,
                 value->as_string()->substr(0, 32));
  }
  return row;
}

// A list of integers from 0.
Result<std::vector<std::uint64_t>> read_sizes(const json::Object& fields, std::string_view member,
                                              std::string_view what) {
  const json::Value* value = fields.find(member);
  if (value == nullptr || value->as_array() == nullptr) {
    return wrong_member(what, member, "a list of integers", value);
  }
  std::vector<std::uint64_t> sizes;
  for (const json::Value& item : *value->as_array()) {
    std::uint64_t size = 0;
    if (!item.is_integer() || !item.to_uint64(size)) {
      return error(StatusCode::kDataLoss, "{}: '{}' holds something that is no integer from 0 on",
                   what, member);
    }
    sizes.push_back(size);
  }
  return sizes;
}

Result<Shape> read_shape(const json::Object& fields, std::string_view what) {
  HEARTH_ASSIGN_OR_RETURN(const auto dims, read_sizes(fields, "shape", what));
  if (dims.size() > kMaxDims) {
    return error(StatusCode::kUnimplemented, "{} has {} dimensions; at most {} are supported", what,
                 dims.size(), kMaxDims);
  }
  Shape shape;
  shape.rank = static_cast<std::uint32_t>(dims.size());
  std::ranges::copy(dims, shape.dims.begin());
  return shape;
}

// Also proves that the number of elements does not overflow, whatever the order of the product.
Result<std::uint64_t> bytes_of(const Shape& shape, const WireType& type, std::string_view what) {
  std::uint64_t num_elements = 1;
  for (std::uint32_t i = 0; i < shape.rank; ++i) {
    const std::uint64_t dim = std::max<std::uint64_t>(shape.dims[i], 1);
    HEARTH_ASSIGN_OR_RETURN(num_elements, checked_mul(num_elements, dim, what));
  }
  if (shape.num_elements() == 0) return 0;
  HEARTH_ASSIGN_OR_RETURN(const auto bits, checked_mul(num_elements, type.bits, what));
  if (bits % 8 != 0) {
    return error(StatusCode::kDataLoss, "{}: {} values of {} bits are not whole bytes", what,
                 num_elements, type.bits);
  }
  return bits / 8;
}

Result<Place> read_place(const json::Object& fields, std::uint64_t buffer_bytes,
                         std::string_view what) {
  HEARTH_ASSIGN_OR_RETURN(const auto offsets, read_sizes(fields, "data_offsets", what));
  if (offsets.size() != 2 || offsets[0] > offsets[1]) {
    return error(StatusCode::kDataLoss, "{}: 'data_offsets' is not a begin and an end", what);
  }
  if (offsets[1] > buffer_bytes) {
    return error(StatusCode::kDataLoss,
                 "{} ends at byte {} of the data, but the file holds only {} bytes of data", what,
                 offsets[1], buffer_bytes);
  }
  return Place{offsets[0], offsets[1]};
}

Result<Entry> read_entry(const json::Member& member, std::span<const std::byte> buffer) {
  HEARTH_RETURN_IF_ERROR(check_name(member.key));
  const std::string what = fmt::format("tensor '{}'", member.key);
  const json::Object* fields = member.value.as_object();
  if (fields == nullptr) {
    return error(StatusCode::kDataLoss, "{} is described by a value of type {}, not an object",
                 what, member.value.type_name());
  }
  HEARTH_ASSIGN_OR_RETURN(const WireType* type, read_type(*fields, what));
  HEARTH_ASSIGN_OR_RETURN(const Shape shape, read_shape(*fields, what));
  HEARTH_ASSIGN_OR_RETURN(const std::uint64_t num_bytes, bytes_of(shape, *type, what));
  HEARTH_ASSIGN_OR_RETURN(const Place place, read_place(*fields, buffer.size(), what));
  if (place.end - place.begin != num_bytes) {
    return error(StatusCode::kDataLoss,
                 "{} of shape {} and type {} needs {} bytes, but its data_offsets span {}", what,
                 shape.to_string(), type->name, num_bytes, place.end - place.begin);
  }
  const auto data =
      buffer.subspan(static_cast<std::size_t>(place.begin), static_cast<std::size_t>(num_bytes));
  return Entry{{member.key, type->name, shape, data}, place};
}

// The tensors must follow one another and fill the buffer.
Status check_places(const std::vector<Entry>& entries, std::uint64_t buffer_bytes) {
  std::uint64_t end = 0;
  std::string_view before = "the header";
  for (const Entry& entry : entries) {
    if (entry.place.begin < end) {
      return make_status(StatusCode::kDataLoss, "the data of tensors '{}' and '{}' overlap", before,
                         entry.tensor.name);
    }
    if (entry.place.begin > end) {
      return make_status(StatusCode::kDataLoss,
                         "{} bytes between '{}' and tensor '{}' belong to no tensor",
                         entry.place.begin - end, before, entry.tensor.name);
    }
    end = entry.place.end;
    before = entry.tensor.name;
  }
  if (end != buffer_bytes) {
    return make_status(StatusCode::kDataLoss, "the last {} bytes of the file belong to no tensor",
                       buffer_bytes - end);
  }
  return {};
}

Result<std::string_view> read_header(ByteReader& reader) {
  HEARTH_ASSIGN_OR_RETURN(const auto length, reader.read<std::uint64_t>("header length"));
  if (length > kFormatHeaderLimit) {
    return error(StatusCode::kDataLoss, "header length is {}; the format allows {} bytes at most",
                 length, kFormatHeaderLimit);
  }
  return reader.read_text(length, "header");
}

}  // namespace

Result<std::vector<SafetensorsTensor>> read_safetensors(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  HEARTH_ASSIGN_OR_RETURN(const std::string_view header, read_header(reader));
  const auto buffer = bytes.subspan(reader.position());
  HEARTH_ASSIGN_OR_RETURN(const json::Value root,
                          parse_model_json(header, kMaxHeaderBytes, "header"));
  const json::Object* members = root.as_object();
  if (members == nullptr) {
    return error(StatusCode::kDataLoss, "the header is of JSON type {}, not an object",
                 root.type_name());
  }
  std::vector<Entry> entries;
  for (const json::Member& member : *members) {
    if (member.key == "__metadata__") continue;
    HEARTH_ASSIGN_OR_RETURN(Entry entry, read_entry(member, buffer));
    entries.push_back(std::move(entry));
  }
  // An empty tensor may share its offset with the one behind it.
  std::ranges::sort(entries, {}, [](const Entry& entry) {
    return std::pair(entry.place.begin, entry.place.end);
  });
  HEARTH_RETURN_IF_ERROR(check_places(entries, buffer.size()));
  std::vector<SafetensorsTensor> tensors;
  tensors.reserve(entries.size());
  for (Entry& entry : entries)
    tensors.push_back(std::move(entry.tensor));
  return tensors;
}

Result<TensorView> to_tensor_view(const SafetensorsTensor& tensor) {
  const auto* usable = std::ranges::find(kUsableTypes, tensor.type, &UsableType::name);
  if (usable == kUsableTypes.end()) {
    std::vector<std::string_view> names;
    names.reserve(kUsableTypes.size());
    for (const UsableType& type : kUsableTypes)
      names.push_back(type.name);
    return error(StatusCode::kUnimplemented,
                 "tensor '{}' has dtype {}, which is not supported; supported: {}", tensor.name,
                 tensor.type, fmt::join(names, ", "));
  }
  if (tensor.data.empty()) {
    return error(StatusCode::kDataLoss, "tensor '{}' of shape {} has no element", tensor.name,
                 tensor.shape.to_string());
  }
  return TensorView{tensor.name, usable->dtype, tensor.shape, tensor.data};
}

Result<json::Value> parse_model_json(std::string_view text, std::size_t max_bytes,
                                     std::string_view what) {
  if (text.size() > max_bytes) {
    return error(StatusCode::kOutOfRange, "{} has {} bytes; at most {} are supported", what,
                 text.size(), max_bytes);
  }
  const auto separators =
      std::ranges::count_if(text, [](char c) { return c == ',' || c == '[' || c == '{'; });
  if (separators > kMaxSeparators) {
    return error(StatusCode::kOutOfRange,
                 "{} holds {} commas and brackets; at most {} are supported", what, separators,
                 kMaxSeparators);
  }
  auto value = json::parse(text);
  if (!value.has_value()) {
    return error(StatusCode::kDataLoss, "{} is not valid JSON: {}", what, value.error().message());
  }
  return *std::move(value);
}

}  // namespace hearth
