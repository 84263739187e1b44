#include "cli/command.h"

int main(int argc, char** argv) {
  const std::vector<std::string> arguments(argv + 1, argv + argc);
  return hearth::run_hearth(arguments, hearth::read_environment());
}
