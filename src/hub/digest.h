// SHA-256 and SHA-1 as lower-case hexadecimal text. SHA-1 only names files the way git does.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth::hub {

enum class DigestKind { kSha256, kSha1 };

// One digest of one stream of bytes. Move only; not thread-safe.
class Digest {
 public:
  explicit Digest(DigestKind kind = DigestKind::kSha256);
  Digest(Digest&&) noexcept;
  Digest& operator=(Digest&&) noexcept;
  ~Digest();

  void add(std::string_view bytes);
  // Ends the stream; to be called once.
  std::string hex();

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

std::string sha256_of(std::string_view bytes);

// 64 lower-case hexadecimal digits.
bool is_sha256(std::string_view text);
// 40 of them: a commit, or git's name of a file.
bool is_sha1(std::string_view text);

// Adds the bytes [begin, end) of an open file to `digest`, without moving its position. kDataLoss
// when the file ends before `end` or cannot be read.
Status add_file_range(Digest& digest, int fd, std::uint64_t begin, std::uint64_t end);

}  // namespace hearth::hub
