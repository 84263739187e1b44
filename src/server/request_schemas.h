// The tables of every request body of the API.
#pragma once

#include "server/schema.h"

namespace hearth {

// Bounds that the tables and the code share.
inline constexpr std::size_t kMaxChoices = 128;           // `n`
inline constexpr std::size_t kMaxPrompts = 256;           // Of one completion request.
inline constexpr double kMaxPriority = 1'000'000;         // And least, with its sign.
inline constexpr std::size_t kMaxEchoedTokens = 131'072;  // Of all answers to one request.
inline constexpr std::size_t kMaxStopStrings = 16;
inline constexpr std::size_t kMaxStopBytes = 1024;  // Of one stop string.
inline constexpr std::size_t kMaxLogitBias = 1024;
inline constexpr std::size_t kMaxStopTokenIds = 128;
inline constexpr std::size_t kMaxMessages = 10'000;
inline constexpr std::size_t kMaxContentParts = 1024;
inline constexpr std::size_t kMaxTexts = 2048;  // Of one request to an encoder.
inline constexpr std::size_t kMaxDocuments = 2048;
// A query is read again with each document: its bytes times their number. Twice a body of default
// size.
inline constexpr std::size_t kMaxRepeatedQueryBytes = std::size_t{64} << 20;

const Schema& chat_schema();
const Schema& message_schema();
const Schema& completion_schema();
const Schema& stream_options_schema();
const Schema& tokenize_schema();
const Schema& detokenize_schema();
const Schema& embedding_schema();  // OpenAI's.
const Schema& embed_schema();      // text-embeddings-inference's, as predict_schema().
const Schema& rerank_schema();     // Of both shapes.
const Schema& classify_schema();   // vLLM's.
const Schema& predict_schema();
const Schema& admin_load_schema();
const Schema& admin_unload_schema();

}  // namespace hearth
