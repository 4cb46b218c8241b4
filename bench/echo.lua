-- What wrk sends and counts: calls of the echo tool, round robin over sessions. Before it is run, these are set:
-- ids (the sessions), token ("" for none), first (what the ids of the calls begin with), checked
-- ("each": read every answer, which there is once; "same": read them, but all may be one; "": count them).

local n = first
local headers = {["Content-Type"] = "application/json", ["Accept"] = "application/json, text/event-stream",
                 ["MCP-Protocol-Version"] = "2025-11-25"}
if token ~= "" then headers["Authorization"] = "Bearer " .. token end

function request()
  n = n + 1
  headers["Mcp-Session-Id"] = ids[n % #ids + 1]
  local body = '{"jsonrpc":"2.0","id":' .. n
    .. ',"method":"tools/call","params":{"name":"echo","arguments":{"text":"hello"}}}'
  return wrk.format("POST", nil, headers, body)
end

-- wrk calls this at the end of an answer, with the body joined; a function that is there makes it slower.
whole, broken = 0, ""
local answered = {}
local function check(status, _, body)
  local id = string.match(body, '"id":%s*(%d+)')
  local ended = string.find(body, "}%s*$") and (string.sub(body, 1, 1) == "{" or string.find(body, "\r?\n\r?\n$"))
  if status == 200 and id and (checked == "same" or not answered[id]) and ended and string.find(body, '"hello"', 1, true) then
    answered[id] = true
    whole = whole + 1
  elseif broken == "" then
    broken = status .. " " .. string.gsub(string.sub(body, 1, 200), '[%c"\\]', " ")
  end
end
if checked ~= "" then response = check end

-- The rest runs in the state of wrk itself, which sees a thread's globals through its handle.
local thread
function setup(started)
  thread = started
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    'RESULT {"requests":%d,"bytes":%d,"seconds":%.3f,"p50_ms":%.3f,"p99_ms":%.3f,"p999_ms":%.3f,"max_ms":%.3f,'
    .. '"not_2xx":%d,"socket_errors":%d,"whole":%d,"broken":"%s"}\n',
    summary.requests, summary.bytes, summary.duration / 1e6, latency:percentile(50) / 1000,
    latency:percentile(99) / 1000, latency:percentile(99.9) / 1000, latency.max / 1000,
    e.status, e.connect + e.read + e.write + e.timeout, thread:get("whole"), thread:get("broken")))
end
