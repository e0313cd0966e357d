-- The bytes of protocols that our own decoders read as a stream, in the order of the connection: tshark's dissectors of these
-- lose what is split over segments, the order of what is in one, or what they do not know. This goes on after recognise.lua.
local streamed = {
  ftp = { 21 }, imap = { 143 }, irc = { 6667, 57000 }, memcached = { 11211 }, pop3 = { 110 }, redis = { 6379 }, smtp = { 25, 587 },
}
local may_have_ntlm = { imap = true, pop3 = true, smtp = true }

-- Of memcached, the connections whose first byte is one of the binary protocol are tshark's: it knows all of that.
local is_binary, binary_seen = {}, 0
local function has_binary(buffer, pinfo)
  local key = ends(pinfo)
  if is_binary[key] == nil then
    if binary_seen >= most then is_binary, binary_seen = {}, 0 end
    local first = buffer(0, 1):uint()
    is_binary[key], binary_seen = first == 0x80 or first == 0x81, binary_seen + 1
  end
  return is_binary[key]
end

for name, ports in pairs(streamed) do
  local layer = Proto("netflight_stream_" .. name, name .. " as a stream of bytes")
  local client = ProtoField.uint8("netflight_stream_" .. name .. ".client", "Sent by the client")
  local bytes = ProtoField.bytes("netflight_stream_" .. name .. ".bytes", "Bytes")
  local is_earlier = ProtoField.uint8("netflight_stream_" .. name .. ".earlier", "Sent before, by the other side")
  layer.fields = { client, bytes, is_earlier }
  local own = {}
  for _, port in ipairs(ports) do own[port] = true end
  local dissector = tcp_ports:get_dissector(ports[1])
  function layer.dissector(buffer, pinfo, tree)
    if starts_tls(buffer) then
      pinfo.conversation = encrypted
      return encrypted.dissector(buffer, pinfo, tree)
    end
    if name == "memcached" and pinfo.port_type == 2 and has_binary(buffer, pinfo) then return dissector:call(buffer, pinfo, tree) end
    local by_client = own[pinfo.dst_port] and 1 or 0
    if #earlier > 0 then
      local first = ByteArray.new(earlier, true):tvb("what was said before")
      local above = tree:add(layer, first())
      above:add(client, 1 - by_client)
      above:add(is_earlier, 1)
      above:add(bytes, first())
    end
    local below = tree:add(layer, buffer())
    below:add(client, by_client)
    below:add(bytes, buffer())
    if name == "ftp" then
      -- tshark's own dissector finds the connections of files; it must not wait for more, or the same bytes would come again.
      pinfo.can_desegment = 0
      dissector:call(buffer, pinfo, tree)
    elseif may_have_ntlm[name] and buffer:len() > 16 then
      logins(buffer, pinfo, tree)
    end
    return buffer:len()
  end
  for _, port in ipairs(ports) do tcp_ports:add(port, layer) end
  if name == "memcached" then udp_ports:add(ports[1], layer) end
end

-- LLMNR over TCP, each message after its length (RFC 4795, 2.4); tshark knows it over UDP alone.
local llmnr_port = 5355
local llmnr_message = udp_ports:get_dissector(llmnr_port)
local llmnr = Proto("netflight_llmnr", "LLMNR over TCP")
function llmnr.dissector(buffer, pinfo, tree)
  return after_lengths(buffer, pinfo, function(message) llmnr_message:call(message, pinfo, tree) end)
end
tcp_ports:add(llmnr_port, llmnr)
