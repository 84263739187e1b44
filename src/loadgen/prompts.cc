#include "loadgen/prompts.h"

#include <array>
#include <optional>
#include <utility>

#include "base/file.h"

namespace hearth::loadgen {
namespace {

constexpr std::uint64_t kMaxDatasetBytes = std::uint64_t{1} << 30;

constexpr std::array<std::string_view, 64> kWords = {
    "time",  "people", "way",   "water", "day",   "man",   "world",  "life",   "hand",   "part",
    "child", "eye",    "place", "work",  "week",  "case",  "point",  "group",  "number", "night",
    "home",  "room",   "area",  "money", "story", "fact",  "month",  "lot",    "right",  "study",
    "book",  "word",   "side",  "kind",  "head",  "house", "friend", "power",  "hour",   "game",
    "line",  "end",    "law",   "car",   "city",  "name",  "team",   "minute", "idea",   "body",
    "back",  "face",   "level", "door",  "art",   "war",   "party",  "result", "change", "morning",
    "food",  "field",  "table", "river"};

json::Value user_message(std::string text) {
  return json::Array{json::Object{{"role", "user"}, {"content", std::move(text)}}};
}

Result<json::Value> read_line(std::string_view line, Endpoint endpoint) {
  HEARTH_ASSIGN_OR_RETURN(const json::Value value, json::parse(line));
  const json::Object* object = value.as_object();
  const json::Value* prompt = object == nullptr ? nullptr : object->find("prompt");
  const json::Value* messages = object == nullptr ? nullptr : object->find("messages");
  if (messages != nullptr && messages->as_array() != nullptr) {
    if (endpoint == Endpoint::kChat) return *messages;
    return error(StatusCode::kInvalidArgument, "\"messages\" need --endpoint chat");
  }
  if (prompt != nullptr && prompt->as_string() != nullptr) {
    return endpoint == Endpoint::kChat ? user_message(*prompt->as_string()) : *prompt;
  }
  return error(StatusCode::kInvalidArgument,
               "expected an object with \"prompt\" (text) or \"messages\" (list)");
}

}  // namespace

std::string_view endpoint_path(Endpoint endpoint) {
  return endpoint == Endpoint::kChat ? "/chat/completions" : "/completions";
}

PlannedRequest plan_request(const RequestForm& form, json::Value prompt) {
  json::Object body{{"model", form.model},
                    {"max_tokens", std::uint64_t{form.output_tokens}},
                    {"temperature", 0},
                    {"stream", true},
                    {"stream_options", json::Object{{"include_usage", true}}}};
  if (form.ignore_eos) body.append("ignore_eos", true);
  body.append(form.endpoint == Endpoint::kChat ? "messages" : "prompt", std::move(prompt));
  return {.body = json::dump(body), .expected_tokens = form.ignore_eos ? form.output_tokens : 1};
}

SyntheticPrompts::SyntheticPrompts(const SyntheticOptions& options)
    : options_(options), random_(options.seed) {
  begin_level();
}

// Without the standard's distributions, whose results differ between libraries. The remainder's
// bias is far below what a benchmark could notice.
std::uint64_t SyntheticPrompts::draw() {
  const bool has_ids = options_.id_end > options_.id_begin;
  if (!has_ids) return random_() % kWords.size();
  const auto range = static_cast<std::uint64_t>(options_.id_end - options_.id_begin);
  return static_cast<std::uint64_t>(options_.id_begin) + random_() % range;
}

void SyntheticPrompts::begin_level() {
  prefix_.clear();
  while (prefix_.size() < options_.shared_prefix)
    prefix_.push_back(draw());
}

json::Value SyntheticPrompts::next() {
  std::vector<std::uint64_t> items = prefix_;
  while (items.size() < options_.length)
    items.push_back(draw());
  if (options_.id_end > options_.id_begin) return json::Array(items.begin(), items.end());
  std::string text;
  for (const std::uint64_t item : items) {
    if (!text.empty()) text += ' ';
    text += kWords[item];
  }
  if (options_.endpoint == Endpoint::kChat) return user_message(std::move(text));
  return text;
}

Result<DatasetPrompts> DatasetPrompts::load(const std::filesystem::path& path, Endpoint endpoint) {
  HEARTH_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxDatasetBytes));
  DatasetPrompts dataset;
  std::string_view rest = text;
  for (std::size_t number = 1; !rest.empty(); ++number) {
    std::string_view line = rest.substr(0, rest.find('\n'));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    if (line.find_first_not_of(" \t\r") == std::string_view::npos) continue;
    if (line.ends_with('\r')) line.remove_suffix(1);
    auto prompt = read_line(line, endpoint);
    if (!prompt.has_value()) {
      return std::unexpected(
          prompt.error().with_context(fmt::format("'{}' line {}", path.string(), number)));
    }
    dataset.prompts_.push_back(*std::move(prompt));
  }
  if (dataset.prompts_.empty()) {
    return error(StatusCode::kInvalidArgument, "'{}' has no prompts", path.string());
  }
  return dataset;
}

json::Value DatasetPrompts::next() {
  json::Value prompt = prompts_[position_];
  position_ = (position_ + 1) % prompts_.size();
  return prompt;
}

}  // namespace hearth::loadgen
