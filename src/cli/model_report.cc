#include "cli/model_report.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <span>

#include "cli/terminal.h"
#include "engine/engine.h"
#include "engine/memory_budget.h"
#include "kernels/weight_bytes.h"
#include "models/model.h"
#include "tensor/dtype.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace hearth {
namespace {

std::string text_or(const ModelFile& file, std::string_view key, std::string_view fallback) {
  const auto text = file.find_text(key);
  return std::string(text.has_value() && text->has_value() ? **text : fallback);
}

void count_tensors(const ModelFile& file, ModelReport& report) {
  for (const TensorView& tensor : file.tensors()) {
    const std::string_view name = dtype_info(tensor.dtype).name;
    auto usage = std::ranges::find(report.types, name, &TypeUsage::name);
    if (usage == report.types.end()) usage = report.types.insert(usage, TypeUsage{.name = name});
    usage->num_tensors += 1;
    usage->num_parameters += tensor.shape.num_elements();
    usage->bytes += tensor.data.size();
    report.num_parameters += tensor.shape.num_elements();
    report.tensor_bytes += tensor.data.size();
  }
  std::ranges::sort(report.types, std::greater{}, &TypeUsage::bytes);
}

void read_tokenizer(const ModelFile& file, ModelReport& report) {
  const auto tokenizer = Tokenizer::load(file);
  if (!tokenizer.has_value()) {
    report.obstacles.push_back(tokenizer.error().message());
    return;
  }
  report.tokenizer = (*tokenizer)->description();
  report.vocab_size = (*tokenizer)->vocab_size();
}

MemoryNeed estimate_memory(const ModelConfig& config, const ModelFile& file,
                           const ReportOptions& options) {
  const EngineOptions engine;
  MemoryNeed need;
  need.context_len = options.context_len > 0 ? options.context_len : config.context_len;
  need.num_sequences = options.num_sequences;
  // Quantized matrices are repacked, and their pages of the file released.
  need.weight_bytes = packed_bytes(file.tensors());
  need.kv_cache_dtype = options.kv_cache_dtype;
  need.kv_bytes = kv_bytes_for(kv_shape(config, engine.block_size, options.kv_cache_dtype),
                               need.context_len, need.num_sequences);
  need.activation_bytes = activation_bytes_for(
      config, {engine.max_num_batched_tokens, need.num_sequences, need.context_len});
  if (const auto limit = detect_memory_limit(); limit.has_value()) {
    need.available_bytes = std::min(limit->total_bytes, limit->available_bytes);
  }
  return need;
}

void read_chat_template(const ModelFile& file, ModelReport& report) {
  const auto source = file.find_text("tokenizer.chat_template");
  if (!source.has_value()) report.chat_template_problem = source.error().message();
  if (!source.has_value() || !source->has_value()) return;
  report.chat_template = **source;
  const auto compiled = ChatTemplate::compile(**source);
  if (!compiled.has_value()) report.chat_template_problem = compiled.error().message();
}

std::string first_line(std::string_view text) {
  const std::string_view line = text.substr(0, text.find('\n'));
  constexpr std::size_t kLongest = 60;
  const std::string shown = single_line(line.substr(0, kLongest));
  return line.size() < text.size() || line.size() > kLongest ? shown + " ..." : shown;
}

std::string chat_template_text(const ModelReport& report) {
  if (!report.chat_template_problem.empty()) {
    return "cannot be used: " + single_line(report.chat_template_problem);
  }
  return report.chat_template ? "yes: " + first_line(*report.chat_template) : "no";
}

void read_encoder(const ModelFile& file, ModelReport& report) {
  auto encoder = read_encoder_description(file);
  if (encoder.has_value()) {
    report.encoder = *std::move(encoder);
  } else {
    report.obstacles.push_back(encoder.error().message());
  }
}

void read_config(const ModelFile& file, const ReportOptions& options, ModelReport& report) {
  if (is_encoder(file)) return read_encoder(file, report);
  auto config = read_model_config(file);
  if (!config.has_value()) {
    report.obstacles.push_back(config.error().message());
    return;
  }
  report.memory = estimate_memory(*config, file, options);
  report.config = *std::move(config);
}

std::string feed_forward_text(const ModelConfig& config) {
  const ExpertConfig& experts = config.experts;
  if (experts.num_experts == 0) return fmt::format("feed-forward {}", config.intermediate_size);
  std::string text = fmt::format("{} of {} experts of {} per token", experts.num_used,
                                 experts.num_experts, experts.intermediate_size);
  if (experts.shared_intermediate_size > 0)
    text += fmt::format(" and a shared one of {}", experts.shared_intermediate_size);
  return text;
}

std::string heads_text(const ModelConfig& config) {
  const LatentConfig& latent = config.latent;
  if (latent.rank > 0) {
    return fmt::format("{} heads of {} (one latent of {} and {} rotated values for all)",
                       config.heads.num_heads, latent.key_dim + config.rope.rope_dim, latent.rank,
                       config.rope.rope_dim);
  }
  return fmt::format("{} heads of {} ({} for keys and values)", config.heads.num_heads,
                     config.heads.head_dim, config.heads.num_kv_heads);
}

std::string shape_text(const ModelConfig& config) {
  return fmt::format("{} layers, {} wide, {}, {}", config.num_layers, config.hidden_size,
                     heads_text(config), feed_forward_text(config));
}

std::string encoder_text(const EncoderConfig& encoder) {
  if (encoder.is_classifier()) {
    constexpr std::size_t kMostShown = 8;
    const std::span shown(encoder.labels.data(), std::min(encoder.labels.size(), kMostShown));
    return fmt::format("scores of {} labels: {}{}", encoder.labels.size(),
                       single_line(fmt::format("{}", fmt::join(shown, ", "))),
                       encoder.labels.size() > kMostShown ? ", ..." : "");
  }
  return fmt::format("vectors of {}{}", encoder.width, encoder.normalize ? ", length 1" : "");
}

std::string facts_text(const ModelReport& report) {
  std::vector<std::vector<std::string>> rows = {
      {"format", fmt::format("{}, {}", report.format, human_bytes(report.file_bytes))},
      {"architecture", report.architecture},
  };
  if (report.config.has_value()) {
    rows.push_back({"shape", shape_text(*report.config)});
    rows.push_back({"context", fmt::format("{} tokens", report.config->context_len)});
  }
  if (report.encoder.has_value()) {
    rows.push_back({"gives", encoder_text(*report.encoder)});
    rows.push_back({"context", fmt::format("{} tokens", report.encoder->max_tokens)});
  }
  if (report.num_parameters > 0) {
    rows.push_back(
        {"parameters", fmt::format("{} at {:.2f} bits per weight",
                                   human_count(report.num_parameters), report.bits_per_weight())});
  }
  rows.push_back(
      {"tokenizer", report.tokenizer.empty()
                        ? "none that can be used"
                        : fmt::format("{}, {} tokens", report.tokenizer, report.vocab_size)});
  rows.push_back({"chat template", chat_template_text(report)});
  for (const std::string& obstacle : report.obstacles) {
    rows.push_back({"not servable", single_line(obstacle)});
  }
  if (report.obstacles.empty()) rows.push_back({"servable", "yes"});
  return format_table(rows, {false, false});
}

std::string types_text(const ModelReport& report) {
  std::vector<std::vector<std::string>> rows = {{"type", "tensors", "parameters", "bytes"}};
  for (const TypeUsage& type : report.types) {
    rows.push_back({std::string(type.name), fmt::format("{}", type.num_tensors),
                    human_count(type.num_parameters), human_bytes(type.bytes)});
  }
  return format_table(rows, {false, true, true, true});
}

std::string memory_text(const MemoryNeed& memory) {
  const bool fits = memory.total_bytes() <= memory.available_bytes;
  return fmt::format("memory for {} x {} tokens\n", memory.num_sequences, memory.context_len) +
         format_table(
             {{"weights", human_bytes(memory.weight_bytes)},
              {fmt::format("keys and values ({})", kv_cache_dtype_name(memory.kv_cache_dtype)),
               human_bytes(memory.kv_bytes)},
              {"activations", human_bytes(memory.activation_bytes)},
              {"total", human_bytes(memory.total_bytes())},
              {"available here", fmt::format("{} ({})", human_bytes(memory.available_bytes),
                                             fits ? "enough" : "too little")}},
             {false, true});
}

}  // namespace

