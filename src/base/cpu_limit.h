// How many CPUs a container lets this process use.
#pragma once

#include <filesystem>
#include <optional>
#include <string_view>

namespace hearth {

// The smallest CPU quota (in CPUs, e.g. 1.5) that applies to a process whose /proc/self/cgroup
// reads `self_cgroup`, with the control group file systems mounted at `root` (/sys/fs/cgroup).
// Reads cpu.max of version 2 and cpu.cfs_quota_us of version 1 on the way from the process's group
// up to the root. nullopt when nothing limits it. Source: the kernel's cgroup-v2 and sched-bwc
// documents.
std::optional<double> cgroup_cpu_quota(const std::filesystem::path& root,
                                       std::string_view self_cgroup);

}  // namespace hearth
