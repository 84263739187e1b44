#include "hub/digest.h"

#include <openssl/evp.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <vector>

namespace hearth::hub {
namespace {

constexpr std::size_t kReadBytes = std::size_t{1} << 20;

bool is_hex(std::string_view text, std::size_t size) {
  return text.size() == size && std::ranges::all_of(text, [](char c) {
           return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f');
         });
}

}  // namespace

struct Digest::Impl {
  struct Free {
    void operator()(EVP_MD_CTX* used) const { EVP_MD_CTX_free(used); }
  };
  std::unique_ptr<EVP_MD_CTX, Free> context{EVP_MD_CTX_new()};
};

Digest::Digest(DigestKind kind) : impl_(std::make_unique<Impl>()) {
  const EVP_MD* type = kind == DigestKind::kSha256 ? EVP_sha256() : EVP_sha1();
  HEARTH_CHECK(EVP_DigestInit_ex(impl_->context.get(), type, nullptr) == 1);
}

Digest::Digest(Digest&&) noexcept = default;
Digest& Digest::operator=(Digest&&) noexcept = default;
Digest::~Digest() = default;

void Digest::add(std::string_view bytes) {
  HEARTH_CHECK(EVP_DigestUpdate(impl_->context.get(), bytes.data(), bytes.size()) == 1);
}

std::string Digest::hex() {
  std::array<unsigned char, EVP_MAX_MD_SIZE> value{};
  unsigned int size = 0;
  HEARTH_CHECK(EVP_DigestFinal_ex(impl_->context.get(), value.data(), &size) == 1);
  std::string text;
  for (const unsigned char byte : std::span(value).first(size))
    text += fmt::format("{:02x}", byte);
  return text;
}

std::string sha256_of(std::string_view bytes) {
  Digest digest;
  digest.add(bytes);
  return digest.hex();
}

bool is_sha256(std::string_view text) {
  return is_hex(text, 64);
}

bool is_sha1(std::string_view text) {
  return is_hex(text, 40);
}

Status add_file_range(Digest& digest, int fd, std::uint64_t begin, std::uint64_t end) {
  std::vector<char> buffer(
      static_cast<std::size_t>(std::min<std::uint64_t>(kReadBytes, end - begin)));
  while (begin < end) {
    const auto wanted =
        static_cast<std::size_t>(std::min<std::uint64_t>(buffer.size(), end - begin));
    const ssize_t count = ::pread(fd, buffer.data(), wanted, static_cast<off_t>(begin));
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) {
      return make_status(StatusCode::kDataLoss, "cannot be read: {}", system_error_text(errno));
    }
    if (count == 0) {
      return make_status(StatusCode::kDataLoss, "ends at byte {}, before byte {}", begin, end);
    }
    digest.add(std::string_view(buffer.data(), static_cast<std::size_t>(count)));
    begin += static_cast<std::uint64_t>(count);
  }
  return {};
}

}  // namespace hearth::hub
