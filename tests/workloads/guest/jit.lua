-- Small workloads for a compiler at run time: prints a line of results for each. Equal everywhere, whatever the machine.
local bit = require("bit")
local util = require("jit.util")

local function digest(text)
  local a, b = 1, 0
  for i = 1, #text do
    a = (a + text:byte(i)) % 65521
    b = (b + a) % 65521
  end
  return string.format("%04x%04x of %d", b, a, #text)
end

local function generator(seed)
  return function(limit)
    seed = bit.bxor(seed, bit.lshift(seed, 13))
    seed = bit.bxor(seed, bit.rshift(seed, 17))
    seed = bit.bxor(seed, bit.lshift(seed, 5))
    return seed % limit
  end
end

local function matrices()
  local n, random = 120, generator(1)
  local function matrix()
    local rows = {}
    for i = 1, n do
      rows[i] = {}
      for j = 1, n do rows[i][j] = random(2000) / 7 - 100 end
    end
    return rows
  end
  local a, b, c = matrix(), matrix(), {}
  for i = 1, n do
    c[i] = {}
    for j = 1, n do
      local sum = 0
      for k = 1, n do sum = sum + a[i][k] * b[k][j] end
      c[i][j] = sum
    end
  end
  local text = {}
  for i = 1, n do text[i] = string.format("%.17g", c[i][n + 1 - i]) end
  return digest(table.concat(text, " "))
end

local function queens()
  local function solutions(n, row, columns, rising, falling)
    if row == n then return 1 end
    local count = 0
    for column = 0, n - 1 do
      local up, down = row + column, row - column + n
      if not (columns[column] or rising[up] or falling[down]) then
        columns[column], rising[up], falling[down] = true, true, true
        count = count + solutions(n, row + 1, columns, rising, falling)
        columns[column], rising[up], falling[down] = nil, nil, nil
      end
    end
    return count
  end
  local found = {}
  for n = 4, 9 do found[#found + 1] = solutions(n, 0, {}, {}, {}) end
  return table.concat(found, " ")
end

local function strings()
  local random, words = generator(2), {}
  for i = 1, 20000 do words[i] = string.format("%s-%d", ("abcdefghij"):sub(1 + random(9), 10):upper(), random(1000)) end
  local text = table.concat(words, " ")
  local count = 0
  local changed = text:gsub("(%u+)-(%d+)", function(letters, digits)
    count = count + #digits
    return digits .. letters:lower():reverse()
  end)
  return digest(text) .. ", " .. digest(changed) .. ", " .. count
end

local function tables()
  local random, live, sum = generator(3), {}, 0
  for i = 1, 300000 do
    local key = random(4096)
    local old = live[key]
    if old then sum = (sum + old.value * old.names[1]) % 1000000007 end
    live[key] = { value = i, names = { random(100), key } }
    if i % 3 == 0 then live[random(4096)] = nil end
  end
  local keys = {}
  for key in pairs(live) do keys[#keys + 1] = key end
  table.sort(keys, function(left, right) return live[left].value < live[right].value end)
  return sum .. " " .. #keys .. " " .. keys[1] .. " " .. keys[#keys]
end

-- Code that is compiled, thrown away and compiled again, at addresses that held other code.
local function compiled_again()
  local sum = 0
  for round = 1, 60 do
    local f = assert(loadstring(string.format("local n = ... local s = 0 for i = 1, n do s = s + i %% %d end return s", round + 1)))
    sum = sum + f(2000)
    if round % 20 == 0 then jit.flush() end
  end
  return tostring(sum)
end

local compiled = false
for _, workload in ipairs({
  { "matrices", matrices },
  { "queens", queens },
  { "strings", strings },
  { "tables", tables },
  { "compiled again", compiled_again },
}) do
  print("luajit " .. workload[1] .. ": " .. workload[2]())
  compiled = compiled or util.traceinfo(1) ~= nil
end
-- Without a compiler this would all be beside the point.
print("luajit compiles: " .. (jit.status() and compiled and "yes" or "WRONG"))
