// Initialisers: how a fresh parameter is filled. Fans follow PyTorch: for a weight [out, in, ...],
// fan_in = in * (elements per in-out pair), fan_out = out * the same.
#pragma once

#include <concord/autograd/parameters.h>

namespace concord::nn::init {

enum class Fan { in, out };

Initializer constant(double value);
inline Initializer zeros() { return constant(0); }
inline Initializer ones() { return constant(1); }
Initializer uniform(double low, double high);
Initializer normal(double mean = 0, double deviation = 1);

/// U(-b, b), b = gain sqrt(3 / fan) (He et al., "Delving deep into rectifiers", ICCV 2015, section
/// 2.2). The gain of a leaky ReLU of slope a is sqrt(2 / (1 + a^2)). PyTorch's default for Linear
/// and Conv2d weights is a = sqrt(5), which gives b = 1 / sqrt(fan_in).
Initializer kaiming_uniform(double a, Fan fan = Fan::in);
/// N(0, gain^2 / fan). torchvision's ResNets take a = 0 and Fan::out.
Initializer kaiming_normal(double a = 0, Fan fan = Fan::in);
/// U(-b, b), b = gain sqrt(6 / (fan_in + fan_out)) (Glorot and Bengio, AISTATS 2010, eq. 16).
Initializer xavier_uniform(double gain = 1);
/// N(0, 2 gain^2 / (fan_in + fan_out)).
Initializer xavier_normal(double gain = 1);

/// gain times a random matrix with orthonormal rows (or columns, whichever are fewer) over [out, in
/// * the rest] (Saxe et al., 1312.6120); the usual start of policy-gradient networks.
Initializer orthogonal(double gain = 1);

/// PyTorch's defaults: weights of Linear and Conv2d, and the bias beside a weight of that fan_in.
Initializer default_weight();
Initializer default_bias(index_t fan_in);

}  // namespace concord::nn::init
