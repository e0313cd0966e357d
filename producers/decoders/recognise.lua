-- Protocols that tshark dissects and would not find on a port of their own choice. tshark reads this as its init.lua.

-- HTTP/2 in clear: the client's connection preface (RFC 9113, section 3.4).
local http2 = Dissector.get("http2")
local preface = ByteArray.new("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true)

-- Layers of our own call what tshark has, and take part in putting a stream together as if they were not there.
local clear_http2 = Proto("netflight_http2", "HTTP/2 on any port")
function clear_http2.dissector(buffer, pinfo, tree)
  pinfo.can_desegment = 2
  return http2:call(buffer, pinfo, tree)
end

clear_http2:register_heuristic("tcp", function(buffer, pinfo, tree)
  if buffer:len() < 24 or buffer(0, 4):uint() ~= 0x50524920 or buffer(0, 24):bytes() ~= preface then return false end
  pinfo.conversation = clear_http2
  clear_http2.dissector(buffer, pinfo, tree)
  return true
end)

-- OpenVPN: the first packet of a client, P_CONTROL_HARD_RESET_CLIENT_V2 with key 0: opcode, session id, with tls-auth
-- an HMAC, the replay id 1 and a time, then no acknowledgements and the message id 0.
local vpn_port, reset, data_v1, data_v2 = 1194, 0x38, 6, 9
local on_tcp = DissectorTable.get("tcp.port"):get_dissector(vpn_port)
local on_udp = DissectorTable.get("udp.port"):get_dissector(vpn_port)
local hmac_of = { [14] = 0, [38] = 16, [42] = 20, [50] = 28, [54] = 32, [70] = 48, [86] = 64 }
local longest_reset = 86
-- tshark finds out for itself whether there is an HMAC, but not how long it is: it takes those of SHA-1.
local known_to_tshark = { [0] = true, [20] = true }
local hmacs, remembered, most = {}, 0, 10000

local function ends(pinfo)
  local one = tostring(pinfo.src) .. " " .. pinfo.src_port
  local other = tostring(pinfo.dst) .. " " .. pinfo.dst_port
  return one < other and one .. " " .. other or other .. " " .. one
end

-- A message without its HMAC, replay id and time, which tshark takes for one of a connection without tls-auth.
local function call_without(hmac, message, pinfo, tree)
  local opcode = message(0, 1):bitfield(0, 5)
  if message:len() <= 9 + hmac + 8 or opcode == data_v1 or opcode == data_v2 then return end
  local kept = message(0, 9):bytes()
  kept:append(message(9 + hmac + 8):bytes())
  on_udp:call(kept:tvb("OpenVPN without its HMAC"), pinfo, tree)
end

local openvpn = Proto("netflight_openvpn", "OpenVPN on any port")
function openvpn.dissector(buffer, pinfo, tree)
  local hmac, tcp = hmacs[ends(pinfo)] or 0, pinfo.port_type == 2
  pinfo.can_desegment = 2
  if known_to_tshark[hmac] then return (tcp and on_tcp or on_udp):call(buffer, pinfo, tree) end
  if not tcp then return call_without(hmac, buffer, pinfo, tree) end
  local at, length = 0, buffer:len()
  while at < length do
    local size = length - at >= 2 and buffer(at, 2):uint() or nil
    if size == nil or size > length - at - 2 then
      pinfo.desegment_offset = at
      pinfo.desegment_len = size and size - (length - at - 2) or DESEGMENT_ONE_MORE_SEGMENT
      return length
    end
    if size > 0 then call_without(hmac, buffer(at + 2, size):tvb(), pinfo, tree) end
    at = at + 2 + size
  end
  return length
end

-- Whether an OpenVPN connection begins with the message at `at`, which goes on to the end of the buffer.
local function begins(buffer, at, pinfo)
  local length = buffer:len() - at
  local hmac = hmac_of[length]
  if hmac == nil or buffer(at, 1):uint() ~= reset then return false end
  if buffer(at + length - 5, 1):uint() ~= 0 or buffer(at + length - 4, 4):uint() ~= 0 then return false end
  if hmac > 0 and buffer(at + 9 + hmac, 4):uint() ~= 1 then return false end
  if remembered >= most then hmacs, remembered = {}, 0 end
  hmacs[ends(pinfo)], remembered = hmac, remembered + 1
  return true
end

local function found(buffer, at, pinfo, tree)
  if not begins(buffer, at, pinfo) then return false end
  pinfo.conversation = openvpn
  openvpn.dissector(buffer, pinfo, tree)
  return true
end

openvpn:register_heuristic("udp", function(buffer, pinfo, tree)
  return buffer:len() <= longest_reset and found(buffer, 0, pinfo, tree)
end)

openvpn:register_heuristic("tcp", function(buffer, pinfo, tree)
  local length = buffer:len()
  if length < 16 or length > longest_reset + 2 or buffer(0, 2):uint() ~= length - 2 then return false end
  return found(buffer, 2, pinfo, tree)
end)
