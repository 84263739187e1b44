// Reads the JSON files of a Hugging Face directory (config.json, generation_config.json,
// tokenizer_config.json): typed look-ups whose messages name file, key and value, and the
// translation of the configuration into the metadata keys that Hearth's models are described by.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/json.h"
#include "base/status.h"
#include "formats/model_file.h"
#include "models/hf_families.h"

namespace hearth {

// One JSON object of such a file. Borrows it. A member that is null counts as absent, as in the
// files' own reader.
class HfObject {
 public:
  HfObject(const json::Object& object, std::string_view file) : object_(object), file_(file) {}
  // The same object, whose members may also go by their aliases.
  HfObject with(std::span<const HfAlias> aliases) const;

  const json::Value* find(std::string_view key) const;
  bool has(std::string_view key) const { return find(key) != nullptr; }
  bool is_empty() const { return object_.empty(); }
  // Its members that are objects.
  std::vector<HfObject> objects() const;
  // Some classes have a default for an absent key, which null turns off. Knows no aliases.
  bool is_null(std::string_view key) const;
  // kDataLoss where a member and its alias are both there and differ.
  Status check_aliases() const;

  // nullopt when absent; kDataLoss with file, key and value when of another type or out of range.
  Result<std::optional<std::uint32_t>> size(std::string_view key) const;   // 1 to 2^31 - 1
  Result<std::optional<std::uint32_t>> count(std::string_view key) const;  // 0 to 2^31 - 1
  Result<std::optional<double>> number(std::string_view key) const;        // finite
  Result<std::optional<bool>> flag(std::string_view key) const;
  Result<std::optional<std::string_view>> text(std::string_view key) const;
  Result<std::optional<HfObject>> object(std::string_view key) const;
  // A list of sizes; empty when absent.
  Result<std::vector<std::uint32_t>> sizes(std::string_view key) const;
  // An id or a list of ids, as eos_token_id is; empty when absent.
  Result<std::vector<std::int64_t>> ids(std::string_view key) const;

  Result<std::uint32_t> required_size(std::string_view key) const;

  std::string_view file() const { return file_; }

 private:
  Result<std::optional<std::uint32_t>> integer(std::string_view key, std::int64_t min) const;
  std::unexpected<Status> wrong_type(std::string_view key, std::string_view wanted,
                                     const json::Value& value) const;

  const json::Object& object_;
  std::string_view file_;
  std::span<const HfAlias> aliases_;
};

// Collects metadata; texts are copied into the content, which must outlive the writer.
class MetadataWriter {
 public:
  explicit MetadataWriter(ModelFileContent& content) : content_(content) {}

  void add(std::string_view key, MetadataValue value);
  void add_text(std::string_view key, std::string_view value);
  void add_texts(std::string_view key, std::span<const std::string_view> values);
  void add_size(std::string_view key, std::uint64_t value);

 private:
  std::string_view keep(std::string_view text);

  ModelFileContent& content_;
};

// The family that config.json names in `architectures`. kUnimplemented with the supported names
// when there is none.
Result<const HfFamily*> hf_family_of(const HfObject& config);

// Writes what config.json says about a model of this family; `config` knows its aliases.
Status translate_hf_config(const HfObject& config, const HfFamily& family, MetadataWriter& out);

// The row of the table of positions that is the first token's, where `pad_token_id` moves it.
Result<std::uint32_t> hf_position_offset(const HfObject& config);

// A tensor [values.size()] that GGUF files have and directories describe in config.json.
struct HfMadeTensor {
  std::string name;
  std::vector<float> values;
};

// Divisors of the rotation frequencies, [rope_dim / 2] each: one tensor for Llama-3 scaling, two
// for LongRoPE, none for others.
Result<std::vector<HfMadeTensor>> hf_rope_tensors(const HfObject& config, const HfFamily& family);

// Writes the sampling defaults and end tokens of generation_config.json and, where it has none, of
// config.json.
Status translate_hf_generation(const HfObject& config, const HfObject& generation,
                               MetadataWriter& out);

}  // namespace hearth
