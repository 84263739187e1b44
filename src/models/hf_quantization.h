// Hugging Face directories whose matrices another program has quantized. Internal to the models
// module.
//
// Such a matrix is stored as several tensors: numbers, scales, zero points. On loading they become
// one tensor of the plain matrix's name, in memory of its own:
//
//   stored as                                        becomes
//   NF4 of bitsandbytes, its scales quantized or not NF4, the same values
//   4-bit integers, all zero points 8                Q4_0, the same values
//   4-bit integers, other zero points                Q4_1, scale x zero point rounded to float16
//   8-bit integers, no zero points but 128           Q8_0, the same values
//   integers whose scales 32 neighbours do not share F16
//   8-bit floats (E4M3)                              BF16
//
// "The same values" holds for scales that a float16 can hold; others are rounded to one. What a
// file says about quantizing activations or keys and values is for other engines: kernels here have
// their own way (docs/models.md says so).
//
// Sources of the layouts: bitsandbytes' QuantState, AutoGPTQ's and AutoAWQ's packing, the
// compressed-tensors package, and transformers' integrations of them.
#pragma once

#include <vector>

#include "formats/model_file.h"
#include "formats/safetensors.h"
#include "models/hf_config.h"
#include "models/hf_families.h"

namespace hearth {

// Takes the tensors of quantized matrices out of `tensors` and returns the matrices, whose data
// `content` owns; its mappings are those that `tensors` borrow from. None for a directory that does
// not speak of quantization, or of the kind whose tensors the family's table knows. kUnimplemented,
// naming what is there and what is supported, for methods and variants of them that cannot be read;
// kDataLoss, naming the tensor, when the parts of a matrix do not fit each other, or a part is not
// what was stored.
Result<std::vector<TensorView>> unpack_hf_quantized(const HfObject& config, const HfFamily& family,
                                                    std::vector<SafetensorsTensor>& tensors,
                                                    ModelFileContent& content);

}  // namespace hearth
