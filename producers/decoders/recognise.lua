-- Protocols that tshark dissects and would not find on a port of their own choice. tshark reads this as its init.lua.

-- A dissector may ask for more segments only where all of this one was captured: else tshark calls it for ever.
local function may_wait(buffer, pinfo)
  if buffer:len() == buffer:reported_len() then pinfo.can_desegment = 2 end
end

-- Calls for each message of a stream in which each follows its length of two bytes.
local function after_lengths(buffer, pinfo, call)
  local at, length = 0, buffer:len()
  while at < length do
    local size = length - at >= 2 and buffer(at, 2):uint() or nil
    if size == nil or size > length - at - 2 then
      pinfo.desegment_offset = at
      pinfo.desegment_len = size and size - (length - at - 2) or DESEGMENT_ONE_MORE_SEGMENT
      return length
    end
    if size > 0 then call(buffer(at + 2, size):tvb()) end
    at = at + 2 + size
  end
  return length
end

-- HTTP/2 in clear: the client's connection preface (RFC 9113, section 3.4).
local http2 = Dissector.get("http2")
local preface = ByteArray.new("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", true)

-- Layers of our own call what tshark has, and take part in putting a stream together as if they were not there.
local clear_http2 = Proto("netflight_http2", "HTTP/2 on any port")
function clear_http2.dissector(buffer, pinfo, tree)
  may_wait(buffer, pinfo)
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
  may_wait(buffer, pinfo)
  if known_to_tshark[hmac] then return (tcp and on_tcp or on_udp):call(buffer, pinfo, tree) end
  if not tcp then return call_without(hmac, buffer, pinfo, tree) end
  return after_lengths(buffer, pinfo, function(message) call_without(hmac, message, pinfo, tree) end)
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

-- Protocols over TCP that tshark knows by their ports: found on others by what one side says first, or by what both say.
-- The engine knows most of them, too (producers/engine/kernel/phases_binary.py and phases_dialogue.py, with the sources).
local tcp_ports = DissectorTable.get("tcp.port")
local own_ports = {
  amqp = 5672, bgp = 179, dnp3 = 20000, elasticsearch = 9300, enip = 44818, ftp = 21, git = 9418, http = 80,
  iec104 = 2404,
  imap = 143, irc = 6667, kafka = 9092, ldap = 389, memcached = 11211, mongodb = 27017, mqtt = 1883, mysql = 3306,
  nntp = 119, opcua = 4840, pgsql = 5432, pop3 = 110, redis = 6379,
  rmi = 1099, rsync = 873, rtsp = 554, smtp = 25, ssh = 22, tns = 1521, tpkt = 102, xmpp = 5222,
}
local layers, servers, served = {}, {}, 0

-- Many dissectors tell requests from responses by the port that they were called for: so it is called the server's.
local function as_if_on(port, server, buffer, pinfo, tree)
  local from, to = pinfo.src_port, pinfo.dst_port
  if from == server then pinfo.src_port = port else pinfo.dst_port = port end
  local used = tcp_ports:try(port, buffer, pinfo, tree)
  pinfo.src_port, pinfo.dst_port = from, to
  return used
end

-- TLS: a record of a handshake that begins with a hello whose length fits (RFC 8446, 4 and 5.1); a client hello in SSL 2's
-- record with a version that later hellos have, too (RFC 5246, E.2).
local tls, longest_record = Dissector.get("tls"), 0x4800
local encrypted = Proto("netflight_tls", "TLS on any port")
function encrypted.dissector(buffer, pinfo, tree)
  may_wait(buffer, pinfo)
  return tls:call(buffer, pinfo, tree)
end

local function starts_tls(buffer)
  local length = buffer:len()
  if length < 11 then return false end
  if buffer(0, 2):uint() == 0x1603 then
    local record, kind, hello = buffer(3, 2):uint(), buffer(5, 1):uint(), buffer(6, 3):uint()
    if buffer(2, 1):uint() > 4 or record > longest_record or record < 4 or kind ~= 1 and kind ~= 2 then return false end
    local version = buffer(9, 2):uint()
    return hello >= 38 and hello < 0x20000 and version >= 0x0300 and version <= 0x0304
  end
  if bit32.band(buffer(0, 1):uint(), 0x80) == 0 or buffer(2, 1):uint() ~= 1 or buffer(3, 1):uint() ~= 3 then return false end
  local ciphers, session, challenge = buffer(5, 2):uint(), buffer(7, 2):uint(), buffer(9, 2):uint()
  local size = bit32.band(buffer(0, 2):uint(), 0x7FFF)
  return buffer(4, 1):uint() <= 4 and ciphers > 0 and ciphers % 3 == 0 and (session == 0 or session == 16)
    and challenge >= 16 and challenge <= 32 and size == 9 + ciphers + session + challenge and length >= size + 2
