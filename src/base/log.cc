#include "base/log.h"

#include <spdlog/logger.h>
#include <spdlog/sinks/stdout_sinks.h>

#include <array>
#include <iterator>
#include <memory>

namespace hearth::log {

namespace {

struct LevelRow {
  std::string_view name;
  spdlog::level::level_enum spdlog_level;
};

// In the order of Level.
constexpr std::array<LevelRow, 5> kLevels = {{
    {"debug", spdlog::level::debug},
    {"info", spdlog::level::info},
    {"warning", spdlog::level::warn},
    {"error", spdlog::level::err},
    {"off", spdlog::level::off},
}};

const LevelRow& row_of(Level level) {
  return kLevels[static_cast<std::size_t>(level)];
}

spdlog::logger& logger() {
  // Never destroyed: threads may log until the very end of the process.
  static spdlog::logger* const instance = [] {
    auto* created = new spdlog::logger("hearth", std::make_shared<spdlog::sinks::stderr_sink_mt>());
    created->set_pattern("%Y-%m-%dT%H:%M:%S.%eZ %l %v", spdlog::pattern_time_type::utc);
    created->set_level(spdlog::level::info);
    created->flush_on(spdlog::level::debug);
    return created;
  }();
  return *instance;
}

// Control characters are escaped: a file name or a header value cannot forge a second line.
std::string single_line(std::string_view message) {
  std::string out;
  out.reserve(message.size());
  for (const char c : message) {
    const auto byte = static_cast<unsigned char>(c);
    if (byte < 0x20 || byte == 0x7F) {
      fmt::format_to(std::back_inserter(out), "\\x{:02x}", byte);
    } else {
      out.push_back(c);
    }
  }
  return out;
}

}  // namespace

Result<Level> parse_level(std::string_view name) {
  for (std::size_t i = 0; i < kLevels.size(); ++i) {
    if (kLevels[i].name == name) return static_cast<Level>(i);
  }
  return hearth::error(StatusCode::kInvalidArgument,
                       "log level '{}' is not one of debug, info, warning, error, off", name);
}

void set_level(Level level) {
  logger().set_level(row_of(level).spdlog_level);
}

void write(Level level, std::string_view message) {
  if (level == Level::kOff || !logger().should_log(row_of(level).spdlog_level)) return;
  logger().log(row_of(level).spdlog_level, spdlog::string_view_t(single_line(message)));
}

}  // namespace hearth::log
