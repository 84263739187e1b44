#include "base/config_file.h"

#include <yaml-cpp/yaml.h>

#include <set>

#include "base/file.h"

namespace hearth {

namespace {

constexpr std::uint64_t kMaxConfigBytes = 1 << 20;

int line_of(const YAML::Node& node) {
  return node.Mark().line + 1;
}

Result<ConfigEntry> read_entry(const YAML::Node& key, const YAML::Node& value) {
  if (!key.IsScalar()) {
    return error(StatusCode::kInvalidArgument, "line {}: a key must be an option's name",
                 line_of(key));
  }
  ConfigEntry entry{
      .key = key.Scalar(), .values = {}, .is_sequence = value.IsSequence(), .line = line_of(key)};
  if (value.IsScalar()) {
    entry.values.push_back(value.Scalar());
    return entry;
  }
  if (!value.IsSequence()) {
    return error(StatusCode::kInvalidArgument,
                 "line {}: key {} must have a value or a sequence of values", entry.line,
                 entry.key);
  }
  for (const YAML::Node& item : value) {
    if (!item.IsScalar()) {
      return error(StatusCode::kInvalidArgument, "line {}: an item of {} is not a plain value",
                   line_of(item), entry.key);
    }
    entry.values.push_back(item.Scalar());
  }
  return entry;
}

Result<std::vector<ConfigEntry>> read_mapping(const YAML::Node& root) {
  std::vector<ConfigEntry> entries;
  if (root.IsNull()) return entries;
  if (!root.IsMap()) {
    return error(StatusCode::kInvalidArgument, "line {}: expected 'option-name: value' lines",
                 line_of(root));
  }
  std::set<std::string> seen;
  for (const auto& member : root) {
    HEARTH_ASSIGN_OR_RETURN(ConfigEntry entry, read_entry(member.first, member.second));
    if (!seen.insert(entry.key).second) {
      return error(StatusCode::kInvalidArgument, "line {}: key {} is given twice", entry.line,
                   entry.key);
    }
    entries.push_back(std::move(entry));
  }
  return entries;
}

}  // namespace

Result<std::vector<ConfigEntry>> read_config_file(const std::filesystem::path& path) {
  HEARTH_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxConfigBytes));
  Result<std::vector<ConfigEntry>> entries;
  try {
    entries = read_mapping(YAML::Load(text));
  } catch (const YAML::Exception& exception) {
    return error(StatusCode::kInvalidArgument, "'{}': line {}: not valid YAML: {}", path.string(),
                 exception.mark.line + 1, exception.msg);
  }
  if (!entries.has_value()) {
    return std::unexpected(entries.error().with_context(fmt::format("'{}'", path.string())));
  }
  return entries;
}

}  // namespace hearth
