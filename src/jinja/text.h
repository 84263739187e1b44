// Strings of the template language: UTF-8 with, for every byte, whether the template wrote it or it
// came from an input value.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

namespace hearth::jinja {

// Who wrote a byte. Kept through every transformation; where one cannot be tracked the result is
// kInput.
enum class Origin : std::uint8_t { kTemplate, kInput };

// Origin per byte of a growing string, as runs.
class Marks {
 public:
  void append(std::size_t num_bytes, Origin origin);
  // Appends [begin, end) of `other`.
  void append(const Marks& other, std::size_t begin, std::size_t end);
  std::size_t size() const { return runs_.empty() ? 0 : runs_.back().end; }
  Origin at(std::size_t position) const;
  // True when some byte of [begin, end) is of this origin.
  bool any(Origin origin, std::size_t begin, std::size_t end) const;
  void reserve(std::size_t num_runs) { runs_.reserve(num_runs); }

  struct Run {
    std::size_t end = 0;  // Exclusive; the run starts where the one before ends.
    Origin origin = Origin::kTemplate;
  };
  const std::vector<Run>& runs() const { return runs_; }
  std::size_t run_at(std::size_t position) const;  // Index of the run that holds the byte.

 private:
  std::vector<Run> runs_;
};

// Whatever a render allocates. Owned by an Arena; values hold plain pointers.
struct Object {
  Object() = default;
  Object(const Object&) = delete;
  Object& operator=(const Object&) = delete;
  virtual ~Object() = default;
};

class Arena {
 public:
  template <typename T, typename... Args>
  T* make(Args&&... args) {
    auto object = std::make_unique<T>(std::forward<Args>(args)...);
    T* pointer = object.get();
    objects_.push_back(std::move(object));
    return pointer;
  }

 private:
  std::vector<std::unique_ptr<Object>> objects_;
};

// Bytes behind one or more texts. Append-only: a text that ends where its buffer ends can grow in
// place, so that `s = s + x` in a loop costs the length of x, while older texts keep their prefix.
class TextBuffer final : public Object {
 public:
  // Borrows; `bytes` outlives the buffer. Never grows.
  TextBuffer(std::string_view bytes, Origin origin);
  // Owns. Grows.
  TextBuffer(std::string bytes, Marks marks);

  std::string_view bytes() const { return owned_.empty() ? borrowed_ : std::string_view(owned_); }
  const Marks& marks() const { return marks_; }
  bool ascii() const { return ascii_; }
  bool growable() const { return growable_; }
  void append(std::string_view bytes, const Marks& marks, std::size_t begin);

 private:
  std::string owned_;
  std::string_view borrowed_;
  Marks marks_;
  bool growable_ = false;
  bool ascii_ = true;
};

// One string value: a range of a buffer that begins and ends on code points. Immutable.
struct Text final : Object {
  Text(TextBuffer* of, std::size_t from, std::size_t num_bytes, bool is_safe)
      : buffer(of), offset(from), size(num_bytes), safe(is_safe) {}

  std::string_view view() const { return buffer->bytes().substr(offset, size); }
  bool ascii() const { return buffer->ascii(); }
  // kInput when any byte is input.
  Origin origin() const;
  Origin origin_at(std::size_t position) const { return buffer->marks().at(offset + position); }
  std::size_t length() const;  // In code points.
  // Byte offset of the code point with this index; size when past the end.
  std::size_t byte_offset(std::size_t code_point_idx) const;

  TextBuffer* buffer;
  std::size_t offset;
  std::size_t size;
  bool safe;  // Python's Markup: escaping leaves it alone.
};

// Builds a string from marked pieces.
class TextBuilder {
 public:
  void append(std::string_view bytes, Origin origin);
  void append(const Text& text) { append(text, 0, text.size); }
  void append(const Text& text, std::size_t begin, std::size_t end);
  void append(char32_t code_point, Origin origin);
  void append(const TextBuilder& other);
  void append_repeated(std::string_view bytes, std::size_t times, Origin origin);
  std::size_t size() const { return bytes_.size(); }
  const std::string& bytes() const { return bytes_; }
  const Marks& marks() const { return marks_; }
  std::string take_bytes() { return std::move(bytes_); }
  Marks take_marks() { return std::move(marks_); }

 private:
  std::string bytes_;
  Marks marks_;
};

// Walks the code points of a text with their origin.
class TextCursor {
 public:
  explicit TextCursor(const Text& text) : text_(text), bytes_(text.view()) {}
  bool done() const { return position_ >= bytes_.size(); }
  std::size_t position() const { return position_; }
  Origin origin() const { return text_.origin_at(position_); }
  char32_t next();  // The code point here; moves past it.

 private:
  const Text& text_;
  std::string_view bytes_;
  std::size_t position_ = 0;
};

}  // namespace hearth::jinja
