// A qcow2 image in use. Start with the ordering rules; then read.cc and write.cc for the ways of a request, commit.cc for
// how metadata reaches the disk, refcounts.cc for how clusters are found and given back.
//
// The ordering rules. A kill at any point leaves at worst clusters that nobody uses and that still count as used ("leaked").
//   1. A cluster's refcount is on the disk before anything on the disk leads to the cluster.
//   2. What a cluster holds (data with what was copied around it, a new table) is on the disk before an entry leads to it.
//   3. A table is on the disk before the table above leads to it: refcount blocks before the refcount table before the
//      header, L2 tables before the L1 table before the header.
//   4. An entry that led to a cluster is gone from the disk before the cluster's refcount falls, and only then, and when every
//      request that may have seen the entry is over, may the cluster be used anew.
//   5. Changes of everything at once (snapshots, repair, emptying) write all they need to clusters that are free before and
//      switch to it by one write of the header's first sector: transaction.h.
// So: refcounts only grow in memory until commit() has the entries on the disk; commit() copies what is dirty and writes it
// in stages with fdatasync between. Between commits all changes are in memory, bounded by the caches; the guest's flush
// commits. With lazy refcounts the dirty bit stands for rule 1 and the image's opener repairs.
//
// Threads: as BlockImage says; everything below is guarded by the strand.
#pragma once

#include <memory>
#include <optional>
#include <set>
#include <string>
#include <unordered_set>
#include <vector>

#include "disk/block_image.h"
#include "disk/host_file.h"
#include "disk/qcow2/format.h"
#include "disk/qcow2/locks.h"
#include "disk/qcow2/table_cache.h"
#include "disk/task.h"

namespace doppel::disk::qcow2 {

class Image final : public BlockImage {
 public:
  enum class Purpose : u8 {
    use,      // a guest or a copy reads and writes it; a dirty image is repaired when it is opened for writing
    inspect,  // its metadata is looked at or repaired: dirty and corrupt images open too
  };
  // Opens and locks the file, and its external data file; not its backing file, which set_backing() gives. The engine must
  // outlive the image.
  static Result<std::unique_ptr<Image>> open(const std::string& path, bool read_only, Purpose purpose, IoEngine& engine);
  ~Image() override;  // writes back what a flush would

  const Header& header() const { return header_; }
  const HostFile& file() const { return file_; }
  BlockImage* backing() const { return backing_.get(); }
  void set_backing(std::unique_ptr<BlockImage> backing) { backing_ = std::move(backing); }
  std::unique_ptr<BlockImage> take_backing() { return std::move(backing_); }
  // Data leave out the host's page cache.
  Result<> use_direct() { return data().use_direct(read_only_); }
  // Brings all metadata to the disk, as closing does: for looking at the file, while nobody uses the image.
  Result<> settle();
  // For transaction.h, of an image that nobody uses meanwhile: the file, and to take note of what was changed in it.
  HostFile& file_for_change() { return file_; }
  Result<> reload();
  const std::string& data_path() const { return data_path_; }  // of the external data file

  const std::string& path() const override { return file_.path(); }
  u64 size_bytes() const override { return align_up(header_.size_bytes, sector_bytes); }
  bool read_only() const override { return read_only_; }
  u32 preferred_bytes() const override { return 4096; }
  void read(u64 offset, std::span<const iovec> buffers, Completion done) override;
  void write(u64 offset, std::span<const iovec> buffers, Completion done) override;
  bool read_at_once(u64 offset, std::span<const iovec> buffers) override;
  bool write_at_once(u64 offset, std::span<const iovec> buffers) override;
  void flush(Completion done) override;
  void discard(u64 offset, u64 bytes, Completion done) override;
  void write_zeroes(u64 offset, u64 bytes, bool may_unmap, Completion done) override;
  void resize(u64 bytes, Completion done) override;
  void drain() override { strand_.engine().drain(); }
  void cancel() override { strand_.engine().cancel(); }
  void state(state::Archive& archive) override;

