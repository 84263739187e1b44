#include "compress/imatrix.h"

#include <gtest/gtest.h>

#include <cmath>

#include "tests/support/gguf_writer.h"
#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

using test::ByteSink;
using test::shape_of;

TensorView named(std::string name, const Shape& shape) {
  return {.name = std::move(name), .dtype = DType::kF32, .shape = shape, .data = {}};
}

class ImatrixTest : public ::testing::Test {
 protected:
  std::filesystem::path write(std::span<const std::byte> bytes) const {
    const auto path = directory_.path() / "imatrix";
    test::write_bytes(path, bytes);
    return path;
  }

  std::vector<std::byte> gguf(float sum = 8.0f) const {
    test::GgufWriter writer;
    writer.add("general.type", "imatrix");
    writer.add_tensor("blk.0.attn_q.weight.in_sum2", DType::kF32, shape_of({1, 3}),
                      std::vector<float>{sum, 4.0f, 0.0f});
    writer.add_tensor("blk.0.attn_q.weight.counts", DType::kF32, shape_of({1, 1}),
                      std::vector<float>{4.0f});
    writer.add_tensor("blk.0.ffn_up_exps.weight.in_sum2", DType::kF32, shape_of({2, 2}),
                      std::vector<float>{1.0f, 2.0f, 3.0f, 4.0f});
    writer.add_tensor("blk.0.ffn_up_exps.weight.counts", DType::kF32, shape_of({2, 1}),
                      std::vector<float>{2.0f, 0.0f});
    return writer.bytes();
  }

  test::TempDirectory directory_;
};

TEST_F(ImatrixTest, GgufFilesHoldSumsAndCounts) {
  const Imatrix imatrix = Imatrix::open(write(gguf())).value();
  EXPECT_EQ(imatrix.size(), 2u);
  const auto values = imatrix.find(named("blk.0.attn_q.weight", shape_of({5, 3}))).value();
  EXPECT_EQ(std::vector<float>(values.begin(), values.end()),
            (std::vector<float>{2.0f, 1.0f, 0.0f}));
  const auto experts = imatrix.find(named("blk.0.ffn_up_exps.weight", shape_of({2, 7, 2}))).value();
  EXPECT_EQ(std::vector<float>(experts.begin(), experts.end()),
            (std::vector<float>{0.5f, 1.0f, 0.0f, 0.0f}));  // The second was never chosen.
  EXPECT_TRUE(imatrix.find(named("output.weight", shape_of({5, 3}))).value().empty());
}

TEST_F(ImatrixTest, AnotherModelsWidthIsNamed) {
  const Imatrix imatrix = Imatrix::open(write(gguf())).value();
  const auto found = imatrix.find(named("blk.0.attn_q.weight", shape_of({5, 4})));
  ASSERT_FALSE(found.has_value());
  EXPECT_NE(found.error().message().find("has 3 values for 'blk.0.attn_q.weight'"),
            std::string::npos);
}

ByteSink dat_with(float value, std::int32_t calls = 2) {
  ByteSink file;
  const std::string_view name = "blk.0.attn_q.weight";
  file.put(std::int32_t{1}).put(static_cast<std::int32_t>(name.size()));
  file.put_bytes(std::as_bytes(std::span(name)));
  file.put(calls).put(std::int32_t{2}).put(value).put(6.0f);
  return file;
}

TEST_F(ImatrixTest, OlderFilesHoldValuesTimesCalls) {
  const Imatrix imatrix = Imatrix::open(write(dat_with(4.0f).bytes())).value();
  const auto values = imatrix.find(named("blk.0.attn_q.weight", shape_of({5, 2}))).value();
  EXPECT_EQ(std::vector<float>(values.begin(), values.end()), (std::vector<float>{2.0f, 3.0f}));
}

TEST_F(ImatrixTest, DamagedFilesAreRefused) {
  EXPECT_EQ(Imatrix::open(directory_.path() / "none").error().code(), StatusCode::kNotFound);
  for (const auto& bytes : {gguf(-1.0f), gguf(NAN), dat_with(-1.0f).take(), dat_with(NAN).take(),
                            dat_with(1.0f, 0).take(), ByteSink().put(1 << 30).take()}) {
    const auto imatrix = Imatrix::open(write(bytes));
    ASSERT_FALSE(imatrix.has_value());
    EXPECT_EQ(imatrix.error().code(), StatusCode::kDataLoss) << imatrix.error().message();
  }
  const std::vector<std::byte> whole = dat_with(1.0f).take();
  for (std::size_t size = 0; size < whole.size(); ++size) {
    EXPECT_FALSE(Imatrix::open(write(std::span(whole).first(size))).has_value()) << size;
  }
}

}  // namespace
}  // namespace hearth