end

for name, port in pairs(own_ports) do
  local layer = Proto("netflight_" .. name, name .. " on any port")
  function layer.dissector(buffer, pinfo, tree)
    local server = servers[ends(pinfo)]
    if server == nil then return 0 end
    if starts_tls(buffer) then
      pinfo.conversation = encrypted
      return encrypted.dissector(buffer, pinfo, tree)
    end
    may_wait(buffer, pinfo)
    return as_if_on(port, server, buffer, pinfo, tree)
  end
  layers[name] = layer
end

-- SMB in NetBIOS' frames, whose dissector takes no call from here: type and length, then the message (MS-SMB2, 2.1).
local smb_port, smb_heads = 445, { [0xFF534D42] = "smb", [0xFE534D42] = "smb2", [0xFD534D42] = "smb2", [0xFC534D42] = "smb2" }
local smb_dissectors = { smb = Dissector.get("smb"), smb2 = Dissector.get("smb2") }
local smb = Proto("netflight_smb", "SMB on any port")
function smb.dissector(buffer, pinfo, tree)
  may_wait(buffer, pinfo)
  local at, length = 0, buffer:len()
  while at < length do
    local left = length - at
    local size = left >= 4 and buffer(at + 1, 3):uint() or nil
    if left >= 4 and buffer(at, 1):uint() ~= 0 then return length end
    if size == nil or size > left - 4 then
      pinfo.desegment_offset = at
      pinfo.desegment_len = size and size - (left - 4) or DESEGMENT_ONE_MORE_SEGMENT
      return length
    end
    local dissector = size >= 4 and smb_dissectors[smb_heads[buffer(at + 4, 4):uint()] or ""]
    if dissector then dissector:call(buffer(at + 4, size):tvb(), pinfo, tree) end
    at = at + 4 + size
  end
  return length
end
layers.smb = smb

-- Protocols that tshark 4.0 does not know, by their first bytes: it is enough to call a connection by them. A later tshark
-- that has one of the name keeps it.
local unknown_to_tshark = {
  gh0st = { "Gh0st remote access trojan", "^Gh0st........x[\1\94\156\218]" }, -- two lengths, then zlib
  hadoop = { "Hadoop RPC", "^hrpc[\4-\9]" }, -- hadoop-common, RpcConstants.HEADER
  hbase = { "HBase RPC", "^HBas%z[PQSD]" }, -- HBase Reference Guide, RPC Connection Setup
  lumberjack = { "Lumberjack, as Beats and Logstash speak it", "^2W%z...2[CJ]", "^1W%z...1[CD]" },
  pjl = { "Printer Job Language", "^\27%%%-12345X" },
  splunk = { "Splunk to Splunk", "^%-%-splunk%-cooked%-mode%-v%d" },
  stratum = { "Stratum, of miners of currencies", '^{[^\n]*"method": ?"mining%.%l' },
  zabbix = { "Zabbix", "^ZBXD[\1-\7]" }, -- Zabbix Manual, Protocols, Header and data length
}
local function named(name, title, least)
  local free, layer = pcall(Proto, name, title)
  if not free then return nil end
  function layer.dissector(buffer, pinfo, tree)
    if buffer:len() < least then return 0 end
    tree:add(layer, buffer())
    return buffer:len()
  end
  return layer
end

for name, known in pairs(unknown_to_tshark) do layers[name] = named(name, known[1], 1) end

-- NTLM in a login of SMTP, POP3 or IMAP (MS-SMTPNTLM, MS-POP3, MS-OXIMAP4): messages in Base64, one in a line.
local ntlm = Dissector.get("ntlmssp")
local function logins(buffer, pinfo, tree)
  local text = buffer:raw()
  local at, stop = text:find("TlRMTVNTUAA[BCD][%w+/]+=*")
  if at == nil then return end
  local message = ByteArray.new(text:sub(at, stop), true):base64_decode()
  if message:len() >= 12 then ntlm:call(message:tvb("NTLM"), pinfo, tree) end
end

