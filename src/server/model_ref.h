// What the server needs of a model.
#pragma once

#include <cstdint>
#include <string>

#include "engine/engine.h"
#include "sampling/sampler.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

class ServedModel;

// Borrows everything; the model outlives the server. Free to copy; the parts may be used from any
// thread.
struct ModelRef {
  std::string name;          // What requests call it.
  std::int64_t created = 0;  // Unix time, seconds.
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  // nullptr: the chat API answers 400.
  std::string chat_template_problem = {};       // Why there is none that can be used, if known.
  Engine* engine = nullptr;
  SamplingParams sampling_defaults = {};  // For what a request leaves out.
  std::uint64_t digest = 0;               // Tells models apart that go by one name.

  static ModelRef of(const ServedModel& model);
};

}  // namespace hearth
