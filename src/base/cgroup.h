// Where the limits of a process's control groups stand.
#pragma once

#include <filesystem>
#include <string_view>
#include <vector>

namespace hearth {

struct CgroupDirectory {
  std::filesystem::path path;
  bool is_v1 = false;
};

// The directories, from the process's own group up to the root, whose files limit `controller`
// ("cpu", "memory") for a process whose /proc/self/cgroup reads `self_cgroup`, with the control
// group file systems mounted at `root` (/sys/fs/cgroup). They need not exist: inside a container
// the group's path may be invisible, and the mount's own files then hold the limit. Source:
// cgroups(7).
std::vector<CgroupDirectory> cgroup_directories(const std::filesystem::path& root,
                                                std::string_view self_cgroup,
                                                std::string_view controller);

}  // namespace hearth
