// The factories behind the registry, one per file of this folder. Use registry.h.
#pragma once

#include <concord/multitask/aggregator.h>
#include <concord/multitask/options.h>

#include <memory>

namespace concord::multitask {

using AggregatorPtr = std::unique_ptr<Aggregator>;

AggregatorPtr make_single(Options& options);
AggregatorPtr make_equal(Options& options);
AggregatorPtr make_sum(Options& options);
AggregatorPtr make_mean(Options& options);
AggregatorPtr make_constant(Options& options);
AggregatorPtr make_cosine_gate(Options& options);
AggregatorPtr make_pcgrad(Options& options);
AggregatorPtr make_mgda(Options& options);
AggregatorPtr make_cagrad(Options& options);
AggregatorPtr make_cagrad_fast(Options& options);
AggregatorPtr make_upgrad(Options& options);
AggregatorPtr make_dualproj(Options& options);
AggregatorPtr make_imtl_g(Options& options);
AggregatorPtr make_nash_mtl(Options& options);
AggregatorPtr make_fairgrad(Options& options);
AggregatorPtr make_aligned_mtl(Options& options);
AggregatorPtr make_config(Options& options);
AggregatorPtr make_gradvac(Options& options);
AggregatorPtr make_krum(Options& options);
AggregatorPtr make_pcd(Options& options);
AggregatorPtr make_cr_mogm(Options& options);
AggregatorPtr make_graddrop(Options& options);
AggregatorPtr make_trimmed_mean(Options& options);
AggregatorPtr make_moco(Options& options);
AggregatorPtr make_db_mtl(Options& options);
AggregatorPtr make_m_config(Options& options);

AggregatorPtr make_rlw(Options& options);
AggregatorPtr make_si(Options& options);
AggregatorPtr make_gls(Options& options);
AggregatorPtr make_dwa(Options& options);
AggregatorPtr make_uw(Options& options);
AggregatorPtr make_imtl_l(Options& options);
AggregatorPtr make_stch(Options& options);
AggregatorPtr make_cosmos(Options& options);
AggregatorPtr make_pbi(Options& options);
AggregatorPtr make_gradnorm(Options& options);
AggregatorPtr make_excess_mtl(Options& options);
AggregatorPtr make_famo(Options& options);

}  // namespace concord::multitask
