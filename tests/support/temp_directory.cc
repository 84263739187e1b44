#include "tests/support/temp_directory.h"

#include <stdlib.h>

#include <string>
#include <system_error>

#include "base/status.h"

namespace hearth::test {

TempDirectory::TempDirectory() {
  std::string pattern = (std::filesystem::temp_directory_path() / "hearth_test_XXXXXX").string();
  HEARTH_CHECK(::mkdtemp(pattern.data()) != nullptr);
  path_ = pattern;
}

TempDirectory::~TempDirectory() {
  std::error_code ignored;
  std::filesystem::remove_all(path_, ignored);
}

}  // namespace hearth::test
