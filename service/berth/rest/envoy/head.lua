-- Sends a HEAD on as a GET that says so, and its answer out without a body.
--
-- Stands in front of all that finishes answers: what is sent are the headers of
-- the answer that a GET would get. It runs for HEAD alone, and for requests whose
-- headers Envoy could not read, so the answer must know that there was a HEAD.

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
    length = nil -- that of a refusal of Envoy's own, before it got its text
    handle:headers():remove("content-length")
  end
  if length then handle:headers():replace("content-length", length) end
end
