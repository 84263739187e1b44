#include "base/memory_nodes.h"

#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <charconv>

#include "base/file.h"

namespace hearth {
namespace {

constexpr unsigned kMaxNodes = 1024;
constexpr std::size_t kWordBits = 8 * sizeof(unsigned long);
constexpr std::uint64_t kMaxListBytes = 4096;

std::optional<unsigned> take_number(std::string_view& text) {
  unsigned number = 0;
  const auto [end, failure] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (failure != std::errc() || number >= kMaxNodes) return std::nullopt;
  text.remove_prefix(static_cast<std::size_t>(end - text.data()));
  return number;
}

bool take(std::string_view& text, char wanted) {
  if (!text.starts_with(wanted)) return false;
  text.remove_prefix(1);
  return true;
}

}  // namespace

std::optional<std::vector<unsigned>> parse_node_list(std::string_view text) {
  while (text.ends_with('\n'))
    text.remove_suffix(1);
  std::vector<unsigned> nodes;
  do {
    const auto first = take_number(text);
    if (!first) return std::nullopt;
    const auto last = take(text, '-') ? take_number(text) : first;
    if (!last || *last < *first) return std::nullopt;
    for (unsigned node = *first; node <= *last; ++node)
      nodes.push_back(node);
  } while (take(text, ','));
  if (!text.empty()) return std::nullopt;
  return nodes;
}

Result<std::size_t> interleave_memory(const std::filesystem::path& nodes) {
  const auto text = read_text_file(nodes / "has_memory", kMaxListBytes);
  const auto list = text.has_value() ? parse_node_list(*text) : std::nullopt;
  if (!list) {
    return error(StatusCode::kUnimplemented, "'{}' lists no memory nodes",
                 (nodes / "has_memory").string());
  }
  std::array<unsigned long, kMaxNodes / kWordBits> mask = {};
  for (const unsigned node : *list)
    mask[node / kWordBits] |= 1UL << (node % kWordBits);
  if (::syscall(SYS_set_mempolicy, MPOL_INTERLEAVE, mask.data(), kMaxNodes + 1) != 0) {
    return error(errno == ENOSYS ? StatusCode::kUnimplemented : StatusCode::kUnavailable,
                 "the system refuses to spread memory over {} nodes: {}", list->size(),
                 system_error_text(errno));
  }
  return list->size();
}

}  // namespace hearth
