#include "server/api_request.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <limits>
#include <utility>

#include "server/chat_messages.h"
#include "server/random_id.h"
#include "server/request_schemas.h"
#include "server/request_values.h"
#include "server/schema.h"

namespace hearth {
namespace {

using ApiStatus = std::optional<ApiError>;

std::uint32_t clamp_to_uint32(std::int64_t value) {
  constexpr std::int64_t kMax = std::numeric_limits<std::uint32_t>::max();
  return static_cast<std::uint32_t>(std::clamp<std::int64_t>(value, 0, kMax));
}

// Larger than every context, so a larger request cannot be told from it.
std::optional<std::uint32_t> optional_count(const Fields& fields, std::string_view name) {
  if (!fields.has(name)) return std::nullopt;
  return clamp_to_uint32(fields.integer(name));
}

ApiStatus read_logit_bias(const Fields& fields, std::size_t vocab_size, SamplingParams& sampling) {
  const json::Value* bias = fields.value("logit_bias");
  if (bias == nullptr) return std::nullopt;
  for (const json::Member& member : *bias->as_object()) {
    const std::string path = fmt::format("logit_bias.{}", member.key);
    TokenId id = -1;
    const char* end = member.key.data() + member.key.size();
    const auto [stop, errc] = std::from_chars(member.key.data(), end, id);
    if (errc != std::errc() || stop != end || id < 0 ||
        static_cast<std::size_t>(id) >= vocab_size) {
      return invalid_field("logit_bias", "token_out_of_range",
                           fmt::format("'{}' is not a token id of this model (0 to {}).",
                                       member.key.substr(0, 32), vocab_size - 1));
    }
    double value = 0;
    if (!member.value.to_double(value)) {
      return invalid_field(path, "invalid_type", fmt::format("'{}' must be a number.", path));
    }
    if (value < -100 || value > 100) {
      return invalid_field(
          path, "value_out_of_range",
          fmt::format("'{}' must be between -100 and 100, but it is {}.", path, value));
    }
    sampling.logit_bias.emplace_back(id, static_cast<float>(value));
  }
  return std::nullopt;
}

ApiStatus read_stop(const Fields& fields, GenerationParams& params) {
  const json::Value* stop = fields.value("stop");
  if (stop == nullptr) return std::nullopt;
  json::Array single;
  if (stop->as_string() != nullptr) single.push_back(*stop);
  const json::Array& items = stop->as_array() != nullptr ? *stop->as_array() : single;
  for (const json::Value& item : items) {
    const std::string* text = item.as_string();
    if (text == nullptr) {
      return invalid_field(
          "stop", "invalid_type",
          fmt::format("'stop' must hold strings, but {} was given.", item.type_name()));
    }
    if (text->empty() || text->size() > kMaxStopBytes) {
      return invalid_field(
          "stop", "value_out_of_range",
          fmt::format("A stop string must have between 1 and {} bytes, but one has {}.",
                      kMaxStopBytes, text->size()));
    }
    params.stop.push_back(*text);
  }
  return std::nullopt;
}

ApiStatus read_stream_options(const Fields& fields, GenerationParams& params) {
  params.stream = fields.boolean("stream");
  const json::Value* options = fields.value("stream_options");
  if (options == nullptr) return std::nullopt;
  if (!params.stream) {
    return invalid_field("stream_options", "invalid_combination",
                         "'stream_options' is only allowed with 'stream': true.");
  }
  const auto nested =
      Fields::check(stream_options_schema(), *options->as_object(), "stream_options.");
  if (!nested) return nested.error();
  params.include_usage = nested->boolean("include_usage");
  params.continuous_usage = nested->boolean("continuous_usage_stats");
  return std::nullopt;
}

SamplingParams read_sampling(const Fields& fields, const SamplingParams& defaults) {
  SamplingParams sampling = defaults;
  const auto read = [&fields](std::string_view name, float& target) {
    if (fields.has(name)) target = static_cast<float>(fields.number(name));
  };
  read("temperature", sampling.temperature);
  read("top_p", sampling.top_p);
  read("min_p", sampling.min_p);
  read("frequency_penalty", sampling.frequency_penalty);
  read("presence_penalty", sampling.presence_penalty);
  read("repetition_penalty", sampling.repetition_penalty);
  if (fields.has("top_k")) sampling.top_k = clamp_to_uint32(fields.integer("top_k"));
  sampling.seed =
      fields.has("seed") ? static_cast<std::uint64_t>(fields.integer("seed")) : random_u64();
  return sampling;
}

// Everything chat and text completions share, except max_tokens and logprobs.
ApiResult<GenerationParams> read_params(const Fields& fields, std::size_t vocab_size,
                                        const SamplingParams& defaults) {
  GenerationParams params;
  params.sampling = read_sampling(fields, defaults);
  params.num_choices = clamp_to_uint32(fields.integer("n"));
  params.min_tokens = clamp_to_uint32(fields.integer("min_tokens"));
  params.ignore_eos = fields.boolean("ignore_eos");
  params.priority = static_cast<std::int32_t>(fields.integer("priority"));
  params.include_stop = fields.boolean("include_stop_str_in_output");
  if (auto error = read_logit_bias(fields, vocab_size, params.sampling)) {
    return std::unexpected(*std::move(error));
  }
  if (auto error = read_stop(fields, params)) return std::unexpected(*std::move(error));
  if (auto error = read_stream_options(fields, params)) return std::unexpected(*std::move(error));
  if (const json::Value* ids = fields.value("stop_token_ids")) {
    API_ASSIGN_OR_RETURN(params.stop_token_ids,
                         token_ids(*ids->as_array(), "stop_token_ids", vocab_size));
  }
  return params;
}

ApiStatus check_min_tokens(const GenerationParams& params) {
  if (!params.max_tokens || params.min_tokens <= *params.max_tokens) return std::nullopt;
  return invalid_field("min_tokens", "value_out_of_range",
                       fmt::format("'min_tokens' is {}, more than the {} tokens allowed at most.",
                                   params.min_tokens, *params.max_tokens));
}

ApiStatus read_chat_limits(const Fields& fields, GenerationParams& params) {
  const auto newer = optional_count(fields, "max_completion_tokens");
  const auto older = optional_count(fields, "max_tokens");
  if (newer && older && *newer != *older) {
    return invalid_field(
        "max_tokens", "invalid_combination",
        "'max_tokens' and 'max_completion_tokens' are the same limit; they may not "
        "differ.");
  }
  params.max_tokens = newer ? newer : older;
  if (fields.boolean("logprobs")) {
    params.top_logprobs = clamp_to_uint32(fields.integer("top_logprobs"));
  } else if (fields.integer("top_logprobs") > 0) {
    return invalid_field("top_logprobs", "invalid_combination",
                         "'top_logprobs' needs 'logprobs': true.");
  }
  return check_min_tokens(params);
}

ApiStatus read_completion_limits(const Fields& fields, CompletionRequest& request) {
  GenerationParams& params = request.params;
  request.echo = fields.boolean("echo");
  request.add_special_tokens = fields.boolean("add_special_tokens");
  params.max_tokens = clamp_to_uint32(fields.integer("max_tokens"));
  if (*params.max_tokens == 0 && !request.echo) {
    return invalid_field("max_tokens", "value_out_of_range",
                         "'max_tokens' must be at least 1; 0 is only allowed with 'echo': true.");
  }
  params.top_logprobs = optional_count(fields, "logprobs");
  if (fields.has("best_of") && fields.integer("best_of") != fields.integer("n")) {
    return invalid_field("best_of", "unsupported_parameter",
                         "'best_of' is only supported when it equals 'n'.");
  }
  return check_min_tokens(params);
}

ApiResult<ChatInput> read_chat_input(const Fields& fields) {
  ChatInput input;
  API_ASSIGN_OR_RETURN(input.messages, normalize_messages(*fields.value("messages")->as_array()));
  input.add_generation_prompt = fields.boolean("add_generation_prompt");
  input.add_special_tokens = fields.boolean("add_special_tokens");
  const json::Value* kwargs = fields.value("chat_template_kwargs");
  if (kwargs == nullptr) return input;
  for (const json::Member& member : *kwargs->as_object()) {
    constexpr std::array<std::string_view, 8> kReserved = {
        "messages",  "tools",     "documents", "add_generation_prompt",
        "bos_token", "eos_token", "unk_token", "pad_token"};
    if (std::ranges::find(kReserved, member.key) != kReserved.end()) {
      return std::unexpected(
          invalid_field("chat_template_kwargs", "invalid_combination",
                        fmt::format("'chat_template_kwargs' may not set '{}'.", member.key)));
    }
  }
  input.template_kwargs = *kwargs->as_object();
  return input;
}

}  // namespace

ApiResult<std::string> requested_model(const json::Value& body) {
  const json::Value* name = body.as_object()->find("model");
  if (name == nullptr || name->is_null()) return std::string();
  const std::string* text = name->as_string();
  if (text != nullptr) return *text;
  return std::unexpected(invalid_field(
      "model", "invalid_type",
      fmt::format("'model' must be of type string, but {} was given.", name->type_name())));
}

ApiResult<ChatRequest> parse_chat_request(const json::Value& body, std::size_t vocab_size,
                                          const SamplingParams& defaults) {
  API_ASSIGN_OR_RETURN(const Fields fields, Fields::check(chat_schema(), *body.as_object()));
  ChatRequest request;
  API_ASSIGN_OR_RETURN(request.params, read_params(fields, vocab_size, defaults));
  if (auto error = read_chat_limits(fields, request.params)) {
    return std::unexpected(*std::move(error));
  }
  API_ASSIGN_OR_RETURN(request.input, read_chat_input(fields));
  return request;
}

ApiResult<CompletionRequest> parse_completion_request(const json::Value& body,
                                                      std::size_t vocab_size,
                                                      const SamplingParams& defaults) {
  API_ASSIGN_OR_RETURN(const Fields fields, Fields::check(completion_schema(), *body.as_object()));
  CompletionRequest request;
  API_ASSIGN_OR_RETURN(request.params, read_params(fields, vocab_size, defaults));
  if (auto error = read_completion_limits(fields, request)) {
    return std::unexpected(*std::move(error));
  }
  API_ASSIGN_OR_RETURN(
      request.prompts,
      text_or_ids_list({*fields.value("prompt"), "prompt", kMaxPrompts}, vocab_size));
  const std::size_t num_answers = request.prompts.size() * request.params.num_choices;
  if (num_answers > kMaxPrompts) {
    return std::unexpected(
        invalid_field("n", "value_out_of_range",
                      fmt::format("Prompts times 'n' may be at most {}, but it is {}.", kMaxPrompts,
                                  num_answers)));
  }
  return request;
}

ApiResult<TokenizeRequest> parse_tokenize_request(const json::Value& body) {
  API_ASSIGN_OR_RETURN(const Fields fields, Fields::check(tokenize_schema(), *body.as_object()));
  TokenizeRequest request;
  request.add_special_tokens = fields.boolean("add_special_tokens");
  request.return_texts = fields.boolean("return_token_strs");
  if (fields.has("prompt") == fields.has("messages")) {
    return std::unexpected(
        invalid_field("prompt", "invalid_combination", "Give either 'prompt' or 'messages'."));
  }
  if (fields.has("prompt")) {
    request.input = fields.text("prompt");
  } else {
    API_ASSIGN_OR_RETURN(request.input, read_chat_input(fields));
  }
  return request;
}

ApiResult<DetokenizeRequest> parse_detokenize_request(const json::Value& body,
                                                      std::size_t vocab_size) {
  API_ASSIGN_OR_RETURN(const Fields fields, Fields::check(detokenize_schema(), *body.as_object()));
  DetokenizeRequest request;
  API_ASSIGN_OR_RETURN(request.tokens,
                       token_ids(*fields.value("tokens")->as_array(), "tokens", vocab_size));
  return request;
}

}  // namespace hearth
