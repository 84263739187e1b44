#include "formats/gguf_file_writer.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <limits>
#include <type_traits>
#include <utility>

#include "base/file.h"
#include "formats/gguf_format.h"

namespace hearth {
namespace {

constexpr std::uint64_t kAlignment = kGgufDefaultAlignment;
constexpr std::string_view kPartialSuffix = ".partial";

class Bytes {
 public:
  template <typename T>
    requires std::is_arithmetic_v<T>
  void put(T value) {
    const auto* first = reinterpret_cast<const std::byte*>(&value);
    bytes_.insert(bytes_.end(), first, first + sizeof(value));
  }
  void put(GgufValueType type) { put(static_cast<std::uint32_t>(type)); }
  void put(std::string_view text) {
    put(std::uint64_t{text.size()});
    put_raw(std::as_bytes(std::span(text)));
  }
  void put_raw(std::span<const std::byte> bytes) {
    bytes_.insert(bytes_.end(), bytes.begin(), bytes.end());
  }
  void pad() { bytes_.resize((bytes_.size() + kAlignment - 1) / kAlignment * kAlignment); }
  std::vector<std::byte> take() { return std::move(bytes_); }

 private:
  std::vector<std::byte> bytes_;
};

// The first of the usual integer types that holds both.
GgufValueType integer_type(std::int64_t least, std::int64_t most) {
  if (least >= 0 && std::in_range<std::uint32_t>(most)) return GgufValueType::kUint32;
  if (std::in_range<std::int32_t>(least) && std::in_range<std::int32_t>(most)) {
    return GgufValueType::kInt32;
  }
  return GgufValueType::kInt64;
}

void put_integer(GgufValueType type, std::int64_t value, Bytes& out) {
  switch (type) {
    case GgufValueType::kUint32:
      return out.put(static_cast<std::uint32_t>(value));
    case GgufValueType::kInt32:
      return out.put(static_cast<std::int32_t>(value));
    default:
      return out.put(value);
  }
}

struct Encoder {
  Bytes& out;

  void operator()(bool value) const {
    out.put(GgufValueType::kBool);
    out.put(static_cast<std::uint8_t>(value));
  }
  void operator()(std::int64_t value) const {
    const GgufValueType type = integer_type(value, value);
    out.put(type);
    put_integer(type, value, out);
  }
  void operator()(std::uint64_t value) const {
    out.put(GgufValueType::kUint64);
    out.put(value);
  }
  void operator()(double value) const {
    out.put(GgufValueType::kFloat32);
    out.put(static_cast<float>(value));
  }
  void operator()(std::string_view value) const {
    out.put(GgufValueType::kText);
    out.put(value);
  }
  void operator()(const std::vector<std::int64_t>& values) const {
    const auto [least, most] = std::ranges::minmax_element(values);
    const GgufValueType type = values.empty() ? GgufValueType::kInt32 : integer_type(*least, *most);
    begin_array(type, values.size());
    for (const std::int64_t value : values)
      put_integer(type, value, out);
  }
  template <typename T>
  void operator()(const std::vector<T>& values) const {
    if constexpr (std::is_same_v<T, bool>) begin_array(GgufValueType::kBool, values.size());
    if constexpr (std::is_same_v<T, std::uint64_t>)
      begin_array(GgufValueType::kUint64, values.size());
    if constexpr (std::is_same_v<T, double>) begin_array(GgufValueType::kFloat32, values.size());
    if constexpr (std::is_same_v<T, std::string_view>) {
      begin_array(GgufValueType::kText, values.size());
    }
    for (const auto& value : values) {
      if constexpr (std::is_same_v<T, bool>) {
        out.put(static_cast<std::uint8_t>(value));
      } else if constexpr (std::is_same_v<T, double>) {
        out.put(static_cast<float>(value));
      } else {
        out.put(value);
      }
    }
  }

