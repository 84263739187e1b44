// Weights are declared, not fetched: a model lists what it needs, the binder finds it, checks it
// and counts every complaint and remembers the first, so that one look shows what is wrong with a
// file.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <unordered_set>
#include <vector>

#include "base/anonymous_mapping.h"
#include "base/status.h"
#include "formats/model_file.h"
#include "kernels/device.h"

namespace hearth {

enum class Presence : bool { kRequired, kOptional };

// What a matrix is for. A table is only looked up by row, so no device repacks it.
enum class MatrixUse : std::uint8_t { kLinear, kTable, kBoth };

struct MatrixSpec {
  std::size_t out_features = 0;
  std::size_t in_features = 0;
  Presence presence = Presence::kRequired;
  MatrixUse use = MatrixUse::kLinear;
};

// One of several matrices that lie one below the other in a tensor.
struct MatrixPart {
  std::size_t out_features = 0;
  std::unique_ptr<WeightMatrix>* target = nullptr;
};

// The same of a vector.
struct VectorPart {
  std::size_t length = 0;
  std::vector<float>* target = nullptr;
};

// A tensor made of bands: in each a matrix that is wanted transposed, and below it one that is
// wanted as it is.
struct SplitBands {
  std::size_t in_features = 0;
  std::size_t transposed_rows = 0;
  std::size_t plain_rows = 0;
};

// One matrix per band. `made`, which must outlive the first ones, becomes the memory they lie in.
struct BandTargets {
  std::span<std::unique_ptr<WeightMatrix>> transposed;  // [in_features, transposed_rows] each
  std::span<std::unique_ptr<WeightMatrix>> plain;       // [plain_rows, in_features] each
  AnonymousMapping* made = nullptr;
};

// Borrows the file and the device. Not thread-safe.
class WeightBinder {
 public:
  WeightBinder(const ModelFile& file, Device& device) : file_(file), device_(device) {}

  // Binds a matrix [out_features, in_features]. Stays nullptr when an optional one is absent.
  void matrix(std::string_view name, const MatrixSpec& spec, std::unique_ptr<WeightMatrix>& target);
  // Binds a required vector [length] as a matrix of one row; newer files have it as [1, length].
  void row(std::string_view name, std::size_t length, std::unique_ptr<WeightMatrix>& target);
  // Binds the matrices of a required tensor [sum of out_features, in_features], without a copy
  // beyond what the device makes of each.
  void fused_matrices(std::string_view name, std::size_t in_features,
                      std::span<const MatrixPart> parts);
  // Binds the matrices of a required tensor [targets.size() / group_size, group_size *
  // out_features, in_features].
  void stacked_matrices(std::string_view name, const MatrixSpec& spec,
                        std::span<std::unique_ptr<WeightMatrix>> targets,
                        std::size_t group_size = 1);
  // Binds the matrices of a required tensor in bands. Transposed ones of block formats are float32.
  void split_bands(std::string_view name, const SplitBands& bands, const BandTargets& targets);
  // Binds a vector [length], dequantized to float32. Stays empty when an optional one is absent.
  void vector(std::string_view name, std::size_t length, Presence presence,
              std::vector<float>& target);
  // Binds the vectors of a tensor [num_rows, sum of lengths / num_rows]; all rows are as long.
  void stacked_vectors(std::string_view name, std::size_t num_rows, Presence presence,
                       std::span<const VectorPart> parts);
  // Binds the parts of a vector [sum of lengths].
  void fused_vectors(std::string_view name, Presence presence, std::span<const VectorPart> parts);
  bool has(std::string_view name) const { return file_.find_tensor(name) != nullptr; }
  // Rows of a matrix; 0 when it is absent.
  std::size_t num_rows(std::string_view name) const;
  // Whether anything declared so far was missing or wrong.
  bool has_problems() const { return num_problems_ > 0; }
  // No tensor whose name begins with `prefix` will be declared any more; of those only names that
  // begin with `but` are looked through for some that nothing declared.
  void leave_out(std::string_view prefix, std::string_view but) {
    left_out_ = prefix;
    left_out_but_ = but;
  }
  // Declares a tensor that files carry and this model knowingly does not need.
  void ignore(std::string_view name) { known_.emplace(name); }

  // Every problem in one message: missing tensors, wrong shapes, unsupported types, tensors
  // with a NaN or an infinity (also as a block's scale), damaged parts of stored files, and tensors
  // nobody declared (a file that holds them describes another model than the one we would compute).
  Status finish() const;

  // Bytes of all bound tensors: repacked copies, and the mapped data of those that are read in
  // place.
  std::size_t weight_bytes() const { return weight_bytes_; }
  std::size_t num_parameters() const { return num_parameters_; }

 private:
  // Rows [first, first + count) of a tensor.
  struct Rows {
    std::size_t first = 0;
    std::size_t count = 0;
  };

  void add_problem(std::string text);
  // That is of no use here, as far as every tensor of use has been declared.
  bool is_undeclared(const TensorView& tensor) const;
  const TensorView* find(std::string_view name, const Shape& expected, Presence presence);
  // Dequantized; empty when there is no such tensor.
  std::vector<float> values(std::string_view name, const Shape& shape, Presence presence);
  // Read once, by all threads, which also brings the tensor's pages in.
  bool is_finite(const TensorView& tensor) const;
  // Names the tensor and the first place that is not.
  std::string non_finite_problem(const TensorView& tensor) const;
  // Whether what was read of a tensor is what was stored (see ModelFile::check).
  void check(const TensorView& tensor, std::span<const std::byte> data);
  // The first rows of all bands, each band's transposed, into targets.made.
  void transpose_bands(const TensorView& tensor, const SplitBands& bands,
                       const BandTargets& targets);
  void bind(const TensorView& tensor, Rows rows, MatrixUse use,
            std::unique_ptr<WeightMatrix>& target);

  const ModelFile& file_;
  Device& device_;
  std::unordered_set<std::string> known_;
  std::vector<std::string> problems_;  // Those shown.
  std::size_t num_problems_ = 0;
  std::string left_out_;  // Empty: nothing is.
  std::string left_out_but_;
  Status damage_;  // The first that check() found.
  bool unimplemented_ = false;
  std::size_t weight_bytes_ = 0;
  std::size_t num_parameters_ = 0;
};

}  // namespace hearth