  // Writes one cluster compressed, if that makes it smaller, else as it is. `bytes` is a whole cluster (less at the disk's
  // end) that was never written; valid until completion.
  void write_compressed(u64 offset, std::span<const u8> bytes, Completion done);

  // A run of guest bytes that are all in one kind of place.
  struct Run {
    Kind kind = Kind::unallocated;
    u64 bytes = 0;
    u64 host = 0;           // data: where it lies in the file
    u64 descriptor = 0;     // compressed
    bool in_place = false;  // data: may be overwritten where it is
  };
  // The run at `offset`, of at most `most` bytes: for looking at an image that nobody uses meanwhile.
  Result<Run> look_up(u64 offset, u64 most);

 private:
  Image(HostFile file, bool read_only, IoEngine& engine);
  Result<> load(Purpose purpose);
  Result<> load_tables();
  Result<> open_data_file();

  HostFile& data() { return data_file_ ? *data_file_ : file_; }
  u64 cluster_bytes() const { return header_.cluster_bytes(); }
  u64 cluster_of(u64 offset) const { return offset >> header_.cluster_bits; }
  u64 in_cluster(u64 offset) const { return offset & (cluster_bytes() - 1); }
  u64 l1_index(u64 offset) const { return offset >> (header_.l2_bits() + header_.cluster_bits); }
  u64 l2_index(u64 offset) const { return cluster_of(offset) & low_bits(header_.l2_bits()); }
  u64 entry_place(u64 offset) const;           // in the file, of the L2 entry; its table exists
  u64 entries_left_in_page(u64 offset) const;  // from the entry of `offset` on
  const u8* entry_in(const u8* page, u64 offset) const;
  u8* entry_in(u8* page, u64 offset) const;
  bool backing_has(u64 offset) const { return backing_ != nullptr && offset < backing_->size_bytes(); }
  // A flaw in the image's metadata: noted once, and nothing is written any more. EIO.
  int broken(const std::string& what);

  Detached request(Task work, Completion done);
  int check_request(u64 offset, u64 bytes, bool writing) const;

  // read.cc
  Task locate(u64 offset, u64 most, Run& run);
  Run run_in_page(const u8* page, u64 offset, u64 most) const;
  bool fast_run(u64 offset, u64 bytes, Run& run);
  struct Direct {
    IoRequest request;
    u64 ticket = 0;
  };
  std::optional<Direct> begin_direct(IoRequest::Kind kind, u64 offset, std::span<const iovec> buffers);
  void end_direct(u64 ticket);
  bool transfer_at_once(IoRequest::Kind kind, u64 offset, std::span<const iovec> buffers);
  bool submit_directly(IoRequest::Kind kind, u64 offset, std::span<const iovec> buffers, Completion& done);
  Task read_task(u64 offset, std::span<const iovec> buffers);
  Task read_inside(u64 offset, std::span<const iovec> buffers);  // also beyond the disk's size, to the cluster's end
  Task read_compressed(u64 descriptor, u64 within, std::span<const iovec> buffers);
  Task reads_zero(u64 offset, u64 bytes, bool& zero);

  // write.cc
  Task begin_writing();
  Task write_task(u64 offset, std::span<const iovec> buffers);
  Task write_inside(u64 offset, std::span<const iovec> buffers);
  bool touches_metadata(const Run& run) const;
  Task write_allocating(u64 offset, std::span<const iovec> buffers, u64& written);
  struct Placement;
  Task place(u64 offset, u64 bytes, Placement& placement);
  Task write_around(const Placement& placement, u64 offset, std::span<const iovec> buffers);
  Task link(const Placement& placement);
  Task own_table(u64 l1_index);
  Task copy_table(u64 from, u64 to);
  void give_up(L2Entry old);
  Task write_compressed_task(u64 offset, std::span<const u8> bytes);
  Task place_compressed(u64 bytes, u64& offset);

