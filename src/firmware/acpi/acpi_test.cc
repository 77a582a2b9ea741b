// Every table found by walking from the RSDP, lengths and checksums right; iasl takes them all apart without complaint, and
// puts the DSDT together again without error or warning; acpiexec runs its methods.
#include "firmware/acpi/tables.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <fstream>
#include <map>

#include "firmware/acpi/aml.h"
#include "firmware/bytes.h"

namespace doppel::firmware::acpi {
namespace {

using ::testing::HasSubstr;
using ::testing::Not;

Parameters parameters(unsigned cpus) {
  return {.base = 0xe0000,
          .cpus = cpus,
          .pm1a_event = 0x600,
          .pm1a_control = 0x604,
          .pm_timer = 0x608,
          .gpe0 = 0x60c,
          .memory_window = {0xc000'0000, 0xfec0'0000},
          .high_memory_window = {u64{1} << 36, u64{1} << 37},
          .fw_cfg = true,
          .other_ports = {{0x600, 64}}};
}

// Follows the addresses as an operating system does.
std::map<std::string, std::vector<u8>> walk(const Parameters& of) {
  const std::vector<u8> block = build_tables(of);
  const auto at = [&](u64 address) {
    const auto rest = std::span(block).subspan(address - of.base);
    return rest.first(load<u32>(rest, 4));
  };
  const auto name = [](std::span<const u8> table) { return std::string(table.begin(), table.begin() + 4); };
  std::map<std::string, std::vector<u8>> tables;
  const auto keep = [&](std::span<const u8> table) { tables[name(table)] = {table.begin(), table.end()}; };
  const u64 rsdt = load<u32>(block, 16), xsdt = load<u64>(block, 24);
  keep(at(rsdt));
  keep(at(xsdt));
  for (u64 i = 36; i < at(xsdt).size(); i += 8) {
    keep(at(load<u64>(at(xsdt), i)));
    EXPECT_EQ(load<u64>(at(xsdt), i), load<u32>(at(rsdt), 36 + (i - 36) / 2)) << "both lists are one";
  }
  const auto fadt = tables.at("FACP");
  EXPECT_EQ(load<u32>(fadt, 36) % 64, 0u) << "the FACS is aligned";
  EXPECT_EQ(load<u32>(fadt, 40), load<u64>(fadt, 140)) << "both DSDT fields";
  keep(at(load<u32>(fadt, 40)));
  keep(at(load<u32>(fadt, 36)));
  return tables;
}

TEST(AcpiTables, AreWhole) {
  const auto block = build_tables(parameters(8));
  EXPECT_LE(block.size(), 0x10000u);
  EXPECT_EQ(std::string(block.begin(), block.begin() + 8), "RSD PTR ");
  EXPECT_EQ(checksum(std::span(block).first(20)), 0);
  EXPECT_EQ(checksum(std::span(block).first(36)), 0);
  const auto tables = walk(parameters(8));
  ASSERT_EQ(tables.size(), 7u);
  for (const auto& [name, table] : tables) {
    EXPECT_TRUE(name == "FACS" || checksum(table) == 0) << name;
  }
  EXPECT_EQ(tables.at("APIC").size(), 44 + 8 * 8 + 12 + 2 * 10 + 6u);
  Parameters without_hpet = parameters(1);
  without_hpet.hpet = 0;
  EXPECT_FALSE(walk(without_hpet).contains("HPET"));
}

// Runs a program of acpica-tools; its output.
std::string run(const std::string& command) {
  std::string output;
  FILE* pipe = ::popen((command + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return "cannot run";
  for (int c; (c = std::fgetc(pipe)) != EOF;) output.push_back(static_cast<char>(c));
  const int status = ::pclose(pipe);
  return output + "\nstatus " + std::to_string(status);
}

struct Acpica : ::testing::Test {
  std::filesystem::path folder;
  void SetUp() override {
    if (std::system("command -v iasl acpiexec >/dev/null 2>&1") != 0) GTEST_SKIP() << "acpica-tools is not installed";
    std::string pattern = ::testing::TempDir() + "doppel-acpi-XXXXXX";
    ASSERT_NE(::mkdtemp(pattern.data()), nullptr);
    folder = pattern;
    for (const auto& [name, table] : walk(parameters(8))) {
      std::ofstream(folder / (name + ".aml"), std::ios::binary)
          .write(reinterpret_cast<const char*>(table.data()), static_cast<std::streamsize>(table.size()));
    }
  }
  void TearDown() override {
    if (!folder.empty()) std::filesystem::remove_all(folder);
  }
  std::string iasl(const std::string& arguments) { return run("cd " + folder.string() + " && iasl " + arguments); }
};

TEST_F(Acpica, TakesTheTablesApartAndPutsThemTogether) {
  for (const std::string name : {"DSDT", "FACP", "APIC", "HPET", "FACS", "RSDT", "XSDT"}) {
    const std::string apart = iasl("-d " + name + ".aml");
    EXPECT_THAT(apart, HasSubstr("status 0")) << name;
    EXPECT_THAT(apart, Not(HasSubstr("rror"))) << name;
    EXPECT_THAT(apart, Not(HasSubstr("arning"))) << name;
    const std::string together = iasl(name + ".dsl");
    EXPECT_THAT(together, HasSubstr("0 Errors, 0 Warnings")) << name;
  }
}

// acpiexec's registers read as zero until they are written: the PIRQs start out routed to interrupt 0.
TEST_F(Acpica, RunsTheMethods) {
  const std::string output = run(
      "cd " + folder.string() +
      R"( && acpiexec -b ')"
      R"(evaluate \_SB.LNKB._STA; evaluate \_SB.LNKB._DIS; evaluate \_SB.LNKB._STA; evaluate \_SB.LNKB._CRS;)"
      R"(evaluate \_PIC 1; evaluate \_SB.PCI0._PRT; resources \_SB.LNKC; evaluate \_S5' DSDT.aml)");
  auto after = [&, at = std::size_t{0}](const char* expected) mutable {
    const auto found = output.find(expected, at);
    EXPECT_NE(found, std::string::npos) << expected << "\nin order in\n" << output;
    if (found != std::string::npos) at = found;
  };
  after("[Integer] = 000000000000000B");
  after("[Integer] = 0000000000000009");
  after("89 06 00 0D 01 00 00 00 00");  // level, active low, shared; no interrupt
  after("[Integer] = 000000000001FFFF");
  after("[Integer] = 0000000000000013");
  after("Polarity : ActiveLow");
  after("[Package]");
  EXPECT_THAT(output, Not(HasSubstr("failed")));
}

void check(const aml::Term& term, std::initializer_list<int> expected) {
  EXPECT_EQ(term, std::vector<u8>(expected.begin(), expected.end()));
}

// Encodings from the grammar of ACPI 6.5 §20.2.
TEST(Aml, Terms) {
  check(aml::integer(0), {0x00});
  check(aml::integer(1), {0x01});
  check(aml::integer(0xff), {0x0a, 0xff});
  check(aml::integer(0x100), {0x0b, 0x00, 0x01});
  check(aml::integer(0x1'0000), {0x0c, 0, 0, 1, 0});
  check(aml::integer(u64{1} << 32), {0x0e, 0, 0, 0, 0, 1, 0, 0, 0});
  check(aml::eisa_id("PNP0A03"), {0x0c, 0x41, 0xd0, 0x0a, 0x03});
  check(aml::path("\\_SB"), {'\\', '_', 'S', 'B', '_'});
  check(aml::path("^A.B"), {'^', 0x2e, 'A', '_', '_', '_', 'B', '_', '_', '_'});
  check(aml::name("A", aml::integer(1)), {0x08, 'A', '_', '_', '_', 1});
  check(aml::package({aml::integer(0), aml::integer(1)}), {0x12, 4, 2, 0, 1});
  check(aml::method("M", 2, aml::return_(aml::arg(1))), {0x14, 8, 'M', '_', '_', '_', 2, 0xa4, 0x69});
  check(aml::resource_template({}), {0x11, 5, 0x0a, 2, 0x79, 0});
  check(aml::irq_no_flags(9), {0x22, 0x00, 0x02});
  EXPECT_EQ(aml::scope("A", std::vector<u8>(58)).at(1), 0x3f) << "the longest of one byte";
  const auto longer = aml::scope("A", std::vector<u8>(59));
  EXPECT_EQ(longer.at(1), 0x40 | (65 & 0xf));
  EXPECT_EQ(longer.at(2), 65 >> 4);
  EXPECT_EQ(aml::scope("A", std::vector<u8>(5000)).at(1) >> 6, 2);
}

}  // namespace
}  // namespace doppel::firmware::acpi
