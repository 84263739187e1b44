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
          .engine = &model.engine(),
          .sampling_defaults = model.sampling_defaults(),
          .digest = model.digest()};
}

std::string ModelRef::fingerprint() const {
  Fingerprint hash;
  hash.mix(build_info().version).mix(name).mix(digest);
  hash.mix(engine->max_model_len());
  if (chat_template != nullptr) hash.mix(chat_template->source());
  return fmt::format("fp_{:010x}", hash.value() & 0xffffffffffu);
}

bool ModelRef::healthy() const {
  return engine->status().healthy;
}

void ModelRef::stop() const {
  engine->stop();
}

}  // namespace hearth
