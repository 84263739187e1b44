// What the server needs of a model.
#pragma once

#include <chrono>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "engine/embedding_engine.h"
#include "engine/engine.h"
#include "sampling/sampler.h"
#include "tokenizer/chat_template.h"
#include "tokenizer/tokenizer.h"

namespace hearth {

class ServedModel;

// Borrows everything from the model. Free to copy; the parts may be used from any thread.
struct ModelRef {
  std::string name;          // What it calls itself; requests may know it by other names, too.
  std::int64_t created = 0;  // Unix time, seconds.
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;  // nullptr: the chat API answers 400.
  std::string chat_template_problem = {};       // Why there is none that can be used, if known.
  Engine* engine = nullptr;                     // Of a model that generates text; else nullptr.
  EmbeddingEngine* embedder = nullptr;          // Of an encoder; else nullptr.
  SamplingParams sampling_defaults = {};        // For what a request leaves out.
  std::uint64_t digest = 0;                     // Tells models apart that go by one name.
  std::string precision = {};                   // The number format of most weights.
  ShorterVectors shorter = {};                  // What an encoder's vectors may be cut to.
  std::string encoder_precision = {};           // "f32" or "bf16": how an encoder multiplies.

  static ModelRef of(const ServedModel& model);

  // Of what the answer to a request depends on, besides the request.
  std::string fingerprint() const;
  // Of a prompt and its answer together, or of a text that an encoder reads.
  std::size_t max_model_len() const;
  std::string_view architecture() const;
  // What it can be asked for: "chat", "completions", "embeddings", "rerank", "classify".
  std::vector<std::string_view> capabilities() const;
  // False when there is work and no progress for too long.
  bool healthy() const;
  std::chrono::steady_clock::duration since_last_step() const;
  // Fails the answers under way and those to come; returns when each has its end.
  void stop() const;
};

// A part in the ownership of a loaded model: while a lease lives, so does what the reference points
// to. Copies share; the last one may be dropped on any thread. See ModelPool.
using ModelLease = std::shared_ptr<const ModelRef>;

}  // namespace hearth
