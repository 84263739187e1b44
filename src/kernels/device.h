// The device seam: every operation a model's forward pass is made of. Model code calls these and
// never a kernel; a second device is a second implementation, not a second model.
//
// Conventions. Activations are row-major float32 matrices, one row per token of the step's ragged
// batch: [num_tokens, width]. Pointers borrow; the caller keeps everything alive until the call
// returns. Calls are synchronous and allocate nothing once reserve() has been called for the
// largest batch. One thread at a time may use a device. Nothing here fails: shapes are checked when
// weights are bound, and a violated precondition is a broken invariant.
//
// The contract that the rest of Hearth builds on: each row's result is the same bits whatever other
// rows are in the batch, on any number of threads and with every kernel set. All sums therefore
// have one fixed order per output element.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string_view>

#include "base/status.h"
#include "base/thread_pool.h"
#include "kernels/kernels.h"
#include "tensor/tensor.h"

namespace hearth {

// Row-major [rows, cols] with `stride` floats from row to row.
struct MatrixView {
  float* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t stride = 0;

  float* row(std::size_t idx) const { return data + idx * stride; }
};

struct ConstMatrixView {
  const float* data = nullptr;
  std::size_t rows = 0;
  std::size_t cols = 0;
  std::size_t stride = 0;

  ConstMatrixView() = default;
  ConstMatrixView(const float* d, std::size_t r, std::size_t c, std::size_t s)
      : data(d), rows(r), cols(c), stride(s) {}
  ConstMatrixView(const MatrixView& m)
      : data(m.data), rows(m.rows), cols(m.cols), stride(m.stride) {}
  const float* row(std::size_t idx) const { return data + idx * stride; }
};

// A weight matrix [out_features, in_features] made ready for a device: a view of the file's blocks,
// or a repacked copy. Immutable; the tensor data it was made from must outlive it.
class WeightMatrix {
 public:
  virtual ~WeightMatrix() = default;
  DType dtype() const { return dtype_; }
  std::size_t out_features() const { return out_features_; }
  std::size_t in_features() const { return in_features_; }
  // Memory beyond the mapped file.
  virtual std::size_t extra_bytes() const { return 0; }
  // Whether its values are those of the tensor's own data, now or when they were repacked; false
  // when a kept copy was used instead.
  virtual bool reads_source() const { return true; }

 protected:
  WeightMatrix(DType dtype, std::size_t out_features, std::size_t in_features)
      : dtype_(dtype), out_features_(out_features), in_features_(in_features) {}

