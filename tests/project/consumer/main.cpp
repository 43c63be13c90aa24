#include <concord/tensor/random.h>
#include <concord/tensor/tensor.h>

#include <cstdio>

int main() {
  const concord::Tensor values = concord::Tensor::empty({2, 3});
  concord::Rng(7).fork("consumer").fill_uniform(values);
  std::printf("%s\n", concord::to_string(values).c_str());
  return values.numel() == 6 ? 0 : 1;
}
