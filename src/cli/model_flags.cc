#include "cli/model_flags.h"

#include "base/log.h"
#include "base/memory_nodes.h"
#include "cli/model_path.h"

namespace hearth {
namespace {

// Packed in about a tenth of a second.
constexpr std::size_t kMinPackedBytes = std::size_t{256} << 20;

}  // namespace

void add_kv_cache_dtype(OptionSet& options, DType& target) {
  options.add(
      target,
      {.name = "kv-cache-dtype",
       .help = "How keys and values are stored. q8_0 takes about half the memory of f16, so "
               "that twice as many tokens fit, and makes answers slightly less exact."},
      {{kv_cache_dtype_name(DType::kF16), DType::kF16},
       {kv_cache_dtype_name(DType::kQ8_0), DType::kQ8_0}});
}

void add_cpu_options(OptionSet& options, std::size_t& num_threads, std::string& kernels) {
  options.add(num_threads,
              {.name = "threads", .help = "Threads that compute. 0: one per usable CPU."},
              {.min = 0, .max = 1024});
  options.add(kernels,
              {.name = "kernels",
               .help = "Kernel set to use (see 'hearth version'). auto: the best for this CPU.",
               .placeholder = "NAME",
               .advanced = true});
}

void add_encoder_precision(OptionSet& options, EncoderPrecision& target) {
  const auto choice = [](EncoderPrecision precision) {
    return std::pair(encoder_precision_name(precision), precision);
  };
  options.add(target,
              {.name = "encoder-precision",
               .help = "How encoders multiply by weights in plain floats. bf16 rounds weights and "
                       "inputs to bfloat16 and sums in float32: nearly twice as fast on CPUs with "
                       "AVX512-BF16, and slower on others. auto: bf16 on such CPUs if the vectors "
                       "of trial texts keep a cosine of 0.99996 to those of f32, else f32."},
              {choice(EncoderPrecision::kAuto), choice(EncoderPrecision::kF32),
               choice(EncoderPrecision::kBf16)});
}

void add_quantize(OptionSet& options, std::string& target) {
  options.add(target, {.name = "quantize",
                       .help = "Store the weights of a float model in fewer bits while loading, "
                               "as hearth quantize --to does (q8_0, q4_k_m, ...): the same answers "
                               "as from its file. Empty: as they are.",
                       .placeholder = "FORMAT"});
}

void ModelFlags::declare(OptionSet& options) {
  options.section("Model");
  add_models_dir(options, models_dir_);
  options.add(options_.chat_template_file,
              {.name = "chat-template",
               .help = "Jinja file to use instead of the chat template inside the model file."});
  add_quantize(options, options_.quantize);
  options.add(options_.sampling_defaults,
              {.name = "sampling-defaults",
               .help = "Where a request does not set temperature, top_p, top_k, min_p or "
                       "repetition_penalty, take what the model's files recommend "
                       "(generation_config.json, or general.sampling in GGUF). Without: 1, 1, 0, 0 "
                       "and 1."});
  options.add(options_.engine.max_model_len,
              {.name = "max-model-len",
               .help = "Tokens of one prompt and its answer together; longer requests are refused. "
                       "0: what the model was made for."},
              {.min = 0, .max = std::size_t{1} << 24});
  options.add(kv_cache_bytes_,
              {.name = "kv-cache-bytes",
               .help = "Memory for keys and values of all sequences, at most what max-num-seqs "
                       "sequences of max-model-len tokens can use. 0: chosen from what this "
                       "machine or container has."});
  add_kv_cache_dtype(options, options_.engine.kv_cache_dtype);
  add_encoder_precision(options, options_.encoder_precision);
  options.add(options_.matryoshka_dimensions,
              {.name = "matryoshka-dimensions",
               .help = "Lengths that an encoder's vectors may be cut to on request, besides those "
                       "that its files name: for models that were trained for it (Matryoshka) and "
                       "do not say so.",
               .placeholder = "LENGTH"},
              {.min = 1, .max = 1 << 24});
  options.section("Speculation");
  options.add(options_.engine.speculation,
              {.name = "speculation",
               .help = "Guess the next tokens from repetitions in the prompt and the answer, and "
                       "check them in one step. Answers stay the same, bit by bit; those that "
                       "repeat text come faster."},
              {{"off", SpeculationMethod::kOff}, {"ngram", SpeculationMethod::kNgram}});
  options.add(options_.engine.max_draft_tokens,
              {.name = "speculation-max-tokens",
               .help = "Guesses for one answer in one step, at most. How many there are follows "
                       "from how many were right.",
               .advanced = true},
              {.min = 1, .max = 64});
  options.section("Machine");
  add_cpu_options(options, options_.num_threads, options_.kernels);
  options.add(interleave_memory_,
              {.name = "numa-interleave",
               .help = "On machines with several NUMA nodes, spread weights, keys and values over "
                       "the memory of all nodes instead of where they are first touched.",
               .advanced = true});
  options.add(keep_packed_weights_,
              {.name = "keep-packed-weights",
               .help = "Keep the weights on disk in the form that the kernels read, so that the "
                       "next start maps them instead of packing them: half as long, and several "
                       "processes share the memory. About the model's size again; models below "
                       "256 MB are not worth it, and at least as much must stay free. hearth gc "
                       "removes them."});
  options.add(options_.packed_weights_dir,
              {.name = "packed-weights-dir",
               .help = "Where, whatever the model's size. Empty: in the registry.",
               .placeholder = "PATH",
               .advanced = true});
}

void ModelFlags::declare_concurrency(OptionSet& options) {
  EngineOptions& engine = options_.engine;
  options.section("Concurrency");
  options.add(engine.max_num_seqs,
              {.name = "max-num-seqs",
               .help = "Answers computed at the same time. More give more throughput and a slower "
                       "single answer."},
              {.min = 1, .max = 4096});
  options.add(engine.max_queued_requests,
              {.name = "max-queued-requests",
               .help = "Requests that may wait for their turn; more are refused with 503."},
              {.min = 1, .max = 1'000'000});
  options.add(engine.max_num_batched_tokens,
              {.name = "max-num-batched-tokens",
               .help = "Tokens computed in one step. More make prompts faster, fewer make running "
                       "answers smoother while a long prompt comes in.",
               .advanced = true},
              {.min = 1, .max = 65536});
  options.add(engine.target_step_time,
              {.name = "target-step-time",
               .help = "How long running answers may pause while prompts of others are read: steps "
                       "are kept about so short. 0: no bound.",
               .advanced = true});
  options.add(
      engine.block_size,
      {.name = "block-size", .help = "Tokens per block of key/value memory.", .advanced = true},
      {.min = 1, .max = 1024});
  options.add(engine.prefix_cache,
              {.name = "prefix-cache",
               .help = "Keep keys and values of earlier prompts and answers for requests that "
                       "begin the same way."});
}

// A user without a home has no registry, and nothing to keep the weights in.
void ModelFlags::choose_packed_weights_dir(ServedModelOptions& options) const {
  if (!keep_packed_weights_) {
    options.packed_weights_dir.clear();
  } else if (options.packed_weights_dir.empty()) {
    const auto registry = model_registry(models_dir_);
    if (!registry.has_value()) return;
    options.packed_weights_dir = registry->root() / hub::kPackedDirectory;
    options.min_packed_bytes = kMinPackedBytes;
  }
}

Status ModelFlags::set_up_process() const {
  if (!interleave_memory_) return {};
  const auto num_nodes = interleave_memory();
  if (!num_nodes.has_value()) return num_nodes.error().with_context("--numa-interleave");
  log::info("memory is spread over {} NUMA node{}", *num_nodes, *num_nodes == 1 ? "" : "s");
  return {};
}

Result<ServedModelOptions> ModelFlags::resolve(const std::string& model) const {
  ServedModelOptions options = options_;
  options.engine.kv_cache_bytes = kv_cache_bytes_.bytes;
  choose_packed_weights_dir(options);
  HEARTH_ASSIGN_OR_RETURN(ModelLocation location, resolve_model(model, models_dir_));
  options.path = std::move(location.path);
  options.served_name = std::move(location.name);
  return options;
}

}  // namespace hearth
