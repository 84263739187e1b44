#include "models/architectures.h"

#include <algorithm>
#include <array>

namespace hearth {
namespace {

constexpr std::array kArchitectures = {
    // Llama 1 to 3.3, Mistral 7B, SmolLM2, TinyLlama: files hold Q and K with rotated pairs
    // adjacent.
    Architecture{
        .name = "llama", .rope_layout = RopeLayout::kInterleaved, .activation = Activation::kSilu},
    // Qwen 2 and 2.5: a Llama with biases on Q, K and V and rotated pairs half a head apart.
    Architecture{
        .name = "qwen2", .rope_layout = RopeLayout::kHalves, .activation = Activation::kSilu},
};

}  // namespace

std::span<const Architecture> architectures() {
  return kArchitectures;
}

const Architecture* find_architecture(std::string_view name) {
  const auto* row = std::ranges::find(kArchitectures, name, &Architecture::name);
  return row == kArchitectures.end() ? nullptr : row;
}

}  // namespace hearth
