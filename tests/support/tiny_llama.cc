#include "tests/support/tiny_llama.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <string_view>
#include <unordered_set>

#include "base/status.h"
#include "base/utf8.h"
#include "tests/support/gguf_writer.h"

namespace hearth::test {
namespace {

constexpr float kRmsEpsilon = 1e-5f;
constexpr float kRopeBase = 10000.0f;
// Larger than a trained model's, so that the layers outweigh the residual stream and the model does
// not just repeat its input.
constexpr float kWeightGain = 2.0f;

constexpr std::int32_t kNormalToken = 1;
constexpr std::int32_t kControlToken = 3;

constexpr std::string_view kChatTemplate =
    "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + "
    "'<|im_end|>' + '\n'}}{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' "
    "}}{% endif %}";

// "~" stands for the space here. Each part is a byte or the result of an earlier merge.
constexpr std::array<std::string_view, 41> kMerges = {
    "h e",        "l l",   "he ll",   "hell o", "~ w",  "o r", "~w or",  "l d",  "~wor ld",
    "~ t",        "~t he", "i n",     "~ a",    "r e",  "o n", "e r",    "~ s",  "a n",
    "e n",        "n d",   "a t",     "~a nd",  "in g", "u s", "us er",  "s t",  "s y",
    "sy st",      "e m",   "syst em", "i s",    "s is", "a s", "as sis", "t an", "tan t",
    "assis tant", "~ i",   "~i s",    "o u",    "y ou"};

// GPT-2's spelling of a byte: printable Latin-1 stands for itself, the other bytes for the code
// points from U+0100 on, in order.
std::string byte_spelling(unsigned byte) {
  const auto printable = [](unsigned b) {
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b <= 0xac) || b >= 0xae;
  };
  char32_t code_point = byte;
  if (!printable(byte)) {
    code_point = 0x100;
    for (unsigned b = 0; b < byte; ++b) {
      code_point += printable(b) ? 0 : 1;
    }
  }
  std::string spelling;
  utf8::append(spelling, code_point);
  return spelling;
}

std::string spelled_merge(std::string_view merge) {
  std::string spelled;
  for (const char c : merge) {
    spelled += c == '~' ? byte_spelling(' ') : std::string(1, c);
  }
  return spelled;
}

struct Vocabulary {
  std::vector<std::string> tokens = {"<|endoftext|>", "<|im_start|>", "<|im_end|>"};
  std::vector<std::int32_t> kinds = {kControlToken, kControlToken, kControlToken};
  std::vector<std::string> merges;
};

Vocabulary make_vocabulary() {
  Vocabulary vocabulary;
  for (unsigned byte = 0; byte < 256; ++byte) {
    vocabulary.tokens.push_back(byte_spelling(byte));
  }
  std::unordered_set<std::string> known(vocabulary.tokens.begin(), vocabulary.tokens.end());
  for (const std::string_view merge : kMerges) {
    const std::string spelled = spelled_merge(merge);
    const std::size_t gap = spelled.find(' ');
    const std::string left = spelled.substr(0, gap);
    const std::string right = spelled.substr(gap + 1);
    HEARTH_CHECK(known.contains(left) && known.contains(right));
    HEARTH_CHECK(known.insert(left + right).second);
    vocabulary.merges.push_back(spelled);
    vocabulary.tokens.push_back(left + right);
  }
  vocabulary.kinds.resize(vocabulary.tokens.size(), kNormalToken);
  HEARTH_CHECK(vocabulary.tokens.size() == kTinyVocabSize);
  return vocabulary;
}

// SplitMix64: the standard library's distributions differ between implementations.
class Random {
 public:
  explicit Random(std::uint64_t seed) : state_(seed) {}

  // Uniform in [low, high).
  float uniform(float low, float high) {
    state_ += 0x9e3779b97f4a7c15u;
    std::uint64_t z = state_;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return low + (high - low) * (static_cast<float>(z >> 40) * 0x1p-24f);
  }

 private:
  std::uint64_t state_;
};

class TinyLlamaWriter {
 public:
  explicit TinyLlamaWriter(const TinyLlamaOptions& options)
      : options_(options),
        hidden_size_(whole_blocks(options.hidden_size)),
        feed_forward_size_(whole_blocks(options.feed_forward_size)),
        head_dim_(hidden_size_ / options.num_heads),
        random_(options.seed) {
    HEARTH_CHECK(hidden_size_ % options.num_heads == 0);
    HEARTH_CHECK(options.num_heads % options.num_kv_heads == 0);
  }

  GgufWriter write() {
    add_config();
    add_tokenizer();
    add_matrix("token_embd.weight", kTinyVocabSize, hidden_size_, 1.0f);
    for (std::uint32_t layer = 0; layer < options_.num_layers; ++layer) {
      add_layer(fmt::format("blk.{}.", layer));
    }
    add_vector("output_norm.weight", hidden_size_, 0.5f, 1.5f);
    if (!options_.tied) add_weight("output.weight", kTinyVocabSize, hidden_size_);
    return std::move(writer_);
  }