double ModelReport::bits_per_weight() const {
  if (num_parameters == 0) return 0.0;
  return 8.0 * static_cast<double>(tensor_bytes) / static_cast<double>(num_parameters);
}

std::string_view ModelReport::main_type() const {
  return types.empty() ? std::string_view() : types.front().name;
}

ModelReport make_report(const ModelFile& file, const ReportOptions& options) {
  ModelReport report;
  report.name = text_or(file, "general.name", "unnamed");
  report.architecture = text_or(file, "general.architecture", "unknown");
  report.format = file.format();
  report.file_bytes = file.file_bytes();
  count_tensors(file, report);
  read_config(file, options, report);
  read_tokenizer(file, report);
  read_chat_template(file, report);
  return report;
}

std::string report_text(const ModelReport& report) {
  std::string text = single_line(report.name) + "\n" + facts_text(report);
  if (!report.types.empty()) text += "\n" + types_text(report);
  if (report.memory.has_value()) text += "\n" + memory_text(*report.memory);
  return text;
}

json::Value report_json(const ModelReport& report) {
  json::Array types;
  for (const TypeUsage& type : report.types) {
    types.emplace_back(json::Object{{"type", type.name},
                                    {"num_tensors", std::uint64_t{type.num_tensors}},
                                    {"num_parameters", type.num_parameters},
                                    {"bytes", type.bytes}});
  }
  json::Object object{{"name", report.name},
                      {"format", report.format},
                      {"file_bytes", report.file_bytes},
                      {"architecture", report.architecture},
                      {"num_parameters", report.num_parameters},
                      {"bits_per_weight", report.bits_per_weight()},
                      {"tensor_types", std::move(types)}};
  if (const auto& config = report.config) {
    object.set("num_layers", std::uint64_t{config->num_layers});
    object.set("hidden_size", std::uint64_t{config->hidden_size});
    object.set("intermediate_size", std::uint64_t{config->intermediate_size});
    object.set("num_experts", std::uint64_t{config->experts.num_experts});
    object.set("num_heads", std::uint64_t{config->heads.num_heads});
    object.set("num_kv_heads", std::uint64_t{config->heads.num_kv_heads});
    object.set("head_dim", std::uint64_t{config->heads.head_dim});
    object.set("context_len", std::uint64_t{config->context_len});
  }
  if (const auto& encoder = report.encoder) {
    object.set("width", std::uint64_t{encoder->width});
    object.set("context_len", std::uint64_t{encoder->max_tokens});
    object.set("normalize", encoder->normalize);
    object.set("labels", json::Array(encoder->labels.begin(), encoder->labels.end()));
  }
  object.set("tokenizer", report.tokenizer.empty() ? json::Value() : json::Value(report.tokenizer));
  object.set("vocab_size", report.vocab_size);
  object.set("chat_template",
             report.chat_template ? json::Value(*report.chat_template) : json::Value());
  object.set("chat_template_usable",
             report.chat_template.has_value() && report.chat_template_problem.empty());
  if (const auto& memory = report.memory) {
    object.set("memory",
               json::Object{{"context_len", std::uint64_t{memory->context_len}},
                            {"num_sequences", std::uint64_t{memory->num_sequences}},
                            {"weight_bytes", memory->weight_bytes},
                            {"kv_cache_dtype", kv_cache_dtype_name(memory->kv_cache_dtype)},
                            {"kv_bytes", memory->kv_bytes},
                            {"activation_bytes", memory->activation_bytes},
                            {"total_bytes", memory->total_bytes()},
                            {"available_bytes", memory->available_bytes}});
  }
  json::Array obstacles;
  for (const std::string& obstacle : report.obstacles)
    obstacles.emplace_back(obstacle);
  object.set("servable", report.obstacles.empty());
  object.set("obstacles", std::move(obstacles));
  return object;
}

}  // namespace hearth
