-- Forwards a HEAD as a marked GET, and returns the response without its body.
--
-- Listed before all filters that change responses, so that the headers are those
-- of the response to a GET. It runs for HEAD, and for requests with headers that
-- Envoy could not read, so the response part checks that there was a HEAD.

function envoy_on_request(handle)
  handle:streamInfo():dynamicMetadata():set("berth", "head", true)
  handle:headers():replace(":method", "GET")
  handle:headers():replace("x-berth-head", "true")
end

function envoy_on_response(handle)
  if not handle:streamInfo():dynamicMetadata():get("berth") then return end
  local length = handle:headers():get("content-length")
  local body = handle:body()
  if body and body:length() > 0 then
    body:setBytes("")
  elseif handle:headers():get(":status") >= "400" then
    length = nil -- the length of one of Envoy's own errors, before it got its text
    handle:headers():remove("content-length")
  end
  if length then handle:headers():replace("content-length", length) end
end
