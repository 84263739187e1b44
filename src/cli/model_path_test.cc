#include "cli/model_path.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <fstream>

#include "tests/support/temp_directory.h"

namespace hearth {
namespace {

class ModelPath : public testing::Test {
 protected:
  void add(const std::string& name) const { std::ofstream(folder_ / name) << "x"; }

  std::string resolved() const {
    const auto path = resolve_model(folder_.string(), folder_ / "registry");
    return path.has_value() ? path->path.filename().string() : path.error().message();
  }

  const test::TempDirectory directory_;
  const std::filesystem::path& folder_ = directory_.path();
};

TEST_F(ModelPath, AFileStandsForItselfWhateverItsName) {
  add("model.bin");
  const std::string given = (folder_ / "model.bin").string();
  EXPECT_EQ(resolve_model(given, folder_)->path, given);
  EXPECT_EQ(resolve_model((folder_ / "none.gguf").string(), folder_).error().code(),
            StatusCode::kNotFound);
}

TEST_F(ModelPath, ADirectoryStandsForItsOnlyModel) {
  add("README.md");
  EXPECT_THAT(resolved(), testing::HasSubstr("holds neither a .gguf file nor a config.json"));
  add("a.gguf");
  EXPECT_EQ(resolved(), "a.gguf");
  add("b.gguf");
  EXPECT_THAT(resolved(), testing::HasSubstr("a.gguf, b.gguf"));
}

TEST_F(ModelPath, ADirectoryWithAConfigurationStandsForItself) {
  add("config.json");
  const std::string name = folder_.filename().string();
  EXPECT_EQ(resolved(), name);
  add("model.safetensors");
  EXPECT_EQ(resolved(), name);
  EXPECT_EQ(resolve_model(folder_.string() + "/", {})->path.filename(), name);
  EXPECT_EQ(resolve_model((folder_ / "config.json").string(), {})->path.filename(), name);
  add("a.gguf");
  EXPECT_THAT(resolved(), testing::HasSubstr("name one of them: a.gguf, config.json"));
}

TEST_F(ModelPath, AConfigurationBesideAGgufFileAloneMeansTheGgufFile) {
  add("config.json");
  add("a.gguf");
  EXPECT_EQ(resolved(), "a.gguf");
}

TEST_F(ModelPath, APartedModelStandsForItsFirstPart) {
  add("m-00002-of-00003.gguf");
  add("m-00003-of-00003.gguf");
  EXPECT_THAT(resolved(), testing::HasSubstr("holds neither a .gguf file nor a config.json"));
  add("m-00001-of-00003.gguf");
  EXPECT_EQ(resolved(), "m-00001-of-00003.gguf");
  add("m-0002-of-00003.gguf");  // Not the form of a part.
  EXPECT_THAT(resolved(), testing::HasSubstr("several"));
}

}  // namespace
}  // namespace hearth
