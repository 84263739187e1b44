#include "hub/selection.h"

#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <span>

#include "hub/manifest.h"
#include "hub/model_name.h"

namespace hearth::hub {
namespace {

constexpr std::string_view kUntagged = "latest";

std::string_view base_name(std::string_view path) {
  const std::size_t slash = path.rfind('/');
  return slash == std::string_view::npos ? path : path.substr(slash + 1);
}

std::string upper(std::string_view text) {
  std::string out(text);
  for (char& c : out) {
    if (c >= 'a' && c <= 'z') c = static_cast<char>(c - 'a' + 'A');
  }
  return out;
}

bool is_digit(char c) {
  return c >= '0' && c <= '9';
}

// "-00002-of-00005" at the end of a path without its extension.
struct SplitSuffix {
  std::string_view stem;  // What stands before it.
  std::size_t idx = 0;    // From 1.
  std::size_t count = 1;  // 1: not split.
};

SplitSuffix split_suffix(std::string_view path) {
  constexpr std::string_view kForm = "-00000-of-00000";  // A digit for each 0.
  std::string_view stem = path;
  if (stem.ends_with(".gguf")) stem.remove_suffix(5);
  const SplitSuffix whole{.stem = stem, .idx = 1, .count = 1};
  if (stem.size() < kForm.size()) return whole;
  const std::string_view end = stem.substr(stem.size() - kForm.size());
  const bool is_part = std::ranges::equal(
      end, kForm, [](char c, char form) { return form == '0' ? is_digit(c) : c == form; });
  if (!is_part) return whole;
  SplitSuffix part{.stem = stem.substr(0, stem.size() - kForm.size()), .idx = 0, .count = 0};
  std::from_chars(end.data() + 1, end.data() + 6, part.idx);
  std::from_chars(end.data() + 10, end.data() + 15, part.count);
  return part;
}

// "Q4_K_M", "IQ2_XXS", "TQ1_0", "F16", "BF16", "MXFP4", "INT8".
bool is_quantization(std::string_view word) {
  for (const std::string_view plain : {"F16", "F32", "F64", "BF16", "FP16", "FP32", "FP8"}) {
    if (word == plain) return true;
  }
  for (const std::string_view prefix : {"IQ", "TQ", "Q", "MXFP", "NVFP"}) {
    if (!word.starts_with(prefix) || word.size() == prefix.size()) continue;
    if (is_digit(word[prefix.size()])) return true;
  }
  return false;
}

// The last word of `text` that names a quantization, with a "UD-" before it.
std::string quantization_in(std::string_view text) {
  const std::string name = upper(text);
  std::string found;
  std::string_view rest = name;
  std::string_view previous;
  while (!rest.empty()) {
    const std::size_t length = std::min(rest.find_first_of("-. "), rest.size());
    std::string_view word = rest.substr(0, length);
    // "model_Q4_K_M": the word before may hang on an underscore.
    while (!is_quantization(word) && word.find('_') != std::string_view::npos)
      word.remove_prefix(word.find('_') + 1);
    if (is_quantization(word)) {
      found = previous == "UD" ? "UD-" + std::string(word) : std::string(word);
    }
    previous = rest.substr(0, length);
    rest.remove_prefix(std::min(length + 1, rest.size()));
  }
  return found;
}

struct GgufModel {
  std::string quantization;
  std::size_t num_parts = 1;  // As the names say.
  std::vector<RemoteFile> files;

