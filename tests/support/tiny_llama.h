// A tiny random model of the llama family with a working tokenizer and chat template: everything a
// real file has, in some 300 KB. Deterministic: equal options give equal bytes on every machine.
//
// Vocabulary (300 tokens, byte-level BPE as in GPT-2, tokenizer.ggml.model "gpt2"):
//   0 <|endoftext|>   control; padding and unknown
//   1 <|im_start|>    control; bos (not added by itself: add_bos_token is false)
//   2 <|im_end|>      control; eos
//   3 + b             the byte b, in GPT-2's printable spelling (U+0120 for the space), b = 0 to
//   255 259 to 299        the merges in order: "he", "ll", "hell", "hello", ..., " world", "user",
//   ...
//                     (see kMerges in tiny_llama.cc)
// Any text can be encoded. The chat template is ChatML: "<|im_start|>ROLE\nCONTENT<|im_end|>\n" per
// message and "<|im_start|>assistant\n" when a generation prompt is asked for; no default system
// message.
//
// The weights are random, so the text it writes is noise, but its logits differ clearly between
// tokens and positions. Any token may come up, also the end tokens: tests that need a certain
// length must ignore them or ask for a minimum.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

#include "tensor/dtype.h"

namespace hearth::test {

inline constexpr std::size_t kTinyVocabSize = 300;
inline constexpr std::int32_t kTinyEndOfText = 0;
inline constexpr std::int32_t kTinyImStart = 1;
inline constexpr std::int32_t kTinyImEnd = 2;
inline constexpr std::int32_t kTinyFirstByte = 3;

struct TinyRopeScaling {
  std::string type;  // "linear" or "yarn"
  float factor = 4.0f;
  std::uint32_t original_context_length = 128;
};

struct TinyLlamaOptions {
  DType dtype = DType::kF32;  // Of all matrices; norms and biases are F32.
  bool tied = true;           // Without output.weight, the embedding is also the output matrix.
  bool bias = false;          // Biases on the query, key and value projections.
  std::optional<TinyRopeScaling> rope_scaling = std::nullopt;
  std::uint32_t num_layers = 2;
  // Both widths are rounded up to whole blocks of `dtype` (256 for the K formats).
  std::uint32_t hidden_size = 64;
  std::uint32_t feed_forward_size = 128;
  std::uint32_t num_heads = 4;
  std::uint32_t num_kv_heads = 2;
  std::uint32_t context_length = 512;
  std::uint64_t seed = 1;
  std::string pre_tokenizer = "smollm";
  bool chat_template = true;
};

std::vector<std::byte> tiny_llama_bytes(const TinyLlamaOptions& options = {});
// Fails the process when the file cannot be written.
void write_tiny_llama(const std::filesystem::path& path, const TinyLlamaOptions& options = {});

}  // namespace hearth::test
