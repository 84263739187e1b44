// A tree of byte strings: all entries that a text begins with, in one pass over their bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string_view>
#include <vector>

namespace hearth {

// Immutable after construction.
class PieceTrie {
 public:
  struct Entry {
    std::string_view text;  // Not empty.
    std::int32_t id = 0;    // Not negative. Of several entries with one text the greatest.
  };
  // Takes entries in any order; keeps no view.
  explicit PieceTrie(std::vector<Entry> entries);

  using NodeIdx = std::uint32_t;
  static constexpr NodeIdx kRoot = 0;
  static constexpr NodeIdx kNone = UINT32_MAX;

  // The node after one more byte; kNone when no entry goes on that way.
  NodeIdx child(NodeIdx node, unsigned char byte) const;
  // The node after all of `bytes`.
  NodeIdx walk(NodeIdx node, std::string_view bytes) const;
  // The entry that ends at the node; -1 when none does.
  std::int32_t id_at(NodeIdx node) const { return nodes_[node].id; }

 private:
  // The children of a node stand side by side, in order of their bytes.
  struct Node {
    std::int32_t id = -1;
    NodeIdx first_child = 0;
    std::uint16_t num_children = 0;
    std::uint8_t byte = 0;
  };
  std::vector<Node> nodes_;
};

}  // namespace hearth
