#include "base/cgroup.h"

#include <algorithm>
#include <string>

namespace hearth {
namespace {

namespace fs = std::filesystem;

void append_upwards(const fs::path& mount, std::string_view group, bool is_v1,
                    std::vector<CgroupDirectory>& directories) {
  while (!group.empty() && group.front() == '/')
    group.remove_prefix(1);
  for (fs::path relative(group); !relative.empty(); relative = relative.parent_path()) {
    directories.push_back({mount / relative, is_v1});
  }
  directories.push_back({mount, is_v1});
}

bool lists_controller(std::string_view controllers, std::string_view wanted) {
  while (!controllers.empty()) {
    const std::size_t comma = controllers.find(',');
    if (controllers.substr(0, comma) == wanted) return true;
    if (comma == std::string_view::npos) break;
    controllers.remove_prefix(comma + 1);
  }
  return false;
}

}  // namespace

std::vector<CgroupDirectory> cgroup_directories(const fs::path& root, std::string_view self_cgroup,
                                                std::string_view controller) {
  std::vector<CgroupDirectory> directories;
  while (!self_cgroup.empty()) {
    const std::size_t line_end = std::min(self_cgroup.find('\n'), self_cgroup.size());
    const std::string_view line = self_cgroup.substr(0, line_end);
    self_cgroup.remove_prefix(std::min(line_end + 1, self_cgroup.size()));
    // hierarchy-id:controllers:path
    const std::size_t first = line.find(':');
    if (first == std::string_view::npos) continue;
    const std::size_t second = line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string_view group = line.substr(second + 1);
    if (controllers.empty()) {
      append_upwards(root, group, /*is_v1=*/false, directories);
    } else if (lists_controller(controllers, controller)) {
      append_upwards(root / controllers, group, /*is_v1=*/true, directories);
      if (controllers != controller) {
        append_upwards(root / controller, group, /*is_v1=*/true, directories);
      }
    }
  }
  return directories;
}

}  // namespace hearth
