#include "loadgen/plot.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <ranges>

namespace hearth::loadgen {
namespace {

// Okabe and Ito, "Color Universal Design": told apart with every kind of colour vision. Their
// yellow is left out, it is too pale for lines on white.
constexpr std::array<Color, 7> kPalette = {{{0.0, 0.447, 0.698},
                                            {0.835, 0.369, 0.0},
                                            {0.0, 0.620, 0.451},
                                            {0.8, 0.475, 0.655},
                                            {0.902, 0.624, 0.0},
                                            {0.337, 0.706, 0.914},
                                            {0.0, 0.0, 0.0}}};
constexpr Color kInk{0.13, 0.13, 0.13};
constexpr Color kQuiet{0.38, 0.38, 0.38};
constexpr Color kGrid{0.88, 0.88, 0.88};
constexpr TextStyle kTitle{.color = kInk, .size = 17.0, .bold = true};
constexpr TextStyle kUnit{.color = kQuiet, .size = 13.0};
constexpr TextStyle kLegend{.color = kInk, .size = 13.0};
constexpr TextStyle kAxis{.color = kQuiet, .size = 13.0, .align = Align::kCenter};
constexpr TextStyle kTickX{.color = kInk, .size = 12.0, .align = Align::kCenter};
constexpr TextStyle kTickY{.color = kInk, .size = 12.0, .align = Align::kRight};

constexpr double kMargin = 20.0;
constexpr double kSampleLength = 28.0;  // Of a line in the legend.
constexpr double kLegendGap = 22.0;
constexpr double kRowHeight = 20.0;
constexpr double kMarkerRadius = 3.5;

struct Area {
  double left, top, right, bottom;
};

// From units of the axes to pixels.
struct Scale {
  Area area;
  Ticks x;
  Ticks y;
  Point operator()(Point point) const {
    return {area.left + (area.right - area.left) * point.x / x.end(),
            area.bottom - (area.bottom - area.top) * point.y / y.end()};
  }
};

LineStyle line_style(const PlotSeries& series) {
  return {.color = kPalette[series.color % kPalette.size()], .width = 2.0, .dashed = series.dashed};
}

// Returns the vertical position below the last row.
double paint_legend(const Plot& plot, CanvasSize size, double top, Canvas& canvas) {
  double x = kMargin;
  double y = top;
  for (const PlotSeries& series : plot.series) {
    const double width = kSampleLength + 7.0 + canvas.text_width(series.label, kLegend);
    if (x > kMargin && x + width > size.width - kMargin) {
      x = kMargin;
      y += kRowHeight;
    }
    const std::array<Point, 2> sample = {{{x, y - 4.5}, {x + kSampleLength, y - 4.5}}};
    canvas.line(sample, line_style(series));
    canvas.circle({x + kSampleLength / 2.0, y - 4.5}, kMarkerRadius, line_style(series).color);
    canvas.text(series.label, {x + kSampleLength + 7.0, y}, kLegend);
    x += width + kLegendGap;
  }
  return y;
}

void paint_axes(const Plot& plot, const Scale& scale, CanvasSize size, Canvas& canvas) {
  const Area& area = scale.area;
  for (std::size_t i = 0; i <= scale.y.num_steps; ++i) {
    const double y = scale({0.0, scale.y.step * static_cast<double>(i)}).y;
    const std::array<Point, 2> line = {{{area.left, y}, {area.right, y}}};
    canvas.line(line, {.color = i == 0 ? kInk : kGrid});
    canvas.text(scale.y.text(i), {area.left - 8.0, y + 4.5}, kTickY);
  }
  for (std::size_t i = 0; i <= scale.x.num_steps; ++i) {
    const double x = scale({scale.x.step * static_cast<double>(i), 0.0}).x;
    const std::array<Point, 2> line = {{{x, area.top}, {x, area.bottom}}};
    if (i > 0) canvas.line(line, {.color = kGrid});
    const std::array<Point, 2> tick = {{{x, area.bottom}, {x, area.bottom + 4.0}}};
    canvas.line(tick, {.color = kInk});
    canvas.text(scale.x.text(i), {x, area.bottom + 19.0}, kTickX);
  }
  canvas.text(plot.x_label, {(area.left + area.right) / 2.0, size.height - 14.0}, kAxis);
}

void paint_series(const PlotSeries& series, const Scale& scale, Canvas& canvas) {
  std::vector<Point> points(series.points.size());
  std::ranges::transform(series.points, points.begin(), scale);
  if (points.size() > 1) canvas.line(points, line_style(series));
  for (const Point& point : points)
    canvas.circle(point, kMarkerRadius, line_style(series).color);
}

}  // namespace

std::string Ticks::text(std::size_t idx) const {
  const int decimals = std::max(0, -static_cast<int>(std::floor(std::log10(step) + 1e-9)));
  return fmt::format("{:.{}f}", step * static_cast<double>(idx), decimals);
}

Ticks round_ticks(double max) {
  if (!std::isfinite(max) || max <= 0.0) max = 1.0;
  constexpr std::size_t kMostSteps = 7;
  constexpr std::array<double, 4> kRound = {1.0, 2.0, 5.0, 10.0};
  const double magnitude = std::pow(10.0, std::floor(std::log10(max / kMostSteps)));
  for (const double factor : kRound) {
    const double step = factor * magnitude;
    const double steps = std::ceil(max / step - 1e-9);
    if (steps <= kMostSteps) return {.step = step, .num_steps = static_cast<std::size_t>(steps)};
  }
  return {.step = max, .num_steps = 1};
}

void paint_plot(const Plot& plot, CanvasSize size, Canvas& canvas) {
  canvas.text(plot.title, {kMargin, 30.0}, kTitle);
  canvas.text(plot.y_label, {kMargin, 50.0}, kUnit);
  const double legend_end = paint_legend(plot, size, 76.0, canvas);

  double max_x = 0.0;
  double max_y = 0.0;
  for (const PlotSeries& series : plot.series) {
    for (const Point& point : series.points) {
      max_x = std::max(max_x, point.x);
      max_y = std::max(max_y, point.y);
    }
  }
  Scale scale{.area = {}, .x = round_ticks(max_x), .y = round_ticks(max_y)};
  const double label_width = canvas.text_width(scale.y.text(scale.y.num_steps), kTickY);
  scale.area = {.left = kMargin + label_width + 8.0,
                .top = legend_end + 18.0,
                .right = size.width - kMargin - 8.0,
                .bottom = size.height - 56.0};
  paint_axes(plot, scale, size, canvas);
  // The first series is on top; what it covers shows through where it is dashed.
  for (const PlotSeries& series : std::views::reverse(plot.series))
    paint_series(series, scale, canvas);
}

}  // namespace hearth::loadgen
