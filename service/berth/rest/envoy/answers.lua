-- Completes the responses that REST clients get. Runs after the transcoder.
--
-- The service may ask for an HTTP status that no gRPC status maps to, and give
-- the length of a download; the transcoder drops both.
--
-- Envoy's own errors arrive in the envelope, with Envoy's text as the message:
-- this script adds the parameter, a code and a plainer text. Errors that grpc
-- itself returns have no envelope: this script adds one. On success, the status
-- message of a call is a list of pairs, name=value, that become headers.
--
-- Texts are already JSON strings and are never unescaped: parts of one are
-- copied unchanged into another.

local GRPC_ERROR = '{"is_bifrost_error":false,"status_code":0}'
local ENVOY_ERROR = '^{"error":{"code":null,"message":"(.*)","param":null,"type":"([%w_]+)"},'
local MAX_ECHO_LENGTH = 64

-- Prefixes of the headers that the status message may set.
local HEADER_PREFIXES = {
  ["x-bifrost"] = true, ["x-ratelimit"] = true, ["x-budget"] = true, ["idempotent-replayed"] = true,
}

local EXPECTED = {
  TYPE_STRING = "a string", TYPE_BOOL = "a boolean", TYPE_DOUBLE = "a number",
  TYPE_INT32 = "an integer", TYPE_UINT32 = "an integer",
}

local BY_STATUS = {
  ["405"] = { "The method is not allowed for this URL.", nil, "method_not_allowed" },
  ["429"] = { "The service is busy.", nil, "rate_limited" },
  ["431"] = { "The headers are too large, or there are too many.", nil, "headers_too_large" },
  ["502"] = { "The service aborted its response.", nil, "service_unavailable" },
  ["503"] = { "The service cannot be reached.", nil, "service_unavailable" },
  ["504"] = { "The request timed out.", nil, "request_timed_out" },
}

local function join(path, field)
  if path == "" then return field end
  return path .. "." .. field
end

-- Envoy numbers map entries (metadata[0].value) and does not report their keys.
local function parameter_name(path)
  return (path:gsub("^metadata%[%d+%].*", "metadata"))
end

local function invalid_type(path, expected)
  if path == "" then return "Invalid type for a parameter: expected " .. expected .. ".", nil, "invalid_type" end
  path = parameter_name(path)
  return "Invalid type for '" .. path .. "': expected " .. expected .. ".", path, "invalid_type"
end

local function invalid_value(path, value)
  path = parameter_name(path)
  local echo = value and #value <= MAX_ECHO_LENGTH and value:match('^\\"([%w%._-]*)\\"$') or value and value:match("^-?%d+$")
  return "Invalid value for '" .. path .. "'" .. (echo and ": '" .. echo .. "'." or "."), path, "invalid_value"
end

local function unknown(name)
  if #name > MAX_ECHO_LENGTH then name = name:match("^[%w_.%-]*"):sub(1, MAX_ECHO_LENGTH - 3) .. "..." end
  return "Unknown parameter: '" .. name .. "'.", name, "unknown_parameter"
end

local function repeated(name)
  return "Duplicate parameter: '" .. name .. "'.", name, "duplicate_parameter"
end

-- "limit: invalid value \"abc\" for type TYPE_INT32", and other messages of this form.
local function mistyped(path, value, type)
  if type == "oneof" then return repeated(value:match("Cannot set '(.-)'") or path) end
  if value:find("^Starting an object") then return invalid_type(join(path, type), "a plain value, but got an object") end
  if value:find("^Cannot bind a list") then return invalid_type(value:match("field '(.-)'") or path, "an object, but got a list") end
  local expected = EXPECTED[type]
  if not expected or (expected == "an integer" and value:find('^[\\"]*-?%d+[\\"]*$')) then
    return invalid_value(path, value)
  end
  return invalid_type(path, expected)
end

