#include "compress/imatrix.h"

#include <cmath>
#include <cstring>
#include <utility>

#include "base/file.h"
#include "formats/model_file.h"
#include "tensor/quantize.h"

namespace hearth {
namespace {

using Values = std::map<std::string, std::vector<float>, std::less<>>;

constexpr std::string_view kSums = ".in_sum2";
constexpr std::string_view kCounts = ".counts";
constexpr std::uint32_t kMaxNameBytes = 256;

Status check_values(std::string_view name, std::span<const float> values) {
  for (const float value : values) {
    if (std::isfinite(value) && value >= 0.0f) continue;
    return make_status(StatusCode::kDataLoss, "the importance of '{}' holds {}", name, value);
  }
  return {};
}

std::vector<float> floats_of(const TensorView& tensor) {
  std::vector<float> values(tensor.shape.num_elements());
  dequantize_row(tensor.dtype, tensor.data, values);
  return values;
}

// Sums of squares, and over how many rows of each matrix they go.
Result<std::vector<float>> means(std::string_view name, std::vector<float> sums,
                                 std::span<const float> counts) {
  if (counts.empty() || sums.size() % counts.size() != 0) {
    return error(StatusCode::kDataLoss, "'{}' has {} sums and {} counts", name, sums.size(),
                 counts.size());
  }
  const std::size_t width = sums.size() / counts.size();
  for (std::size_t i = 0; i < sums.size(); ++i) {
    const float count = counts[i / width];
    sums[i] = count > 0.0f ? sums[i] / count : 0.0f;  // An expert that was never chosen.
  }
  HEARTH_RETURN_IF_ERROR(check_values(name, sums));
  return sums;
}

Result<Values> read_gguf(std::span<const std::byte> bytes) {
  HEARTH_ASSIGN_OR_RETURN(const ModelFile file, ModelFile::parse(bytes));
  Values values;
  for (const TensorView& tensor : file.tensors()) {
    if (!tensor.name.ends_with(kSums)) continue;
    std::string name = tensor.name.substr(0, tensor.name.size() - kSums.size());
    const TensorView* counts = file.find_tensor(name + std::string(kCounts));
    if (counts == nullptr || counts->dtype != DType::kF32 || tensor.dtype != DType::kF32) {
      return error(StatusCode::kDataLoss, "'{}' has no F32 counts beside its F32 sums", name);
    }
    HEARTH_ASSIGN_OR_RETURN(auto mean, means(name, floats_of(tensor), floats_of(*counts)));
    values.emplace(std::move(name), std::move(mean));
  }
  return values;
}

Result<std::uint32_t> read_size(ByteReader& reader, std::string_view what, std::int64_t limit) {
  HEARTH_ASSIGN_OR_RETURN(const auto size, reader.read<std::int32_t>(what));
  if (size >= 1 && size <= limit) return static_cast<std::uint32_t>(size);
  return error(StatusCode::kDataLoss, "the {} is {}; 1 to {} are possible here", what, size, limit);
}

// Entries of (name, calls, values times calls), then what nobody needs here.
Result<Values> read_dat(std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  const auto rest = [&] { return static_cast<std::int64_t>(reader.remaining()); };
  HEARTH_ASSIGN_OR_RETURN(const auto count, read_size(reader, "number of entries", rest() / 16));
  Values values;
  for (std::uint32_t i = 0; i < count; ++i) {
    HEARTH_ASSIGN_OR_RETURN(const auto length,
                            read_size(reader, "length of a name", kMaxNameBytes));
    HEARTH_ASSIGN_OR_RETURN(const auto name, reader.read_text(length, "name"));
    HEARTH_ASSIGN_OR_RETURN(const auto calls, read_size(reader, "number of calls", INT32_MAX));
    HEARTH_ASSIGN_OR_RETURN(const auto width, read_size(reader, "number of values", rest() / 4));
    HEARTH_ASSIGN_OR_RETURN(const auto raw, reader.read_bytes(width * sizeof(float), "values"));
    std::vector<float> sums(width);
    std::memcpy(sums.data(), raw.data(), raw.size());
    const auto divisor = static_cast<float>(calls);
    HEARTH_ASSIGN_OR_RETURN(auto mean, means(name, std::move(sums), std::span(&divisor, 1)));
    values.insert_or_assign(std::string(name), std::move(mean));
  }
  return values;
}

}  // namespace

Result<Imatrix> Imatrix::parse(std::string name, std::span<const std::byte> bytes) {
  ByteReader reader(bytes);
  const auto magic = reader.read_text(4, "magic");
  const bool is_gguf = magic.has_value() && *magic == "GGUF";
  HEARTH_ASSIGN_OR_RETURN(Values values, is_gguf ? read_gguf(bytes) : read_dat(bytes));
  if (!values.empty()) return Imatrix(std::move(name), std::move(values));
  return error(StatusCode::kDataLoss, "holds no importance of any tensor");
}

Result<Imatrix> Imatrix::open(const std::filesystem::path& path) {
  HEARTH_ASSIGN_OR_RETURN(const MappedFile mapping, MappedFile::open(path));
  auto imatrix = parse(path.filename().string(), mapping.bytes());
  if (imatrix.has_value()) return imatrix;
  return std::unexpected(imatrix.error().with_context(fmt::format("imatrix '{}'", path.string())));
}

Result<std::span<const float>> Imatrix::find(const TensorView& tensor) const {
  const auto found = values_.find(tensor.name);
  if (found == values_.end()) return std::span<const float>();
  const std::size_t row_len = tensor.shape.row_len();
  const bool is_stack = tensor.shape.rank > 2;
  const std::size_t matrices =
      is_stack ? tensor.shape.num_elements() / row_len / tensor.shape.dims[tensor.shape.rank - 2]
               : 1;
  const std::size_t size = found->second.size();
  if (size == row_len || size == row_len * matrices) return std::span(found->second);
  return error(StatusCode::kDataLoss,
               "imatrix '{}' has {} values for '{}', whose rows have {}: it is of another model",
               name_, size, tensor.name, row_len);
}

}  // namespace hearth
