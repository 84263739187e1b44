#include "hub/selection.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace hearth::hub {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;

std::vector<RemoteFile> listing(const std::vector<std::string>& paths) {
  std::vector<RemoteFile> files;
  for (const std::string& path : paths)
    files.push_back({.path = path, .size_bytes = 1, .sha256 = {}, .git_sha1 = {}});
  return files;
}

std::vector<std::string> chosen(const std::vector<std::string>& paths, std::string_view wanted) {
  const auto selection = select_files(listing(paths), wanted, "org/m");
  if (!selection.has_value()) return {selection.error().message()};
  std::vector<std::string> names = {selection->tag};
  for (const RemoteFile& file : selection->files)
    names.push_back(file.path);
  return names;
}

TEST(Quantization, IsWhatTheFilesNameSays) {
  EXPECT_EQ(quantization_of("model-Q4_K_M.gguf"), "Q4_K_M");
  EXPECT_EQ(quantization_of("SmolLM2-135M-Instruct.Q4_1.gguf"), "Q4_1");
  EXPECT_EQ(quantization_of("model.q8_0.gguf"), "Q8_0");
  EXPECT_EQ(quantization_of("model_q5_k_s.gguf"), "Q5_K_S");
  EXPECT_EQ(quantization_of("m-UD-IQ2_XXS.gguf"), "UD-IQ2_XXS");
  EXPECT_EQ(quantization_of("m-Q4_0-00001-of-00003.gguf"), "Q4_0");
  EXPECT_EQ(quantization_of("Q6_K/m-00001-of-00003.gguf"), "Q6_K");
  EXPECT_EQ(quantization_of("BF16/m-f16.gguf"), "F16");
  EXPECT_EQ(quantization_of("m-mxfp4.gguf"), "MXFP4");
  EXPECT_EQ(quantization_of("Qwen2-7B.gguf"), "");
  EXPECT_EQ(quantization_of("model.gguf"), "");
  EXPECT_EQ(quantization_of("-----.gguf"), "");
}

TEST(Labels, AreNamesWithoutTheQuantization) {
  EXPECT_EQ(model_label_of("SmolLM2-135M.Q4_1.gguf"), "SmolLM2-135M");
  EXPECT_EQ(model_label_of("m-Q4_0-00001-of-00003.gguf"), "m");
  EXPECT_EQ(model_label_of("Q4_0.gguf"), "Q4_0");
  EXPECT_EQ(model_label_of("model.gguf"), "model");
}

TEST(SelectFiles, TakesOneQuantizationWhateverItsCase) {
  const std::vector<std::string> paths = {"m-Q4_K.gguf", "m-Q4_K_M.gguf", "m-IQ4_XS.gguf",
                                          "m-UD-Q4_K_M.gguf", "config.json"};
  EXPECT_THAT(chosen(paths, "q4_k_m"), ElementsAre("Q4_K_M", "m-Q4_K_M.gguf"));
  EXPECT_THAT(chosen(paths, "Q4_K"), ElementsAre("Q4_K", "m-Q4_K.gguf"));
  EXPECT_THAT(chosen(paths, "ud-q4_k_m"), ElementsAre("UD-Q4_K_M", "m-UD-Q4_K_M.gguf"));
}

TEST(SelectFiles, ListsTheChoicesWhenThereIsNoneOrMoreThanOne) {
  const std::vector<std::string> paths = {"m-Q4_0.gguf", "m-Q8_0.gguf"};
  for (const std::string_view wanted : {"", "Q2_K"}) {
    EXPECT_THAT(chosen(paths, wanted),
                ElementsAre(testing::AllOf(HasSubstr("Q4_0"), HasSubstr("Q8_0"))));
  }
  EXPECT_THAT(chosen({"a-Q4_0.gguf", "b-Q4_0.gguf"}, "Q4_0"),
              ElementsAre(testing::AllOf(HasSubstr("a-Q4_0.gguf"), HasSubstr("b-Q4_0.gguf"))));
}

TEST(SelectFiles, TheOnlyModelNeedsNoQuantization) {
  EXPECT_THAT(chosen({"m.gguf", "mmproj-f16.gguf", "imatrix.gguf"}, ""),
              ElementsAre("latest", "m.gguf"));
  EXPECT_THAT(chosen({"m-Q4_0.gguf"}, "latest"), ElementsAre("Q4_0", "m-Q4_0.gguf"));
}

TEST(SelectFiles, WantsEveryPartOfASplitModel) {
  const std::vector<std::string> paths = {"m-Q4_0-00002-of-00002.gguf",
                                          "m-Q4_0-00001-of-00002.gguf", "m-Q8_0.gguf"};
  EXPECT_THAT(chosen(paths, "Q4_0"),
              ElementsAre("Q4_0", "m-Q4_0-00001-of-00002.gguf", "m-Q4_0-00002-of-00002.gguf"));
  EXPECT_THAT(chosen({"m-00001-of-00003.gguf", "m-00003-of-00003.gguf"}, ""),
              ElementsAre(HasSubstr("only 2 of them")));
  EXPECT_THAT(chosen({"m-00001-of-00002.gguf", "m-00003-of-00002.gguf"}, ""),
              ElementsAre(HasSubstr("part 2 of 2")));
}

TEST(SelectFiles, AFileListedTwiceIsRefused) {
  EXPECT_THAT(chosen({"config.json", "model.safetensors", "config.json"}, ""),
              ElementsAre(HasSubstr("'config.json' twice")));
}

TEST(SelectFiles, SafetensorsComeWithWhatTheyNeedAndNothingThatHoldsCode) {
  const std::vector<std::string> paths = {
      "config.json", "model.safetensors",        "tokenizer.json",         "pytorch_model.bin",
      "modeling.py", "consolidated.safetensors", "onnx/model.safetensors", "README.md"};
  EXPECT_THAT(chosen(paths, ""),
              ElementsAre("latest", "config.json", "model.safetensors", "tokenizer.json"));
  EXPECT_THAT(chosen({"m-Q4_0.gguf", "model.safetensors"}, "safetensors"),
              ElementsAre("latest", "model.safetensors"));
  EXPECT_THAT(chosen({"consolidated.safetensors"}, ""),
              ElementsAre("latest", "consolidated.safetensors"));
  EXPECT_THAT(chosen({"model.safetensors", "1_Pooling/config.json", "2_Dense/config.json",
                      "2_Dense/model.safetensors", "2_Dense/pytorch_model.bin",
                      "x_Dense/config.json", "2_Dense/more/model.safetensors"},
                     ""),
              ElementsAre("latest", "1_Pooling/config.json", "2_Dense/config.json",
                          "2_Dense/model.safetensors", "model.safetensors"));
  EXPECT_THAT(chosen({"pytorch_model.bin"}, ""), ElementsAre(HasSubstr("can run code")));
  EXPECT_THAT(chosen({}, ""), ElementsAre(HasSubstr("neither")));
}

}  // namespace
}  // namespace hearth::hub