 private:
  std::uint32_t whole_blocks(std::uint32_t width) const {
    const std::uint32_t block_len = dtype_info(options_.dtype).block_len;
    return (width + block_len - 1) / block_len * block_len;
  }

  void add_config() {
    writer_.add("general.architecture", "llama");
    writer_.add("general.name", "tiny random llama");
    writer_.add("llama.block_count", options_.num_layers);
    writer_.add("llama.context_length", options_.context_length);
    writer_.add("llama.embedding_length", hidden_size_);
    writer_.add("llama.feed_forward_length", feed_forward_size_);
    writer_.add("llama.attention.head_count", options_.num_heads);
    writer_.add("llama.attention.head_count_kv", options_.num_kv_heads);
    writer_.add("llama.attention.layer_norm_rms_epsilon", kRmsEpsilon);
    writer_.add("llama.rope.freq_base", kRopeBase);
    writer_.add("llama.rope.dimension_count", head_dim_);
    writer_.add("llama.vocab_size", static_cast<std::uint32_t>(kTinyVocabSize));
    if (!options_.rope_scaling.has_value()) return;
    writer_.add("llama.rope.scaling.type", options_.rope_scaling->type);
    writer_.add("llama.rope.scaling.factor", options_.rope_scaling->factor);
    writer_.add("llama.rope.scaling.original_context_length",
                options_.rope_scaling->original_context_length);
  }

  void add_tokenizer() {
    const Vocabulary vocabulary = make_vocabulary();
    writer_.add("tokenizer.ggml.model", "gpt2");
    writer_.add("tokenizer.ggml.pre", options_.pre_tokenizer);
    writer_.add("tokenizer.ggml.tokens", vocabulary.tokens);
    writer_.add("tokenizer.ggml.token_type", vocabulary.kinds);
    writer_.add("tokenizer.ggml.merges", vocabulary.merges);
    const auto add_id = [this](std::string_view key, std::int32_t id) {
      writer_.add(key, static_cast<std::uint32_t>(id));
    };
    add_id("tokenizer.ggml.bos_token_id", kTinyImStart);
    add_id("tokenizer.ggml.eos_token_id", kTinyImEnd);
    add_id("tokenizer.ggml.unknown_token_id", kTinyEndOfText);
    add_id("tokenizer.ggml.padding_token_id", kTinyEndOfText);
    writer_.add("tokenizer.ggml.add_bos_token", false);
    writer_.add("tokenizer.ggml.add_space_prefix", false);
    if (options_.chat_template) writer_.add("tokenizer.chat_template", kChatTemplate);
  }

  void add_layer(const std::string& prefix) {
    const std::uint32_t kv_width = options_.num_kv_heads * head_dim_;
    add_vector(prefix + "attn_norm.weight", hidden_size_, 0.5f, 1.5f);
    add_projection(prefix + "attn_q", hidden_size_);
    add_projection(prefix + "attn_k", kv_width);
    add_projection(prefix + "attn_v", kv_width);
    add_weight(prefix + "attn_output.weight", hidden_size_, hidden_size_);
    add_vector(prefix + "ffn_norm.weight", hidden_size_, 0.5f, 1.5f);
    add_weight(prefix + "ffn_gate.weight", feed_forward_size_, hidden_size_);
    add_weight(prefix + "ffn_up.weight", feed_forward_size_, hidden_size_);
    add_weight(prefix + "ffn_down.weight", hidden_size_, feed_forward_size_);
  }

  void add_projection(const std::string& name, std::uint32_t out_features) {
    add_weight(name + ".weight", out_features, hidden_size_);
    if (options_.bias) add_vector(name + ".bias", out_features, -0.5f, 0.5f);
  }

  // Scaled so that the outputs of normalised inputs have about the size kWeightGain.
  void add_weight(const std::string& name, std::uint64_t out_features, std::uint64_t in_features) {
    add_matrix(name, out_features, in_features,
               kWeightGain * std::sqrt(3.0f / static_cast<float>(in_features)));
  }

  void add_matrix(const std::string& name, std::uint64_t rows, std::uint64_t cols, float range) {
    writer_.add_tensor(name, options_.dtype, shape_of({rows, cols}),
                       random_values(rows * cols, -range, range));
  }

  void add_vector(const std::string& name, std::uint64_t len, float low, float high) {
    writer_.add_tensor(name, DType::kF32, shape_of({len}), random_values(len, low, high));
  }

  std::vector<float> random_values(std::size_t count, float low, float high) {
    std::vector<float> values(count);
    for (float& value : values) {
      value = random_.uniform(low, high);
    }
    return values;
  }

  const TinyLlamaOptions& options_;
  std::uint32_t hidden_size_;
  std::uint32_t feed_forward_size_;
  std::uint32_t head_dim_;
  Random random_;
  GgufWriter writer_;
};

}  // namespace

std::vector<std::byte> tiny_llama_bytes(const TinyLlamaOptions& options) {
  return TinyLlamaWriter(options).write().bytes();
}

void write_tiny_llama(const std::filesystem::path& path, const TinyLlamaOptions& options) {
  write_bytes(path, tiny_llama_bytes(options));
}

}  // namespace hearth::test
