// How well a model predicts a text, and how far its predictions are from those of another.
//
// The text is cut into chunks of `chunk_len` tokens, what is left over at the end is not looked at,
// and each chunk is read on its own. Where the tokenizer begins texts with a token, that token
// replaces the first one of every chunk. Only predictions made in the second half of a chunk count,
// so that all have some context: of tokens chunk_len / 2 + 1 to chunk_len - 1. This is the protocol
// of llama.cpp's perplexity tool (tools/perplexity in its sources), so that figures can be
// compared.
#pragma once

#include <cstddef>
#include <cstdint>
#include <functional>
#include <optional>
#include <span>

#include "base/status.h"
#include "base/thread_pool.h"
#include "models/model.h"

namespace hearth {

// Both read every chunk.
struct PerplexityModels {
  Model& model;
  Model* reference = nullptr;  // nullptr: none.
};

struct PerplexityOptions {
  std::size_t chunk_len = 512;  // At least 4.
  std::size_t max_chunks = 0;   // 0: all.
  DType kv_cache_dtype = DType::kF16;
  std::optional<std::int32_t> bos = {};  // First in every chunk.
};

// A mean and the standard error of that mean.
struct Estimate {
  double value = 0.0;
  double error = 0.0;
};

// Of a model's distributions Q from a reference's P, over all predictions that count.
struct Divergence {
  Estimate mean;            // Kullback-Leibler divergence of P from Q, in nats.
  double median = 0.0;      // Of the same,
  double percentile99 = 0;  // and
  double maximum = 0.0;
  Estimate same_top;  // Share of predictions with the same most probable token.
  Estimate reference_perplexity;
};

struct PerplexityReport {
  std::size_t num_chunks = 0;
  std::size_t num_predictions = 0;
  Estimate perplexity;
  std::optional<Divergence> divergence;  // With a reference.
};

// Called with the chunks done, all chunks, and the perplexity so far.
using PerplexityProgress = std::function<void(std::size_t, std::size_t, double)>;

// Borrows everything; `threads` pick the logits apart. kInvalidArgument for a chunk_len below 4,
// for fewer tokens than two chunks, and for a reference with another vocabulary; kOutOfRange when a
// model was made for less than chunk_len; kResourceExhausted when keys and values do not fit;
// kDataLoss when a model's logits are not numbers.
Result<PerplexityReport> measure_perplexity(const PerplexityModels& models,
                                            std::span<const std::int32_t> tokens,
                                            const PerplexityOptions& options, ThreadPool& threads,
                                            const PerplexityProgress& progress);

}  // namespace hearth
