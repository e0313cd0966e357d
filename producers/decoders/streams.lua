-- The bytes of protocols that our own decoders read as a stream, in the order of the connection: tshark's dissectors of these
-- lose what is split over segments, the order of what is in one, or what they do not know.
local tables_of_tcp = DissectorTable.get("tcp.port")

-- Of `named` tshark's own dissector runs as well: it finds TLS, NTLM and the connections of files. It waits for nothing, or
-- the same bytes would come again.
local streamed = {
  ftp = { 21 }, imap = { 143 }, irc = { 6667, 57000 }, memcached = { 11211 }, pop3 = { 110 }, redis = { 6379 }, smtp = { 25, 587 },
}
local named = { ftp = true, imap = true, pop3 = true, smtp = true }

-- Of memcached, the connections whose first byte is one of the binary protocol are tshark's: it knows all of that.
local binary, seen, most_seen = {}, 0, 10000
local function is_binary(buffer, pinfo)
  local one, other = tostring(pinfo.src) .. " " .. pinfo.src_port, tostring(pinfo.dst) .. " " .. pinfo.dst_port
  local key = one < other and one .. other or other .. one
  if binary[key] == nil then
    if seen >= most_seen then binary, seen = {}, 0 end
    local first = buffer(0, 1):uint()
    binary[key], seen = first == 0x80 or first == 0x81, seen + 1
  end
  return binary[key]
end

for name, ports in pairs(streamed) do
  local layer = Proto("netflight_stream_" .. name, name .. " as a stream of bytes")
  local client = ProtoField.uint8("netflight_stream_" .. name .. ".client", "Sent by the client")
  local bytes = ProtoField.bytes("netflight_stream_" .. name .. ".bytes", "Bytes")
  layer.fields = { client, bytes }
  local own = {}
  for _, port in ipairs(ports) do own[port] = true end
  local dissector = tables_of_tcp:get_dissector(ports[1])
  function layer.dissector(buffer, pinfo, tree)
    if name == "memcached" and is_binary(buffer, pinfo) then return dissector:call(buffer, pinfo, tree) end
    local below = tree:add(layer, buffer())
    below:add(client, own[pinfo.dst_port] and 1 or 0)
    below:add(bytes, buffer())
    if named[name] then
      pinfo.can_desegment = 0
      dissector:call(buffer, pinfo, tree)
    end
    return buffer:len()
  end
  for _, port in ipairs(ports) do tables_of_tcp:add(port, layer) end
end
