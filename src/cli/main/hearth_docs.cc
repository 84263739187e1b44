// Prints a generated page of the documentation: hearth_docs architectures|options|metrics.
#include <cstdio>

#include "cli/command.h"
#include "metrics/metrics.h"
#include "models/architectures_page.h"

int main(int argc, char** argv) {
  const std::string_view page = argc == 2 ? argv[1] : "";
  if (page == "architectures") {
    fmt::print("{}", hearth::architectures_markdown());
    return 0;
  }
  if (page == "options") {
    const auto commands = hearth::make_commands();
    fmt::print("{}", hearth::declare_commands(commands)->markdown());
    return 0;
  }
  if (page == "metrics") {
    fmt::print("{}", hearth::metrics_markdown());
    return 0;
  }
  fmt::print(stderr, "usage: hearth_docs architectures|options|metrics\n");
  return 2;
}