 private:
  DType dtype_;
  std::size_t out_features_;
  std::size_t in_features_;
};

// One product of a linear() call: out = input x weight^T (+ bias) (+ out, when accumulating).
struct LinearOutput {
  const WeightMatrix* weight = nullptr;
  const float* bias = nullptr;  // [out_features] or nullptr.
  MatrixView out;               // [num_tokens, out_features]
  bool accumulate = false;      // Add to what `out` holds: the residual stream.
};

enum class Activation : std::uint8_t {
  kSilu,
  kGelu,
  kGeluTanh,
  kRelu,
  kReluSquared,
  // g sigmoid(1.702 g), g = min(x, 7). As a gate it multiplies u + 1, u = `up` within +-7.
  kClampedSwish,
};

enum class RopeLayout : std::uint8_t {
  kInterleaved,  // Pairs (0,1), (2,3), ...: llama-type GGUF files ("norm").
  kHalves,       // Pairs (i, i + rope_dim/2): NeoX.
};

// How far the rows of a step are rotated.
struct RopeTable {
  RopeLayout layout = RopeLayout::kInterleaved;
  std::size_t rope_dim = 0;        // Rotated part of each head, even.
  const float* cos_sin = nullptr;  // [num_tokens, rope_dim / 2, 2]
  std::size_t first_dim = 0;       // Where in the head the rotated part begins.
};

// Block sizes are multiples of this: the positions a kernel scores at once.
inline constexpr std::size_t kKvPositionLanes = 16;

// One layer's paged key/value memory. A block holds block_size consecutive positions of one
// sequence; within it each head has kv_head_bytes() bytes of keys, and of values. Keys are
// stored transposed, so that one load brings one component of 16 positions and scores need no
// horizontal sums. F16, in elements from the head's first:
//   K (slot, i) at i * block_size + slot     V (slot, i) at slot * value_dim + i
// Q8_0: the same with signed bytes q, then float16 scales s, one per position and kKvGroupLen
// components (the last group may be short); a component is q * s:
//   K or V scale (slot, group) at group * block_size + slot
// Slots that no row has been stored to may hold anything; they are never used in a result.
struct KvLayerView {
  DType dtype = DType::kF16;  // Or kQ8_0.
  std::byte* k = nullptr;     // Aligned to 2.
  std::byte* v = nullptr;
  // Bytes from block to block within a region, and from head to head: at least kv_head_bytes(),
  // even.
  std::size_t block_stride = 0;
  std::size_t head_stride = 0;
  std::size_t value_block_stride = 0;  // The same of values.
  std::size_t value_head_stride = 0;
  std::size_t block_size = 0;     // Positions per block, a multiple of kKvPositionLanes.
  std::size_t region_blocks = 1;  // Blocks lie together in regions of so many.
  std::size_t region_stride = 0;  // Bytes from region to region.

  std::size_t key_offset(std::size_t block, std::size_t kv_head) const {
    return block / region_blocks * region_stride + block % region_blocks * block_stride +
           kv_head * head_stride;
  }
  std::size_t value_offset(std::size_t block, std::size_t kv_head) const {
    return block / region_blocks * region_stride + block % region_blocks * value_block_stride +
           kv_head * value_head_stride;
  }
};

inline constexpr std::size_t kKvGroupLen = 32;

// Bytes of one head's keys, or values, of that size in a block.
constexpr std::size_t kv_head_bytes(DType dtype, std::size_t head_dim, std::size_t block_size) {
  if (dtype == DType::kF16) return 2 * head_dim * block_size;
  return (head_dim + 2 * ((head_dim + kKvGroupLen - 1) / kKvGroupLen)) * block_size;
}

// The rows of one sequence within the ragged batch. Row first_row + i is the token at position
// first_position + i; it attends to positions 0 .. first_position + i of its own sequence, or to
// all of them up to the last of these rows (see AttentionParams::bidirectional).
struct SequenceRows {
  std::size_t first_row = 0;
  std::size_t num_rows = 0;
  std::size_t first_position = 0;
  const std::int32_t* block_table = nullptr;  // Block id of positions [j * block_size, ...).
};

struct HeadShape {
  std::size_t num_heads = 0;
  std::size_t num_kv_heads = 0;  // Divides num_heads.
  std::size_t head_dim = 0;      // Of queries and keys.
  std::size_t value_dim = 0;     // Of values; 0: as of keys.

  constexpr std::size_t value_len() const { return value_dim != 0 ? value_dim : head_dim; }
};

// What is added to each score by how far the key stands behind the query (arXiv 1910.10683): of
// head h at the distance d, -reach <= d <= reach, values[h * stride() + reach + d].
struct DistanceBiases {
  // [num_heads, stride()]; a row's last kKvPositionLanes - 1 are never used in a result. nullptr:
  // nothing is added.
  const float* values = nullptr;
  std::size_t reach = 0;  // No sequence has more positions than reach + 1.