  // discard.cc
  enum class Zeroing : u8 {
    discard,
    zeroes,
    zeroes_kept,
    cut
  };  // kept: with their clusters; cut: beyond the disk's end
  Task discard_task(u64 offset, u64 bytes);
  Task zeroes_task(u64 offset, u64 bytes, bool may_unmap);
  Task zero_range(u64 offset, u64 end, Zeroing mode);
  Task zero_part(u64 offset, u64 end, Zeroing mode);
  Task write_zero_data(u64 offset, u64 bytes);
  Task zero_clusters(u64 offset, u64 end, Zeroing mode);
  L2Entry zeroed(u64 offset, L2Entry old, Zeroing mode) const;
  Task zero_in_page(u64 offset, u64 clusters, Zeroing mode);
  Task zero_subclusters(u64 offset, u64 bytes, Zeroing mode);
  Task zero_data_file(u64 offset, u64 bytes, bool may_unmap);

  // resize.cc
  Task resize_task(u64 bytes);
  Task grow_l1(u64 bytes);

  // refcounts.cc
  Task allocate(u64 wanted, bool exactly, u64& first, u64& got);
  Task allocate_locked(u64 wanted, bool exactly, u64& first, u64& got);
  Task find_free(u64 wanted, bool exactly, u64& first, u64& got);
  Task add_refcount_block(u64 index);
  Task grow_refcount_table(u64 index);
  Task refcount_page(u64 cluster, u8*& bytes);
  Task change_refcount(u64 cluster, i64 by, u64& now);
  u64 index_in_page(u64 cluster) const;
  u64 refcounts_in_page() const { return refcount_cache_.page_bytes() * 8 / header_.refcount_bits(); }
  void release_later(u64 cluster);
  struct Freed {
    u64 cluster;
    u64 ticket;  // may be used anew when all requests before are over
  };
  Task release(std::vector<Freed> freed);

  // commit.cc
  struct Batch;
  Task flush_task();
  Task make_room();
  Task commit(bool closing);
  Batch take_batch(bool closing);
  Task write_batch(Batch& batch);
  void give_back(Batch& batch);
  Task write_pages(const std::vector<TableCache::Copy>& pages);
  Task write_entries(u64 table, const std::vector<std::pair<u64, u64>>& entries);
  Task write_header();
  Task sync();

  HostFile file_;
  std::optional<HostFile> data_file_;
  std::string data_path_;
  const bool read_only_;
  bool broken_ = false;
  bool prepared_ = false;  // begin_writing() has run
  Header header_;
  std::unique_ptr<BlockImage> backing_;

  Strand strand_;
  AsyncMutex preparing_, allocating_, tables_, committing_;  // taken in the order: committing, tables, allocating
  RangeLocks ranges_;
  UnderWay under_way_;

  std::vector<u64> l1_;              // as on disk, with flags
  std::vector<u64> refcount_table_;  // offsets of blocks
  std::set<u64> l1_dirty_, refcount_table_dirty_;
  std::optional<std::vector<u64>> refcount_table_moved_;  // its new clusters, which are in no header yet
  TableCache l2_cache_, refcount_cache_;

  std::unordered_set<u64> metadata_;             // clusters of the header and of all tables: no data is written to them
  u64 search_from_ = 0;                          // no cluster before is free
  u64 untouched_from_ = 0;                       // the file's clusters from here on are holes
  u64 compressed_at_ = 0, compressed_left_ = 0;  // the rest of the last cluster that holds compressed data
  std::vector<Freed> freed_;                     // given up, not yet on the disk
  std::vector<Freed> unreleased_;                // given up on the disk, but requests were under way
  u64 flushes_asked_ = 0, flushes_done_ = 0;

  u64 inflated_descriptor_ = 0;  // of the compressed cluster that was read last
  std::vector<u8> inflated_;
};

// Sees through BlockImage: the image if it is qcow2, else nullptr.
Image* as_qcow2(BlockImage* image);

}  // namespace doppel::disk::qcow2
