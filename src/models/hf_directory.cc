#include "models/hf_directory.h"

#include <algorithm>
#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "base/file.h"
#include "base/json.h"
#include "formats/safetensors_directory.h"
#include "models/encoder_config.h"
#include "models/hf_config.h"
#include "models/hf_files.h"
#include "models/hf_quantization.h"
#include "models/hf_sentence.h"
#include "models/hf_tensors.h"

namespace hearth {
namespace {

constexpr std::string_view kConfigName = "config.json";
constexpr std::string_view kGenerationName = "generation_config.json";
constexpr std::string_view kTokenizerConfigName = "tokenizer_config.json";
constexpr std::string_view kTemplateName = "chat_template.jinja";
constexpr std::array<std::string_view, 2> kSideFiles = {"tokenizer.json", kTokenizerConfigName};

constexpr std::size_t kMaxTokenizerConfigBytes = std::size_t{16} << 20;
constexpr std::size_t kMaxTemplateBytes = std::size_t{1} << 20;

// Of a list of named templates the one of that name; a single one is the default.
Result<std::optional<std::string_view>> template_in(const json::Value& value,
                                                    std::string_view wanted = "default") {
  if (value.is_null()) return std::nullopt;
  if (value.as_string() != nullptr && wanted == "default") return *value.as_string();
  if (value.as_string() != nullptr) return std::nullopt;
  const json::Array* list = value.as_array();
  if (list == nullptr) {
    return error(StatusCode::kDataLoss, "{}: 'chat_template' is {}, neither a string nor an array",
                 kTokenizerConfigName, value.type_name());
  }
  std::optional<std::string_view> chosen;
  for (const json::Value& item : *list) {
    const json::Object* named = item.as_object();
    const json::Value* name = named == nullptr ? nullptr : named->find("name");
    const json::Value* text = named == nullptr ? nullptr : named->find("template");
    if (name == nullptr || text == nullptr || text->as_string() == nullptr) {
      return error(StatusCode::kDataLoss,
                   "{}: 'chat_template' has an entry without a 'name' and a 'template'",
                   kTokenizerConfigName);
    }
    const bool only = list->size() == 1 && wanted == "default";
    if (only || *name == json::Value(wanted)) chosen = *text->as_string();
  }
  return chosen;
}

// The file of its own comes first, as in transformers.
Status add_chat_template(const std::filesystem::path& directory, MetadataWriter& out) {
  constexpr std::string_view kKey = "tokenizer.chat_template";
  HEARTH_ASSIGN_OR_RETURN(const bool has_file, file_exists(directory / kTemplateName));
  if (has_file) {
    HEARTH_ASSIGN_OR_RETURN(const std::string text,
                            read_text_file(directory / kTemplateName, kMaxTemplateBytes));
    out.add_text(kKey, text);
    return {};
  }
  HEARTH_ASSIGN_OR_RETURN(
      const json::Object object,
      read_optional_hf_object(directory, kTokenizerConfigName, kMaxTokenizerConfigBytes));
  const json::Value* value = object.find("chat_template");
  if (value == nullptr) return {};
  HEARTH_ASSIGN_OR_RETURN(const auto text, template_in(*value));
  if (text) out.add_text(kKey, *text);
  return {};
}

// Named as llama.cpp's converter does it.
Status add_rerank_template(const std::filesystem::path& directory, MetadataWriter& out) {
  HEARTH_ASSIGN_OR_RETURN(
      const json::Object object,
      read_optional_hf_object(directory, kTokenizerConfigName, kMaxTokenizerConfigBytes));
  const json::Value* value = object.find("chat_template");
  if (value == nullptr) return {};
  HEARTH_ASSIGN_OR_RETURN(const auto text, template_in(*value, "rerank"));
  if (text) out.add_text(kRerankTemplateKey, *text);
  return {};
}

Status add_metadata(const std::filesystem::path& directory, const HfObject& config,
                    const HfFamily& family, bool embeds, ModelFileContent& content) {
  MetadataWriter out(content);
  out.add_text("general.name", directory.filename().string());
  HEARTH_RETURN_IF_ERROR(translate_hf_config(config, family, out));
  if (family.is_classifier()) {
    return family.is_encoder() ? Status() : add_rerank_template(directory, out);
  }
  if (family.is_encoder() || embeds) {
    return translate_hf_sentence_files(directory, config, family, out);
  }
  HEARTH_ASSIGN_OR_RETURN(const json::Object generation,
                          read_optional_hf_object(directory, kGenerationName, kMaxHfConfigBytes));
  HEARTH_RETURN_IF_ERROR(
      translate_hf_generation(config, HfObject(generation, kGenerationName), out));
  return add_chat_template(directory, out);
}

Result<bool> declares_bias(const HfObject& config, const HfFamily& family, std::string_view role) {
  const auto row = std::ranges::find_if(
      family.biases, [&](const HfBias& bias) { return role.starts_with(bias.role_start); });
  if (row == family.biases.end()) return false;
  if (row->key.empty()) return row->by_default;
  HEARTH_ASSIGN_OR_RETURN(const auto stated, config.flag(row->key));
  return stated.value_or(row->by_default);
}

// True for all but biases that the tables or config.json do not know.
Result<bool> has_declared_place(const SafetensorsTensor& tensor, const HfObject& config,
                                const HfFamily& family) {
  const auto role = hf_role_of(family, tensor.name);
  if (!role || !role->name.ends_with(".bias")) return true;
  std::string_view place = role->name;
  if (place.starts_with("blk.")) {
    place.remove_prefix(place.find('.', 4) + 1);
  } else if (place != "output.bias") {
    return true;
  }
  return declares_bias(config, family, place);
}

bool is_zero(const SafetensorsTensor& tensor) {
  return std::ranges::all_of(tensor.data, [](std::byte byte) { return byte == std::byte{0}; });
}

// The biases that the class leaves out, so that using them would be another model: refused, but for
// the zeros that some quantizers write for every matrix, which are taken out.
Status remove_biases(std::vector<SafetensorsTensor>& tensors, const HfObject& config,
                     const HfFamily& family) {
  std::vector<SafetensorsTensor> kept;
  for (SafetensorsTensor& tensor : tensors) {
    HEARTH_ASSIGN_OR_RETURN(const bool has_place, has_declared_place(tensor, config, family));
    if (!has_place && is_zero(tensor)) continue;
    if (!has_place) {
      return make_status(StatusCode::kDataLoss,
                         "tensor '{}' is a bias that by {} {} does not have there", tensor.name,
                         config.file(), family.class_name);
    }
    kept.push_back(std::move(tensor));
  }
  tensors = std::move(kept);
  return {};
}

// As the metadata says, which is there by now.
std::size_t kv_heads_of(const ModelFileContent& content, const HfFamily& family,
                        std::size_t num_heads) {
  const auto entry = std::ranges::find(
      content.metadata, family.metadata_key("attention.head_count_kv"), &MetadataEntry::key);
  if (entry == content.metadata.end()) return num_heads;
  return static_cast<std::size_t>(std::get<std::int64_t>(entry->value));
}

// Layers that guess further tokens.
Status leave_out_extra_layers(const HfObject& config, const HfFamily& family,
                              std::vector<SafetensorsTensor>& tensors) {
  if (family.extra_layers_key.empty()) return {};
  HEARTH_ASSIGN_OR_RETURN(const auto count, config.count(family.extra_layers_key));
  HEARTH_ASSIGN_OR_RETURN(const std::size_t first, config.required_size("num_hidden_layers"));
  const std::size_t end = first + count.value_or(0);
  std::erase_if(tensors, [&](const SafetensorsTensor& tensor) {
    const auto layer = hf_layer_of(family, tensor.name);
    return layer && *layer >= first && *layer < end;
  });
  return {};
}

Status add_tensors(const std::filesystem::path& directory, const HfObject& config,
                   const HfFamily& family, bool embeds, ModelFileContent& content) {
  HEARTH_ASSIGN_OR_RETURN(SafetensorsDirectory weights, open_safetensors_directory(directory));
  content.format = weights.num_shards == 1
                       ? "safetensors"
                       : fmt::format("safetensors in {} shards", weights.num_shards);
  content.file_bytes = weights.file_bytes;
  content.mappings = std::move(weights.mappings);
  HEARTH_RETURN_IF_ERROR(leave_out_extra_layers(config, family, weights.tensors));
  HEARTH_ASSIGN_OR_RETURN(auto matrices,
                          unpack_hf_quantized(config, family, weights.tensors, content));
  HEARTH_RETURN_IF_ERROR(remove_biases(weights.tensors, config, family));
  HEARTH_ASSIGN_OR_RETURN(const auto tied, config.flag("tie_word_embeddings"));
  HEARTH_ASSIGN_OR_RETURN(const std::uint32_t num_heads,
                          config.required_size("num_attention_heads"));
  // Nobody misses an output matrix where vectors are made.
  const bool no_output = family.is_encoder() || family.is_classifier() || embeds;
  HfTensorFacts facts = {.tied = tied.value_or(family.tied_by_default) || no_output,
                         .num_heads = num_heads,
                         .num_kv_heads = kv_heads_of(content, family, num_heads),
                         .position_offset = family.first_position};
  if (family.offset_positions) {
    HEARTH_ASSIGN_OR_RETURN(facts.position_offset, hf_position_offset(config));
  }
  HEARTH_RETURN_IF_ERROR(add_hf_matrices(std::move(matrices), family, facts, content));
  HEARTH_RETURN_IF_ERROR(add_hf_tensors(weights.tensors, family, facts, content));
  if (no_output && !family.is_classifier())
    HEARTH_RETURN_IF_ERROR(add_hf_sentence_tensors(directory, content));
  if (!family.rotates) return {};
  HEARTH_ASSIGN_OR_RETURN(const auto made, hf_rope_tensors(config, family));
  for (const HfMadeTensor& tensor : made)
    HEARTH_RETURN_IF_ERROR(add_made_tensor(tensor.name, tensor.values, content));
  return {};
}

Status add_side_files(const std::filesystem::path& directory, ModelFileContent& content) {
  for (const std::string_view name : kSideFiles) {
    HEARTH_ASSIGN_OR_RETURN(const bool exists, file_exists(directory / name));
    if (!exists) continue;
    HEARTH_ASSIGN_OR_RETURN(MappedFile file, MappedFile::open(directory / name));
    HEARTH_RETURN_IF_ERROR(file.check(file.bytes(), nullptr));
    content.side_files.emplace(name, std::move(file));
  }
  return {};
}

// A decoder without its output matrix is of use for embedding alone.
Status check_class(const HfObject& config, const HfFamily& family, bool embeds) {
  const json::Array& classes = *config.find("architectures")->as_array();
  if (embeds || classes.front() == json::Value(family.class_name)) return {};
  return make_status(
      StatusCode::kUnimplemented,
      "{}: architecture '{}' writes no text, and there is no {} to say how it embeds",
      config.file(), *classes.front().as_string(), kHfModulesName);
}

Result<ModelFile> read_directory(const std::filesystem::path& directory) {
  HEARTH_ASSIGN_OR_RETURN(const bool exists, file_exists(directory / kConfigName));
  if (!exists) return error(StatusCode::kNotFound, "holds no {}", kConfigName);
  HEARTH_ASSIGN_OR_RETURN(const json::Object object,
                          read_hf_object(directory, kConfigName, kMaxHfConfigBytes));
  const HfObject plain(object, kConfigName);
  HEARTH_ASSIGN_OR_RETURN(const HfFamily* family, hf_family_of(plain));
  const HfObject config = plain.with(family->aliases);
  // Decoders that were trained to embed have the files of sentence-transformers.
  HEARTH_ASSIGN_OR_RETURN(const bool embeds, file_exists(directory / kHfModulesName));
  HEARTH_RETURN_IF_ERROR(check_class(config, *family, embeds));
  ModelFileContent content;
  content.spelling = [family](std::string_view role) { return hf_spelling(*family, role); };
  HEARTH_RETURN_IF_ERROR(add_metadata(directory, config, *family, embeds, content));
  HEARTH_RETURN_IF_ERROR(add_tensors(directory, config, *family, embeds, content));
  HEARTH_RETURN_IF_ERROR(add_side_files(directory, content));
  return ModelFile::assemble(std::move(content));
}

}  // namespace

Result<ModelFile> open_hf_directory(const std::filesystem::path& path) {
  Result<ModelFile> file = read_directory(path);
  if (file.has_value()) return file;
  return std::unexpected(file.error().with_context(fmt::format("directory '{}'", path.string())));
}

Result<ModelFile> open_model_file(const std::filesystem::path& path) {
  std::error_code failure;
  if (std::filesystem::is_directory(path, failure)) return open_hf_directory(path);
  if (path.extension() == ".safetensors") {
    return error(StatusCode::kInvalidArgument,
                 "'{}' is a part of a Hugging Face model; name the directory that holds it",
                 path.string());
  }
  return ModelFile::open(path);
}

}  // namespace hearth
