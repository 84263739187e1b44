# One module = one folder below src/ = one static library. A module links only what stands below it
# on the ladder (ARCHITECTURE.md); `LINKS` is where that order is enforced.
#
#   hearth_module(NAME [HOT] LINKS hearth::base fmt::fmt ...)
#
# HOT: its loops take the tests' time, so that sanitizer builds optimise it; elsewhere they save the
# optimiser's own time, which is longer than what it would save.
#
# Sources are the folder's *.cc files. Files named *_test.cc become the executable hearth_NAME_test,
# each of its test cases one ctest test with the module's name as label.
include(GoogleTest)
find_package(GTest REQUIRED)

function(hearth_module NAME)
  cmake_parse_arguments(ARG "HOT" "" "LINKS;TEST_LINKS" ${ARGN})
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/*.cc)
  set(test_sources ${sources})
  list(FILTER sources EXCLUDE REGEX "_test\\.cc$")
  list(FILTER test_sources INCLUDE REGEX "_test\\.cc$")

  if(sources)
    add_library(hearth_${NAME} STATIC ${sources})
    target_include_directories(hearth_${NAME} PUBLIC ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(hearth_${NAME} PUBLIC ${ARG_LINKS})
    if(HEARTH_SANITIZE AND NOT ARG_HOT)
      target_compile_options(hearth_${NAME} PRIVATE -O0)
    endif()
  else()  # A module of headers only.
    add_library(hearth_${NAME} INTERFACE)
    target_include_directories(hearth_${NAME} INTERFACE ${CMAKE_SOURCE_DIR}/src)
    target_link_libraries(hearth_${NAME} INTERFACE ${ARG_LINKS})
  endif()
  add_library(hearth::${NAME} ALIAS hearth_${NAME})

  if(HEARTH_TESTS AND test_sources)
    hearth_test(hearth_${NAME}_test SOURCES ${test_sources} LABEL ${NAME}
                LINKS hearth::${NAME} ${ARG_TEST_LINKS})
  endif()
endfunction()

# hearth_test(TARGET SOURCES a_test.cc ... LABEL label LINKS ...): a GoogleTest executable whose
# cases run from the project's root with HEARTH_SOURCE_DIR set, so that golden data is found.
function(hearth_test TARGET)
  cmake_parse_arguments(ARG "" "LABEL" "SOURCES;LINKS" ${ARGN})
  add_executable(${TARGET} ${ARG_SOURCES})
  target_include_directories(${TARGET} PRIVATE ${CMAKE_SOURCE_DIR})
  target_link_libraries(${TARGET} PRIVATE ${ARG_LINKS} GTest::gmock GTest::gtest_main)
  if(HEARTH_SANITIZE)
    # What is tested is instrumented as a whole; the tests themselves would take the optimiser two to four
    # times as long to compile for nothing.
    target_compile_options(${TARGET} PRIVATE -O0)
    if(HEARTH_FUZZ)
      target_compile_options(${TARGET} PRIVATE -fno-sanitize=fuzzer-no-link)
    endif()
  endif()
  gtest_discover_tests(${TARGET}
    DISCOVERY_MODE PRE_TEST
    WORKING_DIRECTORY ${CMAKE_SOURCE_DIR}
    PROPERTIES LABELS ${ARG_LABEL} TIMEOUT 600
               ENVIRONMENT "HEARTH_SOURCE_DIR=${CMAKE_SOURCE_DIR}")
endfunction()