-- SSH whose server says other lines before its banner (RFC 4253, 4.2): tshark takes them for something encrypted.
local ssh, ssh_port = tcp_ports:get_dissector(22), 22
local ssh_lines = Proto("netflight_ssh_lines", "SSH with lines before its banner")
function ssh_lines.dissector(buffer, pinfo, tree)
  may_wait(buffer, pinfo)
  local first = buffer:len() > 4 and buffer:raw(0, 4) or ""
  if pinfo.src_port == ssh_port and first:find("^[\t\r\n -~]+$") and first ~= "SSH-" then
    local at = buffer:raw(0, math.min(buffer:len(), 4096)):find("\nSSH%-%d")
    if at then return ssh:call(buffer(at):tvb(), pinfo, tree) + at end
  end
  return ssh:call(buffer, pinfo, tree)
end
tcp_ports:add(ssh_port, ssh_lines)

-- HTTP/0.9: a request is one line without a version, for whose head tshark would wait. It is shown as it was, with an end.
-- A method that tshark does not know makes no request of it: it is shown as GET, with its name behind the version, where
-- the decoder looks for it.
local http, http_ports = tcp_ports:get_dissector(80), { 80, 3128, 8080 }
local known_methods = {}
for name in ([[GET PUT HEAD POST DELETE TRACE OPTIONS PATCH CONNECT COPY MOVE LOCK UNLOCK MKCOL PROPFIND PROPPATCH POLL BCOPY BMOVE
  SEARCH BDELETE BPROPFIND BPROPPATCH UNLINK VERSION-CONTROL CHECKOUT CHECKIN UNCHECKOUT MERGE MKWORKSPACE LABEL UPDATE REPORT
  MKACTIVITY BASELINE-CONTROL SUBSCRIBE UNSUBSCRIBE NOTIFY M-SEARCH RPC_CONNECT RPC_IN_DATA RPC_OUT_DATA CCM_POST HTTP SIP
  SSTP_DUPLEX_POST BITS_POST ICY INDEX]]):gmatch("%S+") do known_methods[name] = true end

local other_http = Proto("netflight_other_http", "HTTP of other versions and methods")
function other_http.dissector(buffer, pinfo, tree)
  may_wait(buffer, pinfo)
  local length = buffer:len()
  local method = buffer:raw(0, math.min(length, 32)):match("^(%u[%u_-]+)[ /]")
  if method == "GET" and length < 2048 and buffer(length - 1, 1):uint() == 10 then
    local line = buffer:raw():match("^(GET [^ \r\n]+)\r?\n$")
    if line then
      http:call(ByteArray.new(line .. "\r\n\r\n", true):tvb("HTTP/0.9"), pinfo, tree)
      return length
    end
  elseif method and not known_methods[method] then
    local text = buffer:raw()
    local target, version, rest = text:match("^%u[%u_-]+ (%S+) (HTTP/1%.%d)(\r?\n.*)$")
    if target and not rest:find("\n\r?\n") then
      pinfo.desegment_offset, pinfo.desegment_len = 0, DESEGMENT_ONE_MORE_SEGMENT
      return length
    elseif target then
      local shown = "GET " .. target .. " " .. version .. " " .. method .. rest
      http:call(ByteArray.new(shown, true):tvb("HTTP with another method"), pinfo, tree)
      return length
    end
  end
  return http:call(buffer, pinfo, tree)
end
for _, port in ipairs(http_ports) do tcp_ports:add(port, other_http) end

-- A proxy's connection is tshark's SOCKS until the proxy has agreed. From then on it is whatever has the port that was asked
-- for, or else what it begins with: TLS is put together from segments as it should be only where it has the connection.
local to_proxy, https = tcp_ports:get_dissector(1080), 443
local socks = Proto("netflight_socks", "SOCKS on any port")
local proxied, proxies = {}, 0

local function begin_socks(pinfo)
  if proxies >= most then proxied, proxies = {}, 0 end
  proxied[ends(pinfo)], proxies = { port = nil, agreed = false, inner = nil }, proxies + 1
end

local function negotiate(state, text)
  if #text >= 9 and text:find("^\4[\1\2]") then
    state.port = text:byte(3) * 256 + text:byte(4)
  elseif #text >= 10 and text:find("^\5[\1-\3]%z[\1\3\4]") and state.port == nil then
    state.port = text:byte(-2) * 256 + text:byte(-1)
  elseif #text == 8 and text:find("^%z\90") or #text >= 10 and text:find("^\5%z%z[\1\3\4]") then
    state.agreed = true
    if state.port and state.port ~= https then state.inner = tcp_ports:get_dissector(state.port) end
  end
end

