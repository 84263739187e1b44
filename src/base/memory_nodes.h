// Where memory lies on machines whose processors have memory of their own (NUMA).
#pragma once

#include <cstddef>
#include <filesystem>
#include <optional>
#include <string_view>
#include <vector>

#include "base/status.h"

namespace hearth {

// The numbers in a list as Linux writes it, "0-2,5" (cpuset(7), "List format"); nullopt when it is
// none, or has numbers above 1023.
std::optional<std::vector<unsigned>> parse_node_list(std::string_view text);

// Memory that the calling thread, and threads it starts from now on, are the first to touch is
// spread page by page over all nodes that have memory (set_mempolicy(2), MPOL_INTERLEAVE), so that
// no node's memory bus carries the whole model. Returns how many nodes there are. kUnimplemented
// when the kernel knows no nodes, kUnavailable when it refuses, as in containers without the right.
// `nodes` is where sysfs lists them.
Result<std::size_t> interleave_memory(
    const std::filesystem::path& nodes = "/sys/devices/system/node");

}  // namespace hearth