  std::size_t stride() const { return 2 * reach + kKvPositionLanes; }
};

struct AttentionParams {
  HeadShape heads;
  float scale = 1.0f;
  float logit_softcap = 0.0f;      // 0: none.
  std::size_t sliding_window = 0;  // 0: the whole past; else only the last that many positions.
  // Rows see what comes after them, too. A sliding window then reaches half its length, rounded
  // down, to either side. Not with ALiBi.
  bool bidirectional = false;
  // ALiBi (arXiv 2108.12409): a head's score falls by its slope per position of distance.
  const float* alibi_slopes = nullptr;  // [num_heads] or nullptr
  DistanceBiases distance_biases = {};  // Behind scale and cap.
  // A head's sink takes its share of the softmax as a score of no position, whose value is zero.
  const float* sinks = nullptr;  // [num_heads] or nullptr
};

// The norms of a row, (input - mean) * gain / deviation + bias; without a bias the mean is left
// where it is (RMS norm).
struct NormWeights {
  const float* gain = nullptr;  // [width]
  const float* bias = nullptr;  // [width], or nullptr: RMS norm.
  float epsilon = 0.0f;
};

enum class ExpertGate : std::uint8_t {
  kSoftmax,
  kSigmoid,  // Each expert by itself: DeepSeek-V3 (arXiv 2412.19437).
  // Each chosen expert counts by its share of the softmax over those that are not yet chosen and
  // whose logits lie close to its own (SparseMixer at inference, arXiv 2409.12136).
  kSparseMixer,
};

inline constexpr std::size_t kMaxExpertGroups = 64;

// Which experts of a mixture a row's router chooses, and how much each of them counts.
struct ExpertRouting {
  std::size_t num_used = 0;
  bool renormalize = false;  // Weights of the chosen ones add up to 1. Not of kSparseMixer.
  float scale = 1.0f;        // Of all weights.
  ExpertGate gate = ExpertGate::kSoftmax;
  float jitter = 0.0f;  // kSparseMixer: close is a relative distance of at most twice this.
  // kSigmoid: added to the scores that experts are chosen by, not to their weights.
  const float* bias = nullptr;  // [num_experts] or nullptr
  // Experts in `num_groups` equal groups are chosen from the `num_groups_used` best ones alone; a
  // group's rank is the sum of its `group_best` best experts' (of logits, where it is one).
  std::size_t num_groups = 1;  // At most kMaxExpertGroups.
  std::size_t num_groups_used = 1;
  std::size_t group_best = 1;
};

// [rows, num_used], the likeliest expert first.
struct ExpertChoice {
  std::int32_t* experts = nullptr;
  float* weights = nullptr;
};

// For every row of an output, `num_terms` rows of an input and their weights: [rows, num_terms].
struct WeightedRows {
  std::size_t num_terms = 0;
  const std::int32_t* rows = nullptr;
  const float* weights = nullptr;
};

// The largest calls to come.
struct DeviceLimits {
  std::size_t max_tokens = 0;    // Rows of a batch.
  std::size_t max_features = 0;  // Input features of a linear().
  std::size_t max_head_dim = 0;
};

class Device {
 public:
  virtual ~Device() = default;

  // "cpu (avx512, 2 threads)", or with rounded products "cpu (avx512-bf16, 2 threads, bf16)".
  virtual std::string_view description() const = 0;

  // The device's threads on the host, for the caller's own work between operations: a second set
  // would only compete with them.
  virtual ThreadPool& host_threads() = 0;

  // A matrix for linear() and embed(). kUnimplemented when no kernel reads the tensor's type;
  // kInvalidArgument when it is not a matrix, kResourceExhausted without memory for it. Quantized
  // formats are repacked (see extra_bytes()); the tensor's own data is then read by embed() only,
  // and kDataLoss says that a block's scale is not finite.
  virtual Result<std::unique_ptr<WeightMatrix>> prepare_weight(const TensorView& tensor) = 0;

  // The same for a matrix that only embed() will read: nothing is repacked.
  virtual Result<std::unique_ptr<WeightMatrix>> prepare_table(const TensorView& tensor) = 0;

  // Scratch for calls within these limits, which then allocate nothing.
  virtual void reserve(const DeviceLimits& limits) = 0;