function socks.dissector(buffer, pinfo, tree)
  local state = proxied[ends(pinfo)]
  if state == nil or state.agreed and state.inner == nil then return 0 end
  may_wait(buffer, pinfo)
  if state.agreed then return state.inner:call(buffer, pinfo, tree) end
  local used = to_proxy:call(buffer, pinfo, tree)
  pinfo.conversation = socks
  negotiate(state, buffer:raw())
  return used
end

-- SOCKS' dissector has to see a connection from the client's first bytes on: ways to authenticate, each once, or a request
-- of version 4, and nothing else.
local tcp_sequence = Field.new("tcp.seq")
local function asks_proxy(text, length)
  local version = text:byte(1)
  if length < 3 or length > 300 or version ~= 4 and version ~= 5 then return false end
  if version == 5 then
    if text:byte(2) ~= length - 2 or length > 12 or text:find("[\10-\127\255]", 3) then return false end
  elseif not text:find("^\4[\1\2]......[^%z]*%z$") and not text:find("^\4[\1\2]..%z%z%z[^%z][^%z]*%z[^%z]+%z$") then
    return false
  end
  local sequence = tcp_sequence()
  return sequence ~= nil and sequence.value % 65536 == 1 -- streams begin at a multiple: kernel/splice.py
end

-- What begins with a text of its own; who sends it, where that is not the client.
local server, either = "server", "either"
local texts = {
  { "^AMQP[%z\1\2\3][%z\1][%z\9][%z\1\8\9\10]", "amqp" },
  { "^%*%d+\r\n%$%d+\r\n", "redis" },
  { "^220[ -][^\n]*[Ss][Mm][Tt][Pp]", "smtp", server },
  { "^SSH%-[12]%.%d+%-", "ssh", either }, { "\nSSH%-[12]%.%d+%-", "ssh", server },
  { "^GET /[^ ]*\r?\n$", "http" }, { "^%u[%u_-]+ %S+ HTTP/1%.%d\r?\n", "http" },
  { "^CAP LS", "irc" }, { "^CAP REQ :", "irc" },
  { "^JRMI%z[\1\2][KLM]", "rmi" },
  { "^@RSYNCD: %d", "rsync", either },
  { "^[A-Z_]+ rtsp://[^\n]* RTSP/1%.0\r\n", "rtsp" }, { "^RTSP/1%.0 %d%d%d ", "rtsp", server },
  { "^<%?xml [^>]*>%s*<stream:stream ", "xmpp" }, { "^<stream:stream ", "xmpp" },
  { "^%x%x%x%xgit%-[%w-]+%-pack /", "git" },
  { "^20[01] [^\n]*NNTP", "nntp", server },
  { "^\16.?.?.?.%z\4MQTT[\3\4\5]", "mqtt" }, { "^\16.?.?.?.%z\6MQIsdp\3", "mqtt" },
  { "^" .. ("\255"):rep(16) .. "%z[\29-\255]\1\4", "bgp", either },
  { "^h\4\7%z%z%z$", "iec104" }, -- STARTDT act: IEC 60870-5-104, 5.3
  { "^e%z\4%z%z%z%z%z%z%z%z%z", "enip" }, -- RegisterSession: CIP Networks Library 2, 2-4.4
}

for name, known in pairs(unknown_to_tshark) do
  for place = 2, #known do table.insert(texts, { known[place], name }) end
end

-- DNP3's data link header ends in a checksum (IEEE 1815-2012, 9.2).
local function begins_dnp3(buffer)
  if buffer:len() < 10 or buffer(0, 2):uint() ~= 0x0564 then return false end
  local remainder = 0
  for at = 0, 7 do
    remainder = bit32.bxor(remainder, buffer(at, 1):uint())
    for _ = 1, 8 do
      local carry = remainder % 2 == 1
      remainder = bit32.rshift(remainder, 1)
      if carry then remainder = bit32.bxor(remainder, 0xA6BC) end
    end
  end
  return 0xFFFF - remainder == buffer(8, 2):le_uint()
end

