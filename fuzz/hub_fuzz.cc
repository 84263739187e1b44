// What the model registry and the hub's answers say: names, manifests, file lists, headers.
#include <cstdint>

#include "base/status.h"
#include "hub/hub_protocol.h"
#include "hub/manifest.h"
#include "hub/model_name.h"
#include "hub/selection.h"

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  using namespace hearth::hub;
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  if (const auto name = ModelName::parse(text); name.has_value()) {
    HEARTH_CHECK(ModelName::parse(name->text()) == *name);
    HEARTH_CHECK(is_safe_path(name->repository()));
  }
  if (const auto manifest = parse_manifest(text); manifest.has_value()) {
    for (const ManifestFile& file : manifest->files)
      HEARTH_CHECK(is_safe_path(file.path));
    HEARTH_CHECK(parse_manifest(hearth::json::dump(manifest_json(*manifest))).has_value());
  }
  if (const auto files = parse_tree(text); files.has_value()) {
    if (const auto selection = select_files(*files, "Q4_0", "org/model"); selection.has_value()) {
      for (const RemoteFile& file : selection->files)
        HEARTH_CHECK(is_safe_path(file.path));
    }
  }
  [[maybe_unused]] const auto range = parse_content_range(text);
  [[maybe_unused]] const std::string next = next_page(text);
  [[maybe_unused]] const std::string quantization = quantization_of(text);
  return 0;
}
