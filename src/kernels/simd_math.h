// Elementary functions over a vector policy V (see simd_kernels.h). Every operation is an IEEE
// operation in a fixed order, so all policies, of any width, give the same bits.
#pragma once

namespace hearth {

// e^x with about 1 ulp. Zero below -87 and infinity above 88, where float32 runs out of exponents.
template <class V>
typename V::F exp_of(typename V::F x) {
  using F = typename V::F;
  // x = n ln 2 + r. Adding 1.5 * 2^23 rounds to an integer and leaves it in the low bits.
  const F magic = V::set1(12582912.0f);
  const F shifted = V::fma(x, V::set1(1.44269504088896341f), magic);
  const F n = V::sub(shifted, magic);
  F r = V::fma(n, V::set1(-0.693359375f), x);  // ln 2 in two parts: the first product is exact.
  r = V::fma(n, V::set1(2.12194440e-4f), r);
  // Taylor series: |r| <= ln 2 / 2 leaves a remainder below 6e-9.
  F p = V::set1(1.0f / 5040.0f);
  p = V::fma(p, r, V::set1(1.0f / 720.0f));
  p = V::fma(p, r, V::set1(1.0f / 120.0f));
  p = V::fma(p, r, V::set1(1.0f / 24.0f));
  p = V::fma(p, r, V::set1(1.0f / 6.0f));
  p = V::fma(p, r, V::set1(0.5f));
  p = V::fma(p, r, V::set1(1.0f));
  p = V::fma(p, r, V::set1(1.0f));
  F result = V::mul(p, V::power_of_two(shifted));
  result = V::select_less(x, V::set1(-87.0f), V::set1(0.0f), result);
  return V::select_less(V::set1(88.0f), x, V::set1(__builtin_inff()), result);
}

// tanh x = 1 - 2 / (e^2x + 1): absolute error about 1e-7.
template <class V>
typename V::F tanh_of(typename V::F x) {
  const typename V::F one = V::set1(1.0f);
  const typename V::F e = exp_of<V>(V::add(x, x));
  return V::sub(one, V::div(V::set1(2.0f), V::add(e, one)));
}

// Abramowitz and Stegun, formula 7.1.26: absolute error below 2e-7.
template <class V>
typename V::F erf_of(typename V::F x) {
  using F = typename V::F;
  const F one = V::set1(1.0f);
  const F a = V::abs(x);
  const F t = V::div(one, V::fma(a, V::set1(0.3275911f), one));
  F p = V::set1(1.061405429f);
  p = V::fma(p, t, V::set1(-1.453152027f));
  p = V::fma(p, t, V::set1(1.421413741f));
  p = V::fma(p, t, V::set1(-0.284496736f));
  p = V::fma(p, t, V::set1(0.254829592f));
  p = V::mul(p, t);
  const F e = exp_of<V>(V::sub(V::set1(0.0f), V::mul(a, a)));
  const F positive = V::sub(one, V::mul(p, e));
  return V::select_less(x, V::set1(0.0f), V::sub(V::set1(0.0f), positive), positive);
}

template <class V>
typename V::F silu_of(typename V::F x) {
  return V::div(x, V::add(V::set1(1.0f), exp_of<V>(V::sub(V::set1(0.0f), x))));
}

template <class V>
typename V::F gelu_of(typename V::F x) {
  const typename V::F erf = erf_of<V>(V::mul(x, V::set1(0.70710678118654752f)));
  return V::mul(V::mul(V::set1(0.5f), x), V::add(V::set1(1.0f), erf));
}

// 0.5 x (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))
template <class V>
typename V::F gelu_tanh_of(typename V::F x) {
  using F = typename V::F;
  const F cubic = V::mul(V::mul(x, x), V::set1(0.044715f));
  const F inner = V::mul(V::set1(0.79788456080286536f), V::fma(cubic, x, x));
  return V::mul(V::mul(V::set1(0.5f), x), V::add(V::set1(1.0f), tanh_of<V>(inner)));
}

template <class V>
typename V::F relu_of(typename V::F x) {
  return V::select_less(x, V::set1(0.0f), V::set1(0.0f), x);
}

template <class V>
typename V::F relu_squared_of(typename V::F x) {
  const typename V::F positive = relu_of<V>(x);
  return V::mul(positive, positive);
}

// The gate and the factor beside it in gpt-oss, whose published code names the constants.
inline constexpr float kClampedSwishSlope = 1.702f;
inline constexpr float kClampedSwishLimit = 7.0f;

template <class V>
typename V::F clamped_swish_of(typename V::F x) {
  using F = typename V::F;
  const F limit = V::set1(kClampedSwishLimit);
  const F gate = V::select_less(limit, x, limit, x);
  const F e = exp_of<V>(V::mul(gate, V::set1(-kClampedSwishSlope)));
  return V::div(gate, V::add(V::set1(1.0f), e));
}

template <class V>
typename V::F clamped_up_of(typename V::F x) {
  using F = typename V::F;
  const F limit = V::set1(kClampedSwishLimit);
  const F floor = V::set1(-kClampedSwishLimit);
  const F below = V::select_less(limit, x, limit, x);
  return V::add(V::select_less(below, floor, floor, below), V::set1(1.0f));
}

}  // namespace hearth
