// Looking up by index.
#include <concord/autograd/ops/common.h>

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace concord {

using namespace ops;

Var embedding(const Var& table, const Tensor& index, Loc at) {
  const Tensor& tv = table.value();
  check_float("embedding", "table", tv, at);
  check_rank("embedding", "table", tv, 2, at);
  check_dtype("embedding", "index", index, DType::i64, at);
  const index_t n = index.numel(), entries = tv.dim(0), width = tv.dim(1);
  check_same_device("embedding", "table", tv, "index", index, at);
  check_indices("embedding", "index", index, entries, at);
  Tensor y = Tensor::empty(index.shape().insert(index.rank(), width), tv.dtype(), tv.device());
  on(tv, [&]<class T>(const Kernels<T>& k) {
    k.embedding_forward(n, entries, width, tv.data<T>(), index.data<std::int64_t>(), y.data<T>());
  });
  // All samples share the table; the input that carries the batch is the (constant) index.
  const bool batched = index.rank() > 0;
  const index_t per_sample = batched ? index.shape().span(1, index.rank()) : n;
  return record({"embedding", batched ? 2u : 0u}, {table, index}, std::move(y),
                [n, per_sample, entries, width, index](const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    if (const auto gt = sink.slot<T>(0)) {
                      k.embedding_backward(gy.diagonal() ? per_sample : n, entries, width,
                                           gy.operand<std::int64_t>(index), gy.per_task<T>(), gt);
                    }
                  });
                });
}

Var gather(const Var& x, int axis, const Tensor& index, Loc at) {
  const Tensor& xv = x.value();
  check_float("gather", "input", xv, at);
  const int a = check_axis("gather", xv, axis, at);
  check_dtype("gather", "index", index, DType::i64, at);
  check_rank("gather", "index", index, xv.rank(), at);
  check_shape("gather", "index", index, xv.shape().with(a, index.dim(a)), at);
  check_same_device("gather", "input", xv, "index", index, at);
  check_indices("gather", "index", index, xv.dim(a), at);
  const AxisGeometry g = AxisGeometry::make(xv.shape(), a);
  const index_t picks = index.dim(a);
  Tensor y = Tensor::empty(index.shape(), xv.dtype(), xv.device());
  on(xv, [&]<class T>(const Kernels<T>& k) {
    k.gather_forward(g, picks, xv.data<T>(), index.data<std::int64_t>(), y.data<T>());
  });
  return record({"gather", first_if(a > 0)}, {x}, std::move(y),
                [g, picks, index](const Cotangent& gy, Sink& sink) {
                  on(gy.holder(), [&]<class T>(const Kernels<T>& k) {
                    if (const auto gx = sink.slot<T>(0)) {
                      k.gather_backward(g, picks, index.data<std::int64_t>(), gy.rows<T>(), gx);
                    }
                  });
                });
}

}  // namespace concord