  std::uint64_t size_bytes() const {
    std::uint64_t sum = 0;
    for (const RemoteFile& file : files)
      sum += file.size_bytes;
    return sum;
  }
};

// Projectors of images and tables for quantizing are no models.
bool is_companion(std::string_view path) {
  const std::string name = upper(base_name(path));
  return name.find("MMPROJ") != std::string::npos || name.find("IMATRIX") != std::string::npos;
}

std::vector<GgufModel> group_gguf(const std::vector<RemoteFile>& files) {
  std::map<std::string, GgufModel> models;  // By what the parts' names have in common.
  for (const RemoteFile& file : files) {
    if (!file.path.ends_with(".gguf") || is_companion(file.path)) continue;
    const SplitSuffix suffix = split_suffix(file.path);
    const std::string key = fmt::format("{} {}", suffix.stem, suffix.count);
    GgufModel& model = models[key];
    model.quantization = quantization_of(file.path);
    model.num_parts = suffix.count;
    model.files.push_back(file);
  }
  std::vector<GgufModel> list;
  for (auto& [key, model] : models) {
    std::ranges::sort(model.files, {}, &RemoteFile::path);
    list.push_back(std::move(model));
  }
  return list;
}

std::string choices(const std::vector<GgufModel>& models) {
  std::vector<std::string> texts;
  for (const GgufModel& model : models) {
    const double gib = static_cast<double>(model.size_bytes()) / (1024.0 * 1024.0 * 1024.0);
    const std::string_view label =
        model.quantization.empty() ? model.files.front().path : model.quantization;
    texts.push_back(fmt::format("{} ({:.2f} GiB)", label, gib));
  }
  return fmt::format("{}", fmt::join(texts, ", "));
}

Result<Selection> checked(const GgufModel& model) {
  const std::string& path = model.files.front().path;
  if (model.files.size() != model.num_parts) {
    return error(StatusCode::kNotFound, "'{}' is one of {} parts, but only {} of them are there",
                 path, model.num_parts, model.files.size());
  }
  for (std::size_t i = 0; i < model.files.size(); ++i) {
    if (split_suffix(model.files[i].path).idx != i + 1) {
      return error(StatusCode::kNotFound, "part {} of {} of '{}' is missing", i + 1,
                   model.num_parts, path);
    }
  }
  return Selection{.tag = model.quantization.empty() ? std::string(kUntagged) : model.quantization,
                   .files = model.files};
}

Result<Selection> select_gguf(const std::vector<GgufModel>& models, std::string_view wanted,
                              std::string_view repository) {
  std::vector<GgufModel> fitting;
  for (const GgufModel& model : models) {
    if (wanted.empty() || equal_ignoring_case(model.quantization, wanted)) fitting.push_back(model);
  }
  if (fitting.size() == 1) return checked(fitting.front());
  if (fitting.empty()) {
    return error(StatusCode::kNotFound,
                 "'{}' has no GGUF file with the quantization '{}'; it has {}", repository, wanted,
                 choices(models));
  }
  if (!wanted.empty()) {
    std::vector<std::string> paths;
    paths.reserve(fitting.size());
    for (const GgufModel& model : fitting)
      paths.push_back(model.files.front().path);
    return error(StatusCode::kInvalidArgument,
                 "'{}' has several files with the quantization '{}': {}", repository, wanted,
                 fmt::join(paths, ", "));
  }
  return error(StatusCode::kInvalidArgument, "'{}' has several models; name one as in '{}:{}': {}",
               repository, repository,
               models.front().quantization.empty() ? "Q4_K_M" : models.front().quantization,
               choices(models));
}

// Of a dense layer that sentence-transformers puts behind a model: "2_Dense/model.safetensors".
bool is_part_of_dense_module(std::string_view path) {
  const std::size_t slash = path.find('/');
  if (slash == std::string_view::npos) return false;
  const std::size_t digits = path.find_first_not_of("0123456789");
  const std::string_view file = path.substr(slash + 1);
  return digits > 0 && path.substr(digits, slash - digits).starts_with("_Dense") &&
         (file == "config.json" || file == "model.safetensors");
}

// What a model of separate files needs besides its weights.
bool is_companion_of_safetensors(std::string_view path) {
  constexpr std::string_view kNames[] = {"config.json",
                                         "generation_config.json",
                                         "tokenizer.json",
                                         "tokenizer_config.json",
                                         "tokenizer.model",
                                         "special_tokens_map.json",
                                         "added_tokens.json",
                                         "vocab.json",
                                         "merges.txt",
                                         "vocab.txt",
                                         "chat_template.jinja",
                                         "chat_template.json",
                                         "LICENSE",
                                         "LICENSE.txt",
                                         "LICENSE.md",
                                         "modules.json",
                                         "sentence_bert_config.json",
                                         "config_sentence_transformers.json",
                                         "1_Pooling/config.json",
                                         "model.safetensors.index.json"};
  return is_part_of_dense_module(path) || std::ranges::find(kNames, path) != std::end(kNames);
}

Result<Selection> select_safetensors(const std::vector<RemoteFile>& files,
                                     std::string_view repository) {
  const auto is_weights = [](std::string_view path) {
    return path.ends_with(".safetensors") && path.find('/') == std::string_view::npos;
  };
  // Some repositories hold the same weights a second time under this name.
  const auto is_copy = [](std::string_view path) { return path.starts_with("consolidated"); };
  const bool has_usual = std::ranges::any_of(
      files, [&](const RemoteFile& file) { return is_weights(file.path) && !is_copy(file.path); });
  Selection selection{.tag = std::string(kUntagged), .files = {}};
  bool has_weights = false;
  for (const RemoteFile& file : files) {
    const bool weights = is_weights(file.path) && !(has_usual && is_copy(file.path));
    has_weights |= weights;
    if (weights || is_companion_of_safetensors(file.path)) selection.files.push_back(file);
  }
  if (!has_weights) {
    const bool has_pickles = std::ranges::any_of(files, [](const RemoteFile& file) {
      return file.path.ends_with(".bin") || file.path.ends_with(".pth") ||
             file.path.ends_with(".pt");
    });
    return error(StatusCode::kNotFound, "'{}' has neither .gguf nor .safetensors files{}",
                 repository,
                 has_pickles ? "; its .bin or .pth files can run code and are never loaded" : "");
  }
  std::ranges::sort(selection.files, {}, &RemoteFile::path);
  return selection;
}

}  // namespace

bool is_later_part(std::string_view path) {
  return path.ends_with(".gguf") && split_suffix(path).idx != 1;
}

bool is_same_split(std::string_view path, std::string_view other) {
  const SplitSuffix a = split_suffix(path);
  const SplitSuffix b = split_suffix(other);
  return a.count == b.count && a.stem == b.stem && path.ends_with(".gguf") &&
         other.ends_with(".gguf");
}

std::string model_label_of(std::string_view path) {
  std::string_view label = base_name(split_suffix(path).stem);
  const std::string quantization = quantization_in(label);
  if (quantization.empty() || label.size() <= quantization.size() + 1) return std::string(label);
  const std::string_view end = label.substr(label.size() - quantization.size());
  if (equal_ignoring_case(end, quantization)) label.remove_suffix(quantization.size() + 1);
  return std::string(label);
}

std::string quantization_of(std::string_view path) {
  std::string_view stem = split_suffix(path).stem;
  while (true) {
    std::string found = quantization_in(base_name(stem));
    const std::size_t slash = stem.rfind('/');
    if (!found.empty() || slash == std::string_view::npos) return found;
    stem = stem.substr(0, slash);
  }
}

namespace {

Result<Selection> select_any(const std::vector<RemoteFile>& files, std::string_view wanted,
                             std::string_view repository) {
  const std::vector<GgufModel> models = group_gguf(files);
  const bool wants_safetensors = equal_ignoring_case(wanted, "safetensors");
  if (!models.empty() && !wants_safetensors) {
    return select_gguf(models, equal_ignoring_case(wanted, kUntagged) ? "" : wanted, repository);
  }
  if (!wanted.empty() && !wants_safetensors && !equal_ignoring_case(wanted, kUntagged)) {
    return error(StatusCode::kNotFound,
                 "'{}' has no GGUF files, so there is no '{}' to choose; leave it out for the "
                 "safetensors files",
                 repository, wanted);
  }
  return select_safetensors(files, repository);
}

}  // namespace

Result<Selection> select_files(const std::vector<RemoteFile>& files, std::string_view wanted,
                               std::string_view repository) {
  HEARTH_ASSIGN_OR_RETURN(Selection selection, select_any(files, wanted, repository));
  const auto twice = std::ranges::adjacent_find(selection.files, {}, &RemoteFile::path);
  if (twice != selection.files.end()) {
    return error(StatusCode::kDataLoss, "'{}' lists '{}' twice", repository, twice->path);
  }
  if (selection.files.size() > kMaxManifestFiles) {
    return error(StatusCode::kOutOfRange, "'{}' has {} files, the limit is {}", repository,
                 selection.files.size(), kMaxManifestFiles);
  }
  return selection;
}

}  // namespace hearth::hub
