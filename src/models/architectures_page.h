// The architecture table as a page of documentation.
#pragma once

#include <string>

namespace hearth {

std::string architectures_markdown();

}  // namespace hearth
