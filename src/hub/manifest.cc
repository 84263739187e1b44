#include "hub/manifest.h"

#include <algorithm>

#include "hub/digest.h"
#include "hub/selection.h"

namespace hearth::hub {
namespace {

constexpr std::int64_t kSchema = 1;
constexpr std::uint64_t kMaxFileBytes = std::uint64_t{1} << 50;

Status damaged(std::string_view field) {
  return make_status(StatusCode::kDataLoss, "field '{}' is missing or malformed", field);
}

Result<std::string> text_field(const json::Object& object, std::string_view key) {
  const json::Value* value = object.find(key);
  if (value == nullptr || value->as_string() == nullptr) return std::unexpected(damaged(key));
  return *value->as_string();
}

Result<ManifestFile> parse_file(const json::Value& value) {
  const json::Object* object = value.as_object();
  if (object == nullptr) return std::unexpected(damaged("files"));
  ManifestFile file;
  HEARTH_ASSIGN_OR_RETURN(file.path, text_field(*object, "path"));
  HEARTH_ASSIGN_OR_RETURN(file.sha256, text_field(*object, "sha256"));
  const json::Value* size = object->find("size");
  if (size == nullptr || !size->to_uint64(file.size_bytes) || file.size_bytes > kMaxFileBytes) {
    return std::unexpected(damaged("size"));
  }
  if (!is_safe_path(file.path)) return std::unexpected(damaged("path"));
  if (!is_sha256(file.sha256)) return std::unexpected(damaged("sha256"));
  return file;
}

Result<ModelSource> parse_source(const json::Object& manifest) {
  const json::Value* value = manifest.find("source");
  const json::Object* object = value == nullptr ? nullptr : value->as_object();
  if (object == nullptr) return std::unexpected(damaged("source"));
  ModelSource source;
  HEARTH_ASSIGN_OR_RETURN(source.origin, text_field(*object, "origin"));
  HEARTH_ASSIGN_OR_RETURN(source.repository, text_field(*object, "repository"));
  HEARTH_ASSIGN_OR_RETURN(source.revision, text_field(*object, "revision"));
  HEARTH_ASSIGN_OR_RETURN(source.commit, text_field(*object, "commit"));
  return source;
}

}  // namespace

std::uint64_t Manifest::size_bytes() const {
  std::uint64_t sum = 0;
  for (const ManifestFile& file : files)
    sum += file.size_bytes;
  return sum;
}

std::string Manifest::content_id() const {
  Digest digest;
  for (const ManifestFile& file : files)
    digest.add(fmt::format("{} {}\n", file.sha256, file.path));
  return digest.hex();
}

const ManifestFile* Manifest::gguf_file() const {
  const auto found = std::ranges::find_if(files, [](const ManifestFile& file) {
    return file.path.ends_with(".gguf") && !is_later_part(file.path);
  });
  return found == files.end() ? nullptr : &*found;
}

bool is_safe_path(std::string_view path) {
  constexpr std::size_t kMaxPathBytes = 1000;
  constexpr std::size_t kMaxPartBytes = 255;
  if (path.empty() || path.size() > kMaxPathBytes) return false;
  const bool printable = std::ranges::all_of(path, [](char c) {
    const auto byte = static_cast<unsigned char>(c);
    return byte >= 0x20 && byte != 0x7F && c != '\\';
  });
  if (!printable) return false;
  for (std::string_view rest = path;;) {
    const std::size_t slash = rest.find('/');
    const std::string_view part = rest.substr(0, slash);
    if (part.empty() || part.front() == '.' || part.size() > kMaxPartBytes) return false;
    if (slash == std::string_view::npos) return true;
    rest.remove_prefix(slash + 1);
  }
}

json::Value manifest_json(const Manifest& manifest) {
  json::Array files;
  for (const ManifestFile& file : manifest.files) {
    files.emplace_back(
        json::Object{{"path", file.path}, {"size", file.size_bytes}, {"sha256", file.sha256}});
  }
  const ModelSource& source = manifest.source;
  return json::Object{{"schema", kSchema},
                      {"created", manifest.created_s},
                      {"source", json::Object{{"origin", source.origin},
                                              {"repository", source.repository},
                                              {"revision", source.revision},
                                              {"commit", source.commit}}},
                      {"files", std::move(files)}};
}

Result<Manifest> parse_manifest(std::string_view text) {
  const Result<json::Value> value = json::parse(text);
  if (!value.has_value()) return error(StatusCode::kDataLoss, "{}", value.error().message());
  const json::Object* object = value->as_object();
  if (object == nullptr) return error(StatusCode::kDataLoss, "a manifest is a JSON object");
  const json::Value* schema = object->find("schema");
  std::int64_t version = 0;
  if (schema == nullptr || !schema->to_int64(version)) return std::unexpected(damaged("schema"));
  if (version != kSchema) {
    return error(StatusCode::kUnimplemented,
                 "written by a newer Hearth: schema {}, this program reads {}", version, kSchema);
  }
  Manifest manifest;
  const json::Value* created = object->find("created");
  if (created == nullptr || !created->to_int64(manifest.created_s)) {
    return std::unexpected(damaged("created"));
  }
  HEARTH_ASSIGN_OR_RETURN(manifest.source, parse_source(*object));
  const json::Value* files = object->find("files");
  const json::Array* list = files == nullptr ? nullptr : files->as_array();
  if (list == nullptr || list->empty() || list->size() > kMaxManifestFiles) {
    return std::unexpected(damaged("files"));
  }
  for (const json::Value& item : *list) {
    HEARTH_ASSIGN_OR_RETURN(ManifestFile file, parse_file(item));
    if (!manifest.files.empty() && manifest.files.back().path >= file.path) {
      return error(StatusCode::kDataLoss, "file '{}' is listed twice or out of order", file.path);
    }
    manifest.files.push_back(std::move(file));
  }
  return manifest;
}

}  // namespace hearth::hub
