#include "engine/sampling_defaults.h"

#include <fmt/ranges.h>

#include <array>
#include <cstdint>
#include <vector>

namespace hearth {
namespace {

struct NamedFloat {
  std::string_view key;
  std::string_view name;
  float SamplingParams::* field;
};

constexpr std::array kFloats = {
    NamedFloat{"general.sampling.temp", "temperature", &SamplingParams::temperature},
    NamedFloat{"general.sampling.top_p", "top_p", &SamplingParams::top_p},
    NamedFloat{"general.sampling.min_p", "min_p", &SamplingParams::min_p},
    NamedFloat{"general.sampling.penalty_repeat", "repetition_penalty",
               &SamplingParams::repetition_penalty},
};

constexpr std::string_view kTopKKey = "general.sampling.top_k";

// 0 and -1 both keep all tokens.
Status read_top_k(const ModelFile& file, SamplingParams& params) {
  constexpr double kMaxTopK = 1e6;
  HEARTH_ASSIGN_OR_RETURN(const auto value, file.find_double(kTopKKey));
  if (!value) return {};
  if (!(*value >= -1.0 && *value <= kMaxTopK)) {
    return make_status(StatusCode::kDataLoss, "metadata '{}' is {}; -1 to {} is allowed", kTopKKey,
                       *value, kMaxTopK);
  }
  params.top_k = *value > 0.0 ? static_cast<std::uint32_t>(*value) : 0;
  return {};
}

}  // namespace

Result<SamplingParams> read_sampling_defaults(const ModelFile& file) {
  SamplingParams params;
  for (const NamedFloat& entry : kFloats) {
    HEARTH_ASSIGN_OR_RETURN(const auto value, file.find_double(entry.key));
    if (value) params.*entry.field = static_cast<float>(*value);
  }
  HEARTH_RETURN_IF_ERROR(read_top_k(file, params));
  const Status status = check_sampling_params(params, 0);
  if (!status.ok()) {
    return error(StatusCode::kDataLoss, "sampling defaults of the model: {}", status.message());
  }
  return params;
}

std::string describe_sampling(const SamplingParams& params) {
  const SamplingParams plain;
  std::vector<std::string> parts;
  for (const NamedFloat& entry : kFloats) {
    if (params.*entry.field == plain.*entry.field) continue;
    parts.push_back(fmt::format("{} {:g}", entry.name, params.*entry.field));
  }
  if (params.top_k != plain.top_k) parts.push_back(fmt::format("top_k {}", params.top_k));
  return fmt::format("{}", fmt::join(parts, ", "));
}

}  // namespace hearth
