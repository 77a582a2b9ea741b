// Makes new qcow2 images.
#pragma once

#include <string>

#include "base/result.h"
#include "disk/qcow2/format.h"

namespace doppel::disk::qcow2 {

struct CreateOptions {
  u64 size_bytes = 0;
  u32 version = 3;
  u32 cluster_bits = 16;
  u32 refcount_order = 4;
  bool lazy_refcounts = false;
  bool extended_l2 = false;
  Compression compression = Compression::zlib;
  std::string backing_name, backing_format;  // as they are written; nothing is opened
  std::string data_file;                     // the name of an external data file, which must exist
  bool raw_data_file = false;
};

// What is wrong about the options together, if anything: a usage error.
Result<> check_options(const CreateOptions& options);
// The bytes of the new image; the rest of its last cluster is left out.
Result<std::string> new_image(const CreateOptions& options);

}  // namespace doppel::disk::qcow2
