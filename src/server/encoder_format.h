// From an encoder's rows to the bodies of answers. Pure; safe from any thread.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "models/encoder.h"
#include "server/encoder_request.h"

namespace hearth {

// What all answers of an encoder tell besides its results.
struct EncoderAnswerHeader {
  std::string model;  // As the request calls it.
  std::size_t num_tokens = 0;
  std::vector<bool> truncated;  // [inputs]
};

// What becomes of a vector before it is sent.
struct VectorShape {
  std::size_t dimensions = 0;  // The leading ones.
  bool normalize = false;      // Divide by the length; a vector of zeros stays as it is.
};
// Shapes `rows` [n, width] in place to [n, dimensions], one behind the other.
void shape_vectors(std::vector<float>& rows, std::size_t width, const VectorShape& shape);

// Rows are [n, width], as many as header.truncated.
std::string embeddings_body(const EncoderAnswerHeader& header, std::span<const float> rows,
                            VectorEncoding encoding);
// TEI's: a list of vectors.
std::string embed_body(const EncoderAnswerHeader& header, std::span<const float> rows);
// One raw output per document.
std::string rerank_body(const EncoderAnswerHeader& header, const RerankRequest& request,
                        std::span<const float> outputs);
std::string classify_body(const EncoderAnswerHeader& header, const EncoderConfig& config,
                          std::span<const float> outputs, bool raw);
std::string predict_body(const EncoderConfig& config, std::span<const float> outputs,
                         const PredictRequest& request);

// Scores of one row of a head's raw outputs, in place.
void apply_activation(HeadActivation activation, std::span<float> outputs);

}  // namespace hearth
