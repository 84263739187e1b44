// Line plots from zero: what every figure of a report is.
#pragma once

#include <string>
#include <vector>

#include "loadgen/canvas.h"

namespace hearth::loadgen {

struct PlotSeries {
  std::string label;      // For the legend.
  std::size_t color = 0;  // Index into a palette; equal indices belong together.
  bool dashed = false;
  std::vector<Point> points;  // In units of the axes, by ascending x; neither is negative.
};

struct Plot {
  std::string title;
  std::string y_label;  // With the unit; stands below the title.
  std::string x_label;
  std::vector<PlotSeries> series;
};

// Round numbers from 0 to the first that is not below `max`, four to eight of them.
struct Ticks {
  double step = 1.0;
  std::size_t num_steps = 1;
  double end() const { return step * static_cast<double>(num_steps); }
  std::string text(std::size_t idx) const;
};
Ticks round_ticks(double max);

// With one row of the legend after the other below the title.
void paint_plot(const Plot& plot, CanvasSize size, Canvas& canvas);

}  // namespace hearth::loadgen
