// From the blocks of a model file to the packed panels that the kernels read (see kernel_table.h).
#pragma once

#include <cstddef>
#include <cstdint>
#include <optional>

#include "kernels/kernel_table.h"
#include "tensor/dtype.h"

namespace hearth {

// Part of the name of every kept file of panels (packed_cache.h): goes up whenever pack_panel()
// writes other bytes than before, or refuses weights that it took: a kept file is not looked
// through again. Since 2 scales that are not finite are refused.
inline constexpr std::uint32_t kPackedLayoutVersion = 2;

// nullopt for formats that are not packed.
std::optional<PackedFormat> packed_format_of(DType dtype);

// Rows of a weight matrix that become one panel.
struct PanelSource {
  const std::byte* rows = nullptr;  // num_columns rows of in_features values, row_bytes apart.
  std::size_t row_bytes = 0;
  std::size_t num_columns = 0;  // <= kPanelColumns; missing columns get zero scales.
  std::size_t in_features = 0;  // Whole blocks.
};

// Writes panel_layout(...).total_bytes bytes. Independent panels may be packed by several threads.
// `dtype` must have a packed format.
void pack_panel(DType dtype, const PanelSource& source, std::uint8_t* panel);

// False when a scale or minimum of the panel is a NaN or an infinity, or so large an exponent that
// weights are.
bool has_finite_scales(PackedFormat format, std::size_t in_features, const std::uint8_t* panel);

}  // namespace hearth
