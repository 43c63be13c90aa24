#include <concord/autograd/gradcheck.h>
#include <concord/autograd/ops.h>
#include <concord/tests/testing.h>

#include <doctest/doctest.h>

using namespace concord;
using concord::testing::error_text;

namespace {

/// x² with a derivative that is wrong for one element.
Var wrong_square(const Var& x) {
  Tensor y = square(x).value();
  return record({"wrong_square"}, {x}, y, [x = x.value()](const Cotangent& gy, Sink& sink) {
    if (const auto gx = sink.slot<double>(0)) {
      for (index_t i = 0; i < x.numel(); ++i) {
        gx[0][i] = gy.rows<double>()[0][i] * (i == 4 ? 2.01 : 2) * x.data<double>()[i];
      }
    }
  });
}

const Tensor kInput = Tensor::from<double>({0.5, -1, 2, 0.25, 3, -0.75}, {2, 3});

}  // namespace

TEST_CASE("gradcheck passes what is right and says how much it looked at") {
  const GradcheckResult r = gradcheck([](std::span<const Var> v) { return v[0] * exp(v[1]); },
                                      std::vector<Tensor>{kInput, kInput.clone()});
  CHECK(r.ok);
  CHECK(r.checked == 13);  // 6 + 6 elements and a random direction
  CHECK(r.wrong == 0);
  CHECK(r.worst < 1e-7);
}

TEST_CASE("gradcheck names the element that is wrong") {
  const auto f = [](std::span<const Var> v) { return wrong_square(v[0]); };
  const GradcheckResult r = gradcheck(f, std::vector<Tensor>{kInput});
  CHECK_FALSE(r.ok);
  CHECK(r.wrong == 2);  // the element and the direction
  CHECK(r.message.find("gradcheck: 2 of 7 elements differ by more than 1e-06; worst: ") == 0);
  GradcheckOptions elements_only;
  elements_only.tolerance = 1e-3;
  const std::string text = gradcheck(f, std::vector<Tensor>{kInput}, elements_only).message;
  CHECK(text.find("input 0 at [1,1]: analytic ") != std::string::npos);
}

TEST_CASE("gradcheck of a large input samples; the random direction still finds a lone error") {
  GradcheckOptions few;
  few.most = 1;
  few.rng = Rng(1);
  const GradcheckResult r = gradcheck([](std::span<const Var> v) { return wrong_square(v[0]); },
                                      std::vector<Tensor>{kInput}, few);
  CHECK(r.checked == 2);
  CHECK_FALSE(r.ok);
}

TEST_CASE("gradcheck of parameters leaves values and buffers as they were") {
  ParameterStore store;
  const Initializer normal = [](const Tensor& t, const Rng& rng) { rng.fill_normal(t); };
  const SliceId w = store.add("w", {4, 3}, normal), scale = store.add("scale", {4}, normal);
  const SliceId frozen = store.add("frozen", {4}, normal);
  store.slice(frozen).frozen = true;
  const BufferId mean = store.add_buffer("mean", {4}, 0), var = store.add_buffer("var", {4}, 1);
  const Theta theta(store, DType::f64);
  theta.initialize(Rng(2));
  const Tensor values = theta.values().clone(), buffers = theta.buffers().clone();
  Tensor x = Tensor::empty({5, 3}, DType::f64);
  Rng(3).fill_normal(x);

  const auto net = [&](const Context& ctx) {
    const Var h = linear(x, ctx.parameter(w));
    return batch_norm(h, ctx.parameter(scale), ctx.parameter(frozen), ctx.buffer(mean),
                      ctx.buffer(var), ctx.training);
  };
  for (const bool training : {true, false}) {
    const GradcheckResult r = gradcheck(net, theta, {.training = training});
    CHECK_MESSAGE(r.ok, r.message);
    CHECK(r.checked == 17);
  }
  for (index_t i = 0; i < values.numel(); ++i) CHECK(theta.values().at({i}) == values.at({i}));
  for (index_t i = 0; i < buffers.numel(); ++i) CHECK(theta.buffers().at({i}) == buffers.at({i}));
}

TEST_CASE("gradcheck needs f64") {
  CHECK(error_text<DTypeError>([&] {
          gradcheck([](std::span<const Var> v) { return v[0]; },
                    std::vector<Tensor>{Tensor::zeros({2})});
        }) ==
        "gradcheck: input 0 has elements of type f32, needs f64\n"
        "  input 0  f32[2]  cpu");
}
