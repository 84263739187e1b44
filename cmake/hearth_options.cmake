# Compiler settings shared by every target. Sanitizers are a build-wide choice (see CMakePresets.json).
option(HEARTH_TESTS "Build the tests" ON)
option(HEARTH_FUZZ "Build the fuzz targets (needs clang)" OFF)
option(HEARTH_BENCH "Build the micro-benchmarks in bench/" OFF)
option(HEARTH_HEADER_CHECK "Compile the headers of src/ that no source proves to compile alone" OFF)
set(HEARTH_SANITIZE "" CACHE STRING "Value of -fsanitize= for the whole build; empty for none")

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_EXPORT_COMPILE_COMMANDS ON)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)
set(CMAKE_LINK_DEPENDS_USE_LINKER OFF)
if(NOT CMAKE_BUILD_TYPE)
  set(CMAKE_BUILD_TYPE Release)
endif()

find_program(HEARTH_CCACHE ccache)
if(HEARTH_CCACHE)
  set(CMAKE_CXX_COMPILER_LAUNCHER ${HEARTH_CCACHE})
endif()

# Sums must have one order on every machine: no contraction of a*b+c behind our back. Kernels that
# want a fused multiply-add ask for it by name.
add_compile_options(-Wall -Wextra -Wconversion -Wshadow -Werror -ffp-contract=off -fno-math-errno)
if(CMAKE_CXX_COMPILER_ID MATCHES "Clang")
  add_compile_options(-Wthread-safety)
  find_program(HEARTH_LLD NAMES ld.lld-19 ld.lld)
  if(HEARTH_LLD)
    add_link_options(--ld-path=${HEARTH_LLD})
  endif()
endif()

if(HEARTH_SANITIZE)
  add_compile_options(-fsanitize=${HEARTH_SANITIZE} -fno-omit-frame-pointer
                      -fno-sanitize-recover=all)
  add_link_options(-fsanitize=${HEARTH_SANITIZE})
endif()
if(HEARTH_FUZZ)
  add_compile_options(-fsanitize=fuzzer-no-link)
endif()
