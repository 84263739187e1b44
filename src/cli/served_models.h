// Which models `hearth serve` offers, from its arguments to what the pool loads.
#pragma once

#include <map>
#include <mutex>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.h"
#include "cli/model_flags.h"
#include "metrics/metrics.h"
#include "server/model_pool.h"

namespace hearth {

// "MODEL", or "NAME[,NAME...]=MODEL" for a model that requests call by other names than its own.
struct ModelArgument {
  std::vector<std::string> names;  // Empty: the model's own.
  std::string model;
};

// A path with a '=' in it needs a '/' before that. kInvalidArgument for an empty name or model.
Result<ModelArgument> parse_model_argument(std::string_view text);

// What the models of a server say of themselves when they are loaded. Thread-safe.
class StartupNotes {
 public:
  using Rows = std::vector<std::vector<std::string>>;  // Of a table.
  void set(const std::string& name, Rows rows);
  // Empty when the model was never loaded.
  Rows get(const std::string& name) const;

 private:
  mutable std::mutex mutex_;
  std::map<std::string, Rows> rows_;
};

// What the specs borrow.
struct ServingContext {
  const ModelFlags& flags;
  Metrics& metrics;
  StartupNotes& notes;
};

// Specs of these models, with distinct names. The model is looked up now, so that a wrong name
// stops the start, and again at each load, so that a newer version in the registry is found.
// kInvalidArgument: two models of one name.
Result<std::vector<ModelSpec>> model_specs(const std::vector<ModelArgument>& arguments,
                                           const ServingContext& context);

}  // namespace hearth
