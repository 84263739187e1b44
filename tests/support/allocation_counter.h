// Counts what a test executable takes from the heap. Linking hearth::test_allocations replaces the
// executable's global operator new and delete; memory from malloc() itself is not seen, except
// under ThreadSanitizer.
#pragma once

#include <cstddef>

namespace hearth::test {

// Calls of operator new since the start: of the calling thread, and of all threads.
std::size_t thread_allocations();
std::size_t total_allocations();

// Bytes in use, and the most there were since reset_peak_bytes(). All threads.
std::size_t live_bytes();
std::size_t peak_bytes();
void reset_peak_bytes();

}  // namespace hearth::test
