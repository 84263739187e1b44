#include "compress/recipe.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <array>
#include <charconv>

namespace hearth {
namespace {

constexpr std::string_view kEmbedding = "token_embd.weight";
constexpr std::string_view kOutput = "output.weight";
constexpr std::string_view kLayer = "blk.";

constexpr std::array kRecipes = {
    Recipe{"q8_0", "Q8_0", DType::kQ8_0, Mixture::kPlain, 7},
    Recipe{"q6_k", "Q6_K", DType::kQ6_K, Mixture::kPlain, 18},
    Recipe{"q5_k_m", "Q5_K_M", DType::kQ5_K, Mixture::kMedium, 17},
    Recipe{"q5_1", "Q5_1", DType::kQ5_1, Mixture::kPlain, 9},
    Recipe{"q5_0", "Q5_0", DType::kQ5_0, Mixture::kPlain, 8},
    Recipe{"q4_k_m", "Q4_K_M", DType::kQ4_K, Mixture::kMedium, 15},
    Recipe{"q4_1", "Q4_1", DType::kQ4_1, Mixture::kPlain, 3},
    Recipe{"q4_0", "Q4_0", DType::kQ4_0, Mixture::kPlain, 2},
    Recipe{"iq4_nl", "IQ4_NL", DType::kIQ4_NL, Mixture::kPlain, 25},
    Recipe{"nf4", "NF4", DType::kNF4, Mixture::kPlain, std::nullopt},
    Recipe{"iq4_xs", "IQ4_XS", DType::kIQ4_XS, Mixture::kPlain, 30},
    Recipe{"q3_k_m", "Q3_K_M", DType::kQ3_K, Mixture::kMedium, 12},
    Recipe{"q2_k", "Q2_K", DType::kQ2_K, Mixture::kSmallest, 10},
    Recipe{"f16", "F16", DType::kF16, Mixture::kPlain, 1},
    Recipe{"bf16", "BF16", DType::kBF16, Mixture::kPlain, 32},
};

// What the choice depends on besides the tensor.
struct ModelFacts {
  std::size_t num_layers = 0;
  std::size_t num_experts = 0;
  bool tied = false;  // The embedding is the output matrix.
};

Result<ModelFacts> facts_of(const ModelFile& file) {
  HEARTH_ASSIGN_OR_RETURN(const auto architecture, file.find_text("general.architecture"));
  const auto key = [&](std::string_view name) {
    return fmt::format("{}.{}", architecture.value_or(""), name);
  };
  HEARTH_ASSIGN_OR_RETURN(const auto layers, file.find_uint32(key("block_count")));
  HEARTH_ASSIGN_OR_RETURN(const auto experts, file.find_uint32(key("expert_count")));
  return ModelFacts{.num_layers = layers.value_or(0),
                    .num_experts = experts.value_or(0),
                    .tied = file.find_tensor(kOutput) == nullptr};
}

// "blk.7.ffn_down.weight" is part "ffn_down" of layer 7, and "blk.7.ffn_down.3.weight" too; outside
// of layers the part is the name without ".weight".
struct Place {
  std::optional<std::size_t> layer;
  std::string_view part;
};

Place place_of(std::string_view name) {
  Place place;
  if (name.starts_with(kLayer)) {
    name.remove_prefix(kLayer.size());
    std::size_t layer = 0;
    const auto parsed = std::from_chars(name.data(), name.data() + name.size(), layer);
    if (parsed.ec == std::errc() && parsed.ptr != name.data() + name.size() && *parsed.ptr == '.') {
      place.layer = layer;
      name.remove_prefix(static_cast<std::size_t>(parsed.ptr - name.data()) + 1);
    }
  }
  place.part = name.substr(0, name.find('.'));
  return place;
}

bool is_quantized(DType dtype) {
  return dtype_info(dtype).block_len > 1;
}

bool is_kept(const TensorView& tensor, const Place& place) {
  return tensor.dtype == DType::kI32 || !tensor.name.ends_with(".weight") ||
         place.part.ends_with("_norm") || place.part.starts_with("ffn_gate_inp") ||
         place.part == "position_embd" || place.part == "token_types" ||
         place.part.starts_with("cls");
}

bool is_part(const Place& place, std::string_view part) {
  return place.part == part || (place.part.starts_with(part) && place.part.ends_with("_exps"));
}

// The first and the last eighth of the layers and every third between: where errors cost most.
bool is_delicate(std::size_t layer, std::size_t num_layers) {
  const std::size_t eighth = num_layers / 8;
  return layer < eighth || layer >= 7 * num_layers / 8 || (layer - eighth) % 3 == 2;
}

DType medium_dtype(const Recipe& recipe, const Place& place, const ModelFacts& facts) {
  const std::size_t layer = place.layer.value_or(0);
  if (recipe.dtype == DType::kQ3_K) {
    if (place.part == "attn_v") return layer < 2 ? DType::kQ5_K : DType::kQ4_K;
    if (is_part(place, "ffn_down")) {
      return layer < facts.num_layers / 16 ? DType::kQ5_K : DType::kQ4_K;
    }
    const bool finer = place.part == "attn_output" || place.part == "attn_qkv";
    return finer ? DType::kQ4_K : recipe.dtype;
  }
  if (place.part == "attn_v" || is_part(place, "ffn_down")) {
    return is_delicate(layer, facts.num_layers) ? DType::kQ6_K : recipe.dtype;
  }
  if (place.part == "attn_qkv") {
    return recipe.dtype == DType::kQ4_K ? DType::kQ5_K : DType::kQ6_K;
  }
  return recipe.dtype;
}

DType wanted_dtype(const TensorView& tensor, const Recipe& recipe, const ModelFacts& facts) {
  const Place place = place_of(tensor.name);
  const bool is_output = tensor.name == kOutput || (facts.tied && tensor.name == kEmbedding);
  if (!is_quantized(recipe.dtype) || recipe.dtype == DType::kQ8_0) return recipe.dtype;
  if (is_output) return DType::kQ6_K;
  // All experts share these small matrices.
  const bool shared = place.part == "attn_v" || place.part == "attn_k";
  if (shared && facts.num_experts == 8) return DType::kQ8_0;
  if (recipe.mixture == Mixture::kMedium) return medium_dtype(recipe, place, facts);
  if (recipe.mixture == Mixture::kSmallest) {
    if (place.part == "attn_v") return DType::kQ4_K;
    const bool finer = is_part(place, "ffn_down") || place.part == "attn_output";
    return finer ? DType::kQ3_K : recipe.dtype;
  }
  return recipe.dtype;
}

// The nearest format whose blocks the rows are whole of.
DType fitting_dtype(DType wanted, std::uint64_t row_len) {
  if (row_len % dtype_info(wanted).block_len == 0) return wanted;
  if (row_len % dtype_info(DType::kQ8_0).block_len != 0) return DType::kF16;
  switch (wanted) {
    case DType::kQ2_K:
    case DType::kQ3_K:
    case DType::kIQ4_XS:
    case DType::kNF4:
      return DType::kIQ4_NL;
    case DType::kQ4_K:
      return DType::kQ5_0;
    case DType::kQ5_K:
      return DType::kQ5_1;
    default:
      return DType::kQ8_0;
  }
}

PlannedTensor plan_tensor(const TensorView& tensor, const Recipe& recipe, const ModelFacts& facts) {
  PlannedTensor planned = {.source = &tensor, .dtype = tensor.dtype, .wanted = tensor.dtype};
  if (tensor.shape.rank < 2 || tensor.shape.num_rows() == 1) {
    if (tensor.dtype != DType::kI32) planned.dtype = planned.wanted = DType::kF32;
    return planned;
  }
  if (is_kept(tensor, place_of(tensor.name))) return planned;
  planned.wanted = wanted_dtype(tensor, recipe, facts);
  planned.dtype = fitting_dtype(planned.wanted, tensor.shape.row_len());
  return planned;
}

}  // namespace

std::vector<std::string_view> recipe_names() {
  std::vector<std::string_view> names;
  names.reserve(kRecipes.size());
  for (const Recipe& recipe : kRecipes)
    names.push_back(recipe.name);
  return names;
}

Result<Recipe> find_recipe(std::string_view name) {
  const auto* const found = std::ranges::find(kRecipes, name, &Recipe::name);
  if (found != kRecipes.end()) return *found;
  return error(StatusCode::kInvalidArgument, "there is no format '{}'; choose one of {}", name,
               fmt::join(recipe_names(), ", "));
}

Result<std::vector<PlannedTensor>> plan_tensors(const ModelFile& file, const Recipe& recipe,
                                                bool requantize) {
  HEARTH_ASSIGN_OR_RETURN(const ModelFacts facts, facts_of(file));
  std::vector<PlannedTensor> plan;
  plan.reserve(file.tensors().size());
  for (const TensorView& tensor : file.tensors()) {
    const PlannedTensor planned = plan_tensor(tensor, recipe, facts);
    if (!requantize && is_quantized(tensor.dtype) && planned.dtype != tensor.dtype) {
      return error(StatusCode::kInvalidArgument,
                   "tensor '{}' is {} already: what that lost stays lost, and quantizing it again "
                   "loses more than once from the original; start from an F16, BF16 or F32 model, "
                   "or, with hearth quantize, say --requantize",
                   file.spelling(tensor.name), dtype_info(tensor.dtype).name);
    }
    plan.push_back(planned);
  }
  return plan;
}

}  // namespace hearth
