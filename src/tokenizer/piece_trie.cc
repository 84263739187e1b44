#include "tokenizer/piece_trie.h"

#include <algorithm>
#include <utility>

namespace hearth {

PieceTrie::PieceTrie(std::vector<Entry> entries) {
  std::ranges::sort(entries, {},
                    [](const Entry& entry) { return std::pair(entry.text, entry.id); });
  // Breadth first: the entries below a node are a range of the sorted list, `depth` bytes of which
  // lead to the node.
  struct Pending {
    NodeIdx node = kRoot;
    std::size_t begin = 0, end = 0, depth = 0;
  };
  nodes_.emplace_back();
  std::vector<Pending> level = {{.begin = 0, .end = entries.size()}};
  while (!level.empty()) {
    std::vector<Pending> next_level;
    for (const Pending& pending : level) {
      std::size_t at = pending.begin;
      for (; at < pending.end && entries[at].text.size() == pending.depth; ++at)
        nodes_[pending.node].id = entries[at].id;
      nodes_[pending.node].first_child = static_cast<NodeIdx>(nodes_.size());
      while (at < pending.end) {
        const char byte = entries[at].text[pending.depth];
        std::size_t end = at + 1;
        while (end < pending.end && entries[end].text[pending.depth] == byte)
          ++end;
        next_level.push_back({.node = static_cast<NodeIdx>(nodes_.size()),
                              .begin = at,
                              .end = end,
                              .depth = pending.depth + 1});
        nodes_.push_back({.byte = static_cast<std::uint8_t>(byte)});
        ++nodes_[pending.node].num_children;
        at = end;
      }
    }
    level = std::move(next_level);
  }
}

PieceTrie::NodeIdx PieceTrie::child(NodeIdx node, unsigned char byte) const {
  const Node& parent = nodes_[node];
  NodeIdx first = parent.first_child;
  NodeIdx count = parent.num_children;
  constexpr NodeIdx kFew = 8;
  while (count > kFew) {
    const NodeIdx half = count / 2;
    if (nodes_[first + half].byte <= byte) {
      first += half;
      count -= half;
    } else {
      count = half;
    }
  }
  for (NodeIdx idx = first; idx < first + count; ++idx) {
    if (nodes_[idx].byte == byte) return idx;
  }
  return kNone;
}

PieceTrie::NodeIdx PieceTrie::walk(NodeIdx node, std::string_view bytes) const {
  for (const char byte : bytes) {
    if (node == kNone) return kNone;
    node = child(node, static_cast<unsigned char>(byte));
  }
  return node;
}

}  // namespace hearth
