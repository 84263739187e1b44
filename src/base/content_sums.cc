#include "base/content_sums.h"

#include <algorithm>
#include <limits>
#include <system_error>
#include <utility>

#include "base/checksum.h"
#include "base/file.h"

namespace hearth {
namespace {

// The file: magic, uint64 size of the content, a uint64 for each part, a uint64 of all before it.
constexpr std::string_view kMagic = "HTHSUMS1";
constexpr std::uint64_t kMaxSumsBytes = std::uint64_t{1} << 30;

void append(std::string& text, std::uint64_t number) {
  text.append(reinterpret_cast<const char*>(&number), sizeof(number));
}

Result<std::vector<std::uint64_t>> parse(std::string_view text, std::uint64_t size_bytes) {
  const auto bytes = std::as_bytes(std::span(text));
  ByteReader reader(bytes);
  HEARTH_ASSIGN_OR_RETURN(const auto magic, reader.read_text(kMagic.size(), "magic"));
  if (magic != kMagic) return error(StatusCode::kDataLoss, "they do not begin with {}", kMagic);
  HEARTH_ASSIGN_OR_RETURN(const auto described, reader.read<std::uint64_t>("size"));
  if (described != size_bytes) {
    return error(StatusCode::kDataLoss, "they are those of {} bytes instead of {}", described,
                 size_bytes);
  }
  const std::size_t count = num_checksums(static_cast<std::size_t>(size_bytes));
  if (reader.remaining() != (count + 1) * sizeof(std::uint64_t)) {
    return error(StatusCode::kDataLoss, "they have {} bytes, which {} parts do not have",
                 bytes.size(), count);
  }
  std::vector<std::uint64_t> sums(count);
  for (std::uint64_t& sum : sums) {
    HEARTH_ASSIGN_OR_RETURN(sum, reader.read<std::uint64_t>("checksum"));
  }
  const auto summed = bytes.first(reader.position());
  HEARTH_ASSIGN_OR_RETURN(const auto own, reader.read<std::uint64_t>("checksum"));
  if (own != checksum_of(summed))
    return error(StatusCode::kDataLoss, "their own checksum is wrong");
  return sums;
}

}  // namespace

std::filesystem::path ContentSums::path_of(const std::filesystem::path& file) {
  std::error_code failure;
  const std::filesystem::path real = std::filesystem::canonical(file, failure);
  const std::filesystem::path folder = real.parent_path();
  if (failure || folder.filename() != "blobs") return {};
  return folder.parent_path() / "sums" / real.filename();
}

std::string ContentSums::describe(std::span<const std::byte> content) {
  std::string text(kMagic);
  append(text, content.size());
  for (std::size_t idx = 0; idx < num_checksums(content.size()); ++idx)
    append(text, checksum_of(checked_part(content, idx)));
  append(text, checksum_of(std::as_bytes(std::span(text))));
  return text;
}

Result<std::unique_ptr<ContentSums>> ContentSums::read(const std::filesystem::path& path,
                                                       std::uint64_t size_bytes) {
  if (path.empty()) return nullptr;
  const auto text = read_text_file(path, kMaxSumsBytes);
  if (!text.has_value() && text.error().code() == StatusCode::kNotFound) return nullptr;
  auto sums = text.has_value() ? parse(*text, size_bytes) : std::unexpected(text.error());
  if (!sums.has_value()) {
    return std::unexpected(sums.error().with_context(fmt::format(
        "the checksums '{}' cannot be used (hearth verify makes them anew)", path.string())));
  }
  return std::unique_ptr<ContentSums>(new ContentSums(*std::move(sums)));
}

Status ContentSums::check(std::span<const std::byte> content, std::size_t begin, std::size_t end,
                          ThreadPool* threads) {
  HEARTH_CHECK(begin <= end && end <= content.size() &&
               num_checksums(content.size()) == sums_.size());
  if (begin == end) return {};
  const std::size_t first = begin / kChecksumBytes;
  const std::size_t count = num_checksums(end) - first;
  constexpr std::size_t kNone = std::numeric_limits<std::size_t>::max();
  std::atomic<std::size_t> bad = kNone;
  const auto compare = [&](std::size_t task, std::size_t) {
    const std::size_t idx = first + task;
    if (checked_[idx].load(std::memory_order_relaxed)) return;
    const bool right = checksum_of(checked_part(content, idx)) == sums_[idx];
    (right ? checked_[idx].store(true, std::memory_order_relaxed)
           : bad.store(idx, std::memory_order_relaxed));
  };
  if (threads != nullptr && count > 1) {
    threads->run(count, compare);
  } else {
    for (std::size_t task = 0; task < count; ++task)
      compare(task, 0);
  }
  const std::size_t idx = bad.load(std::memory_order_relaxed);
  if (idx == kNone) return {};
  return make_status(StatusCode::kDataLoss,
                     "bytes {} to {} are not those that were stored; hearth verify --repair makes "
                     "room for a good copy",
                     idx * kChecksumBytes,
                     std::min(content.size(), (idx + 1) * kChecksumBytes) - 1);
}

}  // namespace hearth
