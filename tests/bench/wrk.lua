-- What wrk sends. Arguments: method; body; the only status that is good, or "" for any below 400, which wrk counts by
-- itself and more cheaply; and optionally a file with one refresh token per line. With it the body is followed by a
-- token: each line begins a chain, and the token of an answer is what a later request presents. The chains take turns,
-- so there must be more of them than connections.
local threads = {}
local tokens, first, last = {}, 1, 0
unexpected = 0

function setup(thread) table.insert(threads, thread) end

function init(args)
  wrk.method = args[1]
  if args[2] ~= "" then wrk.body = args[2] end
  local expected, chains = tonumber(args[3]), args[4]
  if expected then
    response = function(status, _, body)
      if status ~= expected then
        unexpected = unexpected + 1
      elseif chains then
        last = last + 1
        tokens[last] = body:match('"refresh_token"%s*:%s*"([^"]+)"')
      end
    end
  end
  if chains then
    for line in io.lines(chains) do
      last = last + 1
      tokens[last] = line
    end
    request = function()
      local token = tokens[first] or "none-is-left"
      tokens[first] = nil
      first = first + 1
      return wrk.format(nil, nil, nil, args[2] .. token)
    end
  end
end

function done(summary, latency)
  local wrong = summary.errors.status
  for _, thread in ipairs(threads) do wrong = math.max(wrong, thread:get("unexpected")) end
  local errors = summary.errors
  print(string.format(
    '{"requests": %d, "seconds": %.6f, "socket_errors": %d, "unexpected": %d, "p50_ms": %.3f, "p99_ms": %.3f}',
    summary.requests, summary.duration / 1e6, errors.connect + errors.read + errors.write + errors.timeout, wrong,
    latency:percentile(50) / 1000, latency:percentile(99) / 1000))
end
