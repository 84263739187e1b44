// Finds the first of several stop strings in a text that arrives byte by byte.
#pragma once

#include <cstddef>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

namespace hearth {

// Knuth-Morris-Pratt for each string, all fed with the same bytes: amortised O(number of strings)
// per byte. Not thread-safe.
class StopFinder {
 public:
  // None of `stops` may be empty.
  explicit StopFinder(std::span<const std::string> stops);

  // Takes one more byte. The index of the stop string that ends here: the longest one if several
  // do, the first of equal ones.
  std::optional<std::size_t> push(char byte);

  // Length of the longest end of the text so far that is the beginning of some stop string.
  std::size_t open_bytes() const { return open_bytes_; }
  std::size_t length(std::size_t stop_idx) const { return stops_[stop_idx].text.size(); }

 private:
  struct Stop {
    std::string text;
    // fallback[n]: the longest proper end of text[0, n) that is also its beginning.
    std::vector<std::size_t> fallback;
    std::size_t matched = 0;  // How much of `text` the input ends with.
  };

  std::vector<Stop> stops_;
  std::size_t open_bytes_ = 0;
};

}  // namespace hearth
