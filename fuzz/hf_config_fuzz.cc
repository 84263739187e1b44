// config.json of a Hugging Face directory: any text becomes metadata or an error, and what becomes
// metadata is read into a configuration or refused.
#include <cstddef>
#include <cstdint>
#include <string_view>
#include <utility>

#include "formats/safetensors.h"
#include "models/encoder.h"
#include "models/hf_config.h"
#include "models/model_config.h"

namespace {

using hearth::HfObject;

hearth::Status read(std::string_view text) {
  HEARTH_ASSIGN_OR_RETURN(const auto value,
                          hearth::parse_model_json(text, std::size_t{1} << 20, "config.json"));
  if (value.as_object() == nullptr) return {};
  const HfObject plain(*value.as_object(), "config.json");
  hearth::ModelFileContent content;
  hearth::MetadataWriter out(content);
  (void)hearth::translate_hf_generation(plain, plain, out).ok();
  HEARTH_ASSIGN_OR_RETURN(const auto* family, hearth::hf_family_of(plain));
  const HfObject config = plain.with(family->aliases);
  HEARTH_RETURN_IF_ERROR(hearth::translate_hf_config(config, *family, out));
  (void)hearth::hf_rope_tensors(config, *family).has_value();
  // Enough of an embedding for the rest of the configuration to be looked at.
  hearth::TensorView embedding;
  embedding.name = "token_embd.weight";
  embedding.shape = {{64, 1, 1, 1}, 2};
  content.tensors.push_back(std::move(embedding));
  HEARTH_ASSIGN_OR_RETURN(const auto file, hearth::ModelFile::assemble(std::move(content)));
  (void)hearth::read_model_config(file).has_value();
  (void)hearth::read_encoder_description(file).has_value();
  return {};
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  (void)read(std::string_view(reinterpret_cast<const char*>(data), size)).ok();
  return 0;
}