-- What begins with its own length, in either order of bytes, or with something else that no text can say.
local function measured(buffer, text, length)
  local first, size = text:byte(1), buffer(0, 4):uint()
  if first == 0 and size == length then
    local code = buffer(4, 4):uint()
    if code == 80877103 and length == 8 or code == 0x30000 and text:find("^%l", 9) then return "pgsql" end
  end
  if size == length - 4 and text:find("^%z[\3\18]%z[\0-\15]....%z[^%z][!-~][!-~]", 5) then return "kafka" end
  if text:find("^\3%z") and buffer(2, 2):uint() == length then
    local kind = buffer(5, 1):uint() -- COTP: a connection request that is the whole of it, or data of S7
    if kind == 0xE0 and buffer(4, 1):uint() == length - 5 then return "tpkt" end
    if text:find("^\2\240\128[2r]", 5) then return "tpkt", either end
  end
  if first == 0 and length >= 34 and buffer(0, 2):uint() == length and buffer(2, 2):uint() == 0 and text:byte(5) == 1 then
    local version, compatible, data = buffer(8, 2):uint(), buffer(10, 2):uint(), buffer(26, 2):uint()
    if 200 <= compatible and compatible <= version and version <= 400 and 34 <= data and data <= length then return "tns" end
  end
  if length >= 20 and text:find("^%z\10%d+%.", 4) and buffer(0, 3):le_uint() == length - 4 then return "mysql", server end
  if length >= 26 and buffer(0, 4):le_uint() == length and buffer(8, 4):uint() == 0 then
    local operation = buffer(12, 4):le_uint()
    if operation == 2013 and text:byte(21) == 0 or operation == 2004 then return "mongodb" end
  end
  if first == 5 and begins_dnp3(buffer) then return "dnp3", either end
  if text:find("^ES") and buffer(2, 4):uint() == length - 6 then return "elasticsearch" end
  if text:find("^HELF") and buffer(4, 4):le_uint() == length then return "opcua" end
  if text:find("^0[^\128-\255]\2\1.`[^\128-\255]\2\1[\2\3]\4") or text:find("^0\132....\2\1.`\132....\2\1\3\4") then
    return "ldap"
  end
  if text:find("^0[^\128-\255]\2\1.w[^\128-\255]\128\0221%.3%.6%.1%.4%.1%.1466%.20037") then return "ldap" end -- StartTLS
  return nil
end

-- What may be the first half of something, and what the other side answers at once.
local halves = {
  { "^220[ -]", "ready" }, { "^[EHeh][HEhe][Ll][LOlo] ", "hello" }, { "^%+OK", "ok" }, { "^%* OK", "star" },
  { "^NICK ", "nick" }, { "^USER %S+ %S+ %S+ ", "nick" }, { "^PASS ", "nick" }, { "^:%S+ NOTICE ", "notice" },
  { "^set %S+ %d+ %d+ %d+", "store" }, { "^gets? %S+", "store" }, { "^add %S+ %d+ %d+ %d+", "store" },
  { "^stats", "store" }, { "^version\r\n", "store" },
}
local answers = {
  ready = {
    { "^[EHLehl][HEhe][Ll][LOlo] ", "smtp" }, { "^[Uu][Ss][Ee][Rr] ", "ftp" }, { "^FEAT\r\n", "ftp" },
    { "^AUTH TLS\r\n", "ftp" },
  },
  hello = { { "^250[ -]", "smtp", server } },
  ok = {
    { "^USER ", "pop3" }, { "^CAPA\r\n", "pop3" }, { "^APOP ", "pop3" }, { "^AUTH", "pop3" }, { "^STLS\r\n", "pop3" },
  },
  star = {
    { "^[%w.]+ [Cc][Aa][Pp][Aa][Bb][Ii][Ll][Ii][Tt][Yy]", "imap" }, { "^[%w.]+ [Ll][Oo][Gg][Ii][Nn] ", "imap" },
    { "^[%w.]+ [Aa][Uu][Tt][Hh][Ee][Nn][Tt][Ii][Cc][Aa][Tt][Ee] ", "imap" },
    { "^[%w.]+ [Ss][Tt][Aa][Rr][Tt][Tt][Ll][Ss]", "imap" }, { "^[%w.]+ [Ii][Dd] [(Nn]", "imap" },
  },
  nick = { { "^:%S+ %d%d%d ", "irc", server }, { "^:%S+ NOTICE ", "irc", server }, { "^PING :", "irc", server } },
  notice = { { "^NICK ", "irc" }, { "^PASS ", "irc" }, { "^USER ", "irc" } },
  store = {
    { "^STORED\r\n", "memcached", server }, { "^VALUE %S+ %d+ %d+", "memcached", server },
    { "^END\r\n", "memcached", server }, { "^STAT %S+ ", "memcached", server }, { "^VERSION %d", "memcached", server },
  },
}
local said, held, longest_start, taken = {}, 0, 512, 0

local function speaker(pinfo) return tostring(pinfo.src) .. " " .. pinfo.src_port end

