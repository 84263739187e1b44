// Classes of code points that tokenizers ask for.
#pragma once

namespace hearth {

bool is_white_space(char32_t c);  // The Unicode property White_Space.
// \w of Unicode regular expressions (UTS #18): letters, marks, decimal digits, connectors.
bool is_word_char(char32_t c);
// Control, format, private-use and surrogate code points (Cc, Cf, Co, Cs).
bool is_control_char(char32_t c);
bool is_nonspacing_mark(char32_t c);  // Mn
bool is_mark(char32_t c);             // Mn, Mc, Me
// CJK ideographs as BERT counts them: without Hiragana, Katakana and Hangul.
bool is_cjk_ideograph(char32_t c);

}  // namespace hearth
