#include "kernels/packed_cache.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fcntl.h>
#include <sys/file.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <string>
#include <vector>

#include "kernels/kernel_test_util.h"
#include "kernels/pack_weights.h"
#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

namespace fs = std::filesystem;

constexpr std::size_t kIn = 256;
constexpr std::size_t kOut = 40;

struct Tensor {
  std::string name;
  DType dtype;
  std::vector<std::byte> data;

  TensorView view() const {
    return {.name = name,
            .dtype = dtype,
            .shape = {.dims = {kOut, kIn, 1, 1}, .rank = 2},
            .data = data};
  }
};

Tensor make_tensor(std::string name, DType dtype, std::uint32_t seed) {
  std::mt19937 generator(seed);
  Tensor tensor = {.name = std::move(name), .dtype = dtype, .data = {}};
  tensor.data.resize(kOut * row_bytes(dtype, kIn));
  for (std::byte& byte : tensor.data)
    byte = static_cast<std::byte>(generator() & 0x3f);  // No NaN in any scale.
  return tensor;
}

class PackedCacheTest : public ::testing::Test {
 protected:
  struct Loaded {
    std::vector<Floats> products;
    std::size_t mapped_bytes = 0;
    std::size_t packed_bytes = 0;
  };

  // What a start of a program does with the weights: binds them, keeps them, computes. The cache
  // ends only when its file is written or given up.
  Loaded load(const std::vector<Tensor>& tensors, PackedCacheOptions options) {
    Loaded loaded;
    PackedCache cache(options);
    const auto device = *make_cpu_device({.num_threads = 2, .packed_cache = &cache});
    std::vector<std::unique_ptr<WeightMatrix>> weights;
    for (const Tensor& tensor : tensors)
      weights.push_back(std::move(*device->prepare_weight(tensor.view())));
    cache.keep();
    cache.wait_until_kept();
    const Floats input = random_floats(kIn, 7);
    for (const auto& weight : weights) {
      Floats out(kOut);
      const LinearOutput output = {.weight = weight.get(), .out = view(out, 1)};
      device->linear(const_view(input, 1), {&output, 1});
      loaded.products.push_back(std::move(out));
    }
    loaded.mapped_bytes = cache.mapped_bytes();
    loaded.packed_bytes = cache.packed_bytes();
    return loaded;
  }

  Loaded load() { return load(tensors_, options_); }

  std::vector<fs::path> files() const {
    std::vector<fs::path> found;
    if (!fs::exists(options_.directory)) return found;
    for (const auto& entry : fs::directory_iterator(options_.directory))
      found.push_back(entry.path());
    return found;
  }

  void flip_byte(std::streamoff offset) {
    std::fstream file(files().at(0), std::ios::in | std::ios::out | std::ios::binary);
    file.seekg(offset, std::ios::beg);
    const int byte = file.get();
    file.seekp(offset, std::ios::beg);
    file.put(static_cast<char>(byte ^ 1));
    ASSERT_TRUE(file.good());
  }

  const test::TempDirectory directory_;
  const std::vector<Tensor> tensors_ = {make_tensor("blk.0.ffn_up.weight", DType::kQ4_0, 1),
                                        make_tensor("blk.0.ffn_down.weight", DType::kQ6_K, 2),
                                        make_tensor("output.weight", DType::kQ8_0, 3)};
  const PackedCacheOptions options_ = {.directory = directory_.path() / "packed",
                                       .source = "state 1"};
};

TEST_F(PackedCacheTest, TheSecondStartMapsWhatTheFirstPacked) {
  const Loaded first = load();
  EXPECT_EQ(first.mapped_bytes, 0u);
  EXPECT_GT(first.packed_bytes, 0u);
  ASSERT_EQ(files().size(), 1u);
  const Loaded second = load();
  EXPECT_EQ(second.mapped_bytes, first.packed_bytes);
  EXPECT_EQ(second.packed_bytes, 0u);
  EXPECT_EQ(second.products, first.products);
}

TEST_F(PackedCacheTest, AnotherStateOfTheModelIsPackedAnew) {
  load();
  const Loaded other = load(tensors_, {.directory = options_.directory, .source = "state 2"});
  EXPECT_EQ(other.mapped_bytes, 0u);
  EXPECT_EQ(files().size(), 2u);
}

TEST_F(PackedCacheTest, ADamagedPieceIsPackedAnewAndReplaced) {
  const Loaded first = load();
  const auto size = static_cast<std::streamoff>(fs::file_size(files().at(0)));
  flip_byte(size - 1);  // Of the last matrix.
  const Loaded second = load();
  EXPECT_EQ(second.products, first.products);
  EXPECT_GT(second.mapped_bytes, 0u);
  EXPECT_GT(second.packed_bytes, 0u);
  const Loaded third = load();
  EXPECT_EQ(third.packed_bytes, 0u);
  EXPECT_EQ(third.products, first.products);
}

TEST_F(PackedCacheTest, ADamagedHeaderOrATruncatedFileIsReplaced) {
  const Loaded first = load();
  for (const std::streamoff offset :
       {std::streamoff{0}, std::streamoff{8}, std::streamoff{20}, std::streamoff{40}}) {
    flip_byte(offset);
    const Loaded again = load();
    EXPECT_EQ(again.mapped_bytes, 0u) << offset;
    EXPECT_EQ(again.products, first.products);
    EXPECT_EQ(load().packed_bytes, 0u) << offset;
  }
  for (const std::uintmax_t size :
       {std::uintmax_t{0}, std::uintmax_t{30}, fs::file_size(files().at(0)) - 64}) {
    fs::resize_file(files().at(0), size);
    const Loaded again = load();
    EXPECT_EQ(again.mapped_bytes, 0u) << size;
    EXPECT_EQ(again.products, first.products);
  }
}

