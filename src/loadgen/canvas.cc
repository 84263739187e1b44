#include "loadgen/canvas.h"

#include <cairo-svg.h>
#include <cairo.h>

#include <array>
#include <numbers>

namespace hearth::loadgen {
namespace {

constexpr const char* kFontFamily = "sans-serif";

struct SurfaceDeleter {
  void operator()(cairo_surface_t* surface) const { cairo_surface_destroy(surface); }
};
using Surface = std::unique_ptr<cairo_surface_t, SurfaceDeleter>;

struct ContextDeleter {
  void operator()(cairo_t* context) const { cairo_destroy(context); }
};
using Context = std::unique_ptr<cairo_t, ContextDeleter>;

cairo_status_t append_bytes(void* out, const unsigned char* data, unsigned length) {
  static_cast<std::string*>(out)->append(reinterpret_cast<const char*>(data), length);
  return CAIRO_STATUS_SUCCESS;
}

Status status_of(cairo_status_t status) {
  if (status == CAIRO_STATUS_SUCCESS) return {};
  return make_status(StatusCode::kInternal, "cannot draw: {}", cairo_status_to_string(status));
}

}  // namespace

struct Canvas::Impl {
  cairo_t* context = nullptr;

  void set_color(Color color) const {
    cairo_set_source_rgb(context, color.red, color.green, color.blue);
  }
  void set_font(const TextStyle& style) const {
    cairo_select_font_face(context, kFontFamily, CAIRO_FONT_SLANT_NORMAL,
                           style.bold ? CAIRO_FONT_WEIGHT_BOLD : CAIRO_FONT_WEIGHT_NORMAL);
    cairo_set_font_size(context, style.size);
  }
};

void Canvas::line(std::span<const Point> points, const LineStyle& style) {
  constexpr std::array<double, 2> kDashes = {6.0, 4.0};
  cairo_t* context = impl_.context;
  impl_.set_color(style.color);
  cairo_set_line_width(context, style.width);
  cairo_set_line_join(context, CAIRO_LINE_JOIN_ROUND);
  cairo_set_dash(context, kDashes.data(), style.dashed ? 2 : 0, 0.0);
  for (const Point& point : points)
    cairo_line_to(context, point.x, point.y);
  cairo_stroke(context);
}

void Canvas::circle(Point center, double radius, Color color) {
  impl_.set_color(color);
  cairo_arc(impl_.context, center.x, center.y, radius, 0.0, 2.0 * std::numbers::pi);
  cairo_fill(impl_.context);
}

void Canvas::box(Point corner, double width, double height, Color color) {
  impl_.set_color(color);
  cairo_rectangle(impl_.context, corner.x, corner.y, width, height);
  cairo_fill(impl_.context);
}

void Canvas::text(std::string_view text, Point baseline, const TextStyle& style) {
  const double width = style.align == Align::kLeft ? 0.0 : text_width(text, style);
  impl_.set_color(style.color);
  impl_.set_font(style);
  cairo_move_to(impl_.context, baseline.x - (style.align == Align::kCenter ? width / 2.0 : width),
                baseline.y);
  cairo_show_text(impl_.context, std::string(text).c_str());
  cairo_new_path(impl_.context);
}

double Canvas::text_width(std::string_view text, const TextStyle& style) {
  impl_.set_font(style);
  cairo_text_extents_t extents;
  cairo_text_extents(impl_.context, std::string(text).c_str(), &extents);
  return extents.x_advance;
}

namespace {

Status paint(cairo_surface_t* surface, double scale, CanvasSize size, const Painter& painter) {
  const Context context(cairo_create(surface));
  Canvas::Impl impl{.context = context.get()};
  Canvas canvas(impl);
  cairo_scale(context.get(), scale, scale);
  canvas.box({}, size.width, size.height, {1.0, 1.0, 1.0});
  painter(canvas);
  return status_of(cairo_status(context.get()));
}

}  // namespace

Result<std::string> draw_svg(CanvasSize size, const Painter& painter) {
  std::string bytes;
  const Surface surface(
      cairo_svg_surface_create_for_stream(&append_bytes, &bytes, size.width, size.height));
  cairo_svg_surface_set_document_unit(surface.get(), CAIRO_SVG_UNIT_PX);
  HEARTH_RETURN_IF_ERROR(paint(surface.get(), 1.0, size, painter));
  cairo_surface_finish(surface.get());
  HEARTH_RETURN_IF_ERROR(status_of(cairo_surface_status(surface.get())));
  return bytes;
}

Result<std::string> draw_png(CanvasSize size, const Painter& painter) {
  const Surface surface(cairo_image_surface_create(CAIRO_FORMAT_RGB24, size.width * kPngScale,
                                                   size.height * kPngScale));
  HEARTH_RETURN_IF_ERROR(paint(surface.get(), kPngScale, size, painter));
  std::string bytes;
  HEARTH_RETURN_IF_ERROR(
      status_of(cairo_surface_write_to_png_stream(surface.get(), &append_bytes, &bytes)));
  return bytes;
}

}  // namespace hearth::loadgen
