// Any bytes as a stream of events, in two pieces: the events do not depend on the cut, and reading
// them as an answer ends in one of the outcomes.
#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "loadgen/answer_reader.h"
#include "loadgen/event_stream.h"

namespace {

std::vector<std::string> events_of(std::string_view first, std::string_view second) {
  hearth::loadgen::EventStream stream;
  std::vector<std::string> events;
  for (const std::string_view piece : {first, second}) {
    HEARTH_CHECK(stream.push(piece));
    while (auto event = stream.next())
      events.push_back(*event);
  }
  return events;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hearth::loadgen;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  const std::vector<std::string> events = events_of(text, {});
  const std::size_t cut = size == 0 ? 0 : data[0] % (size + 1);
  HEARTH_CHECK(events_of(text.substr(0, cut), text.substr(cut)) == events);

  const TimePoint start;
  AnswerReader reader;
  for (const std::string& event : events)
    reader.add(event, start + std::chrono::milliseconds(1));
  RequestRecord record;
  reader.finish(start, start + std::chrono::milliseconds(2), 1, record);
  HEARTH_CHECK((record.outcome == Outcome::kSuccess) == record.error.empty());
  return 0;
}
