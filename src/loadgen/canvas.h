// Drawing that comes out as SVG and as PNG alike. The drawing library stays behind this header.
#pragma once

#include <functional>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "base/status.h"

namespace hearth::loadgen {

struct Point {
  double x = 0.0;  // To the right, in pixels.
  double y = 0.0;  // Downwards.
};

struct Color {
  double red = 0.0;  // 0 to 1.
  double green = 0.0;
  double blue = 0.0;
};

struct LineStyle {
  Color color = {};
  double width = 1.0;
  bool dashed = false;
};

enum class Align { kLeft, kCenter, kRight };

struct TextStyle {
  Color color = {};
  double size = 13.0;
  bool bold = false;
  Align align = Align::kLeft;
};

// Not thread-safe; lives while a painter runs.
class Canvas {
 public:
  struct Impl;
  explicit Canvas(Impl& impl) : impl_(impl) {}

  void line(std::span<const Point> points, const LineStyle& style);
  void circle(Point center, double radius, Color color);
  void box(Point corner, double width, double height, Color color);          // From its upper left.
  void text(std::string_view text, Point baseline, const TextStyle& style);  // UTF-8, one line.
  double text_width(std::string_view text, const TextStyle& style);

 private:
  Impl& impl_;
};

struct CanvasSize {
  int width = 0;  // In pixels of the SVG; a PNG has kPngScale times as many.
  int height = 0;
};
inline constexpr int kPngScale = 2;

using Painter = std::function<void(Canvas&)>;

// The bytes of a file. The paper is white.
Result<std::string> draw_svg(CanvasSize size, const Painter& painter);
Result<std::string> draw_png(CanvasSize size, const Painter& painter);

}  // namespace hearth::loadgen
