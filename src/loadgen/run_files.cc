#include "loadgen/run_files.h"

#include <array>

#include "base/file.h"

namespace hearth::loadgen {
namespace {

constexpr std::uint64_t kMaxRunBytes = std::uint64_t{64} << 20;
constexpr std::string_view kFormat = "hearth-bench-run";
constexpr int kVersion = 1;

// The fields of a summary, named once for JSON in both directions and for CSV.
struct NumberField {
  std::string_view name;
  double LevelSummary::* member;
};
constexpr std::array<NumberField, 8> kNumbers = {{
    {"duration_s", &LevelSummary::duration_s},
    {"requests_per_s", &LevelSummary::requests_per_s},
    {"output_tokens_per_s", &LevelSummary::output_tokens_per_s},
    {"total_tokens_per_s", &LevelSummary::total_tokens_per_s},
    {"mean_prompt_tokens", &LevelSummary::mean_prompt_tokens},
    {"mean_cached_tokens", &LevelSummary::mean_cached_tokens},
    {"mean_output_tokens", &LevelSummary::mean_output_tokens},
    {"client_cpu_percent", &LevelSummary::client_cpu_percent},
}};

struct CountField {
  std::string_view name;
  std::size_t LevelSummary::* member;
};
constexpr std::array<CountField, 3> kCounts = {{
    {"successful", &LevelSummary::successful},
    {"errored", &LevelSummary::errored},
    {"incomplete", &LevelSummary::incomplete},
}};

struct DistributionField {
  std::string_view name;
  Distribution LevelSummary::* member;
};
constexpr std::array<DistributionField, 4> kDistributions = {{
    {"ttft_ms", &LevelSummary::ttft_ms},
    {"itl_ms", &LevelSummary::itl_ms},
    {"tpot_ms", &LevelSummary::tpot_ms},
    {"e2e_ms", &LevelSummary::e2e_ms},
}};

struct PercentileField {
  std::string_view name;
  double Distribution::* member;
};
constexpr std::array<PercentileField, 6> kPercentiles = {{
    {"mean", &Distribution::mean},
    {"min", &Distribution::min},
    {"p50", &Distribution::p50},
    {"p95", &Distribution::p95},
    {"p99", &Distribution::p99},
    {"max", &Distribution::max},
}};

json::Object summary_json(const LevelSummary& level) {
  json::Object out{
      {"kind", kind_name(level.kind)}, {"load", level.load}, {"interrupted", level.interrupted}};
  for (const auto& [name, member] : kCounts)
    out.append(std::string(name), std::uint64_t{level.*member});
  for (const auto& [name, member] : kNumbers)
    out.append(std::string(name), level.*member);
  for (const auto& [name, member] : kDistributions) {
    const Distribution& values = level.*member;
    json::Object distribution{{"count", std::uint64_t{values.count}}};
    for (const auto& [field, number] : kPercentiles)
      distribution.append(std::string(field), values.*number);
    out.append(std::string(name), std::move(distribution));
  }
  json::Array errors;
  for (const auto& [text, count] : level.errors)
    errors.emplace_back(json::Object{{"error", text}, {"count", std::uint64_t{count}}});
  out.append("errors", std::move(errors));
  return out;
}

// Reads members of one object; the first that is missing or wrong is the error of the whole.
class ObjectReader {
 public:
  // Borrows the value.
  explicit ObjectReader(const json::Value& value) : object_(value.as_object()) {
    if (object_ == nullptr) fail("object");
  }

  void read(std::string_view name, std::string& out) {
    if (const std::string* text = find(name, &json::Value::as_string)) out = *text;
  }
  void read(std::string_view name, bool& out) {
    if (const bool* flag = find(name, &json::Value::as_bool)) out = *flag;
  }
  void read(std::string_view name, json::Object& out) {
    if (const json::Object* object = find<json::Object>(name, &json::Value::as_object))
      out = *object;
  }
  void read(std::string_view name, double& out) {
    const json::Value* value = find(name);
    if (value == nullptr || !value->to_double(out)) fail(name);
  }
  void read(std::string_view name, std::size_t& out) {
    const json::Value* value = find(name);
    std::uint64_t count = 0;
    if (value == nullptr || !value->to_uint64(count)) fail(name);
    out = count;
  }
  // Calls `each` with every item of a list.
  template <typename Each>
  void read_list(std::string_view name, Each each) {
    const json::Array* list = find<json::Array>(name, &json::Value::as_array);
    if (list == nullptr) return;
    for (const json::Value& item : *list)
      take(each(item));
  }
  void take(const Status& status) {
    if (status_.ok()) status_ = status;
  }
  Status status() const { return status_; }
  const json::Value* find(std::string_view name) const {
    return object_ == nullptr ? nullptr : object_->find(name);
  }

 private:
  template <typename T>
  const T* find(std::string_view name, const T* (json::Value::*as)() const) {
    const json::Value* value = find(name);
    const T* found = value == nullptr ? nullptr : (value->*as)();
    if (found == nullptr) fail(name);
    return found;
  }
  void fail(std::string_view name) {
    take(make_status(StatusCode::kInvalidArgument, "'{}' is missing or not what it should be",
                     name));
  }

