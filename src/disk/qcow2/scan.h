// Counting who refers to which cluster, from the tables alone, and comparing that with the refcounts on disk: checking.
// Of images that nobody uses meanwhile.
#pragma once

#include <array>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "disk/host_file.h"
#include "disk/qcow2/format.h"
#include "disk/qcow2/snapshot_table.h"

namespace doppel::disk::qcow2 {

class Image;

// A number for each cluster of a file, most of them 0 and without memory.
class ClusterCounts {
 public:
  u32 get(u64 cluster) const;
  // False: more memory than one check may have (1 GiB).
  [[nodiscard]] bool add(u64 cluster, u32 count);
  void subtract(u64 cluster, u32 count);
  u64 end() const { return end_; }  // no cluster from here on has a number

  // Calls with (cluster, count) for each that is not 0, in no order.
  template <class Visit>
  void for_each(Visit visit) const {
    for (const auto& [page, counts] : pages_) {
      for (u64 i = 0; i < page_clusters; ++i) {
        if ((*counts)[i] != 0) visit(page * page_clusters + i, (*counts)[i]);
      }
    }
  }

 private:
  static constexpr u64 page_clusters = 4096, max_pages = 65536;
  using Page = std::array<u32, page_clusters>;
  std::unordered_map<u64, std::unique_ptr<Page>> pages_;
  u64 end_ = 0;
};

// All that leads to clusters, but for the refcounts themselves.
struct Structure {
  Header header;
  std::vector<u64> l1;
  std::vector<Snapshot> snapshots;
};

struct Findings {
  u64 corruptions = 0;     // what counts less than it is used, leads nowhere, or contradicts itself
  u64 leaks = 0;           // clusters that count more than they are used: only space is lost
  u64 not_repairable = 0;  // corruptions that counting anew does not mend
  u64 data_clusters = 0, compressed_clusters = 0, image_end_bytes = 0;
  std::vector<std::string> lines;  // the first of what was found

  void corruption(std::string line, bool repairable = true);
  void leak(std::string line);
  bool clean() const { return corruptions == 0 && leaks == 0; }

 private:
  void note(std::string line);
};

// Adds what the structure refers to. `refcounts_too`: also the refcount table and its blocks.
Result<> count_references(const HostFile& file, const Structure& structure, bool refcounts_too, ClusterCounts& counts,
                          Findings& findings);
// The refcounts on disk.
Result<> read_refcounts(const HostFile& file, const Header& header, ClusterCounts& stored, Findings& findings);

// As the image has it on disk.
Result<Structure> structure_of(const Image& image);

// Checks an image that was opened to be inspected, or flushed. Errors only when it cannot be read.
Result<Findings> check(Image& image);

}  // namespace doppel::disk::qcow2
