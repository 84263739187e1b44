#include "base/build_info.h"

namespace hearth {

const BuildInfo& build_info() {
  static constexpr BuildInfo kInfo = {
      .version = HEARTH_VERSION, .compiler = HEARTH_COMPILER, .build_type = HEARTH_BUILD_TYPE};
  return kInfo;
}

}  // namespace hearth
