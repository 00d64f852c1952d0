-- What wrk sends. Arguments: the method; the only status that is good, or "" for any below 400, which wrk counts by
-- itself and more cheaply; how a line of the file becomes a request; and the file. Lines take turns.
--   body    the line is the body
--   bearer  the line is an access token
--   cookie  the line is a browser's cookies, and the answer must lead back to the application with a code
--   once    the line is a body that is good for one request; when all are answered, wrk ends before its time
--   visit   the same, but the line is a path with its query, and the answer must set a session's cookie
--   chain   the line is a body that ends with a refresh token, and begins a chain: the token of an answer is what a
--           later request presents; so there must be more lines than connections
local threads = {}
local lines, first, last = {}, 1, 0
unexpected = 0

-- Longer than any run, in milliseconds.
local FOR_EVER = 3600000

local function build(kind, line)
  if kind == "cookie" then return wrk.format(nil, nil, { Cookie = line }) end
  if kind == "visit" then return wrk.format(nil, line) end
  if kind == "bearer" then return wrk.format(nil, nil, { Authorization = "Bearer " .. line }) end
  return wrk.format(nil, nil, nil, line ~= "" and line or nil)
end

local function spend(expected, cookie)
  local ffi = require("ffi")
  ffi.cdef("int getpid(void); int kill(int, int);")
  local reserved, answered = 0, 0
  -- Asked before each request of a connection: whoever finds no line left waits for the end.
  delay = function()
    reserved = reserved + 1
    return reserved <= last and 0 or FOR_EVER
  end
  -- wrk asks once without sending anything, to see what it is given.
  first = 0
  request = function()
    first = first + 1
    return lines[math.max(1, first - 1)]
  end
  response = function(status, headers)
    local set = headers["set-cookie"] or headers["Set-Cookie"]
    if status ~= expected or (cookie and not set) then unexpected = unexpected + 1 end
    answered = answered + 1
    -- SIGINT ends a run of wrk as its time does.
    if answered == last then ffi.C.kill(ffi.C.getpid(), 2) end
  end
end

function setup(thread) table.insert(threads, thread) end

function init(args)
  local expected, kind = tonumber(args[2]), args[3]
  wrk.method = args[1]
  for line in io.lines(args[4]) do
    last = last + 1
    lines[last] = kind == "chain" and line or build(kind, line)
  end
  if kind == "cookie" then
    response = function(status, headers)
      local location = headers.location or headers.Location or ""
      if status ~= expected or not location:find("[?&]code=") then unexpected = unexpected + 1 end
    end
  elseif expected then
    response = function(status)
      if status ~= expected then unexpected = unexpected + 1 end
    end
  end
  if kind == "once" or kind == "visit" then return spend(expected, kind == "visit") end
  if kind ~= "chain" then
    local turn = 0
    request = function()
      turn = turn % last + 1
      return lines[turn]
    end
    return
  end
  local prefix = lines[1]:match("^.*=")
  request = function()
    local line = lines[first] or (prefix .. "none-is-left")
    lines[first] = nil
    first = first + 1
    return build(kind, line)
  end
  response = function(status, _, body)
    local token = status == expected and body:match('"refresh_token"%s*:%s*"([^"]+)"')
    if token then
      last = last + 1
      lines[last] = prefix .. token
    else
      unexpected = unexpected + 1
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
