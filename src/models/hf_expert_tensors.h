// Experts as gpt-oss directories store them: all of a layer in one tensor, columns where others
// have rows, gate and up by turns, and weights in the microscaling format MXFP4 of the Open Compute
// Project as two tensors, one of 4-bit floats and one of exponents. Internal to the reading of
// Hugging Face directories.
// Source of the layouts: the class and its MXFP4 integration in transformers.
#pragma once

#include <string_view>

#include "base/status.h"
#include "formats/model_file.h"
#include "formats/safetensors.h"
#include "models/hf_families.h"

namespace hearth {

// Gives the tensor the shape and order that its transform (kExpertColumns, kPairedColumns or
// kPairedValues) is for; the data becomes a copy. kDataLoss when the shape does not suit it.
Status arrange_experts(HfTransform transform, std::string_view name, TensorView& tensor,
                       ModelFileContent& content);

// The tensor [experts, out_features, in_features] in the blocks of GGUF files, without a name.
// `transform` is kMxfp4 or kPairedMxfp4. kDataLoss when the two do not fit together.
Result<TensorView> join_mxfp4(HfTransform transform, const SafetensorsTensor& blocks,
                              const SafetensorsTensor& scales, ModelFileContent& content);

}  // namespace hearth