// What is read from a file that was cut are zeros: they must not be kept as if they were right.
TEST_F(PackedCacheTest, AFileThatIsCutWhileInUseIsNotKeptAnew) {
  const Loaded first = load();
  flip_byte(static_cast<std::streamoff>(fs::file_size(files().at(0))) - 1);
  {
    PackedCache cache(options_);
    const auto device = *make_cpu_device({.num_threads = 2, .packed_cache = &cache});
    std::vector<std::unique_ptr<WeightMatrix>> weights;
    for (const Tensor& tensor : tensors_)
      weights.push_back(std::move(*device->prepare_weight(tensor.view())));
    ASSERT_GT(cache.mapped_bytes(), 0u);
    fs::resize_file(files().at(0), 4096);
    cache.keep();
    cache.wait_until_kept();
  }
  EXPECT_EQ(files().size(), 1u);
  const Loaded again = load();
  EXPECT_EQ(again.mapped_bytes, 0u);
  EXPECT_EQ(again.products, first.products);
}

TEST_F(PackedCacheTest, WhatADeadProcessLeftIsWrittenOver) {
  load();
  const fs::path kept = files().at(0);
  fs::rename(kept, kept.string() + ".partial");
  std::ofstream(kept.string() + ".partial", std::ios::app) << std::string(1 << 22, 'x');
  const Loaded again = load();
  EXPECT_EQ(again.mapped_bytes, 0u);
  EXPECT_EQ(files(), std::vector{kept});
  EXPECT_EQ(load().packed_bytes, 0u);
}

TEST_F(PackedCacheTest, OneProcessWritesAFile) {
  load();
  const fs::path kept = files().at(0);
  const fs::path partial = kept.string() + ".partial";
  fs::remove(kept);
  std::ofstream(partial) << "being written";
  const Descriptor other(::open(partial.c_str(), O_RDONLY | O_CLOEXEC));
  ASSERT_EQ(::flock(other.get(), LOCK_EX), 0);
  load();
  EXPECT_EQ(files(), std::vector{partial});
  EXPECT_EQ(fs::file_size(partial), 13u);
}

// A program that binds other weights, or the same in another order.
TEST_F(PackedCacheTest, OtherMatricesThanTheKeptOnesArePacked) {
  load();
  std::vector<Tensor> swapped = tensors_;
  std::swap(swapped[1], swapped[2]);
  const Loaded second = load(swapped, options_);
  EXPECT_GT(second.mapped_bytes, 0u);
  EXPECT_GT(second.packed_bytes, 0u);
  EXPECT_EQ(second.products,
            load(swapped, {.directory = options_.directory, .source = "other"}).products);
  EXPECT_EQ(load(swapped, options_).packed_bytes, 0u);
}

TEST_F(PackedCacheTest, SmallModelsAndUnwritableDirectoriesKeepNothing) {
  load(tensors_, {.directory = options_.directory, .source = "s", .min_bytes = 1 << 30});
  EXPECT_TRUE(files().empty());
  const fs::path file = directory_.path() / "file";
  std::ofstream(file) << "x";
  const Loaded loaded = load(tensors_, {.directory = file / "below", .source = "s"});
  EXPECT_GT(loaded.packed_bytes, 0u);
  EXPECT_EQ(fs::file_size(file), 1u);
}

// A file that another program kept must not be read as panels of this one.
TEST(PackedLayoutTest, PanelsOfThisVersionHaveTheseBytes) {
  std::map<std::string, std::uint64_t> sums;
  for (const DTypeInfo& info : all_dtypes()) {
    const auto format = packed_format_of(info.dtype);
    if (!format) continue;
    const Tensor tensor = make_tensor("x", info.dtype, 11);
    std::vector<std::uint8_t> panel(
        panel_layout(packed_traits(*format), kIn / kGroupLen).total_bytes);
    pack_panel(info.dtype,
               {.rows = tensor.data.data(),
                .row_bytes = row_bytes(info.dtype, kIn),
                .num_columns = 13,
                .in_features = kIn},
               panel.data());
    sums[std::string(info.name)] = XXH3_64bits(panel.data(), panel.size());
  }
  static_assert(kPackedLayoutVersion == 2, "new bytes: a new version, and these sums");
  const std::map<std::string, std::uint64_t> expected = {
      {"IQ1_M", 17903752598306260305u},   {"IQ1_S", 4049123594937598307u},
      {"IQ2_S", 4334317656416495283u},    {"IQ2_XS", 1984150161862595452u},
      {"IQ2_XXS", 15034241720521363996u}, {"IQ3_S", 11750772722807340554u},
      {"IQ3_XXS", 10237460635759284629u}, {"IQ4_NL", 5908832922047099796u},
      {"IQ4_XS", 8773994755996669834u},   {"MXFP4", 5870452782267034092u},
      {"NF4", 7704048570607745674u},      {"Q2_K", 12351405045140846196u},
      {"Q3_K", 18059358186533915421u},    {"Q4_0", 5908832922047099796u},
      {"Q4_1", 5491556125072428426u},     {"Q4_K", 14190246681515257923u},
      {"Q5_0", 16957058371656266126u},    {"Q5_1", 13649574640478418013u},
      {"Q5_K", 12940941818422822837u},    {"Q6_K", 11680121490146748519u},
      {"Q8_0", 8983533887173519217u},     {"TQ1_0", 3102418620942211143u},
      {"TQ2_0", 12538515861855741749u}};
  EXPECT_EQ(sums, expected);
}

}  // namespace
}  // namespace hearth