local function first_match(list, text)
  for _, each in ipairs(list) do
    if text:find(each[1]) then return each[2], each[3] end
  end
  return nil
end

-- What was said by the side that spoke first, as far as it fits; `earlier` is that of the connection that is recognised now,
-- for streams.lua.
local earlier = ""
local function remember(what, text, pinfo)
  if held >= most then said, held = {}, 0 end
  local key, by = ends(pinfo), speaker(pinfo)
  local before = said[key]
  local so_far = before and before.by == by and before.text or ""
  said[key], held = { what = what, by = by, text = #so_far + #text <= longest_start and so_far .. text or so_far }, held + 1
end

local function answered(text, pinfo)
  local before = held > 0 and said[ends(pinfo)]
  if before and before.by ~= speaker(pinfo) then return first_match(answers[before.what], text) end
  return nil
end

-- The layer that has the connection from here on, with the port that is the server's.
local function layer_at(server, layer, pinfo)
  if served >= most then servers, served = {}, 0 end
  servers[ends(pinfo)], served = server, served + 1
  return layer
end

local function layer_of(name, by, pinfo)
  local port = by == server and pinfo.src_port or pinfo.dst_port
  if by == either then port = math.min(pinfo.src_port, pinfo.dst_port) end
  return layer_at(port, layers[name], pinfo)
end

local anywhere = Proto("netflight_anywhere", "Protocols on any port")
function anywhere.dissector() return 0 end

anywhere:register_heuristic("tcp", function(buffer, pinfo, tree)
  local length = buffer:len()
  if length < 2 then return false end
  local text = buffer:raw(0, math.min(length, longest_start))
  local name, by = first_match(texts, text)
  if name == nil and length >= 8 then name, by = measured(buffer, text, length) end
  if name == nil then name, by = answered(text, pinfo) end
  local layer = name and layer_of(name, by, pinfo)
  if layer == nil and asks_proxy(text, length) then
    begin_socks(pinfo)
    layer = socks
  end
  if layer == nil then
    local what = first_match(halves, text)
    if what then remember(what, length <= longest_start and buffer:raw() or "", pinfo) end
    return false
  end
  local before = held > 0 and said[ends(pinfo)]
  earlier = before and before.by ~= speaker(pinfo) and before.text or ""
  pinfo.conversation, taken = layer, pinfo.number
  layer.dissector(buffer, pinfo, tree)
  earlier = ""
  return true
end)

-- What begins with a text or structure that is proof enough, whatever tshark takes the port for. Each connection that is seen
-- to begin gets a layer of ours that gives its packets back to tshark, until one of the first of them, or at any time one
-- with a TLS hello, shows that the port is another protocol's.
local requests = {
  { "^%u+ [^%c ]+ HTTP/1%.[01]\r\n", "http" }, { "^HTTP/1%.[01] [1-5]%d%d[ \r]", "http", server },
  { "^%z%z..[\254\255]SMB", "smb", either },
}
local tcp_stream, tcp_flags, tcp_payload = Field.new("tcp.stream"), Field.new("tcp.flags"), Field.new("tcp.payload")
local dissectors, connections, begun_connections, first_looks = {}, {}, 0, 4
local tls_name = tostring(tls)

-- The dissector that tshark has for a port, by its name.
local function dissector_of(port)
  local known = dissectors[port]
  if known == nil then
    local found = tcp_ports:get_dissector(port)
    known = found and tostring(found) or ""
    dissectors[port] = known
  end
  return known
end

-- Whether tshark asks the dissector itself: of the server's port, or of the lower one that has any.
local function asked_anyhow(own, server, pinfo)
  local low, high = math.min(pinfo.src_port, pinfo.dst_port), math.max(pinfo.src_port, pinfo.dst_port)
  for _, port in ipairs({ server or low, low, high }) do
    local first = dissector_of(port)
    if first ~= "" then return first == own end
  end
  return false
end

-- TLS from its middle on: whole records, one after the other, that end with the segment.
local function is_records(buffer)
  local at, length = 0, buffer:len()
  while at + 6 <= length do
    local kind, version, size = buffer(at, 1):uint(), buffer(at + 1, 2):uint(), buffer(at + 3, 2):uint()
    if kind < 20 or kind > 23 or version < 0x0300 or version > 0x0304 then return false end
    if size == 0 or size > longest_record then return false end
    at = at + 5 + size
  end
  return at == length
end

-- The layer of the protocol that a segment begins with, unless it is what tshark takes the port for.
local function proven(buffer, pinfo, begun)
  local early = begun.looked < first_looks
  if early then begun.looked = begun.looked + 1 end
  if starts_tls(buffer) or early and is_records(buffer) then
    return not asked_anyhow(tls_name, begun.server, pinfo) and encrypted or nil
  end
  if not early then return nil end
  local text = buffer:raw(0, math.min(buffer:len(), longest_start))
  local name, by = first_match(requests, text)
  if name == nil then name, by = first_match(texts, text) end
  if name == nil and #text >= 8 then name, by = measured(buffer, text, buffer:len()) end
  local own = name and own_ports[name] or name == "smb" and smb_port or 0
  if name == nil or asked_anyhow(dissector_of(own), begun.server, pinfo) then return nil end
  return begun.server and layer_at(begun.server, layers[name], pinfo) or layer_of(name, by, pinfo)
end

local function remember_connection(stream, server)
  if begun_connections >= most then connections, begun_connections = {}, 0 end
  connections[stream], begun_connections = { server = server, looked = 0 }, begun_connections + 1
  return connections[stream]
end

local gate = Proto("netflight_gate", "Strong signatures before ports")
function gate.dissector(buffer, pinfo, tree)
  local stream = buffer:len() >= 4 and tcp_stream()
  local begun = stream and connections[stream.value]
  local layer = begun and proven(buffer, pinfo, begun)
  if not layer then return 0 end
  pinfo.conversation = layer
  return layer.dissector(buffer, pinfo, tree)
end

-- SS7's Telephone User Part (ITU-T Q.723), of which tshark knows no more than that it is none of the others.
local tup = named("tup", "Telephone User Part", 3)
if tup then DissectorTable.get("mtp3.service_indicator"):add(4, tup) end

-- Datagrams of SNMP (RFC 1157, 4; RFC 3412, 6) and DNP3.
local udp_ports = DissectorTable.get("udp.port")
local function begins_snmp(buffer)
  if buffer:len() < 12 or buffer(0, 1):uint() ~= 0x30 then return false end
  local text = buffer:raw(0, math.min(buffer:len(), longest_start))
  local version, size = text:match("^0[^\128-\255]\2\1([\0\1\3])[\4\48]([^\128-\255])")
  if version == nil then version, size = text:match("^0[\129\130]..?\2\1([\0\1\3])[\4\48]([^\128-\255])") end
  if version == nil then return false end
  local start = text:find(version == "\3" and "\2\1\3\48" or "\2\1" .. version .. "\4", 3, true)
  local after = start and text:byte(start + 5 + (version == "\3" and 0 or size:byte()))
  return after ~= nil and (version == "\3" and after == 2 or version ~= "\3" and after >= 0xA0 and after <= 0xA8)
end

for name, each in pairs({ snmp = { 161, begins_snmp }, dnp3 = { 20000, begins_dnp3 } }) do
  local layer = Proto("netflight_udp_" .. name, name .. " in datagrams on any port")
  local dissector = udp_ports:get_dissector(each[1])
  function layer.dissector(buffer, pinfo, tree) return dissector:call(buffer, pinfo, tree) end
  layer:register_heuristic("udp", function(buffer, pinfo, tree)
    if not each[2](buffer) then return false end
    pinfo.conversation = layer
    layer.dissector(buffer, pinfo, tree)
    return true
  end)
end

-- Where the beginning was not seen, tshark has dissected the packet already: what it made of it by the port does not count
-- (producers/decoders/records.py). So it is with the first datagrams of a flow, which nothing comes before.
local instead = Proto("netflight_instead", "In place of what the port says")
local function dissect_again(layer, payload, pinfo, tree)
  tree:add(instead, payload)
  pinfo.conversation = layer
  layer.dissector(payload:tvb(), pinfo, tree)
end

local function any_shown(fields)
  for _, field in ipairs(fields) do
    if field() then return true end
  end
  return false
end

-- Connections that others announce: tshark has a dissector for them before they begin, which stays.
local announcing = {}
for _, name in ipairs({
  "ftp.passive.port", "ftp.active.port", "ftp.epsv.port", "ftp.eprt.port", "sdp.media.port", "epm.proto.tcp_port",
  "portmap.port", "h225.port", "h245.tsapIdentifier",
}) do
  table.insert(announcing, Field.new(name))
end
local announced, announcements = {}, 0
local function listen_for_ports()
  for _, field in ipairs(announcing) do
    for _, found in ipairs({ field() }) do
      if announcements >= most then announced, announcements = {}, 0 end
      announced[found.value], announcements = true, announcements + 1
    end
  end
end

local in_segments = { Field.new("tls"), Field.new("http"), Field.new("ssh"), Field.new("nbss"), Field.new("tpkt") }
local function after_segment(pinfo, tree)
  local stream = tcp_stream()
  if stream == nil then return end
  local begun = connections[stream.value]
  if begun and (begun.gated or begun.looked >= first_looks) then return end
  local payload = tcp_payload()
  local flags = begun == nil and tcp_flags().value or 0
  if bit32.band(flags, 2) ~= 0 then
    begun = remember_connection(stream.value, bit32.band(flags, 16) == 0 and pinfo.dst_port or pinfo.src_port)
    begun.gated = payload == nil and not announced[begun.server]
    if begun.gated then pinfo.conversation = gate end
  elseif begun == nil and payload then
    begun = remember_connection(stream.value, nil)
  end
  if payload == nil or begun == nil or begun.gated or announced[begun.server] then return end
  if payload.range:len() < 8 or taken == pinfo.number or any_shown(in_segments) then return end
  local layer = proven(payload.range:tvb(), pinfo, begun)
  if layer then dissect_again(layer, payload.range, pinfo, tree) end
end

-- DTLS: a record of epoch 0 that fits, with a client hello (RFC 6347, 4.1 and 4.2.2). QUIC: a long header of a version in
-- use in a datagram of its least size (RFC 9000, 14.1 and 17.2). STUN: the magic cookie and the length (RFC 8489, 5).
local function begins_dtls(buffer)
  return buffer:len() >= 25 and buffer(0, 2):uint() == 0x16FE and (buffer(2, 1):uint() == 0xFF or buffer(2, 1):uint() == 0xFD)
    and buffer(3, 2):uint() == 0 and buffer(11, 2):uint() <= buffer:len() - 13 and buffer(13, 1):uint() == 1
    and buffer(22, 3):uint() + 12 == buffer(11, 2):uint()
end

local function begins_quic(buffer)
  if buffer:len() < 1200 or buffer(0, 1):uint() < 0xC0 or buffer(5, 1):uint() > 20 then return false end
  local version = buffer(1, 4):uint()
  return version == 1 or version == 0x6B3343CF
end

local function begins_stun(buffer)
  return buffer:len() >= 20 and buffer(0, 1):uint() < 4 and buffer(4, 4):uint() == 0x2112A442
    and buffer(2, 2):uint() == buffer:len() - 20 and buffer(2, 2):uint() % 4 == 0
end

local datagrams, flows_of_datagrams, seen_flows = {}, {}, 0
for name, begins_so in pairs({ ["dtls"] = begins_dtls, ["quic"] = begins_quic, ["stun-udp"] = begins_stun }) do
  local layer, dissector = Proto("netflight_udp_" .. name:gsub("-.*", ""), name .. " on any port"), Dissector.get(name)
  function layer.dissector(buffer, pinfo, tree) return dissector:call(buffer, pinfo, tree) end
  table.insert(datagrams, { layer = layer, begins = begins_so })
end

local in_datagrams = { Field.new("dtls"), Field.new("quic"), Field.new("stun"), Field.new("classicstun"), Field.new("gquic") }
local udp_stream, udp_payload = Field.new("udp.stream"), Field.new("udp.payload")
local function after_datagram(pinfo, tree)
  local stream, payload = udp_stream(), udp_payload()
  if stream == nil or payload == nil then return end
  local looked = flows_of_datagrams[stream.value] or 0
  if looked >= first_looks then return end
  if looked == 0 then
    if seen_flows >= most then flows_of_datagrams, seen_flows = {}, 0 end
    seen_flows = seen_flows + 1
  end
  flows_of_datagrams[stream.value] = looked + 1
  if any_shown(in_datagrams) then return end
  for _, each in ipairs(datagrams) do
    if each.begins(payload.range:tvb()) then return dissect_again(each.layer, payload.range, pinfo, tree) end
  end
end

-- Runs after all others: on the packets that begin a connection, it puts the gate in front.
local beginnings = Proto("netflight_beginnings", "Where connections begin")
function beginnings.dissector(buffer, pinfo, tree)
  listen_for_ports()
  if pinfo.port_type == 2 then
    after_segment(pinfo, tree)
  elseif pinfo.port_type == 3 then
    after_datagram(pinfo, tree)
  end
  return 0
end
register_postdissector(beginnings)
