// Changes of an image as a whole: snapshots, repair, emptying. Everything new is written to clusters that are free before
// and after (tables with right flags, refcounts counted anew from what refers to what); then one write of the header's first
// sector switches. A kill before leaves the image as it was, one after it as it should be: nothing leaks.
//
// Of images that nobody uses meanwhile, opened for writing.
#pragma once

#include <functional>

#include "disk/qcow2/image.h"
#include "disk/qcow2/scan.h"

namespace doppel::disk::qcow2 {

// Makes `next` of the image. Its L1 entries' flags, its tables' places and refcounts are found here; what `next.header` says
// about size and features is taken. `snapshots_changed`: the table of snapshots is written anew.
Result<> transact(Image& image, Structure next, bool snapshots_changed);

// Counts all references anew and takes the dirty and corrupt bits away.
Result<> repair_refcounts(Image& image);
// Forgets all the guest's data, so that the backing file's are seen.
Result<> make_empty(Image& image);

// Internal snapshots; `name` is a name or an id. Refused for an image with errors.
Result<std::vector<Snapshot>> snapshots_of(const Image& image);
Result<> create_snapshot(Image& image, const std::string& name, u64 nanoseconds_since_1970);
Result<> apply_snapshot(Image& image, const std::string& name);
Result<> delete_snapshot(Image& image, const std::string& name);

// Writes the image's header anew with another backing file (none: empty texts): the name to where none is, then the rest.
Result<> change_backing(Image& image, const std::string& name, const std::string& format);

}  // namespace doppel::disk::qcow2