local RULES = {
  { '^Could not find field \\"(.-)\\" in the type \\"google.api.HttpBody', function(name) return unknown("body." .. name) end },
  { '^Could not find field \\"(.-)\\" in the type', unknown },
  { '^Encountered a non%-leaf field \\"(.-)\\"', unknown },
  { "^([%w_%.%[%]]*): invalid value (.*) for type ([%w_%./]+)$", mistyped },
  { "^([%w_%.%[%]]*): Proto field is not repeating", function(path) return invalid_type(path, "one value, but got a list") end },
  { "^: Root element", function() return "The body must be a JSON object.", nil, "invalid_type" end },
  { "^([%w_%.%[%]]+): ", function(path) return invalid_value(path, nil) end },
  { "^Could not resolve ", function() return "Unknown request URL: no operation has this method and path.", nil, "unknown_url" end },
  { "^Payload Too Large", function() return "The body is too large.", nil, "request_too_large" end },
  { "^Bad Request", function() return "The request is not valid HTTP.", nil, "invalid_http" end },
  { "^([^\\]+)%.\\", function(text) return "The body is not valid JSON: " .. text .. ".", nil, "invalid_json" end },
  { "^(Message too deep)", function(text) return "The body is not valid JSON: " .. text .. ".", nil, "invalid_json" end },
}

local function explain(text, status)
  if status == "503" and text:find("overflow$") then return "The service is busy.", nil, "service_unavailable" end
  if BY_STATUS[status] then return unpack(BY_STATUS[status], 1, 3) end
  text = text:gsub("\\u0022", '\\"') -- how Envoy writes a quote if a text is not UTF-8
  for _, rule in ipairs(RULES) do
    local first, second, third = text:match(rule[1])
    if first then return rule[2](first, second, third) end
  end
  if text == "" then text = "The request was refused." end
  return (text:gsub("\\n", " ")), nil, nil
end

local function quoted(text)
  return text and '"' .. text .. '"' or "null"
end

local function envelope(text, status)
  local message, param, code = explain(text, status)
  local failed = tonumber(status) >= 500
  local type = failed and "api_error" or status == "429" and "rate_limited" or "invalid_request_error"
  return '{"error":{"message":' .. quoted(message) .. ',"type":"' .. type .. '","param":' .. quoted(param)
    .. ',"code":' .. quoted(code) .. '},"is_bifrost_error":' .. tostring(failed)
    .. ',"status_code":' .. status .. ',"extra_fields":{}}'
end

-- When an upload fails at its end, the headers have already come, and the transcoder
-- leaves what the service says about the failure in the trailers.
local function take_over(handle, trailers)
  for _, name in ipairs({ "retry-after", "x-should-retry" }) do
    local value = trailers:get(name)
    if value then handle:headers():replace(name, value) end
  end
  local status = trailers:get("x-berth-status")
  if status then handle:headers():replace(":status", status) end
end

local function refuse(handle, status)
  local body = handle:body()
  local trailers = handle:trailers()
  if trailers then take_over(handle, trailers) end
  if not body then return end
  local text = body:getBytes(0, body:length())
  local message = text == GRPC_ERROR and "internal error" or text:match(ENVOY_ERROR)
  -- Waiting for the body makes the earlier reference to the headers invalid.
  if message then handle:headers():replace("content-length", body:setBytes(envelope(message, status))) end
end

function envoy_on_response(handle)
  local headers = handle:headers()
  local status = headers:get("x-berth-status")
  if status then
    headers:replace(":status", status)
    headers:remove("x-berth-status")
  end
  status = headers:get(":status")
  if status == "499" then -- the client is still there, so the service has ended the call: it is stopping
    status = "503"
    headers:replace(":status", status)
    headers:replace("retry-after", "1")
  end
  local length = (status == "200" or status == "206") and headers:get("x-content-length")
  if length then headers:replace("content-length", length) end
  local status_message = status < "400" and headers:get("grpc-message")
  if status_message then
    for name, value in status_message:gmatch("([%l-]+)=([%w_.-]+)") do
      if HEADER_PREFIXES[name:match("^%l+%-%l+")] then headers:replace(name, value) end
    end
  end
  -- The service sends this header with events. The transcoder gives lines of JSON the type of a single value.
  if headers:get("x-accel-buffering") and headers:get("content-type") == "application/json" then
    headers:replace("content-type", "application/x-ndjson")
  end
  if status >= "400" then refuse(handle, status) end
end
