-- Sends one prepared JSON-RPC request again and again with wrk, each time under a new id.
-- The argument after "--" is a folder with the request's bytes before the id (first), those after it (last)
-- and what every right answer holds (wanted). The id always has nine digits, so the length stays.
-- With BENCH_CHECK set every answer's status and body are checked; without it wrk counts statuses only.

local first, last, wanted
local next_id = 100000000
local threads = {}

local function read(path)
  local file = assert(io.open(path, "rb"))
  local bytes = file:read("*a")
  file:close()
  return bytes
end

function setup(thread)
  table.insert(threads, thread)
end

function init(args)
  first, last, wanted = read(args[1] .. "/first"), read(args[1] .. "/last"), read(args[1] .. "/wanted")
  wrong_answers = 0 -- global: done() reads it from the thread
end

function request()
  next_id = next_id + 1
  return first .. next_id .. last
end

if os.getenv("BENCH_CHECK") then
  function response(status, _, body)
    if status ~= 200 or not string.find(body, wanted, 1, true) then
      wrong_answers = wrong_answers + 1
    end
  end
end

function done(summary, latency, _)
  local wrong = 0
  for _, thread in ipairs(threads) do
    wrong = wrong + thread:get("wrong_answers")
  end
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50_ms": %.3f, "p99_ms": %.3f, "wrong": %d, "status": %d, "socket": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(99) / 1000,
    wrong, errors.status, errors.connect + errors.read + errors.write + errors.timeout))
end
