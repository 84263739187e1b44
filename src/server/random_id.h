// Random numbers from the operating system, for identifiers and default seeds.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>

namespace hearth {

// Thread-safe; never fails (the kernel's generator is always there once the system is up).
std::uint64_t random_u64();
// At most 64 lower-case hex digits.
std::string random_hex(std::size_t num_digits);

}  // namespace hearth
