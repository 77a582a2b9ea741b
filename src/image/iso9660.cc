// See iso9660.h.
//
//   sector 0–15  unused      16 primary descriptor   17 Joliet descriptor   18 terminator
//   19, 20  path tables of the primary tree (little, big endian)    21, 22  those of the Joliet tree
//   23 … the primary folder, the Joliet folder, then the files' contents
#include "image/iso9660.h"

#include <algorithm>
#include <cctype>
#include <cstring>
#include <numeric>
#include <string_view>

#include "base/check.h"

namespace doppel::image {

namespace {

constexpr std::size_t sector = 2048;
constexpr u32 primary = 16, joliet = 17, terminator = 18, first_path_table = 19, first_folder = 23;
constexpr u32 path_table_bytes = 10;

using Bytes = std::vector<u8>;

u32 sectors_for(std::size_t bytes) { return static_cast<u32>((bytes + sector - 1) / sector); }

void put16(u8* at, u16 value, bool big) {
  at[big ? 1 : 0] = static_cast<u8>(value);
  at[big ? 0 : 1] = static_cast<u8>(value >> 8);
}
void put32(u8* at, u32 value, bool big) {
  put16(at + (big ? 2 : 0), static_cast<u16>(value), big);
  put16(at + (big ? 0 : 2), static_cast<u16>(value >> 16), big);
}
// Both-endian numbers (§7.2.3, §7.3.3).
void both16(u8* at, u16 value) {
  put16(at, value, false);
  put16(at + 2, value, true);
}
void both32(u8* at, u32 value) {
  put32(at, value, false);
  put32(at + 4, value, true);
}

// A text padded with spaces; as UCS-2, big endian, for Joliet.
void put_text(u8* at, std::size_t bytes, std::string_view text, bool wide) {
  const std::size_t unit = wide ? 2 : 1;
  for (std::size_t i = 0; i + unit <= bytes; i += unit) {
    if (wide) at[i] = 0;
    at[i + unit - 1] = static_cast<u8>(i / unit < text.size() ? text[i / unit] : ' ');
  }
}

std::string wide(std::string_view text) {
  std::string result;
  for (const char c : text) {
    result += '\0';
    result += c;
  }
  return result;
}

// Level 1: eight characters and three, of A–Z, 0–9 and _. The number keeps names apart.
std::string short_name(const std::string& name, std::size_t number) {
  std::string result;
  for (const char c : name.substr(0, name.find('.')).substr(0, 6)) {
    result += std::isalnum(static_cast<unsigned char>(c)) != 0
                  ? static_cast<char>(std::toupper(static_cast<unsigned char>(c)))
                  : '_';
  }
  result += static_cast<char>('0' + number / 10 % 10);
  result += static_cast<char>('0' + number % 10);
  return result + ".;1";
}

// §9.1. The date stays 1980-01-01, so that equal files make equal images.
Bytes record(std::string_view name, u32 at, u32 bytes, bool folder) {
  Bytes entry(33 + name.size() + (name.size() % 2 == 0 ? 1 : 0));
  entry[0] = static_cast<u8>(entry.size());
  both32(&entry[2], at);
  both32(&entry[10], bytes);
  entry[18] = 80;
  entry[19] = entry[20] = 1;
  entry[25] = folder ? 2 : 0;
  both16(&entry[28], 1);
  entry[32] = static_cast<u8>(name.size());
  std::memcpy(&entry[33], name.data(), name.size());
  return entry;
}

// §6.8.1.1: a record does not cross a sector's end.
void append(Bytes& folder, const Bytes& entry) {
  if (folder.size() % sector + entry.size() > sector) folder.resize(sectors_for(folder.size()) * sector);
  folder.insert(folder.end(), entry.begin(), entry.end());
}

// In a folder, names rise (§9.3). `places[i]` is where the contents of file i begin.
Bytes make_folder(const std::vector<std::string>& names, const std::vector<IsoFile>& files,
                  const std::vector<u32>& places, u32 at, u32 bytes) {
  Bytes folder;
  append(folder, record(std::string_view("\0", 1), at, bytes, true));
  append(folder, record("\1", at, bytes, true));
  std::vector<std::size_t> order(names.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::ranges::sort(order, {}, [&](std::size_t i) { return names[i]; });
  for (const std::size_t i : order)
    append(folder, record(names[i], places[i], static_cast<u32>(files[i].contents.size()), false));
  return folder;
}

void put_path_tables(Bytes& image, u32 first, u32 folder) {
  for (const bool big : {false, true}) {
    u8* table = &image[(first + (big ? 1 : 0)) * sector];
    table[0] = 1;
    put32(table + 2, folder, big);
    put16(table + 6, 1, big);
  }
}

// §8.4 and, for Joliet, §8.5.
void put_descriptor(Bytes& image, u32 at, const std::string& label, u32 path_tables, u32 folder, u32 folder_bytes) {
  u8* descriptor = &image[at * sector];
  const bool is_joliet = at == joliet;
  descriptor[0] = is_joliet ? 2 : 1;
  std::memcpy(descriptor + 1, "CD001", 5);
  descriptor[6] = 1;
  put_text(descriptor + 8, 32, "", is_joliet);
  put_text(descriptor + 40, 32, label, is_joliet);
  both32(descriptor + 80, static_cast<u32>(image.size() / sector));
  if (is_joliet) std::memcpy(descriptor + 88, "%/E", 3);  // UCS-2 level 3
  both16(descriptor + 120, 1);
  both16(descriptor + 124, 1);
  both16(descriptor + 128, sector);
  both32(descriptor + 132, path_table_bytes);
  put32(descriptor + 140, path_tables, false);
  put32(descriptor + 148, path_tables + 1, true);
  const Bytes root = record(std::string_view("\0", 1), folder, folder_bytes, true);
  std::memcpy(descriptor + 156, root.data(), root.size());
  put_text(descriptor + 190, 813 - 190, "", is_joliet);
  for (const unsigned date : {813u, 830u, 847u, 864u}) std::memset(descriptor + date, '0', 16);
  descriptor[881] = 1;
}

}  // namespace

std::vector<u8> make_iso(const std::string& label, const std::vector<IsoFile>& files) {
  CHECK(label.size() <= 16 && files.size() <= 99);
  std::vector<std::string> short_names, long_names;
  for (std::size_t i = 0; i < files.size(); ++i) {
    short_names.push_back(short_name(files[i].name, i));
    long_names.push_back(wide(files[i].name));
  }
  // Folders first with contents anywhere, to know how large they are.
  std::vector<u32> places(files.size());
  const u32 short_sectors = sectors_for(make_folder(short_names, files, places, 0, 0).size());
  const u32 long_sectors = sectors_for(make_folder(long_names, files, places, 0, 0).size());
  const u32 long_folder = first_folder + short_sectors;
  u32 next = long_folder + long_sectors;
  for (std::size_t i = 0; i < files.size(); ++i) {
    places[i] = next;
    next += sectors_for(files[i].contents.size());
  }
  Bytes image(std::size_t{next} * sector);
  const u32 short_bytes = short_sectors * sector, long_bytes = long_sectors * sector;
  put_descriptor(image, primary, label, first_path_table, first_folder, short_bytes);
  put_descriptor(image, joliet, label, first_path_table + 2, long_folder, long_bytes);
  image[terminator * sector] = 255;
  std::memcpy(&image[terminator * sector + 1], "CD001\1", 6);
  put_path_tables(image, first_path_table, first_folder);
  put_path_tables(image, first_path_table + 2, long_folder);
  const auto put = [&](u32 at, const auto& bytes) {
    std::memcpy(image.data() + at * sector, bytes.data(), bytes.size());
  };
  put(first_folder, make_folder(short_names, files, places, first_folder, short_bytes));
  put(long_folder, make_folder(long_names, files, places, long_folder, long_bytes));
  for (std::size_t i = 0; i < files.size(); ++i) put(places[i], files[i].contents);
  return image;
}

}  // namespace doppel::image
