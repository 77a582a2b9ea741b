#include "engine/translator/translator.h"

#include <algorithm>

#include "base/bits.h"
#include "engine/interpreter/avx/stubs.h"
#include "engine/interpreter/sse/vector.h"
#include "engine/translator/host_signals.h"
#include "engine/translator/translator_vcpu.h"
#include "isa/x86/host_vendor.h"

namespace doppel {
namespace translator {
namespace {

constexpr u64 least_blocks = u64{4} << 20, least_code = u64{128} << 10;

class TranslatorEngine final : public Engine {
 public:
  TranslatorEngine(const TranslatorOptions& options, std::unique_ptr<PerfMap> perf_map)
      : options_(options), decoder_(options.cpu_model), perf_map_(std::move(perf_map)) {}

  std::string_view name() const override { return "translator"; }
  Result<std::unique_ptr<Vcpu>> create_vcpu(const VcpuWiring& wiring) override {
    TRY(interpreter::VectorStubs::check_host());
    const u64 vcpus = std::max(1u, wiring.count);
    const u64 code = std::max(least_code, align_down(options_.translation_cache_bytes / vcpus, page_size));
    auto cache = TRY(CodeCache::create(code, data_bytes(code)));
    return std::make_unique<TranslatorVcpu>(
        wiring, decoder_,
        VcpuSettings{.block_cache_bytes = std::max(least_blocks, options_.block_cache_bytes / vcpus),
                     .repeatable = options_.repeatable,
                     .verify = options_.verify,
                     .counts = options_.repeatable || options_.instruction_counts,
                     .profile = options_.profile,
                     .perf_map = perf_map_.get(),
                     .longest_block = options_.longest_block,
                     .warm_up = options_.warm_up,
                     .pushes_flags = options_.pushes_flags},
        std::move(cache));
  }

 private:
  TranslatorOptions options_;
  x86::Decoder decoder_;
  std::unique_ptr<PerfMap> perf_map_;
};

}  // namespace
}  // namespace translator

bool host_pushes_flags_quickly() { return x86::host_is_intel(); }

Result<std::unique_ptr<Engine>> make_translator(const TranslatorOptions& options) {
  interpreter::install_simd_probe();
  translator::handle_faults();
  std::unique_ptr<translator::PerfMap> perf_map;
  if (options.perf_map) perf_map = TRY(translator::PerfMap::create());
  return std::make_unique<translator::TranslatorEngine>(options, std::move(perf_map));
}

}  // namespace doppel
