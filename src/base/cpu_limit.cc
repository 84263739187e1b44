#include "base/cpu_limit.h"

#include <algorithm>
#include <cstdlib>
#include <fstream>
#include <string>

#include "base/cgroup.h"

namespace hearth {
namespace {

namespace fs = std::filesystem;

// "150000 100000" in cpu.max; "max 100000" is no limit.
std::optional<double> read_v2(const fs::path& group) {
  std::ifstream file(group / "cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return std::nullopt;
  char* end = nullptr;
  const double value = std::strtod(quota.c_str(), &end);
  if (end == quota.c_str() || value <= 0) return std::nullopt;
  return value / period;
}

std::optional<double> read_v1(const fs::path& group) {
  std::ifstream quota_file(group / "cpu.cfs_quota_us");
  std::ifstream period_file(group / "cpu.cfs_period_us");
  double quota = 0;
  double period = 0;
  if (!(quota_file >> quota) || !(period_file >> period) || quota <= 0 || period <= 0) {
    return std::nullopt;
  }
  return quota / period;
}

}  // namespace

std::optional<double> cgroup_cpu_quota(const fs::path& root, std::string_view self_cgroup) {
  std::optional<double> limit;
  for (const CgroupDirectory& group : cgroup_directories(root, self_cgroup, "cpu")) {
    const std::optional<double> quota = group.is_v1 ? read_v1(group.path) : read_v2(group.path);
    if (quota.has_value()) limit = std::min(limit.value_or(*quota), *quota);
  }
  return limit;
}

}  // namespace hearth
