// Norms, activations and other work on single rows, over the vector policy described in
// simd_kernels.h, and the handling of lanes that all kernels share.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/kernel_table.h"
#include "kernels/simd_math.h"

namespace hearth {

template <class V>
inline constexpr std::size_t kRegs = kVirtualLanes / V::kLanes;

template <class V>
float reduce_lanes(const typename V::F (&acc)[kRegs<V>]) {
  if constexpr (kRegs<V> == 1) {
    return V::reduce(acc[0]);
  } else {
    static_assert(kRegs<V> == 2);
    return V::reduce(V::add(acc[0], acc[1]));
  }
}

template <class V>
typename V::F load_lanes(const float* p, std::size_t len) {
  return len == V::kLanes ? V::load(p) : V::load_partial(p, len);
}

template <class V>
void store_lanes(float* p, std::size_t len, typename V::F value) {
  if (len == V::kLanes) {
    V::store(p, value);
  } else {
    V::store_partial(p, len, value);
  }
}

// How many of the lanes of register `part` lie below `len`.
template <class V>
std::size_t lanes_below(std::size_t len, std::size_t part) {
  constexpr std::size_t kLanes = V::kLanes;
  const std::size_t start = part * kLanes;
  if (len <= start) return 0;
  return len - start < kLanes ? len - start : kLanes;
}

// body(k, len): len = kLanes but for the last call.
template <class V, class Body>
void for_each_register(std::size_t len, Body body) {
  std::size_t k = 0;
  for (; k + V::kLanes <= len; k += V::kLanes)
    body(k, V::kLanes);
  if (k < len) body(k, len - k);
}

// The sum of term(acc, x) over the row in kVirtualLanes chains. Absent elements of the last round
// add what term makes of `absent`, which is to be nothing.
template <class V, class Term>
float sum_row(const float* input, std::size_t len, float absent, Term term) {
  using F = typename V::F;
  F acc[kRegs<V>];
  for (F& part : acc)
    part = V::set1(0.0f);
  std::size_t k = 0;
  for (; k + kVirtualLanes <= len; k += kVirtualLanes) {
    for (std::size_t part = 0; part < kRegs<V>; ++part)
      acc[part] = term(acc[part], V::load(input + k + part * V::kLanes));
  }
  if (k < len) {
    for (std::size_t part = 0; part < kRegs<V>; ++part) {
      const std::size_t n = lanes_below<V>(len - k, part);
      const F x = V::load_partial(input + k + part * V::kLanes, n);
      acc[part] = term(acc[part], V::keep_range(x, 0, 0, n, V::set1(absent)));
    }
  }
  return reduce_lanes<V>(acc);
}

template <class V>
void rms_norm(const float* input, const float* gain, float epsilon, std::size_t len, float* out) {
  using F = typename V::F;
  const float sum = sum_row<V>(input, len, 0.0f, [](F acc, F x) { return V::fma(x, x, acc); });
  const float mean = sum / static_cast<float>(len);
  const F inverse = V::set1(1.0f / __builtin_sqrtf(mean + epsilon));
  for_each_register<V>(len, [&](std::size_t i, std::size_t n) {
    const F scaled = V::mul(load_lanes<V>(input + i, n), inverse);
    store_lanes<V>(out + i, n, V::mul(scaled, load_lanes<V>(gain + i, n)));
  });
}

template <class V>
void layer_norm(const float* input, const LayerNorm& norm, std::size_t len, float* out) {
  using F = typename V::F;
  const float count = static_cast<float>(len);
  const float mean =
      sum_row<V>(input, len, 0.0f, [](F acc, F x) { return V::add(acc, x); }) / count;
  const F center = V::set1(mean);
  const float squares = sum_row<V>(input, len, mean, [center](F acc, F x) {
    const F distance = V::sub(x, center);
    return V::fma(distance, distance, acc);
  });
  const F inverse = V::set1(1.0f / __builtin_sqrtf(squares / count + norm.epsilon));
  for_each_register<V>(len, [&](std::size_t i, std::size_t n) {
    const F scaled = V::mul(V::sub(load_lanes<V>(input + i, n), center), inverse);
    store_lanes<V>(
        out + i, n,
        V::fma(scaled, load_lanes<V>(norm.gain + i, n), load_lanes<V>(norm.bias + i, n)));
  });
}

// apply(f), f being the activation of a register.
template <class V, class Apply>
void with_activation(ActivationKind kind, Apply apply) {
  using F = typename V::F;
  switch (kind) {
    case ActivationKind::kSilu:
      return apply([](F x) { return silu_of<V>(x); });
    case ActivationKind::kGelu:
      return apply([](F x) { return gelu_of<V>(x); });
    case ActivationKind::kGeluTanh:
      return apply([](F x) { return gelu_tanh_of<V>(x); });
    case ActivationKind::kRelu:
      return apply([](F x) { return relu_of<V>(x); });
    case ActivationKind::kReluSquared:
      return apply([](F x) { return relu_squared_of<V>(x); });
    case ActivationKind::kClampedSwish:
      return apply([](F x) { return clamped_swish_of<V>(x); });
  }
}

template <class V>
void activation(ActivationKind kind, const float* input, std::size_t len, float* out) {
  with_activation<V>(kind, [&](auto activate) {
    for_each_register<V>(len, [&](std::size_t i, std::size_t n) {
      store_lanes<V>(out + i, n, activate(load_lanes<V>(input + i, n)));
    });
  });
}

template <class V>
void gated_activation(ActivationKind kind, const float* gate, const float* up, std::size_t len,
                      float* out) {
  using F = typename V::F;
  const auto multiply = [&](auto activate, auto pass) {
    for_each_register<V>(len, [&](std::size_t i, std::size_t n) {
      const F activated = activate(load_lanes<V>(gate + i, n));
      store_lanes<V>(out + i, n, V::mul(activated, pass(load_lanes<V>(up + i, n))));
    });
  };
  if (kind == ActivationKind::kClampedSwish) {
    return multiply([](F x) { return clamped_swish_of<V>(x); },
                    [](F x) { return clamped_up_of<V>(x); });
  }
  with_activation<V>(kind, [&](auto activate) { multiply(activate, [](F x) { return x; }); });
}

template <class V>
void scale(const float* input, float factor, std::size_t len, float* out) {
  for_each_register<V>(len, [&](std::size_t i, std::size_t n) {
    store_lanes<V>(out + i, n, V::mul(load_lanes<V>(input + i, n), V::set1(factor)));
  });
}

template <class V>
void add_scaled(const float* input, float factor, std::size_t len, float* out) {
  for_each_register<V>(len, [&](std::size_t i, std::size_t n) {
    const auto sum =
        V::fma(load_lanes<V>(input + i, n), V::set1(factor), load_lanes<V>(out + i, n));
    store_lanes<V>(out + i, n, sum);
  });
}

template <class V>
typename V::F capped(typename V::F x, float cap) {
  const typename V::F limit = V::set1(cap);
  return V::mul(limit, tanh_of<V>(V::div(x, limit)));
}

template <class V>
void softcap(const float* input, float cap, std::size_t len, float* out) {
  for_each_register<V>(len, [&](std::size_t i, std::size_t n) {
    store_lanes<V>(out + i, n, capped<V>(load_lanes<V>(input + i, n), cap));
  });
}

template <class V>
void to_f16(const float* input, std::size_t len, std::uint16_t* out) {
  for_each_register<V>(len, [&](std::size_t i, std::size_t n) {
    const auto x = load_lanes<V>(input + i, n);
    if (n == V::kLanes) {
      V::store_f16(out + i, x);
    } else {
      V::store_f16_partial(out + i, n, x);
    }
  });
}

}  // namespace hearth