  // out[i] = row ids[i] of the table, dequantized. Ids are within the table.
  virtual void embed(const WeightMatrix& table, std::span<const std::int32_t> ids,
                     MatrixView out) = 0;

  // All outputs from one input: it is quantized once and the work is forked once.
  virtual void linear(ConstMatrixView input, std::span<const LinearOutput> outputs) = 0;

  // out = the norm of each row of `input`, which may be `out`.
  virtual void norm(ConstMatrixView input, const NormWeights& weights, MatrixView out) = 0;

  // x *= factor
  virtual void scale(MatrixView x, float factor) = 0;

  // x = x within +-limit
  virtual void clamp(MatrixView x, float limit) = 0;

  // out += input * factor
  virtual void add_scaled(ConstMatrixView input, float factor, MatrixView out) = 0;

  // x = cap * tanh(x / cap)
  virtual void softcap(MatrixView x, float cap) = 0;

  // Rotates the heads of q ([num_tokens, num_heads * head_dim]) or k in place.
  virtual void rope(MatrixView heads, std::size_t head_dim, const RopeTable& table) = 0;

  // Stores each row of k ([num_tokens, num_kv_heads * head_dim]) and v ([num_tokens, num_kv_heads *
  // value_len()]) at its position's slot. Sequences come in the order of their rows.
  virtual void store_kv(ConstMatrixView k, ConstMatrixView v,
                        std::span<const SequenceRows> sequences, const HeadShape& heads,
                        const KvLayerView& cache) = 0;

  // Attention of every row over its own sequence's cache, which already holds these rows.
  // q: [num_tokens, num_heads * head_dim]; out: [num_tokens, num_heads * value_len()].
  virtual void attention(ConstMatrixView q, std::span<const SequenceRows> sequences,
                         const AttentionParams& params, const KvLayerView& cache,
                         MatrixView out) = 0;

  // x = activation(x), element by element.
  virtual void activate(Activation activation, MatrixView x) = 0;

  // out = activation(gate) * up, element by element. `out` may be `gate` or `up`.
  virtual void gated_activation(Activation activation, ConstMatrixView gate, ConstMatrixView up,
                                MatrixView out) = 0;

  // The `num_used` experts of the largest of each row's `logits` [num_tokens, num_experts], of
  // equal ones the first, and their weights by the gate. What `logits` holds afterwards is of no
  // use.
  virtual void choose_experts(MatrixView logits, const ExpertRouting& routing,
                              const ExpertChoice& choice) = 0;

  // x = sigmoid(x)
  virtual void sigmoid(MatrixView x) = 0;

  // out[i] = input row rows[i].
  virtual void gather_rows(ConstMatrixView input, std::span<const std::int32_t> rows,
                           MatrixView out) = 0;

  // out[i] += sum of its weighted rows of `input`, in their order.
  virtual void add_weighted_rows(ConstMatrixView input, const WeightedRows& terms,
                                 MatrixView out) = 0;
};

class PackedCache;

// How products with weights in plain floats (F32, F16, BF16) are computed; quantized weights have
// their own way.
enum class FloatProducts : std::uint8_t {
  kF32,   // Weights and inputs as they are.
  kBf16,  // Both rounded to bfloat16, weights once, on loading; sums in float32.
};

struct CpuDeviceOptions {
  std::size_t num_threads = 0;        // 0: ThreadPool::available_cpus().
  std::string_view kernels = "auto";  // A name from kernel_sets(), or "auto": the best one.
  // Where packed weights come from and go to; outlives the device. nullptr: always packed anew.
  PackedCache* packed_cache = nullptr;
  FloatProducts float_products = FloatProducts::kF32;
};

// kInvalidArgument with the available names when the kernel set does not exist or this CPU lacks
// it.
Result<std::unique_ptr<Device>> make_cpu_device(const CpuDeviceOptions& options);

}  // namespace hearth
