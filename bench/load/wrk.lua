-- Arguments: a file with the bytes to write at once. Prints one line of numbers.
local bytes
function init(args)
  local file = assert(io.open(args[1], "rb"))
  bytes = file:read("*a")
  file:close()
end
function request() return bytes end
function done(summary, latency)
  local e = summary.errors
  print(("load: %d %d %d %d %d %d"):format(summary.requests, summary.bytes, summary.duration,
    e.connect + e.read + e.write + e.status + e.timeout, latency:percentile(50), latency:percentile(99)))
end
