// The request bodies of a run.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"

namespace hearth::loadgen {

enum class Endpoint { kCompletions, kChat };

// "/completions" or "/chat/completions".
std::string_view endpoint_path(Endpoint endpoint);

// A request that is ready to be sent.
struct PlannedRequest {
  std::string body;                   // JSON.
  std::uint64_t expected_tokens = 0;  // Fewer make the answer incomplete.
};

// What all requests of a run have in common.
struct RequestForm {
  Endpoint endpoint = Endpoint::kCompletions;
  std::string model;
  std::size_t output_tokens = 64;
  bool ignore_eos = true;  // Answers are then exactly output_tokens long, else at most.
};

// `prompt` is what the endpoint takes: text or token ids, or a list of messages.
PlannedRequest plan_request(const RequestForm& form, json::Value prompt);

// Where prompts come from. Not thread-safe.
class PromptSource {
 public:
  virtual ~PromptSource() = default;
  virtual json::Value next() = 0;
  // From here on prompts begin with another shared prefix.
  virtual void begin_level() {}
};

// How synthetic prompts are written.
struct SyntheticOptions {
  Endpoint endpoint = Endpoint::kCompletions;
  // Ids are drawn evenly from [id_begin, id_end); without any, words are drawn instead.
  std::int64_t id_begin = 0;
  std::int64_t id_end = 0;
  std::size_t length = 128;       // In ids or words.
  std::size_t shared_prefix = 0;  // As many of them are the same in all prompts of a level.
  std::uint64_t seed = 0;
};

// Random prompts: no two of a run have a beginning in common but the shared prefix, so prefix
// caches find nothing else. Words are common English ones that are one token each in most
// vocabularies.
class SyntheticPrompts final : public PromptSource {
 public:
  explicit SyntheticPrompts(const SyntheticOptions& options);
  json::Value next() override;
  void begin_level() override;

 private:
  std::uint64_t draw();

  SyntheticOptions options_;
  std::mt19937_64 random_;
  std::vector<std::uint64_t> prefix_;
};

// The lines of a JSONL file, each an object with "prompt" (text) or "messages" (a list), in order
// and again from the start when they are used up.
class DatasetPrompts final : public PromptSource {
 public:
  // Texts become a user message for the chat endpoint. Errors name the line.
  static Result<DatasetPrompts> load(const std::filesystem::path& path, Endpoint endpoint);
  json::Value next() override;
  std::size_t size() const { return prompts_.size(); }

 private:
  std::vector<json::Value> prompts_;
  std::size_t position_ = 0;
};

}  // namespace hearth::loadgen
