#include "base/memory_nodes.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/mempolicy.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <fstream>
#include <thread>

#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

using ::testing::ElementsAre;
using ::testing::Optional;

TEST(NodeListTest, ReadsNumbersAndRanges) {
  EXPECT_THAT(parse_node_list("0\n"), Optional(ElementsAre(0)));
  EXPECT_THAT(parse_node_list("0-2,5"), Optional(ElementsAre(0, 1, 2, 5)));
  for (const char* text : {"", "\n", "a", "-1", "0-", "3-1", "0,", "0 1", "1024", "99999999999"})
    EXPECT_EQ(parse_node_list(text), std::nullopt) << text;
}

// The policy belongs to a thread; one that ends takes it along.
TEST(InterleaveMemoryTest, SetsThePolicyOrSaysWhyNot) {
  std::thread([] {
    const auto spread = interleave_memory();
    int mode = -1;
    const bool known = ::syscall(SYS_get_mempolicy, &mode, nullptr, 0, nullptr, 0) == 0;
    if (spread.has_value()) {
      EXPECT_GE(*spread, 1u);
      ASSERT_TRUE(known);
      EXPECT_EQ(mode, MPOL_INTERLEAVE);
    } else {  // A container's filter, or a kernel without nodes.
      EXPECT_NE(spread.error().message(), "");
      EXPECT_TRUE(!known || mode == MPOL_DEFAULT);
    }
  }).join();
}

TEST(InterleaveMemoryTest, WithoutAListOfNodesItIsRefused) {
  const test::TempDirectory directory;
  EXPECT_EQ(interleave_memory(directory.path()).error().code(), StatusCode::kUnimplemented);
  std::ofstream(directory.path() / "has_memory") << "nodes\n";
  const auto refused = interleave_memory(directory.path());
  EXPECT_EQ(refused.error().code(), StatusCode::kUnimplemented);
  EXPECT_THAT(refused.error().message(), ::testing::HasSubstr("has_memory"));
}

}  // namespace
}  // namespace hearth
