#include "cli/perplexity_report.h"

#include <unistd.h>

#include <cstdio>

#include "cli/terminal.h"
#include "engine/served_model.h"

namespace hearth {
namespace {

json::Value estimate_json(const Estimate& estimate) {
  return json::Object{{"value", estimate.value}, {"standard_error", estimate.error}};
}

}  // namespace

Result<std::unique_ptr<TextModel>> load_text_model(ModelFile file, Device& device) {
  auto loaded = std::make_unique<TextModel>(TextModel{std::move(file), nullptr, nullptr});
  HEARTH_ASSIGN_OR_RETURN(loaded->tokenizer, Tokenizer::load(loaded->file));
  HEARTH_ASSIGN_OR_RETURN(loaded->model, Model::load(loaded->file, device));
  HEARTH_RETURN_IF_ERROR(check_vocabulary(*loaded->tokenizer, loaded->model->config().vocab_size));
  return loaded;
}

Result<std::vector<std::int32_t>> common_tokens(const TextModel& model, const TextModel* reference,
                                                const std::string& text) {
  auto tokens = model.tokenizer->encode(text, /*add_special=*/true, SpecialText::kPlain);
  if (reference != nullptr &&
      reference->tokenizer->encode(text, true, SpecialText::kPlain) != tokens) {
    return error(StatusCode::kInvalidArgument,
                 "the two models split the text into different tokens: their predictions "
                 "cannot be compared");
  }
  return tokens;
}

json::Value divergence_json(const Divergence& d) {
  return json::Object{{"mean", estimate_json(d.mean)},
                      {"median", d.median},
                      {"percentile_99", d.percentile99},
                      {"maximum", d.maximum}};
}

json::Value report_json(const PerplexityReport& report, std::size_t num_tokens,
                        std::size_t chunk_len) {
  json::Object figures{{"tokens", std::uint64_t{num_tokens}},
                       {"chunk_tokens", std::uint64_t{chunk_len}},
                       {"chunks", std::uint64_t{report.num_chunks}},
                       {"predictions", std::uint64_t{report.num_predictions}},
                       {"perplexity", estimate_json(report.perplexity)}};
  if (report.divergence) {
    const Divergence& d = *report.divergence;
    figures.append("reference_perplexity", estimate_json(d.reference_perplexity));
    figures.append("kl_divergence", divergence_json(d));
    figures.append("same_top_token", estimate_json(d.same_top));
  }
  return figures;
}

std::vector<std::vector<std::string>> divergence_rows(const Divergence& d) {
  return {
      {"KL divergence from it", fmt::format("{:.6f} +/- {:.6f} nats", d.mean.value, d.mean.error)},
      {"  median, 99 %, largest",
       fmt::format("{:.6f}, {:.6f}, {:.6f}", d.median, d.percentile99, d.maximum)},
      {"same most probable token",
       fmt::format("{:.2f} % +/- {:.2f}", 100 * d.same_top.value, 100 * d.same_top.error)}};
}

std::string report_text(const PerplexityReport& report, std::size_t num_tokens,
                        std::size_t chunk_len) {
  const auto estimate = [](const Estimate& e) {
    return fmt::format("{:.4f} +/- {:.4f}", e.value, e.error);
  };
  std::vector<std::vector<std::string>> rows = {{"perplexity", estimate(report.perplexity)}};
  if (report.divergence) {
    rows.push_back({"of the reference", estimate(report.divergence->reference_perplexity)});
    for (auto& row : divergence_rows(*report.divergence))
      rows.push_back(std::move(row));
  }
  return fmt::format("{} tokens, {} chunks of {}, {} predictions\n", num_tokens, report.num_chunks,
                     chunk_len, report.num_predictions) +
         format_table(rows, {false, false});
}

void show_perplexity_progress(std::size_t done, std::size_t all, double perplexity) {
  if (isatty(STDERR_FILENO) == 0) return;
  fmt::print(stderr, "\rchunk {} of {}, perplexity {:.4f}{}", done, all, perplexity,
             done == all ? "\n" : "");
}

}  // namespace hearth
