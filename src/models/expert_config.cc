// Configurations of mixtures of experts.
#include <fmt/format.h>

#include <cstdint>
#include <string_view>

#include "models/architectures.h"
#include "models/config_reader.h"

namespace hearth {
namespace {

constexpr std::uint32_t kMaxExperts = 4096;
constexpr std::string_view kGateKey = "expert_gating_func";
constexpr std::size_t kSoftmaxGate = 1;
constexpr std::size_t kSigmoidGate = 2;

Status read_sparse_mixer(const ConfigReader& reader, ExpertConfig& experts) {
  constexpr double kUsualJitter = 0.01;
  HEARTH_ASSIGN_OR_RETURN(const double jitter, reader.number("expert_jitter", kUsualJitter));
  experts.jitter = static_cast<float>(jitter);
  if (experts.num_used == 2 && jitter >= 0.0) return {};
  return make_status(StatusCode::kUnimplemented,
                     "{} is {}, and the router's jitter {}; SparseMixer chooses 2 experts, by a "
                     "jitter that is not below 0",
                     reader.full("expert_used_count"), experts.num_used, jitter);
}

Status refuse_other_gates(const ConfigReader& reader) {
  HEARTH_ASSIGN_OR_RETURN(const std::size_t gate,
                          reader.size_or(kGateKey, kMaxDimension, kSoftmaxGate));
  if (gate <= kSoftmaxGate) return {};
  return make_status(StatusCode::kUnimplemented, "{} is {}; only {} (softmax) is supported",
                     reader.full(kGateKey), gate, kSoftmaxGate);
}

// Files that do not say have softmax, unless experts are chosen with a bias: that is a part of the
// other way.
Status read_gate(const ConfigReader& reader, std::size_t first_layer, ExpertConfig& experts) {
  HEARTH_ASSIGN_OR_RETURN(const std::size_t gate, reader.size_or(kGateKey, kMaxDimension, 0));
  const bool biased =
      reader.file().find_tensor(fmt::format("blk.{}.exp_probs_b.bias", first_layer)) != nullptr;
  if (gate > kSigmoidGate) {
    return make_status(StatusCode::kUnimplemented,
                       "{} is {}; {} (softmax) and {} (sigmoid) are supported",
                       reader.full(kGateKey), gate, kSoftmaxGate, kSigmoidGate);
  }
  const bool sigmoid = gate == kSigmoidGate || (gate == 0 && biased);
  experts.gate = sigmoid ? ExpertGate::kSigmoid : ExpertGate::kSoftmax;
  return {};
}

Status read_groups(const ConfigReader& reader, ExpertConfig& experts) {
  constexpr std::string_view kCount = "expert_group_count";
  constexpr std::string_view kUsed = "expert_group_used_count";
  HEARTH_ASSIGN_OR_RETURN(const std::size_t count, reader.size_or(kCount, kMaxExperts, 0));
  if (count <= 1) return {};
  HEARTH_ASSIGN_OR_RETURN(experts.num_groups_used, reader.size(kUsed, kMaxExperts));
  experts.num_groups = count;
  if (count > kMaxExpertGroups) {
    return make_status(StatusCode::kUnimplemented, "{} is {}; at most {} are supported",
                       reader.full(kCount), count, kMaxExpertGroups);
  }
  const std::size_t group_len = experts.num_experts / count;
  if (experts.num_experts % count != 0 || group_len < experts.group_best()) {
    return make_status(StatusCode::kDataLoss, "{} ({}) does not suit {} ({})", reader.full(kCount),
                       count, reader.full("expert_count"), experts.num_experts);
  }
  if (experts.num_groups_used > count || experts.num_used > experts.num_groups_used * group_len) {
    return make_status(StatusCode::kDataLoss, "{} ({}) does not suit {} ({}) and {} ({})",
                       reader.full(kUsed), experts.num_groups_used, reader.full(kCount), count,
                       reader.full("expert_used_count"), experts.num_used);
  }
  return {};
}

Status read_stated_experts(const ConfigReader& reader, ModelConfig& config) {
  ExpertConfig& experts = config.experts;
  HEARTH_ASSIGN_OR_RETURN(experts.leading_dense,
                          reader.size_or("leading_dense_block_count", kMaxDimension, 0));
  if (experts.leading_dense >= config.num_layers) {
    experts = {};
    return {};
  }
  HEARTH_ASSIGN_OR_RETURN(const std::size_t num_shared,
                          reader.size_or("expert_shared_count", kMaxExperts, 0));
  experts.shared_gated = false;
  experts.shared_intermediate_size = num_shared * experts.intermediate_size;
  if (experts.shared_intermediate_size > kMaxDimension) {
    return make_status(StatusCode::kDataLoss, "{} shared experts of {} exceed the limit of {}",
                       num_shared, experts.intermediate_size, kMaxDimension);
  }
  HEARTH_RETURN_IF_ERROR(read_gate(reader, experts.leading_dense, experts));
  return read_groups(reader, experts);
}

}  // namespace

Status read_experts(const ConfigReader& reader, const Architecture& row, ModelConfig& config) {
  ExpertConfig& experts = config.experts;
  if (!row.stated_experts) HEARTH_RETURN_IF_ERROR(refuse_other_gates(reader));
  HEARTH_ASSIGN_OR_RETURN(experts.num_experts, reader.size_or("expert_count", kMaxExperts, 0));
  if (row.experts == ExpertUse::kNever && experts.num_experts > 0) {
    return make_status(StatusCode::kUnimplemented,
                       "mixtures of experts are not supported for {} ({} is {})", row.name,
                       reader.full("expert_count"), experts.num_experts);
  }
  if (experts.num_experts == 0) {
    if (row.experts != ExpertUse::kAlways) return {};
    return make_status(StatusCode::kDataLoss, "metadata key '{}' is missing",
                       reader.full("expert_count"));
  }
  HEARTH_ASSIGN_OR_RETURN(experts.num_used, reader.size("expert_used_count", kMaxDimension));
  if (experts.num_used > experts.num_experts) {
    return make_status(StatusCode::kDataLoss, "{} ({}) is more than {} ({})",
                       reader.full("expert_used_count"), experts.num_used,
                       reader.full("expert_count"), experts.num_experts);
  }
  HEARTH_ASSIGN_OR_RETURN(const auto size,
                          reader.optional_size("expert_feed_forward_length", kMaxDimension));
  experts.intermediate_size = size ? std::size_t{*size} : config.intermediate_size;
  if (row.stated_experts) HEARTH_RETURN_IF_ERROR(read_stated_experts(reader, config));
  if (row.shared_expert) {
    HEARTH_ASSIGN_OR_RETURN(experts.shared_intermediate_size,
                            reader.size("expert_shared_feed_forward_length", kMaxDimension));
  }
  HEARTH_ASSIGN_OR_RETURN(experts.renormalize,
                          reader.flag("expert_weights_norm", experts.renormalize));
  if (experts.gate == ExpertGate::kSparseMixer && experts.renormalize) {
    return make_status(StatusCode::kUnimplemented,
                       "{} is true; SparseMixer's weights are used as they are",
                       reader.full("expert_weights_norm"));
  }
  HEARTH_ASSIGN_OR_RETURN(const double scale, reader.positive_number("expert_weights_scale", 1.0));
  experts.weights_scale = static_cast<float>(scale);
  return experts.gate == ExpertGate::kSparseMixer ? read_sparse_mixer(reader, experts) : Status();
}

}  // namespace hearth
