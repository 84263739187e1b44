#include "models/model.h"

#include <utility>

#include "models/decoder.h"

namespace hearth {

Result<std::unique_ptr<Model>> Model::load(const ModelFile& file, Device& device) {
  HEARTH_ASSIGN_OR_RETURN(ModelConfig config, read_model_config(file));
  WeightBinder binder(file, device);
  return Decoder::load(binder, std::move(config), device);
}

}  // namespace hearth
