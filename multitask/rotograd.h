// The rotations of RotoGrad (rotograd.cpp).
#pragma once

#include <concord/autograd/var.h>

namespace concord::multitask {

/// The rotation exp(w - w^T) of a square w [d, d], differentiable: a Taylor polynomial of the
/// matrix divided by a power of two, then squared as often (Moler and Van Loan 2003, method 3).
/// Orthogonal up to rounding; the identity at w = 0. Throws ShapeError unless w is square.
Var rotation_of(const Var& w);

}  // namespace concord::multitask
