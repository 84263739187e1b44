// Models to read texts with, and what came of it as text or JSON.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "base/json.h"
#include "eval/perplexity.h"
#include "formats/model_file.h"
#include "kernels/device.h"
#include "models/model.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

struct TextModel {
  ModelFile file;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<Model> model;  // Borrows the file.
};

// On the heap, so that what is borrowed stays where it is.
Result<std::unique_ptr<TextModel>> load_text_model(ModelFile file, Device& device);

// The tokens of a text; with a reference, kInvalidArgument when it splits the text otherwise.
Result<std::vector<std::int32_t>> common_tokens(const TextModel& model, const TextModel* reference,
                                                const std::string& text);

// Rows of a table.
std::vector<std::vector<std::string>> divergence_rows(const Divergence& divergence);
std::string report_text(const PerplexityReport& report, std::size_t num_tokens,
                        std::size_t chunk_len);
json::Value divergence_json(const Divergence& divergence);
json::Value report_json(const PerplexityReport& report, std::size_t num_tokens,
                        std::size_t chunk_len);

// One line that is written over, on a terminal only.
void show_perplexity_progress(std::size_t done, std::size_t all, double perplexity);

}  // namespace hearth
