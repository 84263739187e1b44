#include "server/model_ref.h"

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

}  // namespace hearth
