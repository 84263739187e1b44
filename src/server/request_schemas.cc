#include "server/request_schemas.h"

#include <array>

#include "sampling/sampler.h"

namespace hearth {
namespace {

using enum FieldType;

constexpr std::string_view kTokenIds = R"({"type": "integer", "minimum": 0})";

// Rows are built by functions because g++ wants every member of a designated initializer named.
constexpr Field honoured(std::string_view name, FieldType type, std::string_view default_value,
                         std::string_view doc) {
  Field field;
  field.name = name;
  field.type = type;
  field.default_value = default_value;
  field.doc = doc;
  return field;
}

constexpr Field bounded(Field field, double min, double max) {
  field.min = min;
  field.max = max;
  return field;
}

constexpr Field of(Field field, std::string_view items) {
  field.items = items;
  return field;
}

constexpr Field required(Field field) {
  field.required = true;
  return field;
}

constexpr Field ignored(std::string_view name, std::string_view doc) {
  Field field = honoured(name, kAny, "", doc);
  field.support = Support::kIgnored;
  return field;
}

// `harmless`: a JSON array of the values that ask for nothing.
constexpr Field refused(std::string_view name, std::string_view harmless, std::string_view doc) {
  Field field = honoured(name, kAny, harmless, doc);
  field.support = Support::kRefused;
  return field;
}

// Chat and text completions alike.
constexpr auto kGenerationFields = std::to_array<Field>({
    honoured("model", kString, "", "Name of the model; may be left out where there is only one."),
    honoured("stream", kBoolean, "false", "Send the answer in pieces as server-sent events."),
    honoured("stream_options", kObject, "",
             "Only with stream: include_usage, continuous_usage_stats."),
    bounded(honoured("n", kInteger, "1", "Number of answers to each prompt."), 1, kMaxChoices),
    bounded(honoured("temperature", kNumber, "1.0",
                     "0 always takes the most probable token. Absent: as the model's files "
                     "recommend, which goes for "
                     "top_p, top_k, min_p and repetition_penalty too."),
            0, 2),
    bounded(honoured("top_p", kNumber, "1.0",
                     "Keep the most probable tokens of this total probability."),
            kMinTopP, 1),
    bounded(honoured("top_k", kInteger, "0", "Keep this many tokens; 0 or -1 keeps all."), -1,
            1'000'000),
    bounded(honoured("min_p", kNumber, "0.0",
                     "Drop tokens less probable than this part of the best one's probability."),
            0, 1),
    bounded(honoured("frequency_penalty", kNumber, "0.0",
                     "Lowers tokens by how often the answer has them."),
            -2, 2),
    bounded(honoured("presence_penalty", kNumber, "0.0", "Lowers tokens the answer already has."),
            -2, 2),
    bounded(honoured("repetition_penalty", kNumber, "1.0",
                     "Above 1 lowers tokens that prompt or answer already have."),
            kMinRepetitionPenalty, 10),
    of(bounded(honoured("logit_bias", kObject, "", "Token id to a value added to its logit."), 0,
               kMaxLogitBias),
       R"({"type": "number", "minimum": -100, "maximum": 100})"),
    honoured("seed", kInteger, "",
             "Same seed, same request, same answer. Absent: a fresh one each time."),
    of(bounded(honoured("stop", kStringOrArray, "",
                        "Text that ends an answer; not part of it. At most 1024 bytes each."),
               0, kMaxStopStrings),
       R"({"type": "string", "minLength": 1})"),
    of(bounded(honoured("stop_token_ids", kArray, "", "Tokens that end an answer."), 0,
               kMaxStopTokenIds),
       kTokenIds),
    honoured("include_stop_str_in_output", kBoolean, "false",
             "Keep the stop string in the answer."),
    bounded(honoured("min_tokens", kInteger, "0", "No end-of-answer token before."), 0, kUnbounded),
    honoured("ignore_eos", kBoolean, "false", "Go on to max_tokens whatever the model wants."),
    bounded(honoured("priority", kInteger, "0",
                     "Requests with a lower one are served first; equal ones in order of arrival."),
            -kMaxPriority, kMaxPriority),
});

// Known to other servers. What would change the answer is refused rather than overlooked.
constexpr auto kForeignFields = std::to_array<Field>({
    ignored("user", "End-user label."),
    ignored("metadata", "Labels of the caller."),
    ignored("store", "Storage at the provider; nothing is stored here."),
    ignored("service_tier", "Processing class at the provider."),
    ignored("safety_identifier", "End-user label."),
    ignored("prompt_cache_key", "Cache hint; the prefix cache needs none."),
    ignored("prompt_cache_retention", "Cache hint; the prefix cache needs none."),
    ignored("spaces_between_special_tokens", "Only matters where special tokens are shown."),
    refused("skip_special_tokens", "[true]", "Show special tokens in the answer."),
    refused("use_beam_search", "[false]", "Beam search."),
    refused("length_penalty", "[1, 1.0]", "Beam search."),
    refused("bad_words", "[[]]", "Words that may not appear."),
    refused("allowed_token_ids", "[[]]", "Tokens that may appear."),
    refused("truncate_prompt_tokens", "[-1]", "Cut long prompts; they are refused instead."),
    refused("prompt_logprobs", "[]", "See echo with logprobs in /v1/completions."),
    refused("response_format", R"([{"type": "text"}])", "Structured answers."),
    refused("structured_outputs", "[{}]", "Structured answers."),
    refused("guided_json", "[]", "Structured answers."),
    refused("guided_regex", "[\"\"]", "Structured answers."),
    refused("guided_choice", "[[]]", "Structured answers."),
    refused("guided_grammar", "[\"\"]", "Structured answers."),
    refused("grammar", "[\"\"]", "Structured answers."),
    refused("json_schema", "[]", "Structured answers."),
    refused("typical_p", "[1, 1.0]", "Locally typical sampling."),
    refused("mirostat", "[0]", "Mirostat sampling."),
    refused("dry_multiplier", "[0, 0.0]", "DRY penalty."),
    refused("xtc_probability", "[0, 0.0]", "XTC sampling."),
    refused("cache_salt", "[\"\"]", "A prefix cache of one's own."),
    refused("return_tokens_as_token_ids", "[false]", "Token ids in place of token texts."),
});

constexpr auto kTemplateFields = std::to_array<Field>({
    honoured("add_generation_prompt", kBoolean, "true",
             "End the prompt where the assistant's answer begins."),
    honoured("add_special_tokens", kBoolean, "true",
             "Begin with the model's BOS token if it has one and the template did not write it."),
    bounded(
        honoured("chat_template_kwargs", kObject, "", "Further variables for the chat template."),
        0, 64),
    refused("chat_template", "[]", "A template sent by the client."),
    refused("continue_final_message", "[false]", "Go on with the last message."),
    refused("documents", "[[]]", "Documents for the template."),
    refused("tools", "[[]]", "Tools the model may call."),
});

constexpr Field kMessages =
    required(of(bounded(honoured("messages", kArray, "", "The conversation."), 1, kMaxMessages),
                R"({"$ref": "#/components/schemas/ChatMessage"})"));

constexpr auto kChatFields = std::to_array<Field>({
    kMessages,
    bounded(
        honoured("max_completion_tokens", kInteger, "",
                 "Longest answer. Absent, or more than the context has room for: up to the end of "
                 "the context, with finish_reason length."),
        1, kUnbounded),
    bounded(honoured("max_tokens", kInteger, "", "The older name of max_completion_tokens."), 1,
            kUnbounded),
    honoured("logprobs", kBoolean, "false", "Send the log-probability of each token."),
    bounded(honoured("top_logprobs", kInteger, "0",
                     "And those of this many alternatives; needs logprobs."),
            0, 20),
    refused("tool_choice", R"(["none", "auto"])", "Tools the model may call."),
    refused("functions", "[[]]", "Functions the model may call."),
    refused("function_call", R"(["none", "auto"])", "Functions the model may call."),
    ignored("parallel_tool_calls", "Only matters with tools."),
    refused("modalities", R"([["text"]])", "Answers other than text."),
    refused("audio", "[]", "Spoken answers."),
    refused("prediction", "[]", "Predicted output."),
    refused("web_search_options", "[]", "Web search."),
    refused("echo", "[false]", "Repeat the prompt."),
    ignored("reasoning_effort", "Only matters to models that reason by grade."),
    ignored("verbosity", "Only matters to models that grade their answers' length."),
});

constexpr auto kMessageFields = std::to_array<Field>({
    required(honoured("role", kString, "",
                      "system, developer (the same as system), user, assistant or tool.")),
    honoured("content", kAny, "",
             "Text, or an array of parts of type text; null only of assistants."),
    honoured("name", kString, "", "Name of the participant, for templates that show it."),
    honoured("tool_calls", kArray, "", "Calls in an earlier answer, for templates that show them."),
    honoured("tool_call_id", kString, "", "The call a tool message answers."),
    refused("function_call", "[]", "Functions the model may call."),
    refused("audio", "[]", "Spoken answers."),
});

constexpr auto kCompletionFields = std::to_array<Field>({
    required(of(bounded(honoured("prompt", kStringOrArray, "",
                                 "Text, token ids, or a list of either for several prompts."),
                        0, 10'000'000),
                "{}")),
    bounded(
        honoured("max_tokens", kInteger, "16",
                 "Longest answer; 0 only with echo. More than the context has room for: up to its "
                 "end, with finish_reason length."),
        0, kUnbounded),
    bounded(honoured("logprobs", kInteger, "",
                     "Send log-probabilities, with those of this many alternatives."),
            0, 5),
    honoured("echo", kBoolean, "false", "Begin the answer with the prompt."),
    honoured("add_special_tokens", kBoolean, "true",
             "Begin text prompts with the model's BOS token if it has one."),
    honoured("best_of", kInteger, "", "Accepted when it equals n."),
    refused("suffix", R"([""])", "Text behind the answer."),
    refused("prompt_embeds", "[]", "Embedded prompts."),
});

constexpr auto kStreamOptionsFields = std::to_array<Field>({
    honoured("include_usage", kBoolean, "false", "Send the usage in a last chunk without choices."),
    honoured("continuous_usage_stats", kBoolean, "false", "Send the usage so far in every chunk."),
    ignored("include_obfuscation", "Padding against traffic analysis."),
});

constexpr auto kTokenizeFields = std::to_array<Field>({
    honoured("model", kString, "", "Name of the model; may be left out where there is only one."),
    honoured("prompt", kString, "", "Text to tokenize; or messages."),
    of(bounded(
           honoured("messages", kArray, "", "A conversation to render and tokenize; or prompt."), 1,
           kMaxMessages),
       R"({"$ref": "#/components/schemas/ChatMessage"})"),
    honoured("return_token_strs", kBoolean, "false", "Also send the tokens' vocabulary entries."),
});

constexpr auto kDetokenizeFields = std::to_array<Field>({
    honoured("model", kString, "", "Name of the model; may be left out where there is only one."),
    required(of(bounded(honoured("tokens", kArray, "", "Token ids."), 0, 1'000'000), kTokenIds)),
});

// Every request to an encoder.
constexpr auto kEncoderFields = std::to_array<Field>({
    honoured("model", kString, "", "Name of the model; may be left out where there is only one."),
    bounded(honoured("truncate_prompt_tokens", kInteger, "",
                     "Cut longer texts to so many tokens, special ones included; -1: to what the "
                     "model reads. Absent: they are refused. The answer says what was cut."),
            -1, kUnbounded),
    honoured("truncate", kBoolean, "false", "The same as truncate_prompt_tokens -1."),
    refused("truncation_direction", R"(["right", "Right"])", "Which end of a text is cut."),
    ignored("user", "End-user label."),
    refused("add_special_tokens", "[true]", "Texts without special tokens: send token ids."),
    ignored("priority", "Requests to encoders share by tokens."),
});

constexpr auto kEmbeddingFields = std::to_array<Field>({
    bounded(honoured("dimensions", kInteger, "",
                     "Shorter vectors, of models that are declared to allow it (Matryoshka)."),
            1, kUnbounded),
    honoured("normalize", kBoolean, "",
             "Vectors of length 1. Absent: as the model's files say. false is refused where the "
             "model itself ends in it."),
    honoured("prompt_name", kString, "",
             "Which of the model's prompts goes in front of each text. Absent: its default one, if "
             "it has one; empty: none."),
    refused("input_type", "[]", "Purpose of the texts; see prompt_name."),
});

constexpr auto kOpenAiEmbeddingFields = std::to_array<Field>({
    required(
        of(bounded(honoured("input", kStringOrArray, "", "Text, token ids, or a list of either."),
                   0, 10'000'000),
           "{}")),
    honoured("encoding_format", kString, "\"float\"",
             "float, or base64: little-endian 32-bit floats."),
    refused("embed_dtype", R"(["float32"])", "What base64 holds."),
    refused("endianness", R"(["native", "little"])", "Of what base64 holds."),
});

constexpr auto kTeiEmbeddingFields = std::to_array<Field>({
    required(
        of(bounded(honoured("inputs", kStringOrArray, "", "Text, token ids, or a list of either."),
                   0, 10'000'000),
           "{}")),
});

constexpr auto kRerankFields = std::to_array<Field>({
    required(bounded(honoured("query", kString, "", "What the documents are compared with."), 1,
                     kUnbounded)),
    of(bounded(honoured("documents", kArray, "", "Texts, or objects with a text."), 1,
               kMaxDocuments),
       "{}"),
    bounded(honoured("top_n", kInteger, "", "Only so many of the best."), 1, kUnbounded),
    honoured("return_documents", kBoolean, "false", "Send the documents' texts back."),
    of(bounded(honoured("texts", kArray, "",
                        "In place of documents: the answer then is a list of index and score."),
               1, kMaxDocuments),
       R"({"type": "string"})"),
    honoured("return_text", kBoolean, "false", "With texts: send them back."),
    honoured("raw_scores", kBoolean, "false", "The model's outputs in place of 0 to 1."),
    refused("rank_fields", R"([[], ["text"]])", "Which fields of documents are read."),
    refused("max_chunks_per_doc", "[1]", "Documents in pieces."),
    refused("max_tokens_per_doc", "[]", "See truncate_prompt_tokens."),
});

constexpr auto kClassifyFields = std::to_array<Field>({
    required(
        of(bounded(honoured("input", kStringOrArray, "", "Text, token ids, or a list of either."),
                   0, 10'000'000),
           "{}")),
    honoured("use_activation", kBoolean, "true", "false: the model's outputs as they are."),
});

constexpr auto kPredictFields = std::to_array<Field>({
    required(of(bounded(honoured("inputs", kStringOrArray, "",
                                 "Text, a pair of texts, or a list of lists of one or two."),
                        0, 10'000'000),
                "{}")),
    honoured("raw_scores", kBoolean, "false", "The model's outputs as they are."),
});

constexpr auto kAdminFields = std::to_array<Field>({
    required(honoured("model", kString, "", "One of the names of a model of this server.")),
    honoured("wait", kBoolean, "true", "Answer when it is done; else at once, with 202."),
});

constexpr double kMostPatience = 86'400;  // A day.

constexpr auto kAdminUnloadFields = std::to_array<Field>({
    bounded(honoured("patience_seconds", kNumber, "30",
                     "How long answers under way may take to end before they are failed."),
            0, kMostPatience),
});

}  // namespace

const Schema& chat_schema() {
  static const Schema schema("ChatCompletionRequest",
                             {kChatFields, kTemplateFields, kGenerationFields, kForeignFields});
  return schema;
}

const Schema& message_schema() {
  static const Schema schema("ChatMessage", {kMessageFields});
  return schema;
}

const Schema& completion_schema() {
  static const Schema schema("CompletionRequest",
                             {kCompletionFields, kGenerationFields, kForeignFields});
  return schema;
}

const Schema& stream_options_schema() {
  static const Schema schema("StreamOptions", {kStreamOptionsFields});
  return schema;
}

const Schema& tokenize_schema() {
  static const Schema schema("TokenizeRequest", {kTokenizeFields, kTemplateFields});
  return schema;
}

const Schema& detokenize_schema() {
  static const Schema schema("DetokenizeRequest", {kDetokenizeFields});
  return schema;
}

const Schema& embedding_schema() {
  static const Schema schema("EmbeddingRequest",
                             {kOpenAiEmbeddingFields, kEmbeddingFields, kEncoderFields});
  return schema;
}

const Schema& embed_schema() {
  static const Schema schema("EmbedRequest",
                             {kTeiEmbeddingFields, kEmbeddingFields, kEncoderFields});
  return schema;
}

const Schema& rerank_schema() {
  static const Schema schema("RerankRequest", {kRerankFields, kEncoderFields});
  return schema;
}

const Schema& classify_schema() {
  static const Schema schema("ClassifyRequest", {kClassifyFields, kEncoderFields});
  return schema;
}

const Schema& predict_schema() {
  static const Schema schema("PredictRequest", {kPredictFields, kEncoderFields});
  return schema;
}

const Schema& admin_load_schema() {
  static const Schema schema("AdminLoadRequest", {kAdminFields});
  return schema;
}

const Schema& admin_unload_schema() {
  static const Schema schema("AdminUnloadRequest", {kAdminFields, kAdminUnloadFields});
  return schema;
}

}  // namespace hearth