  void begin_array(GgufValueType type, std::size_t size) const {
    out.put(GgufValueType::kArray);
    out.put(type);
    out.put(std::uint64_t{size});
  }
};

std::uint64_t aligned(std::uint64_t bytes) {
  return (bytes + kAlignment - 1) / kAlignment * kAlignment;
}

std::vector<std::byte> encode_head(const GgufMetadata& metadata,
                                   std::span<const GgufTensorInfo> tensors) {
  Bytes head;
  head.put_raw(std::as_bytes(std::span(kGgufMagic)));
  head.put(kGgufVersion);
  head.put(std::uint64_t{tensors.size()});
  head.put(std::uint64_t{metadata.size()});
  head.put_raw(metadata.bytes());
  std::uint64_t offset = 0;
  for (const GgufTensorInfo& tensor : tensors) {
    head.put(std::string_view(tensor.name));
    head.put(tensor.shape.rank);
    for (std::uint32_t i = tensor.shape.rank; i > 0; --i)
      head.put(tensor.shape.dims[i - 1]);  // Innermost first.
    head.put(dtype_info(tensor.dtype).gguf_type);
    head.put(offset);
    offset += aligned(tensor.num_bytes());
  }
  head.pad();
  return head.take();
}

Status check_room(const std::filesystem::path& directory, std::uint64_t needed) {
  struct statvfs room = {};
  // Where the system does not tell, writing will.
  if (::statvfs(directory.c_str(), &room) != 0) return {};
  const std::uint64_t available = std::uint64_t{room.f_bavail} * room.f_frsize;
  if (available >= needed) return {};
  return make_status(StatusCode::kResourceExhausted,
                     "{:.1f} MiB are needed in '{}', but only {:.1f} MiB are free",
                     static_cast<double>(needed) / 0x1p20, directory.string(),
                     static_cast<double>(available) / 0x1p20);
}

std::filesystem::path directory_of(const std::filesystem::path& path) {
  return path.has_parent_path() ? path.parent_path() : std::filesystem::path(".");
}

std::string_view as_text(std::span<const std::byte> bytes) {
  return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

// "PATH.ID.partial"
bool is_temporary(std::string_view name) {
  if (!name.ends_with(kPartialSuffix)) return false;
  name.remove_suffix(kPartialSuffix.size());
  const std::size_t dot = name.rfind('.');
  return dot != std::string_view::npos && dot > 0 && name.size() - dot - 1 == unique_name().size();
}

}  // namespace

void GgufMetadata::set(const MetadataEntry& entry) {
  if (entry.stored.empty()) return set(entry.key, entry.value);
  put(entry.key, {entry.stored.begin(), entry.stored.end()});
}

void GgufMetadata::set(std::string_view key, const MetadataValue& value) {
  Bytes encoded;
  std::visit(Encoder{encoded}, value);
  put(key, encoded.take());
}

void GgufMetadata::put(std::string_view key, std::vector<std::byte> value) {
  const auto [place, is_new] = places_.try_emplace(std::string(key), entries_.size());
  if (is_new) {
    entries_.push_back({std::string(key), std::move(value)});
  } else {
    entries_[place->second].value = std::move(value);
  }
}

std::vector<std::byte> GgufMetadata::bytes() const {
  Bytes all;
  for (const Entry& entry : entries_) {
    all.put(std::string_view(entry.key));
    all.put_raw(entry.value);
  }
  return all.take();
}

std::uint64_t GgufTensorInfo::num_bytes() const {
  return shape.num_rows() * row_bytes(dtype, shape.row_len());
}

Result<GgufFileWriter> GgufFileWriter::create(const std::filesystem::path& path,
                                              const GgufMetadata& metadata,
                                              std::span<const GgufTensorInfo> tensors) {
  GgufFileWriter writer(path);
  const Status begun = writer.begin(encode_head(metadata, tensors), tensors);
  if (!begun.ok()) {
    return std::unexpected(begun.with_context(fmt::format("cannot write '{}'", path.string())));
  }
  return writer;
}

Status GgufFileWriter::begin(const std::vector<std::byte>& head,
                             std::span<const GgufTensorInfo> tensors) {
  // rename() would replace a device or a pipe, and fail on a directory only after all the work.
  std::error_code failure;
  const auto there = std::filesystem::status(path_, failure);
  if (std::filesystem::exists(there) && !std::filesystem::is_regular_file(there)) {
    return Status(StatusCode::kInvalidArgument, "it is there and no regular file");
  }
  file_bytes_ = head.size();
  for (const GgufTensorInfo& tensor : tensors) {
    sizes_.push_back(tensor.num_bytes());
    file_bytes_ += aligned(sizes_.back());
  }
  left_ = sizes_.empty() ? 0 : sizes_.front();
  remove_left_overs(directory_of(path_), path_.filename().string() + ".");
  HEARTH_RETURN_IF_ERROR(check_room(directory_of(path_), file_bytes_));
  HEARTH_RETURN_IF_ERROR(create_locked());
  return write_all(file_.get(), as_text(head));
}

void GgufFileWriter::remove_left_overs(const std::filesystem::path& directory,
                                       std::string_view prefix) {
  std::error_code failure;
  std::filesystem::directory_iterator entry(directory, failure);
  for (; !failure && entry != std::filesystem::directory_iterator(); entry.increment(failure)) {
    const std::string name = entry->path().filename().string();
    if (!name.starts_with(prefix) || !is_temporary(name)) continue;
    const Descriptor file(::open(entry->path().c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
    if (!file.valid() || ::flock(file.get(), LOCK_EX | LOCK_NB) != 0) continue;
    ::unlink(entry->path().c_str());
  }
}

Status GgufFileWriter::create_locked() {
  while (true) {
    temporary_ = path_;
    temporary_ += fmt::format(".{}{}", unique_name(), kPartialSuffix);
    file_ = Descriptor(::open(temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666));
    if (!file_.valid()) return write_error(errno);
    struct stat info = {};
    if (::flock(file_.get(), LOCK_EX) != 0 || ::fstat(file_.get(), &info) != 0) {
      return write_error(errno);
    }
    if (info.st_nlink > 0) return {};  // Else another process took it for a left-over.
  }
}

GgufFileWriter::~GgufFileWriter() {
  if (file_.valid() && !temporary_.empty()) ::unlink(temporary_.c_str());
}

Status GgufFileWriter::write(std::span<const std::byte> data) {
  HEARTH_CHECK(tensor_idx_ < sizes_.size() && data.size() <= left_);
  Status status = write_all(file_.get(), as_text(data));
  left_ -= data.size();
  if (status.ok() && left_ == 0) {
    const std::uint64_t size = sizes_[tensor_idx_];
    const std::string padding(static_cast<std::size_t>(aligned(size) - size), '\0');
    status = write_all(file_.get(), padding);
    ++tensor_idx_;
    left_ = tensor_idx_ < sizes_.size() ? sizes_[tensor_idx_] : 0;
  }
  return status.ok() ? status
                     : status.with_context(fmt::format("cannot write '{}'", path_.string()));
}

Status GgufFileWriter::finish() {
  HEARTH_CHECK(tensor_idx_ == sizes_.size());
  const auto failed = [&] {
    return write_error(errno).with_context(fmt::format("cannot write '{}'", path_.string()));
  };
  if (::fsync(file_.get()) != 0) return failed();
  if (::rename(temporary_.c_str(), path_.c_str()) != 0) return failed();
  temporary_.clear();
  return sync_directory(directory_of(path_));
}

}  // namespace hearth
