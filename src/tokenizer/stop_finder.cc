#include "tokenizer/stop_finder.h"

#include <algorithm>
#include <utility>

#include "base/status.h"

namespace hearth {

StopFinder::StopFinder(std::span<const std::string> stops) {
  for (const std::string& text : stops) {
    HEARTH_CHECK(!text.empty());
    Stop stop{.text = text, .fallback = std::vector<std::size_t>(text.size() + 1, 0)};
    std::size_t border = 0;
    for (std::size_t n = 1; n < text.size(); ++n) {
      while (border > 0 && text[n] != text[border])
        border = stop.fallback[border];
      if (text[n] == text[border]) ++border;
      stop.fallback[n + 1] = border;
    }
    stops_.push_back(std::move(stop));
  }
}

std::optional<std::size_t> StopFinder::push(char byte) {
  std::optional<std::size_t> found;
  open_bytes_ = 0;
  for (std::size_t idx = 0; idx < stops_.size(); ++idx) {
    Stop& stop = stops_[idx];
    if (stop.matched == stop.text.size()) stop.matched = stop.fallback[stop.matched];
    while (stop.matched > 0 && stop.text[stop.matched] != byte) {
      stop.matched = stop.fallback[stop.matched];
    }
    if (stop.text[stop.matched] == byte) ++stop.matched;
    open_bytes_ = std::max(open_bytes_, stop.matched);
    const bool complete = stop.matched == stop.text.size();
    if (complete && (!found || stop.text.size() > stops_[*found].text.size())) found = idx;
  }
  return found;
}

}  // namespace hearth
