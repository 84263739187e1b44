#include "hub/add_file.h"

#include <fcntl.h>

#include "base/clock.h"
#include "base/descriptor.h"
#include "hub/digest.h"

namespace hearth::hub {

Result<StoredModel> add_file(StoreWriter& writer, const std::filesystem::path& file,
                             const NewModel& model) {
  std::error_code failure;
  const std::uint64_t size_bytes = std::filesystem::file_size(file, failure);
  const Descriptor descriptor(::open(file.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  if (failure || !descriptor.valid()) {
    return error(StatusCode::kUnavailable, "cannot read '{}'", file.string());
  }
  Digest digest;
  HEARTH_RETURN_IF_ERROR(add_file_range(digest, descriptor.get(), 0, size_bytes));
  StoredModel stored = {.name = model.name, .manifest = {}};
  stored.manifest.files.push_back(
      {.path = model.file_name, .size_bytes = size_bytes, .sha256 = digest.hex()});
  stored.manifest.source = model.source;
  stored.manifest.created_s =
      std::chrono::duration_cast<std::chrono::seconds>(system_clock().wall_now().time_since_epoch())
          .count();
  HEARTH_RETURN_IF_ERROR(writer.add_blob(file, stored.manifest.files.front().sha256));
  HEARTH_RETURN_IF_ERROR(writer.commit(stored.name, stored.manifest));
  return stored;
}

}  // namespace hearth::hub
