// Directories of the registry, walked one name at a time without following links, so that nothing
// outside the registry is ever opened, whatever lies in it.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <filesystem>
#include <initializer_list>
#include <string>
#include <vector>

#include "base/descriptor.h"
#include "base/status.h"

namespace hearth::hub {

// An open directory. Move only; const methods are safe from several threads.
class StoreDirectory {
 public:
  // The registry's own directory: the user's choice, which may be reached through links.
  // kNotFound when it does not exist.
  static Result<StoreDirectory> open_root(const std::filesystem::path& root);

  // The directory that `parts` lead to, one below the other. Errors as child().
  static Result<StoreDirectory> open_path(const std::filesystem::path& root,
                                          std::initializer_list<std::string> parts);

  // `name` is one part of a path. kNotFound when it does not exist, kDataLoss when it is something
  // else than a directory, also a link to one.
  Result<StoreDirectory> child(const std::string& name) const;
  // Sorted, without "." and "..".
  Result<std::vector<std::string>> names() const;

  struct File {
    Descriptor descriptor;  // For reading.
    std::uint64_t size_bytes = 0;
  };
  // A regular file; errors as child().
  Result<File> open_file(const std::string& name) const;
  Result<std::string> read_text(const std::string& name, std::uint64_t max_bytes) const;
  // What the link `name` says; kNotFound when there is none.
  Result<std::string> read_link(const std::string& name) const;

 private:
  StoreDirectory(Descriptor descriptor, std::string shown)
      : descriptor_(std::move(descriptor)), shown_(std::move(shown)) {}

  Descriptor descriptor_;
  std::string shown_;  // For messages.
};

}  // namespace hearth::hub