  const json::Object* object_;
  Status status_;
};

Status read_distribution(const json::Value* value, Distribution& out) {
  const json::Value nothing;
  ObjectReader reader(value == nullptr ? nothing : *value);
  reader.read("count", out.count);
  for (const auto& [name, member] : kPercentiles)
    reader.read(name, out.*member);
  return reader.status();
}

Status read_summary(const json::Value& value, LevelSummary& level) {
  ObjectReader reader(value);
  std::string kind;
  reader.read("kind", kind);
  level.kind = kind == kind_name(LoadKind::kRate) ? LoadKind::kRate : LoadKind::kConcurrency;
  reader.read("load", level.load);
  reader.read("interrupted", level.interrupted);
  for (const auto& [name, member] : kCounts)
    reader.read(name, level.*member);
  for (const auto& [name, member] : kNumbers)
    reader.read(name, level.*member);
  for (const auto& [name, member] : kDistributions)
    reader.take(read_distribution(reader.find(name), level.*member).with_context(name));
  reader.read_list("errors", [&](const json::Value& item) {
    ObjectReader entry(item);
    auto& [text, count] = level.errors.emplace_back();
    entry.read("error", text);
    entry.read("count", count);
    return entry.status();
  });
  return reader.status();
}

json::Object record_json(const RequestRecord& record) {
  json::Array gaps;
  gaps.reserve(record.gaps_ms.size());
  for (const double gap : record.gaps_ms)
    gaps.emplace_back(gap);
  return {{"outcome", outcome_name(record.outcome)},
          {"error", record.error},
          {"start_s", record.start_s},
          {"ttft_ms", record.ttft_ms},
          {"e2e_ms", record.e2e_ms},
          {"prompt_tokens", record.prompt_tokens},
          {"cached_tokens", record.cached_tokens},
          {"output_tokens", record.output_tokens},
          {"itl_ms", std::move(gaps)}};
}

std::string csv_cell(std::string_view text) {
  if (text.find_first_of(",\"\r\n") == std::string_view::npos) return std::string(text);
  std::string out = "\"";
  for (const char c : text) {
    if (c == '"') out += '"';
    out += c;
  }
  return out + '"';
}

std::string csv_head() {
  std::string line = "run,kind,load";
  for (const auto& field : kCounts)
    line += fmt::format(",{}", field.name);
  for (const auto& field : kNumbers)
    line += fmt::format(",{}", field.name);
  for (const auto& field : kDistributions) {
    for (const auto& value : kPercentiles)
      line += fmt::format(",{}_{}", field.name, value.name);
  }
  return line + "\r\n";
}

std::string csv_line(const BenchRun& run, const LevelSummary& level) {
  std::string line =
      fmt::format("{},{},{}", csv_cell(run.label), kind_name(level.kind), level.load);
  for (const auto& field : kCounts)
    line += fmt::format(",{}", level.*field.member);
  for (const auto& field : kNumbers)
    line += fmt::format(",{:.3f}", level.*field.member);
  for (const auto& field : kDistributions) {
    for (const auto& value : kPercentiles)
      line += fmt::format(",{:.3f}", level.*field.member.*value.member);
  }
  return line + "\r\n";
}

}  // namespace

json::Value run_json(const BenchRun& run) {
  json::Array levels;
  for (const LevelSummary& level : run.levels)
    levels.emplace_back(summary_json(level));
  return json::Object{{"format", kFormat},          {"version", kVersion},
                      {"label", run.label},         {"target", run.target},
                      {"model", run.model},         {"started", run.started},
                      {"client", run.client},       {"interrupted", run.interrupted},
                      {"settings", run.settings},   {"server", run.server},
                      {"levels", std::move(levels)}};
}

Result<BenchRun> parse_run(std::string_view text) {
  HEARTH_ASSIGN_OR_RETURN(const json::Value value, json::parse(text));
  ObjectReader reader(value);
  std::string format;
  std::size_t version = 0;
  reader.read("format", format);
  reader.read("version", version);
  HEARTH_RETURN_IF_ERROR(reader.status());
  if (format != kFormat || version != kVersion) {
    return error(StatusCode::kInvalidArgument, "expected format {} version {}, got {} version {}",
                 kFormat, kVersion, format, version);
  }
  BenchRun run;
  reader.read("label", run.label);
  reader.read("target", run.target);
  reader.read("model", run.model);
  reader.read("started", run.started);
  reader.read("client", run.client);
  reader.read("interrupted", run.interrupted);
  reader.read("settings", run.settings);
  reader.read("server", run.server);
  reader.read_list("levels", [&](const json::Value& item) {
    return read_summary(item, run.levels.emplace_back());
  });
  HEARTH_RETURN_IF_ERROR(reader.status());
  return run;
}

json::Value level_json(const LevelResult& level) {
  json::Array requests;
  for (const RequestRecord& record : level.records)
    requests.emplace_back(record_json(record));
  json::Object out = summary_json(summarize(level));
  out.append("warmup_requests", std::uint64_t{level.warmup_requests});
  out.append("requests", std::move(requests));
  return out;
}

std::string summary_csv(std::span<const BenchRun> runs) {
  std::string text = csv_head();
  for (const BenchRun& run : runs) {
    for (const LevelSummary& level : run.levels)
      text += csv_line(run, level);
  }
  return text;
}

std::string level_file_name(LoadKind kind, double load) {
  return fmt::format("level-{}-{}.json", kind_name(kind), load);
}

Result<BenchRun> read_run(const std::filesystem::path& folder) {
  const std::filesystem::path path = folder / "run.json";
  HEARTH_ASSIGN_OR_RETURN(const std::string text, read_text_file(path, kMaxRunBytes));
  auto run = parse_run(text);
  if (!run.has_value()) {
    return std::unexpected(run.error().with_context(fmt::format("'{}'", path.string())));
  }
  return run;
}

}  // namespace hearth::loadgen
