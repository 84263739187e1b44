// How much each input of a model's matrices is used on a text: what hearth quantize --imatrix
// takes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "base/status.h"
#include "formats/model_file.h"
#include "kernels/device.h"

namespace hearth {

// Of the inputs that one matrix was multiplied with.
struct InputSums {
  std::vector<double> squares;  // [in_features]
  std::uint64_t num_rows = 0;
};

// Hands everything on to another device, which outlives it, and adds up the squares of what
// linear() is given. Threads as the other device. The sums are the same on any number of threads.
class RecordingDevice final : public Device {
 public:
  explicit RecordingDevice(Device& inner) : inner_(inner) {}

  // By tensor; its matrices in the order of prepare_weight().
  const std::map<std::string, std::vector<InputSums>>& sums() const { return sums_; }

  std::string_view description() const override { return inner_.description(); }
  ThreadPool& host_threads() override { return inner_.host_threads(); }
  Result<std::unique_ptr<WeightMatrix>> prepare_weight(const TensorView& tensor) override;
  Result<std::unique_ptr<WeightMatrix>> prepare_table(const TensorView& tensor) override {
    return inner_.prepare_table(tensor);
  }
  void reserve(const DeviceLimits& limits) override { inner_.reserve(limits); }
  void embed(const WeightMatrix& table, std::span<const std::int32_t> ids,
             MatrixView out) override {
    inner_.embed(table, ids, out);
  }
  void linear(ConstMatrixView input, std::span<const LinearOutput> outputs) override;
  void norm(ConstMatrixView input, const NormWeights& weights, MatrixView out) override {
    inner_.norm(input, weights, out);
  }
  void scale(MatrixView x, float factor) override { inner_.scale(x, factor); }
  void clamp(MatrixView x, float limit) override { inner_.clamp(x, limit); }
  void add_scaled(ConstMatrixView input, float factor, MatrixView out) override {
    inner_.add_scaled(input, factor, out);
  }
  void softcap(MatrixView x, float cap) override { inner_.softcap(x, cap); }
  void rope(MatrixView heads, std::size_t head_dim, const RopeTable& table) override {
    inner_.rope(heads, head_dim, table);
  }
  void store_kv(ConstMatrixView k, ConstMatrixView v, std::span<const SequenceRows> sequences,
                const HeadShape& heads, const KvLayerView& cache) override {
    inner_.store_kv(k, v, sequences, heads, cache);
  }
  void attention(ConstMatrixView q, std::span<const SequenceRows> sequences,
                 const AttentionParams& params, const KvLayerView& cache, MatrixView out) override {
    inner_.attention(q, sequences, params, cache, out);
  }
  void activate(Activation activation, MatrixView x) override { inner_.activate(activation, x); }
  void gated_activation(Activation activation, ConstMatrixView gate, ConstMatrixView up,
                        MatrixView out) override {
    inner_.gated_activation(activation, gate, up, out);
  }
  void choose_experts(MatrixView logits, const ExpertRouting& routing,
                      const ExpertChoice& choice) override {
    inner_.choose_experts(logits, routing, choice);
  }
  void sigmoid(MatrixView x) override { inner_.sigmoid(x); }
  void gather_rows(ConstMatrixView input, std::span<const std::int32_t> rows,
                   MatrixView out) override {
    inner_.gather_rows(input, rows, out);
  }
  void add_weighted_rows(ConstMatrixView input, const WeightedRows& terms,
                         MatrixView out) override {
    inner_.add_weighted_rows(input, terms, out);
  }

 private:
  struct Place {
    std::vector<InputSums>* tensor = nullptr;
    std::size_t idx = 0;
  };

  Device& inner_;
  std::map<std::string, std::vector<InputSums>> sums_;
  std::unordered_map<const WeightMatrix*, Place> places_;
};

struct ImportanceSource {
  std::string dataset;  // What the text is called.
  std::size_t num_chunks = 0;
  std::size_t chunk_len = 0;
};

// Writes the sums as llama.cpp's imatrix tool does in its GGUF form. `model` is the file whose
// weights the device prepared. Errors of GgufFileWriter.
Status write_importance(const RecordingDevice& device, const ModelFile& model,
                        const ImportanceSource& source, const std::filesystem::path& path);

}  // namespace hearth
