// The rows of levels that the IQ1, IQ2 and IQ3 formats of GGUF files refer to by number: part of
// the formats, in a form of our own. A word is one row: the indices of its levels, the first
// lowest; 8 of 2 bits each in the IQ1 and IQ2 formats, 4 of 3 bits each in the IQ3 formats.
// Source: the tables of the gguf Python package, by tools/generate/make_code_books.py.
#pragma once

#include <array>
#include <cstdint>

namespace hearth {

extern const std::array<std::uint16_t, 2048> kBookIQ1_S;  // Of IQ1_M as well.
extern const std::array<std::uint16_t, 256> kBookIQ2_XXS;
extern const std::array<std::uint16_t, 512> kBookIQ2_XS;
extern const std::array<std::uint16_t, 1024> kBookIQ2_S;
extern const std::array<std::uint16_t, 256> kBookIQ3_XXS;
extern const std::array<std::uint16_t, 512> kBookIQ3_S;

}  // namespace hearth
