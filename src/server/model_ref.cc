#include "server/model_ref.h"

#include <fmt/format.h>

#include "base/build_info.h"
#include "base/fingerprint.h"
#include "engine/served_model.h"

namespace hearth {

ModelRef ModelRef::of(const ServedModel& model) {
  return {.name = model.name(),
          .created = model.created(),
          .tokenizer = &model.tokenizer(),
          .chat_template = model.chat_template(),
          .chat_template_problem = model.chat_template_status().message(),
          .engine = model.embedder() == nullptr ? &model.engine() : nullptr,
          .embedder = model.embedder(),
          .sampling_defaults = model.sampling_defaults(),
          .digest = model.digest(),
          .precision = std::string(model.main_dtype()),
          .shorter = model.shorter_vectors(),
          .encoder_precision = std::string(encoder_precision_name(model.encoder_precision()))};
}

std::string ModelRef::fingerprint() const {
  Fingerprint hash;
  hash.mix(build_info().version).mix(name).mix(digest);
  hash.mix(max_model_len());
  if (chat_template != nullptr) hash.mix(chat_template->source());
  return fmt::format("fp_{:010x}", hash.value() & 0xffffffffffu);
}

std::size_t ModelRef::max_model_len() const {
  return embedder != nullptr ? embedder->max_model_len() : engine->max_model_len();
}

std::string_view ModelRef::architecture() const {
  return embedder != nullptr ? embedder->config().architecture
                             : engine->model_config().architecture;
}

std::vector<std::string_view> ModelRef::capabilities() const {
  if (embedder == nullptr) {
    if (chat_template == nullptr) return {"completions"};
    return {"chat", "completions"};
  }
  if (!embedder->config().is_classifier()) return {"embeddings"};
  if (embedder->config().labels.size() > 1) return {"classify"};
  return {"rerank", "classify"};
}

bool ModelRef::healthy() const {
  return embedder != nullptr ? embedder->status().healthy : engine->status().healthy;
}

std::chrono::steady_clock::duration ModelRef::since_last_step() const {
  return embedder != nullptr ? embedder->status().since_last_step
                             : engine->status().since_last_step;
}

void ModelRef::stop() const {
  if (embedder != nullptr) embedder->stop();
  if (engine != nullptr) engine->stop();
}

}  // namespace hearth
